/*
 * timers.c — work for later, under a context: once, every so often, moved, stopped, and a last time after the end.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Timers run on the executor's threads. What they share with main() here is atomic and static, so that a last run may
 * still be on its way out when main() goes on.
 */
#include <belay.h>

#include "check.h"

#include <stdatomic.h>

typedef struct job {
    atomic_int runs;
    int enough;         /* after so many runs … */
    belay_ctx done;     /* … this latch opens */
} job;

static void run(void *arg) {
    job *self = arg;
    if (atomic_fetch_add(&self->runs, 1) + 1 == self->enough) belay_cancel(self->done);
}

static void once(belay_ctx ctx) {
    static job work = {.enough = 1};
    work.done = belay_with_cancel(ctx);
    belay_instant start = belay_now();
    belay_timer timer = belay_timer_after(ctx, BELAY_MS(5), run, &work);
    CHECK(timer.bits != 0, "set; a timer needs no close");
    CHECK(belay_wait(work.done, BELAY_FOREVER) == BELAY_CANCELED, "it ran");
    CHECK(belay_now() - start >= BELAY_MS(5), "not early");
    belay_close(work.done);
}

static void moved_and_stopped(belay_ctx ctx) {
    static job work = {.enough = 1};
    work.done = belay_with_cancel(ctx);
    belay_timer idle = belay_timer_after(ctx, BELAY_SEC(3600), run, &work);
    CHECK(belay_timer_reset(idle, BELAY_SEC(7200)) == BELAY_OK, "an idle timeout is pushed back at each sign of life");
    CHECK(belay_timer_reset(idle, BELAY_MS(1)) == BELAY_OK, "or pulled forward");
    (void)belay_wait(work.done, BELAY_FOREVER);
    belay_status late = belay_timer_reset(idle, BELAY_MS(1));
    CHECK(late == BELAY_STOP_RUNNING || late == BELAY_STOP_GONE, "once it runs it is not to be moved any more");

    belay_timer stopped = belay_timer_after(ctx, BELAY_SEC(3600), run, &work);
    CHECK(belay_timer_stop(stopped) == BELAY_STOP_PREVENTED, "stopped in time: it will never run");
    CHECK(belay_timer_stop(stopped) == BELAY_STOP_GONE, "only one stop gets that answer");
    CHECK(atomic_load(&work.runs) == 1, "so there was one run");
    belay_close(work.done);
}

static void every_so_often(belay_ctx ctx) {
    static job work = {.enough = 3};
    work.done = belay_with_cancel(ctx);
    belay_instant start = belay_now();
    belay_timer beat = belay_timer_every(ctx, BELAY_MS(2), run, &work);
    (void)belay_wait(work.done, BELAY_FOREVER);
    CHECK(belay_now() - start >= BELAY_MS(6), "three beats of 2 ms take 6 ms at least");
    belay_status answer = belay_timer_stop_wait(beat, BELAY_FOREVER);
    CHECK(answer == BELAY_STOP_PREVENTED || answer == BELAY_STOP_GONE, "it beats until it is stopped: nothing runs now");
    belay_close(work.done);
}

typedef struct heartbeat {
    belay_ctx request;
    belay_timer timer;         /* written before the request ends, and read after that */
    belay_ctx done;            /* a latch */
    atomic_int after_the_end;  /* runs that found the request over */
} heartbeat;

static void beat_or_tidy(void *arg) {
    heartbeat *self = arg;
    if (!belay_is_done(self->request)) return;   /* here it would do its work */
    (void)belay_timer_stop(self->timer);         /* if the end came in the middle of this run, one more would follow */
    atomic_fetch_add(&self->after_the_end, 1);
    belay_cancel(self->done);
}

static void a_last_time(belay_ctx ctx) {
    static heartbeat heart;
    heart.request = belay_with_cancel(ctx);
    heart.done = belay_with_cancel(ctx);
    heart.timer = belay_timer_every(heart.request, BELAY_MS(1), beat_or_tidy, &heart);
    (void)belay_wait(heart.request, BELAY_MS(5));
    belay_cancel(heart.request);
    (void)belay_wait(heart.done, BELAY_FOREVER);
    CHECK(belay_is_done(heart.request), "the request is over, and a run was told: what hangs on `arg` is not lost");
    (void)belay_wait(ctx, BELAY_MS(5));
    CHECK(atomic_load(&heart.after_the_end) == 1, "so it can free that: no other run comes after it");
    belay_close(heart.request);
    belay_close(heart.done);
}

int main(void) {
    BELAY_SCOPED belay_ctx ctx = belay_with_cancel(belay_background());
    puts("once");
    once(ctx);
    puts("moved, and stopped");
    moved_and_stopped(ctx);
    puts("every so often");
    every_so_often(ctx);
    puts("a last time, after its context has ended");
    a_last_time(ctx);
    return 0;
}
