/*
 * glib.c — GLib's GCancellable, which has no deadline, value or parent (a child is one that is cancelled by a handler
 * on the parent), and its timeouts.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * bench-title: GLib GCancellable, g_timeout_source (milliseconds)
 * bench-debian: libglib2.0-dev pkg-config
 * bench-pkg-config: gio-2.0
 */
#include "bench.h"

#include <gio/gio.h>

static void cancel_child(GCancellable *parent, gpointer child) {
    (void)parent;
    g_cancellable_cancel(child);
}

static void nothing(GCancellable *cancellable, gpointer data) {
    (void)cancellable;
    (void)data;
}

static void setup(bench *b) { b->state = g_cancellable_new(); }
static void setup_ended(bench *b) {
    setup(b);
    g_cancellable_cancel(b->state);
}
static void teardown(bench *b) { g_object_unref(b->state); }

static void run_derive(bench *b) {
    GCancellable *parent = b->state;
    for (uint64_t i = 0; i < b->n; i++) {
        GCancellable *child = g_cancellable_new();
        gulong link = g_cancellable_connect(parent, G_CALLBACK(cancel_child), child, NULL);
        g_cancellable_cancel(child);
        g_cancellable_disconnect(parent, link);
        g_object_unref(child);
    }
}

static void run_root(bench *b) {
    for (uint64_t i = 0; i < b->n; i++) {
        GCancellable *c = g_cancellable_new();
        g_cancellable_cancel(c);
        g_object_unref(c);
    }
}

static void run_asked(bench *b) {
    GCancellable *c = b->state;
    for (uint64_t i = 0; i < b->n; i++) BENCH_USE(g_cancellable_is_cancelled(c));
}

static void run_callback(bench *b) {
    GCancellable *c = b->state;
    for (uint64_t i = 0; i < b->n; i++)
        g_cancellable_disconnect(c, g_cancellable_connect(c, G_CALLBACK(nothing), NULL, NULL));
}

static void run_threads(bench *b) { bench_threads(b, run_derive); }

static void run_bytes(bench *b) {
    enum { COUNT = 200000 };
    GCancellable **all = g_malloc(COUNT * sizeof *all), *parent = g_cancellable_new();
    for (long i = 0; i < COUNT; i++) all[i] = parent; /* in memory before it counts */
    long before = bench_resident();
    for (long i = 0; i < COUNT; i++) {
        all[i] = g_cancellable_new();
        g_cancellable_connect(parent, G_CALLBACK(cancel_child), all[i], NULL);
    }
    bench_value(b, (double)(bench_resident() - before) / COUNT);
}

/* --- Timeouts ------------------------------------------------------------------------------------------------- */

static GSource **timers;
static GMainContext *loop;

static void timer_fired(long i);
static gboolean fire(gpointer data) {
    timer_fired((long)(intptr_t)data);
    return G_SOURCE_REMOVE;
}

static void timer_open(long most) {
    timers = calloc((size_t)most, sizeof *timers);
    loop = g_main_context_new();
}

static void timer_close(void) {
    g_main_context_unref(loop);
    free(timers);
}

static inline void timer_add(long i, int64_t delay) {
    GSource *source = g_timeout_source_new((guint)((delay + 999999) / 1000000));
    g_source_set_callback(source, fire, (gpointer)(intptr_t)i, NULL);
    g_source_attach(source, loop);
    timers[i] = source;
}

static inline void timer_cancel(long i) {
    g_source_destroy(timers[i]);
    g_source_unref(timers[i]);
}

static inline void timer_move(long i, int64_t delay) {
    g_source_set_ready_time(timers[i], g_get_monotonic_time() + (delay + 999) / 1000);
}

static void timer_wait(void);
#include "timer_cases.h"

static void timer_wait(void) {
    while (timers_left > 0) g_main_context_iteration(loop, TRUE);
}

/* Without expiry of 10^6: it looks through all its sources at each turn, and would take hours. */
#define THREADS(n) {"threads.cancel." #n, run_threads, n, BENCH_EACH, setup, teardown}

BENCH_CASES(
    {"derive.cancel", run_derive, 0, BENCH_ONE, setup, teardown},
    {"derive.cancel.root", run_root, 0, BENCH_ONE, NULL, NULL},
    {"end.cancel", run_derive, 0, BENCH_ONE, setup, teardown},
    {"ask.is_done.live", run_asked, 0, BENCH_ONE, setup, teardown},
    {"ask.is_done.done", run_asked, 0, BENCH_ONE, setup_ended, teardown},
    {"listen.after_func", run_callback, 0, BENCH_ONE, setup, teardown},
    {"bytes.cancel", run_bytes, 0, BENCH_VALUE, NULL, NULL},
    THREADS(2), THREADS(4),
    TIMER_LOOP_CASES("timer"),
    TIMER_COMING_DUE)
