/*
 * callbacks.c — being told of the end: on the executor or inline, and the three answers of belay_stop.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * A context with nothing to cancel but itself makes a good latch: belay_cancel opens it, belay_wait passes when it is
 * open. Two of them hold the callback below in the middle of its run, so that "it is running" is a fact and not luck.
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <pthread.h>

typedef struct job {
    belay_ctx begun, may_finish;   /* latches */
    int runs;
    pthread_t thread;
} job;

static void run_job(void *arg) {
    job *self = arg;
    belay_cancel(self->begun);
    (void)belay_wait(self->may_finish, BELAY_FOREVER);
    self->runs++;
    self->thread = pthread_self();
}

static void count_run(void *arg) {
    job *self = arg;
    self->runs++;
    self->thread = pthread_self();
}

static void on_the_executor(void) {
    job work = {.begun = belay_with_cancel(belay_background()), .may_finish = belay_with_cancel(belay_background())};
    belay_ctx ctx = belay_with_timeout(belay_background(), BELAY_MS(5));
    belay_reg reg = belay_after_func(ctx, run_job, &work);
    CHECK(reg.bits != 0, "registered; a registration needs no close");

    (void)belay_wait(work.begun, BELAY_FOREVER);
    CHECK(belay_err(ctx) == BELAY_DEADLINE_EXCEEDED, "the deadline came, and the callback began");
    CHECK(belay_stop(reg) == BELAY_STOP_RUNNING, "belay_stop: too late, it is running; the call did not block");
    CHECK(belay_stop_wait(reg, BELAY_MS(1)) == BELAY_TIMEOUT, "belay_stop_wait waits for it, as long as you say");
    belay_cancel(work.may_finish);
    CHECK(belay_stop_wait(reg, BELAY_FOREVER) == BELAY_STOP_GONE, "or until it has returned");
    CHECK(work.runs == 1, "then all that it wrote is visible, and `arg` may go");
    CHECK(!pthread_equal(work.thread, pthread_self()), "it ran on a thread of the pool");
    belay_close(ctx);
    belay_close(work.begun);
    belay_close(work.may_finish);
}

static void stopped_in_time(void) {
    job work = {.runs = 0};
    belay_ctx ctx = belay_with_cancel(belay_background());
    belay_reg reg = belay_after_func(ctx, count_run, &work);
    CHECK(belay_stop(reg) == BELAY_STOP_PREVENTED, "the work is finished first: the callback is called off");
    CHECK(belay_stop(reg) == BELAY_STOP_GONE, "only one stop gets that answer");
    belay_close(ctx);
    CHECK(work.runs == 0, "so closing the context, which ends it, runs nothing");
}

static void inline_where_it_ends(void) {
    job work = {.runs = 0};
    belay_ctx ctx = belay_with_cancel(belay_background());
    (void)belay_on_done(ctx, count_run, &work);
    belay_cancel(ctx);
    CHECK(work.runs == 1 && pthread_equal(work.thread, pthread_self()), "it ran inside belay_cancel, on this thread");
    (void)belay_on_done(ctx, count_run, &work);
    CHECK(work.runs == 2, "on a context that has ended it runs before the registration returns");
    belay_close(ctx);
}

int main(void) {
    puts("on the executor, at a deadline");
    on_the_executor();
    puts("stopped in time");
    stopped_in_time();
    puts("inline, for short work that does not block");
    inline_where_it_ends();
    return 0;
}
