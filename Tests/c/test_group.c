// SPDX-License-Identifier: Apache-2.0
//
// Groups: every task runs exactly once, no more than the limit at a time; the first real error is kept, and cancels;
// waiting, rings of waiters, freeing in the middle of it; a random test beside a naive model, and contention.
#include "check.h"

#include <sched.h>

static const belay_key key = {"key"};
static belay_ctx root(void) { return belay_background(); }

static belay_group new_group(int32_t limit, belay_ctx *ctx) {
    belay_group group = belay_group_new(root(), limit, ctx);
    CHECK(group.bits != 0);
    return group;
}
#define check_free(group) CHECK_IS(belay_group_free(group), BELAY_OK)

static int64_t count_task(belay_ctx ctx, void *counter) {
    (void)ctx;
    atomic_fetch_add((atomic_int *)counter, 1);
    return 0;
}
static int64_t ok_task(belay_ctx ctx, void *argument) { return (void)ctx, (void)argument, 0; }
static int64_t code_task(belay_ctx ctx, void *code) { return (void)ctx, (int64_t)(intptr_t)code; }
static int64_t until_end_task(belay_ctx ctx, void *argument) {
    (void)argument;
    return belay_wait(ctx, BELAY_FOREVER);
}

// A task that can be held while it runs.
struct held { atomic_int began, release, runs; int64_t result; };
static int64_t hold(belay_ctx ctx, void *argument) {
    (void)ctx;
    struct held *held = argument;
    atomic_fetch_add(&held->runs, 1);
    atomic_store(&held->began, 1);
    EVENTUALLY(atomic_load(&held->release));
    return held->result;
}

static void every_task_runs_once(void) {
    static const int32_t limits[] = {BELAY_UNLIMITED, 1, 2, 7};
    for (int i = 0; i < 4; i++) {
        belay_ctx ctx;
        belay_group group = new_group(limits[i], &ctx);
        check_live(ctx);
        atomic_int runs = 0;
        for (int n = 0; n < 1000; n++) CHECK_IS(belay_group_go(group, count_task, &runs), BELAY_OK);
        belay_cause why = {-1, "untouched"};
        CHECK_IS(belay_group_wait(group, BELAY_FOREVER, &why), BELAY_OK);
        CHECK_IS(runs, 1000);
        CHECK_IS(why.code, -1);
        check_done(ctx, BELAY_CANCELED); // in every case
        CHECK_IS(belay_group_wait(group, 0, NULL), BELAY_OK);
        check_free(group);
        CHECK_IS(belay_err(ctx), BELAY_ESTALE);
    }
}

static int64_t see_context(belay_ctx ctx, void *seen) {
    *(belay_ctx *)seen = ctx;
    return belay_value(ctx, &key) == &key ? 0 : 9;
}
static void tasks_get_the_groups_context(void) {
    belay_ctx value = belay_with_value(root(), &key, (void *)&key, NULL), ctx, seen = {0};
    belay_group group = belay_group_new(value, 1, &ctx);
    CHECK_IS(belay_group_go(group, see_context, &seen), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK);
    CHECK_IS(seen.bits, ctx.bits);
    check_free(group);
    check_close(value);
    check_free(new_group(1, NULL));
}

// --- Limits

struct most { atomic_int now, most, runs; };
static int64_t measure(belay_ctx ctx, void *argument) {
    (void)ctx;
    struct most *most = argument;
    int now = atomic_fetch_add(&most->now, 1) + 1, seen = atomic_load(&most->most);
    while (now > seen && !atomic_compare_exchange_weak(&most->most, &seen, now)) {}
    sched_yield();
    atomic_fetch_add(&most->runs, 1);
    atomic_fetch_sub(&most->now, 1);
    return 0;
}
static void no_more_than_the_limit_run(void) {
    for (int32_t limit = 1; limit <= 4; limit++) {
        struct most most = {0};
        belay_group group = new_group(limit, NULL);
        for (int i = 0; i < 300; i++) CHECK_IS(belay_group_go(group, measure, &most), BELAY_OK);
        CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK);
        CHECK(most.most <= limit);
        CHECK_IS(most.runs, 300);
        check_free(group);
    }
}

static void try_go_does_not_block(void) {
    struct held held = {0};
    atomic_int runs = 0;
    belay_group group = new_group(1, NULL);
    CHECK_IS(belay_group_try_go(group, hold, &held), BELAY_OK);
    CHECK_IS(belay_group_try_go(group, count_task, &runs), BELAY_EBUSY);
    CHECK_IS(belay_group_set_limit(group, 2), BELAY_EBUSY);
    atomic_store(&held.release, 1);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK);
    CHECK_IS(belay_group_try_go(group, count_task, &runs), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK);
    CHECK_IS(runs, 1);
    check_free(group);
}

static void a_limit_of_zero_admits_none(void) {
    atomic_int runs = 0;
    belay_group group = new_group(0, NULL);
    CHECK_IS(belay_group_go(group, count_task, &runs), BELAY_EDEADLK);
    CHECK_IS(belay_group_try_go(group, count_task, &runs), BELAY_EBUSY);
    CHECK_IS(belay_group_set_limit(group, -2), BELAY_EINVAL);
    CHECK_IS(belay_group_set_limit(group, 1), BELAY_OK);
    CHECK_IS(belay_group_go(group, count_task, &runs), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK);
    CHECK_IS(belay_group_set_limit(group, BELAY_UNLIMITED), BELAY_OK);
    CHECK_IS(runs, 1);
    check_free(group);
}

// Each task starts two more, until `depth` is used up: with a limit of one, too.
struct tree { belay_group group; atomic_int *runs; struct most *most; int depth; };
static int64_t grow(belay_ctx ctx, void *argument) {
    struct tree *tree = argument;
    if (tree->depth == 0) measure(ctx, tree->most);
    atomic_fetch_add(tree->runs, 1);
    for (int i = 0; i < 2 && tree->depth > 0; i++) {
        struct tree *child = malloc(sizeof *child);
        *child = *tree;
        child->depth--;
        CHECK_IS(belay_group_go(tree->group, grow, child), BELAY_OK);
    }
    free(tree);
    return 0;
}
static void tasks_that_start_tasks_do_not_deadlock(void) {
    for (int32_t limit = -1; limit <= 3; limit++) {
        if (limit == 0) continue;
        atomic_int runs = 0;
        struct most most = {0};
        belay_group group = new_group(limit, NULL);
        struct tree *tree = malloc(sizeof *tree);
        *tree = (struct tree){group, &runs, &most, 8};
        CHECK_IS(belay_group_go(group, grow, tree), BELAY_OK);
        CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK);
        CHECK_IS(runs, 511);
        CHECK(limit < 0 || most.most <= limit);
        check_free(group);
    }
}

// In the caller's place: before go returns, on its thread, and what it returns counts all the same.
static pthread_t inner_thread;
static int64_t inner(belay_ctx ctx, void *argument) {
    (void)ctx;
    inner_thread = pthread_self();
    *(int *)argument = 1;
    return 77;
}
static int64_t outer(belay_ctx ctx, void *argument) {
    belay_group group = *(belay_group *)argument;
    int ran = 0;
    CHECK_IS(belay_group_try_go(group, inner, &ran), BELAY_EBUSY);
    CHECK_IS(belay_group_go(group, inner, &ran), BELAY_OK);
    CHECK(ran && pthread_equal(inner_thread, pthread_self()));
    check_cause(ctx, 77, "a task returned 77");
    return 0;
}
static void a_full_group_runs_its_tasks_tasks_in_place(void) {
    belay_cause why;
    belay_group group = new_group(1, NULL);
    CHECK_IS(belay_group_go(group, outer, &group), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, &why), BELAY_EFAILED);
    CHECK_IS(why.code, 77);
    check_free(group);
}

// --- Errors

static void the_first_error_is_kept_and_cancels(void) {
    belay_ctx ctx;
    belay_cause why;
    belay_group group = new_group(1, &ctx);
    CHECK_IS(belay_group_go(group, ok_task, NULL), BELAY_OK);
    CHECK_IS(belay_group_go(group, code_task, (void *)41), BELAY_OK);
    CHECK_IS(belay_group_go(group, code_task, (void *)42), BELAY_OK); // begins when the one before has returned
    CHECK_IS(belay_wait(ctx, BELAY_FOREVER), BELAY_CANCELED);
    check_cause(ctx, 41, "a task returned 41");
    for (int i = 0; i < 2; i++) {
        CHECK_IS(belay_group_wait(group, BELAY_FOREVER, &why), BELAY_EFAILED);
        CHECK_IS(why.code, 41);
        CHECK(strcmp(why.message, "a task returned 41") == 0);
    }
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_EFAILED);
    check_free(group);
}

static int64_t fail_with_text(belay_ctx ctx, void *argument) {
    CHECK_IS(belay_group_fail(*(belay_group *)argument, -5, "disk 7 is full"), BELAY_OK);
    check_cause(ctx, -5, "disk 7 is full");
    return 6;
}
static void an_error_may_have_a_text(void) {
    belay_ctx ctx;
    belay_cause why;
    belay_group group = new_group(BELAY_UNLIMITED, &ctx);
    CHECK_IS(belay_group_fail(group, 0, "none"), BELAY_EINVAL);
    check_live(ctx);
    CHECK_IS(belay_group_go(group, fail_with_text, &group), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, &why), BELAY_EFAILED);
    CHECK(why.code == -5 && strcmp(why.message, "disk 7 is full") == 0);
    CHECK_IS(belay_group_fail(group, 9, "too late"), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, &why), BELAY_EFAILED);
    CHECK_IS(why.code, -5);
    check_free(group);
    group = new_group(1, &ctx); // from outside; and a number without a text, of the longest
    CHECK_IS(belay_group_fail(group, INT64_MIN, NULL), BELAY_OK);
    check_cause(ctx, INT64_MIN, "a task returned -9223372036854775808");
    CHECK_IS(belay_group_wait(group, 0, &why), BELAY_EFAILED);
    CHECK_IS(why.code, INT64_MIN);
    check_free(group);
}

static void echoes_hide_nothing(void) {
    for (int order = 0; order < 3; order++) { // the error after the echoes, before them, not at all
        belay_ctx ctx;
        belay_cause why;
        belay_group group = new_group(BELAY_UNLIMITED, &ctx);
        for (int i = 0; i < 5; i++) CHECK_IS(belay_group_go(group, until_end_task, NULL), BELAY_OK);
        struct held held = {.result = 13};
        if (order == 0) CHECK_IS(belay_group_go(group, hold, &held), BELAY_OK);
        if (order == 1) CHECK_IS(belay_group_fail(group, 13, "thirteen"), BELAY_OK);
        CHECK_IS(belay_cancel_cause(ctx, 499, "hung up"), BELAY_OK);
        if (order == 0) {
            CHECK_IS(belay_group_wait(group, BELAY_MS(5), &why), BELAY_TIMEOUT); // the echoes are in
            atomic_store(&held.release, 1);
        }
        CHECK_IS(belay_group_wait(group, BELAY_FOREVER, &why), BELAY_EFAILED);
        CHECK_IS(why.code, order == 2 ? 499 : 13);
        if (order != 1) check_cause(ctx, 499, "hung up"); // the first end stays
        if (order == 2) CHECK(strcmp(why.message, "hung up") == 0);
        check_free(group);
    }
    belay_cause why; // while the context lives these numbers are errors as any other
    static const char *const said[] = {"a task returned 1 (context canceled)", "a task returned 2 (deadline exceeded)",
                                       "a task returned 3"};
    for (int code = 1; code <= 3; code++) {
        belay_ctx ctx;
        belay_group group = new_group(1, &ctx);
        CHECK_IS(belay_group_go(group, code_task, (void *)(intptr_t)code), BELAY_OK);
        CHECK_IS(belay_group_wait(group, BELAY_FOREVER, &why), BELAY_EFAILED);
        CHECK(why.code == code && strcmp(why.message, said[code - 1]) == 0);
        check_cause(ctx, code, said[code - 1]);
        check_free(group);
    }
}

// The header says not to close it. Who does it all the same ends it, and breaks nothing.
static int64_t stale_task(belay_ctx ctx, void *argument) {
    CHECK_IS(belay_err(ctx), BELAY_ESTALE);
    CHECK(belay_is_none(belay_with_cancel(ctx)));
    atomic_fetch_add((atomic_int *)argument, 1);
    return 0;
}
static int64_t echo_task(belay_ctx ctx, void *argument) {
    (void)argument;
    belay_status end = belay_wait(ctx, BELAY_FOREVER); // stale, if it begins after the close: that would be an error
    CHECK(end == BELAY_CANCELED || end == BELAY_ESTALE);
    return BELAY_CANCELED;
}
static void a_close_of_its_context_does_no_damage(void) {
    belay_ctx ctx;
    belay_cause why;
    atomic_int runs = 0;
    belay_group group = new_group(BELAY_UNLIMITED, &ctx);
    for (int i = 0; i < 3; i++) CHECK_IS(belay_group_go(group, echo_task, NULL), BELAY_OK);
    CHECK_IS(belay_close(ctx), BELAY_OK);
    CHECK_IS(belay_group_go(group, stale_task, &runs), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, &why), BELAY_EFAILED); // or its tasks would wait for ever
    CHECK(runs == 1 && why.code == BELAY_CANCELED); // what it ended with, though it is closed
    CHECK_IS(belay_group_fail(group, 7, "seven"), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, &why), BELAY_EFAILED);
    CHECK(why.code == 7 && strcmp(why.message, "seven") == 0);
    check_free(group);
    group = new_group(1, &ctx); // without an error, none
    CHECK_IS(belay_close(ctx), BELAY_OK);
    CHECK_IS(belay_group_go(group, stale_task, &runs), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, &why), BELAY_OK);
    check_free(group);
}

static void the_parents_end_is_the_groups(void) {
    belay_ctx parent = belay_with_timeout_cause(root(), BELAY_MS(5), 504, "too slow"), ctx;
    belay_cause why;
    belay_group group = belay_group_new(parent, 3, &ctx);
    for (int i = 0; i < 3; i++) CHECK_IS(belay_group_go(group, until_end_task, NULL), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, &why), BELAY_EFAILED);
    CHECK(why.code == 504 && strcmp(why.message, "too slow") == 0);
    check_done(ctx, BELAY_DEADLINE_EXCEEDED);
    atomic_int runs = 0; // a task is run all the same
    CHECK_IS(belay_group_go(group, count_task, &runs), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_EFAILED);
    CHECK_IS(runs, 1);
    check_free(group);
    group = belay_group_new(parent, 1, &ctx); // under a done parent
    check_done(ctx, BELAY_DEADLINE_EXCEEDED);
    CHECK_IS(belay_group_go(group, count_task, &runs), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK); // nobody said that it minded
    CHECK_IS(runs, 2);
    check_free(group);
    check_close(parent);
}

// --- Waiting

static void a_wait_can_time_out(void) {
    belay_ctx ctx;
    struct held held = {0};
    belay_group group = new_group(1, &ctx);
    CHECK_IS(belay_group_go(group, hold, &held), BELAY_OK);
    CHECK_IS(belay_group_wait(group, 0, NULL), BELAY_TIMEOUT);
    CHECK_IS(belay_group_wait(group, -1, NULL), BELAY_TIMEOUT);
    belay_instant until = belay_now() + BELAY_MS(3);
    CHECK_IS(belay_group_wait(group, BELAY_MS(3), NULL), BELAY_TIMEOUT);
    CHECK(belay_now() >= until);
    check_live(ctx);
    atomic_store(&held.release, 1);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK);
    check_free(group);
}

static void wait_for_group(void *argument) {
    CHECK_IS(belay_group_wait(*(belay_group *)argument, BELAY_FOREVER, NULL), BELAY_EFAILED);
}
static void many_may_wait(void) {
    struct held held = {.result = 3};
    struct check_thread threads[8];
    belay_group group = new_group(1, NULL);
    CHECK_IS(belay_group_go(group, hold, &held), BELAY_OK);
    for (int i = 0; i < 8; i++) check_start(&threads[i], wait_for_group, &group);
    check_sleep(BELAY_MS(2));
    atomic_store(&held.release, 1);
    for (int i = 0; i < 8; i++) check_join(&threads[i]);
    check_free(group);
}

static int64_t wait_for_own(belay_ctx ctx, void *argument) {
    (void)ctx;
    CHECK_IS(belay_group_wait(*(belay_group *)argument, BELAY_FOREVER, NULL), BELAY_EDEADLK);
    return 0;
}
static void a_task_cannot_wait_for_its_group(void) {
    belay_group group = new_group(2, NULL);
    CHECK_IS(belay_group_go(group, wait_for_own, &group), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK);
    check_free(group);
}

// An error ends the context on the thread that ran the task, and so calls back there who asked for that inline. Inside
// the task still, or the group would wait for itself.
struct called_back { belay_group group; int asked, in_place; };
static int64_t note_place(belay_ctx ctx, void *raw) {
    (void)ctx;
    inner_thread = pthread_self();
    ((struct called_back *)raw)->in_place++;
    return 0;
}
static void wait_when_called_back(void *raw) {
    struct called_back *self = raw;
    belay_cause why = {-1, "untouched"};
    CHECK_IS(belay_group_wait(self->group, BELAY_FOREVER, &why), BELAY_EDEADLK);
    CHECK_IS(why.code, -1);
    self->asked++;
}
static void start_when_called_back(void *raw) {
    struct called_back *self = raw;
    CHECK_IS(belay_group_try_go(self->group, note_place, self), BELAY_EBUSY);
    CHECK_IS(belay_group_go(self->group, note_place, self), BELAY_OK);
    CHECK(self->in_place == 1 && pthread_equal(inner_thread, pthread_self()));
    self->asked++;
}
static void fail_and_be_called_back(void (*fn)(void *)) {
    belay_ctx ctx;
    belay_cause why;
    struct called_back self = {.group = new_group(1, &ctx)};
    CHECK(belay_on_done(ctx, fn, &self).bits != 0);
    CHECK_IS(belay_group_go(self.group, code_task, (void *)7), BELAY_OK);
    CHECK_IS(belay_group_wait(self.group, BELAY_FOREVER, &why), BELAY_EFAILED);
    CHECK_IS(why.code, 7);
    CHECK_IS(self.asked, 1);
    check_free(self.group);
}
static void no_wait_where_an_error_is_called_back(void) { fail_and_be_called_back(wait_when_called_back); }
static void a_start_where_an_error_is_called_back(void) { fail_and_be_called_back(start_when_called_back); }

// The tasks of a group in a manual runtime run in its poll, also when the group's context has been closed, before they
// were started or after. So nothing that runs in there can wait for them.
enum closed { OPEN, CLOSED_AFTER, CLOSED_BEFORE };
struct inside { belay_group group; belay_ctx ctx; enum closed closed; bool starts; int asked, runs; };
static int64_t count_in_the_poll(belay_ctx ctx, void *raw) {
    (void)ctx;
    CHECK(pthread_equal(inner_thread, pthread_self()));
    ((struct inside *)raw)->runs++;
    return 0;
}
static void ask_inside_the_poll(void *raw) {
    struct inside *self = raw;
    if (self->closed == CLOSED_BEFORE) check_close(self->ctx);
    CHECK_IS(belay_group_go(self->group, count_in_the_poll, self), BELAY_OK);
    if (self->closed == CLOSED_AFTER) check_close(self->ctx);
    CHECK_IS(self->starts ? belay_group_go(self->group, count_in_the_poll, self)
                          : belay_group_wait(self->group, BELAY_FOREVER, NULL), BELAY_EDEADLK);
    CHECK_IS(belay_group_try_go(self->group, count_in_the_poll, self), BELAY_EBUSY);
    CHECK_IS(belay_group_wait(self->group, 0, NULL), BELAY_TIMEOUT);
    CHECK_IS(self->runs, 0);
    self->asked++;
}
static void no_wait_inside_the_poll_that_runs_the_tasks(void) {
    belay_runtime_options options = {.size = sizeof options, .manual = true};
    inner_thread = pthread_self();
    for (int variant = 0; variant < 6; variant++) {
        belay_runtime runtime = belay_runtime_new(&options);
        struct inside self = {.closed = (enum closed)(variant / 2), .starts = variant % 2};
        self.group = belay_group_new(belay_runtime_background(runtime), 1, &self.ctx);
        CHECK(belay_timer_after(belay_runtime_background(runtime), 0, ask_inside_the_poll, &self).bits != 0);
        EVENTUALLY((CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK), self.runs == 1));
        CHECK_IS(self.asked, 1);
        CHECK_IS(belay_group_wait(self.group, BELAY_FOREVER, NULL), BELAY_OK);
        check_free(self.group);
        CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
    }
}

// Two groups whose tasks wait for each other's group: at least one is told, and then neither hangs.
struct ring { belay_group mine, other; atomic_int *ready, *told; };
static int64_t wait_for_other(belay_ctx ctx, void *argument) {
    (void)ctx;
    struct ring *ring = argument;
    atomic_fetch_add(ring->ready, 1);
    EVENTUALLY(atomic_load(ring->ready) == 2);
    belay_status status = belay_group_wait(ring->other, BELAY_FOREVER, NULL);
    if (status == BELAY_EDEADLK) atomic_fetch_add(ring->told, 1);
    else CHECK_IS(status, BELAY_OK);
    return 0;
}
static void rings_of_groups_are_found(void) {
    for (long round = check_scaled(200); round > 0; round--) {
        atomic_int ready = 0, told = 0;
        belay_group a = new_group(BELAY_UNLIMITED, NULL), b = new_group(BELAY_UNLIMITED, NULL);
        struct ring rings[] = {{a, b, &ready, &told}, {b, a, &ready, &told}};
        CHECK_IS(belay_group_go(a, ok_task, NULL), BELAY_OK);
        CHECK_IS(belay_group_go(a, wait_for_other, &rings[0]), BELAY_OK);
        CHECK_IS(belay_group_go(b, wait_for_other, &rings[1]), BELAY_OK);
        CHECK_IS(belay_group_wait(a, BELAY_FOREVER, NULL), BELAY_OK);
        CHECK_IS(belay_group_wait(b, BELAY_FOREVER, NULL), BELAY_OK);
        CHECK(told >= 1);
        check_free(a);
        check_free(b);
    }
}

// A callback waits for a group, one of whose tasks waits for the callback.
struct mixed { belay_group group; belay_reg reg; atomic_int ready, told; };
static void callback_waits(void *argument) {
    struct mixed *mixed = argument;
    atomic_fetch_add(&mixed->ready, 1);
    EVENTUALLY(atomic_load(&mixed->ready) == 2);
    if (belay_group_wait(mixed->group, BELAY_FOREVER, NULL) == BELAY_EDEADLK) atomic_fetch_add(&mixed->told, 1);
}
static int64_t task_waits(belay_ctx ctx, void *argument) {
    (void)ctx;
    struct mixed *mixed = argument;
    EVENTUALLY(atomic_load(&mixed->ready) == 1);
    atomic_fetch_add(&mixed->ready, 1);
    if (belay_stop_wait(mixed->reg, BELAY_FOREVER) == BELAY_EDEADLK) atomic_fetch_add(&mixed->told, 1);
    return 0;
}
static void rings_of_callbacks_and_groups_are_found(void) {
    for (long round = check_scaled(200); round > 0; round--) {
        belay_ctx ctx = belay_with_cancel(root());
        struct mixed mixed = {.group = new_group(1, NULL)};
        mixed.reg = belay_after_func(ctx, callback_waits, &mixed);
        CHECK_IS(belay_group_go(mixed.group, task_waits, &mixed), BELAY_OK);
        CHECK_IS(belay_cancel(ctx), BELAY_OK);
        CHECK_IS(belay_group_wait(mixed.group, BELAY_FOREVER, NULL), BELAY_OK);
        EVENTUALLY(belay_stop(mixed.reg) == BELAY_STOP_GONE);
        CHECK(mixed.told >= 1);
        check_free(mixed.group);
        check_close(ctx);
    }
}

// A hundred tasks that all wait for the last: the pool has to grow.
struct barrier { atomic_int arrived; };
static int64_t meet(belay_ctx ctx, void *argument) {
    (void)ctx;
    struct barrier *barrier = argument;
    atomic_fetch_add(&barrier->arrived, 1);
    EVENTUALLY(atomic_load(&barrier->arrived) >= 40);
    return 0;
}
static void tasks_may_block_on_each_other(void) {
    struct barrier barrier = {0};
    belay_group group = new_group(BELAY_UNLIMITED, NULL);
    for (int i = 0; i < 40; i++) CHECK_IS(belay_group_go(group, meet, &barrier), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK);
    check_free(group);
}

static int plain[64];
static int64_t write_plainly(belay_ctx ctx, void *argument) {
    (void)ctx;
    (*(int *)argument)++; // what came before the start is seen
    return 0;
}
static void writes_are_visible(void) {
    for (int round = 1; round <= 50; round++) {
        belay_group group = new_group(BELAY_UNLIMITED, NULL);
        for (int i = 0; i < 64; i++) {
            plain[i]++;
            CHECK_IS(belay_group_go(group, write_plainly, &plain[i]), BELAY_OK);
        }
        CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK);
        for (int i = 0; i < 64; i++) CHECK_IS(plain[i], 2 * round);
        check_free(group);
    }
}

// --- Freeing

static atomic_int drops;
static void on_drop(void *value) {
    (void)value;
    atomic_fetch_add(&drops, 1);
}
static int64_t look_after_free(belay_ctx ctx, void *argument) {
    struct held *held = argument;
    atomic_store(&held->began, 1);
    EVENTUALLY(atomic_load(&held->release));
    CHECK_IS(belay_err(ctx), BELAY_CANCELED);
    CHECK(belay_value(ctx, &key) == &key); // as long as a task can look at it
    CHECK_IS(drops, 0);
    return 5;
}
static void free_in_the_middle_of_it(void) {
    struct held held = {0};
    belay_ctx value = belay_with_value(root(), &key, (void *)&key, on_drop), ctx;
    belay_group group = belay_group_new(value, BELAY_UNLIMITED, &ctx);
    CHECK_IS(belay_group_go(group, look_after_free, &held), BELAY_OK);
    atomic_int runs = 0;
    for (int i = 0; i < 100; i++) CHECK_IS(belay_group_go(group, count_task, &runs), BELAY_OK);
    EVENTUALLY(atomic_load(&held.began));
    check_free(group);
    check_close(value);
    CHECK(belay_is_done(ctx));
    CHECK_IS(belay_group_free(group), BELAY_ESTALE);
    CHECK_IS(belay_group_go(group, count_task, &runs), BELAY_ESTALE);
    CHECK_IS(belay_group_try_go(group, count_task, &runs), BELAY_ESTALE);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_ESTALE);
    CHECK_IS(belay_group_fail(group, 1, NULL), BELAY_ESTALE);
    CHECK_IS(belay_group_set_limit(group, 1), BELAY_ESTALE);
    EVENTUALLY(atomic_load(&runs) == 100); // queued ones still run
    atomic_store(&held.release, 1);
    EVENTUALLY(atomic_load(&drops) == 1);
    EVENTUALLY(belay_err(ctx) == BELAY_ESTALE);
}

static void blocked_starter(void *argument) {
    atomic_int runs = 0;
    CHECK_IS(belay_group_go(*(belay_group *)argument, count_task, &runs), BELAY_ESTALE);
    CHECK_IS(runs, 0);
}
static void blocked_waiter(void *argument) {
    belay_cause why;
    CHECK_IS(belay_group_wait(*(belay_group *)argument, BELAY_FOREVER, &why), BELAY_EFAILED);
    CHECK_IS(why.code, 8);
}
static void free_turns_starters_away_and_lets_waiters_wait(void) {
    struct held held = {.result = 8};
    struct check_thread starter, waiter;
    belay_group group = new_group(1, NULL);
    CHECK_IS(belay_group_go(group, hold, &held), BELAY_OK);
    check_start(&starter, blocked_starter, &group);
    check_start(&waiter, blocked_waiter, &group);
    check_sleep(BELAY_MS(5)); // let them block; if they have not, they find the group stale
    belay_group copy = group;
    check_free(copy);
    check_join(&starter);
    atomic_store(&held.release, 1);
    check_join(&waiter);
}

static int64_t free_own(belay_ctx ctx, void *argument) {
    check_free(*(belay_group *)argument);
    CHECK_IS(belay_err(ctx), BELAY_CANCELED);
    return 0;
}
static void a_task_may_free_its_group(void) {
    belay_group group = new_group(1, NULL);
    CHECK_IS(belay_group_go(group, free_own, &group), BELAY_OK);
    EVENTUALLY(belay_group_wait(group, 0, NULL) == BELAY_ESTALE);
    EVENTUALLY(check_metric("/group/live:groups") == 0);
}

static void bad_handles(void) {
    belay_ctx ctx = belay_with_cancel(root()), lite = belay_lite(root(), BELAY_SEC(1)), closed = belay_with_cancel(root());
    check_close(closed);
    belay_timer timer = belay_timer_after(root(), BELAY_SEC(100), check_ignore, NULL);
    belay_group live = new_group(1, NULL);
    belay_group bad[] = {{0}, {1}, {UINT64_MAX}, {ctx.bits}, {timer.bits}, {live.bits + (UINT64_C(1) << 32)},
                         {live.bits | 0xfffffff}, {root().bits}, {(live.bits & 0xfffffff) | UINT64_C(10) << 28}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        belay_cause why = {7, "untouched"};
        CHECK_IS(belay_group_go(bad[i], ok_task, NULL), BELAY_EINVAL);
        CHECK_IS(belay_group_try_go(bad[i], ok_task, NULL), BELAY_EINVAL);
        CHECK_IS(belay_group_wait(bad[i], BELAY_FOREVER, &why), BELAY_EINVAL);
        CHECK_IS(why.code, 7);
        CHECK_IS(belay_group_fail(bad[i], 1, "x"), BELAY_EINVAL);
        CHECK_IS(belay_group_set_limit(bad[i], 1), BELAY_EINVAL);
        CHECK_IS(belay_group_free(bad[i]), BELAY_EINVAL);
    }
    CHECK_IS(belay_group_go(live, NULL, NULL), BELAY_EINVAL);
    CHECK_IS(belay_group_try_go(live, NULL, NULL), BELAY_EINVAL);
    struct { belay_ctx parent; belay_status status; } parents[] = {
        {{0}, BELAY_EINVAL}, {{live.bits}, BELAY_EINVAL}, {closed, BELAY_ESTALE}, {lite, BELAY_ELEAF}};
    for (int i = 0; i < 4; i++) {
        belay_ctx made = ctx;
        CHECK(belay_group_new(parents[i].parent, 1, &made).bits == 0);
        CHECK_IS(belay_last_status(), parents[i].status);
        CHECK(belay_is_none(made));
    }
    CHECK(belay_group_new(ctx, -2, NULL).bits == 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    // And a group where something else is wanted.
    CHECK(belay_is_done((belay_ctx){live.bits}));
    CHECK_IS(belay_cancel((belay_ctx){live.bits}), BELAY_EINVAL);
    CHECK_IS(belay_stop((belay_reg){live.bits}), BELAY_EINVAL);
    CHECK_IS(belay_timer_stop((belay_timer){live.bits}), BELAY_EINVAL);
    CHECK(strcmp(belay_status_string(BELAY_EFAILED), "a task of the group failed") == 0);
    CHECK_IS(belay_timer_stop(timer), BELAY_STOP_PREVENTED);
    check_free(live);
    check_close(lite);
    check_close(ctx);
}

static void no_memory(void) {
    belay_ctx ctx = belay_with_cancel(root());
    belay_group group = new_group(BELAY_UNLIMITED, NULL);
    struct held held = {0};
    CHECK_IS(belay_memory_limit(1), BELAY_OK);
    long started = 0;
    belay_status status = BELAY_OK;
    while (started < 1000 && (status = belay_group_try_go(group, hold, &held)) == BELAY_OK) started++;
    CHECK_IS(status, BELAY_ENOMEM);
    CHECK(belay_group_new(ctx, 1, NULL).bits == 0);
    CHECK_IS(belay_last_status(), BELAY_ENOMEM);
    CHECK_IS(belay_memory_limit(0), BELAY_OK);
    atomic_store(&held.release, 1);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK);
    CHECK_IS(held.runs, started);
    check_free(group);
    check_close(ctx);
}

// --- At random, beside a model: one thread, tasks that are held until the model lets them go.

enum { MOST_TASKS = 40 };
struct model_task { atomic_int release; _Atomic int64_t result; atomic_int runs; bool open; };
static int64_t model_task(belay_ctx ctx, void *argument) {
    struct model_task *task = argument;
    atomic_fetch_add(&task->runs, 1);
    while (!atomic_load(&task->release)) check_sleep(BELAY_US(20));
    return task->result == -1 ? (int64_t)belay_err(ctx) : task->result;
}

static void at_random(uint64_t seed) {
    uint64_t random = seed;
    struct model_task tasks[MOST_TASKS];
    memset(tasks, 0, sizeof tasks);
    int started = 0, running = 0, limit = (int)(check_random(&random) % 6) - 1;
    int64_t first = 0; // the model: the first error, whether the context has ended, with which code
    bool ended = false, echoed = false;
    int64_t cause = 0;
    belay_ctx ctx;
    belay_group group = new_group(limit, &ctx);
    for (int step = 0; step < 60; step++) {
        belay_cause why = {0, ""};
        switch (check_random(&random) % 6) {
        case 0:
        case 1: // start one
            if (started == MOST_TASKS) break;
            if (limit >= 0 && running >= limit) {
                CHECK_IS(belay_group_try_go(group, model_task, &tasks[started]), BELAY_EBUSY);
                if (limit == 0) CHECK_IS(belay_group_go(group, model_task, &tasks[started]), BELAY_EDEADLK);
            } else {
                // Not try_go: a task may have freed its cell and have yet to leave.
                CHECK_IS(belay_group_go(group, model_task, &tasks[started]), BELAY_OK);
                tasks[started++].open = true;
                running++;
            }
            break;
        case 2: { // let one go, and wait until it has gone
            if (running == 0) break;
            int i = (int)(check_random(&random) % (uint64_t)started);
            while (!tasks[i].open) i = (i + 1) % started;
            int64_t results[] = {0, 0, 3, 4, -1, -1}, result = results[check_random(&random) % 6];
            tasks[i].result = result;
            uint64_t before = LIVE_TASKS;
            atomic_store(&tasks[i].release, 1);
            EVENTUALLY(LIVE_TASKS < before);
            tasks[i].open = false;
            running--;
            if (result > 0 && first == 0) first = result;
            if (result > 0 && !ended) ended = true, cause = result;
            if (result == -1 && ended) echoed = true;
            if (running > 0) break;
            EVENTUALLY(belay_group_wait(group, 0, NULL) != BELAY_TIMEOUT);
            if (!ended) ended = true, cause = BELAY_CANCELED;
            break;
        }
        case 3:
            if (check_random(&random) % 8) break;
            CHECK_IS(belay_cancel_cause(ctx, 99, "model"), BELAY_OK);
            if (!ended) ended = true, cause = 99;
            break;
        case 4: {
            int next = (int)(check_random(&random) % 6) - 1;
            CHECK_IS(belay_group_set_limit(group, next), running ? BELAY_EBUSY : BELAY_OK);
            if (!running) limit = next;
            break;
        }
        default: { // wait
            belay_status expected = running ? BELAY_TIMEOUT : first || echoed ? BELAY_EFAILED : BELAY_OK;
            CHECK_IS(belay_group_wait(group, 0, &why), expected);
            if (!running && !ended) ended = true, cause = BELAY_CANCELED;
            if (expected == BELAY_EFAILED) CHECK_IS(why.code, first ? first : cause);
        }
        }
        CHECK_IS(belay_is_done(ctx), ended);
        if (ended) {
            CHECK(belay_cause_of(ctx, &why));
            CHECK_IS(why.code, cause);
        }
    }
    for (int i = 0; i < started; i++) atomic_store(&tasks[i].release, 1);
    CHECK(belay_group_wait(group, BELAY_FOREVER, NULL) != BELAY_TIMEOUT);
    for (int i = 0; i < MOST_TASKS; i++) CHECK_IS(tasks[i].runs, i < started);
    check_free(group);
}

static void at_random_as_the_model(void) {
    const char *given = getenv("BELAY_TEST_SEED");
    for (long round = check_scaled(60); round > 0; round--) {
        uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)belay_now() | 1;
        printf("  seed %" PRIu64 "\n", seed);
        fflush(stdout);
        at_random(seed);
    }
}

// --- From many threads: groups in shared places, freed and made anew at any time

enum { PLACES = 8 };
static _Atomic uint64_t places[PLACES];
static atomic_bool over;
static atomic_long admitted, ran, groups;

static int64_t contended_task(belay_ctx ctx, void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument | 1;
    check_random(&random);
    atomic_fetch_add(&ran, 1);
    belay_group any = {atomic_load(&places[check_random(&random) % PLACES])};
    switch (check_random(&random) % 16) {
    case 0: return 5;
    case 1: belay_group_fail(any, 6, "contended"); return 0;
    case 2: return belay_wait(ctx, BELAY_US(20)) == BELAY_TIMEOUT ? 0 : belay_err(ctx);
    case 3: belay_cancel(ctx); return 0;
    case 4: { // a task may start another one, in its own group or not; try_go, for two full groups could wait for ever
        if (belay_group_try_go(any, contended_task, (void *)(uintptr_t)check_random(&random)) == BELAY_OK)
            atomic_fetch_add(&admitted, 1);
        return 0;
    }
    case 5: belay_group_wait(any, BELAY_US(30), NULL); return 0;
    default: return belay_is_done(ctx) ? BELAY_CANCELED : 0;
    }
}

static void contender(void *argument) {
    (void)argument;
    static atomic_ulong seeds = 1;
    uint64_t random = atomic_fetch_add(&seeds, 1) * 0x9e3779b97f4a7c15;
    while (!atomic_load(&over)) {
        int place = (int)(check_random(&random) % PLACES);
        belay_group group = {atomic_load(&places[place])};
        void *argument = (void *)(uintptr_t)check_random(&random);
        switch (check_random(&random) % 16) {
        case 0: {
            belay_group made = belay_group_new(root(), (int32_t)(check_random(&random) % 6) - 1, NULL);
            CHECK(made.bits != 0);
            atomic_fetch_add(&groups, 1);
            belay_group old = {atomic_exchange(&places[place], made.bits)};
            if (old.bits) check_free(old);
            break;
        }
        case 1: belay_group_wait(group, BELAY_US(check_random(&random) % 50), NULL); break;
        case 2: belay_group_set_limit(group, (int32_t)(check_random(&random) % 4) - 1); break;
        case 3: belay_group_fail(group, 9, "contender"); break;
        case 4:
        case 5:
        case 6:
            if (belay_group_go(group, contended_task, argument) == BELAY_OK) atomic_fetch_add(&admitted, 1);
            break;
        default:
            if (belay_group_try_go(group, contended_task, argument) == BELAY_OK) atomic_fetch_add(&admitted, 1);
        }
    }
}

static void from_many_threads(void) {
    for (int threads = 1; threads <= 16; threads *= 2) {
        struct check_thread all[16];
        atomic_store(&over, false);
        for (int i = 0; i < threads; i++) check_start(&all[i], contender, NULL);
        check_sleep(BELAY_MS(check_scaled(300)));
        atomic_store(&over, true);
        for (int i = 0; i < threads; i++) check_join(&all[i]);
        for (int i = 0; i < PLACES; i++) {
            belay_group old = {atomic_exchange(&places[i], 0)};
            if (old.bits) check_free(old);
        }
        EVENTUALLY(check_metric("/group/live:groups") == 0);
        CHECK_IS(ran, admitted);
        printf("  %2d threads: so far %ld tasks of %ld groups\n", threads, ran, groups);
        fflush(stdout);
    }
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(every_task_runs_once),
        TEST(tasks_get_the_groups_context),
        TEST(no_more_than_the_limit_run),
        TEST(try_go_does_not_block),
        TEST(a_limit_of_zero_admits_none),
        TEST(tasks_that_start_tasks_do_not_deadlock),
        TEST(a_full_group_runs_its_tasks_tasks_in_place),
        TEST(the_first_error_is_kept_and_cancels),
        TEST(an_error_may_have_a_text),
        TEST(echoes_hide_nothing),
        TEST(a_close_of_its_context_does_no_damage),
        TEST(the_parents_end_is_the_groups),
        TEST(a_wait_can_time_out),
        TEST(many_may_wait),
        TEST(a_task_cannot_wait_for_its_group),
        TEST(no_wait_where_an_error_is_called_back),
        TEST(a_start_where_an_error_is_called_back),
        TEST(no_wait_inside_the_poll_that_runs_the_tasks),
        TEST(rings_of_groups_are_found),
        TEST(rings_of_callbacks_and_groups_are_found),
        TEST(tasks_may_block_on_each_other),
        TEST(writes_are_visible),
        TEST(free_in_the_middle_of_it),
        TEST(free_turns_starters_away_and_lets_waiters_wait),
        TEST(a_task_may_free_its_group),
        TEST(bad_handles),
        TEST(no_memory),
        TEST(at_random_as_the_model),
        TEST(from_many_threads),
    };
    RUN_TESTS(tests, "");
    return 0;
}
