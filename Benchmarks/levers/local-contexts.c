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

LEVER(open_batch, close_batch)
