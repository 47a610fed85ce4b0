/*
 * floor.c — what the machine itself takes: the least that a program could do for the same end.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * bench-title: the floor (a locked instruction, a clock read, malloc + free, a doubly linked list)
 */
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

static _Alignas(64) _Atomic uint64_t word;
static struct timespec seconds;

#define LOOP(name, ...)                                                                        \
    static void name(bench *b) {                                                               \
        for (uint64_t i = 0; i < b->n; i++) __VA_ARGS__                                        \
    }

LOOP(run_load, { BENCH_USE(atomic_load_explicit(&word, memory_order_acquire)); })
LOOP(run_locked, { atomic_fetch_add(&word, 1); })
LOOP(run_clock, { clock_gettime(CLOCK_MONOTONIC, &seconds); })
LOOP(run_coarse, { clock_gettime(CLOCK_MONOTONIC_COARSE, &seconds); })

/* malloc's result must be seen to be used, or the pair is optimised away. */
static void run_malloc(bench *b) {
    size_t size = (size_t)b->size;
    for (uint64_t i = 0; i < b->n; i++) {
        void *p = malloc(size);
        BENCH_USE(p);
        free(p);
    }
}

static void run_locked_threads(bench *b) { bench_threads(b, run_locked); }

/* What two threads gain where they have nothing in common at all, not even memory: a hundred additions in four chains. */
LOOP(run_additions, {
    uint64_t a = i, c = i, d = i, e = i;
    for (int k = 0; k < 25; k++) {
        a += i, c += i, d += i, e += i;
        __asm__ volatile("" : "+r"(a), "+r"(c), "+r"(d), "+r"(e));
    }
})

static void run_additions_threads(bench *b) { bench_threads(b, run_additions); }

/* The least that cancelling may be: a flag of one's own, in memory of one's own. */
LOOP(run_flag, {
    _Atomic int *flag = malloc(128);
    atomic_store_explicit(flag, 0, memory_order_relaxed);
    BENCH_USE(flag);
    atomic_store(flag, 1);
    free((void *)flag);
})

/* The least that making, asking and closing a context in a cell that others may look at can be: the line is written, its
 * state is read, and one locked instruction decides who closes it, which waits until those stores are out. */
LOOP(run_cell, {
    static _Alignas(64) _Atomic uint64_t cells[64][8];
    _Atomic uint64_t *cell = cells[i % 64];
    for (int k = 7; k >= 0; k--) atomic_store_explicit(&cell[k], i, memory_order_relaxed);
    BENCH_USE(atomic_load_explicit(&cell[0], memory_order_acquire));
    uint64_t expected = i;
    atomic_compare_exchange_strong(&cell[1], &expected, i + 1);
})

/* The least that adding a timer and stopping it can be, where any thread may stop it: a read of the clock, and a lock that
 * nobody else wants, taken and left twice. */
LOOP(run_clock_and_locks, {
    clock_gettime(CLOCK_MONOTONIC, &seconds);
    for (int k = 0; k < 2; k++) {
        uint64_t free = 0;
        atomic_compare_exchange_strong_explicit(&word, &free, 1, memory_order_acquire, memory_order_relaxed);
        atomic_store_explicit(&word, 0, memory_order_release);
    }
})
static void open_word(bench *b) { (void)b, atomic_store(&word, 0); }

/* --- Timers that are never due: a list -------------------------------------------------------------------------- */

typedef struct entry { struct entry *next, *previous; int64_t expiry; char rest[40]; } entry;
static entry *timers, head;

static void timer_open(long most) {
    timers = calloc((size_t)most, sizeof *timers);
    head.next = head.previous = &head;
}

static void timer_close(void) { free(timers); }

static inline void timer_add(long i, int64_t delay) {
    entry *e = &timers[i];
    e->expiry = delay;
    e->next = head.next;
    e->previous = &head;
    head.next->previous = e;
    head.next = e;
}

static inline void timer_cancel(long i) {
    entry *e = &timers[i];
    e->next->previous = e->previous;
    e->previous->next = e->next;
}

#define TIMER_LOOPS_ONLY
#include "timer_cases.h"

BENCH_CASES(
    {"floor.load", run_load, 0, BENCH_ONE, NULL, NULL},
    {"floor.locked", run_locked, 0, BENCH_ONE, NULL, NULL},
    {"floor.locked.threads", run_locked_threads, 2, BENCH_EACH, NULL, NULL},
    {"floor.additions", run_additions, 0, BENCH_ONE, NULL, NULL},
    {"floor.additions.threads", run_additions_threads, 2, BENCH_EACH, NULL, NULL},
    {"floor.clock", run_clock, 0, BENCH_ONE, NULL, NULL},
    {"floor.clock.coarse", run_coarse, 0, BENCH_ONE, NULL, NULL},
    {"floor.malloc", run_malloc, 128, BENCH_ONE, NULL, NULL},
    {"derive.cancel", run_flag, 0, BENCH_ONE, NULL, NULL},
    {"derive.lite.asked", run_cell, 0, BENCH_ONE, NULL, NULL},
    {"timer.churn.1000", run_clock_and_locks, 0, BENCH_ONE, open_word, NULL},
    {"timer.churn.100000", run_clock_and_locks, 0, BENCH_ONE, open_word, NULL},
    {"timer.churn.1000000", run_clock_and_locks, 0, BENCH_ONE, open_word, NULL},
    {"ask.is_done.live", run_load, 0, BENCH_ONE, NULL, NULL},
    {"ask.is_done.done", run_load, 0, BENCH_ONE, NULL, NULL},
    {"pool.64", run_malloc, 64, BENCH_ONE, NULL, NULL},
    {"pool.1024", run_malloc, 1024, BENCH_ONE, NULL, NULL},
    {"pool.8192", run_malloc, 8192, BENCH_ONE, NULL, NULL},
    TIMER_LOOP_CASES("wheel"))
