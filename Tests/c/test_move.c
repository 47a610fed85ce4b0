// SPDX-License-Identifier: Apache-2.0
//
// Deadlines that move, and contexts that are made ready for their next use.
#include "check.h"

#include <poll.h>
#include <sched.h>

static belay_ctx far(belay_ctx parent) { return belay_with_timeout(parent, BELAY_SEC(1000)); }
static belay_instant in(belay_duration length) { return belay_now() + length; }

static belay_instant deadline_of(belay_ctx ctx) {
    belay_instant deadline = BELAY_FOREVER;
    belay_deadline(ctx, &deadline);
    return deadline;
}

// A child whose parent's deadline was the earlier one at its birth has no timer. If the parent's is moved later, the child's
// own counts again, also for those who have been listening since before the first move in the process.
static bool counts_again(int listen, belay_duration first) { // false: the machine was too slow for it
    belay_ctx parent = belay_with_timeout(belay_background(), first);
    belay_ctx child = belay_with_timeout_cause(parent, 2 * first, 40, "its own"), below = belay_with_cancel(child);
    atomic_int ran = 0;
    if (listen == 0) CHECK(belay_after_func(below, check_count, &ran).bits != 0);
    bool in_time = belay_set_deadline(parent, in(BELAY_SEC(1000))) == BELAY_OK;
    if (in_time) {
        if (listen == 1) CHECK(belay_after_func(below, check_count, &ran).bits != 0);
        CHECK(belay_remaining(below) <= 2 * first);
        if (listen == 2) CHECK_IS(belay_wait(below, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
        else EVENTUALLY(atomic_load(&ran) == 1);
        check_done(below, BELAY_DEADLINE_EXCEEDED);
        check_cause(below, 40, "its own");
        check_live(parent);
    }
    check_close(parent);
    check_close(below);
    check_close(child);
    if (listen < 2) EVENTUALLY(atomic_load(&ran) == (in_time || listen == 0));
    return in_time;
}

static void a_childs_own_deadline_counts_again(void) {
    for (int listen = 0; listen < 3; listen++)
        for (belay_duration first = BELAY_MS(20); !counts_again(listen, first);) first *= 4;
}

static void earlier_later_and_never(void) {
    belay_ctx ctx = far(belay_background());
    belay_instant near = in(BELAY_SEC(500)), later = in(BELAY_SEC(5000));
    CHECK_IS(belay_set_deadline(ctx, near), BELAY_OK);
    CHECK_IS(deadline_of(ctx), near);
    CHECK_IS(belay_set_deadline(ctx, later), BELAY_OK);
    CHECK_IS(deadline_of(ctx), later);
    CHECK_IS(belay_set_deadline(ctx, BELAY_FOREVER), BELAY_OK);
    CHECK_IS(belay_remaining(ctx), BELAY_FOREVER);
    check_live(ctx);
    CHECK_IS(belay_set_deadline(ctx, near), BELAY_OK);
    CHECK_IS(deadline_of(ctx), near);
    CHECK_IS(belay_set_deadline(ctx, 0), BELAY_OK); // in the past: ends it here and now
    check_done(ctx, BELAY_DEADLINE_EXCEEDED);
    CHECK_IS(belay_set_deadline(ctx, near), BELAY_DEADLINE_EXCEEDED);
    check_close(ctx);

    ctx = belay_with_cancel(belay_background()); // one without a deadline gets one
    CHECK_IS(belay_set_deadline(ctx, in(BELAY_MS(2))), BELAY_OK);
    CHECK_IS(belay_wait(ctx, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    check_done(ctx, BELAY_DEADLINE_EXCEEDED);
    check_close(ctx);
}

static void never_past_the_parents(void) {
    belay_ctx parent = far(belay_background()), child = belay_with_timeout(parent, BELAY_SEC(10));
    CHECK_IS(belay_set_deadline(child, in(BELAY_SEC(100000))), BELAY_OK);
    CHECK_IS(deadline_of(child), deadline_of(parent));
    CHECK_IS(belay_set_deadline(child, BELAY_FOREVER), BELAY_OK);
    CHECK_IS(deadline_of(child), deadline_of(parent));
    CHECK_IS(belay_set_deadline(parent, 0), BELAY_OK);
    check_done(child, BELAY_DEADLINE_EXCEEDED);
    check_close(child);
    check_close(parent);
}

static void descendants_follow(void) {
    belay_ctx top = belay_with_cancel(belay_background()), middle = far(top), bottom = belay_with_cancel(middle);
    belay_instant near = in(BELAY_SEC(50));
    CHECK_IS(belay_set_deadline(top, near), BELAY_OK); // earlier than what the others were born with
    CHECK_IS(deadline_of(middle), near);
    CHECK_IS(deadline_of(bottom), near);
    CHECK_IS(belay_set_deadline(top, BELAY_FOREVER), BELAY_OK);
    CHECK(deadline_of(bottom) > near);
    CHECK_IS(belay_set_deadline(top, 0), BELAY_OK);
    check_done(bottom, BELAY_DEADLINE_EXCEEDED);
    check_done(middle, BELAY_DEADLINE_EXCEEDED);
    check_close(bottom);
    check_close(middle);
    check_close(top);
}

// A waiter, a callback and a descriptor on a descendant, all of which were there before the deadline came nearer.
static void listeners_of_descendants_are_told(void) {
    for (int attach_before = 0; attach_before < 2; attach_before++) {
        belay_ctx top = belay_with_cancel(belay_background()), bottom = far(top);
        atomic_int ran = 0;
        int fd = -1;
        if (attach_before) {
            CHECK(belay_after_func(bottom, check_count, &ran).bits != 0);
            fd = belay_done_fd(bottom);
        }
        CHECK_IS(belay_set_deadline(top, in(BELAY_MS(3))), BELAY_OK);
        if (!attach_before) {
            CHECK(belay_after_func(bottom, check_count, &ran).bits != 0);
            fd = belay_done_fd(bottom);
        }
        CHECK_IS(belay_wait(bottom, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        CHECK_IS(poll(&readable, 1, -1), 1);
        EVENTUALLY(atomic_load(&ran) == 1);
        check_close(bottom);
        check_close(top);
    }
}

// A deadline that was moved to never, or past the parent's, leaves the end to the parent's, which nobody had armed.
static void callbacks_lost_where_the_parents_deadline_counts_again(void) {
    for (int which = 0; which < 6; which++) {
        atomic_int ran = 0;
        int fd = -1;
        bool early = which % 2, by_fd = which / 2 == 1, below = which / 2 == 2;
        belay_ctx top = belay_with_timeout(belay_background(), BELAY_MS(20));
        belay_ctx middle = early ? belay_with_timeout(top, BELAY_MS(10)) : belay_with_cancel(top), bottom = middle;
        if (!early) CHECK_IS(belay_set_deadline(middle, BELAY_FOREVER), BELAY_OK);
        if (below) bottom = far(middle); // later than the top's deadline, which it must not miss
        if (by_fd) fd = belay_done_fd(bottom);
        if (!by_fd) CHECK(belay_after_func(bottom, check_count, &ran).bits != 0);
        if (early) {
            belay_status status = belay_set_deadline(middle, in(BELAY_SEC(100)));
            CHECK(status == BELAY_OK || status == BELAY_DEADLINE_EXCEEDED); // the latter if this machine slept
        }
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        if (by_fd) CHECK_IS(poll(&readable, 1, -1), 1);
        if (!by_fd) EVENTUALLY(atomic_load(&ran) == 1);
        check_done(bottom, BELAY_DEADLINE_EXCEEDED);
        if (below) check_close(bottom);
        check_close(middle);
        check_close(top);
    }
}

static void a_keep_alive_is_never_cut_short(void) {
    belay_ctx ctx = belay_with_timeout(belay_background(), BELAY_SEC(1000));
    atomic_int ran = 0;
    CHECK(belay_on_done(ctx, check_count, &ran).bits != 0);
    belay_instant last = 0;
    for (long turn = check_scaled(400); turn > 0; turn--) {
        belay_instant next = in(BELAY_MS(4));
        if (belay_set_deadline(ctx, next) != BELAY_OK) break; // this machine slept: that is allowed, see below
        last = next;
        check_sleep(BELAY_US(300));
    }
    CHECK_IS(belay_wait(ctx, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    CHECK(belay_now() >= last); // never before the last instant that it was moved to
    EVENTUALLY(atomic_load(&ran) == 1);
    check_close(ctx);
}

static void what_cannot_be_moved(void) {
    static const belay_key key = {"key"};
    CHECK_IS(belay_set_deadline(belay_background(), 1), BELAY_ENOCANCEL);
    belay_ctx value = belay_with_value(belay_background(), &key, NULL, NULL);
    CHECK_IS(belay_set_deadline(value, 1), BELAY_ENOCANCEL);
    check_close(value);
    CHECK_IS(belay_set_deadline(value, 1), BELAY_ESTALE);
    CHECK_IS(belay_set_deadline((belay_ctx){0}, 1), BELAY_EINVAL);
    belay_ctx ctx = belay_with_cancel(belay_background());
    belay_cancel(ctx);
    CHECK_IS(belay_set_deadline(ctx, in(1)), BELAY_CANCELED);
    check_done(ctx, BELAY_CANCELED);
    check_close(ctx);
}

// --- The instant of firing: movers, askers and the driver at once

static _Atomic uint64_t moving;
static atomic_bool over;

static void move_it(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument * 2 + 1;
    while (!atomic_load(&over)) {
        belay_ctx ctx = {atomic_load(&moving)};
        belay_set_deadline(ctx, in(BELAY_US(check_random(&random) % 60)));
    }
}
static void ask_it(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_ctx ctx = {atomic_load(&moving)};
        if (belay_is_done(ctx)) CHECK(belay_is_done(ctx));
        belay_remaining(ctx);
    }
}

static void moves_race_with_the_driver(void) {
    for (int count = 1; count <= 8; count *= 2) {
        atomic_store(&over, false);
        belay_ctx ctx = far(belay_background());
        atomic_store(&moving, ctx.bits);
        struct check_thread movers[8], asker;
        for (int i = 0; i < count; i++) check_start(&movers[i], move_it, (void *)(uintptr_t)(i + 1));
        check_start(&asker, ask_it, NULL);
        atomic_int ran = 0;
        long contexts = check_scaled(1500);
        for (long i = 0; i < contexts; i++) {
            if (i % 2) CHECK(belay_on_done(ctx, check_count, &ran).bits != 0);
            CHECK_IS(belay_wait(ctx, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
            belay_ctx next = far(belay_background());
            atomic_store(&moving, next.bits);
            check_close(ctx);
            ctx = next;
        }
        atomic_store(&over, true);
        for (int i = 0; i < count; i++) check_join(&movers[i]);
        check_join(&asker);
        EVENTUALLY(atomic_load(&ran) == contexts / 2);
        check_close(ctx);
    }
}

// --- Reset

static void the_old_handle_is_stale(void) {
    belay_ctx parent = belay_with_cancel(belay_background()), old = far(parent);
    belay_ctx new = belay_reset(old);
    check_live(new);
    CHECK(new.bits != old.bits);
    CHECK_IS(belay_remaining(new), BELAY_FOREVER); // the deadline was the old use's
    CHECK_IS(belay_err(old), BELAY_ESTALE);
    CHECK_IS(belay_cancel(old), BELAY_ESTALE);
    CHECK_IS(belay_close(old), BELAY_ESTALE);
    check_live(new);
    CHECK_IS(belay_set_deadline(new, 0), BELAY_OK);
    check_done(new, BELAY_DEADLINE_EXCEEDED);
    check_close(new);
    check_close(parent);
}

static void a_late_timer_finds_nothing(void) {
    belay_ctx ctx = belay_with_cancel(belay_background());
    atomic_int ran = 0;
    long resets = 0;
    for (long i = check_scaled(3000); i > 0; i--) {
        belay_set_deadline(ctx, in(BELAY_US(i % 40 + 5)));
        belay_reg reg = belay_on_done(ctx, check_count, &ran); // arms it
        if (belay_stop_wait(reg, BELAY_FOREVER) != BELAY_STOP_PREVENTED) atomic_fetch_sub(&ran, 1);
        belay_ctx next = belay_reset(ctx);
        if (belay_is_none(next)) {
            belay_status why = belay_last_status(); // busy: the driver has it in its hands
            CHECK(why == BELAY_DEADLINE_EXCEEDED || why == BELAY_EBUSY);
            belay_status closed = belay_close(ctx); // stale if it ended while it was being reset
            CHECK(closed == BELAY_OK || (closed == BELAY_ESTALE && why == BELAY_DEADLINE_EXCEEDED));
            next = belay_with_cancel(belay_background());
        } else {
            resets++;
            check_sleep(BELAY_US(i % 3 * 20));
            check_live(next);
        }
        ctx = next;
    }
    CHECK_IS(atomic_load(&ran), 0);
    printf("    %ld resets won\n", resets);
    check_close(ctx);
}

// An attached child that had ended when the reset could no longer turn back was closed without leaving its parent's list:
// whoever got its record next cut that list off behind it. Here with the causes of three others.
static void use_its_record(void) {
    static const char bytes[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
                                "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    belay_ctx others[3];
    for (int i = 0; i < 3; i++) {
        others[i] = belay_with_cancel(belay_background());
        CHECK_IS(belay_cancel_cause(others[i], -1, bytes), BELAY_OK);
    }
    for (int i = 0; i < 3; i++) check_close(others[i]);
}
static belay_ctx heard(belay_ctx parent, atomic_int *ran) {
    belay_ctx ctx = belay_with_cancel(parent);
    CHECK(belay_on_done(ctx, check_count, ran).bits != 0);
    return ctx;
}
static belay_ctx attached(belay_ctx ctx) {
    belay_wait(ctx, 1);
    return ctx;
}
// The new life, or {0} where the reset or this has closed it; counts the former.
static belay_ctx reset_or_close(belay_ctx ctx, long *closed) {
    belay_ctx next = belay_reset(ctx);
    if (!belay_is_none(next)) return next;
    belay_status why = belay_last_status(), status = belay_close(ctx);
    CHECK(status == BELAY_OK || (status == BELAY_ESTALE && why != BELAY_EBUSY));
    if (status == BELAY_ESTALE) {
        ++*closed;
        use_its_record();
    }
    return next;
}

enum { PAIRS = 24 };
struct family { belay_ctx parent, others[PAIRS], own[PAIRS]; atomic_int ran; };
static void make_family(struct family *all, belay_duration timeout) {
    all->parent = belay_with_cancel(belay_background());
    atomic_init(&all->ran, 0);
    for (int i = 0; i < PAIRS; i++) {
        all->others[i] = heard(all->parent, &all->ran);
        all->own[i] = attached(belay_with_timeout(all->parent, timeout));
    }
}
static void close_family(struct family *all) {
    check_close(all->parent);
    CHECK_IS(all->ran, PAIRS);
    for (int i = 0; i < PAIRS; i++) check_close(all->others[i]);
}

struct resets { atomic_bool begun; long all, closed; };
static void reset_before_the_deadline(void *argument) {
    struct resets *resets = argument;
    for (; !atomic_load(&over); resets->all += PAIRS) {
        struct family all;
        make_family(&all, BELAY_US(60));
        atomic_store(&resets->begun, true);
        for (int i = 0; i < PAIRS; i++) {
            atomic_store(&moving, all.own[i].bits);
            all.own[i] = reset_or_close(all.own[i], &resets->closed);
        }
        atomic_store(&resets->begun, false);
        for (int i = 0; i < PAIRS; i++)
            if (!belay_is_none(all.own[i])) check_close(all.own[i]);
        close_family(&all);
    }
}
static void a_reset_that_meets_the_deadline_leaves_the_list(void) {
    struct resets resets = {0};
    struct check_thread thread;
    long held = 0;
    atomic_store(&over, false);
    atomic_store(&moving, 0);
    check_start(&thread, reset_before_the_deadline, &resets);
    for (belay_instant end = in(BELAY_MS(check_scaled(300))); belay_now() < end;) {
        while (!atomic_load(&resets.begun)) sched_yield();
        if (check_hold(&thread)) held++; // between its look at the clock and its swap, now and then
        for (belay_instant due = in(BELAY_US(60)); belay_now() < due;)
            if (belay_is_done((belay_ctx){atomic_load(&moving)})) break;
        check_free();
        while (atomic_load(&resets.begun)) sched_yield();
    }
    atomic_store(&over, true);
    check_join(&thread);
    printf("    %ld of %ld closed by the reset, which was held %ld times\n", resets.closed, resets.all, held);
}

static atomic_long turn;
static void cancel_each_turn(void *argument) {
    for (long done = 0; done < *(long *)argument; done++) {
        while (atomic_load(&turn) != 2 * done + 1) sched_yield();
        belay_cancel((belay_ctx){atomic_load(&moving)});
        atomic_fetch_add(&turn, 1);
    }
}
static void a_reset_that_meets_a_push_leaves_the_list(void) {
    long closed = 0, rounds = check_scaled(600);
    uint64_t random = 9;
    struct check_thread canceller;
    atomic_store(&turn, 0);
    check_start(&canceller, cancel_each_turn, &rounds);
    for (long round = 0; round < rounds; round++) {
        struct family all;
        make_family(&all, BELAY_FOREVER);
        atomic_store(&moving, all.parent.bits);
        atomic_fetch_add(&turn, 1);
        for (volatile uint64_t spin = check_random(&random) % 400; spin > 0; spin--) {}
        for (int left = PAIRS; left > 0;) {
            for (int i = 0; i < PAIRS; i++) {
                if (belay_is_none(all.own[i])) continue;
                all.own[i] = reset_or_close(all.own[i], &closed);
                if (belay_is_none(all.own[i])) left--;
            }
        }
        while (atomic_load(&turn) != 2 * round + 2) sched_yield();
        close_family(&all);
    }
    check_join(&canceller);
    printf("    %ld closed by the reset in %ld rounds\n", closed, rounds);
}

static void what_cannot_be_reset(void) {
    belay_ctx ctx = belay_with_cancel(belay_background()), child = belay_with_cancel(ctx);
    CHECK(belay_is_none(belay_reset(ctx)));
    CHECK_IS(belay_last_status(), BELAY_EBUSY);
    check_close(child);
    CHECK_IS(belay_retain(ctx), BELAY_OK);
    CHECK(belay_is_none(belay_reset(ctx)));
    check_close(ctx);
    belay_reg reg = belay_after_func(ctx, check_ignore, NULL);
    CHECK(belay_is_none(belay_reset(ctx)));
    CHECK_IS(belay_stop(reg), BELAY_STOP_PREVENTED);
    check_live(ctx);
    ctx = belay_reset(ctx);
    check_live(ctx);
    CHECK(belay_done_fd(ctx) >= 0);
    CHECK(belay_is_none(belay_reset(ctx)));
    CHECK_IS(belay_last_status(), BELAY_EBUSY);
    belay_cancel(ctx);
    check_close(ctx);
    ctx = belay_with_cancel(belay_background());
    belay_cancel(ctx);
    CHECK(belay_is_none(belay_reset(ctx)));
    CHECK_IS(belay_last_status(), BELAY_CANCELED);
    check_done(ctx, BELAY_CANCELED);
    check_close(ctx);
    CHECK(belay_is_none(belay_reset(ctx)));
    CHECK_IS(belay_last_status(), BELAY_ESTALE);
    CHECK(belay_is_none(belay_reset(belay_background())));
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
}

// Two threads move deadlines into the past, one of them above the other's context: each call ends what it was made for, also
// where the other one's end is on its way.
struct two_moves { belay_ctx top; atomic_int go; };
static void move_the_top(void *raw) {
    struct two_moves *moves = raw;
    while (!atomic_load(&moves->go)) sched_yield();
    CHECK_IS(belay_set_deadline(moves->top, 1), BELAY_OK);
}
static void two_moves_into_the_past_at_once(void) {
    enum { SIBLINGS = 2000 }; // the push takes its time
    for (int round = 0; round < (int)check_scaled(200); round++) {
        struct two_moves moves = {.top = belay_with_cancel(belay_background())};
        belay_ctx middle = belay_with_cancel(moves.top), bottom = belay_with_cancel(middle), siblings[SIBLINGS];
        atomic_int ran = 0;
        CHECK(belay_on_done(bottom, check_count, &ran).bits != 0);
        for (int i = 0; i < SIBLINGS; i++) {
            siblings[i] = belay_with_cancel(moves.top);
            CHECK(belay_on_done(siblings[i], check_count, &ran).bits != 0);
        }
        struct check_thread other;
        check_start(&other, move_the_top, &moves);
        atomic_store(&moves.go, 1);
        for (volatile int delay = round * 30; delay > 0; delay--) {}
        belay_status status = belay_set_deadline(bottom, 1);
        CHECK(status == BELAY_OK || status == BELAY_DEADLINE_EXCEEDED); // the latter if it had ended before
        check_done(bottom, BELAY_DEADLINE_EXCEEDED);
        check_join(&other);
        EVENTUALLY(atomic_load(&ran) == 1 + SIBLINGS); // the driver may be at it
        for (int i = 0; i < SIBLINGS; i++) check_close(siblings[i]);
        check_close(bottom);
        check_close(middle);
        check_close(moves.top);
    }
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(a_childs_own_deadline_counts_again), TEST(earlier_later_and_never), TEST(never_past_the_parents), TEST(descendants_follow),
        TEST(listeners_of_descendants_are_told), TEST(callbacks_lost_where_the_parents_deadline_counts_again),
        TEST(a_keep_alive_is_never_cut_short), TEST(what_cannot_be_moved), TEST(moves_race_with_the_driver),
        TEST(two_moves_into_the_past_at_once), TEST(the_old_handle_is_stale), TEST(a_late_timer_finds_nothing),
        TEST(a_reset_that_meets_the_deadline_leaves_the_list),
        TEST(a_reset_that_meets_a_push_leaves_the_list), TEST(what_cannot_be_reset),
    };
    RUN_TESTS(tests, "");
    return 0;
}
