/*
 * one-context-for-a-group.c — 64 tasks of one group: a deadline in each, or one above the group.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

enum { TASKS = 64 };

static int64_t fetch(belay_ctx ctx, void *arg) {
    *(bool *)arg = !belay_is_done(ctx);
    return belay_err(ctx);
}

static int64_t fetch_with_timeout(belay_ctx ctx, void *arg) {
    BELAY_SCOPED belay_ctx own = belay_with_timeout(ctx, BELAY_SEC(1));
    return fetch(own, arg);
}

static bool run(belay_ctx parent, int64_t task(belay_ctx, void *), bool here[TASKS]) {
    belay_group group = belay_group_new(parent, BELAY_UNLIMITED, NULL);
    for (int i = 0; i < TASKS; i++) (void)belay_group_go(group, task, &here[i]);
    bool all = belay_group_wait(group, BELAY_FOREVER, NULL) == BELAY_OK;
    (void)belay_group_free(group);
    return all;
}

static bool before(belay_ctx request, bool here[TASKS]) { return run(request, fetch_with_timeout, here); }

static bool after(belay_ctx request, bool here[TASKS]) {
    BELAY_SCOPED belay_ctx all = belay_with_timeout(request, BELAY_SEC(1));
    return run(all, fetch, here);
}

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static belay_ctx server;

/* Tasks run where they are started, so that no pool's threads are in the measurement. */
static void run_here(void *self, void (*run_task)(void *task), void *task) {
    (void)self;
    run_task(task);
}

static void open_server(void) {
    static const belay_executor here = {.submit = run_here};
    bench_check(belay_set_executor(&here) == BELAY_OK, "no executor");
    server = belay_with_cancel(belay_background());
}
static void close_server(void) { belay_close(server); }

static inline void request(bool side(belay_ctx, bool *)) {
    bool here[TASKS];
    bench_check(side(server, here) && here[0] && here[TASKS - 1], "a task failed");
}

LEVER(open_server, close_server)
