// SPDX-License-Identifier: Apache-2.0
//
// No memory: what cannot be made is {0} with BELAY_ENOMEM, and after something was freed work goes on. And threads that
// come and go leave nothing behind.
#include "check.h"

#include <sys/resource.h>
#include <unistd.h>

enum { MOST = 2000000 };
static belay_ctx ctxs[MOST];

// Derives until that fails; returns how many there are.
static long fill(void) {
    long made = 0;
    while (made < MOST && !belay_is_none(ctxs[made] = belay_with_cancel(belay_background()))) made++;
    CHECK(made < MOST);
    CHECK_IS(belay_last_status(), BELAY_ENOMEM);
    return made;
}
static void empty(long made) {
    while (made > 0) check_close(ctxs[--made]);
}

// Everything that makes something, while there is no memory. What is made all the same, from what is still in reserve,
// must work.
static void check_full(belay_ctx parent) {
    static const belay_key key = {"key"};
    belay_ctx none = belay_with_cancel(parent);
    CHECK(belay_is_none(none));
    CHECK_IS(belay_last_status(), BELAY_ENOMEM);
    check_done(none, BELAY_EINVAL); // code that checks nothing stops
    CHECK(belay_is_none(belay_with_timeout(parent, BELAY_SEC(1))));
    CHECK(belay_is_none(belay_without_cancel(parent)));
    atomic_int drops = 0;
    CHECK(belay_is_none(belay_with_value(parent, &key, &drops, check_count)));
    CHECK_IS(drops, 1);
    check_live(parent);
}
static long fill_registrations(belay_ctx ctx, belay_reg *regs, long most) {
    long made = 0;
    while (made < most && (regs[made] = belay_on_done(ctx, check_ignore, NULL)).bits != 0) made++;
    CHECK(made < most);
    CHECK_IS(belay_last_status(), BELAY_ENOMEM);
    return made;
}
static long fill_timers(belay_timer *timers, long most) {
    long made = 0;
    while (made < most) {
        timers[made] = belay_timer_after(belay_background(), BELAY_SEC(10000), check_ignore, NULL);
        if (timers[made].bits == 0) break;
        made++;
    }
    CHECK(made < most);
    CHECK_IS(belay_last_status(), BELAY_ENOMEM);
    return made;
}

// Room for some more memory than is taken already.
enum { ROOM = 4 << 20 };
static void limit_to_room(void) { CHECK_IS(belay_memory_limit(check_metric("/memory/arena:bytes") + ROOM), BELAY_OK); }

static void the_limit_holds_for_contexts(void) {
    limit_to_room();
    uint64_t limit = check_metric("/memory/arena:bytes") + ROOM;
    for (int round = 0; round < 3; round++) {
        long made = fill();
        printf("    %ld contexts in %" PRIu64 " bytes\n", made, limit);
        CHECK(made >= 1000 && (uint64_t)made <= limit / 64);
        check_full(ctxs[0]);
        for (long i = 0; i < made; i += 97) check_live(ctxs[i]);
        while (made > 200) check_close(ctxs[--made]); // what was freed can be used again
        long again = 200;
        while (!belay_is_none(ctxs[again] = belay_with_timeout(ctxs[again / 2], BELAY_SEC(1000)))) again++;
        CHECK(again >= 1000);
        CHECK_IS(belay_cancel(ctxs[0]), BELAY_OK);
        empty(again);
    }
    CHECK(check_metric("/memory/arena:bytes") <= limit);
    CHECK_IS(belay_memory_limit(1), BELAY_OK); // below what is taken: that stays
    check_close(belay_with_cancel(belay_background()));
    CHECK_IS(belay_memory_limit(0), BELAY_OK);
    for (int i = 0; i < 300000; i++) CHECK(!belay_is_none(ctxs[i] = belay_with_cancel(belay_background())));
    empty(300000);
}

static void the_limit_holds_for_listeners(void) {
    enum { TASKS = 300000 };
    static belay_reg regs[TASKS];
    static belay_timer timers[TASKS];
    belay_ctx ctx = belay_with_cancel(belay_background());
    limit_to_room();
    for (int round = 0; round < 3; round++) {
        long made = fill_registrations(ctx, regs, TASKS);
        printf("    %ld registrations", made);
        CHECK(made >= 1000);
        for (long i = 0; i < made; i++) CHECK_IS(belay_stop(regs[i]), BELAY_STOP_PREVENTED);
        made = fill_timers(timers, TASKS);
        printf(" or %ld timers\n", made);
        CHECK(made >= 1000);
        for (long i = 0; i < made; i++) CHECK_IS(belay_timer_stop(timers[i]), BELAY_STOP_PREVENTED);
    }
    CHECK_IS(belay_memory_limit(0), BELAY_OK);
    check_close(ctx);
}

static void a_cause_without_memory_still_ends(void) {
    enum { TASKS = 300000 };
    static belay_reg regs[TASKS];
    CHECK_IS(belay_memory_limit(1), BELAY_OK);
    long made = fill();
    CHECK(made >= 2);
    check_close(ctxs[--made]);
    long made_regs = fill_registrations(ctxs[0], regs, TASKS);
    for (long i = 0; i < made; i++) {
        belay_status status = belay_cancel_cause(ctxs[i], 42, "cause");
        CHECK(status == BELAY_OK || status == BELAY_ENOMEM);
        CHECK_IS(belay_err(ctxs[i]), BELAY_CANCELED);
        if (status == BELAY_OK) check_cause(ctxs[i], 42, "cause");
        else check_cause(ctxs[i], BELAY_CANCELED, belay_status_string(BELAY_CANCELED));
    }
    for (long i = 0; i < made_regs; i++) CHECK(belay_stop(regs[i]) == BELAY_STOP_GONE);
    empty(made);
    CHECK_IS(belay_memory_limit(0), BELAY_OK);
}

// --- Threads that come and go

static void short_life(void *argument) {
    (void)argument;
    belay_ctx own[500];
    for (int i = 0; i < 500; i++) own[i] = belay_with_timeout(belay_background(), BELAY_SEC(1000));
    for (int i = 0; i < 50; i++) CHECK(belay_on_done(own[i], check_ignore, NULL).bits != 0);
    CHECK(belay_timer_stop(belay_timer_after(own[0], BELAY_SEC(50), check_ignore, NULL)) == BELAY_STOP_PREVENTED);
    for (int i = 0; i < 500; i++) check_close(own[i]);
}
static void threads_return_their_memory(void) {
    uint64_t after_some = 0, arena = 0;
    long rounds = check_scaled(300);
    for (long round = 0; round < rounds; round++) {
        check_threads(8, short_life, NULL);
        arena = check_metric("/memory/arena:bytes");
        if (round == rounds / 10) after_some = arena;
    }
    printf("    arena: %" PRIu64 " bytes after %ld threads, %" PRIu64 " after %ld\n", after_some, rounds / 10 * 8 + 8, arena,
           rounds * 8);
    CHECK(arena <= after_some + (2 << 20));
}

// One thread makes, another closes.
static _Atomic uint64_t mailbox[64];
static void maker(void *argument) {
    for (long i = *(long *)argument; i > 0; i--) {
        belay_ctx ctx = belay_with_cancel(belay_background());
        CHECK(!belay_is_none(ctx));
        belay_ctx old = {atomic_exchange(&mailbox[i % 64], ctx.bits)};
        if (old.bits) check_close(old);
    }
}
static void closer(void *argument) {
    for (long i = *(long *)argument; i > 0; i--) {
        belay_ctx old = {atomic_exchange(&mailbox[i % 64], 0)};
        if (old.bits) check_close(old);
    }
}
static void contexts_may_be_closed_elsewhere(void) {
    long count = check_scaled(2000000);
    uint64_t before = check_metric("/memory/arena:bytes");
    struct check_thread threads[2];
    check_start(&threads[0], maker, &count);
    check_start(&threads[1], closer, &count);
    check_join(&threads[0]);
    check_join(&threads[1]);
    closer(&count);
    CHECK(check_metric("/memory/arena:bytes") <= before + (2 << 20));
}

// --- An address space that is too small, from the first use on: this program again, with RLIMIT_AS set

static void in_a_small_address_space(void) {
    long made = 0;
    belay_ctx first = belay_with_cancel(belay_background());
    if (belay_is_none(first)) { // not even the arena fits
        CHECK_IS(belay_last_status(), BELAY_ENOMEM);
        check_done(first, BELAY_EINVAL);
        CHECK(belay_timer_after(belay_background(), 0, check_ignore, NULL).bits == 0);
        check_live(belay_background());
    } else {
        check_close(first);
        made = fill();
        check_full(ctxs[0]);
        for (long i = made / 2; i < made; i++) check_close(ctxs[i]);
        for (long i = made / 2; i < made; i++) CHECK(!belay_is_none(ctxs[i] = belay_with_cancel(belay_background())));
        empty(made);
    }
    printf("    in %s there was room for %ld contexts\n", getenv("BELAY_TEST_SMALL"), made);
}
static void small_address_spaces(void) {
    static const char *const sizes[] = {"40", "80", "200"};
    if (check_is_sanitized() || getenv("BELAY_TEST_SCALE")) return; // their tools need much address space themselves
    for (int i = 0; i < 3; i++) {
        char command[200];
        snprintf(command, sizeof command, "BELAY_TEST_SMALL='%s MB' /proc/%ld/exe", sizes[i], (long)getpid());
        CHECK_IS(system(command), 0);
    }
}

int main(void) {
    const char *small = getenv("BELAY_TEST_SMALL");
    if (small) {
        rlim_t bytes = (rlim_t)atol(small) << 20;
        CHECK_IS(setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes}), 0);
        in_a_small_address_space();
        return 0;
    }
    static const struct check_test tests[] = {
        TEST(the_limit_holds_for_contexts),
        TEST(the_limit_holds_for_listeners),
        TEST(a_cause_without_memory_still_ends),
        TEST(threads_return_their_memory),
        TEST(contexts_may_be_closed_elsewhere),
        TEST(small_address_spaces),
    };
    RUN_TESTS(tests, "");
    return 0;
}
