/*
 * contexts.c — Belay: contexts derived, asked and closed, alone and by several threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * bench-title: Belay
 */
#include "bench_belay.h"

#include <sys/mman.h>

/* --- Derive --------------------------------------------------------------------------------------------------- */

static const belay_key KEY = {"key"};

LOOP(run_cancel, { belay_close(belay_with_cancel(p)); })
LOOP(run_timeout, { belay_close(belay_with_timeout(p, BELAY_SEC(30))); })
LOOP(run_value, { belay_close(belay_with_value(p, &KEY, b, NULL)); })
LOOP(run_without, { belay_close(belay_without_cancel(p)); })
LOOP(run_lite, { belay_close(belay_lite(p, BELAY_FOREVER)); })
LOOP(run_lite_timeout, { belay_close(belay_lite(p, BELAY_SEC(30))); })

LOOP(run_lite_asked, {
    belay_ctx c = belay_lite(p, BELAY_FOREVER);
    BENCH_USE(belay_is_done(c));
    belay_close(c);
})

LOOP(run_local, {
    belay_local c;
    belay_local_open(&c, p, BELAY_FOREVER);
    belay_local_close(&c);
})

LOOP(run_local_asked, {
    belay_local c;
    belay_local_open(&c, p, BELAY_FOREVER);
    BENCH_USE(belay_local_is_done(&c));
    belay_local_close(&c);
})

LOOP(run_local_timeout, {
    belay_local c;
    belay_local_open(&c, p, BELAY_SEC(30));
    belay_local_close(&c);
})

LOOP(run_ended, {
    belay_ctx c = belay_with_cancel(p);
    belay_cancel(c);
    belay_close(c);
})

LOOP(run_cause, {
    belay_ctx c = belay_with_cancel(p);
    belay_cancel_cause(c, 42, "no longer wanted");
    belay_close(c);
})

/* b->state is the array of parents; their number, the case's size, is a power of two. */
static void setup_among(bench *b) {
    belay_ctx *parents = calloc((size_t)b->size, sizeof *parents);
    for (long i = 0; i < b->size; i++) parents[i] = belay_with_cancel(belay_background());
    b->state = parents;
}

static void teardown_among(bench *b) {
    belay_ctx *parents = b->state;
    for (long i = 0; i < b->size; i++) belay_close(parents[i]);
    free(parents);
}

static void run_among(bench *b) {
    const belay_ctx *parents = b->state;
    for (uint64_t i = 0; i < b->n; i++) belay_close(belay_with_cancel(parents[i & (uint64_t)(b->size - 1)]));
}

static void run_deadline(bench *b) {
    belay_ctx p = bench_ctx(b);
    belay_instant at = belay_now() + BELAY_SEC(30);
    for (uint64_t i = 0; i < b->n; i++) belay_close(belay_with_deadline(p, at));
}

#ifdef HAVE_belay_merge
static void run_merge(bench *b) {
    belay_ctx parents[2] = {belay_with_cancel(bench_ctx(b)), belay_with_cancel(bench_ctx(b))};
    for (uint64_t i = 0; i < b->n; i++) belay_close(belay_merge(parents, 2));
    belay_close(parents[0]);
    belay_close(parents[1]);
}
#endif

/* --- Ask ------------------------------------------------------------------------------------------------------ */

LOOP(run_is_done, { BENCH_USE(belay_is_done(p)); })
LOOP(run_err, { BENCH_USE(belay_err(p)); })
LOOP(run_remaining, { BENCH_USE(belay_remaining(p)); })

static void setup_timeout(bench *b) { bench_keep(b, belay_with_timeout(belay_background(), BELAY_SEC(300))); }

/* The youngest of a chain; the size is its length. The older ones stay as long as the process. */
static void setup_nested(bench *b) {
    belay_ctx c = belay_background();
    for (long i = 0; i < b->size; i++) c = belay_with_cancel(c);
    bench_keep(b, c);
}

/* Its parent stays as long as the process. */
static void setup_value(bench *b) {
    static const belay_key key = {"bench"};
    bench_keep(b, belay_with_value(belay_with_cancel(belay_background()), &key, b, NULL));
}

static void setup_listened(bench *b) {
    bench_parent(b);
    (void)belay_after_func(bench_ctx(b), bench_nothing, NULL);
}

static void setup_ended(bench *b) {
    bench_parent(b);
    belay_cancel(bench_ctx(b));
}

/* --- Values: b->state is the array of contexts of a chain, the case's size its depth. ----------------------------- */

enum { DEEPEST = 100, OTHER = DEEPEST, KEYS, AMONG = 64 };
static belay_key *keys;

/* At the same addresses in each build: what a key is compared with on its way depends on where it stands. */
static void place_keys(void) {
    if (keys == NULL) {
        keys = mmap((void *)0x200000000, KEYS * sizeof *keys, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
}

static void setup_chain(bench *b) {
    place_keys();
    belay_ctx *chain = calloc((size_t)b->size, sizeof *chain), parent = belay_background();
    for (long i = 0; i < b->size; i++) parent = chain[i] = belay_with_value(parent, &keys[i], &keys[i], NULL);
    b->state = chain;
}

static void teardown_chain(bench *b) {
    belay_ctx *chain = b->state;
    for (long i = b->size - 1; i >= 0; i--) belay_close(chain[i]);
    free(chain);
}

/* Behind the chain 64 contexts below it, so many that whoever remembers answers has lost each when it is asked again. */
static void setup_chain_among(bench *b) {
    setup_chain(b);
    belay_ctx *all = b->state = realloc(b->state, (size_t)(b->size + AMONG) * sizeof *all);
    for (long i = 0; i < AMONG; i++) all[b->size + i] = belay_with_cancel(all[b->size - 1]);
}

static void teardown_chain_among(bench *b) {
    const belay_ctx *below = (belay_ctx *)b->state + b->size;
    for (long i = 0; i < AMONG; i++) belay_close(below[i]);
    teardown_chain(b);
}

static void run_hit_among(bench *b) {
    const belay_ctx *below = (belay_ctx *)b->state + b->size;
    for (uint64_t i = 0; i < b->n; i++) BENCH_USE(belay_value(below[i % AMONG], &keys[0]));
}

static void run_hit(bench *b) { /* the oldest key: for whoever searches, the farthest */
    belay_ctx c = ((belay_ctx *)b->state)[b->size - 1];
    for (uint64_t i = 0; i < b->n; i++) BENCH_USE(belay_value(c, &keys[0]));
}

static void run_miss(bench *b) {
    belay_ctx c = ((belay_ctx *)b->state)[b->size - 1];
    for (uint64_t i = 0; i < b->n; i++) BENCH_USE(belay_value(c, &keys[OTHER]));
}

/* --- Threads -------------------------------------------------------------------------------------------------- */

static void run_cancel_threads(bench *b) { bench_threads(b, run_cancel); }
static void run_timeout_threads(bench *b) { bench_threads(b, run_timeout); }

static void cancel_under_own(bench *b) {
    bench_parent(b);
    run_cancel(b);
    bench_close(b);
}
static void run_cancel_apart(bench *b) { bench_threads(b, cancel_under_own); }

#define PARENT bench_parent, bench_close
#define ROOT bench_root, NULL
#define CHAIN setup_chain, teardown_chain
#define CHAIN_AMONG setup_chain_among, teardown_chain_among
#define THREADS(n)                                                              \
    {"threads.cancel." #n, run_cancel_threads, n, BENCH_EACH, PARENT},          \
    {"threads.timeout." #n, run_timeout_threads, n, BENCH_EACH, PARENT},        \
    {"threads.cancel.apart." #n, run_cancel_apart, n, BENCH_EACH, ROOT}
#define DEPTH(n)                                                                \
    {"value.hit." #n, run_hit, n, BENCH_ONE, CHAIN},                            \
    {"value.among." #n, run_hit_among, n, BENCH_ONE, CHAIN_AMONG},              \
    {"value.miss." #n, run_miss, n, BENCH_ONE, CHAIN}

BENCH_CASES(
    {"derive.cancel", run_cancel, 0, BENCH_ONE, PARENT},
    {"derive.cancel.root", run_cancel, 0, BENCH_ONE, ROOT},
    {"derive.cancel.among.64", run_among, 64, BENCH_ONE, setup_among, teardown_among},
    {"derive.timeout", run_timeout, 0, BENCH_ONE, PARENT},
    {"derive.timeout.root", run_timeout, 0, BENCH_ONE, ROOT},
    {"derive.deadline", run_deadline, 0, BENCH_ONE, PARENT},
    {"derive.value", run_value, 0, BENCH_ONE, PARENT},
    {"derive.without", run_without, 0, BENCH_ONE, PARENT},
    {"derive.lite", run_lite, 0, BENCH_ONE, PARENT},
    {"derive.lite.asked", run_lite_asked, 0, BENCH_ONE, PARENT},
    {"derive.lite.timeout", run_lite_timeout, 0, BENCH_ONE, PARENT},
    {"derive.local", run_local, 0, BENCH_ONE, PARENT},
    {"derive.local.asked", run_local_asked, 0, BENCH_ONE, PARENT},
    {"derive.local.timeout", run_local_timeout, 0, BENCH_ONE, PARENT},
#ifdef HAVE_belay_merge
    {"derive.merge", run_merge, 0, BENCH_ONE, PARENT},
#endif
    {"end.cancel", run_ended, 0, BENCH_ONE, PARENT},
    {"end.cause", run_cause, 0, BENCH_ONE, PARENT},
    {"ask.is_done.live", run_is_done, 0, BENCH_ONE, PARENT},
    {"ask.is_done.nested.2", run_is_done, 2, BENCH_ONE, setup_nested, bench_close},
    {"ask.is_done.nested.8", run_is_done, 8, BENCH_ONE, setup_nested, bench_close},
    {"ask.is_done.value", run_is_done, 0, BENCH_ONE, setup_value, bench_close},
    {"ask.is_done.timeout", run_is_done, 0, BENCH_ONE, setup_timeout, bench_close},
    {"ask.is_done.listened", run_is_done, 0, BENCH_ONE, setup_listened, bench_close},
    {"ask.is_done.done", run_is_done, 0, BENCH_ONE, setup_ended, bench_close},
    {"ask.err.live", run_err, 0, BENCH_ONE, PARENT},
    {"ask.err.nested.2", run_err, 2, BENCH_ONE, setup_nested, bench_close},
    {"ask.err.nested.8", run_err, 8, BENCH_ONE, setup_nested, bench_close},
    {"ask.err.done", run_err, 0, BENCH_ONE, setup_ended, bench_close},
    {"ask.remaining", run_remaining, 0, BENCH_ONE, setup_timeout, bench_close},
    DEPTH(1), DEPTH(5), DEPTH(32), DEPTH(100),
    THREADS(2), THREADS(4), THREADS(8), THREADS(16))
