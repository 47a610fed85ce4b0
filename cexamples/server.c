/*
 * server.c — an HTTP/1.1 server in which each request has a budget, and all the work for it stays inside.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *     server [--port N] [--workers N] [--grace-ms N] [--read-ms N] [--upstream PORT]
 *     curl -i -H 'X-Budget-Ms: 200' -H 'X-Client: ada' 'http://127.0.0.1:PORT/work?cache=5&db=20&rpc=30'
 *
 * GET or POST /work makes three calls: to a cache first, then to a database and a remote service at the same time.
 * They are simulated: each waits on its context for as many milliseconds as the query says. GET /status tells how much
 * is going on. This is the tree of contexts; what ends one ends all that hangs below it:
 *
 *     serving                      ends when the grace period after SIGTERM is over: 503, "shutting down"
 *     ├── accepting                ends with SIGTERM or SIGINT: no new work
 *     │   └── arrival              one for each connection: 408 if its request is not here in time
 *     ├── grace                    ends with the second one: then the grace period is over at once
 *     └── data                     the request's struct, from a pool: buffers, who asks, the trace, what came of it
 *         └── id                   a value: the request's number
 *             └── request          the budget: 504 when it is used up, 499 when the client hangs up
 *                 └── group        the database and the remote service: the first to fail stops the other
 *
 *     answering                    has the request's data and not its end: who is too late is told so
 *
 * The codes of the causes are statuses of HTTP, so that work which ended early knows its answer.
 *
 * With --upstream the remote service is a real one: another server of this kind. The call takes along what is left of
 * the budget (grpc-timeout) and the trace it belongs to (traceparent); a call that ends early hangs up on it.
 *
 * server_request.h has a request's data and its calls, server_http.h the HTTP.
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "server_request.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { WORKERS_MAX = 256 };

typedef struct server {
    int listener;
    int hangups;            /* epoll: the sockets of all requests at work */
    belay_ctx serving, accepting;
    belay_ctx all_home;     /* a latch: ends when the last worker has left */
    atomic_int workers, at_work;
    atomic_uint requests;
    long port, pool, grace_ms, read_ms, upstream;
} server;

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

/* --- A request ------------------------------------------------------------------------------------------------- */

static void do_work(server *s, belay_ctx ctx, int fd, request *r) {
    atomic_fetch_add(&s->at_work, 1);
    if (read_body(ctx, fd, &r->http, &r->answer) == 0) {
        watch_client(s, ctx, fd);
        make_calls(ctx, r);
        (void)epoll_ctl(s->hangups, EPOLL_CTL_DEL, fd, NULL);
    }
    atomic_fetch_sub(&s->at_work, 1);
}

static void report_status(server *s, http_answer *to) {
    belay_sample now[] = {{.name = "/ctx/live:contexts"}, {.name = "/pool/misses:gets"}};
    (void)belay_metrics_read(now, 2);
    http_say(to, 200, "requests %u, at work %d, contexts %" PRIu64 ", structs %" PRIu64, atomic_load(&s->requests),
             atomic_load(&s->at_work), now[0].value, now[1].value);
}

/* The answer to Prometheus. */
static void send_metrics(belay_ctx ctx, int fd, const http_request *r) {
    char head[160], text[BELAY_PROMETHEUS_SIZE];
    ptrdiff_t length = belay_metrics_prometheus(text, sizeof text);
    int head_length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
                               "Content-Length: %td\r\nConnection: close\r\n\r\n", length);
    bool sent = send_all(ctx, fd, head, (size_t)head_length);
    if (sent && strcmp(r->method, "HEAD") != 0) sent = send_all(ctx, fd, text, (size_t)length);
    if (sent) hang_up(ctx, fd);
}

/* The request that has been read, or refused: does it, logs it, answers it. Its struct hangs on `data`. */
static void serve_request(server *s, belay_ctx data, int fd, request *r, int refused) {
    if (refused == 0) refused = parse_request(r);
    bool asks_metrics = refused == 0 && strcmp(r->http.path, "/metrics") == 0;
    bool asks_status = asks_metrics || (refused == 0 && strcmp(r->http.path, "/status") == 0);
    note_client(r);
    note_trace(r);
    r->upstream = s->upstream;

    char used_up[48];
    snprintf(used_up, sizeof used_up, "budget of %ld ms used up", r->budget_ms);
    uintptr_t id = atomic_fetch_add(&s->requests, 1) + 1;
    BELAY_SCOPED belay_ctx with_id = belay_with_value(data, &REQUEST_ID, (void *)id, NULL);
    BELAY_SCOPED belay_ctx ctx = belay_with_timeout_cause(with_id, r->budget, 504, used_up);

    if (asks_status) report_status(s, &r->answer);
    else if (refused == 0) do_work(s, ctx, fd, r);
    if (!asks_status) log_request(ctx);
    if (r->answer.status == HUNG_UP) return;

    BELAY_SCOPED belay_ctx detached = belay_without_cancel(ctx);
    BELAY_SCOPED belay_ctx answering = belay_with_timeout(detached, BELAY_SEC(1));
    if (asks_metrics) send_metrics(answering, fd, &r->http);
    else send_answer(answering, fd, &r->http, &r->answer, (uintptr_t)belay_value(answering, &REQUEST_ID));
}

/* --- The server ----------------------------------------------------------------------------------------------- */

static void serve_connection(server *s, int fd) {
    void *item;
    BELAY_SCOPED belay_ctx data = belay_with_data(s->serving, requests, &item);
    request *r = item;
    if (r == NULL) return;   /* no memory: not even for saying so */
    BELAY_SCOPED belay_ctx arrival =
        belay_with_timeout_cause(s->accepting, BELAY_MS(s->read_ms), 408, "the request took too long to arrive");
    int refused = read_head(arrival, fd, &r->http, &r->answer);
    if (refused == 0) refused = parse_head(&r->http, &r->answer);
    if (refused != HTTP_GONE) serve_request(s, data, fd, r, refused);
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

    if (!make_request_pool(s.pool)) return cannot_start("belay_pool_new");
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
    belay_pool_free(requests);
    printf("stopped: %u requests\n", atomic_load(&s.requests));
    return 0;
}
