// SPDX-License-Identifier: Apache-2.0
//
// Local contexts: lite ones in their caller's own memory.
#include "check.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

static belay_ctx root(void) { return belay_with_cancel(belay_background()); }

static void open_under(belay_local *local, belay_ctx parent, belay_duration timeout) {
    memset(local, 0xa5, sizeof *local); // needs no initialisation
    CHECK_IS(belay_local_open(local, parent, timeout), BELAY_OK);
}

static void is_live(belay_local *local) {
    CHECK_IS(belay_local_err(local), BELAY_OK);
    CHECK(!belay_local_is_done(local));
    belay_cause cause = {-1, "?"};
    CHECK(!belay_local_cause_of(local, &cause));
    CHECK_IS(cause.code, -1);
    CHECK(belay_local_remaining(local) > 0);
    CHECK_IS(belay_local_wait(local, 0), BELAY_TIMEOUT);
}

static void is_done(belay_local *local, belay_status error) {
    CHECK_IS(belay_local_err(local), error);
    CHECK(belay_local_is_done(local));
    CHECK_IS(belay_local_remaining(local), 0);
    CHECK_IS(belay_local_wait(local, BELAY_FOREVER), error);
    CHECK_IS(belay_local_wait(local, INT64_MIN), error);
    CHECK(!belay_local_cause_of(local, NULL));
}

static void has_cause(belay_local *local, int64_t code, const char *message) {
    belay_cause cause = {-1, "?"};
    CHECK(belay_local_cause_of(local, &cause));
    CHECK_IS(cause.code, code);
    CHECK(strcmp(cause.message, message) == 0);
}

// Memory that holds none: every function says so, and nothing else happens.
static void is_none(belay_local *local, belay_status status) {
    is_done(local, status);
    has_cause(local, status, belay_status_string(status));
    CHECK_IS(belay_local_cancel(local), status);
    CHECK_IS(belay_local_cancel_cause(local, 1, "x"), status);
    CHECK_IS(belay_local_close(local), status);
}

static void close_it(belay_local *local) {
    CHECK_IS(belay_local_close(local), BELAY_OK);
    is_none(local, BELAY_ESTALE);
}

// --- What is one and what is none

static void memory_without_one_reads_as_done(void) {
    belay_local local = {{0}}, copy;
    CHECK_IS(sizeof local, 64);
    is_none(&local, BELAY_EINVAL);
    is_none(NULL, BELAY_EINVAL);
    CHECK_IS(belay_local_open(NULL, belay_background(), 1), BELAY_EINVAL);
    uint64_t random = 7;
    for (long round = check_scaled(20000); round > 0; round--) {
        for (size_t i = 0; i < 8; i++) local.words[i] = check_random(&random) >> check_random(&random) % 64;
        CHECK(belay_local_is_done(&local));
        CHECK_IS(belay_local_close(&local), BELAY_EINVAL);
    }
    belay_ctx parent = root();
    open_under(&local, parent, BELAY_FOREVER);
    is_live(&local);
    copy = local;
    is_none(&copy, BELAY_EINVAL);
    is_live(&local);
    close_it(&local);
    copy = local;
    is_none(&copy, BELAY_EINVAL);
    open_under(&local, parent, BELAY_FOREVER); // the memory may be used again
    is_live(&local);
    close_it(&local);
    check_close(parent);
}

static void parents_that_are_none_are_refused(void) {
    belay_ctx parent = root(), lite = belay_lite(parent, BELAY_FOREVER);
    struct { belay_ctx parent; belay_status status; } all[] = {
        {{0}, BELAY_EINVAL}, {{UINT64_MAX}, BELAY_EINVAL}, {lite, BELAY_ELEAF}, {{parent.bits + (UINT64_C(1) << 40)}, BELAY_EINVAL}};
    belay_local local;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        memset(&local, 0xff, sizeof local);
        CHECK_IS(belay_local_open(&local, all[i].parent, i % 2 ? 1 : BELAY_FOREVER), all[i].status);
        is_none(&local, all[i].status);
    }
    check_close(lite);
    check_close(parent);
    CHECK_IS(belay_local_open(&local, lite, BELAY_FOREVER), BELAY_ESTALE);
    is_none(&local, BELAY_ESTALE);
    CHECK_IS(belay_local_open(&local, parent, 1), BELAY_ESTALE);
    is_none(&local, BELAY_ESTALE);
}

static void every_other_kind_is_a_parent(void) {
    static const belay_key key = {"key"};
    belay_ctx top = belay_with_timeout(belay_background(), BELAY_SEC(1000)), value = belay_with_value(top, &key, NULL, NULL);
    belay_ctx under = belay_with_cancel(value), heard = belay_with_cancel(top), detached = belay_without_cancel(top);
    CHECK(belay_on_done(heard, check_ignore, NULL).bits != 0);
    belay_ctx two[] = {top, heard}, merged = belay_merge(two, 2);
    belay_ctx all[] = {belay_background(), belay_todo(), detached, top, value, under, heard, merged};
    enum { ALL = sizeof all / sizeof *all };
    belay_local locals[ALL];
    for (int i = 0; i < ALL; i++) {
        open_under(&locals[i], all[i], i % 2 ? BELAY_SEC(2000) : BELAY_FOREVER);
        is_live(&locals[i]);
        belay_duration left = belay_local_remaining(&locals[i]);
        if (i == 0 || i == 2) CHECK_IS(left, BELAY_FOREVER);
        else if (i == 1) CHECK(left > BELAY_SEC(1000) && left <= BELAY_SEC(2000));
        else CHECK(left <= BELAY_SEC(1000));
    }
    belay_cancel_cause(top, 9, "nine");
    for (int i = 0; i < ALL; i++) {
        if (i < 3) {
            is_live(&locals[i]);
        } else {
            is_done(&locals[i], BELAY_CANCELED);
            has_cause(&locals[i], 9, "nine");
        }
        close_it(&locals[i]);
    }
    belay_ctx born[] = {merged, detached, heard, under, value, top};
    for (size_t i = 0; i < sizeof born / sizeof *born; i++) check_close(born[i]);
}

// --- Ends

static void it_ends_with_its_parent(void) {
    belay_ctx parent = root();
    belay_local asked, late, born;
    open_under(&asked, parent, BELAY_FOREVER);
    open_under(&late, parent, BELAY_FOREVER);
    CHECK_IS(belay_local_remaining(&asked), BELAY_FOREVER);
    belay_cancel_cause(parent, 7, "seven");
    is_done(&asked, BELAY_CANCELED);
    open_under(&born, parent, BELAY_FOREVER); // under a parent that is done already
    is_done(&born, BELAY_CANCELED);
    check_close(parent);
    has_cause(&asked, 7, "seven"); // it was asked before, so it knows
    has_cause(&born, 7, "seven");
    belay_ctx other = root(); // lives where the parent did
    CHECK_IS(other.bits & 0xfffffff, parent.bits & 0xfffffff);
    is_done(&late, BELAY_CANCELED);
    has_cause(&late, BELAY_CANCELED, "context canceled");
    check_close(other);
    close_it(&asked);
    close_it(&late);
    close_it(&born);
    belay_ctx timed = belay_with_timeout_cause(belay_background(), BELAY_MS(1), 8, "eight");
    open_under(&asked, timed, BELAY_SEC(1000));
    CHECK_IS(belay_local_wait(&asked, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    has_cause(&asked, 8, "eight");
    close_it(&asked);
    check_close(timed);
}

static void it_has_a_deadline_of_its_own(void) {
    belay_ctx parent = belay_with_timeout(belay_background(), BELAY_SEC(1000));
    belay_local local;
    open_under(&local, parent, BELAY_SEC(100));
    CHECK(belay_local_remaining(&local) > 0 && belay_local_remaining(&local) <= BELAY_SEC(100));
    close_it(&local);
    open_under(&local, parent, BELAY_SEC(100000));
    CHECK(belay_local_remaining(&local) <= BELAY_SEC(1000));
    close_it(&local);
    belay_instant before = belay_now();
    open_under(&local, parent, BELAY_MS(3));
    CHECK_IS(belay_local_wait(&local, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    CHECK(belay_now() >= before + BELAY_MS(3));
    is_done(&local, BELAY_DEADLINE_EXCEEDED);
    has_cause(&local, BELAY_DEADLINE_EXCEEDED, "deadline exceeded");
    CHECK_IS(belay_local_cancel_cause(&local, 1, "too late"), BELAY_OK);
    has_cause(&local, BELAY_DEADLINE_EXCEEDED, "deadline exceeded");
    close_it(&local);
    static const belay_duration past[] = {0, -1, -BELAY_SEC(5), INT64_MIN};
    for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
        open_under(&local, parent, past[i]);
        is_done(&local, BELAY_DEADLINE_EXCEEDED);
        close_it(&local);
    }
    open_under(&local, belay_background(), INT64_MAX - 1); // a sum that overflows is never
    CHECK_IS(belay_local_remaining(&local), BELAY_FOREVER);
    is_live(&local);
    close_it(&local);
    open_under(&local, belay_background(), BELAY_US(100)); // without a wait
    while (!belay_local_is_done(&local)) {}
    is_done(&local, BELAY_DEADLINE_EXCEEDED);
    close_it(&local);
    belay_set_deadline(parent, belay_now() + BELAY_MS(1)); // a parent whose deadline moves
    open_under(&local, parent, BELAY_SEC(1));
    CHECK_IS(belay_local_wait(&local, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    close_it(&local);
    check_close(parent);
}

static void it_is_cancelled_by_itself(void) {
    belay_ctx parent = root();
    belay_local local;
    open_under(&local, parent, BELAY_SEC(100));
    CHECK_IS(belay_local_cancel_cause(&local, 3, "three"), BELAY_OK);
    CHECK_IS(belay_local_cancel_cause(&local, 4, "four"), BELAY_OK);
    CHECK_IS(belay_local_cancel(&local), BELAY_OK);
    check_live(parent);
    CHECK_IS(belay_cancel_cause(parent, 5, "five"), BELAY_OK);
    is_done(&local, BELAY_CANCELED);
    has_cause(&local, 3, "three");
    close_it(&local);
    check_close(parent);
    open_under(&local, belay_todo(), BELAY_FOREVER);
    CHECK_IS(belay_local_cancel(&local), BELAY_OK);
    has_cause(&local, BELAY_CANCELED, "context canceled");
    CHECK_IS(belay_local_cancel_cause(&local, 4, "four"), BELAY_OK);
    has_cause(&local, BELAY_CANCELED, "context canceled");
    close_it(&local);
    open_under(&local, belay_todo(), BELAY_FOREVER);
    CHECK_IS(belay_local_cancel_cause(&local, INT64_MIN, NULL), BELAY_OK);
    has_cause(&local, INT64_MIN, "");
    close_it(&local);
}

static void nothing_is_counted_and_nothing_leaks(void) {
    static const char *const names[] = {"/ctx/live:contexts", "/ctx/created/lite:contexts", "/ctx/ended/canceled:contexts",
        "/ctx/ended/deadline:contexts", "/ctx/ended/parent:contexts", "/ctx/ended/closed:contexts", "/memory/records:records",
        "/memory/arena:bytes"};
    enum { NAMES = sizeof names / sizeof *names };
    belay_ctx parent = root(), done = root();
    belay_cancel_cause(done, 1, "one");
    uint64_t before[NAMES] = {0};
    for (int turn = 0; turn < 2; turn++) { // the first one makes what is made once
        for (int i = 0; i < NAMES; i++) before[i] = check_metric(names[i]);
        for (int i = 0; i < 5000; i++) {
            belay_local live, cancelled, late, under;
            open_under(&live, parent, BELAY_SEC(9));
            open_under(&cancelled, parent, BELAY_FOREVER);
            open_under(&late, parent, 0);
            open_under(&under, done, BELAY_FOREVER);
            CHECK_IS(belay_local_cancel_cause(&cancelled, i, "why"), BELAY_OK);
            has_cause(&cancelled, i, "why");
            is_done(&late, BELAY_DEADLINE_EXCEEDED);
            has_cause(&under, 1, "one");
            if (i % 2) close_it(&live); // the others are forgotten: nothing is lost
            close_it(&cancelled);
            close_it(&under);
        }
    }
    for (int i = 0; i < NAMES; i++) CHECK_IS(check_metric(names[i]), before[i]);
    check_close(parent);
    check_close(done);
}

// --- Waiting

struct waiter { belay_local *local; belay_status status; };
static void wait_for_it(void *argument) {
    struct waiter *waiter = argument;
    waiter->status = belay_local_wait(waiter->local, BELAY_FOREVER);
}

static void waiters_are_woken_by_whatever_ends_it(void) {
    for (long round = check_scaled(300); round > 0; round--) {
        belay_ctx parent = root();
        belay_local local;
        open_under(&local, parent, round % 3 == 2 ? BELAY_US(200) : BELAY_FOREVER);
        enum { WAITERS = 3 };
        struct check_thread threads[WAITERS];
        struct waiter waiters[WAITERS];
        for (int i = 0; i < WAITERS; i++) {
            waiters[i].local = &local;
            check_start(&threads[i], wait_for_it, &waiters[i]);
        }
        if (round % 4) check_sleep(BELAY_US(round % 7 * 20));
        if (round % 3 == 0) belay_cancel(parent);
        if (round % 3 == 1) belay_local_cancel(&local);
        for (int i = 0; i < WAITERS; i++) {
            check_join(&threads[i]);
            CHECK_IS(waiters[i].status, round % 3 == 2 ? BELAY_DEADLINE_EXCEEDED : BELAY_CANCELED);
        }
        close_it(&local);
        check_close(parent);
    }
    belay_local never;
    open_under(&never, belay_background(), BELAY_FOREVER);
    CHECK_IS(belay_local_wait(&never, BELAY_MS(2)), BELAY_TIMEOUT);
    close_it(&never);
}

// The close of a context that carries a value, or is detached, ends nothing but the leaves below; and those who wait for
// one are told.
static const belay_key holder_key = {"holder"};
enum { HOLDERS = 4 };
static belay_ctx holder(int kind, belay_ctx scope) {
    if (kind == 0) return belay_with_value(belay_background(), &holder_key, NULL, NULL);
    if (kind == 1) return belay_with_value(scope, &holder_key, NULL, NULL);
    belay_ctx above = belay_with_cancel(scope), made = belay_without_cancel(above);
    if (kind == 3) { // a value below one whose scope is closed
        belay_ctx value = belay_with_value(made, &holder_key, NULL, NULL);
        check_close(made);
        made = value;
    }
    check_close(above);
    return made;
}

static void waiters_are_woken_by_the_close_of_a_value(void) {
    belay_ctx scope = root();
    for (int round = 0; round < 4 * HOLDERS; round++) {
        belay_ctx parent = holder(round % HOLDERS, scope);
        belay_local local;
        open_under(&local, parent, BELAY_FOREVER);
        struct waiter waiter = {.local = &local};
        struct check_thread thread;
        check_start(&thread, wait_for_it, &waiter);
        check_sleep(BELAY_MS(1));
        is_live(&local);
        check_close(parent);
        check_join(&thread);
        CHECK_IS(waiter.status, BELAY_CANCELED);
        belay_ctx other = holder(round % HOLDERS, scope); // lives where the parent did
        is_done(&local, BELAY_CANCELED);
        check_close(other);
        close_it(&local);
    }
    check_close(scope);
}

static belay_local awaited;
static atomic_long round_of, out;
static void wait_each_round(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument;
    for (long round = 1;; round++) {
        while (atomic_load(&round_of) < round) {
            if (atomic_load(&round_of) < 0) return;
            sched_yield();
        }
        for (volatile uint64_t spin = check_random(&random) % 500; spin > 0; spin--) {}
        CHECK_IS(belay_local_wait(&awaited, BELAY_FOREVER), BELAY_CANCELED);
        atomic_fetch_add(&out, 1);
    }
}
static void waiters_race_with_the_close_of_a_value(void) {
    enum { WAITERS = 2 };
    struct check_thread waiters[WAITERS];
    uint64_t random = 11;
    long rounds = check_scaled(4000);
    belay_ctx scope = root();
    atomic_store(&round_of, 0);
    atomic_store(&out, 0);
    for (int i = 0; i < WAITERS; i++) check_start(&waiters[i], wait_each_round, (void *)(uintptr_t)(i + 1));
    for (long round = 1; round <= rounds; round++) {
        int kind = (int)(check_random(&random) % HOLDERS);
        belay_ctx parent = holder(kind, scope);
        open_under(&awaited, parent, BELAY_FOREVER);
        atomic_store(&round_of, round);
        for (volatile uint64_t spin = check_random(&random) % 1500; spin > 0; spin--) {}
        if (round % 16 == 0) check_sleep(BELAY_US(100));
        check_close(parent);
        belay_ctx other = holder(kind, scope); // in the same cell, as a rule
        while (atomic_load(&out) < round * WAITERS) sched_yield();
        check_close(other);
        close_it(&awaited);
    }
    atomic_store(&round_of, -1);
    for (int i = 0; i < WAITERS; i++) check_join(&waiters[i]);
    check_close(scope);
}

// A function that waits for a local of its own returns as soon as another thread has cancelled that: the cancel may
// still be on its way out.
static void cancel_it(void *argument) { CHECK_IS(belay_local_cancel_cause(argument, 6, "six"), BELAY_OK); }

static void close_waits_for_the_cancel_that_woke_it(void) {
    for (long round = check_scaled(2000); round > 0; round--) {
        belay_local local;
        struct check_thread canceller;
        open_under(&local, belay_background(), BELAY_FOREVER);
        // After this the cancel takes the long way out: it believes that somebody sleeps.
        CHECK_IS(belay_local_wait(&local, BELAY_US(1)), BELAY_TIMEOUT);
        check_start(&canceller, cancel_it, &local);
        if (round % 4) while (!belay_local_is_done(&local)) {}
        CHECK_IS(belay_local_wait(&local, BELAY_FOREVER), BELAY_CANCELED);
        has_cause(&local, 6, "six");
        CHECK_IS(belay_local_close(&local), BELAY_OK);
        memset(&local, 0x5a, sizeof local);
        check_join(&canceller);
        for (size_t i = 0; i < 8; i++) CHECK_IS(local.words[i], 0x5a5a5a5a5a5a5a5a);
    }
}

// The same with the canceller held up on its way, also between the verdict and its last step. It goes along a row of
// locals; their owner follows, and closes each as soon as it reads as done.
enum { ROW = 256 };
static belay_local row[ROW];
static atomic_long rows_open, rows_cancelled, cancels;
static atomic_bool rows_over, rows_closed;

static void cancel_rows(void *argument) {
    (void)argument;
    for (long done = 0;; done++) {
        while (atomic_load(&rows_open) == done) {
            if (atomic_load(&rows_closed)) return;
            sched_yield();
        }
        for (int i = 0; i < ROW; i++) {
            CHECK_IS(belay_local_cancel(&row[i]), BELAY_OK);
            atomic_fetch_add(&cancels, 1);
        }
        atomic_fetch_add(&rows_cancelled, 1);
    }
}
static void close_rows(void *argument) {
    (void)argument;
    for (long done = 0; !atomic_load(&rows_over); done++) {
        for (int i = 0; i < ROW; i++) {
            open_under(&row[i], belay_background(), BELAY_FOREVER);
            // After this the cancel believes that somebody sleeps, and has one thing more to write.
            CHECK_IS(belay_local_wait(&row[i], 1), BELAY_TIMEOUT);
        }
        atomic_fetch_add(&rows_open, 1);
        for (int i = 0; i < ROW; i++) {
            while (!belay_local_is_done(&row[i])) {}
            CHECK_IS(belay_local_close(&row[i]), BELAY_OK);
            memset(&row[i], 0x5a, sizeof row[i]);
        }
        while (atomic_load(&rows_cancelled) == done) sched_yield();
        for (int i = 0; i < ROW; i++)
            for (size_t j = 0; j < 8; j++) CHECK_IS(row[i].words[j], 0x5a5a5a5a5a5a5a5a);
    }
}
static void nobody_writes_after_the_close(void) {
    struct check_thread canceller, owner;
    uint64_t random = 31;
    long held = 0;
    atomic_store(&rows_open, 0);
    atomic_store(&rows_cancelled, 0);
    atomic_store(&rows_over, false);
    atomic_store(&rows_closed, false);
    check_start(&canceller, cancel_rows, NULL);
    check_start(&owner, close_rows, NULL);
    for (belay_instant end = belay_now() + BELAY_MS(check_scaled(400)); belay_now() < end;) {
        check_await(&cancels, atomic_load(&cancels) + (long)(check_random(&random) % ROW));
        if (check_hold(&canceller)) held++;
        check_sleep(BELAY_US(5));
        check_free();
    }
    atomic_store(&rows_over, true);
    check_join(&owner); // who may have opened one more row, and waits for its end
    atomic_store(&rows_closed, true);
    check_join(&canceller);
    printf("    %ld rows, in which the canceller was held %ld times\n", atomic_load(&rows_cancelled), held);
}

// --- Other runtimes

static belay_runtime make_virtual(void) {
    belay_runtime_options options = {.size = sizeof options, .virtual_clock = true};
    belay_runtime runtime = belay_runtime_new(&options);
    CHECK(runtime.bits != 0);
    return runtime;
}
static void pass(belay_runtime runtime, belay_duration length) {
    CHECK_IS(belay_runtime_poll(runtime, belay_runtime_now(runtime) + length), BELAY_OK);
}

static belay_local *inside;
static atomic_int answer_inside;
static void wait_inside(void *argument) {
    (void)argument;
    atomic_store(&answer_inside, (int)belay_local_wait(inside, BELAY_SEC(1)));
}

static void time_is_its_parents(void) {
    belay_runtime runtime = make_virtual();
    belay_ctx parent = belay_with_cancel(belay_runtime_background(runtime)), heard = belay_with_timeout(parent, BELAY_SEC(5));
    belay_local half, never;
    open_under(&half, parent, BELAY_SEC(30));
    open_under(&never, belay_runtime_background(runtime), BELAY_FOREVER);
    check_sleep(BELAY_MS(2));
    CHECK_IS(belay_local_remaining(&half), BELAY_SEC(30));
    inside = &half;
    CHECK(belay_on_done(heard, wait_inside, NULL).bits != 0);
    pass(runtime, BELAY_SEC(30) - 1);
    CHECK_IS(answer_inside, BELAY_EDEADLK);
    is_live(&half);
    CHECK_IS(belay_local_remaining(&half), 1);
    pass(runtime, 1);
    is_done(&half, BELAY_DEADLINE_EXCEEDED);
    is_live(&never);
    close_it(&half);
    close_it(&never);
    // Its runtime goes, and another one gets the number, with a clock that is far ahead.
    open_under(&half, parent, BELAY_SEC(30));
    check_close(heard);
    check_close(parent);
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
    belay_runtime other = make_virtual();
    pass(other, BELAY_SEC(10000));
    is_done(&half, BELAY_CANCELED);
    close_it(&half);
    CHECK_IS(belay_runtime_free(other, BELAY_FOREVER), BELAY_OK);
}

struct virtual_waiter { belay_local *local; belay_duration timeout; belay_status status; };
static void wait_virtually(void *argument) {
    struct virtual_waiter *waiter = argument;
    waiter->status = belay_local_wait(waiter->local, waiter->timeout);
}

static void waiting_goes_by_a_virtual_clock(void) {
    for (int how = 0; how < 5; how++) {
        belay_runtime runtime = make_virtual();
        belay_ctx parent = belay_with_cancel(belay_runtime_background(runtime));
        belay_local local;
        open_under(&local, parent, how == 0 ? BELAY_SEC(10) : BELAY_FOREVER);
        struct virtual_waiter waiter = {&local, how == 1 ? BELAY_SEC(10) : BELAY_FOREVER, BELAY_OK};
        static const belay_status expected[] = {BELAY_DEADLINE_EXCEEDED, BELAY_TIMEOUT, BELAY_CANCELED, BELAY_CANCELED,
                                                BELAY_CANCELED};
        struct check_thread thread;
        check_start(&thread, wait_virtually, &waiter);
        check_sleep(BELAY_MS(how));
        if (how == 0) {
            pass(runtime, BELAY_SEC(10));
        } else if (how == 1) { // the timeout counts from when the thread comes to wait
            while (belay_runtime_next(runtime) == BELAY_FOREVER) check_sleep(BELAY_US(50));
            pass(runtime, BELAY_SEC(20));
        } else if (how == 2) {
            belay_cancel(parent);
        } else if (how == 3) {
            belay_local_cancel(&local);
        } else {
            check_close(parent);
        }
        check_join(&thread);
        CHECK_IS(waiter.status, expected[how]);
        close_it(&local);
        if (how != 4) check_close(parent);
        CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
    }
}

static void another_runtime_with_the_real_clock(void) {
    belay_runtime runtime = belay_runtime_new(NULL);
    belay_ctx parent = belay_with_cancel(belay_runtime_background(runtime));
    belay_local local;
    open_under(&local, parent, BELAY_MS(2));
    CHECK_IS(belay_local_wait(&local, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    close_it(&local);
    open_under(&local, parent, BELAY_SEC(100));
    is_live(&local);
    belay_cancel_cause(parent, 2, "two");
    has_cause(&local, 2, "two");
    close_it(&local);
    check_close(parent);
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
}

// --- After fork

static void a_child_process_has_none(void) {
    belay_ctx parent = root();
    belay_local live, done, fresh;
    open_under(&live, parent, BELAY_FOREVER);
    open_under(&done, parent, BELAY_FOREVER);
    CHECK_IS(belay_local_cancel_cause(&done, 4, "four"), BELAY_OK);
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        is_none(&live, BELAY_EFORK);
        is_none(&done, BELAY_EFORK);
        CHECK_IS(belay_local_open(&fresh, belay_background(), 1), BELAY_EFORK);
        is_none(&fresh, BELAY_EFORK);
        CHECK_IS(belay_runtime_restart(), BELAY_OK);
        is_none(&live, BELAY_ESTALE);
        is_none(&done, BELAY_ESTALE);
        belay_ctx own = root();
        open_under(&fresh, own, BELAY_FOREVER);
        is_live(&fresh);
        belay_cancel_cause(own, 5, "five");
        has_cause(&fresh, 5, "five");
        close_it(&fresh);
        check_close(own);
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    int status = -1;
    CHECK_IS(waitpid(pid, &status, 0), pid);
    CHECK_IS(status, 0);
    is_live(&live);
    has_cause(&done, 4, "four");
    close_it(&live);
    close_it(&done);
    check_close(parent);
}

// --- At random, next to a naive model, in virtual time

enum { PARENTS = 6, LOCALS = 24 };
static struct { belay_ctx ctx; belay_instant deadline; belay_status status; int64_t code; } parents[PARENTS];
static struct {
    belay_local local;
    bool open;
    int parent; // -1: its parent is closed
    belay_instant deadline;
    belay_status status;
    int64_t code;
} locals[LOCALS];
static belay_runtime runtime;
static belay_instant now;

static void model_end(int i, belay_status status, int64_t code) {
    if (!locals[i].open || locals[i].status != BELAY_OK) return;
    locals[i].status = status;
    locals[i].code = code;
}

static void model_end_parent(int p, belay_status status, int64_t code) {
    if (parents[p].status != BELAY_OK) return;
    parents[p].status = status;
    parents[p].code = code;
    for (int i = 0; i < LOCALS; i++)
        if (locals[i].parent == p) model_end(i, status, code);
}

static void model_compare(void) {
    for (int i = 0; i < LOCALS; i++) {
        if (!locals[i].open) continue;
        belay_local *local = &locals[i].local;
        CHECK_IS(belay_local_err(local), locals[i].status);
        CHECK_IS(belay_local_is_done(local), locals[i].status != BELAY_OK);
        belay_cause cause = {0};
        CHECK_IS(belay_local_cause_of(local, &cause), locals[i].status != BELAY_OK);
        CHECK_IS(cause.code, locals[i].code);
        belay_instant deadline = BELAY_FOREVER;
        if (locals[i].status == BELAY_OK) {
            deadline = locals[i].deadline;
            if (parents[locals[i].parent].deadline < deadline) deadline = parents[locals[i].parent].deadline;
            CHECK_IS(belay_local_remaining(local), deadline == BELAY_FOREVER ? BELAY_FOREVER : deadline - now);
        } else {
            CHECK_IS(belay_local_remaining(local), 0);
        }
    }
}

static void model_pass(belay_duration length) {
    for (int i = 0; i < LOCALS; i++) { // its own first, unless the parent's is not later
        int p = locals[i].parent;
        if (locals[i].open && p >= 0 && locals[i].deadline <= now + length && locals[i].deadline < parents[p].deadline)
            model_end(i, BELAY_DEADLINE_EXCEEDED, BELAY_DEADLINE_EXCEEDED);
    }
    for (int p = 0; p < PARENTS; p++)
        if (parents[p].deadline <= now + length) model_end_parent(p, BELAY_DEADLINE_EXCEEDED, 100 + p);
    now += length;
    pass(runtime, length);
}

static belay_duration some_time(uint64_t *random) { return 1 + (belay_duration)(check_random(random) % 1000); }

static void model_parent(int p, uint64_t *random) {
    belay_duration timeout = check_random(random) % 2 ? BELAY_FOREVER : some_time(random);
    parents[p].ctx = belay_with_timeout_cause(belay_runtime_background(runtime), timeout, 100 + p, "");
    parents[p].deadline = timeout == BELAY_FOREVER ? BELAY_FOREVER : now + timeout;
    parents[p].status = BELAY_OK;
    parents[p].code = 0;
}

static void model_step(uint64_t *random) {
    int i = (int)(check_random(random) % LOCALS), p = (int)(check_random(random) % PARENTS);
    switch (check_random(random) % 16) {
    case 0:
        CHECK_IS(belay_cancel_cause(parents[p].ctx, 200 + p, ""), BELAY_OK);
        model_end_parent(p, BELAY_CANCELED, 200 + p);
        break;
    case 1:
        check_close(parents[p].ctx);
        model_end_parent(p, BELAY_CANCELED, BELAY_CANCELED);
        for (int j = 0; j < LOCALS; j++)
            if (locals[j].parent == p) locals[j].parent = -1;
        model_parent(p, random);
        break;
    case 2:
    case 3: model_pass(some_time(random) / 4); break;
    case 4:
    case 5:
        if (!locals[i].open) break;
        CHECK_IS(belay_local_cancel(&locals[i].local), BELAY_OK);
        model_end(i, BELAY_CANCELED, BELAY_CANCELED);
        break;
    case 6:
    case 7:
        if (!locals[i].open) break;
        CHECK_IS(belay_local_cancel_cause(&locals[i].local, 300 + i, ""), BELAY_OK);
        model_end(i, BELAY_CANCELED, 300 + i);
        break;
    case 8:
        if (!locals[i].open) break;
        CHECK_IS(belay_local_wait(&locals[i].local, 0), locals[i].status == BELAY_OK ? BELAY_TIMEOUT : locals[i].status);
        break;
    default:
        if (locals[i].open) {
            CHECK_IS(belay_local_close(&locals[i].local), BELAY_OK);
            locals[i].open = false;
            break;
        }
        belay_duration timeout = check_random(random) % 2 ? BELAY_FOREVER : some_time(random);
        CHECK_IS(belay_local_open(&locals[i].local, parents[p].ctx, timeout), BELAY_OK);
        locals[i].open = true;
        locals[i].parent = p;
        locals[i].deadline = timeout == BELAY_FOREVER ? BELAY_FOREVER : now + timeout;
        locals[i].status = parents[p].status;
        locals[i].code = parents[p].code;
    }
}

static void agrees_with_the_model(void) {
    uint64_t random = 0x9e3779b97f4a7c15;
    for (long round = check_scaled(100); round > 0; round--) {
        runtime = make_virtual();
        now = belay_runtime_now(runtime);
        memset(locals, 0, sizeof locals);
        for (int p = 0; p < PARENTS; p++) model_parent(p, &random);
        for (int step = 0; step < 2000; step++) {
            model_step(&random);
            model_compare();
        }
        for (int i = 0; i < LOCALS; i++)
            if (locals[i].open) CHECK_IS(belay_local_close(&locals[i].local), BELAY_OK);
        for (int p = 0; p < PARENTS; p++) check_close(parents[p].ctx);
        CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
    }
}

// --- Many threads on one

static belay_local contended;
static pthread_barrier_t barrier;
static atomic_int winners;
static atomic_bool over;

static void contend(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument * 2 + 1;
    for (;;) {
        pthread_barrier_wait(&barrier); // it is open
        if (atomic_load(&over)) return;
        for (int i = 0; i < 4; i++) {
            uint64_t dice = check_random(&random) % 16;
            if (dice == 0) CHECK_IS(belay_local_cancel_cause(&contended, (int64_t)(uintptr_t)argument, "mine"), BELAY_OK);
            if (dice == 1) CHECK_IS(belay_local_cancel(&contended), BELAY_OK);
            if (dice == 2) belay_local_wait(&contended, BELAY_US(20));
            bool done = belay_local_is_done(&contended);
            belay_status error = belay_local_err(&contended);
            if (done) CHECK(error != BELAY_OK);
            belay_cause one = {0}, two = {0};
            if (dice < 2) CHECK(done);
            if (!belay_local_cause_of(&contended, &one)) continue;
            CHECK(belay_local_cause_of(&contended, &two));
            CHECK_IS(one.code, two.code); // the first end decides for all
            CHECK(strcmp(one.message, two.message) == 0);
            atomic_fetch_add(&winners, 1);
        }
        pthread_barrier_wait(&barrier); // nobody is in a call
        pthread_barrier_wait(&barrier); // it is closed
    }
}

static void threads_contend(void) {
    uint64_t before = LIVE_CONTEXTS;
    for (int count = 1; count <= 16; count *= 2) {
        struct check_thread threads[16];
        uint64_t random = 77;
        atomic_store(&over, false);
        CHECK_IS(pthread_barrier_init(&barrier, NULL, (unsigned)count + 1), 0);
        for (int i = 0; i < count; i++) check_start(&threads[i], contend, (void *)(uintptr_t)(i + 1));
        for (long round = check_scaled(1500); round > 0; round--) {
            belay_ctx parent = root();
            open_under(&contended, parent, check_random(&random) % 3 ? BELAY_FOREVER : BELAY_US(20));
            pthread_barrier_wait(&barrier);
            if (round % 3 == 0) belay_cancel_cause(parent, 99, "parent");
            if (round % 3 == 1) check_close(parent);
            pthread_barrier_wait(&barrier);
            close_it(&contended);
            if (round % 3 != 1) check_close(parent);
            pthread_barrier_wait(&barrier);
        }
        atomic_store(&over, true);
        pthread_barrier_wait(&barrier);
        for (int i = 0; i < count; i++) check_join(&threads[i]);
        pthread_barrier_destroy(&barrier);
        EVENTUALLY(LIVE_CONTEXTS == before);
    }
    CHECK(winners > 0);
}

int main(void) {
    belay_local first; // before anything is set up
    CHECK_IS(belay_local_open(&first, belay_background(), BELAY_SEC(100)), BELAY_OK);
    is_live(&first);
    CHECK_IS(belay_local_wait(&first, BELAY_US(10)), BELAY_TIMEOUT);
    close_it(&first);
    static const struct check_test tests[] = {
        TEST(memory_without_one_reads_as_done), TEST(parents_that_are_none_are_refused), TEST(every_other_kind_is_a_parent),
        TEST(it_ends_with_its_parent), TEST(it_has_a_deadline_of_its_own), TEST(it_is_cancelled_by_itself),
        TEST(nothing_is_counted_and_nothing_leaks), TEST(waiters_are_woken_by_whatever_ends_it),
        TEST(waiters_are_woken_by_the_close_of_a_value), TEST(waiters_race_with_the_close_of_a_value),
        TEST(close_waits_for_the_cancel_that_woke_it), TEST(nobody_writes_after_the_close), TEST(time_is_its_parents), TEST(waiting_goes_by_a_virtual_clock),
        TEST(another_runtime_with_the_real_clock), TEST(a_child_process_has_none), TEST(agrees_with_the_model),
        TEST(threads_contend),
    };
    RUN_TESTS(tests, "");
    return 0;
}
