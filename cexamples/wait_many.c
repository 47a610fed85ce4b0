/*
 * wait_many.c — the first of many: ask three replicas, take the first answer, call the others off.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each replica has a context, which it cancels with its answer as the cause; belay_wait_any waits for whichever is
 * first. The request's own context is one more in the list, so the wait cannot outlive it.
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <pthread.h>
#include <string.h>

enum { ANSWERED = 200, REPLICAS = 3, REQUEST = REPLICAS };

typedef struct replica {
    belay_ctx ctx;
    belay_duration takes;
    bool called_off;   /* written by its thread, read after the join */
} replica;

static void *ask(void *arg) {
    replica *self = arg;
    self->called_off = belay_wait(self->ctx, self->takes) != BELAY_TIMEOUT;
    if (!self->called_off) belay_cancel_cause(self->ctx, ANSWERED, "the answer is 42");
    return NULL;
}

int main(void) {
    BELAY_SCOPED belay_ctx request = belay_with_timeout(belay_background(), BELAY_SEC(3600));
    /* One that answers and two that would take until tomorrow: who is first is no matter of luck here. */
    replica replicas[REPLICAS] = {{.takes = BELAY_SEC(86400)}, {.takes = BELAY_MS(10)}, {.takes = BELAY_SEC(86400)}};
    belay_ctx any[REPLICAS + 1];
    pthread_t threads[REPLICAS];
    for (int i = 0; i < REPLICAS; i++) any[i] = replicas[i].ctx = belay_with_cancel(request);
    any[REQUEST] = request;

    size_t first = 99;
    CHECK(belay_wait_any(any, REPLICAS + 1, BELAY_MS(1), &first) == BELAY_TIMEOUT, "nobody has been asked yet");
    CHECK(first == 99, "a timeout writes no index");

    for (int i = 0; i < REPLICAS; i++) {
        CHECK(pthread_create(&threads[i], NULL, ask, &replicas[i]) == 0, "a thread asks a replica");
    }
    CHECK(belay_wait_any(any, REPLICAS + 1, BELAY_FOREVER, &first) == BELAY_CANCELED, "one of them is done");
    CHECK(first == 1, "the index says which");
    belay_cause answer;
    CHECK(belay_cause_of(any[first], &answer) && answer.code == ANSWERED, "it answered, and did not fail");
    printf("  replica %zu: %s\n", first, answer.message);

    CHECK(!belay_is_done(request), "a child's end does not end its parent");
    belay_cancel(request);
    int called_off = 0;
    for (int i = 0; i < REPLICAS; i++) {
        pthread_join(threads[i], NULL);
        called_off += replicas[i].called_off;
        belay_close(replicas[i].ctx);
    }
    CHECK(called_off == REPLICAS - 1, "cancelling the request called the two others off");
    return 0;
}
