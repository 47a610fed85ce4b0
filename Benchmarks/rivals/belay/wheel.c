/* wheel.c — Belay: the bare wheel of wheel.swift, without lock and clock. SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <string.h>

#define TIMER_VIRTUAL
long bench_wheel_bytes(void);
void bench_wheel_open(void *storage, uintptr_t cells);
void bench_wheel_add(void *storage, uintptr_t cells, uint32_t index, int64_t expiry);
void bench_wheel_remove(void *storage, uintptr_t cells, uint32_t index);
long bench_wheel_advance(void *storage, uintptr_t cells, int64_t instant);

static void *storage;
static uintptr_t cells; /* 64 bytes each; the first is not used, because 0 is no entry */
static int64_t now;

static void timer_open(long most) {
    size_t bytes = ((size_t)bench_wheel_bytes() + 63) / 64 * 64, cell_bytes = ((size_t)most + 1) * 64;
    storage = memset(aligned_alloc(64, bytes), 0, bytes);
    cells = (uintptr_t)memset(aligned_alloc(64, cell_bytes), 0, cell_bytes);
    bench_wheel_open(storage, cells);
    now = 0;
}

static void timer_close(void) {
    free(storage);
    free((void *)cells);
}

static inline void timer_add(long i, int64_t delay) { bench_wheel_add(storage, cells, (uint32_t)i + 1, now + delay); }
static inline void timer_cancel(long i) { bench_wheel_remove(storage, cells, (uint32_t)i + 1); }
static long timer_advance(int64_t step) { return bench_wheel_advance(storage, cells, now += step); }

#include "timer_cases.h"

BENCH_CASES(TIMER_CASES)
