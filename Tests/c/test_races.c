// SPDX-License-Identifier: Apache-2.0
//
// Races that were lost once, each named after what went wrong.
#include "check.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

static _Atomic uint64_t place, child_place;
static atomic_bool over;

static belay_ctx placed(void) { return (belay_ctx){atomic_load(&place)}; }

// Runs the bodies, one thread each, for about a third of a second.
static void race(check_body *const *bodies, int n) {
    struct check_thread threads[8];
    atomic_store(&over, false);
    for (int i = 0; i < n; i++) check_start(&threads[i], bodies[i], NULL);
    check_sleep(BELAY_MS(check_scaled(300)));
    atomic_store(&over, true);
    for (int i = 0; i < n; i++) check_join(&threads[i]);
}

static void renew(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_close((belay_ctx){atomic_exchange(&place, belay_with_cancel(belay_background()).bits)});
    }
}

// The close of a child that had listeners stored its references anew, and lost the one that a push had just taken.
static void cancel_the_parent(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) belay_cancel(placed());
}
static void a_close_races_with_the_push_to_it(void) {
    struct check_thread canceller;
    atomic_store(&over, false);
    atomic_store(&place, 0);
    check_start(&canceller, cancel_the_parent, NULL);
    for (long round = check_scaled(20000); round > 0; round--) {
        belay_ctx parent = belay_with_cancel(belay_background()), child = belay_with_cancel(parent);
        belay_stop(belay_after_func(child, check_ignore, NULL)); // attached, and alone again
        atomic_store(&place, parent.bits);
        check_close(child);
        check_close(parent);
    }
    atomic_store(&over, true);
    check_join(&canceller);
}

// Retain held the listen record's lock when a failed swap made it add stripes, which takes that lock.
static void retain_it(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_ctx ctx = placed();
        if (belay_retain(ctx) == BELAY_OK) belay_release(ctx);
    }
}
static void derive_from_it(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_ctx child = belay_with_cancel(placed());
        if (!belay_is_none(child)) check_close(child);
    }
}
static void retains_contend_with_derivations(void) {
    atomic_store(&place, belay_with_cancel(belay_background()).bits);
    race((check_body *const[]){retain_it, retain_it, derive_from_it, derive_from_it, renew}, 5);
    check_close(placed());
}

// A cancel that met a close half-way said "stale" while the context and its child still read as live.
static void close_it(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_ctx parent = belay_with_cancel(belay_background()), child = belay_with_cancel(parent);
        atomic_store(&place, 0); // whoever finds the same parent before and after the child has a pair
        atomic_store(&child_place, child.bits);
        atomic_store(&place, parent.bits);
        check_close(parent);
        check_close(child);
    }
}
static void cancel_and_look(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_ctx parent = placed(), child = {atomic_load(&child_place)};
        if (parent.bits == 0 || parent.bits != atomic_load(&place)) continue;
        belay_cancel(parent);
        CHECK(belay_is_done(child));
        CHECK(belay_is_done(parent));
    }
}
static void a_cancel_that_comes_second_leaves_nothing_live(void) {
    atomic_store(&place, 0);
    race((check_body *const[]){close_it, cancel_and_look, cancel_and_look}, 3);
}

// Closed between two looks, a context with a deadline had "for ever" left.
static void close_with_deadline(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_ctx ctx = belay_with_timeout(belay_background(), BELAY_SEC(10));
        atomic_store(&place, ctx.bits);
        check_close(ctx);
    }
}
static void ask_what_remains(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) CHECK(belay_remaining(placed()) <= BELAY_SEC(10));
}
static void time_left_is_never_for_ever(void) {
    atomic_store(&place, 0);
    race((check_body *const[]){close_with_deadline, ask_what_remains, ask_what_remains}, 3);
}

// A timeout counts from the call, and so from later than anything that another thread has seen on the clock and handed
// over. A time stamp that the processor takes out of order is one that does not.
static _Atomic belay_instant seen;
static void tell_the_time(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) atomic_store(&seen, belay_now());
}
static void derive_after_it(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_instant before = atomic_load_explicit(&seen, memory_order_acquire), deadline = 0;
        belay_ctx ctx = belay_with_timeout(belay_background(), BELAY_SEC(1000));
        CHECK(belay_deadline(ctx, &deadline) && deadline >= before + BELAY_SEC(1000));
        check_close(ctx);
        before = atomic_load_explicit(&seen, memory_order_acquire);
        ctx = belay_lite(belay_background(), BELAY_SEC(1000));
        CHECK(belay_deadline(ctx, &deadline) && deadline >= before + BELAY_SEC(1000));
        check_close(ctx);
    }
}
static void a_timeout_begins_with_the_call(void) {
    race((check_body *const[]){tell_the_time, derive_after_it}, 2);
}

// Of two waiters the later one put the earlier one, which the push believed awake, to sleep for good.
static void wait_for_it(void *argument) {
    CHECK(belay_wait((belay_ctx){*(uint64_t *)argument}, BELAY_FOREVER) != BELAY_TIMEOUT);
}
static void every_waiter_wakes(void) {
    for (long round = check_scaled(500); round > 0; round--) {
        belay_ctx ctx = belay_with_cancel(belay_background());
        struct check_thread waiters[3];
        for (int i = 0; i < 3; i++) check_start(&waiters[i], wait_for_it, &ctx.bits);
        belay_cancel(ctx);
        for (int i = 0; i < 3; i++) check_join(&waiters[i]);
        check_close(ctx);
    }
}

// While another thread closed it, a cancelled context's cause was "stale handle" and its error "canceled" again.
static void cancel_and_close(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_ctx ctx = belay_with_cancel(belay_background());
        atomic_store(&place, ctx.bits);
        belay_cancel(ctx);
        check_close(ctx);
    }
}
static void compare_error_and_cause(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_ctx ctx = placed();
        belay_cause cause = {0};
        if (belay_err(ctx) != BELAY_CANCELED || !belay_cause_of(ctx, &cause)) continue;
        if (belay_err(ctx) == BELAY_CANCELED) CHECK_IS(cause.code, BELAY_CANCELED);
    }
}
static void error_and_cause_agree_during_a_close(void) {
    atomic_store(&place, 0);
    race((check_body *const[]){cancel_and_close, compare_error_and_cause, compare_error_and_cause}, 3);
}

// Inside a callback that the close ran, the error was "canceled" and the cause "stale handle".
static belay_ctx closing;
static void look_at_it(void *ran) {
    CHECK_IS(belay_err(closing), BELAY_CANCELED);
    check_cause(closing, BELAY_CANCELED, "context canceled");
    check_count(ran);
}
static void error_and_cause_agree_inside_the_close(void) {
    atomic_int ran = 0;
    closing = belay_with_cancel(belay_background());
    CHECK(belay_on_done(closing, look_at_it, &ran).bits != 0);
    check_close(closing);
    CHECK_IS(ran, 1);
}

// A negative delay made a periodic timer's next time overflow, and it never ran again.
static void a_negative_delay_is_none(void) {
    atomic_int ran = 0;
    belay_timer timer = belay_timer_every(belay_background(), BELAY_US(50), check_count, &ran);
    for (int round = 0; round < 3; round++) {
        int before = atomic_load(&ran);
        while (belay_timer_reset(timer, INT64_MIN) == BELAY_STOP_RUNNING) {}
        EVENTUALLY(atomic_load(&ran) > before + 2);
    }
    EVENTUALLY(belay_timer_stop(timer) == BELAY_STOP_GONE);
    EVENTUALLY(LIVE_TASKS == 0);
}

// Of two threads that asked for the descriptor while the end came, one got the context's own and the other that of contexts
// that are done; and one that asked again, another one than before.
static struct { belay_ctx ctx; atomic_long round, asked, out; int first[2]; } asking;
static bool next_round(long round) {
    while (atomic_load(&asking.round) < round) {
        if (atomic_load(&asking.round) < 0) return false;
        sched_yield();
    }
    return true;
}
static void ask_for_the_descriptor(void *argument) {
    int *first = argument;
    uint64_t random = (uint64_t)(first - asking.first) + 51;
    for (long round = 1; next_round(round); round++) {
        for (volatile uint64_t spin = check_random(&random) % 600; spin > 0; spin--) {}
        *first = belay_done_fd(asking.ctx);
        CHECK(*first >= 0);
        atomic_fetch_add(&asking.asked, 1);
        for (int turn = 1; !belay_is_done(asking.ctx); turn++) {
            CHECK_IS(belay_done_fd(asking.ctx), *first);
            if (turn % 32 == 0) sched_yield();
        }
        CHECK_IS(belay_done_fd(asking.ctx), *first);
        atomic_fetch_add(&asking.out, 1);
    }
}
static void cancel_each_round(void *argument) {
    (void)argument;
    uint64_t random = 50;
    for (long round = 1; next_round(round); round++) {
        while (round % 2 && atomic_load(&asking.asked) < 2 * round) sched_yield(); // as they ask again, or for the first time
        for (volatile uint64_t spin = check_random(&random) % 600; spin > 0; spin--) {}
        belay_cancel(asking.ctx);
    }
}
static void the_descriptor_stays_the_same(void) {
    struct check_thread askers[2], canceller;
    atomic_store(&asking.round, 0);
    atomic_store(&asking.asked, 0);
    atomic_store(&asking.out, 0);
    check_start(&canceller, cancel_each_round, NULL);
    for (int i = 0; i < 2; i++) check_start(&askers[i], ask_for_the_descriptor, &asking.first[i]);
    for (long round = 1, rounds = check_scaled(3000); round <= rounds; round++) {
        asking.ctx = belay_with_cancel(belay_background());
        atomic_store(&asking.round, round);
        while (atomic_load(&asking.out) < 2 * round) sched_yield();
        CHECK_IS(asking.first[0], asking.first[1]);
        belay_cancel(asking.ctx); // the canceller may still be on its way
        check_close(asking.ctx);
    }
    atomic_store(&asking.round, -1);
    for (int i = 0; i < 2; i++) check_join(&askers[i]);
    check_join(&canceller);
}

// A call that found a context whose close had just taken its last reference said "stale", and the next one "live".
static void derive_and_close(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_ctx ctx = belay_with_cancel(belay_background());
        atomic_store(&place, ctx.bits);
        check_close(ctx);
    }
}
static void stale_is_for_ever(void) {
    struct check_thread owner;
    long held = 0, stale = 0;
    atomic_store(&over, false);
    atomic_store(&place, 0);
    check_start(&owner, derive_and_close, NULL);
    for (belay_instant end = belay_now() + BELAY_MS(check_scaled(400)); belay_now() < end || stale == 0;) {
        if (check_hold(&owner)) held++; // between the two steps of its close, now and then
        belay_ctx ctx = placed();
        if (belay_retain(ctx) == BELAY_ESTALE) {
            CHECK_IS(belay_err(ctx), BELAY_ESTALE);
            stale++;
        } else if (ctx.bits) {
            belay_close(ctx);
        }
        check_free();
    }
    atomic_store(&over, true);
    check_join(&owner);
    printf("    stale %ld times, with the owner held %ld times\n", stale, held);
}

// The child of a fork took a lock that a thread of the parent had held.
static void derive_with_cause(void *argument) {
    (void)argument;
    belay_close(belay_with_timeout_cause(belay_background(), BELAY_SEC(1), 1, "one"));
}
static void come_and_go(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) check_threads(2, derive_with_cause, NULL);
}
static void a_forked_child_answers(void) {
    struct check_thread threads;
    atomic_store(&over, false);
    check_start(&threads, come_and_go, NULL);
    for (long round = check_scaled(100); round > 0; round--) {
        pid_t pid = fork();
        if (pid == 0) {
            belay_ctx ctx = belay_with_timeout_cause(belay_background(), BELAY_SEC(1), 1, "one");
            // Not _exit: what other threads held at the fork is lost to the child, and valgrind would tell of it.
            if (belay_is_none(ctx) && belay_last_status() == BELAY_EFORK) execl("/bin/true", "true", (char *)NULL);
            _exit(1);
        }
        int status = 0;
        CHECK_IS(waitpid(pid, &status, 0), pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    atomic_store(&over, true);
    check_join(&threads);
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(a_close_races_with_the_push_to_it), TEST(retains_contend_with_derivations),
        TEST(a_cancel_that_comes_second_leaves_nothing_live), TEST(time_left_is_never_for_ever),
        TEST(a_timeout_begins_with_the_call), TEST(every_waiter_wakes),
        TEST(error_and_cause_agree_during_a_close), TEST(error_and_cause_agree_inside_the_close), TEST(a_negative_delay_is_none),
        TEST(the_descriptor_stays_the_same), TEST(stale_is_for_ever), TEST(a_forked_child_answers),
    };
    RUN_TESTS(tests, "");
    return 0;
}
