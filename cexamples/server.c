/*
 * server.c — an HTTP/1.1 server in which each request has a budget, and all the work for it stays inside.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *     server [--port N] [--workers N] [--grace-ms N] [--read-ms N] [--upstream PORT]
 *     curl -i -H 'X-Budget-Ms: 200' -H 'X-Client: ada' 'http://127.0.0.1:PORT/work?cache=5&db=20&rpc=30'
 *
 * GET or POST /work makes three calls, one after the other, to a cache, a database and a remote service. They are
 * simulated: each waits on the request's context for as many milliseconds as the query says. GET /status tells how
 * much is going on. This is the tree of contexts; what ends one ends all that hangs below it:
 *
 *     serving                      ends when the grace period after SIGTERM is over: 503, "shutting down"
 *     ├── accepting                ends with SIGTERM or SIGINT: no new work
 *     ├── grace                    ends with the second one: then the grace period is over at once
 *     │   └── arrival              one for each connection: 408 if its request is not here in time
 *     └── request id ── client …   values, for the log and for whom we ask
 *         └── request              the budget: 504 when it is used up, 499 when the client hangs up
 *
 *     answering                    has the request's values and not its end: who is too late is told so
 *
 * The codes of the causes are statuses of HTTP, so that work which ended early knows its answer.
 *
 * With --upstream the remote service is a real one: another server of this kind. The call takes along what is left of
 * the budget (grpc-timeout) and the trace it belongs to (traceparent); a request that ends early hangs up on it.
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "server_http.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

enum { CALLS = 3, MS_MAX = 600000, WORKERS_MAX = 256 };
enum { HUNG_UP = 499 };   /* for the log: nobody is there any more to be told */

static const belay_key REQUEST_ID = {"request id"};
static const belay_key CLIENT = {"client"};
static const belay_key TRACE = {"trace"};   /* a belay_traceparent, whose parent_id is this server's step */

typedef struct server {
    int listener;
    int hangups;            /* epoll: the sockets of all requests at work */
    belay_ctx serving, accepting;
    belay_ctx all_home;     /* a latch: ends when the last worker has left */
    atomic_int workers, at_work;
    atomic_uint requests;
    long port, pool, grace_ms, read_ms, upstream;
} server;

typedef struct job {
    belay_duration budget;
    long budget_ms, call_ms[CALLS];   /* the budget for people: rounded up */
    const char *reached;    /* the last thing that was begun */
} job;

static const char *const CALL_NAMES[CALLS] = {"cache", "db", "rpc"};

/* --- Who hangs up --------------------------------------------------------------------------------------------- */

static void *watch_hangups(void *arg) {
    server *s = arg;
    for (;;) {
        struct epoll_event events[16];
        int n = epoll_wait(s->hangups, events, 16, -1);
        if (n < 0 && errno != EINTR) return NULL;
        for (int i = 0; i < n; i++) {
            belay_ctx request = {events[i].data.u64};
            if (belay_is_none(request)) return NULL;   /* the event of all_home */
            /* The request may be answered and closed by now. Then its handle is stale and this does nothing: there is
             * no list to look it up in, and no lock against its end. */
            (void)belay_cancel_cause(request, HUNG_UP, "client hung up");
        }
    }
}

/* A client that closes its sending side only counts as gone too: the two cannot be told apart from here. */
static void watch_client(server *s, belay_ctx request, int fd) {
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = request.bits};
    (void)epoll_ctl(s->hangups, EPOLL_CTL_ADD, fd, &event);   /* if it fails a hang-up goes unseen, no more */
}

/* --- The work of a request ------------------------------------------------------------------------------------ */

/* What the client gives us: another server says it to the nanosecond, a person in milliseconds. */
static int parse_budget(const http_request *r, job *j, http_answer *to) {
    if (r->timeout == NULL) {
        long budget = parse_number(r->budget, j->budget_ms, MS_MAX);
        if (budget < 1) return http_say(to, 400, "X-Budget-Ms is a number from 1 to %d", MS_MAX);
        j->budget = BELAY_MS(budget);
    } else if (belay_grpc_timeout_parse(r->timeout, strlen(r->timeout), &j->budget) != BELAY_OK) {
        return http_say(to, 400, "grpc-timeout is up to eight digits and one of H, M, S, m, u, n");
    }
    if (j->budget > BELAY_MS(MS_MAX)) j->budget = BELAY_MS(MS_MAX);   /* nobody gets more from us */
    j->budget_ms = (long)((j->budget + 999999) / 1000000);
    return 0;
}

/* What is asked for. 0, or the status to refuse with. */
static int parse_job(const http_request *r, job *j, http_answer *to) {
    static const long usual_ms[CALLS] = {5, 20, 30};
    bool get = strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
    bool work = strcmp(r->path, "/work") == 0;
    if (!work && strcmp(r->path, "/status") != 0) return http_say(to, 404, "there is /work, and /status");
    if (!get && !(work && strcmp(r->method, "POST") == 0)) return http_say(to, 405, "this is not to be done here");
    int refused = parse_budget(r, j, to);
    if (refused != 0) return refused;
    for (int i = 0; i < CALLS; i++) {
        j->call_ms[i] = query_number(r, CALL_NAMES[i], usual_ms[i], MS_MAX);
        if (j->call_ms[i] < 0) return http_say(to, 400, "%s is a number from 0 to %d", CALL_NAMES[i], MS_MAX);
    }
    return 0;
}

/* The trace that a request belongs to, the one that the client named or a new one; with a step of our own. NULL without
 * memory: then there is none. */
static belay_traceparent *trace_of(const http_request *r) {
    belay_traceparent *trace = calloc(1, sizeof *trace);
    if (trace == NULL) return NULL;
    if (r->trace == NULL || belay_traceparent_parse(r->trace, strlen(r->trace), trace) != BELAY_OK) {
        (void)!getrandom(trace->trace_id, sizeof trace->trace_id, 0);
        trace->flags = BELAY_TRACE_RANDOM;
    }
    (void)!getrandom(trace->parent_id, sizeof trace->parent_id, 0);
    return trace;
}

/* The last call, to another server. What is left of the budget goes with it, less what it takes on the way. */
static int call_upstream(server *s, belay_ctx request, const job *j, http_answer *to) {
    char target[64], headers[256], timeout[BELAY_GRPC_TIMEOUT_SIZE], trace[BELAY_TRACEPARENT_SIZE];
    const belay_traceparent *ours = belay_value(request, &TRACE);
    const char *client = belay_value(request, &CLIENT);
    (void)belay_grpc_timeout_format(belay_remaining(request), timeout, sizeof timeout);   /* fits, and is never empty */
    bool traced = belay_traceparent_format(ours, trace, sizeof trace) > 0;
    snprintf(target, sizeof target, "/work?cache=0&db=0&rpc=%ld", j->call_ms[CALLS - 1]);
    snprintf(headers, sizeof headers, "X-Client: %s\r\ngrpc-timeout: %s\r\n%s%s%s", client ? client : "-", timeout,
             traced ? "traceparent: " : "", traced ? trace : "", traced ? "\r\n" : "");
    return http_get(request, s->upstream, target, headers, to);
}

/* Three calls share one budget: what the first takes is gone for the others, and nobody has to count. */
static void make_calls(server *s, belay_ctx request, job *j, http_answer *to) {
    for (int i = 0; i < CALLS; i++) {
        j->reached = CALL_NAMES[i];
        if (s->upstream != 0 && i == CALLS - 1) {
            http_answer theirs;
            if (call_upstream(s, request, j, &theirs) == 200) http_say(to, 200, "upstream: %.180s", theirs.text);
            else *to = theirs;
            return;
        }
        if (belay_wait(request, BELAY_MS(j->call_ms[i])) != BELAY_TIMEOUT) {
            http_say_cause(to, request);
            return;
        }
    }
    http_say(to, 200, "cache %ld ms, db %ld ms, rpc %ld ms; %" PRId64 " of %ld ms left", j->call_ms[0], j->call_ms[1],
             j->call_ms[2], belay_remaining(request) / 1000000, j->budget_ms);
}

static void do_work(server *s, belay_ctx request, int fd, const http_request *r, job *j, http_answer *to) {
    atomic_fetch_add(&s->at_work, 1);
    j->reached = "body";
    if (read_body(request, fd, r, to) == 0) {
        watch_client(s, request, fd);
        make_calls(s, request, j, to);
        (void)epoll_ctl(s->hangups, EPOLL_CTL_DEL, fd, NULL);
    }
    atomic_fetch_sub(&s->at_work, 1);
}

static void report_status(server *s, http_answer *to) {
    belay_sample live = {.name = "/ctx/live:contexts"};
    (void)belay_metrics_read(&live, 1);
    http_say(to, 200, "requests %u, at work %d, contexts %" PRIu64, atomic_load(&s->requests),
             atomic_load(&s->at_work), live.value);
}

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

/* Who asks is in the context, so whoever has the context can log. */
static void log_request(belay_ctx request, const job *j, const http_answer *a) {
    belay_instant deadline;
    int64_t left = belay_deadline(request, &deadline) ? (deadline - belay_now()) / 1000000 : 0;
    const char *client = belay_value(request, &CLIENT);
    char trace[BELAY_TRACEPARENT_SIZE];
    (void)belay_traceparent_format(belay_value(request, &TRACE), trace, sizeof trace);
    printf("req=%" PRIuPTR " client=%s status=%d outcome=%s reached=%s left=%" PRId64 "ms cause=\"%s\" trace=%.32s\n",
           (uintptr_t)belay_value(request, &REQUEST_ID), client ? client : "-", a->status, outcome(a->status),
           j->reached, left > 0 ? left : 0, a->status == 200 ? "" : a->text, *trace ? trace + 3 : "-");
}

/* A client's name as it may stand in a log: no blanks, no quotes, no control characters, not long. */
static char *log_name(const char *from) {
    char *name = strdup(from == NULL || *from == '\0' ? "anonymous" : from);
    for (size_t i = 0; name != NULL && name[i] != '\0'; i++) {
        if (i == 40) name[i] = '\0';
        else if (name[i] <= ' ' || name[i] > '~' || name[i] == '"') name[i] = '?';
    }
    return name;
}

/* The request that has been read, or refused with the answer in `a`: does it, logs it, answers it. */
static void serve_request(server *s, int fd, const http_request *r, int refused, http_answer *a) {
    job j = {.budget = BELAY_MS(100), .budget_ms = 100, .reached = "-"};
    if (refused == 0) refused = parse_job(r, &j, a);
    bool asks_status = refused == 0 && strcmp(r->path, "/status") == 0;

    char used_up[48];
    snprintf(used_up, sizeof used_up, "budget of %ld ms used up", j.budget_ms);
    uintptr_t id = atomic_fetch_add(&s->requests, 1) + 1;
    /* The name belongs to its context and is freed with it; a number needs no freeing. */
    BELAY_SCOPED belay_ctx with_id = belay_with_value(s->serving, &REQUEST_ID, (void *)id, NULL);
    BELAY_SCOPED belay_ctx with_client = belay_with_value(with_id, &CLIENT, log_name(r->client), free);
    BELAY_SCOPED belay_ctx with_trace = belay_with_value(with_client, &TRACE, trace_of(r), free);
    BELAY_SCOPED belay_ctx request = belay_with_timeout_cause(with_trace, j.budget, 504, used_up);

    if (asks_status) report_status(s, a);
    else if (refused == 0) do_work(s, request, fd, r, &j, a);
    if (!asks_status) log_request(request, &j, a);
    if (a->status == HUNG_UP) return;

    BELAY_SCOPED belay_ctx detached = belay_without_cancel(request);
    BELAY_SCOPED belay_ctx answering = belay_with_timeout(detached, BELAY_SEC(1));
    send_answer(answering, fd, r, a, (uintptr_t)belay_value(answering, &REQUEST_ID));
}

/* --- The server ----------------------------------------------------------------------------------------------- */

static void serve_connection(server *s, int fd) {
    http_request r = {.received = 0};
    http_answer a = {.status = 0};
    BELAY_SCOPED belay_ctx arrival =
        belay_with_timeout_cause(s->accepting, BELAY_MS(s->read_ms), 408, "the request took too long to arrive");
    int refused = read_head(arrival, fd, &r, &a);
    if (refused == 0) refused = parse_head(&r, &a);
    if (refused != HTTP_GONE) serve_request(s, fd, &r, refused, &a);
}

static void *work_till_drained(void *arg) {
    server *s = arg;
    while (wait_ready(s->accepting, s->listener, POLLIN)) {
        int fd = accept(s->listener, NULL, NULL);   /* does not block: another worker may have been faster */
        if (fd >= 0) {
            serve_connection(s, fd);
            close(fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            (void)belay_wait(s->accepting, BELAY_MS(10));   /* somebody has to close something first: do not spin */
        }
    }
    if (atomic_fetch_sub(&s->workers, 1) == 1) belay_cancel(s->all_home);
    return NULL;
}

static const int STOP[] = {SIGTERM, SIGINT};

/* New work is refused at once; old work gets the grace period, or what a second signal leaves of it, and then the same
 * news. */
static void drain(server *s) {
    belay_cause why;
    (void)belay_cause_of(s->accepting, &why);
    BELAY_SCOPED belay_ctx grace = belay_notify_signals(s->serving, STOP, 2);
    printf("draining: %d at work, %ld ms of grace; %s\n", atomic_load(&s->at_work), s->grace_ms, why.message);
    shutdown(s->listener, SHUT_RDWR);   /* connections are refused now. Not close(): a worker may be about to accept */
    belay_ctx either[] = {s->all_home, grace};
    size_t first = 0;
    bool cut_short = belay_wait_any(either, 2, BELAY_MS(s->grace_ms), &first) != BELAY_TIMEOUT;
    if (cut_short && first == 0) return;
    (void)belay_cause_of(grace, &why);
    printf("grace is over: %d at work%s%s\n", atomic_load(&s->at_work), cut_short ? "; " : "",
           cut_short ? why.message : "");
    belay_cancel_cause(s->serving, 503, "shutting down");
}

static bool listen_on_loopback(server *s) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    if (s->listener < 0) return false;
    (void)setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(s->listener, (struct sockaddr *)&address, size) != 0 || listen(s->listener, 512) != 0) return false;
    if (fcntl(s->listener, F_SETFL, O_NONBLOCK) != 0) return false;
    if (getsockname(s->listener, (struct sockaddr *)&address, &size) != 0) return false;
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    return true;
}

static bool parse_options(server *s, int argc, char **argv) {
    struct { const char *name; long *option, least, most; } known[] = {
        {"--port", &s->port, 0, 65535},
        {"--workers", &s->pool, 1, WORKERS_MAX},
        {"--grace-ms", &s->grace_ms, 0, MS_MAX},
        {"--read-ms", &s->read_ms, 1, MS_MAX},
        {"--upstream", &s->upstream, 1, 65535},
    };
    for (int i = 1; i < argc; i += 2) {
        bool taken = false;
        for (size_t k = 0; k < sizeof known / sizeof *known && i + 1 < argc; k++) {
            if (strcmp(argv[i], known[k].name) != 0) continue;
            *known[k].option = parse_number(argv[i + 1], 0, known[k].most);
            taken = *known[k].option >= known[k].least;
        }
        if (!taken) return false;
    }
    return true;
}

static int cannot_start(const char *what) {
    perror(what);
    return 1;
}

int main(int argc, char **argv) {
    static server s = {.pool = 32, .grace_ms = 500, .read_ms = 2000};
    if (!parse_options(&s, argc, argv)) {
        fprintf(stderr, "usage: server [--port N] [--workers N] [--grace-ms N] [--read-ms N] [--upstream PORT]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);   /* a line at a time, into a file too */

    signal(SIGPIPE, SIG_IGN);

    s.serving = belay_with_cancel(belay_background());
    s.accepting = belay_notify_signals(s.serving, STOP, 2);
    s.all_home = belay_with_cancel(belay_background());
    s.hangups = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event home = {.events = EPOLLIN, .data.u64 = 0};
    if (s.hangups < 0) return cannot_start("epoll_create1");
    if (epoll_ctl(s.hangups, EPOLL_CTL_ADD, belay_done_fd(s.all_home), &home) != 0) return cannot_start("epoll_ctl");
    if (!listen_on_loopback(&s)) return cannot_start("listen");

    pthread_t watcher, workers[WORKERS_MAX];
    int started = 0;
    atomic_store(&s.workers, (int)s.pool);
    if (pthread_create(&watcher, NULL, watch_hangups, &s) != 0) return cannot_start("pthread_create");
    while (started < s.pool && pthread_create(&workers[started], NULL, work_till_drained, &s) == 0) started++;
    if (started == 0) return cannot_start("pthread_create");
    atomic_fetch_sub(&s.workers, (int)s.pool - started);

    (void)belay_wait(s.accepting, BELAY_FOREVER);   /* until a signal says so */
    drain(&s);
    for (int i = 0; i < started; i++) pthread_join(workers[i], NULL);
    pthread_join(watcher, NULL);
    close(s.listener);
    close(s.hangups);
    belay_close(s.all_home);
    belay_close(s.accepting);
    belay_close(s.serving);
    printf("stopped: %u requests\n", atomic_load(&s.requests));
    return 0;
}
