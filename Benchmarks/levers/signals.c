/*
 * signals.c — a signal that ends a context: a handler, a pipe and a thread of one's own, or one call.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static int pipe_ends[2];

static void handler(int number) {
    char byte = (char)number;
    if (write(pipe_ends[1], &byte, 1) != 1) { /* full: the reader has news enough */ }
}

static void *reader(void *arg) {
    char number;
    if (read(pipe_ends[0], &number, 1) == 1 && number != 0) belay_cancel_cause(*(belay_ctx *)arg, number, "a signal");
    return NULL;
}

static void before(void serve(belay_ctx ctx)) {
    belay_ctx ctx = belay_with_cancel(belay_background());
    struct sigaction action = {.sa_handler = handler}, old;
    pthread_t thread;
    if (pipe(pipe_ends) != 0 || pthread_create(&thread, NULL, reader, &ctx) != 0) abort();
    sigaction(SIGUSR1, &action, &old);
    serve(ctx);
    sigaction(SIGUSR1, &old, NULL);
    handler(0);                       /* so that the reader goes, if no signal came */
    pthread_join(thread, NULL);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    belay_close(ctx);
}

static void after(void serve(belay_ctx ctx)) {
    BELAY_SCOPED belay_ctx ctx = belay_notify_signals(belay_background(), (int[]){SIGUSR1}, 1);
    serve(ctx);
}

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static long most_threads;

static void serve_until_signalled(belay_ctx ctx) {
    raise(SIGUSR1);
    bench_check(belay_wait(ctx, BELAY_SEC(10)) == BELAY_CANCELED, "the signal did not end it");
}

static void serve_counting(belay_ctx ctx) {
    most_threads = lever_threads();
    serve_until_signalled(ctx);
}

/* Most servers have timers, so the driver is there already. */
static void nothing(void *arg) { (void)arg; }
static void start_driver(void) { (void)belay_timer_after(belay_background(), BELAY_SEC(3600), nothing, NULL); }

static inline void request(void side(void serve(belay_ctx))) { side(serve_until_signalled); }

/* Threads beside the main one and the driver. */
static void threads_before(bench *b) {
    before(serve_counting);
    bench_value(b, (double)(most_threads - 2));
}
static void threads_after(bench *b) {
    after(serve_counting);
    bench_value(b, (double)(most_threads - 2));
}

LEVER(start_driver, NULL, LEVER_COUNT("before.threads-of-its-own", threads_before), LEVER_COUNT("after.threads-of-its-own", threads_after))
