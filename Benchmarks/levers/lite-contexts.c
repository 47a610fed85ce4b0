/*
 * lite-contexts.c — a context for each item of an inner loop: an ordinary one, or a lite one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

static bool process(belay_ctx item) { return !belay_is_done(item); }

static bool before(belay_ctx batch) {
    BELAY_SCOPED belay_ctx item = belay_with_cancel(batch);
    return process(item);
}

static bool after(belay_ctx batch) {
    BELAY_SCOPED belay_ctx item = belay_lite(batch, BELAY_FOREVER);   /* no deadline of its own: no clock is read */
    return process(item);
}

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static belay_ctx batch;

static void open_batch(void) { batch = belay_with_timeout(belay_background(), BELAY_SEC(3600)); }
static void close_batch(void) { belay_close(batch); }
static inline void request(bool side(belay_ctx)) { bench_check(side(batch), "an item gave up"); }

/* Two threads have the batch as their parent: the time of an item by both together. */
static void items_before(bench *b) { for (uint64_t i = 0; i < b->n; i++) request(before); }
static void items_after(bench *b) { for (uint64_t i = 0; i < b->n; i++) request(after); }
static void two_threads(bench *b, void items(bench *)) {
    enum { ROUNDS = 15 };
    double times[ROUNDS];
    b->n = 200000;
    b->size = 2;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t before_this = b->elapsed;
        bench_threads(b, items);
        times[i] = (double)(b->elapsed - before_this) / (double)(2 * b->n);
    }
    bench_value(b, bench_quantile(times, ROUNDS, 0.5));
}
static void two_before(bench *b) { two_threads(b, items_before); }
static void two_after(bench *b) { two_threads(b, items_after); }

LEVER(open_batch, close_batch, LEVER_COUNT("before.ns-by-two-threads", two_before),
      LEVER_COUNT("after.ns-by-two-threads", two_after))
