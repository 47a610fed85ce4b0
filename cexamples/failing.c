/*
 * failing.c — what cannot be made reads as done: code that checks nothing stops, it does not run on without its end.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <belay.h>

#include "check.h"

#include <string.h>

enum { MANY = 200000 };

/* Written by somebody who never looks at a status. */
static int careless_work(belay_ctx ctx) {
    int steps = 0;
    belay_ctx mine = belay_with_timeout(ctx, BELAY_SEC(60));
    while (!belay_is_done(mine) && steps < 3) steps++;
    belay_close(mine);
    return steps;
}

static void with_a_handle_that_is_none(void) {
    belay_ctx none = {0};
    belay_cause why;
    CHECK(careless_work(belay_background()) == 3, "with a context the careless code works");
    CHECK(careless_work(none) == 0, "without one it stops before its first step");
    CHECK(belay_is_none(belay_with_cancel(none)), "nothing can be derived from nothing");
    CHECK(belay_last_status() == BELAY_EINVAL, "belay_last_status says why");
    CHECK(belay_cause_of(none, &why) && why.code == BELAY_EINVAL, "and so does the cause");
    CHECK(belay_remaining(none) == 0 && belay_wait(none, BELAY_FOREVER) == BELAY_EINVAL, "no time left, no waiting");
    CHECK(belay_err((belay_ctx){0x0123456789abcdef}) == BELAY_EINVAL, "any 64 bits may be asked: an answer, no crash");
}

static void without_memory(void) {
    static belay_ctx made[MANY];
    int count = 0;
    made[count++] = belay_with_cancel(belay_background());
    (void)belay_memory_limit(1);   /* what is in use stays; no more is taken */
    while (count < MANY && !belay_is_none(made[count] = belay_with_cancel(belay_background()))) count++;
    CHECK(count < MANY && belay_last_status() == BELAY_ENOMEM, "at the limit a derivation fails, with BELAY_ENOMEM");
    CHECK(careless_work(belay_background()) == 0, "the careless code stops");
    CHECK(!belay_is_done(made[0]), "what was made before is not affected");

    belay_close(made[--count]);
    CHECK(careless_work(belay_background()) == 3, "once something is freed, work goes on");
    while (count > 0) belay_close(made[--count]);
    (void)belay_memory_limit(0);
}

int main(void) {
    printf("Belay %s\n", belay_version());
    CHECK(strcmp(belay_version(), BELAY_VERSION) == 0, "the library that runs is of the header's version");
    puts("with a handle that is none");
    with_a_handle_that_is_none();
    puts("without memory");
    without_memory();
    return 0;
}
