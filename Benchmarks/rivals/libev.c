/*
 * libev.c — libev's timers: one loop, one thread, seconds as doubles.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * bench-title: libev ev_timer (one thread)
 * bench-debian: libev-dev
 * bench-flags: -Wno-strict-aliasing -lev
 */
#include "bench.h"

#include <ev.h>

static struct ev_loop *loop;
static ev_timer *timers;

static void timer_fired(long i);
static void fire(struct ev_loop *l, ev_timer *timer, int events) {
    (void)l;
    (void)events;
    timer_fired(timer - timers);
}

static void timer_open(long most) {
    timers = calloc((size_t)most, sizeof *timers);
    loop = ev_loop_new(EVFLAG_AUTO);
}

static void timer_close(void) {
    ev_loop_destroy(loop);
    free(timers);
}

static inline void timer_add(long i, int64_t delay) {
    ev_timer_init(&timers[i], fire, (double)delay * 1e-9, 0);
    ev_timer_start(loop, &timers[i]);
}

static inline void timer_cancel(long i) { ev_timer_stop(loop, &timers[i]); }
static inline void timer_move(long i, int64_t delay) {
    timers[i].repeat = (double)delay * 1e-9;
    ev_timer_again(loop, &timers[i]);
}

static void timer_wait(void);
#define TIMER_REFRESH() ev_now_update(loop)
#include "timer_cases.h"

static void timer_wait(void) { ev_run(loop, 0); }

BENCH_CASES(TIMER_CASES)
