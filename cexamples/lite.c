/*
 * lite.c — a leaf for a hot path: one budget for a batch, and a lite context for each item in it.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * A lite context joins no list, takes no lock and keeps no reference on its parent. It can be asked, waited for, cancelled
 * and closed, and that is all: which is all that an inner loop needs. A local one is the same on the stack, for less than
 * half of the time; but its memory is then your business.
 */
#include <belay.h>

#include "check.h"

enum { ITEMS = 100000 };

/* Work on one item: it looks up now and then whether it is still wanted. */
static bool process(belay_ctx item, int number) {
    for (int step = 0; step < 3; step++) {
        if (belay_is_done(item)) return false;
    }
    return number >= 0;
}

/* The same with the context on the stack. Nobody else knows of it, so nobody uses it when this returns. */
static bool process_locally(belay_ctx batch, int number) {
    belay_local item;
    belay_local_open(&item, batch, BELAY_FOREVER);
    bool kept = true;
    for (int step = 0; step < 3 && kept; step++) kept = !belay_local_is_done(&item);
    belay_local_close(&item);
    return kept && number >= 0;
}

static void local_contexts(void) {
    belay_ctx batch = belay_with_timeout(belay_background(), BELAY_SEC(3600));
    int processed = 0;
    for (int i = 0; i < ITEMS; i++) processed += process_locally(batch, i);
    CHECK(processed == ITEMS, "every item had its own context, on the stack");

    belay_local item;
    belay_local_open(&item, batch, BELAY_MS(1));
    CHECK(belay_local_remaining(&item) <= BELAY_MS(1), "it may have a deadline");
    CHECK(belay_local_wait(&item, BELAY_FOREVER) == BELAY_DEADLINE_EXCEEDED, "and be waited for");
    belay_local_close(&item);

    belay_local_open(&item, batch, BELAY_FOREVER); /* the memory is free for the next one */
    belay_local_cancel_cause(&item, 9, "found it");
    belay_local_cancel(&item);
    belay_cause why;
    CHECK(belay_local_cause_of(&item, &why) && why.code == 9, "the first cancel is the one that counts");
    belay_local copy = item;
    CHECK(belay_local_err(&copy) == BELAY_EINVAL, "a copy is none,");
    belay_local_close(&item);
    CHECK(belay_local_err(&item) == BELAY_ESTALE, "nor is one that was closed");
    belay_close(batch);
    CHECK(belay_local_open(&item, batch, BELAY_FOREVER) == BELAY_ESTALE && belay_local_is_done(&item),
          "what could not be opened reads as done");
}

int main(void) {
    belay_ctx batch = belay_with_timeout(belay_background(), BELAY_SEC(3600));

    int processed = 0;
    for (int i = 0; i < ITEMS; i++) {
        belay_ctx item = belay_lite(batch, BELAY_FOREVER); /* no deadline of its own: no clock is read */
        processed += process(item, i);
        belay_close(item);
    }
    CHECK(processed == ITEMS, "every item had its own context");

    belay_ctx item = belay_lite(batch, BELAY_MS(1));
    CHECK(belay_wait(item, BELAY_FOREVER) == BELAY_DEADLINE_EXCEEDED, "a lite context may have a deadline, and be waited for");
    CHECK(!belay_is_done(batch), "which is its own matter");
    belay_close(item);

    item = belay_lite(batch, BELAY_FOREVER);
    CHECK(belay_is_none(belay_with_cancel(item)) && belay_last_status() == BELAY_ELEAF, "it is a leaf: no children,");
    CHECK(belay_done_fd(item) == -1 && belay_last_status() == BELAY_ELEAF, "no listeners");

    belay_cancel_cause(batch, 7, "the client hung up");
    belay_cause why;
    CHECK(!process(item, 0), "the end of the batch ends its items");
    CHECK(belay_cause_of(item, &why) && why.code == 7, "and they know why");
    printf("  stopped: %s\n", why.message);
    belay_ctx late = belay_lite(batch, BELAY_FOREVER);

    belay_close(batch);
    belay_ctx stranger = belay_with_cancel(belay_background()); /* gets the batch's memory */
    CHECK(belay_is_done(late), "a parent that is gone reads as done, never as the stranger who lives there now");
    belay_close(stranger);
    belay_close(late);
    belay_close(item);

    local_contexts();
    return 0;
}
