/*
 * wire.c — a context crosses to another machine as headers: what is left of its time, its trace, its baggage.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * There is no network here: the caller writes a request's headers into a table, and the callee reads them from it. For
 * the same over a socket see server.c, which calls another server.
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <string.h>

/* What has to cross hangs on the context, so whoever makes a call finds it, and nobody in between passes it on. */
static const belay_key TRACE = {"trace"};     /* a belay_traceparent */
static const belay_key BAGGAGE = {"baggage"}; /* a C string, as the header has it */

typedef struct headers {
    char timeout[BELAY_GRPC_TIMEOUT_SIZE], budget[BELAY_TIMEOUT_MS_SIZE], traceparent[BELAY_TRACEPARENT_SIZE];
    char baggage[512];
} headers;

/* --- The caller ----------------------------------------------------------------------------------------------- */

/* A header that is left empty is not sent. */
static void write_headers(belay_ctx ctx, const uint8_t step[8], headers *to) {
    belay_duration left = belay_remaining(ctx);
    (void)belay_grpc_timeout_format(left, to->timeout, sizeof to->timeout);
    (void)belay_timeout_ms_format(left, to->budget, sizeof to->budget);   /* for those who do not speak gRPC */

    const belay_traceparent *trace = belay_value(ctx, &TRACE);
    if (trace != NULL) {
        belay_traceparent ours = *trace;
        memcpy(ours.parent_id, step, sizeof ours.parent_id);   /* the callee's parent is this call */
        (void)belay_traceparent_format(&ours, to->traceparent, sizeof to->traceparent);
    }
    const char *baggage = belay_value(ctx, &BAGGAGE);
    if (baggage != NULL) snprintf(to->baggage, sizeof to->baggage, "%s", baggage);
    (void)belay_baggage_set(to->baggage, sizeof to->baggage, "caller", "wire.c, on its way");
}

/* --- The callee ----------------------------------------------------------------------------------------------- */

static void *copy_of(const void *bytes, size_t size) {
    void *copy = malloc(size);
    return copy == NULL ? NULL : memcpy(copy, bytes, size);
}

/* The request's context: what the caller's context said, under one of this machine's. The values' contexts may be
 * closed at once: whoever can see a value keeps it. A header that cannot be read is as none. */
static belay_ctx read_headers(belay_ctx serving, const headers *from) {
    belay_traceparent trace;
    bool traced = belay_traceparent_parse(from->traceparent, strlen(from->traceparent), &trace) == BELAY_OK;
    BELAY_SCOPED belay_ctx with_trace =
        belay_with_value(serving, &TRACE, traced ? copy_of(&trace, sizeof trace) : NULL, free);
    BELAY_SCOPED belay_ctx with_baggage =
        belay_with_value(with_trace, &BAGGAGE, copy_of(from->baggage, sizeof from->baggage), free);

    belay_duration left = BELAY_SEC(30);   /* for callers that say nothing */
    if (belay_grpc_timeout_parse(from->timeout, strlen(from->timeout), &left) != BELAY_OK) {
        (void)belay_timeout_ms_parse(from->budget, strlen(from->budget), &left);
    }
    return belay_with_timeout_cause(with_baggage, left, 504, "the caller's time is up");
}

static void check_what_arrived(belay_ctx request, belay_duration promised) {
    char user[32], caller[32];
    const belay_traceparent *trace = belay_value(request, &TRACE);
    const char *baggage = belay_value(request, &BAGGAGE);
    belay_duration left = belay_remaining(request);
    printf("  %lld ms are left, of the %lld that were promised\n", (long long)(left / 1000000),
           (long long)(promised / 1000000));
    CHECK(left > 0 && left <= promised, "the callee has what the caller had left, and no more than was promised");
    CHECK(trace != NULL && trace->parent_id[7] == 42 && (trace->flags & BELAY_TRACE_SAMPLED),
          "its work belongs to the same trace, below the caller's step");
    CHECK(belay_baggage_get(baggage, strlen(baggage), "user", user, sizeof user) == 3 && strcmp(user, "ada") == 0,
          "the user is in the baggage");
    CHECK(belay_baggage_get(baggage, strlen(baggage), "caller", caller, sizeof caller) > 0
              && strcmp(caller, "wire.c, on its way") == 0,
          "a value with blanks and commas comes out as it went in");
    CHECK(belay_baggage_get(baggage, strlen(baggage), "password", user, sizeof user) < 0, "nobody sent a password");
}

int main(void) {
    /* Somebody asked us, and gave us two seconds. */
    belay_traceparent incoming;
    static const char header[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    CHECK(belay_traceparent_parse(header, strlen(header), &incoming) == BELAY_OK, "a traceparent is read");
    char baggage[512] = "tenant=7, user=ada;signed";

    belay_ctx budget = belay_with_timeout(belay_background(), BELAY_SEC(2));
    belay_ctx traced = belay_with_value(budget, &TRACE, &incoming, NULL);
    belay_ctx request = belay_with_value(traced, &BAGGAGE, baggage, NULL);

    /* We ask somebody else. */
    static const uint8_t step[8] = {0, 0, 0, 0, 0, 0, 0, 42};   /* a random number, in earnest */
    headers sent = {.baggage = ""};
    write_headers(request, step, &sent);
    printf("  grpc-timeout: %s\n  x-budget-ms: %s\n  traceparent: %s\n  baggage: %s\n", sent.timeout, sent.budget,
           sent.traceparent, sent.baggage);
    CHECK(strcmp(sent.traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-000000000000002a-01") == 0,
          "the same trace, and this step as the parent");
    CHECK(strcmp(sent.baggage, "tenant=7,user=ada;signed,caller=wire.c%2C%20on%20its%20way") == 0,
          "the baggage goes on, with a member more");

    /* There it is a context again. */
    belay_duration promised = 0;
    CHECK(belay_grpc_timeout_parse(sent.timeout, strlen(sent.timeout), &promised) == BELAY_OK, "the time is read");
    belay_ctx there = read_headers(belay_background(), &sent);
    check_what_arrived(there, promised);
    belay_close(there);

    /* What is refused, and what is never said. */
    belay_duration left = 7;
    CHECK(belay_grpc_timeout_parse("123456789n", 10, &left) == BELAY_EINVAL && left == 7, "nine digits are too many");
    CHECK(belay_grpc_timeout_parse("99999999H", 9, &left) == BELAY_OK && left == BELAY_FOREVER,
          "11,408 years are for ever");
    CHECK(belay_grpc_timeout_format(belay_remaining(belay_background()), sent.timeout, sizeof sent.timeout) == 0,
          "a context without a deadline has no header to send");
    belay_close(request);
    belay_close(traced);
    belay_close(budget);
    return 0;
}
