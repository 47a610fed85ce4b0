// SPDX-License-Identifier: Apache-2.0
//
// A registration keeps nothing: its context may go, and its cells become somebody else's, while a thread that has nothing but
// the handle is on its way to the list. So here is one that is held at any instruction, and what it looks at taken away
// meanwhile. Of a callback the same is asked everywhere: either it runs, once, or a stop has prevented it, once.
#define _GNU_SOURCE
#include "steps.h"

#include <sched.h>

struct call { atomic_int made, runs, prevented; belay_reg reg; };

static void ran(void *call) { atomic_fetch_add(&((struct call *)call)->runs, 1); }

static bool add(struct call *call, belay_ctx ctx, bool later) {
    call->reg = later ? belay_after_func(ctx, ran, call) : belay_on_done(ctx, ran, call);
    if (call->reg.bits == 0) CHECK_IS(belay_last_status(), BELAY_ESTALE);
    if (call->reg.bits != 0) atomic_fetch_add(&call->made, 1);
    return call->reg.bits != 0;
}
static void stop(struct call *call) {
    if (belay_stop(call->reg) == BELAY_STOP_PREVENTED) atomic_fetch_add(&call->prevented, 1);
}
static int answers(struct call *call) { return atomic_load(&call->runs) + atomic_load(&call->prevented); }

// Whoever could run them has returned.
static void check_answered(struct call *calls, int count) {
    for (int i = 0; i < count; i++) CHECK_IS(answers(&calls[i]), calls[i].made);
}
static void clear(struct call *calls, int count) {
    for (int i = 0; i < count; i++) calls[i] = (struct call){0};
}

// A race in rounds: in each the visitors go through all calls, while the owner holds one of them and takes away what it
// visits. There are so many calls that a signal comes before they are through.
enum { CALLS = 400, NEXT = 4 };
static struct {
    belay_ctx ctx;
    struct call calls[CALLS], next[NEXT];
    atomic_long round, out;
    atomic_int at;
    int visitors, calls_each;
    uint64_t random;
} all;

static void spin(uint64_t turns) {
    for (volatile uint64_t i = turns; i > 0; i--) {}
}
static uint64_t dice(uint64_t most) { return check_random(&all.random) % most; }

static void visit(void (*one)(int)) {
    for (long round = 1;; round++) {
        while (atomic_load(&all.round) < round) {
            if (atomic_load(&all.round) < 0) return;
            sched_yield();
        }
        for (int i = 0; i < all.calls_each; i++) {
            atomic_store(&all.at, i);
            one(i);
        }
        atomic_fetch_add(&all.out, 1);
    }
}

static void rounds(check_body *visitor, int visitors, int calls, void (*one_round)(struct check_thread *), long count) {
    struct check_thread threads[2];
    atomic_store(&all.round, 0);
    atomic_store(&all.out, 0);
    all.visitors = visitors;
    all.calls_each = calls;
    all.random = 77;
    for (int i = 0; i < visitors; i++) check_start(&threads[i], visitor, NULL);
    for (count = check_scaled(count); count > 0; count--) one_round(&threads[0]);
    atomic_store(&all.round, -1);
    for (int i = 0; i < visitors; i++) check_join(&threads[i]);
}

// Lets the visitors go, and holds the first one at wherever it has come to: the answer is which call. `await` is the end.
static int hold(struct check_thread *visitor) {
    int from = (int)dice((uint64_t)all.calls_each / 2);
    atomic_store(&all.at, -1);
    atomic_fetch_add(&all.round, 1);
    while (atomic_load(&all.at) < from) sched_yield();
    check_hold(visitor);
    return atomic_load(&all.at);
}
static void await(void) {
    while (atomic_load(&all.out) < all.visitors * atomic_load(&all.round)) sched_yield();
}

// Ends the context in one way or another. What comes next is in its cells, and has callbacks of its own, all of which are to
// run: where a late visitor takes one of them out, or cuts the list off, that is found out.
static void end_and_go_on(belay_ctx parent) {
    belay_ctx next = {0};
    uint64_t way = dice(6);
    if (way == 0) belay_cancel(all.ctx);
    if (way == 1) belay_cancel(parent);
    if (way >= 4) next = belay_reset(all.ctx);
    if (belay_is_none(next)) {
        check_close(all.ctx);
        next = belay_with_cancel(parent);
    }
    clear(all.next, NEXT);
    for (int i = 0; i < NEXT; i++) CHECK(add(&all.next[i], next, false));
    check_free();
    await();
    check_answered(all.calls, CALLS);
    check_close(next);
    check_answered(all.next, NEXT);
    check_close(parent);
}

// Stops, two of each registration, as the context goes.
static void stop_one(int i) { stop(&all.calls[i]); }
static void stop_all(void *argument) {
    (void)argument;
    visit(stop_one);
}
static void a_round_of_stops(struct check_thread *visitor) {
    belay_ctx parent = belay_with_cancel(belay_background());
    all.ctx = belay_with_cancel(parent);
    clear(all.calls, CALLS);
    for (int i = 0; i < CALLS; i++) CHECK(add(&all.calls[i], all.ctx, false));
    hold(visitor);
    end_and_go_on(parent);
}
static void stops_meet_the_end(void) { rounds(stop_all, 1, CALLS, a_round_of_stops, 6000); }
static void two_stops_meet_the_end(void) { rounds(stop_all, 2, CALLS, a_round_of_stops, 2000); }

// Registrations as the context goes, most of which are stopped at once, so that the list is empty now and then.
static void add_one(int i) {
    static uint64_t random = 5;
    if (add(&all.calls[i], all.ctx, false) && check_random(&random) % 16) stop(&all.calls[i]);
}
static void add_all(void *argument) {
    (void)argument;
    visit(add_one);
}
static void a_round_of_registrations(struct check_thread *visitor) {
    belay_ctx parent = belay_with_cancel(belay_background());
    all.ctx = belay_with_cancel(parent);
    clear(all.calls, CALLS);
    if (dice(4)) CHECK_IS(belay_stop(belay_on_done(all.ctx, check_ignore, NULL)), BELAY_STOP_PREVENTED); // attached
    hold(visitor);
    end_and_go_on(parent);
}
static void registrations_meet_the_end(void) { rounds(add_all, 1, CALLS, a_round_of_registrations, 8000); }

// Where it takes a halt at one of a few instructions, or two halts, the visitor counts its steps (steps.h).
static void await_halt(long number) {
    while (atomic_load(&check_held) < number && atomic_load(&all.out) < atomic_load(&all.round)) sched_yield();
}
static long halt_after(uint64_t most, uint64_t most_more) {
    atomic_store(&steps, (long)dice(most) + 1);
    atomic_store(&more, most_more ? (long)dice(most_more) + 1 : 0);
    long number = atomic_fetch_add(&check_holds, 1) + 1;
    atomic_fetch_add(&all.round, 1);
    await_halt(number);
    return number;
}

// The same, of whoever comes to a lock next: he stands still before it, and after `inside` steps more.
static long halt_at_lock(bool before, uint64_t inside) {
    atomic_store(&steps, before ? 1 : (long)inside + 1);
    atomic_store(&more, before ? (long)inside : 0);
    atomic_store(&first_step, LOCK);
    return atomic_fetch_add(&check_holds, 1) + 1;
}
static void go_on_to_next_halt(long number) {
    atomic_fetch_add(&check_holds, 1);
    atomic_store(&check_freed, number);
    await_halt(number + 1);
}

// What a registration has for its context is something else in the cell's next life: in that of a timer with a period it is
// the index of a record, of which there may be more than there is memory for contexts.
static void stop_in_steps(int i) {
    count_steps(true);
    stop(&all.calls[i]);
    count_steps(false);
}
static void stop_one_in_steps(void *argument) {
    (void)argument;
    visit(stop_in_steps);
}
static void a_round_of_cells(struct check_thread *visitor) {
    (void)visitor;
    clear(all.calls, 1);
    CHECK(add(&all.calls[0], all.ctx, false));
    halt_after(200, 0);
    stop(&all.calls[0]);
    belay_timer timer = belay_timer_every(belay_background(), BELAY_SEC(1000), check_ignore, NULL); // in that cell
    check_free();
    await();
    CHECK_IS(belay_timer_stop(timer), BELAY_STOP_PREVENTED);
    check_answered(all.calls, 1);
}
static void the_cell_becomes_a_timer(void) {
    enum { MANY = 4096 };
    static belay_timer many[MANY];
    all.ctx = belay_with_cancel(belay_background());
    for (int i = 0; i < MANY; i++)
        many[i] = belay_timer_every(belay_background(), BELAY_SEC(1000), check_ignore, NULL);
    rounds(stop_one_in_steps, 1, 1, a_round_of_cells, 400);
    for (int i = 0; i < MANY; i++) CHECK_IS(belay_timer_stop(many[i]), BELAY_STOP_PREVENTED);
    check_close(all.ctx);
}

// A stop may have the lock of a list, or of a wheel, when that is another one's already, and lets go of it then. Were the lock
// made new for that life, two more would be inside at once, and what one of them adds lost. So a stop is held before the
// lock, until what it wants is over, and inside it, until the next life has begun; and so is the first of the two who add.
static const struct lives {
    void (*begin)(void), (*leave)(void), (*end)(void), (*begin_next)(void), (*add)(int), (*end_next)(void);
} *lives;
static atomic_int turn;

static void add_in_steps(void *argument) {
    (void)argument;
    belay_ctx elsewhere = belay_with_cancel(belay_background());
    for (int i = 0; i < 2; i++) CHECK_IS(belay_stop(belay_on_done(elsewhere, check_ignore, NULL)), BELAY_STOP_PREVENTED);
    check_close(elsewhere);
    atomic_store(&turn, 1);
    while (atomic_load(&turn) == 1) sched_yield();
    count_steps(true);
    lives->add(1);
    count_steps(false);
    atomic_store(&turn, 3);
}
static void a_round_of_lives(struct check_thread *visitor) {
    (void)visitor;
    struct check_thread other;
    atomic_store(&turn, 0);
    check_start(&other, add_in_steps, NULL);
    while (atomic_load(&turn) == 0) sched_yield();
    clear(all.calls, 1);
    clear(all.next, NEXT);
    lives->begin();
    long before = halt_at_lock(true, 1);
    atomic_fetch_add(&all.round, 1);
    await_halt(before);
    lives->leave();
    go_on_to_next_halt(before);
    lives->end();
    lives->begin_next();
    lives->add(0);
    long third = halt_at_lock(false, dice(128));
    atomic_store(&turn, 2);
    while (atomic_load(&check_held) < third && atomic_load(&turn) == 2) sched_yield();
    atomic_store(&check_freed, before + 1);
    await();
    lives->add(2);
    check_free();
    check_join(&other);
    lives->end_next();
    check_answered(all.calls, 1);
    check_answered(all.next, NEXT);
}
static void two_lives(const struct lives *which, check_body *visitor) {
    lives = which;
    atomic_store(&check_hold_most, BELAY_MS(12)); // others make hundreds of steps meanwhile
    rounds(visitor, 1, 1, a_round_of_lives, 60);
    atomic_store(&check_hold_most, BELAY_US(500));
}

// The list of a context's registrations.
static void register_one(void) {
    all.ctx = belay_with_cancel(belay_background());
    CHECK(add(&all.calls[0], all.ctx, false));
}
static void stop_it_first(void) {
    stop(&all.calls[0]);
    belay_cancel(all.ctx); // so that the close needs no lock
}
static void close_it(void) { check_close(all.ctx); }
static void begin_in_its_cells(void) { all.ctx = belay_with_cancel(belay_background()); }
static void register_next(int i) { CHECK(add(&all.next[i], all.ctx, false)); }
static void a_list_of_two_lives(void) {
    two_lives(&(struct lives){register_one, stop_it_first, close_it, begin_in_its_cells, register_next, close_it},
              stop_one_in_steps);
}

// The wheel of a runtime.
static belay_runtime runtime;
static belay_timer timer;
static void nothing(void) {}
static belay_timer add_timer(struct call *call) {
    call->made = 1;
    return belay_timer_after(belay_runtime_background(runtime), BELAY_SEC(1000), ran, call);
}
static void new_runtime(void) {
    belay_runtime_options options = {.size = sizeof options, .virtual_clock = true};
    runtime = belay_runtime_new(&options);
}
static void start_one(void) {
    new_runtime();
    timer = add_timer(&all.calls[0]);
}
static void free_it(void) { CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK); }
static void start_next(int i) { CHECK(add_timer(&all.next[i]).bits != 0); }
static void stop_timer_in_steps(int i) {
    (void)i;
    count_steps(true);
    if (belay_timer_stop(timer) == BELAY_STOP_PREVENTED) atomic_fetch_add(&all.calls[0].prevented, 1);
    count_steps(false);
}
static void stop_the_timer_in_steps(void *argument) {
    (void)argument;
    visit(stop_timer_in_steps);
}
static void a_wheel_of_two_lives(void) {
    two_lives(&(struct lives){start_one, free_it, nothing, new_runtime, start_next, free_it}, stop_the_timer_in_steps);
}

// Who waits for a lite context under one that has no end of its own has a callback on that one's close. A close that found no
// list has told nobody; so none may join one after that, whatever keeps the node.
static void wait_for_one(int i) {
    (void)i;
    count_steps(true);
    CHECK(belay_wait(all.ctx, 1) != BELAY_ENOMEM);
    count_steps(false);
}
static void wait_for_all(void *argument) {
    (void)argument;
    visit(wait_for_one);
}
static void a_round_of_waits(struct check_thread *visitor) {
    (void)visitor;
    belay_ctx value = belay_without_cancel(belay_background()), child = belay_with_cancel(value);
    all.ctx = belay_lite(value, BELAY_FOREVER);
    long first = halt_after(1400, 500);
    check_close(value);
    atomic_fetch_add(&check_holds, 1);
    atomic_store(&check_freed, first);
    await_halt(first + 1);
    check_close(child); // whose parent's cell is free now
    belay_ctx next = belay_with_cancel(belay_background());
    clear(all.next, 1);
    CHECK(add(&all.next[0], next, false));
    check_free();
    await();
    check_close(next);
    check_answered(all.next, 1);
    check_close(all.ctx);
}
static void waits_meet_a_close(void) { rounds(wait_for_all, 1, 1, a_round_of_waits, 100); }

// Many threads on one context, which ends and is followed by another. A registration goes round, and is stopped by whoever
// gets it too.
static _Atomic uint64_t places[3];
static _Atomic(struct call *) passed[4];
static atomic_bool over;
static long each;

static belay_ctx placed(int i) { return (belay_ctx){atomic_load(&places[i])}; }

static void crowd(void *argument) {
    struct call **mine = argument, *calls = calloc((size_t)each, sizeof *calls);
    uint64_t random = (uint64_t)(uintptr_t)calls | 1;
    *mine = calls;
    for (long i = 0; i < each; i++) {
        uint64_t dice = check_random(&random);
        if (!add(&calls[i], placed(0), dice & 1)) continue;
        if (dice % 8 == 2 && belay_stop_wait(calls[i].reg, BELAY_FOREVER) == BELAY_STOP_PREVENTED) calls[i].prevented++;
        struct call *other = dice & 32 ? atomic_exchange(&passed[dice >> 6 & 3], &calls[i]) : &calls[i];
        if (other) stop(other);
        if (dice & 1024) stop(&calls[i]);
    }
}
static void end_again_and_again(void *argument) {
    (void)argument;
    uint64_t random = 9;
    while (!atomic_load(&over)) {
        uint64_t dice = check_random(&random);
        belay_ctx old = placed(0), next = {0};
        if (dice % 8 == 0) next = belay_reset(old);
        if (dice % 8 == 1) belay_cancel(old);
        if (belay_is_none(next)) next = dice % 8 == 2 ? belay_with_timeout(belay_background(), BELAY_US(dice >> 8 & 63))
                                                      : belay_with_cancel(belay_background());
        atomic_store(&places[0], next.bits);
        if (belay_err(old) != BELAY_ESTALE) check_close(old);
        spin(dice >> 8 & 4095);
    }
}
static void many_threads_and_one_context(void) {
    static const int counts[] = {1, 2, 4, 8, 16};
    for (int k = 0; k < 5; k++) {
        struct check_thread owner, threads[16];
        struct call *calls[16];
        each = check_scaled(60000) / counts[k] + 1;
        atomic_store(&over, false);
        atomic_store(&places[0], belay_with_cancel(belay_background()).bits);
        check_start(&owner, end_again_and_again, NULL);
        for (int i = 0; i < counts[k]; i++) check_start(&threads[i], crowd, &calls[i]);
        for (int i = 0; i < counts[k]; i++) check_join(&threads[i]);
        atomic_store(&over, true);
        check_join(&owner);
        check_close(placed(0));
        for (int i = 0; i < 4; i++) atomic_store(&passed[i], NULL);
        for (int i = 0; i < counts[k]; i++) {
            for (long j = 0; j < each; j++) EVENTUALLY(answers(&calls[i][j]) >= calls[i][j].made);
            check_answered(calls[i], (int)each);
            free(calls[i]);
        }
    }
}

// Merged contexts that are closed while their parents end, and so are their links to these.
static void merge_them(void *argument) {
    struct call **mine = argument, *calls = calloc((size_t)each, sizeof *calls);
    uint64_t random = (uint64_t)(uintptr_t)calls | 1;
    *mine = calls;
    for (long i = 0; i < each; i++) {
        uint64_t dice = check_random(&random);
        belay_ctx merged = belay_merge((belay_ctx[]){placed((int)(dice % 3)), placed((int)((dice >> 8) % 3)), placed(2)}, 3);
        if (belay_is_none(merged)) continue;
        belay_ctx more = dice & 2048 ? belay_merge((belay_ctx[]){merged, placed(1)}, 2) : (belay_ctx){0};
        if (add(&calls[i], merged, false) && dice & 4096) stop(&calls[i]);
        if (!belay_is_none(more)) check_close(more);
        check_close(merged); // or one of several owners leaves, of a parent that was the only one
    }
}
static void end_the_parents(void *argument) {
    (void)argument;
    uint64_t random = 13;
    while (!atomic_load(&over)) {
        uint64_t dice = check_random(&random);
        belay_ctx old = placed((int)(dice % 3));
        atomic_store(&places[dice % 3], belay_with_cancel(dice & 16 ? placed((int)((dice + 1) % 3)) : belay_background()).bits);
        if (dice & 32) belay_cancel(old);
        check_close(old);
        spin(dice >> 8 & 4095);
    }
}
static void merges_meet_the_end(void) {
    uint64_t records = check_metric("/memory/records:records");
    struct check_thread owner, threads[2];
    struct call *calls[2];
    each = check_scaled(40000);
    atomic_store(&over, false);
    for (int i = 0; i < 3; i++) atomic_store(&places[i], belay_with_cancel(belay_background()).bits);
    check_start(&owner, end_the_parents, NULL);
    for (int i = 0; i < 2; i++) check_start(&threads[i], merge_them, &calls[i]);
    for (int i = 0; i < 2; i++) check_join(&threads[i]);
    atomic_store(&over, true);
    check_join(&owner);
    for (int i = 0; i < 3; i++) check_close(placed(i));
    for (int i = 0; i < 2; i++) {
        check_answered(calls[i], (int)each);
        free(calls[i]);
    }
    EVENTUALLY(check_metric("/memory/records:records") == records);
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(the_cell_becomes_a_timer), TEST(a_list_of_two_lives), TEST(a_wheel_of_two_lives),
        TEST(stops_meet_the_end), TEST(two_stops_meet_the_end),
        TEST(registrations_meet_the_end), TEST(waits_meet_a_close), TEST(many_threads_and_one_context),
        TEST(merges_meet_the_end),
    };
    RUN_TESTS(tests, "");
    return 0;
}
