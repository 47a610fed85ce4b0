/*
 * signals.c — Ctrl-C as the end of a context: which signal it was, a grace period, and a handler of one's own.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The program sends its signals to itself. In a server they come from the terminal or from the supervisor.
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <signal.h>
#include <string.h>

static void wait_for_a_signal(void) {
    static const int stop[] = {SIGTERM, SIGINT};
    belay_ctx serving = belay_with_cancel(belay_background());
    belay_ctx accepting = belay_notify_signals(serving, stop, 2);
    belay_ctx request = belay_with_timeout(serving, BELAY_SEC(60));
    raise(SIGTERM);
    (void)belay_wait(accepting, BELAY_FOREVER);
    belay_cause why;
    CHECK(belay_cause_of(accepting, &why) && strcmp(why.message, "signal 15 (SIGTERM)") == 0, "it says what ended it");
    CHECK(belay_signal_of(accepting) == SIGTERM, "for people, and for programs");
    CHECK(!belay_is_done(request), "no new work now; what is under way goes on");

    /* The first signal asks, the second one means it. Both are ours until the contexts are closed: nothing is killed. */
    belay_ctx grace = belay_notify_signals(serving, stop, 2);
    raise(SIGINT);
    CHECK(belay_wait(grace, BELAY_SEC(30)) == BELAY_CANCELED, "the second one cuts the grace period short");
    CHECK(belay_signal_of(grace) == SIGINT && belay_signal_of(accepting) == SIGTERM, "each has the one that ended it");
    belay_cancel_cause(serving, 503, "shutting down");
    CHECK(belay_is_done(request), "now the rest ends");
    CHECK(belay_signal_of(request) == 0, "by a cancel of our own, and not by a signal");
    belay_close(request);
    belay_close(grace);
    belay_close(accepting);
    belay_close(serving);
}

/* A handler of one's own may cancel a context that was made for it. It may do little else. */
static belay_ctx from_handler;
static void on_alarm(int number) {
    (void)number;
    (void)belay_cancel(from_handler);
}

static void cancel_from_a_handler(void) {
    from_handler = belay_notify_signals(belay_background(), NULL, 0);
    belay_ctx child = belay_with_cancel(from_handler);
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    raise(SIGALRM);
    CHECK(belay_is_done(from_handler) && belay_is_done(child), "done as soon as the handler has returned");
    CHECK(belay_wait(child, BELAY_FOREVER) == BELAY_CANCELED, "and whoever waits is told");
    CHECK(belay_signal_of(from_handler) == 0, "the handler did it, not the signal");
    belay_close(child);
    belay_close(from_handler);
}

int main(void) {
    puts("SIGTERM, and then SIGINT");
    wait_for_a_signal();
    puts("from a handler of our own");
    cancel_from_a_handler();
    struct sigaction now;
    sigaction(SIGTERM, NULL, &now);
    CHECK(now.sa_handler == SIG_DFL, "with the last context closed a SIGTERM kills again");
    return 0;
}
