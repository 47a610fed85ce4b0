/*
 * share-one-deadline.c — three steps that have a second together: a deadline for each, or one for all.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

/* Each step looks up, where it would wait, whether it is still wanted. */
static bool load_profile(belay_ctx ctx) { return !belay_is_done(ctx); }
static bool load_orders(belay_ctx ctx) { return belay_remaining(ctx) > 0; }
static bool load_offers(belay_ctx ctx) { return belay_err(ctx) == BELAY_OK; }

static bool before(belay_ctx request) {
    BELAY_SCOPED belay_ctx profile = belay_with_timeout(request, BELAY_SEC(1));
    if (!load_profile(profile)) return false;
    BELAY_SCOPED belay_ctx orders = belay_with_timeout(request, BELAY_SEC(1));
    if (!load_orders(orders)) return false;
    BELAY_SCOPED belay_ctx offers = belay_with_timeout(request, BELAY_SEC(1));
    return load_offers(offers);
}

static bool after(belay_ctx request) {
    BELAY_SCOPED belay_ctx page = belay_with_timeout(request, BELAY_SEC(1));
    return load_profile(page) && load_orders(page) && load_offers(page);
}

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static belay_ctx server;

static void open_server(void) { server = belay_with_cancel(belay_background()); }
static void close_server(void) { belay_close(server); }
static inline void request(bool side(belay_ctx)) { bench_check(side(server), "a step gave up"); }

LEVER(open_server, close_server)
