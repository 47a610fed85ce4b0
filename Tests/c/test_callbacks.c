// SPDX-License-Identifier: Apache-2.0
//
// Callbacks: once or never, where they run, the three answers of stop, and waiting for one that runs.
#include "check.h"

#include <sched.h>

static belay_ctx live(void) { return belay_with_cancel(belay_background()); }

// A callback that can be held while it runs.
struct held { atomic_int began, release, ended, runs; };
static void hold(void *argument) {
    struct held *held = argument;
    atomic_fetch_add(&held->runs, 1);
    atomic_store(&held->began, 1);
    EVENTUALLY(atomic_load(&held->release));
    atomic_store(&held->ended, 1);
}

static void a_callback_runs_once(void) {
    belay_ctx ctx = live(), child = belay_with_timeout(ctx, BELAY_SEC(100));
    atomic_int runs = 0;
    for (int i = 0; i < 50; i++) {
        CHECK(belay_after_func(i % 2 ? ctx : child, check_count, &runs).bits != 0);
        CHECK(belay_on_done(i % 2 ? ctx : child, check_count, &runs).bits != 0);
    }
    CHECK_IS(runs, 0);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    CHECK(atomic_load(&runs) >= 50); // the inline ones have run
    EVENTUALLY(atomic_load(&runs) == 100);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    check_close(child);
    check_close(ctx);
    check_sleep(BELAY_MS(5));
    CHECK_IS(runs, 100);
}

static void on_done_contexts_it_runs_all_the_same(void) {
    static const belay_key key = {"key"};
    belay_ctx canceled = live(), late = belay_with_timeout(belay_background(), 0);
    CHECK_IS(belay_cancel(canceled), BELAY_OK);
    belay_ctx value = belay_with_value(canceled, &key, NULL, NULL);
    belay_ctx ctxs[] = {canceled, late, value};
    for (int i = 0; i < 3; i++) {
        atomic_int runs = 0;
        CHECK(belay_on_done(ctxs[i], check_count, &runs).bits != 0);
        CHECK_IS(runs, 1); // before it returned
        belay_reg reg = belay_after_func(ctxs[i], check_count, &runs);
        CHECK(reg.bits != 0);
        EVENTUALLY(atomic_load(&runs) == 2);
        EVENTUALLY(belay_stop(reg) == BELAY_STOP_GONE);
        check_close(ctxs[i]);
    }
}

static void a_deadline_runs_it(void) {
    belay_ctx ctx = belay_with_timeout(belay_background(), BELAY_MS(3)), child = belay_with_cancel(ctx);
    atomic_int runs = 0;
    belay_on_done(child, check_count, &runs);
    belay_after_func(child, check_count, &runs);
    EVENTUALLY(atomic_load(&runs) == 2);
    CHECK_IS(belay_err(child), BELAY_DEADLINE_EXCEEDED);
    check_close(child);
    check_close(ctx);
}

static void a_close_runs_it(void) {
    for (int i = 0; i < 2; i++) {
        belay_ctx ctx = live(), child = belay_with_cancel(ctx);
        atomic_int inline_runs = 0, runs = 0;
        belay_on_done(child, check_count, &inline_runs);
        belay_after_func(child, check_count, &runs);
        check_close(i ? ctx : child);
        CHECK_IS(inline_runs, 1);
        EVENTUALLY(atomic_load(&runs) == 1);
        check_close(i ? child : ctx);
    }
}

static void stop_prevents(void) {
    belay_ctx ctx = live();
    atomic_int runs = 0;
    for (int i = 0; i < 100; i++) {
        belay_reg reg = i % 2 ? belay_after_func(ctx, check_count, &runs) : belay_on_done(ctx, check_count, &runs);
        CHECK_IS(i % 3 ? belay_stop(reg) : belay_stop_wait(reg, BELAY_FOREVER), BELAY_STOP_PREVENTED);
        CHECK_IS(belay_stop(reg), BELAY_STOP_GONE);
        CHECK_IS(belay_stop_wait(reg, BELAY_FOREVER), BELAY_STOP_GONE);
    }
    check_close(ctx);
    check_sleep(BELAY_MS(5));
    CHECK_IS(runs, 0);
}

static void stop_says_what_it_finds(void) {
    belay_ctx ctx = live();
    struct held held = {0};
    belay_reg reg = belay_after_func(ctx, hold, &held);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    EVENTUALLY(atomic_load(&held.began));
    CHECK_IS(belay_stop(reg), BELAY_STOP_RUNNING);
    CHECK_IS(belay_stop_wait(reg, 0), BELAY_TIMEOUT);
    CHECK_IS(belay_stop_wait(reg, -5), BELAY_TIMEOUT);
    belay_instant until = belay_now() + BELAY_MS(3);
    CHECK_IS(belay_stop_wait(reg, BELAY_MS(3)), BELAY_TIMEOUT);
    CHECK(belay_now() >= until);
    atomic_store(&held.release, 1);
    CHECK_IS(belay_stop_wait(reg, BELAY_FOREVER), BELAY_STOP_GONE);
    CHECK(held.ended && held.runs == 1);
    CHECK_IS(belay_stop(reg), BELAY_STOP_GONE);
    check_close(ctx);
}

// --- Several stops, and plain writes made visible

struct written { int plain[64]; };
static void write_plainly(void *argument) {
    struct written *written = argument;
    sched_yield();
    for (int i = 0; i < 64; i++) written->plain[i] = i + 1;
}
static void stop_wait_makes_writes_visible(void) {
    for (long round = check_scaled(2000); round > 0; round--) {
        struct written written = {{0}};
        belay_ctx ctx = live();
        belay_reg reg = belay_after_func(ctx, write_plainly, &written);
        CHECK_IS(belay_cancel(ctx), BELAY_OK);
        belay_status stopped = belay_stop_wait(reg, BELAY_FOREVER);
        CHECK(stopped == BELAY_STOP_PREVENTED || stopped == BELAY_STOP_GONE);
        for (int i = 0; i < 64; i++) CHECK_IS(written.plain[i], stopped == BELAY_STOP_GONE ? i + 1 : 0);
        check_close(ctx);
    }
}

static int before_the_cancel;
static void read_plainly(void *argument) { *(int *)argument = before_the_cancel; }
static void writes_before_the_cancel_are_visible(void) {
    for (int round = 1; round < 200; round++) {
        int seen = 0;
        belay_ctx ctx = live();
        belay_reg reg = belay_after_func(ctx, read_plainly, &seen);
        before_the_cancel = round;
        CHECK_IS(belay_cancel(ctx), BELAY_OK);
        if (belay_stop_wait(reg, BELAY_FOREVER) == BELAY_STOP_GONE) CHECK_IS(seen, round);
        check_close(ctx);
    }
}

struct stoppers { belay_ctx ctx; belay_reg reg; atomic_int ready, prevented, runs; };
static void stopper(void *argument) {
    struct stoppers *all = argument;
    int number = atomic_fetch_add(&all->ready, 1);
    while (atomic_load(&all->ready) < 4) sched_yield();
    if (number == 0) {
        CHECK_IS(belay_cancel(all->ctx), BELAY_OK);
    } else {
        belay_status stopped = number == 1 ? belay_stop_wait(all->reg, BELAY_FOREVER) : belay_stop(all->reg);
        if (stopped == BELAY_STOP_PREVENTED) atomic_fetch_add(&all->prevented, 1);
        if (stopped == BELAY_STOP_GONE) CHECK(atomic_load(&all->runs) + atomic_load(&all->prevented) <= 1);
    }
}
static void of_racing_stops_one_prevents(void) {
    for (long round = check_scaled(300); round > 0; round--) {
        struct stoppers all = {.ctx = live()};
        all.reg = round % 2 ? belay_after_func(all.ctx, check_count, &all.runs)
                            : belay_on_done(all.ctx, check_count, &all.runs);
        check_threads(4, stopper, &all);
        EVENTUALLY(atomic_load(&all.runs) + atomic_load(&all.prevented) == 1);
        check_close(all.ctx);
        CHECK_IS(belay_stop_wait(all.reg, BELAY_FOREVER), BELAY_STOP_GONE);
        CHECK_IS(all.runs + all.prevented, 1);
    }
}

// --- From inside

struct inside { belay_ctx ctx, other; _Atomic uint64_t reg; atomic_int runs; };
static void use_everything(void *argument) {
    static const belay_key key = {"key"};
    struct inside *self = argument;
    CHECK(belay_is_done(self->ctx));
    while (atomic_load(&self->reg) == 0) sched_yield();
    belay_reg own = {atomic_load(&self->reg)};
    CHECK_IS(belay_stop(own), BELAY_STOP_RUNNING);
    CHECK_IS(belay_stop_wait(own, BELAY_FOREVER), BELAY_STOP_RUNNING);
    CHECK_IS(belay_cancel(self->ctx), BELAY_OK);
    belay_ctx child = belay_with_cancel(self->ctx);
    check_done(child, BELAY_CANCELED);
    atomic_int inner = 0;
    CHECK(belay_on_done(child, check_count, &inner).bits != 0);
    CHECK_IS(inner, 1);
    belay_ctx fresh = belay_with_value(self->other, &key, &inner, NULL);
    CHECK_IS(belay_wait(fresh, BELAY_US(100)), BELAY_TIMEOUT);
    CHECK(belay_done_fd(child) >= 0);
    belay_timer timer = belay_timer_after(self->other, BELAY_SEC(100), check_count, &inner);
    CHECK_IS(belay_timer_stop(timer), BELAY_STOP_PREVENTED);
    check_close(fresh);
    check_close(child);
    CHECK_IS(belay_cancel(self->other), BELAY_OK);
    check_close(self->ctx);
    atomic_fetch_add(&self->runs, 1);
}
static void callbacks_may_use_the_api(void) {
    for (int inlined = 0; inlined < 2; inlined++) {
        struct inside self = {.ctx = live(), .other = live()};
        belay_reg reg = inlined ? belay_on_done(self.ctx, use_everything, &self)
                                : belay_after_func(self.ctx, use_everything, &self);
        atomic_store(&self.reg, reg.bits);
        CHECK_IS(belay_cancel(self.ctx), BELAY_OK);
        EVENTUALLY(atomic_load(&self.runs) == 1);
        CHECK_IS(belay_stop_wait(reg, BELAY_FOREVER), BELAY_STOP_GONE);
        CHECK_IS(belay_err(self.ctx), BELAY_ESTALE);
        check_close(self.other);
    }
}

// Inline callbacks that each end the next context: nested, and from one list.
struct domino { belay_ctx ctx; struct domino *next; atomic_int fell; };
static void fall(void *argument) {
    struct domino *self = argument;
    atomic_fetch_add(&self->fell, 1);
    if (self->next) CHECK_IS(belay_cancel(self->next->ctx), BELAY_OK);
}
static void inline_callbacks_may_end_others(void) {
    enum { N = 200 };
    static struct domino dominoes[N];
    for (int i = 0; i < N; i++) {
        dominoes[i] = (struct domino){.ctx = live(), .next = i + 1 < N ? &dominoes[i + 1] : NULL};
        belay_on_done(dominoes[i].ctx, fall, &dominoes[i]);
    }
    CHECK_IS(belay_cancel(dominoes[0].ctx), BELAY_OK);
    for (int i = 0; i < N; i++) {
        CHECK_IS(dominoes[i].fell, 1);
        check_close(dominoes[i].ctx);
    }
}

// --- Callbacks that wait for each other

struct ring { belay_ctx ctx[5]; belay_reg reg[5]; int size; atomic_int began, deadlocks, gone; };
struct member { struct ring *ring; int number; };
static void stop_the_next(void *argument) {
    struct member *self = argument;
    struct ring *ring = self->ring;
    atomic_fetch_add(&ring->began, 1);
    EVENTUALLY(atomic_load(&ring->began) == ring->size);
    belay_status stopped = belay_stop_wait(ring->reg[(self->number + 1) % ring->size], BELAY_FOREVER);
    CHECK(stopped == BELAY_STOP_GONE || stopped == BELAY_EDEADLK);
    atomic_fetch_add(stopped == BELAY_STOP_GONE ? &ring->gone : &ring->deadlocks, 1);
}
static void cancel_own(void *argument) {
    struct member *self = argument;
    CHECK_IS(belay_cancel(self->ring->ctx[self->number]), BELAY_OK);
}
static void a_ring_of_stops_is_diagnosed(void) {
    for (long round = 0; round < check_scaled(100); round++) {
        struct ring ring = {.size = 2 + (int)(round % 4)};
        struct member members[5];
        struct check_thread threads[5];
        for (int i = 0; i < ring.size; i++) {
            members[i] = (struct member){&ring, i};
            ring.ctx[i] = live();
            ring.reg[i] = (round / 4 + i) % 3 ? belay_after_func(ring.ctx[i], stop_the_next, &members[i])
                                              : belay_on_done(ring.ctx[i], stop_the_next, &members[i]);
        }
        for (int i = 0; i < ring.size; i++) check_start(&threads[i], cancel_own, &members[i]);
        EVENTUALLY(atomic_load(&ring.gone) + atomic_load(&ring.deadlocks) == ring.size);
        CHECK(ring.deadlocks >= 1);
        for (int i = 0; i < ring.size; i++) {
            check_join(&threads[i]);
            CHECK_IS(belay_stop_wait(ring.reg[i], BELAY_FOREVER), BELAY_STOP_GONE);
            check_close(ring.ctx[i]);
        }
    }
}

// An inline callback inside another callback, on one stack, waits for the outer one.
struct nest { belay_ctx outer_ctx, inner_ctx; belay_reg outer; atomic_int answer; };
static void stop_the_outer(void *argument) {
    struct nest *nest = argument;
    atomic_store(&nest->answer, (int)belay_stop_wait(nest->outer, BELAY_FOREVER));
}
static void cancel_the_inner(void *argument) {
    CHECK_IS(belay_cancel(((struct nest *)argument)->inner_ctx), BELAY_OK);
}
static void waiting_for_ones_own_stack_is_diagnosed(void) {
    struct nest nest = {.outer_ctx = live(), .inner_ctx = live()};
    nest.outer = belay_on_done(nest.outer_ctx, cancel_the_inner, &nest);
    belay_on_done(nest.inner_ctx, stop_the_outer, &nest);
    CHECK_IS(belay_cancel(nest.outer_ctx), BELAY_OK);
    CHECK(nest.answer == BELAY_EDEADLK || nest.answer == BELAY_STOP_RUNNING);
    check_close(nest.inner_ctx);
    check_close(nest.outer_ctx);
}

// --- Where they run

struct crowd { int size; atomic_int here; };
static void wait_for_all(void *argument) {
    struct crowd *crowd = argument;
    atomic_fetch_add(&crowd->here, 1);
    EVENTUALLY(atomic_load(&crowd->here) >= crowd->size);
    atomic_fetch_add(&crowd->here, 1);
}
static void callbacks_that_block_do_not_block_others(void) {
    struct crowd crowd = {.size = (int)check_scaled(100)};
    belay_ctx ctx = live();
    for (int i = 0; i < crowd.size; i++) belay_after_func(ctx, wait_for_all, &crowd);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    EVENTUALLY(atomic_load(&crowd.here) == 2 * crowd.size);
    check_close(ctx);
}

static pthread_t ran_on;
static void remember_thread(void *argument) {
    ran_on = pthread_self();
    check_count(argument);
}
static void where_callbacks_run(void) {
    atomic_int runs = 0;
    belay_ctx ctx = live();
    belay_after_func(ctx, remember_thread, &runs);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    EVENTUALLY(atomic_load(&runs) == 1);
    CHECK(!pthread_equal(ran_on, pthread_self())); // never on the caller's stack
    belay_after_func(ctx, remember_thread, &runs);
    EVENTUALLY(atomic_load(&runs) == 2);
    CHECK(!pthread_equal(ran_on, pthread_self()));
    belay_on_done(ctx, remember_thread, &runs);
    CHECK_IS(runs, 3);
    CHECK(pthread_equal(ran_on, pthread_self()));
    check_close(ctx);
}

// An executor of the host's: keeps tasks until the host runs them.
struct host { struct { void (*run)(void *); void *task; } tasks[16]; atomic_int count; };
static void keep(void *self, void (*run)(void *task), void *task) {
    struct host *host = self;
    int place = atomic_fetch_add(&host->count, 1);
    host->tasks[place].run = run;
    host->tasks[place].task = task;
}
static void run_kept(struct host *host) {
    int count = atomic_exchange(&host->count, 0);
    for (int i = 0; i < count; i++) host->tasks[i].run(host->tasks[i].task);
}
static void run_at_once(void *self, void (*run)(void *task), void *task) {
    check_count(self);
    run(task);
}

static void the_host_may_run_callbacks(void) {
    struct host host = {.count = 0};
    CHECK_IS(belay_set_executor(&(belay_executor){keep, &host}), BELAY_OK);
    belay_ctx ctx = live();
    atomic_int runs = 0, stopped = 0;
    belay_after_func(ctx, check_count, &runs);
    belay_reg taken = belay_after_func(ctx, check_count, &stopped);
    belay_on_done(ctx, check_count, &runs);
    CHECK_IS(host.count, 0);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    CHECK_IS(host.count, 2);
    CHECK_IS(runs, 1); // the inline one
    CHECK_IS(belay_stop(taken), BELAY_STOP_PREVENTED); // queued, not begun
    CHECK_IS(belay_stop(taken), BELAY_STOP_GONE);
    run_kept(&host);
    CHECK_IS(runs, 2);
    CHECK_IS(stopped, 0);
    belay_after_func(ctx, check_count, &runs); // on a done context: submitted by the one that registers
    CHECK_IS(host.count, 1);

    atomic_int submitted = 0;
    CHECK_IS(belay_set_executor(&(belay_executor){run_at_once, &submitted}), BELAY_OK);
    belay_after_func(ctx, check_count, &runs);
    CHECK(submitted == 1 && runs == 3);
    CHECK_IS(host.count, 1); // what is queued stays where it is
    run_kept(&host);
    CHECK_IS(runs, 4);
    belay_timer_after(belay_background(), 0, check_count, &runs);
    EVENTUALLY(atomic_load(&runs) == 5 && atomic_load(&submitted) == 2);

    CHECK_IS(belay_set_executor(NULL), BELAY_OK);
    belay_after_func(ctx, check_count, &runs);
    EVENTUALLY(atomic_load(&runs) == 6);
    CHECK_IS(submitted, 2);
    check_close(ctx);
}

// Many callbacks block at once, and so have a thread each. One at a time needs one; each thread is called in its turn.
static atomic_bool unblocked;
static void block(void *count) {
    atomic_fetch_add((atomic_int *)count, 1);
    EVENTUALLY(atomic_load(&unblocked));
}
static uint64_t threads_after_one_more(belay_ctx ended) {
    atomic_int runs = 0;
    belay_after_func(ended, check_count, &runs);
    EVENTUALLY(atomic_load(&runs) == 1);
    return check_metric("/executor/threads:threads");
}
static void threads_that_are_not_needed_end_under_load(void) {
    enum { BLOCKED = 12 };
    belay_ctx ctx = belay_with_cancel(belay_background());
    atomic_int blocked = 0;
    belay_cancel(ctx);
    for (int i = 0; i < BLOCKED; i++) belay_after_func(ctx, block, &blocked);
    EVENTUALLY(atomic_load(&blocked) == BLOCKED);
    CHECK(check_metric("/executor/threads:threads") >= BLOCKED);
    atomic_store(&unblocked, true);
    EVENTUALLY(threads_after_one_more(ctx) < BLOCKED);
    check_close(ctx);
}

static void idle_threads_end(void) {
    EVENTUALLY(check_metric("/executor/threads:threads") == 0);
    a_callback_runs_once(); // and come back
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(a_callback_runs_once),
        TEST(on_done_contexts_it_runs_all_the_same),
        TEST(a_deadline_runs_it),
        TEST(a_close_runs_it),
        TEST(stop_prevents),
        TEST(stop_says_what_it_finds),
        TEST(stop_wait_makes_writes_visible),
        TEST(writes_before_the_cancel_are_visible),
        TEST(of_racing_stops_one_prevents),
        TEST(callbacks_may_use_the_api),
        TEST(inline_callbacks_may_end_others),
        TEST(a_ring_of_stops_is_diagnosed),
        TEST(waiting_for_ones_own_stack_is_diagnosed),
        TEST(callbacks_that_block_do_not_block_others),
        TEST(where_callbacks_run),
        TEST(the_host_may_run_callbacks),
        TEST(threads_that_are_not_needed_end_under_load),
        TEST(idle_threads_end),
    };
    RUN_TESTS(tests, "");
    return 0;
}
