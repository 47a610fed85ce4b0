// SPDX-License-Identifier: Apache-2.0
//
// Lite contexts: leaves that keep their parent as a handle.
#include "check.h"

#include <sched.h>

static belay_ctx root(void) { return belay_with_cancel(belay_background()); }

static void it_ends_with_its_parent(void) {
    belay_ctx parent = root(), lite = check_live(belay_lite(parent, BELAY_FOREVER));
    CHECK_IS(belay_remaining(lite), BELAY_FOREVER);
    belay_cancel_cause(parent, 7, "seven");
    check_done(lite, BELAY_CANCELED);
    check_cause(lite, 7, "seven");
    check_close(parent);
    check_done(lite, BELAY_CANCELED);
    check_cause(lite, 7, "seven"); // it was asked before, so it knows
    check_close(lite);
    CHECK_IS(belay_err(lite), BELAY_ESTALE);
    parent = root(); // a code that a status happens to have is a code all the same
    lite = belay_lite(parent, BELAY_FOREVER);
    belay_cancel_cause(parent, BELAY_CANCELED, "one");
    check_cause(lite, BELAY_CANCELED, "one");
    check_close(lite);
    check_close(parent);
    CHECK_IS(belay_err(lite), BELAY_ESTALE);
}

static void a_parent_that_is_closed_reads_as_done(void) {
    belay_ctx parent = root(), lite = belay_lite(parent, BELAY_FOREVER);
    check_close(parent);
    check_done(lite, BELAY_CANCELED);
    check_cause(lite, BELAY_CANCELED, "context canceled");
    check_close(lite);

    // ... also when its node serves somebody else, who lives.
    parent = root();
    lite = belay_lite(parent, BELAY_FOREVER);
    check_close(parent);
    belay_ctx other = root();
    CHECK_IS(other.bits & 0xfffffff, parent.bits & 0xfffffff);
    check_live(other);
    check_done(lite, BELAY_CANCELED);
    check_close(lite);
    check_close(other);
}

static void it_has_a_deadline_of_its_own(void) {
    belay_ctx parent = belay_with_timeout(belay_background(), BELAY_SEC(1000));
    belay_ctx lite = belay_lite(parent, BELAY_SEC(100)), longer = belay_lite(parent, BELAY_SEC(100000));
    belay_instant own = 0, above = 0, clipped = 0;
    CHECK(belay_deadline(lite, &own) && belay_deadline(parent, &above) && belay_deadline(longer, &clipped));
    CHECK(own < above);
    CHECK_IS(clipped, above);
    belay_instant before = belay_now();
    belay_ctx shorter = belay_lite(parent, BELAY_MS(3));
    CHECK_IS(belay_wait(shorter, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    CHECK(belay_now() >= before + BELAY_MS(3));
    check_done(shorter, BELAY_DEADLINE_EXCEEDED);
    belay_ctx past = belay_lite(parent, 0), long_past = belay_lite(parent, -5);
    check_done(past, BELAY_DEADLINE_EXCEEDED);
    check_done(long_past, BELAY_DEADLINE_EXCEEDED);
    belay_ctx all[] = {lite, longer, shorter, past, long_past, parent};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) check_close(all[i]);
}

static void it_is_cancelled_by_itself(void) {
    belay_ctx parent = root(), lite = belay_lite(parent, BELAY_SEC(100));
    CHECK_IS(belay_cancel_cause(lite, 3, "three"), BELAY_OK);
    CHECK_IS(belay_cancel_cause(lite, 4, "four"), BELAY_OK);
    CHECK_IS(belay_cancel(parent), BELAY_OK);
    check_done(lite, BELAY_CANCELED);
    check_cause(lite, 3, "three");
    check_close(parent);
    check_close(lite);
}

static void it_is_a_leaf(void) {
    belay_ctx parent = root(), lite = belay_lite(parent, BELAY_FOREVER);
    static const belay_key key = {"key"};
    belay_ctx derived[] = {belay_with_cancel(lite), belay_with_timeout(lite, 1), belay_with_value(lite, &key, NULL, NULL),
                           belay_without_cancel(lite), belay_lite(lite, 1)};
    for (size_t i = 0; i < sizeof derived / sizeof *derived; i++) CHECK(belay_is_none(derived[i]));
    CHECK_IS(belay_last_status(), BELAY_ELEAF);
    CHECK_IS(belay_after_func(lite, check_ignore, NULL).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_ELEAF);
    CHECK_IS(belay_on_done(lite, check_ignore, NULL).bits, 0);
    CHECK_IS(belay_done_fd(lite), -1);
    CHECK_IS(belay_last_status(), BELAY_ELEAF);
    CHECK_IS(belay_set_deadline(lite, 1), BELAY_ELEAF);
    CHECK(belay_value(lite, &key) == NULL);
    CHECK(belay_is_none(belay_lite((belay_ctx){0}, 1)));
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    check_close(lite);
    CHECK(belay_is_none(belay_lite(lite, 1)));
    CHECK_IS(belay_last_status(), BELAY_ESTALE);
    check_close(parent);
}

static void owners_are_counted(void) {
    belay_ctx lite = belay_lite(belay_todo(), BELAY_FOREVER);
    CHECK_IS(belay_retain(lite), BELAY_OK);
    check_close(lite);
    check_live(lite);
    CHECK_IS(belay_release(lite), BELAY_OK);
    CHECK_IS(belay_err(lite), BELAY_ESTALE);
}

// --- Waiting

static _Atomic uint64_t waited_for;
static void wait_for_it(void *argument) {
    belay_status *status = argument;
    *status = belay_wait((belay_ctx){atomic_load(&waited_for)}, BELAY_FOREVER);
}

static void a_waiter_is_woken_by_either(void) {
    for (long round = check_scaled(300); round > 0; round--) {
        belay_ctx parent = root(), lite = belay_lite(parent, BELAY_FOREVER);
        atomic_store(&waited_for, lite.bits);
        belay_status status;
        struct check_thread waiter;
        check_start(&waiter, wait_for_it, &status);
        if (round % 3) check_sleep(BELAY_US(round % 7 * 20));
        if (round % 2) belay_cancel(parent);
        else belay_cancel(lite);
        check_join(&waiter);
        CHECK_IS(status, BELAY_CANCELED);
        check_close(lite);
        check_close(parent);
    }
    belay_ctx never = belay_lite(belay_background(), BELAY_FOREVER);
    CHECK_IS(belay_wait(never, BELAY_MS(2)), BELAY_TIMEOUT);
    check_close(never);
}

// A context that carries a value, and a detached one, end nothing by their close but the leaves below.
static const belay_key holder_key = {"holder"};
enum { HOLDERS = 5 };
static belay_ctx holder(int kind, belay_ctx scope) {
    if (kind == 4) { // on a scope that is closed
        belay_ctx above = belay_with_cancel(scope), made = belay_without_cancel(above);
        check_close(above);
        return made;
    }
    if (kind == 3) return belay_without_cancel(scope);
    belay_ctx top = kind == 0 ? belay_background() : scope, made = belay_with_value(top, &holder_key, NULL, NULL);
    if (kind < 2) return made;
    belay_ctx second = belay_with_value(made, &holder_key, NULL, NULL);
    check_close(made);
    return second;
}

static void a_waiter_is_woken_by_the_close_of_a_value(void) {
    belay_ctx scope = root();
    for (int round = 0; round < 4 * HOLDERS; round++) {
        belay_ctx parent = holder(round % HOLDERS, scope), lite = belay_lite(parent, BELAY_FOREVER);
        atomic_store(&waited_for, lite.bits);
        belay_status status;
        struct check_thread waiter;
        check_start(&waiter, wait_for_it, &status);
        check_sleep(BELAY_MS(1));
        check_live(lite);
        check_close(parent);
        check_join(&waiter);
        CHECK_IS(status, BELAY_CANCELED);
        check_close(lite);
        // Under one that has been closed there is nothing to wait for, also where another lives in its place.
        parent = holder(round % HOLDERS, scope);
        lite = belay_lite(parent, BELAY_FOREVER);
        check_close(parent);
        belay_ctx other = holder(round % HOLDERS, scope);
        check_done(lite, BELAY_CANCELED);
        check_close(other);
        check_close(lite);
    }
    // A value ends with its scope, and so does the wait.
    belay_ctx parent = holder(1, scope), lite = belay_lite(parent, BELAY_FOREVER);
    atomic_store(&waited_for, lite.bits);
    belay_status status;
    struct check_thread waiter;
    check_start(&waiter, wait_for_it, &status);
    check_sleep(BELAY_MS(1));
    belay_cancel(scope);
    check_join(&waiter);
    CHECK_IS(status, BELAY_CANCELED);
    check_close(lite);
    check_close(parent);
    check_close(scope);
}

static atomic_long round_of, out;
static void wait_each_round(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument;
    for (long round = 1;; round++) {
        while (atomic_load(&round_of) < round) {
            if (atomic_load(&round_of) < 0) return;
            sched_yield();
        }
        for (volatile uint64_t spin = check_random(&random) % 500; spin > 0; spin--) {}
        CHECK_IS(belay_wait((belay_ctx){atomic_load(&waited_for)}, BELAY_FOREVER), BELAY_CANCELED);
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
        belay_ctx parent = holder(kind, scope), lite = belay_lite(parent, BELAY_FOREVER);
        atomic_store(&waited_for, lite.bits);
        atomic_store(&round_of, round);
        for (volatile uint64_t spin = check_random(&random) % 1500; spin > 0; spin--) {}
        if (round % 16 == 0) check_sleep(BELAY_US(100));
        check_close(parent);
        belay_ctx other = holder(kind, scope); // in the same cell, as a rule
        while (atomic_load(&out) < round * WAITERS) sched_yield();
        check_close(other);
        check_close(lite);
    }
    atomic_store(&round_of, -1);
    for (int i = 0; i < WAITERS; i++) check_join(&waiters[i]);
    check_close(scope);
}

// --- Asked while its cell goes to another

// It had ended, though nobody had noticed, before its handle was known; so it is never live, whoever has its cell by now.
static struct { _Atomic uint64_t ctx; atomic_long asked; atomic_bool over; } question;
static void ask_once_each(void *argument) {
    long *open = argument;
    uint64_t random = 21;
    for (uint64_t last = 0; !atomic_load(&question.over);) {
        belay_ctx ctx = {atomic_load(&question.ctx)};
        if (ctx.bits == last) continue;
        last = ctx.bits;
        for (volatile uint64_t spin = check_random(&random) % 64; spin > 0; spin--) {}
        belay_status error = belay_err(ctx);
        CHECK(error == BELAY_CANCELED || error == BELAY_ESTALE);
        if (error == BELAY_CANCELED) ++*open;
        atomic_fetch_add(&question.asked, 1);
    }
}
static void it_is_not_taken_for_the_next_in_its_cell(void) {
    struct check_thread asker;
    uint64_t random = 22;
    long open = 0, rounds = 0;
    belay_ctx live = root();
    atomic_store(&question.over, false);
    atomic_store(&question.asked, 0);
    check_start(&asker, ask_once_each, &open);
    for (belay_instant end = belay_now() + BELAY_MS(check_scaled(300)); belay_now() < end; rounds++) {
        belay_ctx parent = root(), lite = belay_lite(parent, BELAY_SEC(1000)); // with a deadline, so that asking takes longer
        belay_cancel(parent);
        atomic_store(&question.ctx, lite.bits);
        for (volatile uint64_t spin = check_random(&random) % 1024; spin > 0; spin--) {}
        check_close(lite);
        lite = belay_lite(live, BELAY_FOREVER);
        while (atomic_load(&question.asked) <= rounds) sched_yield();
        check_close(lite);
        check_close(parent);
    }
    atomic_store(&question.over, true);
    check_join(&asker);
    check_close(live);
    printf("    of %ld it was open %ld times when it was asked\n", rounds, open);
}

// --- Many threads on parents that come and go

enum { SHARED = 16 };
static _Atomic uint64_t shared[SHARED];
static atomic_bool over;

static void contend(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument * 2 + 1;
    while (!atomic_load(&over)) {
        _Atomic uint64_t *place = &shared[check_random(&random) % SHARED];
        belay_ctx parent = {atomic_load(place)};
        switch (check_random(&random) % 8) {
        case 0: belay_close((belay_ctx){atomic_exchange(place, root().bits)}); break;
        case 1: belay_cancel_cause(parent, 1, "one"); break;
        default: {
            belay_ctx lite = belay_lite(parent, check_random(&random) % 2 ? BELAY_FOREVER : BELAY_US(50));
            if (belay_is_none(lite)) break;
            bool done = belay_is_done(lite);
            belay_status error = belay_err(lite);
            if (done) CHECK(error != BELAY_OK);
            if (error != BELAY_OK) CHECK_IS(belay_err(lite), error);
            if (check_random(&random) % 4 == 0) belay_wait(lite, BELAY_US(20));
            if (check_random(&random) % 4 == 0) belay_cancel(lite);
            check_close(lite);
        }
        }
    }
}

static void threads_contend(void) {
    uint64_t before = LIVE_CONTEXTS;
    for (int count = 1; count <= 16; count *= 2) {
        for (int i = 0; i < SHARED; i++) atomic_store(&shared[i], root().bits);
        struct check_thread threads[16];
        atomic_store(&over, false);
        for (int i = 0; i < count; i++) check_start(&threads[i], contend, (void *)(uintptr_t)(i + 1));
        check_sleep(BELAY_MS(check_scaled(300)));
        atomic_store(&over, true);
        for (int i = 0; i < count; i++) check_join(&threads[i]);
        for (int i = 0; i < SHARED; i++) check_close((belay_ctx){atomic_load(&shared[i])});
        EVENTUALLY(LIVE_CONTEXTS == before);
    }
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(it_ends_with_its_parent), TEST(a_parent_that_is_closed_reads_as_done), TEST(it_has_a_deadline_of_its_own),
        TEST(it_is_cancelled_by_itself), TEST(it_is_a_leaf), TEST(owners_are_counted),
        TEST(a_waiter_is_woken_by_either), TEST(a_waiter_is_woken_by_the_close_of_a_value),
        TEST(waiters_race_with_the_close_of_a_value), TEST(it_is_not_taken_for_the_next_in_its_cell), TEST(threads_contend),
    };
    RUN_TESTS(tests, "");
    return 0;
}
