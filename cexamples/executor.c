/*
 * executor.c — callbacks on a thread of your own: an event loop takes what Belay has to run.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * A program with one loop that does everything wants no callback on a foreign thread. belay_set_executor gives it the
 * tasks instead; it queues them, and runs them when it gets there. So the callback below needs no lock.
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <pthread.h>

enum { ROOM = 8 };

typedef struct loop {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct { void (*run)(void *task); void *task; } queue[ROOM];
    size_t put, taken;
} loop;

/* On whatever thread a context ends: only hands over. */
static void submit(void *self, void (*run)(void *task), void *task) {
    loop *l = self;
    pthread_mutex_lock(&l->lock);
    CHECK(l->put - l->taken < ROOM, "a task has room in the queue");
    l->queue[l->put % ROOM].run = run;
    l->queue[l->put++ % ROOM].task = task;
    pthread_cond_signal(&l->filled);
    pthread_mutex_unlock(&l->lock);
}

/* One turn of the loop: waits for a task, and runs it with no lock held. */
static void turn(loop *l) {
    pthread_mutex_lock(&l->lock);
    while (l->put == l->taken) pthread_cond_wait(&l->filled, &l->lock);
    void (*run)(void *) = l->queue[l->taken % ROOM].run;
    void *task = l->queue[l->taken++ % ROOM].task;
    pthread_mutex_unlock(&l->lock);
    run(task);
}

typedef struct note {
    int calls;
    pthread_t thread;
} note;

static void take_note(void *arg) {
    note *self = arg;
    self->calls++;
    self->thread = pthread_self();
}

int main(void) {
    static loop l = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};
    note seen = {.calls = 0};
    CHECK(belay_set_executor(&(belay_executor){.submit = submit, .self = &l}) == BELAY_OK, "the loop takes callbacks");

    belay_ctx request = belay_with_timeout(belay_background(), BELAY_MS(5));
    CHECK(belay_after_func(request, take_note, &seen).bits != 0, "told of the end of a request");
    turn(&l);
    CHECK(seen.calls == 1 && belay_err(request) == BELAY_DEADLINE_EXCEEDED, "the deadline came, the loop was told");
    CHECK(pthread_equal(seen.thread, pthread_self()), "and the callback ran on the thread of the loop");

    belay_close(request);

    BELAY_SCOPED belay_ctx next = belay_with_cancel(belay_background());
    (void)belay_timer_after(next, BELAY_MS(1), take_note, &seen);
    turn(&l);
    CHECK(seen.calls == 2, "timers come the same way");
    CHECK(belay_set_executor(NULL) == BELAY_OK, "from now on the built-in pool again");
    return 0;
}
