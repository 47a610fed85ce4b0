/*
 * wahern.c — William Ahern's timing wheel, timeout.c. There is no package of it; Tor's source has a copy.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * bench-title: wahern/timeout 2016 (a bare wheel; one thread, no lock, no clock)
 * bench-debian-source: tor src/ext/timeouts src/ext/tor_queue.h
 * bench-flags: -I@source@/src -Wno-unused-function -Wno-sign-compare -Wno-unused-parameter
 *
 * Its ticks are as long as those of Belay's wheel, 2^15 ns, so that both tell the same instants apart.
 */
#include "bench.h"

#define TIMEOUT_PUBLIC static
#define TIMEOUT_DISABLE_INTERVALS
#include "ext/timeouts/timeout.c"

#define TIMER_VIRTUAL
static struct timeouts *wheel;
static struct timeout *timers;
static int64_t now;

static inline timeout_t ticks(int64_t instant) { return (timeout_t)(instant + 32767) >> 15; }

static void timer_open(long most) {
    timeout_error_t error;
    wheel = timeouts_open(0, &error);
    bench_check(wheel != NULL, "timeouts_open");
    timers = calloc((size_t)most, sizeof *timers);
    for (long i = 0; i < most; i++) timeout_init(&timers[i], TIMEOUT_ABS);
    now = 0;
}

static void timer_close(void) {
    timeouts_close(wheel);
    free(timers);
}

/* Calls, as in a program that links it. */
__attribute__((noinline)) static void add(long i, int64_t expiry) { timeouts_add(wheel, &timers[i], ticks(expiry)); }
__attribute__((noinline)) static void cancel(long i) { timeouts_del(wheel, &timers[i]); }
static inline void timer_add(long i, int64_t delay) { add(i, now + delay); }
static inline void timer_cancel(long i) { cancel(i); }

static long timer_advance(int64_t step) {
    long fired = 0;
    now += step;
    timeouts_update(wheel, (timeout_t)now >> 15);
    for (struct timeout *t; (t = timeouts_get(wheel)) != NULL; fired++) BENCH_USE(t);
    return fired;
}

#include "timer_cases.h"

BENCH_CASES(TIMER_CASES)
