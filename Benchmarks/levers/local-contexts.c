/*
 * local-contexts.c — a lite context for each item of an inner loop: in a cell of Belay's, or on the stack.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

static bool before(belay_ctx batch) {
    BELAY_SCOPED belay_ctx item = belay_lite(batch, BELAY_FOREVER);
    return !belay_is_done(item);
}

static bool after(belay_ctx batch) {
    belay_local item;
    (void)belay_local_open(&item, batch, BELAY_FOREVER);   /* what cannot be opened reads as done */
    bool wanted = !belay_local_is_done(&item);
    (void)belay_local_close(&item);
    return wanted;
}

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static belay_ctx batch;

static void open_batch(void) { batch = belay_with_timeout(belay_background(), BELAY_SEC(3600)); }
static void close_batch(void) { belay_close(batch); }
static inline void request(bool side(belay_ctx)) { bench_check(side(batch), "an item gave up"); }

/* Under a batch that has no deadline to look at: the time of an item. */
static void plainly(bench *b, bool side(belay_ctx)) {
    enum { ROUNDS = 101, ITEMS = 20000 };
    double times[ROUNDS];
    belay_ctx plain = belay_with_cancel(belay_background());
    for (int i = 0; i < ROUNDS; i++) {
        belay_instant from = belay_now();
        for (int j = 0; j < ITEMS; j++) bench_check(side(plain), "an item gave up");
        times[i] = (double)(belay_now() - from) / ITEMS;
    }
    belay_close(plain);
    bench_value(b, bench_quantile(times, ROUNDS, 0.5));
}
static void plain_before(bench *b) { plainly(b, before); }
static void plain_after(bench *b) { plainly(b, after); }

LEVER(open_batch, close_batch, LEVER_COUNT("before.ns-under-a-batch-without-a-deadline", plain_before),
      LEVER_COUNT("after.ns-under-a-batch-without-a-deadline", plain_after))
