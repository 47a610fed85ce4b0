/*
 * lever.h — what a pair of programs of the guide is made with: the same work, before and after one change.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * A file defines before() and after(), and request(side), which does the work once with one of them. The functions are
 * what the page in docs/ shows. At its end stands
 *
 *     LEVER(setup, teardown, LEVER_COUNT("before.threads", threads_before), …)
 *
 * where the first two may be NULL, and each further entry is a number that is counted once, beside time, allocations,
 * contexts made and listeners. scripts/bench --levers runs the pairs in turns.
 */
#ifndef BELAY_LEVER_H
#define BELAY_LEVER_H

#include "bench.h"

#include <belay.h>
#include <stdio.h>
#include <string.h>

/* What a file calls of these is counted, by each thread for itself: the requests that are counted run on the first. */
static _Thread_local long lever_made, lever_listened;
#define belay_with_cancel(...) (lever_made++, belay_with_cancel(__VA_ARGS__))
#define belay_with_timeout(...) (lever_made++, belay_with_timeout(__VA_ARGS__))
#define belay_with_value(...) (lever_made++, belay_with_value(__VA_ARGS__))
#define belay_with_data(...) (lever_made++, belay_with_data(__VA_ARGS__))
#define belay_without_cancel(...) (lever_made++, belay_without_cancel(__VA_ARGS__))
#define belay_lite(...) (lever_made++, belay_lite(__VA_ARGS__))
#define belay_local_open(...) (lever_made++, belay_local_open(__VA_ARGS__))
#define belay_custom(...) (lever_made++, belay_custom(__VA_ARGS__))
#define belay_group_new(...) (lever_made++, belay_group_new(__VA_ARGS__))
#define belay_notify_signals(...) (lever_made++, belay_notify_signals(__VA_ARGS__))
#define belay_wait(...) (lever_listened++, belay_wait(__VA_ARGS__))
#define belay_done_fd(...) (lever_listened++, belay_done_fd(__VA_ARGS__))
#define belay_after_func(...) (lever_listened++, belay_after_func(__VA_ARGS__))
#define belay_on_done(...) (lever_listened++, belay_on_done(__VA_ARGS__))

/* One measurement by name. */
static inline double lever_metric(const char *name) {
    belay_sample sample = {.name = name, .value = 0, .status = BELAY_OK};
    bench_check(belay_metrics_read(&sample, 1) == BELAY_OK, name);
    return (double)sample.value;
}

/* Threads of the process. */
static inline long lever_threads(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long threads = 0;
    bench_check(f != NULL, "cannot read /proc/self/status");
    while (fgets(line, sizeof line, f) && sscanf(line, "Threads: %ld", &threads) != 1) {}
    fclose(f);
    return threads;
}

/* How much a counter grows by a request. */
enum { LEVER_REQUESTS = 64 };
#define LEVER_PER_REQUEST(b, side, counter)                                                    \
    do {                                                                                       \
        request(side);                                                                         \
        double lever_from = (double)(counter);                                                 \
        for (int i = 0; i < LEVER_REQUESTS; i++) request(side);                                \
        bench_value(b, ((double)(counter) - lever_from) / LEVER_REQUESTS);                     \
    } while (0)

#define LEVER_COUNT(name, run) {name, run, 0, BENCH_VALUE, lever_setup, lever_teardown}

#define LEVER(setup, teardown, ...)                                                            \
    static void lever_setup(bench *b) {                                                        \
        void (*make)(void) = setup;                                                            \
        if (make != NULL) make();                                                              \
        (void)b;                                                                               \
    }                                                                                          \
    static void lever_teardown(bench *b) {                                                     \
        void (*unmake)(void) = teardown;                                                       \
        if (unmake != NULL) unmake();                                                          \
        (void)b;                                                                               \
    }                                                                                          \
    static void time_before(bench *b) { for (uint64_t i = 0; i < b->n; i++) request(before); } \
    static void time_after(bench *b) { for (uint64_t i = 0; i < b->n; i++) request(after); }   \
    static void made_before(bench *b) { LEVER_PER_REQUEST(b, before, lever_made); }            \
    static void made_after(bench *b) { LEVER_PER_REQUEST(b, after, lever_made); }              \
    static void heard_before(bench *b) { LEVER_PER_REQUEST(b, before, lever_listened); }       \
    static void heard_after(bench *b) { LEVER_PER_REQUEST(b, after, lever_listened); }         \
    BENCH_CASES({"before", time_before, 0, BENCH_ONE, lever_setup, lever_teardown},            \
                {"after", time_after, 0, BENCH_ONE, lever_setup, lever_teardown},              \
                LEVER_COUNT("before.contexts", made_before),                                   \
                LEVER_COUNT("after.contexts", made_after),                                     \
                LEVER_COUNT("before.listeners", heard_before),                                 \
                LEVER_COUNT("after.listeners", heard_after),                                   \
                __VA_ARGS__)

#endif
