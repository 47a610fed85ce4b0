/*
 * timers.c — Belay: timers through the public API: thread-safe, and the clock is read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench_belay.h"

static belay_timer *timers;
static belay_ctx owner;

static void timer_fired(long i);
static void fire(void *arg) { timer_fired((long)(intptr_t)arg); }

static void timer_open(long most) {
    timers = calloc((size_t)most, sizeof *timers);
    for (long i = 0; i < most; i++) timers[i].bits = 1; /* in memory before it counts */
    owner = belay_with_cancel(belay_background());
}

static void timer_close(void) {
    belay_close(owner);
    free(timers);
}

static inline void timer_add(long i, int64_t delay) {
    timers[i] = belay_timer_after(owner, delay, fire, (void *)(intptr_t)i);
}

static inline void timer_cancel(long i) { belay_timer_stop(timers[i]); }

static inline void timer_move(long i, int64_t delay) { belay_timer_reset(timers[i], delay); }

static void timer_wait(void);
#include "timer_cases.h"

static void timer_wait(void) {
    while (__atomic_load_n(&timers_left, __ATOMIC_ACQUIRE) != 0) bench_sleep(10000000);
}

/* Each thread adds and cancels one of its own, with the others outstanding. */
static void churn_one(bench *b) {
    for (uint64_t i = 0; i < b->n; i++) belay_timer_stop(belay_timer_after(owner, timer_delay(b), fire, NULL));
}

enum { OUTSTANDING = 100000 };

static void setup_threads(bench *b) {
    timer_open(OUTSTANDING);
    for (long i = 0; i < OUTSTANDING; i++) timer_add(i, timer_delay(b));
}

static void teardown_threads(bench *b) {
    (void)b;
    for (long i = 0; i < OUTSTANDING; i++) timer_cancel(i);
    timer_close();
}

static void run_churn_threads(bench *b) { bench_threads(b, churn_one); }

/* Times that any of the process's threads wakes up in a second in which nothing is due. */
static void run_idle(bench *b) {
    setup_threads(b);
    bench_sleep(100000000);
    long before = bench_sleeps();
    bench_sleep(1000000000);
    bench_value(b, (double)(bench_sleeps() - before - 1)); /* the one of this thread's own sleep */
    teardown_threads(b);
}

#define THREADS(n) {"timer.threads." #n, run_churn_threads, n, BENCH_EACH, setup_threads, teardown_threads}

BENCH_CASES(
    TIMER_CASES,
    {"timer.idle", run_idle, 0, BENCH_VALUE, NULL, NULL},
    THREADS(1), THREADS(2), THREADS(4), THREADS(8), THREADS(16))
