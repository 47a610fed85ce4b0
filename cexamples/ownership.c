/*
 * ownership.c — who closes: the maker; and how a context gets a second owner whose life you do not know.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <pthread.h>

/* Code that is called with a context borrows it: no retain, no close, however deep. */
static bool borrow(belay_ctx ctx) {
    return !belay_is_done(ctx);
}

/* A thread that outlives the function that started it owns a reference of its own, and gives it up at the end. */
static void *upload(void *arg) {
    belay_ctx *ctx = arg;
    (void)belay_wait(*ctx, BELAY_MS(5));   /* the work */
    bool was_live = !belay_is_done(*ctx);
    belay_release(*ctx);
    return was_live ? "live" : NULL;
}

/* Code from before contexts, which has not been given one: belay_todo marks the place. */
static belay_ctx legacy(void) {
    return belay_with_cancel(belay_todo());
}

int main(void) {
    static belay_ctx shared;
    pthread_t thread;
    shared = belay_with_cancel(belay_background());
    CHECK(borrow(shared), "a borrower needs nothing");

    CHECK(belay_retain(shared) == BELAY_OK, "one more owner, before the thread starts: it cannot come too late");
    CHECK(pthread_create(&thread, NULL, upload, &shared) == 0, "the owner");
    CHECK(belay_close(shared) == BELAY_OK, "the maker closes, and goes on with something else");
    void *was_live = NULL;
    pthread_join(thread, &was_live);
    CHECK(was_live != NULL, "the context went on: only the last close ends it");
    CHECK(belay_err(shared) == BELAY_ESTALE, "that was the thread's; the handle is stale now");
    CHECK(belay_close(shared) == BELAY_ESTALE, "one close too many is harmless");
    CHECK(belay_retain(shared) == BELAY_ESTALE, "and a retain that comes too late says so");

    belay_ctx parent = belay_with_cancel(belay_background()), child = belay_with_cancel(parent);
    belay_close(parent);
    CHECK(belay_err(child) == BELAY_CANCELED, "a parent may be closed first: that ends the child");
    CHECK(belay_close(child) == BELAY_OK, "whose own owner closes it all the same");

    belay_ctx old = legacy();
    CHECK(borrow(old) && belay_todo().bits != belay_background().bits, "belay_todo is a root like the other one");
    belay_close(old);
    CHECK(belay_close(belay_background()) == BELAY_OK, "roots have no owner: closing one does nothing");
    return 0;
}
