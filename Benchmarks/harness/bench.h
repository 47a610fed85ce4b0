/*
 * bench.h — what a rival's program is made with: it says which cases it knows, the harness measures them.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *     static void run_lock(bench *b) { for (uint64_t i = 0; i < b->n; i++) atomic_fetch_add(&word, 1); }
 *     BENCH_CASES({.name = "floor.lock", .run = run_lock})
 *
 * A case has the same name in every program; cases.tsv says what work the name stands for, and in which unit its result
 * is. The program that comes of it is driven by run.py over standard input (bench.c has the commands), so that several
 * can be measured in turns. For C and C++.
 */
#ifndef BELAY_BENCH_H
#define BELAY_BENCH_H

#include <stdint.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bench {
    uint64_t n;       /* how often the case is to do its work */
    long size;        /* the case's own: a depth, a number of children, of threads, of bytes */
    void *state;      /* what setup leaves for run */
    uint64_t random;
    /* The harness's own. */
    int64_t started, elapsed;
    uint64_t calls, bytes, calls_before, bytes_before;
    double value;
} bench;

typedef enum bench_kind {
    BENCH_ONE,        /* the result is time / n */
    BENCH_EACH,       /* the result is time / (n × size): per child, per thread's operation */
    BENCH_VALUE       /* run is called once, and gives its result itself with bench_value */
} bench_kind;

typedef struct bench_case {
    const char *name;
    void (*run)(bench *b);
    long size;
    bench_kind kind;
    void (*setup)(bench *b);       /* may be NULL, like the next */
    void (*teardown)(bench *b);
} bench_case;

void bench_register(const bench_case *cases, size_t n);

/* The cases of this file. */
#define BENCH_CASES(...)                                                                       \
    static const bench_case bench_these[] = {__VA_ARGS__};                                     \
    __attribute__((constructor)) static void bench_register_these(void) {                      \
        bench_register(bench_these, sizeof bench_these / sizeof bench_these[0]);               \
    }

/* What lies between pause and resume is not measured. Run is entered with the clock going. */
void bench_pause(bench *b);
void bench_resume(bench *b);

/* The result of a BENCH_VALUE case. */
void bench_value(bench *b, double value);

/* CLOCK_MONOTONIC, and the processor time of the whole process, in nanoseconds. */
int64_t bench_now(void);
int64_t bench_cpu(void);
void bench_sleep(int64_t nanoseconds);

/* Runs body(b) on b->size threads at once. What is measured goes from the first one's start to the last one's end. */
void bench_threads(bench *b, void (*body)(bench *b));

/* Bytes of anonymous memory that the process has in use, the heap's and mapped ones. */
long bench_resident(void);

/* Times that any thread of the process has gone to sleep so far. */
long bench_sleeps(void);

/* The p-th part (0 to 1) of n numbers, which are sorted by this. */
double bench_quantile(double *numbers, long n, double p);

/* Ends the program with a message if `holds` is false: a benchmark that measures a failure measures nothing. */
void bench_check(int holds, const char *what);

/* A number from 0 to 2^32 - 1. */
static inline uint64_t bench_random(bench *b) {
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random >> 32;
}

/* Makes the compiler believe that the value is used. */
#define BENCH_USE(value) __asm__ volatile("" : : "r"(value) : "memory")

#ifdef __cplusplus
}
#endif
#endif
