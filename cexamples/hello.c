/*
 * hello.c — the program of the header's first page, made to run: work that respects the budget of its caller.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The request may take 20 ms, the fetch inside it needs 500. Nobody tells fetch() about the 20: it waits on the
 * context that it was given, and the context knows.
 */
#include <belay.h>

#include "check.h"

#include <string.h>

/* True when the work got done, false when the context ended first. */
static bool fetch(belay_ctx ctx) {
    return belay_wait(ctx, BELAY_MS(500)) == BELAY_TIMEOUT;
}

int main(void) {
    belay_ctx request = belay_with_timeout(belay_background(), BELAY_MS(20));
    CHECK(!belay_is_none(request), "a context was made");

    bool fetched = fetch(request);
    CHECK(!fetched, "the fetch gave up: 500 ms do not fit in 20");

    belay_cause why;
    CHECK(belay_cause_of(request, &why), "a context that has ended has a cause");
    printf("gave up: %s\n", why.message);
    CHECK(why.code == BELAY_DEADLINE_EXCEEDED, "the cause is the deadline");
    CHECK(strcmp(why.message, "deadline exceeded") == 0, "and says so in words");

    CHECK(belay_close(request) == BELAY_OK, "who makes a context closes it, also when it has ended by itself");
    CHECK(belay_is_done(request) && belay_err(request) == BELAY_ESTALE, "its handle is stale now, and safe to ask");
    return 0;
}
