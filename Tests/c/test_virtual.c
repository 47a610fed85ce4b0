// SPDX-License-Identifier: Apache-2.0
//
// Virtual clocks: time that stands still until the test moves it, next to a naive list in the same time.
#include "check.h"

static belay_runtime make(void) {
    belay_runtime_options options = {.size = sizeof options, .virtual_clock = true};
    belay_runtime runtime = belay_runtime_new(&options);
    CHECK(runtime.bits != 0);
    return runtime;
}
static void unmake(belay_runtime runtime) { CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK); }
static void pass(belay_runtime runtime, belay_duration length) {
    CHECK_IS(belay_runtime_poll(runtime, belay_runtime_now(runtime) + length), BELAY_OK);
}

static void time_stands_still(void) {
    belay_runtime runtime = make();
    belay_instant start = belay_runtime_now(runtime);
    CHECK_IS(start, BELAY_SEC(1));
    belay_ctx root = belay_runtime_background(runtime);
    belay_ctx half = belay_with_timeout(root, BELAY_SEC(30)), lite = belay_lite(root, BELAY_SEC(40));
    belay_ctx heard = belay_with_timeout_cause(root, BELAY_SEC(50), 7, "slow");
    atomic_int inlined = 0, later = 0;
    CHECK(belay_on_done(heard, check_count, &inlined).bits != 0);
    CHECK(belay_after_func(heard, check_count, &later).bits != 0);
    check_sleep(BELAY_MS(2));
    CHECK_IS(belay_runtime_now(runtime), start);
    CHECK_IS(belay_remaining(half), BELAY_SEC(30));
    pass(runtime, BELAY_SEC(30) - 1);
    check_live(half);
    CHECK_IS(belay_remaining(half), 1);
    pass(runtime, 1);
    check_done(half, BELAY_DEADLINE_EXCEEDED);
    check_live(lite);
    pass(runtime, BELAY_SEC(10));
    check_done(lite, BELAY_DEADLINE_EXCEEDED);
    check_live(heard);
    CHECK_IS(inlined + later, 0);
    pass(runtime, BELAY_SEC(10));
    check_done(heard, BELAY_DEADLINE_EXCEEDED);
    check_cause(heard, 7, "slow");
    CHECK_IS(inlined, 1);
    CHECK_IS(later, 1);
    CHECK_IS(belay_runtime_poll(runtime, start), BELAY_OK); // never back
    CHECK_IS(belay_runtime_now(runtime), start + BELAY_SEC(50));
    check_close(half);
    check_close(lite);
    check_close(heard);
    unmake(runtime);
}

// What this machine's clock says is no measure: a deadline that has passed there may lie a year ahead of it.
static void the_future_can_be_past(void) {
    for (int variant = 0; variant < 6; variant++) {
        belay_runtime runtime = make();
        pass(runtime, belay_now() + BELAY_SEC(365L * 24 * 3600));
        belay_ctx root = belay_runtime_background(runtime), ctx = belay_with_timeout(root, BELAY_SEC(1));
        belay_ctx child = belay_with_cancel(ctx), lite = belay_lite(child, BELAY_FOREVER);
        check_live(lite);
        pass(runtime, BELAY_SEC(1));
        belay_ctx first = variant % 3 == 0 ? lite : variant % 3 == 1 ? child : ctx;
        if (variant < 3) CHECK_IS(belay_err(first), BELAY_DEADLINE_EXCEEDED);
        else CHECK(belay_is_done(first));
        check_close(lite);
        check_close(child);
        check_close(ctx);
        unmake(runtime);
    }
}

static void contexts_know_their_runtime(void) {
    belay_runtime runtime = make(), other = make();
    belay_ctx root = belay_runtime_background(runtime), ctx = belay_with_timeout(root, BELAY_SEC(1));
    belay_ctx lite = belay_lite(ctx, BELAY_SEC(1)), plain = belay_with_cancel(belay_background());
    CHECK_IS(belay_runtime_of(root).bits, runtime.bits);
    CHECK_IS(belay_runtime_of(ctx).bits, runtime.bits);
    CHECK_IS(belay_runtime_of(lite).bits, runtime.bits);
    CHECK_IS(belay_runtime_of(belay_runtime_background(other)).bits, other.bits);
    CHECK_IS(belay_runtime_of(plain).bits, 0);
    CHECK_IS(belay_runtime_of(belay_background()).bits, 0);
    CHECK_IS(belay_runtime_of((belay_ctx){0}).bits, 0);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    CHECK_IS(belay_runtime_of(ctx).bits, runtime.bits); // also when it has ended
    belay_ctx kept = belay_without_cancel(ctx);
    check_close(lite);
    check_close(ctx);
    CHECK_IS(belay_runtime_of(ctx).bits, 0);
    CHECK_IS(belay_runtime_of(kept).bits, runtime.bits);
    unmake(runtime);
    CHECK_IS(belay_runtime_of(kept).bits, 0);
    CHECK_IS(belay_runtime_of(root).bits, 0);
    check_close(kept);
    check_close(plain);
    unmake(other);
}

static void deadlines_move(void) {
    belay_runtime runtime = make();
    belay_ctx ctx = belay_with_timeout(belay_runtime_background(runtime), BELAY_SEC(10));
    atomic_int ran = 0;
    CHECK(belay_after_func(ctx, check_count, &ran).bits != 0);
    for (int i = 0; i < 100; i++) { // a keep-alive
        pass(runtime, BELAY_SEC(9));
        CHECK_IS(belay_set_deadline(ctx, belay_runtime_now(runtime) + BELAY_SEC(10)), BELAY_OK);
    }
    check_live(ctx);
    pass(runtime, BELAY_SEC(10));
    CHECK_IS(ran, 1);
    check_done(ctx, BELAY_DEADLINE_EXCEEDED);
    check_close(ctx);
    unmake(runtime);
}

// A clock that had come to "never": what was due there was due never.
static void a_clock_at_its_end_goes_on(void) {
    for (int starts_there = 0; starts_there < 2; starts_there++) {
        belay_runtime_options options = {.size = sizeof options, .virtual_clock = true};
        if (starts_there) options.start = BELAY_FOREVER;
        belay_runtime runtime = belay_runtime_new(&options);
        belay_ctx root = belay_runtime_background(runtime);
        atomic_int ran = 0, ended = 0;
        CHECK(belay_timer_after(root, BELAY_MS(3), check_count, &ran).bits != 0);
        CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
        CHECK_IS(ran, !starts_there); // there 3 ms more are never
        belay_instant end = belay_runtime_now(runtime);
        CHECK(end < BELAY_FOREVER);
        CHECK(belay_timer_after(root, 0, check_count, &ran).bits != 0);
        CHECK(belay_runtime_next(runtime) <= end);
        CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
        CHECK_IS(ran, 1 + !starts_there);
        belay_ctx timeout = belay_with_timeout(root, 0), deadline = belay_with_deadline(root, end);
        belay_ctx moved = belay_with_cancel(root), lite = belay_lite(root, 0), open = belay_with_cancel(root);
        check_done(timeout, BELAY_DEADLINE_EXCEEDED);
        check_done(deadline, BELAY_DEADLINE_EXCEEDED);
        check_done(lite, BELAY_DEADLINE_EXCEEDED);
        CHECK(belay_on_done(moved, check_count, &ended).bits != 0);
        CHECK_IS(belay_set_deadline(moved, end), BELAY_OK);
        check_done(moved, BELAY_DEADLINE_EXCEEDED);
        CHECK_IS(ended, 1);
        check_live(open);
        CHECK_IS(belay_remaining(open), BELAY_FOREVER);
        CHECK_IS(belay_runtime_now(runtime), end);
        belay_ctx all[] = {timeout, deadline, moved, lite, open};
        for (int i = 0; i < 5; i++) check_close(all[i]);
        unmake(runtime);
    }
}

// Callbacks of a free saw the real clock.
struct last_look { belay_runtime runtime; belay_instant now; int looks; };
static void look_at_the_clock(void *raw) {
    struct last_look *self = raw;
    CHECK_IS(belay_runtime_now(self->runtime), self->now);
    self->looks++;
}
static void a_free_goes_by_its_clock(void) {
    struct last_look self = {.runtime = make()};
    belay_ctx ctx = belay_with_cancel(belay_runtime_background(self.runtime));
    pass(self.runtime, BELAY_SEC(77));
    self.now = BELAY_SEC(78);
    CHECK(belay_after_func(ctx, look_at_the_clock, &self).bits != 0);
    CHECK(belay_on_done(ctx, look_at_the_clock, &self).bits != 0);
    CHECK(belay_timer_after(ctx, BELAY_SEC(3), look_at_the_clock, &self).bits != 0);
    unmake(self.runtime);
    CHECK_IS(self.looks, 3);
    belay_instant before = belay_now(), now = belay_runtime_now(self.runtime); // there is none any more
    CHECK(before <= now && now <= belay_now());
    check_close(ctx);
}

// --- ticks: what is due fires at the next multiple, and never before it ---------------------------------------------

enum { TICK = 10000000, TICKING = 40 };
struct ticking { belay_runtime runtime; belay_instant due; bool armed; int runs; };
static belay_instant rounded(belay_instant instant) { return (instant + TICK - 1) / TICK * TICK; }
static void fired_at_a_tick(void *raw) {
    struct ticking *self = raw;
    CHECK_IS(belay_runtime_now(self->runtime), rounded(self->due));
    CHECK(self->armed);
    self->armed = false;
    self->runs++;
}
static belay_runtime make_ticking(void) {
    belay_runtime_options options = {.size = sizeof options, .virtual_clock = true, .tick = TICK};
    belay_runtime runtime = belay_runtime_new(&options);
    CHECK(runtime.bits != 0);
    return runtime;
}
static void arm_ticking(struct ticking *self, belay_duration delay) {
    self->due = belay_runtime_now(self->runtime) + delay;
    self->armed = true;
    CHECK(belay_timer_after(belay_runtime_background(self->runtime), delay, fired_at_a_tick, self).bits != 0);
}

static void timers_fire_at_ticks_only(void) {
    belay_runtime runtime = make_ticking();
    struct ticking first = {.runtime = runtime}, second = first, third = first, heard = first;
    belay_instant start = belay_runtime_now(runtime);
    arm_ticking(&first, BELAY_MS(3));
    CHECK_IS(belay_runtime_next(runtime), start + BELAY_MS(10));
    pass(runtime, BELAY_MS(4));
    CHECK_IS(belay_runtime_now(runtime), start + BELAY_MS(4));
    CHECK_IS(first.runs, 0);
    CHECK_IS(belay_runtime_next(runtime), start + BELAY_MS(10));
    pass(runtime, BELAY_MS(9));
    CHECK_IS(first.runs, 1);
    CHECK_IS(belay_runtime_next(runtime), BELAY_FOREVER);
    arm_ticking(&second, BELAY_MS(3));
    arm_ticking(&third, BELAY_MS(7)); // due at a multiple
    belay_ctx ctx = belay_with_timeout(belay_runtime_background(runtime), BELAY_MS(5));
    heard.due = start + BELAY_MS(18);
    heard.armed = true;
    CHECK(belay_on_done(ctx, fired_at_a_tick, &heard).bits != 0);
    CHECK_IS(belay_runtime_next(runtime), start + BELAY_MS(20));
    pass(runtime, BELAY_MS(6));
    CHECK_IS(second.runs + third.runs + heard.runs, 0);
    pass(runtime, BELAY_MS(81));
    CHECK(second.runs == 1 && third.runs == 1 && heard.runs == 1);
    CHECK_IS(belay_runtime_now(runtime), start + BELAY_MS(100));
    check_done(ctx, BELAY_DEADLINE_EXCEEDED);
    check_close(ctx);
    unmake(runtime);
}

// Of the times that pass between two ticks one counts.
static void count_at_a_tick(void *raw) {
    struct ticking *self = raw;
    CHECK_IS(belay_runtime_now(self->runtime) % TICK, 0);
    self->runs++;
}
static void periods_shorter_than_a_tick(void) {
    struct ticking self = {.runtime = make_ticking()};
    belay_ctx root = belay_runtime_background(self.runtime);
    belay_timer timer = belay_timer_every(root, BELAY_MS(3), count_at_a_tick, &self);
    pass(self.runtime, BELAY_MS(9));
    CHECK_IS(self.runs, 0);
    for (int tick = 1; tick <= 10; tick++) {
        pass(self.runtime, BELAY_MS(10));
        CHECK_IS(self.runs, tick);
    }
    CHECK_IS(belay_timer_stop(timer), BELAY_STOP_PREVENTED);
    unmake(self.runtime);
}

static void random_polls_and_ticks(void) {
    uint64_t random = 0x2545f4914f6cdd1d;
    for (long script = check_scaled(100); script > 0; script--) {
        static struct ticking all[TICKING];
        belay_runtime runtime = make_ticking();
        for (int i = 0; i < TICKING; i++) all[i] = (struct ticking){.runtime = runtime};
        for (int step = 0; step < 200; step++) {
            struct ticking *one = &all[check_random(&random) % TICKING];
            if (step % 3 && !one->armed) arm_ticking(one, (belay_duration)(check_random(&random) % BELAY_MS(100)));
            if (step % 3) continue;
            belay_instant first = BELAY_FOREVER;
            for (int i = 0; i < TICKING; i++)
                if (all[i].armed && rounded(all[i].due) < first) first = rounded(all[i].due);
            belay_instant next = belay_runtime_next(runtime), target = belay_runtime_now(runtime);
            CHECK(next <= first && (next == BELAY_FOREVER || next % TICK == 0));
            target += (belay_duration)(check_random(&random) % BELAY_MS(40));
            CHECK_IS(belay_runtime_poll(runtime, target), BELAY_OK);
            for (int i = 0; i < TICKING; i++)
                if (all[i].armed) CHECK(rounded(all[i].due) > target);
        }
        pass(runtime, BELAY_MS(110));
        for (int i = 0; i < TICKING; i++) CHECK(!all[i].armed);
        unmake(runtime);
    }
}

// The real clock's, by what the loop says that the time is.
static void ticks_of_a_real_clock(void) {
    belay_runtime_options options = {.size = sizeof options, .manual = true, .tick = TICK};
    belay_runtime runtime = belay_runtime_new(&options);
    for (int round = 0; round < 5; round++) {
        atomic_int ran = 0;
        belay_instant before = belay_now();
        CHECK(belay_timer_after(belay_runtime_background(runtime), BELAY_US(100), check_count, &ran).bits != 0);
        belay_instant after = belay_now(), next = belay_runtime_next(runtime);
        CHECK(next % TICK == 0 && next >= rounded(before + BELAY_US(100)) && next <= rounded(after + BELAY_US(100)));
        check_sleep_until(next + BELAY_MS(1));
        CHECK_IS(belay_runtime_poll(runtime, next - 1), BELAY_OK);
        CHECK_IS(ran, 0);
        CHECK_IS(belay_runtime_next(runtime), next);
        CHECK_IS(belay_runtime_poll(runtime, next), BELAY_OK);
        CHECK_IS(ran, 1);
    }
    // A loop that asks all the time.
    for (int round = 0; round < 5; round++) {
        atomic_int ran = 0;
        belay_instant due = belay_now() + BELAY_US(100);
        CHECK(belay_timer_after(belay_runtime_background(runtime), BELAY_US(100), check_count, &ran).bits != 0);
        while (ran == 0) CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
        CHECK(belay_now() >= rounded(due));
    }
    unmake(runtime);
}

// --- waits ---------------------------------------------------------------------------------------------------------

struct waiting { belay_ctx ctx[2]; size_t n, index; belay_duration timeout; atomic_int answer; };
static void wait_there(void *raw) {
    struct waiting *self = raw;
    belay_status status = self->n == 0 ? belay_wait(self->ctx[0], self->timeout)
                                       : belay_wait_any(self->ctx, self->n, self->timeout, &self->index);
    atomic_store(&self->answer, (int)status);
}

static void waits_are_in_virtual_time(void) {
    belay_runtime runtime = make();
    belay_ctx root = belay_runtime_background(runtime), ctx = belay_with_timeout(root, BELAY_SEC(100));
    belay_ctx lite = belay_lite(ctx, BELAY_SEC(50)), real = belay_with_cancel(belay_background());
    struct waiting all[] = {
        {.ctx = {ctx}, .timeout = BELAY_SEC(20), .answer = -1}, {.ctx = {ctx}, .timeout = BELAY_FOREVER, .answer = -1},
        {.ctx = {lite}, .timeout = BELAY_FOREVER, .answer = -1}, {.ctx = {root}, .timeout = BELAY_SEC(30), .answer = -1},
        {.ctx = {root, real}, .n = 2, .timeout = BELAY_FOREVER, .answer = -1},
        {.ctx = {real, ctx}, .n = 2, .timeout = BELAY_FOREVER, .answer = -1},
    };
    enum { COUNT = sizeof all / sizeof *all };
    struct check_thread threads[COUNT];
    uint64_t tasks = LIVE_TASKS;
    for (int i = 0; i < COUNT; i++) check_start(&threads[i], wait_there, &all[i]);
    // A callback for each context, and alarms for two timeouts and the lite context. Who began to wait later than that
    // would be called by its context's deadline instead.
    EVENTUALLY(LIVE_TASKS >= tasks + 11);
    for (int i = 0; i < COUNT; i++) CHECK_IS(all[i].answer, -1);
    const belay_duration done_at[COUNT] = {BELAY_SEC(20), BELAY_SEC(100), BELAY_SEC(50), BELAY_SEC(30), 0, BELAY_SEC(100)};
    for (int i = 0; i < COUNT; i++) {
        if (i == 4) continue;
        EVENTUALLY((pass(runtime, BELAY_SEC(1)), all[i].answer != -1));
        CHECK(belay_runtime_now(runtime) - BELAY_SEC(1) >= done_at[i]);
    }
    CHECK_IS(all[0].answer, BELAY_TIMEOUT);
    CHECK_IS(all[1].answer, BELAY_DEADLINE_EXCEEDED);
    CHECK_IS(all[2].answer, BELAY_DEADLINE_EXCEEDED);
    CHECK_IS(all[3].answer, BELAY_TIMEOUT);
    CHECK_IS(all[5].answer, BELAY_DEADLINE_EXCEEDED);
    CHECK_IS(all[5].index, 1);
    CHECK_IS(all[4].answer, -1);
    CHECK_IS(belay_cancel(real), BELAY_OK);
    for (int i = 0; i < COUNT; i++) check_join(&threads[i]);
    CHECK_IS(all[4].answer, BELAY_CANCELED);
    CHECK_IS(all[4].index, 1);
    check_close(lite);
    check_close(ctx);
    check_close(real);
    unmake(runtime);
}

static void cancels_end_waits(void) {
    belay_runtime runtime = make();
    for (int which = 0; which < 3; which++) {
        belay_ctx ctx = belay_with_timeout(belay_runtime_background(runtime), BELAY_SEC(100));
        belay_ctx lite = belay_lite(ctx, BELAY_FOREVER);
        struct waiting wait = {.ctx = {which == 0 ? ctx : lite}, .timeout = BELAY_FOREVER, .answer = -1};
        struct check_thread thread;
        check_start(&thread, wait_there, &wait);
        check_sleep(BELAY_MS(2));
        CHECK_IS(belay_cancel(which == 2 ? lite : ctx), BELAY_OK);
        check_join(&thread);
        CHECK_IS(wait.answer, BELAY_CANCELED);
        check_close(lite);
        check_close(ctx);
    }
    unmake(runtime);
}

static void wait_inside(void *answer) {
    belay_ctx ctx = {(uint64_t)atomic_load((atomic_ullong *)answer)};
    atomic_store((atomic_ullong *)answer, (unsigned long long)belay_wait(ctx, BELAY_SEC(1)));
}

static void no_wait_inside_a_poll(void) { // the thread that moves the clock would wait for itself
    belay_runtime runtime = make();
    belay_ctx ctx = belay_with_cancel(belay_runtime_background(runtime));
    atomic_ullong answer = ctx.bits;
    CHECK(belay_timer_after(ctx, 0, wait_inside, &answer).bits != 0);
    pass(runtime, 0);
    CHECK_IS(answer, BELAY_EDEADLK);
    check_close(ctx);
    unmake(runtime);
}

// With the runtime the clock goes: a timeout that nobody would ever reach slept for ever.
static void wait_for_long(void *raw) { CHECK_IS(belay_wait(*(belay_ctx *)raw, BELAY_SEC(1000)), BELAY_TIMEOUT); }

static void waits_end_with_their_clock(void) {
    belay_runtime runtime = make();
    belay_ctx apart = belay_without_cancel(belay_runtime_background(runtime));
    belay_ctx ctx = belay_with_timeout(apart, BELAY_SEC(5000)), lite = belay_lite(apart, BELAY_SEC(5000));
    uint64_t tasks = LIVE_TASKS;
    struct check_thread threads[2];
    check_start(&threads[0], wait_for_long, &ctx);
    check_start(&threads[1], wait_for_long, &lite);
    EVENTUALLY(LIVE_TASKS >= tasks + 5); // alarms and registrations
    unmake(runtime);
    for (int i = 0; i < 2; i++) check_join(&threads[i]);
    wait_for_long(&ctx);
    wait_for_long(&lite);
    check_live(ctx);
    check_close(lite);
    check_close(ctx);
    check_close(apart);
}

// --- the model: what a naive list of timers does for the same script ----------------------------------------------------

enum { MOST = 400 };
struct item { belay_timer timer; belay_instant due; belay_duration period; bool armed; int expected; int ran; };
static struct model { belay_runtime runtime; belay_ctx ctx; struct item items[MOST]; belay_instant target; long fired; } model;

// Each run finds the clock at exactly the instant it was due.
static void item_ran(void *raw) {
    struct item *item = raw;
    CHECK_IS(belay_runtime_now(model.runtime), item->due);
    CHECK(item->armed);
    for (int i = 0; i < MOST; i++) // nothing that was due before is still to come
        if (model.items[i].armed && &model.items[i] != item) CHECK(model.items[i].due >= item->due);
    item->ran++;
    model.fired++;
    if (item->period != 0) item->due += item->period; else item->armed = false;
}

static belay_duration random_delay(uint64_t *random) {
    uint64_t shape = check_random(random) % 8;
    if (shape == 0) return 0;
    if (shape == 1) return BELAY_FOREVER;
    if (shape == 2) return -(belay_duration)(check_random(random) % 1000);
    return (belay_duration)(check_random(random) % (UINT64_C(1) << (10 + shape * 6)));
}

static void random_scripts(void) {
    uint64_t random = 0x9e3779b97f4a7c15;
    for (int script = 0; script < (int)check_scaled(40); script++) {
        model = (struct model){.runtime = make()};
        model.ctx = belay_with_cancel(belay_runtime_background(model.runtime));
        for (int step = 0; step < 600; step++) {
            struct item *item = &model.items[check_random(&random) % MOST];
            belay_instant now = belay_runtime_now(model.runtime);
            switch (check_random(&random) % 6) {
            case 0:
            case 1:
                if (item->armed) break;
                bool periodic = check_random(&random) % 6 == 0;
                belay_duration delay = periodic ? BELAY_MS(1 + check_random(&random) % 900) : random_delay(&random);
                item->period = periodic ? delay : 0;
                item->due = delay == BELAY_FOREVER ? BELAY_FOREVER : now + (delay > 0 ? delay : 0);
                item->armed = true;
                item->timer = periodic ? belay_timer_every(model.ctx, delay, item_ran, item)
                                       : belay_timer_after(model.ctx, delay, item_ran, item);
                CHECK(item->timer.bits != 0);
                break;
            case 2:
                CHECK_IS(belay_timer_stop(item->timer) == BELAY_STOP_PREVENTED, item->armed);
                item->armed = false;
                break;
            case 3: {
                belay_duration next = random_delay(&random);
                CHECK_IS(belay_timer_reset(item->timer, next) == BELAY_OK, item->armed);
                if (item->armed) item->due = next == BELAY_FOREVER ? BELAY_FOREVER : now + (next > 0 ? next : 0);
                break;
            }
            default: {
                belay_instant first = BELAY_FOREVER;
                for (int i = 0; i < MOST; i++)
                    if (model.items[i].armed && model.items[i].due < first) first = model.items[i].due;
                belay_instant next = belay_runtime_next(model.runtime);
                CHECK(next <= first);
                belay_instant target = now + (belay_duration)(check_random(&random) % BELAY_SEC(2));
                CHECK_IS(belay_runtime_poll(model.runtime, target), BELAY_OK);
                CHECK_IS(belay_runtime_now(model.runtime), target);
                for (int i = 0; i < MOST; i++) // all that was due has run
                    if (model.items[i].armed) CHECK(model.items[i].due > target);
            }
            }
        }
        for (int i = 0; i < MOST; i++)
            if (model.items[i].armed) CHECK_IS(belay_timer_stop(model.items[i].timer), BELAY_STOP_PREVENTED);
        check_close(model.ctx);
        unmake(model.runtime);
        CHECK(model.fired > 0);
    }
}

// So many in a slot of the wheel that it is moved down in parts: each runs at its instant all the same.
struct punctual { belay_instant due; int runs; };
static void is_punctual(void *raw) {
    struct punctual *one = raw;
    CHECK_IS(belay_runtime_now(model.runtime), one->due);
    one->runs++;
}

static void thousands_of_timers(void) {
    enum { COUNT = 3000 };
    static struct punctual all[COUNT];
    static belay_timer timers[COUNT];
    uint64_t random = 11;
    for (int script = 0; script < (int)check_scaled(4); script++) {
        model = (struct model){.runtime = make()};
        belay_instant start = belay_runtime_now(model.runtime);
        for (int i = 0; i < COUNT; i++) {
            belay_duration delay = BELAY_MS(200) + (belay_duration)(check_random(&random) % BELAY_MS(script % 2 ? 2 : 500));
            all[i] = (struct punctual){.due = start + delay};
            timers[i] = belay_timer_after(belay_runtime_background(model.runtime), delay, is_punctual, &all[i]);
        }
        for (int i = 0; i < COUNT; i += 7) {
            all[i].due = start + (belay_duration)(check_random(&random) % BELAY_SEC(1));
            CHECK_IS(belay_timer_reset(timers[i], all[i].due - start), BELAY_OK);
        }
        pass(model.runtime, BELAY_SEC(2));
        for (int i = 0; i < COUNT; i++) CHECK_IS(all[i].runs, 1);
        unmake(model.runtime);
    }
}

int main(void) {
    belay_ctx first = belay_with_cancel(belay_background());
    check_close(first);
    const struct check_test tests[] = {
        TEST(time_stands_still), TEST(the_future_can_be_past), TEST(contexts_know_their_runtime), TEST(deadlines_move),
        TEST(a_clock_at_its_end_goes_on), TEST(a_free_goes_by_its_clock), TEST(timers_fire_at_ticks_only),
        TEST(periods_shorter_than_a_tick), TEST(random_polls_and_ticks), TEST(ticks_of_a_real_clock),
        TEST(waits_are_in_virtual_time), TEST(cancels_end_waits), TEST(no_wait_inside_a_poll),
        TEST(waits_end_with_their_clock), TEST(random_scripts), TEST(thousands_of_timers),
    };
    RUN_TESTS(tests, "");
    return 0;
}
