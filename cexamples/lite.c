/*
 * lite.c — a leaf for a hot path: one budget for a batch, and a lite context for each item in it.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * A lite context joins no list, takes no lock and keeps no reference on its parent. It can be asked, waited for, cancelled
 * and closed, and that is all: which is all that an inner loop needs.
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
    return 0;
}
