/* bench_belay.h — what the files of Belay's own program share. SPDX-License-Identifier: Apache-2.0 */
#ifndef BELAY_BENCH_BELAY_H
#define BELAY_BENCH_BELAY_H

#include "bench.h"

#include <belay.h>

/* The context of each thread of a case, or the one that they share. */
static inline belay_ctx bench_ctx(const bench *b) { return (belay_ctx){(uint64_t)(uintptr_t)b->state}; }
static inline void bench_keep(bench *b, belay_ctx ctx) {
    bench_check(!belay_is_none(ctx), "a context could not be made");
    b->state = (void *)(uintptr_t)ctx.bits;
}

static inline void bench_parent(bench *b) { bench_keep(b, belay_with_cancel(belay_background())); }
static inline void bench_root(bench *b) { bench_keep(b, belay_background()); }
static inline void bench_close(bench *b) { belay_close(bench_ctx(b)); }
static inline void bench_nothing(void *arg) { (void)arg; }

/* A run function that does `...` b->n times, with the case's context as `p`. */
#define LOOP(name, ...)                                                                        \
    static void name(bench *b) {                                                               \
        belay_ctx p = bench_ctx(b);                                                            \
        for (uint64_t i = 0; i < b->n; i++) __VA_ARGS__                                        \
    }

#endif
