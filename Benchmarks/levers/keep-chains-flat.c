/*
 * keep-chains-flat.c — four layers around a handler: a context from each, or one from the layer that needs it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

typedef bool layer(belay_ctx ctx);

static bool handle(belay_ctx ctx) {
    for (int row = 0; row < 10; row++) {
        if (belay_is_done(ctx)) return false;
    }
    return true;
}

/* Every layer derives a context, in case it should want to cancel. */
static bool wrapped_log(belay_ctx ctx, layer *inner) {
    BELAY_SCOPED belay_ctx own = belay_with_cancel(ctx);
    return inner(own);
}
static bool wrapped_budget(belay_ctx ctx) {
    BELAY_SCOPED belay_ctx own = belay_with_timeout(ctx, BELAY_SEC(1));
    return wrapped_log(own, handle);
}
static bool wrapped_quota(belay_ctx ctx) { return wrapped_log(ctx, wrapped_budget); }
static bool before(belay_ctx request) { return wrapped_log(request, wrapped_quota); }

/* The layer that sets the budget derives; the others pass on what they were given. */
static bool log_layer(belay_ctx ctx, layer *inner) { return inner(ctx); }
static bool budget(belay_ctx ctx) {
    BELAY_SCOPED belay_ctx own = belay_with_timeout(ctx, BELAY_SEC(1));
    return log_layer(own, handle);
}
static bool quota(belay_ctx ctx) { return log_layer(ctx, budget); }
static bool after(belay_ctx request) { return log_layer(request, quota); }

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static belay_ctx server;

static void open_server(void) { server = belay_with_cancel(belay_background()); }
static void close_server(void) { belay_close(server); }
static inline void request(layer *side) { bench_check(side(server), "the handler gave up"); }

LEVER(open_server, close_server)
