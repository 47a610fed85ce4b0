/*
 * server_request.h — what a request of server.c has, and the calls that are made for it.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * All that a request needs while it is served is one struct from a pool. It hangs on the request's context: whoever has
 * the context finds it, and it goes back by itself when the last context that can see it is closed.
 *
 * The cache is asked first. Then the database and the remote service work at the same time, in a group: the first that
 * fails calls the other one off, and its error is the answer.
 */
#ifndef BELAY_EXAMPLE_SERVER_REQUEST_H
#define BELAY_EXAMPLE_SERVER_REQUEST_H

#include "server_http.h"

#include <inttypes.h>
#include <sys/random.h>

enum { MS_MAX = 600000, HUNG_UP = 499 };   /* 499 is for the log: nobody is there any more to be told */

typedef enum call_name { CACHE, DB, RPC, CALLS } call_name;
static const char *const CALL_NAMES[CALLS] = {"cache", "db", "rpc"};

typedef struct call {
    long ms;                /* how long it is to take, where it is simulated */
    const char *outcome;    /* "-" not begun, "ok", "failed", or "stopped": its context ended first */
} call;

typedef struct request {
    belay_duration budget;
    long budget_ms;         /* for people: rounded up */
    char client[41];
    bool db_fails;
    belay_traceparent trace;   /* the client's trace, or a new one; parent_id is this server's step */
    long upstream;          /* the port of the remote service; 0: simulated */
    call calls[CALLS];
    belay_group group;
    http_answer answer, theirs;
    http_request http;      /* with its buffer the largest part, and last: a reset leaves the buffer alone */
} request;

/* A value beside the struct: for code that has a context in hand and knows nothing of this server. */
static const belay_key REQUEST_ID = {"request id"};

/* --- The pool ------------------------------------------------------------------------------------------------- */

static belay_pool requests;

/* A request's struct comes back: forget it, and leave the eight kilobytes that the next one overwrites as they are. */
static void request_reset(void *item, void *self) {
    request *r = item;
    (void)self;
    memset(r, 0, offsetof(request, http));
    http_reset(&r->http);
    for (int i = 0; i < CALLS; i++) r->calls[i].outcome = "-";
    r->budget = BELAY_MS(r->budget_ms = 100);
}

static bool request_init(void *item, void *self) {
    request_reset(item, self);
    return true;
}

/* No more than one for each thread that serves. */
static bool make_request_pool(long cap) {
    belay_pool_desc desc = {.size = sizeof desc, .item_size = sizeof(request), .init = request_init,
                            .reset = request_reset, .cap = (size_t)cap, .name = "requests"};
    return (requests = belay_pool_new(&desc)).bits != 0;
}

/* --- What is asked for. These return 0, or the status to refuse with. -------------------------------------------- */

/* What the client gives us: another server says it to the nanosecond, a person in milliseconds. */
static int parse_budget(request *r) {
    if (r->http.timeout == NULL) {
        long budget = parse_number(r->http.budget, r->budget_ms, MS_MAX);
        if (budget < 1) return http_say(&r->answer, 400, "X-Budget-Ms is a number from 1 to %d", MS_MAX);
        r->budget = BELAY_MS(budget);
    } else if (belay_grpc_timeout_parse(r->http.timeout, strlen(r->http.timeout), &r->budget) != BELAY_OK) {
        return http_say(&r->answer, 400, "grpc-timeout is up to eight digits and one of H, M, S, m, u, n");
    }
    if (r->budget > BELAY_MS(MS_MAX)) r->budget = BELAY_MS(MS_MAX);   /* nobody gets more from us */
    r->budget_ms = (long)((r->budget + 999999) / 1000000);
    return 0;
}

static int parse_request(request *r) {
    static const long usual_ms[CALLS] = {5, 20, 30};
    const http_request *http = &r->http;
    bool get = strcmp(http->method, "GET") == 0 || strcmp(http->method, "HEAD") == 0;
    bool work = strcmp(http->path, "/work") == 0;
    if (!work && strcmp(http->path, "/status") != 0 && strcmp(http->path, "/metrics") != 0) {
        return http_say(&r->answer, 404, "there is /work, /status and /metrics");
    }
    if (!get && !(work && strcmp(http->method, "POST") == 0)) {
        return http_say(&r->answer, 405, "this is not to be done here");
    }
    int refused = parse_budget(r);
    for (int i = 0; refused == 0 && i < CALLS; i++) {
        r->calls[i].ms = query_number(http, CALL_NAMES[i], usual_ms[i], MS_MAX);
        if (r->calls[i].ms < 0) {
            refused = http_say(&r->answer, 400, "%s is a number from 0 to %d", CALL_NAMES[i], MS_MAX);
        }
    }
    r->db_fails = query_number(http, "db-fails", 0, 1) == 1;
    return refused;
}

/* A client's name as it may stand in a log: no blanks, no quotes, no control characters, not long. */
static void note_client(request *r) {
    const char *from = r->http.client;
    snprintf(r->client, sizeof r->client, "%s", from == NULL || *from == '\0' ? "anonymous" : from);
    for (char *c = r->client; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~' || *c == '"') *c = '?';
    }
}

/* The trace that it belongs to, the one that the client named or a new one; with a step of our own. */
static void note_trace(request *r) {
    const char *theirs = r->http.trace;
    if (theirs == NULL || belay_traceparent_parse(theirs, strlen(theirs), &r->trace) != BELAY_OK) {
        (void)!getrandom(r->trace.trace_id, sizeof r->trace.trace_id, 0);
        r->trace.flags = BELAY_TRACE_RANDOM;
    }
    (void)!getrandom(r->trace.parent_id, sizeof r->trace.parent_id, 0);
}

/* --- The calls ------------------------------------------------------------------------------------------------ */

static int64_t call_ended(request *r, call_name which, const char *outcome, int64_t code) {
    r->calls[which].outcome = outcome;
    return code;
}

/* A task of the group that fails says more than a number. If it is the first, its error ends the other one. */
static int64_t call_failed(request *r, call_name which, int status, const char *why) {
    (void)belay_group_fail(r->group, status, why);
    return call_ended(r, which, "failed", status);
}

/* A call that waits for its answer. What the context's end makes of it is only an echo, which hides no error. */
static int64_t simulate(belay_ctx ctx, request *r, call_name which) {
    belay_status waited = belay_wait(ctx, BELAY_MS(r->calls[which].ms));
    if (waited != BELAY_TIMEOUT) return call_ended(r, which, "stopped", waited);
    return call_ended(r, which, "ok", 0);
}

static int64_t call_database(belay_ctx ctx, void *arg) {
    request *r = arg;
    int64_t ended = simulate(ctx, r, DB);
    return ended == 0 && r->db_fails ? call_failed(r, DB, 502, "the database failed") : ended;
}

/* To another server. What is left of the budget goes with it, less what it takes on the way. */
static int call_upstream(belay_ctx ctx, request *r) {
    char target[64], headers[256], timeout[BELAY_GRPC_TIMEOUT_SIZE], trace[BELAY_TRACEPARENT_SIZE];
    (void)belay_grpc_timeout_format(belay_remaining(ctx), timeout, sizeof timeout);   /* fits, and is never empty */
    bool traced = belay_traceparent_format(&r->trace, trace, sizeof trace) > 0;
    snprintf(target, sizeof target, "/work?cache=0&db=0&rpc=%ld", r->calls[RPC].ms);
    snprintf(headers, sizeof headers, "X-Client: %s\r\ngrpc-timeout: %s\r\n%s%s%s", r->client, timeout,
             traced ? "traceparent: " : "", traced ? trace : "", traced ? "\r\n" : "");
    return http_get(ctx, r->upstream, target, headers, &r->theirs);
}

static int64_t call_rpc(belay_ctx ctx, void *arg) {
    request *r = arg;
    if (r->upstream == 0) return simulate(ctx, r, RPC);
    int status = call_upstream(ctx, r);
    if (belay_is_done(ctx)) return call_ended(r, RPC, "stopped", belay_err(ctx));
    return status == 200 ? call_ended(r, RPC, "ok", 0) : call_failed(r, RPC, status, r->theirs.text);
}

/* The calls share one budget: what the first takes is gone for the others, and nobody has to count. */
static void make_calls(belay_ctx ctx, request *r) {
    belay_cause why = {.code = 503, .message = "no memory"};
    if (simulate(ctx, r, CACHE) != 0) {
        http_say_cause(&r->answer, ctx);
        return;
    }
    r->group = belay_group_new(ctx, BELAY_UNLIMITED, NULL);
    bool started = belay_group_go(r->group, call_database, r) == BELAY_OK
        && belay_group_go(r->group, call_rpc, r) == BELAY_OK;
    if (!started) (void)belay_group_fail(r->group, why.code, why.message);
    belay_status worked = belay_group_wait(r->group, BELAY_FOREVER, &why);
    (void)belay_group_free(r->group);
    if (!started || worked != BELAY_OK) http_say_why(&r->answer, &why);
    else if (r->upstream != 0) http_say(&r->answer, 200, "upstream: %.180s", r->theirs.text);
    else http_say(&r->answer, 200, "cache %ld ms, db %ld ms, rpc %ld ms; %" PRId64 " of %ld ms left",
                  r->calls[CACHE].ms, r->calls[DB].ms, r->calls[RPC].ms, belay_remaining(ctx) / 1000000, r->budget_ms);
}

/* --- The log -------------------------------------------------------------------------------------------------- */

static const char *outcome(int status) {
    switch (status) {
    case 200: return "ok";
    case 408:
    case 504: return "late";
    case HUNG_UP: return "hung-up";
    case 502:
    case 503: return "unavailable";
    default: return "refused";
    }
}

/* Needs nothing but the context: all that it says hangs there. */
static void log_request(belay_ctx ctx) {
    const request *r = belay_data(ctx, requests);
    belay_instant deadline;
    int64_t left = belay_deadline(ctx, &deadline) ? (deadline - belay_now()) / 1000000 : 0;
    char trace[BELAY_TRACEPARENT_SIZE];
    (void)belay_traceparent_format(&r->trace, trace, sizeof trace);
    printf("req=%" PRIuPTR " client=%s status=%d outcome=%s cache=%s db=%s rpc=%s left=%" PRId64 "ms cause=\"%s\" "
           "trace=%.32s\n", (uintptr_t)belay_value(ctx, &REQUEST_ID), r->client, r->answer.status,
           outcome(r->answer.status), r->calls[CACHE].outcome, r->calls[DB].outcome, r->calls[RPC].outcome,
           left > 0 ? left : 0, r->answer.status == 200 ? "" : r->answer.text, *trace ? trace + 3 : "-");
}

#endif
