/*
 * listening.c — Belay: callbacks, trees that end, wake-ups, memory, a whole request.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench_belay.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

/* --- Callbacks ------------------------------------------------------------------------------------------------ */

LOOP(run_after_func, { belay_stop(belay_after_func(p, bench_nothing, NULL)); })

LOOP(run_after_func_first, {
    belay_ctx c = belay_with_cancel(p);
    belay_stop(belay_after_func(c, bench_nothing, NULL));
    belay_close(c);
})

static _Atomic long told;
static void tell(void *arg) {
    (void)arg;
    atomic_fetch_add_explicit(&told, 1, memory_order_relaxed);
}

LOOP(run_on_done, {
    belay_ctx c = belay_with_cancel(p);
    (void)belay_on_done(c, tell, NULL);
    belay_close(c);
})

/* --- Trees: derive, cancel the top, close them all ---------------------------------------------------------------- */

static void setup_tree(bench *b) { b->state = calloc((size_t)b->size, sizeof(belay_ctx)); }
static void teardown_tree(bench *b) { free(b->state); }

static void end_tree(bench *b, belay_ctx top) {
    belay_ctx *nodes = b->state;
    belay_cancel(top);
    for (long i = 0; i < b->size; i++) belay_close(nodes[i]);
    belay_close(top);
}

static void trees(bench *b, int chain, int listen) {
    belay_ctx *nodes = b->state;
    for (uint64_t n = 0; n < b->n; n++) {
        belay_ctx top = belay_with_cancel(belay_background()), parent = top;
        for (long i = 0; i < b->size; i++) {
            nodes[i] = belay_with_cancel(parent);
            if (listen) (void)belay_on_done(nodes[i], tell, NULL);
            if (chain) parent = nodes[i];
        }
        end_tree(b, top);
    }
}

static void run_fan(bench *b) { trees(b, 0, 0); }
static void run_fan_listening(bench *b) { trees(b, 0, 1); }
static void run_chain(bench *b) { trees(b, 1, 0); }
static void run_chain_listening(bench *b) { trees(b, 1, 1); }

/* --- From the cancel in one thread to the waiter's return in another ---------------------------------------------- */

enum { WAKES = 500 };
static belay_ctx wake_ctx;
static sem_t wake_ready, wake_done;
static _Atomic int64_t woken_at;

static void *wait_for_end(void *arg) {
    (void)arg;
    for (int i = 0; i < WAKES; i++) {
        sem_wait(&wake_ready);
        belay_wait(wake_ctx, BELAY_FOREVER);
        woken_at = bench_now();
        sem_post(&wake_done);
    }
    return NULL;
}

static void run_wake(bench *b) {
    static double took[WAKES];
    pthread_t waiter;
    sem_init(&wake_ready, 0, 0);
    sem_init(&wake_done, 0, 0);
    bench_check(pthread_create(&waiter, NULL, wait_for_end, NULL) == 0, "no thread");
    for (int i = 0; i < WAKES; i++) {
        wake_ctx = belay_with_cancel(belay_background());
        sem_post(&wake_ready);
        bench_sleep(100000); /* it sleeps by now */
        int64_t before = bench_now();
        belay_cancel(wake_ctx);
        sem_wait(&wake_done);
        took[i] = (double)(woken_at - before);
        belay_close(wake_ctx);
    }
    pthread_join(waiter, NULL);
    bench_value(b, bench_quantile(took, WAKES, 0.5) / 1000);
}

/* --- Bytes held ------------------------------------------------------------------------------------------------- */

enum { HELD = 200000 };

static void bytes_held(bench *b, belay_ctx (*make)(void)) {
    belay_ctx *held = malloc(HELD * sizeof *held);
    for (long i = 0; i < HELD; i++) held[i].bits = 1; /* in memory before it counts */
    long before = bench_resident();
    for (long i = 0; i < HELD; i++) held[i] = make();
    bench_value(b, (double)(bench_resident() - before) / HELD);
    for (long i = 0; i < HELD; i++) belay_close(held[i]);
    free(held);
}

static belay_ctx make_cancel(void) { return belay_with_cancel(belay_background()); }
static belay_ctx make_timeout(void) { return belay_with_timeout(belay_background(), BELAY_SEC(300)); }
static belay_ctx make_listened(void) {
    belay_ctx c = belay_with_timeout(belay_background(), BELAY_SEC(300));
    (void)belay_on_done(c, tell, NULL);
    return c;
}
static void run_bytes_cancel(bench *b) { bytes_held(b, make_cancel); }
static void run_bytes_timeout(bench *b) { bytes_held(b, make_timeout); }
static void run_bytes_listened(bench *b) { bytes_held(b, make_listened); }

/* --- A request, as cexamples/server.c makes it ------------------------------------------------------------------- */

static const belay_key REQUEST_ID = {"request id"}, CLIENT = {"client"};

LOOP(run_request, {
    belay_ctx arrival = belay_with_timeout_cause(p, BELAY_SEC(2), 408, "the request took too long to arrive");
    BENCH_USE(belay_remaining(arrival));
    belay_ctx with_id = belay_with_value(p, &REQUEST_ID, (void *)(uintptr_t)(i + 1), NULL);
    belay_ctx with_client = belay_with_value(with_id, &CLIENT, (void *)(uintptr_t)&CLIENT, NULL);
    belay_ctx request = belay_with_timeout_cause(with_client, BELAY_SEC(10), 504, "budget used up");
    for (int call = 0; call < 3; call++) {
        belay_ctx one = belay_with_timeout(request, BELAY_SEC(1));
        BENCH_USE(belay_is_done(one));
        belay_close(one);
    }
    BENCH_USE(belay_remaining(request));
    BENCH_USE(belay_value(request, &CLIENT));
    BENCH_USE(belay_value(request, &REQUEST_ID));
    belay_ctx detached = belay_without_cancel(request);
    belay_ctx answering = belay_with_timeout(detached, BELAY_SEC(1));
    BENCH_USE(belay_value(answering, &REQUEST_ID));
    belay_close(answering);
    belay_close(detached);
    belay_close(request);
    belay_close(with_client);
    belay_close(with_id);
    belay_close(arrival);
})

#define PARENT bench_parent, bench_close
#define TREE setup_tree, teardown_tree
#define FAN(n)                                                                  \
    {"tree.fan." #n, run_fan, n, BENCH_EACH, TREE},                             \
    {"tree.fan.listening." #n, run_fan_listening, n, BENCH_EACH, TREE}
#define CHAIN(n)                                                                \
    {"tree.chain." #n, run_chain, n, BENCH_EACH, TREE},                         \
    {"tree.chain.listening." #n, run_chain_listening, n, BENCH_EACH, TREE}

BENCH_CASES(
    {"listen.after_func", run_after_func, 0, BENCH_ONE, PARENT},
    {"listen.after_func.first", run_after_func_first, 0, BENCH_ONE, PARENT},
    {"listen.on_done", run_on_done, 0, BENCH_ONE, PARENT},
    {"listen.wake", run_wake, 0, BENCH_VALUE, NULL, NULL},
    FAN(1), FAN(100), FAN(10000), FAN(100000),
    CHAIN(1), CHAIN(10), CHAIN(100), CHAIN(1000),
    {"bytes.cancel", run_bytes_cancel, 0, BENCH_VALUE, NULL, NULL},
    {"bytes.timeout", run_bytes_timeout, 0, BENCH_VALUE, NULL, NULL},
    {"bytes.listened", run_bytes_listened, 0, BENCH_VALUE, NULL, NULL},
    {"request", run_request, 0, BENCH_ONE, PARENT})
