/*
 * tour.c — a tour in five steps: a deadline, a value, a group, a signal, and a leak to find.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * docs/tutorial.md explains it. It presses Ctrl-C by itself; `tour by-hand` leaves that to you. The leak is there to be
 * found: run it with BELAY_AUDIT=1 BELAY_PROFILE_RATE=1 in the environment.
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum causes { TOO_SLOW = 1001, NO_ROOM = 1002 }; /* codes of our own */

/* 1. A deadline with a cause. */
static belay_status work(belay_ctx ctx, belay_duration takes) { /* simulated: it waits for as long as it takes */
    belay_status waited = belay_wait(ctx, takes);
    return waited == BELAY_TIMEOUT ? BELAY_OK : waited; /* the wait's own timeout: there was time enough */
}

static void a_deadline(void) {
    belay_ctx trip = belay_with_timeout_cause(belay_background(), BELAY_MS(20), TOO_SLOW, "a trip has 20 ms");
    belay_cause why = {0};
    CHECK(work(trip, BELAY_SEC(10)) == BELAY_DEADLINE_EXCEEDED, "work that takes 10 s is given up after 20 ms");
    CHECK(belay_cause_of(trip, &why) && why.code == TOO_SLOW, "the cause says whose deadline it was");
    printf("      %s (%" PRId64 ")\n", why.message, why.code);
    CHECK(belay_close(trip) == BELAY_OK, "it is closed, although it has ended");
    CHECK(belay_is_done(trip) && belay_err(trip) == BELAY_ESTALE, "a stale handle is safe: it reads as done");
}

/* 2. A value that code far below finds. */
static const belay_key TRACE = {"trace"};

static void say(belay_ctx ctx, const char *text) {
    const char *trace = belay_value(ctx, &TRACE);
    printf("      [%s] %s\n", trace ? trace : "no trace", text);
}

static void a_value(void) {
    belay_ctx traced = belay_with_value(belay_background(), &TRACE, strdup("trip-2"), free);
    belay_ctx trip = belay_with_cancel(traced);
    CHECK(belay_cancel(traced) == BELAY_ENOCANCEL, "a value cannot be cancelled; a context under it can");
    CHECK(belay_close(traced) == BELAY_OK && !belay_is_done(trip), "closing a value ends nothing");
    say(trip, "still found");
    CHECK(belay_close(trip) == BELAY_OK, "the last context that could see the text is closed: it is freed");
}

/* 3. Workers that share a budget, and stop together. */
typedef struct part { const char *name; belay_duration takes; int64_t error; bool here; } part;

static int64_t fetch(belay_ctx ctx, void *arg) {
    part *p = arg;
    belay_status status = work(ctx, p->takes);
    if (status != BELAY_OK) return status; /* an echo of the group's end: it hides no error */
    if (p->error != 0) return p->error;    /* an error: it ends the group's context, for all */
    p->here = true;
    say(ctx, p->name);
    return 0;
}

static belay_status fetch_all(belay_ctx parent, belay_duration time, part parts[], int count, belay_cause *why) {
    belay_ctx budget = belay_with_timeout_cause(parent, time, TOO_SLOW, "the trip's time is used up");
    belay_group group = belay_group_new(budget, 2, NULL); /* two at a time */
    for (int i = 0; i < count; i++) {
        belay_status started = belay_group_go(group, fetch, &parts[i]);
        if (started != BELAY_OK) (void)belay_group_fail(group, started, "not started");
    }
    belay_status status = belay_group_wait(group, BELAY_FOREVER, why);
    (void)belay_group_free(group);
    (void)belay_close(budget);
    return status;
}

static void a_group(void) {
    belay_ctx traced = belay_with_value(belay_background(), &TRACE, strdup("trip-3"), free);
    belay_cause why = {0};
    part good[] = {{.name = "flight", .takes = BELAY_MS(2)}, {.name = "hotel"}, {.name = "car"}};
    CHECK(fetch_all(traced, BELAY_SEC(60), good, 3, &why) == BELAY_OK && good[2].here, "all parts are here");

    part late[] = {{.name = "flight", .takes = BELAY_SEC(30)}, {.name = "hotel"}};
    CHECK(fetch_all(traced, BELAY_MS(20), late, 2, &why) == BELAY_EFAILED && why.code == TOO_SLOW, "one is late");

    part full[] = {{.name = "flight", .takes = BELAY_SEC(30)}, {.name = "hotel", .error = NO_ROOM}, {.name = "car"}};
    CHECK(fetch_all(traced, BELAY_SEC(60), full, 3, &why) == BELAY_EFAILED, "one fails: the others stop at once");
    CHECK(why.code == NO_ROOM && !full[0].here, "and its error is the group's");
    (void)belay_close(traced);
}

/* 4. SIGINT ends it all. */
static void press_ctrl_c(void *arg) {
    (void)arg;
    kill(getpid(), SIGINT);
}

static void a_signal(bool by_hand) {
    belay_ctx process = belay_notify_signals(belay_background(), (int[]){SIGINT, SIGTERM}, 2);
    belay_timer timer = belay_timer_after(process, by_hand ? BELAY_FOREVER : BELAY_MS(20), press_ctrl_c, NULL);
    part slow[] = {{.name = "flight", .takes = BELAY_SEC(90)}, {.name = "hotel", .takes = BELAY_SEC(90)}};
    belay_cause why = {0};
    CHECK(fetch_all(process, BELAY_SEC(60), slow, 2, &why) == BELAY_EFAILED, "a signal stops the workers");
    CHECK(why.code == SIGINT && belay_signal_of(process) == SIGINT, "the cause says which");
    printf("      %s\n", why.message);
    (void)belay_timer_stop_wait(timer, BELAY_FOREVER);
    CHECK(belay_close(process) == BELAY_OK, "from here on a Ctrl-C kills, as before");
}

/* 5. A leak: on one path the context is not closed. */
static bool careless(belay_ctx ctx) {
    belay_ctx hurry = belay_with_timeout(ctx, BELAY_MS(1));
    if (work(hurry, BELAY_SEC(10)) != BELAY_OK) return false; /* and who closes it? */
    return belay_close(hurry) == BELAY_OK;
}

static bool careful(belay_ctx ctx) {
    BELAY_SCOPED belay_ctx hurry = belay_with_timeout(ctx, BELAY_MS(1)); /* closed on every path */
    return work(hurry, BELAY_SEC(10)) == BELAY_OK;
}

static bool are_open(uint64_t contexts) { /* or soon are: a thread that ends one may be in it a moment longer */
    belay_sample live = {.name = "/ctx/live:contexts"};
    for (int i = 0; i < 5000; i++) {
        if (belay_metrics_read(&live, 1) == BELAY_OK && live.value == contexts) return true;
        (void)belay_wait(belay_background(), BELAY_MS(1));
    }
    return false;
}

static void a_leak(void) {
    CHECK(!careful(belay_background()) && are_open(0), "all that was derived so far is closed");
    CHECK(!careless(belay_background()) && are_open(1), "one is open, and nobody has its handle");
}

int main(int argc, char **argv) {
    puts("1. a deadline with a cause");
    a_deadline();
    puts("2. a value");
    a_value();
    puts("3. a group");
    a_group();
    puts("4. Ctrl-C");
    a_signal(argc > 1 && strcmp(argv[1], "by-hand") == 0);
    puts("5. a leak");
    a_leak();
    return 0;
}
