/*
 * independent-roots.c — a worker that outlives the request that started it: what it keeps, and what it hangs on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

/* The worker must not end with the request, so it is cut loose, and goes on holding all that the request had. */
static belay_ctx before(belay_ctx request) {
    BELAY_SCOPED belay_ctx loose = belay_without_cancel(request);
    return belay_with_cancel(loose);
}

/* The worker needs nothing of the request. Whoever starts it keeps its handle, and closes it at the end. */
static belay_ctx after(belay_ctx request) {
    (void)request;
    return belay_with_cancel(belay_background());
}

/* --- Measuring ------------------------------------------------------------------------------------------------ */

enum { WORKERS = 100000 };
static const belay_key user = {"user"}, trace = {"trace"};
static belay_ctx server, workers[WORKERS];

static void open_server(void) { server = belay_with_cancel(belay_background()); }
static void close_server(void) { belay_close(server); }

/* A request with two values and a deadline starts a worker, and ends. */
static inline belay_ctx start(belay_ctx side(belay_ctx)) {
    BELAY_SCOPED belay_ctx a = belay_with_value(server, &user, "ada", NULL);
    BELAY_SCOPED belay_ctx b = belay_with_value(a, &trace, "4bf92f35", NULL);
    BELAY_SCOPED belay_ctx request = belay_with_timeout(b, BELAY_SEC(1));
    belay_ctx worker = side(request);
    bench_check(!belay_is_done(worker), "the worker does not live");
    return worker;
}

static inline void request(belay_ctx side(belay_ctx)) { belay_close(start(side)); }

/* Contexts, and bytes, that a worker holds once its request has gone. */
static inline void held(bench *b, belay_ctx side(belay_ctx), bool bytes) {
    memset(workers, 1, sizeof workers);
    request(side);
    double contexts = lever_metric("/ctx/live:contexts"), resident = (double)bench_resident();
    for (int i = 0; i < WORKERS; i++) workers[i] = start(side);
    double grown = bytes ? (double)bench_resident() - resident : lever_metric("/ctx/live:contexts") - contexts;
    bench_value(b, grown / WORKERS);
    for (int i = 0; i < WORKERS; i++) belay_close(workers[i]);
}
static void kept_before(bench *b) { held(b, before, false); }
static void kept_after(bench *b) { held(b, after, false); }
static void bytes_before(bench *b) { held(b, before, true); }
static void bytes_after(bench *b) { held(b, after, true); }

LEVER(open_server, close_server, LEVER_COUNT("before.kept-contexts", kept_before),
      LEVER_COUNT("after.kept-contexts", kept_after), LEVER_COUNT("before.bytes-at-rest", bytes_before),
      LEVER_COUNT("after.bytes-at-rest", bytes_after))
