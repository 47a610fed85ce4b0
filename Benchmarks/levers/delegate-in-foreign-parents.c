/*
 * delegate-in-foreign-parents.c — a framework's job as a parent: asked each time, or by the context that it has inside.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

/* The framework's own: it can be asked whether it was called off. Somewhere inside there is a context of Belay's. */
struct job { bool called_off; belay_ctx ctx; long asked; };

static belay_status job_err(void *self, belay_cause *cause) {
    struct job *job = self;
    (void)cause;
    job->asked++;
    return job->called_off ? BELAY_CANCELED : BELAY_OK;
}
static belay_ctx job_inner(void *self) { return ((struct job *)self)->ctx; }

static const belay_custom_ops asking = {.size = sizeof asking, .err = job_err};
static const belay_custom_ops delegating = {.size = sizeof delegating, .inner = job_inner};

static bool work(belay_ctx ctx) {
    for (int step = 0; step < 20; step++) {
        if (belay_is_done(ctx)) return false;
    }
    return true;
}

static bool before(struct job *job) {
    BELAY_SCOPED belay_ctx parent = belay_custom(&asking, job);
    BELAY_SCOPED belay_ctx ctx = belay_with_timeout(parent, BELAY_SEC(1));
    return work(ctx);
}

static bool after(struct job *job) {
    BELAY_SCOPED belay_ctx parent = belay_custom(&delegating, job);
    BELAY_SCOPED belay_ctx ctx = belay_with_timeout(parent, BELAY_SEC(1));
    return work(ctx);
}

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static struct job job;

static void open_job(void) { job = (struct job){.ctx = belay_with_cancel(belay_background())}; }
static void close_job(void) { belay_close(job.ctx); }
static inline void request(bool side(struct job *)) { bench_check(side(&job), "the job was called off"); }

static void asked_before(bench *b) { LEVER_PER_REQUEST(b, before, job.asked); }
static void asked_after(bench *b) { LEVER_PER_REQUEST(b, after, job.asked); }

LEVER(open_job, close_job, LEVER_COUNT("before.calls-of-the-source", asked_before),
      LEVER_COUNT("after.calls-of-the-source", asked_after))
