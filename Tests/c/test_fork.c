// SPDX-License-Identifier: Apache-2.0
//
// After fork: the child never hangs, its handles read as done with BELAY_EFORK until it starts over; the parent goes on.
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

// The thread sanitizer ends a child of several threads that starts one itself, unless it is told not to.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "die_after_fork=0"; }
#define LAST_THREAD_MAY_END 0 // it runs exit handlers in a process whose last thread has ended, and crashes there
#endif
#endif
#ifndef LAST_THREAD_MAY_END
#define LAST_THREAD_MAY_END 1
#endif

static belay_ctx ctx, child_ctx;
static belay_reg reg;
static belay_timer timer;
static belay_runtime runtime;
static belay_pool pool;
static const belay_key key = {"key"};
static atomic_bool over;

static void in_the_child(void) {
    belay_ctx both[] = {ctx, child_ctx};
    for (int i = 0; i < 2; i++) {
        CHECK_IS(belay_err(both[i]), BELAY_EFORK);
        CHECK(belay_is_done(both[i]));
        CHECK_IS(belay_remaining(both[i]), 0);
        CHECK_IS(belay_wait(both[i], BELAY_FOREVER), BELAY_EFORK);
        CHECK(belay_is_none(belay_with_cancel(both[i])));
        CHECK_IS(belay_last_status(), BELAY_EFORK);
    }
    CHECK(belay_is_none(belay_with_timeout(belay_background(), BELAY_SEC(1))));
    CHECK_IS(belay_last_status(), BELAY_EFORK);
    CHECK(belay_after_func(ctx, check_ignore, NULL).bits == 0);
    CHECK(belay_on_done(ctx, check_ignore, NULL).bits == 0);
    CHECK(belay_timer_after(ctx, 0, check_ignore, NULL).bits == 0);
    CHECK_IS(belay_done_fd(ctx), -1);
    belay_wait_any(both, 2, BELAY_FOREVER, NULL); // whatever these answer, they return
    belay_stop(reg);
    belay_stop_wait(reg, BELAY_FOREVER);
    belay_timer_stop(timer);
    belay_timer_reset(timer, 0);
    belay_cancel(ctx);
    belay_retain(ctx);
    belay_close(child_ctx);
    belay_close(ctx);
    CHECK(strcmp(belay_version(), BELAY_VERSION) == 0 && belay_now() > 0);
}

// After the restart the child is a process like any other, in which nothing of the parent process's is left.
static void start_again_in_the_child(void) {
    belay_runtime old = runtime;
    CHECK_IS(belay_runtime_restart(), BELAY_OK);
    CHECK_IS(belay_runtime_restart(), BELAY_OK);
    CHECK_IS(LIVE_CONTEXTS, 0);
    CHECK_IS(LIVE_TASKS, 0);
    belay_ctx both[] = {ctx, child_ctx};
    for (int i = 0; i < 2; i++) {
        CHECK_IS(belay_err(both[i]), BELAY_ESTALE);
        CHECK(belay_is_none(belay_with_cancel(both[i])));
        CHECK_IS(belay_close(both[i]), BELAY_ESTALE);
    }
    CHECK_IS(belay_stop(reg), BELAY_STOP_GONE);
    CHECK_IS(belay_timer_stop(timer), BELAY_STOP_GONE);
    CHECK_IS(belay_runtime_poll(old, 0), BELAY_ESTALE);
    CHECK(belay_pool_get(pool) == NULL);
    CHECK_IS(belay_last_status(), BELAY_ESTALE);
    belay_pool fresh = belay_pool_new(&(belay_pool_desc){.size = sizeof(belay_pool_desc), .item_size = 100});
    CHECK_IS(belay_pool_put(fresh, belay_pool_get(fresh)), BELAY_OK);
    CHECK_IS(belay_pool_free(fresh), BELAY_OK);
    for (int round = 0; round < 3; round++) {
        belay_ctx parent = belay_with_timeout(belay_background(), BELAY_MS(2)), all[200];
        atomic_int ran = 0, timed = 0;
        for (int i = 0; i < 200; i++) {
            all[i] = belay_with_value(parent, &key, &ran, NULL);
            for (int j = 0; j < 2; j++) CHECK(all[i].bits != both[j].bits);
            CHECK(belay_value(all[i], &key) == &ran);
        }
        CHECK(belay_after_func(parent, check_count, &ran).bits != 0);
        CHECK(belay_timer_after(parent, BELAY_MS(1), check_count, &timed).bits != 0);
        CHECK_IS(belay_wait(parent, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
        EVENTUALLY(atomic_load(&ran) == 1 && atomic_load(&timed) == 1);
        for (int i = 0; i < 200; i++) check_close(all[i]);
        check_close(parent);
    }
    runtime = belay_runtime_new(NULL);
    check_live(belay_runtime_background(runtime));
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
    EVENTUALLY(LIVE_CONTEXTS == 0 && LIVE_TASKS == 0);
}

static void fork_once(void) {
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        in_the_child();
        start_again_in_the_child();
        // Not _exit: what other threads held at the fork is lost to the child, and valgrind would tell of it.
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    int status = -1;
    CHECK_IS(waitpid(pid, &status, 0), pid);
    CHECK_IS(status, 0);
}

static void make_some(void) {
    ctx = belay_with_timeout(belay_background(), BELAY_SEC(1000));
    child_ctx = belay_with_cancel(ctx);
    reg = belay_after_func(child_ctx, check_ignore, NULL);
    timer = belay_timer_after(ctx, BELAY_SEC(1000), check_ignore, NULL);
    runtime = belay_runtime_new(NULL);
    pool = belay_pool_new(&(belay_pool_desc){.size = sizeof(belay_pool_desc), .item_size = 100});
    CHECK_IS(belay_pool_put(pool, belay_pool_get(pool)), BELAY_OK);
}
static void close_some(void) {
    CHECK_IS(belay_pool_free(pool), BELAY_OK);
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
    check_live(child_ctx);
    CHECK_IS(belay_stop(reg), BELAY_STOP_PREVENTED);
    CHECK_IS(belay_timer_stop(timer), BELAY_STOP_PREVENTED);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    check_done(child_ctx, BELAY_CANCELED);
    check_close(child_ctx);
    check_close(ctx);
}

static void a_child_has_done_handles(void) {
    make_some();
    for (int i = 0; i < 10; i++) fork_once();
    close_some();
}

// The same while other threads hold whatever locks there are.
static void busy(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_ctx parent = belay_with_timeout(belay_background(), BELAY_US(200)), child = belay_with_cancel(parent);
        belay_after_func(child, check_ignore, NULL);
        belay_timer_after(parent, BELAY_US(100), check_ignore, NULL);
        belay_wait(child, BELAY_US(20));
        check_close(parent);
        check_close(child);
    }
}
static void a_child_of_a_busy_process_does_not_hang(void) {
    if (check_emulator()) {
        printf("  NOT TESTED: what the emulator's own threads hold at a fork is lost to the child, which hangs\n");
        return;
    }
    struct check_thread threads[3];
    make_some();
    atomic_store(&over, false);
    for (int i = 0; i < 3; i++) check_start(&threads[i], busy, NULL);
    for (long i = check_scaled(100); i > 0; i--) fork_once();
    atomic_store(&over, true);
    for (int i = 0; i < 3; i++) check_join(&threads[i]);
    close_some();
}

// The thread that was inside a poll is not in the child: there a runtime of the same number can be polled.
static atomic_bool polling;
static void sleeps(void *argument) {
    (void)argument;
    atomic_store(&polling, true);
    while (!atomic_load(&over)) check_sleep(BELAY_MS(1));
}
static void poll_once(void *runtime) { CHECK_IS(belay_runtime_poll(*(belay_runtime *)runtime, BELAY_FOREVER), BELAY_OK); }

static void no_poll_in_the_child_of_a_fork_inside_one(void) {
    belay_runtime_options options = {.size = sizeof options, .manual = true};
    belay_runtime mine = belay_runtime_new(&options);
    CHECK(belay_timer_after(belay_runtime_background(mine), 0, sleeps, NULL).bits != 0);
    atomic_store(&over, false);
    struct check_thread thread;
    check_start(&thread, poll_once, &mine);
    EVENTUALLY(atomic_load(&polling));
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_IS(belay_runtime_restart(), BELAY_OK);
        belay_runtime next = belay_runtime_new(&options);
        CHECK_IS(belay_runtime_poll(next, BELAY_FOREVER), BELAY_OK);
        CHECK_IS(belay_runtime_free(next, BELAY_FOREVER), BELAY_OK);
        _exit(0);
    }
    int status = -1;
    CHECK_IS(waitpid(pid, &status, 0), pid);
    CHECK_IS(status, 0);
    atomic_store(&over, true);
    check_join(&thread);
    CHECK_IS(belay_runtime_free(mine, BELAY_FOREVER), BELAY_OK);
}

// A child that comes back from the callback in which it was made finds nothing there that is its own, and ends.
static pid_t parent_pid;
static atomic_int children_ended;
static void fork_and_return(void *argument) {
    (void)argument;
    pid_t pid = fork();
    if (pid == 0) return;
    int status = -1;
    CHECK_IS(waitpid(pid, &status, 0), pid);
    CHECK_IS(status, 0);
    atomic_fetch_add(&children_ended, 1);
}
static void only_in_the_parent(void *argument) {
    (void)argument;
    if (getpid() != parent_pid) _exit(9);
}
static void a_child_that_returns_from_a_callback_ends(void) {
    if (check_emulator() || !LAST_THREAD_MAY_END) {
        printf("  NOT TESTED: neither the emulator nor the thread sanitizer comes through this\n");
        return;
    }
    parent_pid = getpid();
    belay_timer every = belay_timer_every(belay_background(), BELAY_MS(1), only_in_the_parent, NULL);
    int rounds = (int)check_scaled(20);
    atomic_store(&children_ended, 0);
    for (int i = 0; i < rounds; i++) {
        check_sleep(BELAY_MS(3)); // so that threads of the pool sleep
        belay_ctx ends = belay_with_timeout(belay_background(), BELAY_MS(1));
        if (i % 2) CHECK(belay_on_done(ends, fork_and_return, NULL).bits != 0); // on the driver
        else CHECK(belay_after_func(ends, fork_and_return, NULL).bits != 0);
        EVENTUALLY(atomic_load(&children_ended) == i + 1);
        check_close(ends);
    }
    CHECK(belay_timer_stop(every) != BELAY_STOP_GONE);
}

// A child that starts over inside a callback, and goes on there, is on no runtime's thread and asks no source.
static belay_runtime forking;
static belay_ctx asked;
static atomic_bool may_fork, is_over;
static belay_status says_when_it_is_over(void *self, belay_cause *cause) {
    return (void)self, (void)cause, atomic_load(&is_over) ? BELAY_CANCELED : BELAY_OK;
}
static void start_over_and_go_on(void) {
    static const belay_custom_ops ops = {.size = sizeof ops, .err = says_when_it_is_over};
    enum { MANY = 200 };
    static belay_ctx many[MANY];
    CHECK_IS(belay_runtime_restart(), BELAY_OK);
    for (int round = 0; round < 2; round++) {
        belay_runtime next = belay_runtime_new(NULL);
        atomic_int ran = 0;
        CHECK(belay_timer_after(belay_runtime_background(next), 0, check_count, &ran).bits != 0);
        EVENTUALLY(atomic_load(&ran) == 1);
        CHECK_IS(belay_runtime_free(next, BELAY_FOREVER), BELAY_OK);
    }
    for (int i = 0; i < MANY; i++) check_live(many[i] = belay_custom(&ops, NULL)); // one in the cell of before
    atomic_store(&is_over, true);
    for (int i = 0; i < MANY; i++) check_done(many[i], BELAY_CANCELED);
    execl("/bin/true", "true", (char *)NULL);
    _exit(1);
}
static void fork_here(void *argument) {
    (void)argument;
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) start_over_and_go_on();
    int status = -1;
    CHECK_IS(waitpid(pid, &status, 0), pid);
    CHECK_IS(status, 0);
    atomic_fetch_add(&children_ended, 1);
}
static belay_status fork_when_asked(void *self, belay_cause *cause) {
    (void)cause;
    if (atomic_exchange(&may_fork, false)) fork_here(self);
    return BELAY_OK;
}
static void a_child_that_starts_over_in_a_callback_goes_on_there(void) {
    if (check_emulator()) {
        printf("  NOT TESTED: what the emulator's own threads hold at a fork is lost to the child\n");
        return;
    }
    static const belay_custom_ops ops = {.size = sizeof ops, .err = fork_when_asked};
    belay_runtime_options manual = {.size = sizeof manual, .manual = true};
    atomic_store(&children_ended, 0);
    for (int how = 0; how < 4; how++) {
        forking = belay_runtime_new(how == 2 ? &manual : NULL);
        belay_ctx ends = belay_with_timeout(belay_runtime_background(forking), BELAY_MS(1));
        if (how == 0) CHECK(belay_after_func(ends, fork_here, NULL).bits != 0); // a worker
        if (how == 1) CHECK(belay_on_done(ends, fork_here, NULL).bits != 0);    // the driver
        if (how == 2) CHECK(belay_after_func(ends, fork_here, NULL).bits != 0); // a poll
        if (how == 3) { // a source
            asked = belay_custom(&ops, NULL);
            atomic_store(&may_fork, true);
            check_live(asked);
            check_close(asked);
        }
        EVENTUALLY((how == 2 ? (void)belay_runtime_poll(forking, BELAY_FOREVER) : (void)0, children_ended == how + 1));
        check_close(ends);
        CHECK_IS(belay_runtime_free(forking, BELAY_FOREVER), BELAY_OK);
    }
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(a_child_has_done_handles),
        TEST(a_child_of_a_busy_process_does_not_hang),
        TEST(no_poll_in_the_child_of_a_fork_inside_one),
        TEST(a_child_that_returns_from_a_callback_ends),
        TEST(a_child_that_starts_over_in_a_callback_goes_on_there),
    };
    RUN_TESTS(tests, "");
    return 0;
}
