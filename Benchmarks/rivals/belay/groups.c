/* groups.c — Belay: groups of tasks. Nothing, where the header has none. SPDX-License-Identifier: Apache-2.0 */
#include "bench_belay.h"

#ifdef BELAY_UNLIMITED

static int64_t task(belay_ctx ctx, void *arg) {
    (void)arg;
    return belay_err(ctx);
}

static void run_group(bench *b) {
    for (uint64_t n = 0; n < b->n; n++) {
        belay_group group = belay_group_new(belay_background(), BELAY_UNLIMITED, NULL);
        for (long i = 0; i < b->size; i++) belay_group_go(group, task, NULL);
        bench_check(belay_group_wait(group, BELAY_FOREVER, NULL) == BELAY_OK, "the group failed");
        belay_group_free(group);
    }
}

BENCH_CASES({"group.1000", run_group, 1000, BENCH_EACH, NULL, NULL})

#endif
