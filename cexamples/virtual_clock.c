/*
 * virtual_clock.c — a 30-second timeout, tested in microseconds.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The code under test takes a context and knows nothing of the test. The test gives it a context of a runtime whose clock
 * is virtual: time stands still until the test moves it, so nothing is slow and nothing is left to chance.
 */
#include <belay.h>

#include "check.h"

/* --- The code under test: a session that ends when nothing was heard for 30 seconds. -------------------------------- */

struct session { belay_ctx ctx; int goodbyes; };

static void say_goodbye(void *session) { ((struct session *)session)->goodbyes++; }

static void session_open(struct session *session, belay_ctx parent) {
    session->goodbyes = 0;
    session->ctx = belay_with_timeout_cause(parent, BELAY_SEC(30), 408, "nothing was heard for 30 seconds");
    belay_after_func(session->ctx, say_goodbye, session);
}

static void session_heard(struct session *session) {
    belay_instant now = belay_runtime_now(belay_runtime_of(session->ctx));   /* by the clock that the session lives by */
    belay_set_deadline(session->ctx, now + BELAY_SEC(30));
}

/* --- The test. --------------------------------------------------------------------------------------------------------- */

int main(void) {
    belay_instant began = belay_now();
    belay_runtime_options options = {.size = sizeof options, .virtual_clock = true};
    belay_runtime runtime = belay_runtime_new(&options);
    struct session session;
    session_open(&session, belay_runtime_background(runtime));

    belay_instant start = belay_runtime_now(runtime);
    belay_runtime_poll(runtime, start + BELAY_SEC(29));
    CHECK(!belay_is_done(session.ctx), "29 seconds of silence are fine");
    session_heard(&session);
    belay_runtime_poll(runtime, start + BELAY_SEC(58));
    CHECK(!belay_is_done(session.ctx) && session.goodbyes == 0, "it was heard, so 29 more are fine");
    CHECK(belay_runtime_next(runtime) == start + BELAY_SEC(59), "the runtime knows what comes next, and when");

    belay_runtime_poll(runtime, start + BELAY_SEC(59) - 1);
    CHECK(!belay_is_done(session.ctx), "a nanosecond before the time it still lives");
    belay_runtime_poll(runtime, start + BELAY_SEC(59));
    belay_cause why;
    CHECK(belay_cause_of(session.ctx, &why) && why.code == 408, "at the time it ends");
    printf("  %s\n", why.message);
    CHECK(session.goodbyes == 1, "and its callback has run, exactly once, before the poll returned");

    belay_close(session.ctx);
    CHECK(belay_runtime_free(runtime, BELAY_FOREVER) == BELAY_OK, "the runtime goes");
    printf("  59 seconds took %.3f ms\n", (double)(belay_now() - began) / 1e6);
    return 0;
}
