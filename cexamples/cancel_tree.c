/*
 * cancel_tree.c — one cancel ends a whole tree of work, on all its threads, and nothing beside it.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *     server ── request A ── page ── headline, weather, adverts     (a thread works on each of the three)
 *          └─── request B
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <pthread.h>
#include <string.h>

enum { USER_LEFT = 499, WIDGETS = 3 };

typedef struct widget {
    const char *name;
    belay_ctx ctx;
    belay_status ended;   /* written by its thread, read after the join */
    belay_cause why;
} widget;

/* The work of a widget: never finished by itself, so that only the context can end it. */
static void *render(void *arg) {
    widget *self = arg;
    self->ended = belay_wait(self->ctx, BELAY_FOREVER);
    (void)belay_cause_of(self->ctx, &self->why);
    return NULL;
}

int main(void) {
    BELAY_SCOPED belay_ctx server = belay_with_cancel(belay_background());
    BELAY_SCOPED belay_ctx request_a = belay_with_cancel(server);
    BELAY_SCOPED belay_ctx request_b = belay_with_cancel(server);
    BELAY_SCOPED belay_ctx page = belay_with_timeout(request_a, BELAY_SEC(3600));

    widget widgets[WIDGETS] = {{.name = "headline"}, {.name = "weather"}, {.name = "adverts"}};
    pthread_t threads[WIDGETS];
    for (int i = 0; i < WIDGETS; i++) {
        widgets[i].ctx = belay_with_cancel(page);
        CHECK(pthread_create(&threads[i], NULL, render, &widgets[i]) == 0, "a thread works on a widget");
    }

    puts("the user leaves: request A is cancelled");
    CHECK(belay_cancel_cause(request_a, USER_LEFT, "the user left") == BELAY_OK, "the cancel is accepted");
    bool all_done = true;
    for (int i = 0; i < WIDGETS; i++) all_done = all_done && belay_is_done(widgets[i].ctx);
    CHECK(all_done, "when the cancel returns, every descendant reads as done, at any depth");

    for (int i = 0; i < WIDGETS; i++) {
        pthread_join(threads[i], NULL);
        printf("  %s stopped: %s, because %s\n", widgets[i].name, belay_status_string(widgets[i].ended),
               widgets[i].why.message);
        CHECK(widgets[i].ended == BELAY_CANCELED, "its wait was ended on its own thread");
        CHECK(widgets[i].why.code == USER_LEFT, "and it knows the cause that was given three levels up");
    }
    CHECK(!belay_is_done(request_b) && !belay_is_done(server), "the other request and the server go on");

    puts("a second cancel of A, with another cause");
    belay_cause why;
    CHECK(belay_cancel_cause(request_a, 500, "something else") == BELAY_OK, "is harmless");
    CHECK(belay_cause_of(request_a, &why) && strcmp(why.message, "the user left") == 0, "the first verdict stays");

    belay_ctx too_late = belay_with_cancel(request_a);
    CHECK(belay_cause_of(too_late, &why) && why.code == USER_LEFT, "a child born now is done, with the same cause");
    belay_close(too_late);
    for (int i = 0; i < WIDGETS; i++) belay_close(widgets[i].ctx);
    return 0;
}
