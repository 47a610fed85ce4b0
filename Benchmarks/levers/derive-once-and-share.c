/*
 * derive-once-and-share.c — what a server does again and again: a context for each time, or one for its life.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

struct reporter { belay_ctx ctx; long sent; };   /* ctx: made when the server starts, closed when it stops */

static bool send_report(struct reporter *self, belay_ctx ctx) {
    if (belay_is_done(ctx)) return false;
    self->sent++;
    return true;
}

static bool before(struct reporter *self) {
    BELAY_SCOPED belay_ctx ctx = belay_with_cancel(self->ctx);   /* nobody cancels it */
    return send_report(self, ctx);
}

static bool after(struct reporter *self) { return send_report(self, self->ctx); }

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static struct reporter reporter;

static void start_server(void) { reporter.ctx = belay_with_cancel(belay_background()); }
static void stop_server(void) { belay_close(reporter.ctx); }
static inline void request(bool side(struct reporter *)) { bench_check(side(&reporter), "the server has ended"); }

LEVER(start_server, stop_server)
