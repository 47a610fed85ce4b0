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

LEVER(open_batch, close_batch)
