/*
 * libuv.c — libuv's timers: one loop, one thread, milliseconds.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * bench-title: libuv uv_timer_t (one thread, milliseconds)
 * bench-debian: libuv1-dev pkg-config
 * bench-pkg-config: libuv
 */
#include "bench.h"

#include <uv.h>

static uv_loop_t loop;
static uv_timer_t *timers;

static void timer_fired(long i);
static void fire(uv_timer_t *timer) { timer_fired(timer - timers); }

static void timer_open(long most) {
    timers = calloc((size_t)most, sizeof *timers);
    uv_loop_init(&loop);
}

static void timer_close(void) {
    /* The loop goes with its process: uv_close would want a turn of it for each timer. */
}

static inline void timer_add(long i, int64_t delay) {
    uv_timer_init(&loop, &timers[i]);
    uv_timer_start(&timers[i], fire, (uint64_t)(delay + 999999) / 1000000, 0);
}

/* A handle must be closed before its memory can be used again; a program keeps it and stops it. */
static inline void timer_cancel(long i) { uv_timer_stop(&timers[i]); }

static inline void timer_move(long i, int64_t delay) {
    uv_timer_start(&timers[i], fire, (uint64_t)(delay + 999999) / 1000000, 0);
}

static void timer_wait(void);
#define TIMER_REFRESH() uv_update_time(&loop)
#include "timer_cases.h"

static void timer_wait(void) { uv_run(&loop, UV_RUN_DEFAULT); }

BENCH_CASES(TIMER_CASES)
