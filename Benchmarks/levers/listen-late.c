/*
 * listen-late.c — a callback on each request from its start, or only on those that come to wait.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

#include <stdatomic.h>

struct query { belay_ctx ctx; int number; atomic_bool abandoned; };

static void abandon(void *query) { ((struct query *)query)->abandoned = true; }

static bool cached(const struct query *query) { return query->number % 16 != 0; }

static bool before(struct query *query) {
    belay_reg reg = belay_on_done(query->ctx, abandon, query);
    bool wanted = cached(query) || !query->abandoned;   /* if not cached: to the database, until abandoned */
    (void)belay_stop_wait(reg, BELAY_FOREVER);   /* `query` is about to go */
    return wanted;
}

static bool after(struct query *query) {
    if (cached(query)) return !belay_is_done(query->ctx);   /* asking is enough */
    belay_reg reg = belay_on_done(query->ctx, abandon, query);
    bool wanted = !query->abandoned;                        /* to the database, until abandoned */
    (void)belay_stop_wait(reg, BELAY_FOREVER);   /* `query` is about to go */
    return wanted;
}

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static belay_ctx server;
static int number;

static void open_server(void) { server = belay_with_cancel(belay_background()); }
static void close_server(void) { belay_close(server); }

static inline void request(bool side(struct query *)) {
    BELAY_SCOPED belay_ctx ctx = belay_with_timeout(server, BELAY_SEC(1));
    struct query query = {.ctx = ctx, .number = number++};
    bench_check(side(&query), "the query was abandoned");
}

/* Descriptors that 200 contexts take whose end is watched: asked for at the start, or when they have ended. */
static inline void descriptors(bench *b, bool late) {
    enum { CONTEXTS = 200 };
    belay_ctx ctx[CONTEXTS];
    int lowest = INT32_MAX, highest = 0;
    for (int i = 0; i < CONTEXTS; i++) {
        ctx[i] = belay_with_cancel(server);
        if (late) belay_cancel(ctx[i]);
        int fd = belay_done_fd(ctx[i]);
        bench_check(fd >= 0, "no descriptor");
        if (fd < lowest) lowest = fd;
        if (fd > highest) highest = fd;
    }
    bench_value(b, late ? (double)(highest - lowest) : (double)(highest - lowest + 1) / CONTEXTS);
    for (int i = 0; i < CONTEXTS; i++) belay_close(ctx[i]);
}
static void fds_before(bench *b) { descriptors(b, false); }
static void fds_after(bench *b) { descriptors(b, true); }

LEVER(open_server, close_server, LEVER_COUNT("before.descriptors", fds_before),
      LEVER_COUNT("after.descriptors", fds_after))
