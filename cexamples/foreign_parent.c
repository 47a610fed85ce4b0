/*
 * foreign_parent.c — your framework's own cancellation as a parent: a plain flag, and a source that calls back.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * However many contexts hang on a wrapper, its source sees one registration or one poll. No thread waits for it.
 */
#include <belay.h>

#include "check.h"

#include <stdatomic.h>

/* --- A flag that somebody sets. All it can do is to be asked. ------------------------------------------------------- */

static atomic_bool stop_requested;

static belay_status flag_err(void *self, belay_cause *cause) {
    (void)cause;
    return atomic_load((atomic_bool *)self) ? BELAY_CANCELED : BELAY_OK;
}

static const belay_custom_ops flag_ops = {.size = sizeof flag_ops, .err = flag_err};

/* --- A job of some framework, which calls one function when it is called off. ----------------------------------------- */

struct job { void (*called_off)(void *arg); void *arg; int registrations; };

static uint64_t job_after_func(void *self, void (*fn)(void *arg), void *arg) {
    struct job *job = self;
    job->called_off = fn;
    job->arg = arg;
    job->registrations++;
    return 1;
}

static void job_stop(void *self, uint64_t token) {
    (void)token;
    ((struct job *)self)->registrations--;
}

static const belay_custom_ops job_ops = {.size = sizeof job_ops, .after_func = job_after_func, .stop = job_stop};

static uint64_t count(const char *name) {
    belay_sample sample = {.name = name, .value = 0, .status = BELAY_OK};
    belay_metrics_read(&sample, 1);
    return sample.value;
}

static void derive_many(belay_ctx parent) {
    for (int i = 0; i < 100000; i++) belay_close(belay_with_timeout(parent, BELAY_SEC(1)));
}

int main(void) {
    belay_ctx flag = belay_custom(&flag_ops, &stop_requested), work = belay_with_timeout(flag, BELAY_SEC(10));
    derive_many(flag);
    CHECK(count("/custom/polled:contexts") == 1, "a flag can only be polled; 100,000 derivations later it is still one wrapper");
    CHECK(!belay_is_done(work), "the flag is not set");
    atomic_store(&stop_requested, true);
    CHECK(belay_is_done(work), "it is set: who asks knows at once");
    belay_close(work);
    belay_close(flag);

    struct job job = {0};
    belay_ctx wrapper = belay_custom(&job_ops, &job), step = belay_with_cancel(wrapper);
    derive_many(wrapper);
    CHECK(count("/custom/callback:contexts") == 1 && job.registrations == 1, "the job has one registration for all");
    CHECK(count("/custom/polled:contexts") == 0, "and nobody polls it");
    job.called_off(job.arg);
    CHECK(belay_err(step) == BELAY_CANCELED, "called off, it ends all that hangs on it");
    belay_close(step);
    belay_close(wrapper);
    CHECK(job.registrations == 0, "with the last context the registration has gone");

    CHECK(count("/executor/threads:threads") == 0, "no thread was started for any of this");
    return 0;
}
