/* data.c — Belay: pools of request data. Nothing, where the header has none. SPDX-License-Identifier: Apache-2.0 */
#include "bench_belay.h"

#ifdef BELAY_POOL_CHECKED

static belay_pool pool;

static void open_pool(bench *b, unsigned flags, void (*reset)(void *, void *)) {
    belay_pool_desc desc = {.size = sizeof desc, .item_size = (size_t)b->size, .flags = flags, .reset = reset};
    pool = belay_pool_new(&desc);
    bench_root(b);
}

/* As sync.Pool leaves its items. */
static void setup_left(bench *b) { open_pool(b, BELAY_POOL_AS_LEFT, NULL); }

static void forget(void *item, void *self) {
    (void)self;
    *(int *)item = 0;
}
static void setup_reset(bench *b) { open_pool(b, 0, forget); }
static void setup_zeroed(bench *b) { open_pool(b, 0, NULL); }
static void teardown(bench *b) {
    (void)b;
    belay_pool_free(pool);
}

static void run_pool(bench *b) {
    for (uint64_t i = 0; i < b->n; i++) {
        void *item = belay_pool_get(pool);
        BENCH_USE(item);
        belay_pool_put(pool, item);
    }
}

LOOP(run_context, {
    void *item;
    belay_ctx c = belay_with_data(p, pool, &item);
    BENCH_USE(item);
    belay_close(c);
})

static void run_threads(bench *b) { /* two, which share the n */
    bench half = *b;
    half.size = 2;
    half.n = b->n / 2;
    bench_threads(&half, run_pool);
    half.size = b->size;
    half.n = b->n;
    *b = half;
}

#define SIZE(n)                                                              \
    {"pool." #n, run_pool, n, BENCH_ONE, setup_left, teardown},              \
    {"pool.zeroed." #n, run_pool, n, BENCH_ONE, setup_zeroed, teardown}

BENCH_CASES(
    SIZE(64), SIZE(1024), SIZE(8192),
    {"pool.reset.1024", run_pool, 1024, BENCH_ONE, setup_reset, teardown},
    {"pool.threads.1024", run_threads, 1024, BENCH_ONE, setup_left, teardown},
    {"pool.context.1024", run_context, 1024, BENCH_ONE, setup_left, teardown})

#endif
