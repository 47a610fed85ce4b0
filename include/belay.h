/*
 * belay.h — contexts for C: cancellation, deadlines and request-scoped values that flow down a tree of work.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * A context says how long a piece of work may still take and whether it is still wanted. You derive one from
 * another, so that what ends the outer work ends all the work inside it:
 *
 *     #include <belay.h>
 *     #include <stdio.h>
 *
 *     static bool fetch(belay_ctx ctx) {                        // work that respects its caller's budget
 *         return belay_wait(ctx, BELAY_MS(500)) == BELAY_TIMEOUT;   // half a second, or until ctx ends
 *     }
 *
 *     int main(void) {
 *         belay_ctx request = belay_with_timeout(belay_background(), BELAY_MS(20));
 *         if (!fetch(request)) {
 *             belay_cause why;
 *             belay_cause_of(request, &why);
 *             printf("gave up: %s\n", why.message);             // gave up: deadline exceeded
 *         }
 *         return belay_close(request) == BELAY_OK ? 0 : 1;
 *     }
 *
 * The model, in six sentences. A context is a 64-bit handle, passed by value; nothing about it can dangle. You
 * own what a belay_with_… function returns, and give it up with belay_close(), which also cancels it. A context
 * ends once: by belay_cancel(), by its deadline, by belay_close(), or because its parent ended; the first of these
 * wins and decides what belay_err() and belay_cause_of() say from then on. Deriving and asking cost a few
 * nanoseconds, because a context joins the tree and arms a timer only when somebody first *listens* to it: a
 * wait, a descriptor, a callback. Values hang on contexts and are found in constant time at any depth. Everything
 * that can fail fails safe: what could not be made is {0}, and {0} reads as done everywhere.
 *
 * GROUND RULES. They hold for every function below unless its comment says otherwise.
 *
 *   Threads    Any function may be called on any thread, on any handle, at any time, also after the handle's close.
 *   Handles    A handle whose context is closed is stale: it reads as done, and calls answer BELAY_ESTALE (of a
 *              registration or a timer that is over: BELAY_STOP_GONE). A handle that never was one ({0}, random bits,
 *              another kind of handle) reads as done with BELAY_EINVAL.
 *   Blocking   Nothing blocks but belay_wait, belay_wait_any, belay_local_wait, belay_stop_wait, belay_timer_stop_wait,
 *              belay_group_go, belay_group_wait and belay_runtime_free; and those that write to a descriptor of yours
 *              (section 15).
 *              Internal locks are held for short, bounded work and never while your code runs.
 *   Callbacks  Inside a callback, a task, a hook or a drop function every function of this header may be called. They
 *              return: one that leaves by longjmp or pthread_exit leaves what called it half done for ever (a group is
 *              never idle again, a runtime is never freed). Where they run on Belay's threads and block, others take
 *              over; but what they wait for must not be the end of the runtime whose thread it is.
 *   Signals    No function is async-signal-safe, but belay_background, belay_todo, belay_now, belay_is_none,
 *              belay_status_string, belay_version and those of the section On the wire; and belay_cancel on a context
 *              of belay_notify_signals. Belay's own threads block all signals. So leave main by return or exit, not
 *              by pthread_exit: once only they are left, no SIGTERM or Ctrl-C ends the process.
 *   Fork       In the child of fork(), every handle reads as done with BELAY_EFORK and nothing can be derived, until
 *              belay_runtime_restart(). The parent process is not affected.
 *   Unloading  libbelay.so stays loaded: dlclose() is harmless and unloads nothing, for its threads may be at work.
 *              Handles from before it are good after it.
 *   Time       Durations and instants are int64_t nanoseconds on CLOCK_MONOTONIC. BELAY_FOREVER means never. Sums that
 *              overflow mean never. Rounding is late, not early. Where a runtime has a virtual clock (section 14), the
 *              deadlines and timers of its contexts are that clock's, and so is the timeout of belay_wait and
 *              belay_local_wait; that of belay_wait_any is the first context's. The timeouts of belay_stop_wait,
 *              belay_timer_stop_wait, belay_group_wait and belay_runtime_free are real time in any case: they wait for
 *              threads, which take it.
 *   Errors     Functions that return a handle return {0} on failure, and belay_last_status() on that thread says why.
 *
 * CONTENTS. Sections 1 to 6 are all that most programs use.
 *
 *    1. Types        5. Ask       9. Groups              13. On the wire     17. Helpers: BELAY_SCOPED
 *    2. Roots        6. Listen   10. Signals             14. Runtimes
 *    3. Derive       7. Move     11. Foreign parents     15. Measure
 *    4. End          8. Timers   12. Request data        16. Local contexts
 */
#ifndef BELAY_H
#define BELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BELAY_VERSION_MAJOR 0
#define BELAY_VERSION_MINOR 1
#define BELAY_VERSION_PATCH 0
#define BELAY_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------------------------
 * 1. Types
 * ------------------------------------------------------------------------------------------------------------- */

/* A context. Copy it freely; compare `bits` for identity. {0} is no context. */
typedef struct belay_ctx { uint64_t bits; } belay_ctx;

/* A registered callback (belay_after_func, belay_on_done). {0} is no registration. */
typedef struct belay_reg { uint64_t bits; } belay_reg;

/* A timer (belay_timer_after, belay_timer_every). {0} is no timer. */
typedef struct belay_timer { uint64_t bits; } belay_timer;

/* A group of tasks (belay_group_new). {0} is no group. */
typedef struct belay_group { uint64_t bits; } belay_group;

/* Nanoseconds: a length of time, and a point of CLOCK_MONOTONIC as belay_now() reads it. */
typedef int64_t belay_duration;
typedef int64_t belay_instant;

#define BELAY_FOREVER INT64_MAX
/* Of whole numbers and of fractions: BELAY_SEC(0.5) is half a second. */
#define BELAY_NS(n) ((belay_duration)(n))
#define BELAY_US(n) ((belay_duration)((n) * INT64_C(1000)))
#define BELAY_MS(n) ((belay_duration)((n) * INT64_C(1000000)))
#define BELAY_SEC(n) ((belay_duration)((n) * INT64_C(1000000000)))

/* A key for values is the address of one of these; the name is for people (logs, tree dumps). Declare it
 * `static const`, with a lifetime that exceeds every context that uses it. */
typedef struct belay_key { const char *name; } belay_key;

/* Why a context ended. `code` is a belay_status where nobody gave a cause, else the code that was given.
 * `message` is NUL-terminated; a longer text is cut at 55 bytes, between UTF-8 characters. */
typedef struct belay_cause { int64_t code; char message[56]; } belay_cause;

/* What calls answer. belay_status_string() has a sentence for each. A function's comment names those that it can
 * answer; what is said here holds for all. */
typedef enum belay_status {
    BELAY_OK = 0,                 /* done as asked; of a context: still live */
    BELAY_CANCELED = 1,           /* the context was cancelled, or closed, or its parent was */
    BELAY_DEADLINE_EXCEEDED = 2,  /* the context's deadline passed, or its parent's */
    BELAY_TIMEOUT = 3,            /* a wait's own timeout passed first; what was waited for goes on */
    BELAY_STOP_PREVENTED = 4,     /* stopped before it began: the callback will never run */
    BELAY_STOP_RUNNING = 5,       /* the callback is running now */
    BELAY_STOP_GONE = 6,          /* the callback has run, or was stopped before, or never was */
    BELAY_EINVAL = 16,            /* an argument is none: {0}, NULL, a forged handle or one of another kind, a value
                                   * outside what the function takes, a struct whose .size was not set */
    BELAY_ESTALE = 17,            /* what the handle named has been closed or freed */
    BELAY_ENOMEM = 18,            /* no memory, or a limit is reached: belay_memory_limit's, max_contexts of a runtime,
                                   * the cap of a pool, the most runtimes or pools there can be */
    BELAY_ELEAF = 19,             /* a lite context cannot be derived from or listened to */
    BELAY_EFORK = 20,             /* this is the child of a fork */
    BELAY_ENOCANCEL = 21,         /* this context ends only with its parent, or never: a value, a root. Cancel the one
                                   * it was derived from, or derive one with belay_with_cancel and use that */
    BELAY_EDEADLK = 22,           /* waiting would be for ever: the caller is, or waits for, what is waited for (a
                                   * callback or task of its own, a ring of them, the poll that it is inside of, a
                                   * group whose limit is 0) */
    BELAY_ESYSTEM = 23,           /* a system call failed; errno says which way */
    BELAY_EBUSY = 24,             /* others have a hold on it (children, owners, callbacks, tasks, a descriptor, a poll
                                   * that is under way), or its limit is reached (a group's) */
    BELAY_EFAILED = 25            /* a task of the group failed */
} belay_status;

/* ---------------------------------------------------------------------------------------------------------------
 * 2. Roots
 * ------------------------------------------------------------------------------------------------------------- */

/* The root of all work: never done, no deadline, no values. Returns the same handle each time; there is nothing to
 * close (belay_close on it is harmless). Costs a constant. Async-signal-safe and fork-safe. */
belay_ctx belay_background(void);

/* The same, for code that has not been given a context yet: it marks the place. Differs from belay_background()
 * in identity only. Async-signal-safe and fork-safe. */
belay_ctx belay_todo(void);

/* True for {0}, what a failed derivation returns. Async-signal-safe. */
static inline bool belay_is_none(belay_ctx ctx) { return ctx.bits == 0; }

/* Why the last call on this thread that returned a handle of {0}, NULL or -1 for a failure did so; BELAY_OK where none
 * has yet. A call that succeeds does not change it, nor does one that answers false, a status, or -1 for "there is none
 * such" where its comment says so. Read it right after the failure. */
belay_status belay_last_status(void);

/* A lower-case sentence for a status, such as "deadline exceeded". Never NULL, a constant that lives for ever;
 * "unknown status" for a number that is none. Async-signal-safe. */
const char *belay_status_string(belay_status status);

/* The version of the library that runs, as "major.minor.patch"; BELAY_VERSION is the header's. Constant text. */
const char *belay_version(void);

/* CLOCK_MONOTONIC now, in nanoseconds. Async-signal-safe. */
belay_instant belay_now(void);

/* ---------------------------------------------------------------------------------------------------------------
 * 3. Derive
 *
 * Each of these returns a new context that its caller owns: belay_close() it once, also when it has ended by
 * itself. The child keeps what it needs of its parent alive, so the parent may be closed first (that ends the child).
 * A child of a done context is made, and is done at birth, with its parent's cause. On failure {0}, with
 * belay_last_status(): BELAY_EINVAL or BELAY_ESTALE for the parent, BELAY_ELEAF for a lite parent, BELAY_ENOMEM,
 * BELAY_ESYSTEM, BELAY_EFORK. None of them starts a thread, arms a timer, or makes a system call, beyond growing the
 * arena; but for belay_merge, which listens to its parents, and for the ninth derivation below each other that nobody
 * listens to, which attaches the one above it, as section 6 says.
 * ------------------------------------------------------------------------------------------------------------- */

/* A child that ends when it is cancelled or closed or when `parent` ends, whichever happens first. */
belay_ctx belay_with_cancel(belay_ctx parent);

/* The same, and at `deadline` at the latest. The earlier of this deadline and the parent's counts; where the
 * parent's is not later, the child has no timer of its own and ends with the parent. A deadline that has
 * passed makes a child that is done at birth, with BELAY_DEADLINE_EXCEEDED; BELAY_FOREVER adds no deadline. */
belay_ctx belay_with_deadline(belay_ctx parent, belay_instant deadline);

/* The same with a deadline `timeout` from now, never earlier. Zero and negative timeouts have passed already. */
belay_ctx belay_with_timeout(belay_ctx parent, belay_duration timeout);

/* As above; the cause if (and only if) it is this deadline that ends the context. The message is copied, cut at 55
 * bytes; NULL is an empty one. belay_err() still says BELAY_DEADLINE_EXCEEDED. A cancel that comes first leaves no
 * trace of this cause. */
belay_ctx belay_with_deadline_cause(belay_ctx parent, belay_instant deadline, int64_t code, const char *message);
belay_ctx belay_with_timeout_cause(belay_ctx parent, belay_duration timeout, int64_t code, const char *message);

/* A context that carries `value` for `key` and is otherwise its parent: the same end, deadline and cause. It cannot
 * be cancelled by itself (BELAY_ENOCANCEL), and closing it ends nothing: its children live on and see the value.
 *
 * The value belongs to the context from this call on. `drop`, if not NULL, runs exactly once with it: when the last
 * context that can see it has gone, with no lock held, on the thread that closes that one; or, if another thread is
 * inside a call on that context at the same moment, on that thread when it leaves. If the call fails,
 * drop runs before it returns, so code that checks nothing leaks nothing. A child's value hides its parent's for the
 * same key. A NULL value hides it with "none". A NULL key is BELAY_EINVAL. */
belay_ctx belay_with_value(belay_ctx parent, const belay_key *key, void *value, void (*drop)(void *value));

/* A context with the parent's values that does not end with it: never done, no deadline, no cause. For work that
 * must outlive its request (an audit record). Derive a cancel or a timeout from it as from a root. */
belay_ctx belay_without_cancel(belay_ctx parent);

/* A context that ends when the first of `n` parents ends, with that one's error and cause; its deadline is the earliest
 * of theirs (of those that show the same time: see virtual clocks). It has the values of parents[0]. Parents that
 * repeat another, or that can never end, count for nothing; where a single one is left that has all this, that one is
 * the answer itself, with one more owner (and lives by the clock of its own runtime): so the answer is closed in every
 * case, once. But then a cancel of the answer is a cancel of that parent, and its close ends nothing while that parent
 * has its own owner: what is to be ended by itself is derived from the answer. Merges of merges are fine. The parents
 * may be closed first, which ends it. It keeps registrations on its parents, which count as listening to them, until
 * the last context below it has gone; and, unlike other derivations, it arms timers where they have deadlines.
 * belay_reset on it is BELAY_EBUSY. {0} on failure: BELAY_EINVAL (n of 0, NULL, a parent that is none), BELAY_ESTALE,
 * BELAY_ELEAF, BELAY_ENOMEM, BELAY_ESYSTEM. */
belay_ctx belay_merge(const belay_ctx *parents, size_t n);

/* A leaf for hot paths: a context that is only asked, waited for, cancelled and closed, at most `timeout` from now
 * (BELAY_FOREVER: no deadline of its own; no clock is read). It joins no list, takes no lock and keeps no reference on
 * its parent, so nothing is shared with other threads. Under parents that change, as a request's own do, that saves two
 * locked instructions of the three that belay_with_cancel and its close take, and half of the time; under one that its
 * thread keeps coming back to, next to nothing. Deriving from it or registering on it (belay_after_func,
 * belay_on_done, belay_done_fd, belay_wait_any) is BELAY_ELEAF. It has no values. It ends with its
 * parent: a parent that is closed reads as cancelled. With the parent closed its cause cannot be known any more; a lite
 * context that was asked before keeps it. Where its own deadline passed and its parent was cancelled before anyone
 * asked, and the parent had no other children, the parent's end is what it reports. {0} and the last status as for
 * every derivation. Cheaper still, with its memory on your stack: section 16. */
belay_ctx belay_lite(belay_ctx parent, belay_duration timeout);

/* ---------------------------------------------------------------------------------------------------------------
 * 4. End
 * ------------------------------------------------------------------------------------------------------------- */

/* Ends the context and everything derived from it, with BELAY_CANCELED. When any call of this returns, also one that
 * came second, every descendant reads as done, below merged contexts too. Callbacks may still be running;
 * belay_stop_wait waits for one. Returns BELAY_OK, also when the context had ended before (its first verdict stays);
 * BELAY_ENOCANCEL for roots, values and belay_without_cancel contexts, which are not ended; BELAY_EINVAL, BELAY_ESTALE.
 * Does not give up the context: belay_close does. Inline callbacks (belay_on_done) run before it returns, or, where
 * another thread ends the same contexts at that moment, on that one. Takes time in proportion to the descendants that
 * somebody listens to, and constant stack. */
belay_status belay_cancel(belay_ctx ctx);

/* The same with a cause that belay_cause_of() gives for this context and for every descendant that it ends. The
 * message is copied, cut at 55 bytes; NULL is an empty one. Ignored where the context has ended already. If there is
 * no memory for the cause the context ends without it and the answer is BELAY_ENOMEM. */
belay_status belay_cancel_cause(belay_ctx ctx, int64_t code, const char *message);

/* Cancels the context if it is live, as belay_cancel does, then gives up the caller's reference. The handle and its
 * copies are stale from then on. After belay_retain, closes pair with retains, and only the last one cancels.
 * Returns BELAY_OK; for a stale handle BELAY_ESTALE (a second close is harmless), else BELAY_EINVAL. Two threads
 * that close the last reference at the same time: one gets BELAY_OK, the other BELAY_ESTALE. A value context's close
 * ends nothing. Drop functions of values that nobody can see any more run before this
 * returns, unless another thread is inside a call on the context: then on that thread, when it leaves. */
belay_status belay_close(belay_ctx ctx);

/* One more owner: the context needs one more belay_close or belay_release. For handing a context to another owner
 * whose life you do not know; for passing it down a call no retain is needed. BELAY_OK, BELAY_EINVAL, BELAY_ESTALE
 * (it lost the race with the last close), BELAY_ENOMEM. On a root it does nothing and is BELAY_OK. */
belay_status belay_retain(belay_ctx ctx);

/* Gives up one reference. The same as belay_close, under the name that pairs with belay_retain. */
belay_status belay_release(belay_ctx ctx);

/* ---------------------------------------------------------------------------------------------------------------
 * 5. Ask
 *
 * None of these blocks, allocates, or runs callbacks. An answer that ends a context's life in your eyes is final: once
 * done, always done, with the same error and cause for everyone.
 * ------------------------------------------------------------------------------------------------------------- */

/* True once the context has ended, or its deadline has passed; true for handles that are stale or none. */
bool belay_is_done(belay_ctx ctx);

/* BELAY_OK while live, else BELAY_CANCELED or BELAY_DEADLINE_EXCEEDED; BELAY_ESTALE or BELAY_EINVAL for a handle that
 * is stale or none. Agrees with belay_is_done: BELAY_OK exactly while that is false. */
belay_status belay_err(belay_ctx ctx);

/* Copies out why the context ended and returns true; returns false and leaves *cause alone while it is live, or when
 * `cause` is NULL. Without a cause of its own a context has its parent's if that ended it, else the status and
 * its text. A handle that is stale or none has the cause BELAY_ESTALE or BELAY_EINVAL. */
bool belay_cause_of(belay_ctx ctx, belay_cause *cause);

/* The instant at which the context ends at the latest: true, and *deadline is set. False where there is none, for a
 * handle that is stale or none, and when `deadline` is NULL. Stays readable after the end. */
bool belay_deadline(belay_ctx ctx, belay_instant *deadline);

/* The time left: nanoseconds until the deadline, BELAY_FOREVER where there is none, 0 when the context is done for
 * whatever reason or the handle is stale or none. Never negative. When it answers 0, belay_is_done answers true. */
belay_duration belay_remaining(belay_ctx ctx);

/* The value for `key`, of the nearest context that carries one; NULL where there is none (or its value is NULL), for
 * a handle that is stale or none, and for a NULL key. Constant time at any depth, hit or miss; least where this
 * thread lately asked the same context for the same key. The pointer stays valid as long as a context that can see it
 * is open. */
void *belay_value(belay_ctx ctx, const belay_key *key);

/* ---------------------------------------------------------------------------------------------------------------
 * 6. Listen
 *
 * The first of these on a context attaches it: from then on its end is pushed to its listeners. That arms the timer of
 * its deadline, and where a deadline above it was moved, of that; and under a foreign parent that is polled it starts
 * the polling. For these the runtime has a thread, started by whoever needs it first: where the system refuses one,
 * the answer is BELAY_ESYSTEM, and the next call tries again.
 * ------------------------------------------------------------------------------------------------------------- */

/* Blocks until the context is done or `timeout` has passed. Returns BELAY_CANCELED or BELAY_DEADLINE_EXCEEDED, at
 * once if the context is done already; BELAY_TIMEOUT if it is still live; BELAY_ESTALE, BELAY_EINVAL, BELAY_ENOMEM,
 * BELAY_ESYSTEM at once. A timeout of 0 or less only asks. BELAY_FOREVER on a context that can never end blocks for
 * ever. The timeout itself needs no thread and no timer: it is the caller's own sleep. Another thread's close of this
 * context ends the wait; but a value context ends only with its scope, and so does a wait for it. EINTR is handled.
 *
 * Under a virtual clock `timeout` is that clock's, and nothing but belay_runtime_poll moves it: the wait ends when
 * another thread polls so far, or ends the context. So the thread that polls must not wait between two polls: it would
 * be for ever, unless another one ends the context. Inside a poll of that clock, in a callback that it runs, the answer
 * is BELAY_EDEADLK at once, unless the context is done or the timeout 0 or less. */
belay_status belay_wait(belay_ctx ctx, belay_duration timeout);

/* The same for the first of `n` contexts to be done; *index, if not NULL, says which (the lowest of those that are
 * done when it looks). On BELAY_TIMEOUT *index is not written. A handle that is stale or none reads as done: its
 * status is returned, with its index. n == 0 or ctxs == NULL is BELAY_EINVAL. Costs a registration for each context:
 * BELAY_ENOMEM if there is no memory for it, BELAY_ELEAF for a lite context while none is done; both without an index.
 * (A timeout of 0 or less only asks, and registers nothing: there lite contexts will do, too.)
 * With virtual clocks as belay_wait; `timeout` is measured by the clock of ctxs[0], and BELAY_EDEADLK is the answer
 * inside a poll that moves the clock of any of them. */
belay_status belay_wait_any(const belay_ctx *ctxs, size_t n, belay_duration timeout, size_t *index);

/* A descriptor for poll, epoll or select that becomes readable when the context is done, and stays so. Made when first
 * asked for; the same one each time, also after the end. It belongs to the context: do not close it; reading from it
 * is harmless. It is closed with the context's last reference, so take it out of your poll set before belay_close. A
 * context that was done before anyone asked for its descriptor answers with one that the whole process shares, and one
 * that can never end likewise; those are never closed. Returns -1 with belay_last_status() BELAY_ESYSTEM (no
 * descriptors left: errno), BELAY_ESTALE, BELAY_EINVAL, BELAY_ELEAF, BELAY_ENOMEM. Arms the context's timer and starts
 * the driver thread if it has a deadline. */
int belay_done_fd(belay_ctx ctx);

/* Runs fn(arg) once when the context is done, on the executor (a small pool of threads, or your own: section 14); at
 * once if it is done already. Never on the caller's stack, unless an executor of yours runs it there. Closing a context
 * that can be cancelled ends it, and so runs the callback; to leave without it, belay_stop it first. A context with a
 * value or data has no end of its own: the callback belongs to the context above that ends it, and is there until then,
 * also when the one with the value is closed; and what never ends (a root, belay_without_cancel) keeps it until it is
 * stopped. Returns the registration, which needs no close, or {0}: then fn will never
 * run (belay_last_status: BELAY_EINVAL, also for a NULL fn, BELAY_ESTALE, BELAY_ENOMEM, BELAY_ESYSTEM if no thread
 * can be started). The writes that came before the cancel are visible in fn. */
belay_reg belay_after_func(belay_ctx ctx, void (*fn)(void *arg), void *arg);

/* The same, but fn runs inline on the thread that ends the context: inside belay_cancel or belay_close, on the driver
 * thread at a deadline, or before this returns if the context is done already. For short work that does not block,
 * such as writing to a pipe. No lock is held. */
belay_reg belay_on_done(belay_ctx ctx, void (*fn)(void *arg), void *arg);

/* Tries to stop a callback, without blocking. BELAY_STOP_PREVENTED: it will never run, and its `arg` is yours again.
 * BELAY_STOP_RUNNING: it is running now (also when called from inside it). BELAY_STOP_GONE: it has run, or was
 * stopped before. BELAY_EINVAL for a handle that is none. Of several calls that race, one gets PREVENTED. Also takes
 * a callback that is queued on the executor and has not begun. */
belay_status belay_stop(belay_reg reg);

/* The same, and if the callback is running waits until it has returned: then BELAY_STOP_GONE, and all that it wrote
 * is visible. Waits for this one callback only. Called from inside that very callback it answers BELAY_STOP_RUNNING
 * at once. Where callbacks wait for each other in a ring, BELAY_EDEADLK at once for the one that closes it, also if
 * some of these waits have timeouts. BELAY_TIMEOUT when `timeout` passed first, in real time under a virtual clock too;
 * 0 or less only asks. */
belay_status belay_stop_wait(belay_reg reg, belay_duration timeout);

/* ---------------------------------------------------------------------------------------------------------------
 * 7. Move
 * ------------------------------------------------------------------------------------------------------------- */

/* Moves the context's deadline to `deadline`: earlier, later, or never (BELAY_FOREVER); never past the parent's,
 * which counts where it is not later (then the context has none of its own from here on: should the parent's move
 * later, it follows). For idle timeouts and keep-alives. An instant in the past ends the context before this returns.
 * Everything derived from it follows. (In a manual runtime a thread that is in belay_wait when the deadline moves to
 * earlier learns of it by a poll.) BELAY_OK if moved: it will not end at the old instant. If
 * it has ended already, or the deadline passes at this moment, nothing is moved, and the answer is how it ended:
 * BELAY_CANCELED or BELAY_DEADLINE_EXCEEDED. Of two threads that move it at the same time, one comes last and counts.
 * BELAY_ENOCANCEL for contexts without an end of their own, BELAY_ELEAF for a lite one, BELAY_EINVAL, BELAY_ESTALE,
 * BELAY_ENOMEM. A cause given at birth stays the deadline's cause. Once a process has moved a deadline,
 * belay_deadline and belay_remaining look at every context above instead of at one. */
belay_status belay_set_deadline(belay_ctx ctx, belay_instant deadline);

/* Makes a context ready for its next use, without giving its memory back: returns its new handle, which replaces `ctx`;
 * the old handle and its copies are stale. Its own deadline and that deadline's cause are taken away
 * (belay_set_deadline gives it a new one); the parent stays. A timer of the old life that is just about to fire finds
 * nothing. Only for a live context that its caller alone has a hold on: else {0}, and `ctx` is still to be closed.
 * belay_last_status() is then BELAY_EBUSY if there are children, other owners, callbacks, waiters or a descriptor (lite
 * and local contexts and timers under it do not count: they lose it, as by a close);
 * BELAY_CANCELED or BELAY_DEADLINE_EXCEEDED if it has ended (if it ended at this very moment it is closed already, and
 * the close answers BELAY_ESTALE, which is harmless); BELAY_EINVAL for other kinds; BELAY_ESTALE. */
belay_ctx belay_reset(belay_ctx ctx);

/* ---------------------------------------------------------------------------------------------------------------
 * 8. Timers
 *
 * For work that should happen later, under a context. fn runs on the executor. It runs exactly once for each time that
 * comes, or never if a stop said "prevented", so that what hangs on `arg` is never lost: also when `ctx` has ended by
 * then. fn asks: `if (!belay_is_done(ctx)) …`. A timer keeps no reference on its context, whose handle cannot dangle.
 * ------------------------------------------------------------------------------------------------------------- */

/* Runs fn(arg) once, `delay` from now, never early; a delay of 0 or less means as soon as possible, BELAY_FOREVER
 * never (until belay_timer_reset). Returns the timer, which needs no close: after fn has run the handle is stale. {0}
 * on failure: BELAY_EINVAL (a bad context, a NULL fn), BELAY_ESTALE, BELAY_ENOMEM, BELAY_ESYSTEM (the driver thread
 * cannot be started). */
belay_timer belay_timer_after(belay_ctx ctx, belay_duration delay, void (*fn)(void *arg), void *arg);

/* Runs fn(arg) every `period`, first after one period, until it is stopped or the context ends: the first run that
 * begins after the end is the last. A run in the middle of which the end comes may see it too, before that last one: a
 * run that frees `arg` stops its timer. The times are the start plus whole periods: they do not drift. One run at a
 * time: times that pass while fn runs are skipped, not made up for. Returns the timer, which needs no close: after the
 * last run its handle is stale. {0} on failure, as belay_timer_after; BELAY_EINVAL also for a period of 0 or less, or
 * BELAY_FOREVER. */
belay_timer belay_timer_every(belay_ctx ctx, belay_duration period, void (*fn)(void *arg), void *arg);

/* Moves a pending timer so that it is next due `delay` from now (a periodic one goes on from there); 0 or less means as
 * soon as possible, BELAY_FOREVER never. BELAY_OK if moved: it will not run at the old time. (Moving it to later is the
 * cheap way to put a timeout off, with each message say; the driver may wake up once for the old time.) Where it is too
 * late nothing is changed: BELAY_STOP_RUNNING if fn is running, or about to; BELAY_STOP_GONE if it has run, or was
 * stopped. BELAY_EINVAL. */
belay_status belay_timer_reset(belay_timer timer, belay_duration delay);

/* Stops a timer, without blocking. BELAY_STOP_PREVENTED: fn will not run (again), and `arg` is yours.
 * BELAY_STOP_RUNNING: fn is running now; it will not run after that. BELAY_STOP_GONE: it has run, or was stopped.
 * BELAY_EINVAL. The timer's memory is free at once, not at its time. */
belay_status belay_timer_stop(belay_timer timer);

/* The same, and if fn is running waits until it has returned, as belay_stop_wait does for a callback: then
 * BELAY_STOP_GONE, and nothing uses `arg` any more. BELAY_STOP_RUNNING at once from inside fn, BELAY_EDEADLK at once
 * where callbacks wait for each other in a ring, BELAY_TIMEOUT when `timeout` passed first (real time). */
belay_status belay_timer_stop_wait(belay_timer timer, belay_duration timeout);

/* ---------------------------------------------------------------------------------------------------------------
 * 9. Groups
 *
 * Tasks that work on one thing: they run on the executor, under one context, at most so many at a time. The first that
 * fails ends the context for all, and the wait for them says with what error.
 *
 *     belay_group group = belay_group_new(request, 8, NULL);
 *     for (int i = 0; i < n; i++) (void)belay_group_go(group, fetch, &parts[i]);   // int64_t fetch(belay_ctx, void *)
 *     belay_cause why;
 *     if (belay_group_wait(group, BELAY_FOREVER, &why) != BELAY_OK) printf("%s\n", why.message);
 *     (void)belay_group_free(group);
 *
 * Tasks may block, on whatever they like: the built-in pool starts another thread when its threads are blocked. (An
 * executor of your own has to see to that itself.) Nothing is allocated from the heap; a task takes 64 bytes of the
 * arena from its start to its return.
 * ------------------------------------------------------------------------------------------------------------- */

/* For belay_group_new: as many tasks at a time as there are. */
#define BELAY_UNLIMITED (-1)

/* A new group under `parent`, whose context ends with the first error, when the group is waited for, when it is freed,
 * or when `parent` ends, whichever happens first. `limit` tasks may run at a time; 0 admits none (for a group that
 * belay_group_set_limit opens later). *ctx, if not NULL, becomes the group's context, the one that the tasks get: it
 * is the group's own; use it until belay_group_free, cancel it if you like, but do not close it. Under a parent that is
 * done the group is made, and its context is done.
 * (A close of *ctx all the same does no damage, and leaks nothing. It ends the context for good: tasks that run see it
 * end, later ones get a stale handle, which reads as done and of which nothing can be derived; BELAY_ESTALE that they
 * return is an error and no echo. The group goes on without: its tasks run, errors are kept, and it is still to be
 * freed.)
 *
 * Returns the group, for belay_group_free; or {0} (and *ctx is {0}), with belay_last_status(): BELAY_EINVAL for the
 * parent or a limit below BELAY_UNLIMITED, BELAY_ESTALE, BELAY_ELEAF, BELAY_ENOMEM, BELAY_EFORK. Starts no thread. */
belay_group belay_group_new(belay_ctx parent, int32_t limit, belay_ctx *ctx);

/* Runs fn(ctx, arg) on the executor, where `ctx` is the group's context; fn returns 0, or an error code of its own. If
 * this answers BELAY_OK fn runs exactly once, also when the context has ended by then, so that nothing that hangs on
 * `arg` is lost: fn asks. With any other answer it never runs, and `arg` is yours.
 *
 * A code other than 0 ends the group's context, for all tasks. So does a status of Belay's that fn returns: the
 * deadline of a context that fn derived for itself is an error like any other, and no echo (see belay_group_fail)
 * unless the group's own context has ended too. Where that deadline is no failure, return 0. All that the wait knows of
 * a code is "a task returned CODE"; belay_group_fail gives it a text.
 *
 * Blocks while `limit` tasks run. But called from inside a task of this group when the limit is reached, it does not
 * wait: it runs fn itself, in the caller's place, and returns after it. So the limit holds, and tasks that start tasks
 * do not wait for each other, however deep. With limit 0 BELAY_EDEADLK at once; and where it would have to wait inside
 * a poll of the manual runtime that its tasks run in. A call that blocks returns BELAY_ESTALE when the group is freed;
 * the end of the context does not cut it short (a task's return does, and tasks should stop). Two groups whose tasks
 * start tasks in each other can block for ever, if both are full: that is not found out.
 *
 * BELAY_EINVAL (also a NULL fn), BELAY_ESTALE, BELAY_ENOMEM, BELAY_EFORK. Writes before the call are visible in fn.
 * fn must return: not by longjmp or pthread_exit. */
belay_status belay_group_go(belay_group group, int64_t (*fn)(belay_ctx ctx, void *arg), void *arg);

/* The same, but where that one would block or run fn itself this answers BELAY_EBUSY. */
belay_status belay_group_try_go(belay_group group, int64_t (*fn)(belay_ctx ctx, void *arg), void *arg);

/* Another limit, as for belay_group_new. BELAY_EBUSY while tasks run or are queued, and nothing is changed;
 * BELAY_EINVAL, BELAY_ESTALE. Calls of belay_group_go that wait go by the new limit. */
belay_status belay_group_set_limit(belay_group group, int32_t limit);

/* Gives the group an error, as if a task had returned `code`, with a text (copied, cut at 55 bytes; NULL: "a task
 * returned CODE", with the status's text behind BELAY_CANCELED and BELAY_DEADLINE_EXCEEDED). For a task that has more
 * to say than a number, before it returns; or for anybody else. Of several errors the first is kept. When any call of
 * this returns, the group's context has ended; with this error as its cause, if it is the first and nothing else
 * ended the context before. A code of 0 is BELAY_EINVAL; BELAY_ESTALE once the group is freed. BELAY_OK also for an
 * error that came second.
 *
 * Only BELAY_CANCELED and BELAY_DEADLINE_EXCEEDED, given or returned when the group's context has ended already, are no
 * errors but an echo of that end: they count as long as there is no error, and never hide one, be it earlier or later.
 * */
belay_status belay_group_fail(belay_group group, int64_t code, const char *message);

/* Waits until no task runs or is queued; then ends the group's context, whatever came of them. BELAY_OK if all tasks so
 * far returned 0; else BELAY_EFAILED, and *error, if not NULL, is the first error, or for echoes alone the cause with
 * which the context ended. All that the tasks wrote is visible. BELAY_TIMEOUT when `timeout` passed first (in real
 * time; 0 or less only asks): then nothing is ended. BELAY_EDEADLK at once if it would be for ever: from inside one of
 * the group's own tasks, inside a poll of the manual runtime that they run in, or where tasks, callbacks and groups
 * wait for each other in a ring (of up to 256). Any number of threads may wait, also again. BELAY_EINVAL, BELAY_ESTALE.
 * If the group is freed meanwhile the wait goes on to its end. Tasks may be started after a wait; they find the context
 * ended. */
belay_status belay_group_wait(belay_group group, belay_duration timeout, belay_cause *error);

/* Gives the group up: its handle is stale at once, its context is ended. Never blocks: tasks that run finish, those
 * that are queued still run, and with the last of them the group goes, and the context is closed. (Until then they can
 * see the values of their context.) Wait first, if they use what you are about to free. BELAY_OK; BELAY_ESTALE for a
 * group that is freed already (of two threads that free it at once, one gets this); BELAY_EINVAL. May be called from
 * inside a task. */
belay_status belay_group_free(belay_group group);

/* ---------------------------------------------------------------------------------------------------------------
 * 10. Signals
 * ------------------------------------------------------------------------------------------------------------- */

/* A child of `parent`, to be closed as any other, that also ends when one of the `n` signals arrives: with
 * BELAY_CANCELED, the signal's number as the cause's code, and a message such as "signal 15 (SIGTERM)". Signals that
 * came before this call do not end it; each that comes after it returns does, however many come together. If several
 * come at the same time one of them is the cause.
 *
 * The default action of each signal is off from the first context that watches it until the last one's belay_close
 * (not: its end), so ten signals in a row do not kill, and a program that wants the second one to kill closes after the
 * first. Any number of contexts may watch the same signal. With the last one's close the action that was set before
 * comes back, unless somebody has set another one since. Our handler runs on whichever of your threads the system
 * picks, with all signals blocked, on the alternate stack if there is one, and only takes note; system calls that it
 * interrupts are restarted, where the system can. The driver thread (started by this) then ends the contexts: their
 * inline callbacks run there. A signal that all threads block stays pending and ends nothing; and so does one that was
 * sent to a thread that blocks it (raise, pthread_kill).
 *
 * belay_cancel on a context made by this function is *async-signal-safe*, in a handler of your own too; n == 0 makes
 * one for that alone. It swaps the verdict in, by lock-free steps alone, and leaves it to the driver to make it known.
 * So when it returns the context reads as done, and what is derived from it does if nobody listens to that; waiters,
 * descriptors, callbacks and descendants with listeners learn of it a moment later. (belay_cancel_cause and belay_close
 * are not async-signal-safe, and make it known before they return, as for all other contexts.) A child whose own
 * deadline passed before that cancel, noticed by nobody, may report the cancel. belay_reset is BELAY_EBUSY on it.
 *
 * {0} on failure: BELAY_EINVAL for a number that is not from 1 to 64, for SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE,
 * SIGILL, for those that libc keeps for itself, and for numbers == NULL with n > 0; BELAY_ESYSTEM if the driver thread
 * cannot be started; else as for every derivation. Naming a signal twice is harmless. The child of a fork has the
 * earlier actions back. Not for a library that may be unloaded (dlclose) while such a context is open. */
belay_ctx belay_notify_signals(belay_ctx parent, const int *numbers, size_t n);

/* The number of the signal that ended this context, or the one above it from which it has its end; 0 if it is live or
 * ended otherwise, for a handle that is stale or none. A cause that a program made to look like a signal's does not
 * deceive it. */
int belay_signal_of(belay_ctx ctx);

/* ---------------------------------------------------------------------------------------------------------------
 * 11. Foreign parents
 *
 * Your framework has cancellation of its own: a flag, a GCancellable, a descriptor, a request object. Wrap it once, and
 * derive Belay's contexts from the wrapper. However many hang on it, the source sees one registration, one descriptor
 * is watched, or one poll runs; and no thread waits for it.
 * ------------------------------------------------------------------------------------------------------------- */

/* What the source can do; every function may be NULL, but one of inner, after_func, done_fd, err must not. ALWAYS SET
 * .size, to sizeof(belay_custom_ops): with 0 there belay_custom answers BELAY_EINVAL. Declare it `static const`: it is
 * not copied, and must outlive every wrapper. All are called with no lock held and may call anything in this header;
 * `self` is what belay_custom was given. */
typedef struct belay_custom_ops {
    size_t size;
    /* A context of Belay's that the source has inside; called once, at the start. The wrapper is its child. Where
     * nothing else here tells of an end, the wrapper ends with it and children hang on it directly: the fast path. */
    belay_ctx (*inner)(void *self);
    /* Arranges for fn(arg) to be called once, on any thread, when the source ends; at once if it has. Called once, at
     * the start. Returns what `stop` needs to call it off, 0 for nothing to call off. */
    uint64_t (*after_func)(void *self, void (*fn)(void *arg), void *arg);
    /* Calls it off, before `drop`, also when fn has been called. A call of fn that comes too late all the same does
     * no harm. */
    void (*stop)(void *self, uint64_t token);
    /* A descriptor that is readable from the end on, and that no other wrapper has (where one may: a dup of it). Called
     * once, at the start; it stays open until `drop`. */
    int (*done_fd)(void *self);
    /* BELAY_OK while live; else how it ended, BELAY_CANCELED or BELAY_DEADLINE_EXCEEDED, and in *cause why; a source
     * that has no cause of its own leaves *cause as it is. Alone it makes the slow path: it is called whenever someone
     * asks the wrapper or an unattached context below it, and every 10 ms once somebody listens there. Beside
     * after_func or done_fd it is called at the start and at the end. Keep it cheap and let it not block. If it asks
     * the wrapper, that is live as far as it can know. */
    belay_status (*err)(void *self, belay_cause *cause);
    /* True, and the instant, if the source has a deadline; called once, at the start. */
    bool (*deadline)(void *self, belay_instant *deadline);
    /* The value for a key that no context between the asker and the wrapper has; NULL to go on to `inner`. */
    void *(*value)(void *self, const belay_key *key);
    /* The wrapper and all below it have gone: the source is not used any more. As a value's drop; also if belay_custom
     * fails, unless the table is NULL or too short to be read. */
    void (*drop)(void *self);
} belay_custom_ops;

/* A context that ends when the source does, or by itself: belay_cancel ends the wrapper and what is below it, not the
 * source. (On the fast path it cannot be cancelled: BELAY_ENOCANCEL, like a value.) Close it once, as every derivation.
 * {0} on failure: BELAY_EINVAL (NULL or short ops, no function that tells of an end, a done_fd of -1, an inner
 * context that is none), BELAY_ESTALE or BELAY_ELEAF for the inner context, BELAY_ENOMEM, BELAY_ESYSTEM (a descriptor
 * that epoll does not take, or that another wrapper has: errno is EEXIST), BELAY_EFORK. If two things end it at the
 * same time, the first verdict stays. Which path wrappers are on is counted: see /custom/… at belay_metric_at. */
belay_ctx belay_custom(const belay_custom_ops *ops, void *self);

/* ---------------------------------------------------------------------------------------------------------------
 * 12. Request data
 *
 * What a request needs while it is served (a buffer, a parser, a scratch struct), made once and used again by one
 * request after another. A *pool* holds items of one size; an item is *in use* from the get to the put, and *free*
 * otherwise. Hung on a context (belay_with_data) an item is found by all work below, and goes back by itself when the
 * last context that can see it has gone.
 *
 * Do not pool what is small. Get and put take the same time for any size: 0.6 of malloc and free up to 1 KiB, 0.3
 * from 4 KiB on. That is some nanoseconds, which below some hundred bytes is not worth a pool. It is worth it for
 * items that are dear to make (`init`), or large. And bring a `reset` that undoes what was done: where the whole item
 * has to be zeroed, that is what it costs (0.6 of malloc and memset at 1 KiB, 0.9 at 8 KiB, where a reset that clears
 * one word takes 0.06).
 *
 * Each thread keeps free items of its own: two lots, each of about 64 KiB, two items at least and 64 at most. What is
 * beyond that goes to where other threads find it, up to 64 lots a pool; what is beyond that is released. So a thread
 * may make an item although another one has a free item, unless the pool is at its cap; and once each thread has as
 * many as it uses at a time, get and put allocate nothing. Hooks run on the thread that makes the call, with no lock
 * held, and may use the whole header.
 * ------------------------------------------------------------------------------------------------------------- */

/* A pool of items. Copy it freely. {0} is no pool. */
typedef struct belay_pool { uint64_t bits; } belay_pool;

/* Finds code that uses an item after it gave it back: while an item is free its content stands elsewhere, and its
 * bytes are filled with 0xDB and checked by the next get (and by trim and free): where they were written to, a
 * message says which pool, item and byte, and the program aborts. In a program that is built with the address
 * sanitizer, or runs under valgrind, any touch of a free item is reported where it happens. Costs twice the memory
 * and two copies. For tests. */
#define BELAY_POOL_CHECKED 1u

/* Leaves an item that is given back as it is: the next get finds in it what the last user left there. For buffers that
 * are written before they are read, or whose user clears what he needs clear himself. It saves the reset, which is half
 * of what get and put take. Not for what one request may not see of another. */
#define BELAY_POOL_AS_LEFT 2u

/* What a pool is to be like. ALWAYS SET .size (with 0 there belay_pool_new answers BELAY_EINVAL), and what you need
 * by name; the rest is zero:
 *     belay_pool_desc desc = {.size = sizeof desc, .item_size = sizeof(struct request)}; */
typedef struct belay_pool_desc {
    size_t size;                            /* sizeof(belay_pool_desc), so that later versions can add to it */
    size_t item_size;                       /* bytes, not 0 */
    size_t alignment;                       /* a power of two; it costs as much memory. 0: what suits every type */
    bool (*init)(void *item, void *self);   /* a new item, all zeroes; false: it cannot be made. NULL: zeroes will do */
    void (*reset)(void *item, void *self);  /* an item was given back: make it fit for the next one. NULL: all zeroes,
                                               or, with BELAY_POOL_AS_LEFT, nothing is done */
    void (*drop)(void *item, void *self);   /* an item goes for good, reset before; undo init. NULL: nothing to undo */
    void *self;                             /* for the three; must stay valid until the last item was dropped */
    size_t cap;                             /* the most items in existence at a time, in use or free; 0: no limit */
    unsigned flags;                         /* 0, or BELAY_POOL_CHECKED, BELAY_POOL_AS_LEFT, or both by | */
    const char *name;                       /* for people; copied, cut at 63 bytes. NULL: none */
} belay_pool_desc;

/* A new pool, which is yours to free. The struct is copied. Makes no item yet. {0} on failure: BELAY_EINVAL (NULL, an
 * item size of 0, an alignment that is no power of two, a size or flags that this version does not know, a reset
 * beside BELAY_POOL_AS_LEFT), BELAY_ENOMEM (255 pools are open or have items in use, or no machine has that much memory
 * for one item), BELAY_EFORK. Takes a lock for a moment. */
belay_pool belay_pool_new(const belay_pool_desc *desc);

/* An item of the pool, in use from now on: as `init` or the last `reset` left it, never with anything of its last use
 * that `reset` did not leave there (but for BELAY_POOL_AS_LEFT). Yours until you give it back, on whatever thread. No
 * locked instruction and no allocation while this thread has a free item; else one that others gave back, else a new
 * one (malloc, `init`). At the cap free items of other threads are taken, which costs as much as a trim: NULL means
 * that all items are in use, or being made or dropped, at that moment. NULL with belay_last_status(): BELAY_ENOMEM (the
 * cap, no memory, or `init` said false; then its memory is free again, and `drop` does not run), BELAY_EINVAL,
 * BELAY_ESTALE, BELAY_EFORK. Does not wait for an item. */
void *belay_pool_get(belay_pool pool);

/* Gives an item back: runs `reset` (NULL: zeroes it), and the next get on this thread finds it first. On whatever
 * thread. BELAY_OK, also for an item of a pool that was freed meanwhile, which is reset and dropped. BELAY_EINVAL for
 * NULL, for an item that is free already, or is another pool's: such calls do nothing. That check reads the word
 * before the item: `item` must have come from a get of this process, and of a pool that was not freed or trimmed
 * since it was given back. Two threads that give back one item at the same instant may both be believed:
 * BELAY_POOL_CHECKED finds such errors. BELAY_EBUSY for data that hangs on a context (belay_with_data), which gives it
 * back itself: the call does nothing. BELAY_ESTALE, BELAY_EFORK. */
belay_status belay_pool_put(belay_pool pool, void *item);

/* A context that carries an item of the pool, and is otherwise its parent: as belay_with_value, the same end,
 * deadline and cause, BELAY_ENOCANCEL, and its close ends nothing. The item is got as by belay_pool_get; *data, if
 * `data` is not NULL, is set to it. It belongs to the context: it is given back, exactly once, when the last context
 * that can see it has gone (children, detached ones too), on the thread that closes that one, or on one that is
 * inside a call on it at the same moment. A further one of the same pool hides it below. On failure {0}, *data is
 * NULL, and nothing is in use: belay_last_status() is one of belay_pool_get's or of a derivation's. Threads that
 * share the context share the item: what they write there is theirs to order. */
belay_ctx belay_with_data(belay_ctx parent, belay_pool pool, void **data);

/* The item of this pool that the nearest context carries; NULL where there is none. Constant time at any depth, hit
 * or miss; looks at no pool on a hit, so it answers also when the pool was freed meanwhile. Valid as long as a
 * context that can see it is open: get what you need before you close. For a context or a pool that is stale or none,
 * NULL with belay_last_status() BELAY_EINVAL, BELAY_ESTALE or BELAY_EFORK; a mere "none" leaves the last status
 * alone. */
void *belay_data(belay_ctx ctx, belay_pool pool);

/* Drops all items that are free, those of other threads too, and gives their memory back. Items in use are not
 * touched. Makes every thread of the process execute a barrier (some microseconds), and waits for threads that are in
 * the few instructions of a get or put, never for one that uses an item. For a quiet moment. BELAY_OK, BELAY_EINVAL,
 * BELAY_ESTALE, BELAY_EFORK. */
belay_status belay_pool_trim(belay_pool pool);

/* Ends a pool: the handle is stale at once, for get and with_data too; all free items are dropped before this
 * returns; those in use stay valid, and are dropped when they are given back (belay_pool_put with the old handle, or
 * the close of their context). Never waits for them. Of several calls that race one gets BELAY_OK, the others
 * BELAY_ESTALE. A get that races may still get an item, which is in use like any other. `drop` may still be running
 * on other threads, for items that they gave back or trimmed just now; `self` must stay until the last item was
 * dropped. BELAY_EINVAL, BELAY_EFORK. */
belay_status belay_pool_free(belay_pool pool);

/* ---------------------------------------------------------------------------------------------------------------
 * 13. On the wire
 *
 * What a context says, as text for another machine: the time left (an instant means nothing there), which trace the
 * work belongs to, and baggage. The header's names are yours to write and to look for; these functions read and write
 * values. They are pure: none of them looks at a context, allocates, or blocks, and all are async-signal-safe and
 * fork-safe. None makes up ids, and none is a whole HTTP: take blanks off the ends of a value before you have it read.
 *
 * The ones that read take `length` bytes of `text`, which needs no NUL, and look at no others. They answer BELAY_OK, or
 * BELAY_EINVAL for text that is not of the form or an argument that is NULL; what they were to fill in stays as it was.
 * The form is checked strictly: no blanks, no signs, nothing behind it.
 *
 * The ones that write return the length of the text without its NUL; 0 where there is nothing to send; -1 with
 * belay_last_status() BELAY_EINVAL for arguments that make no sense. Text that does not fit into `size` bytes with its
 * NUL is not written in part: `text` is then "", and the length (size or more) says how much room it takes. With a size
 * of 0 nothing is written, and `text` may be NULL.
 * ------------------------------------------------------------------------------------------------------------- */

/* Room enough for each of these with its NUL, whatever it says. */
#define BELAY_GRPC_TIMEOUT_SIZE 10
#define BELAY_TIMEOUT_MS_SIZE 14
#define BELAY_TRACEPARENT_SIZE 56

/* Writes a time left as the header grpc-timeout of gRPC: at most eight digits and a unit (H M S m u n), the finest that
 * will do, rounded up. So who reads it never gives up early, and at most a hundred-thousandth of the time late. For a
 * context:
 *     char text[BELAY_GRPC_TIMEOUT_SIZE];
 *     if (belay_grpc_timeout_format(belay_remaining(ctx), text, sizeof text) > 0) …
 * BELAY_FOREVER is no header at all: 0, and the empty text. A time that is up (0 and less) is "1n", because gRPC wants
 * a positive number; better than to send it is not to call at all. */
ptrdiff_t belay_grpc_timeout_format(belay_duration left, char *text, size_t size);

/* Reads a grpc-timeout, for belay_with_timeout. More than 292 years, such as 99999999H, is BELAY_FOREVER. Zero, which
 * gRPC forbids and some of its clients send, is taken for what it says: the time is up. */
belay_status belay_grpc_timeout_parse(const char *text, size_t length, belay_duration *left);

/* The same as plain milliseconds in decimal, for a header of your own: rounded up; "0" for a time that is up; 0 and the
 * empty text for BELAY_FOREVER. */
ptrdiff_t belay_timeout_ms_format(belay_duration left, char *text, size_t size);

/* Reads plain milliseconds: one digit or more, and nothing else. More than 292 years is BELAY_FOREVER. */
belay_status belay_timeout_ms_parse(const char *text, size_t length, belay_duration *left);

/* Which trace a request belongs to, and which step of it sent the request: the header traceparent of W3C Trace
 * Context. Ids that are all zero are none. `flags` are BELAY_TRACE_… */
typedef struct belay_traceparent {
    uint8_t trace_id[16];
    uint8_t parent_id[8];
    uint8_t flags;
} belay_traceparent;

#define BELAY_TRACE_SAMPLED 1 /* the sender may have recorded this trace */
#define BELAY_TRACE_RANDOM 2  /* the last seven bytes of the trace id are random */

/* Reads a traceparent. Version 00 has to be exact: 55 bytes, hex in lower case. Of a later version the same part is
 * read, as the specification asks for, with BELAY_TRACE_SAMPLED as the only flag; there may be more behind a dash.
 * BELAY_EINVAL also for version ff and for ids that are all zero. Whoever gets that starts a new trace. */
belay_status belay_traceparent_parse(const char *text, size_t length, belay_traceparent *trace);

/* Writes a traceparent of version 00. Before you pass one on, put the id of your own step into parent_id. Flags that
 * have no name here are written as 0. -1 for ids that are all zero. */
ptrdiff_t belay_traceparent_format(const belay_traceparent *trace, char *text, size_t size);

/* Copies the value of the first member called `key` out of a W3C baggage list, such as "user=ada, tenant = 7;private".
 * Keys are compared byte by byte. Blanks around the value and its properties (after a semicolon) are left out, and
 * percent-code is decoded: the value is UTF-8, with U+FFFD where the list has something else, or a NUL. It is never
 * longer than three times its part of the list. -1 where there is no such member; also, with the last status set to
 * BELAY_EINVAL, for arguments that make no sense, such as a key that is no token of HTTP. The value is "" then. What
 * anybody can send may hold line breaks: look at it before you log it. */
ptrdiff_t belay_baggage_get(const char *text, size_t length, const char *key, char *value, size_t size);

/* Sets a member in the baggage list `text`, a C string in a buffer of `size` bytes, which may be "": takes out what is
 * there for `key`, with its properties, and adds key=value at the end, percent-coded. The other members stay as they
 * are, without the blanks around them; NULL for `value` only takes out. Returns the length of the new list. Where that
 * has no room (it is size or more) and on failure the list is as it was. -1 with BELAY_EINVAL: NULL; a key that is no
 * token of HTTP; no NUL in `size` bytes; more than 64 members or 8192 bytes, which is as much as others have to carry.
 * `key` and `value` must not lie in the buffer. */
ptrdiff_t belay_baggage_set(char *text, size_t size, const char *key, const char *value);

/* ---------------------------------------------------------------------------------------------------------------
 * 14. Runtimes
 *
 * A runtime is what a family of contexts shares: a clock, the timers, who drives them, and where callbacks run. There
 * is a default one, which belay_background() belongs to and which you never see. Make others to keep parts of a program
 * apart, to live in an event loop without any thread of Belay's, or to test with a clock that you move yourself. A
 * context belongs to its parent's runtime. Contexts of all runtimes are the same kind of handle and mix freely.
 * ------------------------------------------------------------------------------------------------------------- */

/* Where belay_after_func and timer callbacks and the tasks of groups run. `submit` must arrange for run(task) to be
 * called exactly once, on any thread, soon; it may call it before it returns. It is called with no lock held, on the
 * thread that ends a context, the driver's, the one that registers on a done context, or the one that starts a task. */
typedef struct belay_executor {
    void (*submit)(void *self, void (*run)(void *task), void *task);
    void *self;
} belay_executor;

/* Gives callbacks of the default runtime to your executor from now on; NULL gives them to the built-in pool again. The
 * struct is copied; `self` must stay valid for as long as callbacks may be submitted. Tasks that are queued already
 * stay where they are. The pool starts no thread before it has work, starts another when work waits while its threads
 * are busy or blocked (so callbacks that wait for other callbacks make progress; up to 1024), and ends those that it
 * could have done without for 5 s. BELAY_OK; BELAY_EINVAL for a NULL submit. */
belay_status belay_set_executor(const belay_executor *executor);

/* A runtime. {0} is no runtime; like a context's, the handle cannot dangle. */
typedef struct belay_runtime { uint64_t bits; } belay_runtime;

/* What a runtime is to be. ALWAYS SET .size (with 0 there belay_runtime_new answers BELAY_EINVAL); what is zero is as
 * by default:
 *     belay_runtime_options options = {.size = sizeof options, .virtual_clock = true}; */
typedef struct belay_runtime_options {
    size_t size;
    const char *name;           /* its threads are called name-driver and name-worker, cut at 15 characters in all */
    belay_executor executor;    /* submit == NULL: a pool of its own; in a manual runtime the poll runs callbacks */
    size_t max_contexts;        /* contexts there may be at once, past that BELAY_ENOMEM; 0 for any number */
    belay_duration tick;        /* timers fire at multiples of this, so that many fire together: later, never earlier;
                                 * a poll fires what was due by the last multiple */
    bool manual;                /* no thread: your event loop calls belay_runtime_poll */
    bool virtual_clock;         /* time stands still but for belay_runtime_poll; implies manual */
    belay_instant start;        /* where a virtual clock starts; 0 for BELAY_SEC(1). It never gets to BELAY_FOREVER */
} belay_runtime_options;

/* Makes a runtime; NULL for all defaults. It is yours until belay_runtime_free. The options are copied. {0} on failure:
 * BELAY_EINVAL (a size of 0, a negative tick or start, or options that this version does not know), BELAY_ENOMEM (also
 * at 255 runtimes; one that was freed counts until the last of its contexts is closed), BELAY_EFORK. Starts no thread:
 * the first timer and the first callback do. */
belay_runtime belay_runtime_new(const belay_runtime_options *options);

/* The root of the runtime's contexts: as belay_background() is for the default one, but it ends with its runtime.
 * Returns the same handle each time; there is nothing to close, and it cannot be cancelled (BELAY_ENOCANCEL). {0} for a
 * handle that is none, or stale. */
belay_ctx belay_runtime_background(belay_runtime runtime);

/* Frees a runtime, in this order: every context under its root ends (cancelled, "the runtime was freed") and no new one
 * can be made under the root; callbacks on those ends are handed out; timers that are pending run at once, each one
 * more time, so that what hangs on their arguments is not lost; then the call waits, at most `timeout` of real time,
 * until all callbacks have returned, and for the runtime's threads to leave. Then the handle is stale: BELAY_OK. In a
 * manual runtime the callbacks run inside this call. It does not wait for inline callbacks (belay_on_done) that run on
 * threads of yours. BELAY_TIMEOUT: callbacks are still running; the runtime accepts nothing new, and you call again to
 * go on waiting. BELAY_EDEADLK from inside one of its own callbacks or a poll, and from whatever else runs on its own
 * threads. BELAY_ESTALE, BELAY_EINVAL (a handle that is none). Contexts remain yours to close; they read as done. What
 * is under a belay_without_cancel context stays live, and can be asked and cancelled, but no timer or deadline is
 * pushed to its listeners any more; its later callbacks run on the default runtime, and timers cannot be added
 * (BELAY_ESTALE). A virtual clock stands still for ever: there a wait with a timeout is BELAY_TIMEOUT at once.
 * belay_runtime_now goes by its clock to the end. */
belay_status belay_runtime_free(belay_runtime runtime, belay_duration timeout);

/* Makes Belay usable again in the child of a fork, for the only thread there is: call it before you start others. Every
 * context, registration, timer, group, and runtime of before the fork is stale here (BELAY_ESTALE); their drop
 * functions and callbacks do not run in this process, and an executor of yours is forgotten. The parent process is not
 * affected. BELAY_OK, also where there was no fork: then it does nothing. Takes time in proportion to the memory in
 * use. If it was called inside a callback, a drop function or a hook, that must not return in the child: what it would
 * return to is the work of before the fork. */
belay_status belay_runtime_restart(void);

/* The time by the runtime's clock: belay_now(), or what the virtual clock shows. By the real clock for a handle that is
 * none. Deadlines of the runtime's contexts are instants of this clock. */
belay_instant belay_runtime_now(belay_runtime runtime);

/* The runtime that a context belongs to: for belay_runtime_now, where code that was handed a context needs its clock
 * (`belay_runtime_now(belay_runtime_of(ctx)) + BELAY_SEC(30)`). {0} for contexts of the default runtime, which has no
 * handle and whose time is belay_now(), for those of a runtime that was freed, and for a context that is stale or none.
 * */
belay_runtime belay_runtime_of(belay_ctx ctx);

/* Driving a manual runtime. Call belay_runtime_poll when belay_runtime_fd is readable, or when belay_runtime_next has
 * come. The three are for one loop thread; all else may be used from any thread, and what another thread adds makes the
 * descriptor readable.
 *
 * Fires all that is due by `now` and runs the callbacks, on the calling thread, with no lock held; what these add is
 * fired too if it is due by `now`. The real clock: `now` is your loop's idea of the time (or BELAY_FOREVER for "what
 * the clock says"), and a time that has not come yet counts as the present. A virtual clock: this is what moves it. It
 * goes from due instant to due instant, so that each callback finds the time it asked for, and stands at `now` in the
 * end; it never goes back. Ties fire in no particular order. BELAY_OK; BELAY_EBUSY if a poll of this runtime is under
 * way, on another thread or around the caller; BELAY_EINVAL for a runtime that is not manual; BELAY_ESTALE. */
belay_status belay_runtime_poll(belay_runtime runtime, belay_instant now);

/* When to poll next, by the runtime's clock: not later than the first thing due, the present if something is to be run
 * at once, BELAY_FOREVER if there is nothing (and for a runtime that is not manual). */
belay_instant belay_runtime_next(belay_runtime runtime);

/* A descriptor that is readable when a poll has something to do; add it to your epoll, poll or libuv loop,
 * level-triggered. The same one each time; it belongs to the runtime, which closes it when it is freed. With a virtual
 * clock it is readable only when another thread has added something. -1 on failure: BELAY_EINVAL for a runtime that is
 * not manual, BELAY_ESTALE, BELAY_ESYSTEM. */
int belay_runtime_fd(belay_runtime runtime);

/* The most memory, in bytes, that contexts, registrations and timers may take together, process-wide; 0 is no limit
 * but the address space. Past it calls fail with BELAY_ENOMEM; once something is freed, work goes on. Memory that is
 * in use already is not given back. Items of pools do not count: a pool has its own cap. Always BELAY_OK. */
belay_status belay_memory_limit(size_t bytes);

/* ---------------------------------------------------------------------------------------------------------------
 * 15. Measure
 *
 * What Belay does and what it costs, by name. Counting is always on: a derivation, its close and a look-up each add one
 * to a word of the thread's own. All of these may be called at any time, however much goes on meanwhile;
 * belay_metric_at, belay_metrics_read and belay_metrics_prometheus take no lock and allocate nothing.
 * ------------------------------------------------------------------------------------------------------------- */

/* A counter only goes up, from the start of the process (or belay_runtime_restart) on; a gauge says how it is now. */
typedef enum belay_metric_kind { BELAY_METRIC_COUNTER = 0, BELAY_METRIC_GAUGE = 1 } belay_metric_kind;

/* What can be measured. The texts are constants that live for ever. `unit` is what follows the colon in `name`. */
typedef struct belay_metric {
    const char *name;           /* for belay_metrics_read; stays the same in later versions */
    const char *description;    /* half a sentence in lower case */
    belay_metric_kind kind;
    const char *unit;
} belay_metric;

/* The measurement at `index`, from 0 on, in *metric; false, and *metric is as it was, from their number on and for
 * NULL. So a loop until it says false lists them all. Later versions add some, at any place. The names, by groups:
 *   /ctx/live:contexts             contexts that are open or kept alive by a child; of these, by what they can do:
 *   /ctx/live/scope:contexts       … /value, /detached, /lite
 *   /ctx/created/cancel:contexts   … /timeout (deadlines too), /value, /data, /detached, /lite, /merge, /custom, and
 *                                  /inner: what merges, foreign parents and runtimes have inside
 *   /ctx/ended/canceled:contexts   … /deadline, /parent, and /closed: nothing else had ended them before. An end is
 *                                  counted when it is noticed: a context that nobody asks ends by its close
 *   /ctx/attached:contexts         contexts that joined the tree, because somebody listened
 *   /ctx/reset:contexts            belay_reset
 *   /value/found/nearest:lookups   look-ups of values and data by how deep they were found: in the context's nearest
 *                                  value, at /level-1 or /level-2 of the index of all keys above (a dozen keys take one
 *                                  level, some hundred two), /further down or past a foreign parent with values; and
 *                                  /value/missed:lookups. One that the thread remembers counts as where it was found
 *   /custom/inner:contexts         … /callback, /descriptor, /polled: foreign parents by how their end is noticed
 *   /timers/pending:timers         timers, and deadlines of contexts that somebody listens to, that are armed now
 *   /timers/armed:timers           … /fired, /stopped (before their time): a move stops one and arms one
 *   /timers/lateness/le-1ms:timers timers that fired at most so late. A histogram has such a name for each bound, which
 *                                  includes the bounds below: le-62500ns, le-125us, le-250us, … doubling to le-1024ms,
 *                                  and le-inf, which is all; and /timers/lateness/sum:nanoseconds. To its callback it
 *                                  may be longer: the queue comes on top
 *   /driver/wakeups:wakeups        times the driver threads woke from their sleep
 *   /executor/threads:threads      threads of the built-in pools now
 *   /executor/queue:tasks          callbacks and tasks that wait for one; /executor/taken:tasks had one, ever
 *   /task/live:tasks               registrations, timers and tasks that are pending, queued or running, and groups
 *   /task/created:tasks            all of these, ever
 *   /group/live:groups             groups that are open or have tasks; /group/created:groups, ever
 *   /signal/watchers:contexts      open contexts of belay_notify_signals; /signal/arrivals:signals came for one
 *   /pool/live:items               items of all pools in use, on contexts or not, or being made or dropped just now
 *   /pool/idle:items               items of all pools that are free
 *   /pool/hits:gets                gets that found a free item, ever; /pool/misses:gets had one made
 *   /memory/arena:bytes            memory taken from the system so far; /memory/limit:bytes: the most, 0 for any
 *   /memory/records:records        the records that listeners, causes and values take, 64 bytes each
 *   /memory/threads:threads        records of threads, which past ones leave to later ones
 *   /runtime/live:runtimes         runtimes that are open, the default one too
 */
bool belay_metric_at(size_t index, belay_metric *metric);

/* One measurement: set `name`, read `value` and `status` (BELAY_EINVAL for an unknown name). */
typedef struct belay_sample { const char *name; uint64_t value; belay_status status; } belay_sample;

/* Fills in `n` samples. Each is exact when nothing else runs (but for ends: where a cancel and a close of one context
 * meet, both may be counted), and near otherwise; sums are over all threads, past ones too. Counters never go back.
 * BELAY_OK, or BELAY_EINVAL if any name is unknown (the others are filled in all the same). Takes time in proportion to
 * the threads and pools there have been; little of it depends on `n`. */
belay_status belay_metrics_read(belay_sample *samples, size_t n);

/* All measurements as text for Prometheus (exposition format 0.0.4, text/plain; version=0.0.4), for the answer to GET
 * /metrics. Into a buffer, because what sends it is your server, which wants its length first. Returns the length
 * without the NUL; where that is not less than `size` nothing is written but "" (if there is room for that), and the
 * length says how much room it takes. Numbers grow meanwhile: BELAY_PROMETHEUS_SIZE is enough in any case. -1 with
 * belay_last_status() BELAY_EINVAL for NULL with a size. What can be added up is one name with a label, such as
 * belay_contexts_created_total{kind="timeout"}; the histogram is belay_timer_lateness_seconds. */
ptrdiff_t belay_metrics_prometheus(char *text, size_t size);

#define BELAY_PROMETHEUS_SIZE 16384

/* How belay_tree_write writes: for people, a line for each context, indented; for programs; for Graphviz
 * (dot -Tsvg). */
typedef enum belay_tree_format { BELAY_TREE_TEXT = 0, BELAY_TREE_JSON = 1, BELAY_TREE_DOT = 2 } belay_tree_format;

/* Writes to `fd` what there is below `ctx`, itself included: all of it for a root. Each context with its kind, its
 * handle's bits, how it ended and with what cause, or the time left; the name of a value's key, of a pool, of a
 * runtime; whether somebody listened and so made it join the tree ("attached"); whether it is closed, and kept by its
 * children. As text:
 *     background
 *       timeout 0x0000000110000004: live, 29.987 s left, attached
 *         value "tenant" 0x0000000120000005: live, 29.987 s left
 * As JSON: {"now":…,"contexts":[…]}, the contexts in one flat array, parents first, each with id, parent (null for
 * `ctx`), depth, kind (background, todo, runtime, cancel, timeout, value, data, detached, lite, merge, custom,
 * signals), state (live, canceled, deadline), attached, closed, runtime (its number), and where there is one name,
 * deadline, remaining, cause {code, message}, and of contexts that were sampled (belay_profile_rate) age (nanoseconds)
 * and site, the first few calls of the stack that derived it: "belay_with_cancel+0x23 (app) < handle+0x1f (app)". Names
 * of keys and pools are cut at 23 bytes, and those of runtimes at 8. Members may be added later. Text and DOT are for
 * people, and may change. A merged context stands below its first parent, a lite context whose parent has gone below
 * the background.
 *
 * It is a picture of something that moves: contexts that are made or closed meanwhile may be in it or not, and two of
 * them may be shown as they were at different moments. What ended unnoticed is shown as ended, but not made to. Nobody
 * is held up and nothing is locked, but while a context is looked at it is held: belay_reset may say BELAY_EBUSY, and a
 * drop function may run on this thread. Takes time and memory in proportion to the most contexts there have been, 64
 * bytes each, which it gives back. Blocks as long as writing to `fd` does; raises no SIGPIPE. BELAY_OK; BELAY_EINVAL
 * for a format that is none or a negative descriptor; BELAY_ESYSTEM if writing fails (errno says why; some may be
 * written); BELAY_ENOMEM; as for every call BELAY_EINVAL, BELAY_ESTALE or BELAY_EFORK for the context. */
belay_status belay_tree_write(belay_ctx ctx, belay_tree_format format, int fd);

/* Switches sampling on or off: of the derivations of each thread one in `every`, at random distances, is remembered
 * with its call stack; 1 is all of them, 0 none. 0 is where a program starts, unless the environment says otherwise:
 * BELAY_PROFILE_RATE=1000. Contexts that are open already are not sampled later; what was sampled stays, and counts as
 * much as the rate of its time says. Threads that derive at the moment may take a few derivations to notice.
 *
 * While off it costs nothing that can be measured. While on, a derivation costs a few nanoseconds more, and one that is
 * sampled a microsecond or two, mostly for the stack, which is taken by the program's unwind tables; so at one in 1000
 * it is a nanosecond or two on the average. Memory: 2 MiB for up to 4096 different stacks, of up to 32 calls each, of
 * which only what is used is taken from the system, and 64 KiB for every 4096 contexts among which one was sampled. It
 * is not given back. Stacks beyond the 4096 count for one without calls.
 * BELAY_OK; BELAY_ENOMEM, and nothing is changed; BELAY_EFORK. The child of a fork that restarts keeps the rate and
 * starts with empty profiles. */
belay_status belay_profile_rate(uint32_t every);

/* Which profile to write. Counts are estimates for all derivations: each sample counts as many times as the rate said.
 * */
typedef enum belay_profile_kind {
    BELAY_PROFILE_LIVE = 1,         /* contexts that are open now, by the stack that derived them: what leaks */
    BELAY_PROFILE_DERIVATIONS = 2,  /* contexts derived since sampling began, by stack: what is hot */
    BELAY_PROFILE_CANCELLATIONS = 3 /* contexts closed since then, by the stack that derived them and by how they had
                                     * ended, as the label "reason": closed (by their own close), canceled, canceled
                                     * with a cause, deadline exceeded, parent canceled, parent's deadline exceeded */
} belay_profile_kind;

/* Writes a profile to a descriptor, in the format of pprof (uncompressed), for
 *     go tool pprof -top profile         go tool pprof -list function profile
 *     go tool pprof -top -lines profile  go tool pprof -http=: profile   go tool pprof -tagfocus reason=deadline …
 * Functions are named from the symbol tables of the program and its libraries, and files and lines from their line
 * tables (gcc -g; DWARF 2 to 5, not compressed), so it can be read where they are not. A line of a function that was
 * inlined is under the name of the one around it; Belay's own functions have no lines. Without line tables there are
 * names alone, and without symbols addresses and build ids. A profile without samples is valid, too. Other threads
 * may derive and close meanwhile: each context is counted or not, but the sum is of no single moment. Blocks for as
 * long as a write to the descriptor does; one that does not block is waited for. Reads /proc/self/maps and the files
 * named there; uses some hundred KiB of memory while it runs, and no lock that a derivation would wait for. Raises no
 * SIGPIPE. Does not close `fd`.
 * BELAY_OK; BELAY_ESYSTEM and errno when a write fails, with part of the profile written; BELAY_EINVAL for a negative
 * descriptor or a kind that is none; BELAY_ENOMEM; BELAY_EFORK. */
belay_status belay_profile_write(belay_profile_kind kind, int fd);

/* Looks for uses of contexts that cost more than they need to or leak, and writes to `fd` what it finds, as text: for
 * each symptom what was seen, in numbers and with the functions that did it; the likely cause; a remedy; and where in
 * docs/audit.md it is explained. Where it finds nothing it says so in one line. The order is always the same. Before
 * the symptoms it says how many contexts are open (roots apart; all that have a handle, with those of groups and
 * runtimes that are not freed), and which places most of them come from, as far as they were sampled. That is no
 * symptom: they may be meant to be open.
 *
 * It looks at what is there now, and at what was sampled: switch sampling on at the start (one in 64 will do), or most
 * symptoms stay unseen. With BELAY_AUDIT=1 in the environment sampling is on from the first derivation on (at one in
 * 64, if BELAY_PROFILE_RATE does not say otherwise), and when the process ends by exit() or by returning from main an
 * audit is written to standard error. A program that derives few contexts is better sampled whole: BELAY_AUDIT=1
 * BELAY_PROFILE_RATE=1. Where nothing was sampled the audit says so instead of "nothing found".
 *
 * It gives advice, not verdicts: what it takes for waste may be what the program is about. Never changes anything. As
 * for belay_profile_write in all else: what it reads, blocking, memory, threads, and what it answers. It looks at each
 * cell of the arena once. */
belay_status belay_audit_write(int fd);

/* ---------------------------------------------------------------------------------------------------------------
 * 16. Local contexts
 *
 * A lite context (belay_lite) in its caller's own memory, on the stack as a rule: for an inner loop, or for a function
 * that has a timeout of its own. It is asked, waited for, cancelled and closed. It needs no memory of Belay's, no
 * locked instruction and no counter, and so little more than half of the instructions that belay_lite takes.
 *
 *     belay_local item;
 *     (void)belay_local_open(&item, batch, BELAY_MS(5));   // a failure reads as done
 *     while (!belay_local_is_done(&item) && step(work)) {}
 *     (void)belay_local_close(&item);
 *
 * THE MEMORY IS YOURS, and this is the one thing in this header whose misuse is not always caught. Between open and
 * close it must stay where it is and what it is, and no other thread may be in a call on it, or make one, once it is
 * gone or used for something else: that is undefined behaviour, as for any variable. (One call may still be on its way
 * out: belay_local_close waits for cancels that have begun.) So a function that gives the address of its local to
 * others takes it back from all of them before it closes and returns. Where you cannot see to that, use belay_lite,
 * whose handles cannot dangle.
 *
 * It cannot be copied by assignment: the copy is none. Memory that holds no open local context reads as done: with
 * BELAY_EINVAL where it is zeroes, a copy or, as a rule, anything else; with BELAY_ESTALE after the close; with what
 * belay_local_open answered where that failed. So does a NULL pointer (BELAY_EINVAL). In the child of a fork all are
 * BELAY_EFORK; after belay_runtime_restart those of before are BELAY_ESTALE.
 *
 * There is no handle, so nothing can be derived from one or registered on it. It is in no count, profile or tree, and
 * does not count against a limit of memory or of its parent's runtime. While it is open any thread may ask, cancel and
 * wait, any number at a time; open and close are for one thread, with nobody else in a call. As everywhere, the first
 * end wins, and decides for all. None of these functions is async-signal-safe; none blocks but belay_local_wait.
 * ------------------------------------------------------------------------------------------------------------- */

/* Its contents are Belay's own. Need not be initialised before belay_local_open; {0} reads as done. */
typedef struct belay_local { uint64_t words[8]; } belay_local;

/* Makes a context in *local that ends with `parent`, and `timeout` from now at the latest, never earlier
 * (BELAY_FOREVER: no deadline of its own; no clock is read. Zero and negative timeouts have passed already). Whatever
 * was there before is overwritten; so a local context that is open already is closed first. The parent's end counts as
 * for belay_lite: a parent that is closed reads as cancelled, and its cause is known only if the local context was
 * asked before. Where that parent is in a runtime of its own (section 14), a deadline that nobody noticed before it was
 * closed is not reported. BELAY_OK, also under a parent that is done. Else the status that it reads as from then on:
 * BELAY_EINVAL or BELAY_ESTALE for the parent, BELAY_ELEAF for a lite parent, BELAY_EFORK; and BELAY_EINVAL for NULL.
 * Never BELAY_ENOMEM. */
belay_status belay_local_open(belay_local *local, belay_ctx parent, belay_duration timeout);

/* As belay_is_done: true once it has ended, or its deadline has passed; true where none is open. */
bool belay_local_is_done(const belay_local *local);

/* As belay_err: BELAY_OK while live, else BELAY_CANCELED or BELAY_DEADLINE_EXCEEDED; or the status of what is none. */
belay_status belay_local_err(const belay_local *local);

/* As belay_cause_of: false, and *cause is as it was, while it is live or where `cause` is NULL. Of what is none the
 * status and its text. */
bool belay_local_cause_of(const belay_local *local, belay_cause *cause);

/* As belay_remaining: nanoseconds until its deadline or its parent's, whichever is earlier; BELAY_FOREVER, or 0. */
belay_duration belay_local_remaining(const belay_local *local);

/* As belay_wait: blocks until it is done or `timeout` has passed (BELAY_TIMEOUT; 0 or less only asks). Ended by its
 * parent's end, its deadline, and by belay_local_cancel on another thread; not by belay_local_close, which must not be
 * called meanwhile. Under a parent with a virtual clock both times are that clock's, and BELAY_EDEADLK is the answer
 * inside a poll of it: see belay_wait. BELAY_ENOMEM or BELAY_ESYSTEM at once if the parent cannot be listened to. */
belay_status belay_local_wait(belay_local *local, belay_duration timeout);

/* As belay_cancel: ends it, with BELAY_CANCELED, if it is live; the parent is not affected. When any call of this
 * returns it reads as done. BELAY_OK, also where it had ended before; the status of what is none. */
belay_status belay_local_cancel(belay_local *local);

/* The same with a cause, as belay_cancel_cause. BELAY_ENOMEM: it ended without the cause. */
belay_status belay_local_cancel_cause(belay_local *local, int64_t code, const char *message);

/* Gives it up: it reads as BELAY_ESTALE from then on, and the memory is yours for anything else. To forget this is a
 * leak of 64 bytes where it was cancelled with a cause, or was asked after its parent had been, and of nothing
 * otherwise. BELAY_OK; BELAY_ESTALE for a second close; the status of what is none. */
belay_status belay_local_close(belay_local *local);

/* ---------------------------------------------------------------------------------------------------------------
 * 17. Helpers
 * ------------------------------------------------------------------------------------------------------------- */

/* Closes a context when its variable goes out of scope (gcc, clang):
 *     BELAY_SCOPED belay_ctx ctx = belay_with_timeout(parent, BELAY_MS(100)); */
#if defined(__GNUC__) || defined(__clang__)
static inline void belay_scoped_close(belay_ctx *ctx) {
    if (ctx->bits != 0) (void)belay_close(*ctx);
}
#define BELAY_SCOPED __attribute__((cleanup(belay_scoped_close)))
#endif

#ifdef __cplusplus
}
#endif
#endif /* BELAY_H */
