/*
 * callbacks-not-threads.c — being told of an end: a thread that waits for it, or a callback.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

#include <pthread.h>
#include <stdatomic.h>

struct session { belay_ctx ctx; pthread_t watcher; atomic_int cleaned; };

static void clean_up(void *session) { ((struct session *)session)->cleaned++; }

static void *watch(void *session) {
    (void)belay_wait(((struct session *)session)->ctx, BELAY_FOREVER);
    clean_up(session);
    return NULL;
}

static bool before(struct session *session) {
    return pthread_create(&session->watcher, NULL, watch, session) == 0;
}

static bool after(struct session *session) { return belay_after_func(session->ctx, clean_up, session).bits != 0; }

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static belay_ctx server;

static void open_server(void) { server = belay_with_cancel(belay_background()); }
static void close_server(void) { belay_close(server); }

static void open_session(struct session *session, bool side(struct session *)) {
    session->ctx = belay_with_cancel(server);
    session->cleaned = 0;
    bench_check(side(session), "no watcher");
}

static void close_session(struct session *session, bool side(struct session *)) {
    belay_close(session->ctx);
    if (side == before) pthread_join(session->watcher, NULL);
    while (session->cleaned == 0) bench_sleep(1000);
}

/* 200 sessions are opened, then closed. */
enum { SESSIONS = 200, MANY = 100000 };
static inline void request(bool side(struct session *)) {
    static struct session sessions[SESSIONS];
    for (int i = 0; i < SESSIONS; i++) open_session(&sessions[i], side);
    for (int i = 0; i < SESSIONS; i++) close_session(&sessions[i], side);
}

/* What n watchers take at rest, each: threads, and bytes of memory beside what the session itself has. */
static void at_rest(bench *b, bool side(struct session *), long n, bool threads) {
    struct session *sessions = malloc((size_t)n * sizeof *sessions);
    bench_check(sessions != NULL, "no memory");
    memset(sessions, 1, (size_t)n * sizeof *sessions);
    double from = (double)(threads ? lever_threads() : bench_resident());
    for (long i = 0; i < n; i++) open_session(&sessions[i], side);
    bench_sleep(50000000);
    bench_value(b, ((double)(threads ? lever_threads() : bench_resident()) - from) / (double)n);
    for (long i = 0; i < n; i++) close_session(&sessions[i], side);
    free(sessions);
}
static void threads_before(bench *b) { at_rest(b, before, 1000, true); }
static void threads_after(bench *b) { at_rest(b, after, MANY, true); }
static void bytes_before(bench *b) { at_rest(b, before, 1000, false); }
static void bytes_after(bench *b) { at_rest(b, after, MANY, false); }

LEVER(open_server, close_server, LEVER_COUNT("before.threads-a-watcher", threads_before),
      LEVER_COUNT("after.threads-a-watcher", threads_after), LEVER_COUNT("before.bytes-at-rest", bytes_before),
      LEVER_COUNT("after.bytes-at-rest", bytes_after))
