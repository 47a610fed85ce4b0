/*
 * libevent.c — libevent's timers: one base, one thread, microseconds.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * bench-title: libevent evtimer (one thread)
 * bench-debian: libevent-dev pkg-config
 * bench-pkg-config: libevent_core
 */
#include "bench.h"

#include <event2/event.h>
#include <event2/event_struct.h>

static struct event_base *base;
static struct event *timers;

static void timer_fired(long i);
static void fire(evutil_socket_t fd, short events, void *arg) {
    (void)fd;
    (void)events;
    timer_fired((struct event *)arg - timers);
}

static void timer_open(long most) {
    timers = calloc((size_t)most, sizeof *timers);
    struct event_config *config = event_config_new();
    event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER); /* or it fires up to 4 ms early */
    base = event_base_new_with_config(config);
    event_config_free(config);
}

static void timer_close(void) {
    event_base_free(base);
    free(timers);
}

static inline void timer_add(long i, int64_t delay) {
    if (!event_initialized(&timers[i])) event_assign(&timers[i], base, -1, 0, fire, &timers[i]);
    int64_t microseconds = (delay + 999) / 1000;
    struct timeval tv = {microseconds / 1000000, microseconds % 1000000};
    event_add(&timers[i], &tv);
}

static inline void timer_cancel(long i) { event_del(&timers[i]); }
static inline void timer_move(long i, int64_t delay) { timer_add(i, delay); }

static void timer_wait(void);
#define TIMER_REFRESH() event_base_update_cache_time(base)
#include "timer_cases.h"

static void timer_wait(void) { event_base_dispatch(base); }

BENCH_CASES(TIMER_CASES)
