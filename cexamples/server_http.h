/*
 * server_http.h — the HTTP of server.c: just enough of it, and none of it longer than a context allows.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Kept apart so that server.c and server_request.h show contexts. The functions are static, so that the example is
 * still one compiler call.
 * One request a connection: "Connection: close" says that the answer is complete.
 */
#ifndef BELAY_EXAMPLE_SERVER_HTTP_H
#define BELAY_EXAMPLE_SERVER_HTTP_H

#include <belay.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

enum { HTTP_HEAD_MAX = 8192, HTTP_BODY_MAX = 65536, HTTP_GONE = -1 };

typedef struct http_request {
    char head[HTTP_HEAD_MAX + 1];   /* cut into strings in place; the strings below point into it, NULL where absent */
    size_t head_length, received;
    char *method, *path, *query, *host, *client, *budget, *timeout, *trace, *length, *encoding;
    long body_length;
} http_request;

/* Ready for the next request, whose bytes will overwrite those of the last one. */
static void http_reset(http_request *r) {
    memset((char *)r + offsetof(http_request, head_length), 0, sizeof *r - offsetof(http_request, head_length));
}

typedef struct http_answer {
    int status;
    char text[200];
} http_answer;

__attribute__((format(printf, 3, 4))) static int http_say(http_answer *to, int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    to->status = status;
    vsnprintf(to->text, sizeof to->text, format, arguments);
    va_end(arguments);
    return status;
}

/* Answers work that ended for this reason. Our own causes carry a status of HTTP; the library's (a signal; a context
 * that could not be made for want of memory) do not, and mean that the server cannot serve now. */
static int http_say_why(http_answer *to, const belay_cause *why) {
    return http_say(to, why->code >= 400 && why->code <= 599 ? (int)why->code : 503, "%s", why->message);
}

static int http_say_cause(http_answer *to, belay_ctx ended) {
    belay_cause why = {.code = 500, .message = "the connection cannot be waited for"};
    (void)belay_cause_of(ended, &why);
    return http_say_why(to, &why);
}

/* --- Sockets, bounded by a context ---------------------------------------------------------------------------- */

static int poll_timeout(belay_ctx ctx, bool has_descriptor) {
    belay_duration left = belay_remaining(ctx);
    /* With no descriptor to be had (the process is out of them) the context is looked at ten times a second. */
    if (!has_descriptor && left > BELAY_MS(100)) left = BELAY_MS(100);
    if (left == BELAY_FOREVER) return -1;
    /* Rounded up: to wake a moment before the end would be a turn for nothing. */
    return left / 1000000 >= INT_MAX ? INT_MAX : (int)((left + 999999) / 1000000);
}

/* Waits until `fd` is ready. False when the context ended first: its descriptor stands beside the socket. */
static bool wait_ready(belay_ctx ctx, int fd, short events) {
    struct pollfd set[2] = {{.fd = fd, .events = events}, {.fd = belay_done_fd(ctx), .events = POLLIN}};
    while (!belay_is_done(ctx)) {
        int n = poll(set, 2, poll_timeout(ctx, set[1].fd >= 0));   /* poll skips a descriptor of -1 */
        if (n < 0 && errno != EINTR) return false;
        if (n > 0 && set[0].revents != 0) return !belay_is_done(ctx);
    }
    return false;
}

/* What recv answers: some bytes, 0 at the end of the stream, or -1, which also stands for a context that ended. */
static ssize_t receive(belay_ctx ctx, int fd, void *buffer, size_t size) {
    while (!belay_is_done(ctx)) {
        ssize_t n = recv(fd, buffer, size, MSG_DONTWAIT);
        if (n >= 0 || (errno != EAGAIN && errno != EINTR)) return n;
        if (errno == EAGAIN && !wait_ready(ctx, fd, POLLIN)) return -1;
    }
    return -1;
}

static bool send_all(belay_ctx ctx, int fd, const char *bytes, size_t length) {
    while (length > 0 && !belay_is_done(ctx)) {
        ssize_t n = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
        if (n < 0 && errno == EAGAIN && !wait_ready(ctx, fd, POLLOUT)) return false;
        if (n > 0) bytes += n, length -= (size_t)n;
    }
    return length == 0;
}

/* --- Reading. These return 0, or the status to refuse with, or HTTP_GONE if there was no request at all. ---------- */

/* Where the head ends, behind the empty line; 0 if that has not come yet. A bare LF ends a line too. */
static size_t find_head_end(const char *text, size_t length) {
    for (size_t i = 0; i + 1 < length; i++) {
        if (text[i] != '\n') continue;
        if (text[i + 1] == '\n') return i + 2;
        if (text[i + 1] == '\r' && i + 2 < length && text[i + 2] == '\n') return i + 3;
    }
    return 0;
}

static int read_head(belay_ctx ctx, int fd, http_request *r, http_answer *to) {
    while ((r->head_length = find_head_end(r->head, r->received)) == 0) {
        if (r->received == HTTP_HEAD_MAX) return http_say(to, 431, "more than %d bytes of headers", HTTP_HEAD_MAX);
        ssize_t n = receive(ctx, fd, r->head + r->received, HTTP_HEAD_MAX - r->received);
        if (n < 0 && belay_is_done(ctx)) return http_say_cause(to, ctx);
        if (n < 0 || (n == 0 && r->received == 0)) return HTTP_GONE;
        if (n == 0) return http_say(to, 400, "the request ends in the middle of its head");
        r->received += (size_t)n;
    }
    return 0;
}

/* Reads the body and throws it away: this server's work does not need it. */
static int read_body(belay_ctx ctx, int fd, const http_request *r, http_answer *to) {
    char bytes[4096];
    size_t missing = (size_t)r->body_length, here = r->received - r->head_length;
    missing -= here < missing ? here : missing;
    while (missing > 0) {
        ssize_t n = receive(ctx, fd, bytes, missing < sizeof bytes ? missing : sizeof bytes);
        if (n < 0 && belay_is_done(ctx)) return http_say_cause(to, ctx);
        if (n <= 0) return http_say(to, 400, "the body ends early");
        missing -= (size_t)n;
    }
    return 0;
}

/* A number: `fallback` where there is no text, -1 where the text is no number from 0 to `most`. */
static long parse_number(const char *text, long fallback, long most) {
    long number = 0;
    if (text == NULL) return fallback;
    if (*text == '\0') return -1;
    for (; *text >= '0' && *text <= '9'; text++) {
        if ((number = number * 10 + (*text - '0')) > most) return -1;   /* before it can overflow: most is far below */
    }
    return *text == '\0' ? number : -1;
}

/* The same for a parameter of the query. */
static long query_number(const http_request *r, const char *name, long fallback, long most) {
    size_t length = strlen(name);
    for (const char *pair = r->query; pair != NULL && *pair != '\0';) {
        size_t size = strcspn(pair, "&");
        if (size > length && strncmp(pair, name, length) == 0 && pair[length] == '=') {
            char digits[16] = "too long";
            size_t count = size - length - 1;
            if (count < sizeof digits) snprintf(digits, sizeof digits, "%.*s", (int)count, pair + length + 1);
            return parse_number(digits, fallback, most);
        }
        pair += size + (pair[size] == '&');
    }
    return fallback;
}

static int parse_request_line(http_request *r, char *line, http_answer *to) {
    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;
    if (version == NULL || target == line || target[1] != '/' || strncmp(version + 1, "HTTP/", 5) != 0) {
        return http_say(to, 400, "the first line is not METHOD /path HTTP/1.1");
    }
    if (strcmp(version + 1, "HTTP/1.1") != 0 && strcmp(version + 1, "HTTP/1.0") != 0) {
        return http_say(to, 505, "this server speaks HTTP/1.1");
    }
    *target = *version = '\0';
    r->method = line;
    r->path = target + 1;
    r->query = strchr(r->path, '?');
    if (r->query != NULL) *r->query++ = '\0';
    return 0;
}

static int parse_header(http_request *r, char *line, http_answer *to) {
    char *colon = strchr(line, ':');
    /* A blank in the name is a folded line, or a trick on a proxy in front of us: nothing to guess at. */
    if (colon == NULL || colon == line || strcspn(line, " \t") < (size_t)(colon - line)) {
        return http_say(to, 400, "a header line is not Name: value");
    }
    *colon = '\0';
    struct { const char *name; char **field; } known[] = {
        {"Host", &r->host},
        {"X-Client", &r->client},
        {"X-Budget-Ms", &r->budget},
        {"grpc-timeout", &r->timeout},
        {"traceparent", &r->trace},
        {"Content-Length", &r->length},
        {"Transfer-Encoding", &r->encoding},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcasecmp(line, known[i].name) != 0) continue;
        if (*known[i].field != NULL) return http_say(to, 400, "%s comes twice", known[i].name);
        char *value = colon + 1 + strspn(colon + 1, " \t"), *end = value + strlen(value);
        while (end > value && (end[-1] == ' ' || end[-1] == '\t')) *--end = '\0';
        *known[i].field = value;
    }
    return 0;
}

static char *next_line(char **rest) {
    char *line = *rest, *end = strchr(line, '\n');
    *rest = end + 1;   /* there is one: the head ends with an empty line */
    if (end > line && end[-1] == '\r') end--;
    *end = '\0';
    return line;
}

/* Takes the head apart, and refuses what no page of this server could want. */
static int parse_head(http_request *r, http_answer *to) {
    char *rest = r->head, *line;
    int refused;
    if (memchr(r->head, '\0', r->head_length) != NULL) return http_say(to, 400, "a NUL byte in the head");
    /* What of the body has come is counted, not kept. */
    r->head[r->head_length] = '\0';
    if ((refused = parse_request_line(r, next_line(&rest), to)) != 0) return refused;
    while (*(line = next_line(&rest)) != '\0') {
        if ((refused = parse_header(r, line, to)) != 0) return refused;
    }
    if (r->host == NULL) return http_say(to, 400, "no Host header");
    if (r->encoding != NULL) return http_say(to, 411, "say Content-Length, not Transfer-Encoding");
    if (r->length != NULL && (*r->length == '\0' || r->length[strspn(r->length, "0123456789")] != '\0')) {
        return http_say(to, 400, "Content-Length is no number");
    }
    r->body_length = parse_number(r->length, 0, HTTP_BODY_MAX);
    if (r->body_length < 0) return http_say(to, 413, "a body of more than %d bytes", HTTP_BODY_MAX);
    return 0;
}

/* --- Answering ------------------------------------------------------------------------------------------------ */

static const char *reason(int status) {
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 431: return "Request Header Fields Too Large";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Internal Server Error";
    }
}

/* The answer is out. To close on bytes that nobody has read would reset the connection, and take it back. */
static void hang_up(belay_ctx ctx, int fd) {
    char bytes[1024];
    shutdown(fd, SHUT_WR);
    while (receive(ctx, fd, bytes, sizeof bytes) > 0) continue;
}

static void send_answer(belay_ctx ctx, int fd, const http_request *r, const http_answer *a, uintptr_t request_id) {
    char bytes[1024];
    bool head_only = r->method != NULL && strcmp(r->method, "HEAD") == 0;
    int length = snprintf(bytes, sizeof bytes,
                          "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n"
                          "X-Request-Id: %zu\r\nConnection: close\r\n%s%s\r\n%s%s",
                          a->status, reason(a->status), strlen(a->text) + 1, (size_t)request_id,
                          a->status == 405 ? "Allow: GET, HEAD, POST\r\n" : "",
                          a->status == 503 ? "Retry-After: 1\r\n" : "",
                          head_only ? "" : a->text, head_only ? "" : "\n");
    if (send_all(ctx, fd, bytes, (size_t)length)) hang_up(ctx, fd);
}

/* --- Asking another server ------------------------------------------------------------------------------------ */

/* A connection to a port of this machine; -1 if there is none to be had before the context ends. */
static int connect_loopback(belay_ctx ctx, long port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int error = 0, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return -1;
    if (fcntl(fd, F_SETFL, O_NONBLOCK) == 0
        && (connect(fd, (struct sockaddr *)&address, sizeof address) == 0
            || (errno == EINPROGRESS && wait_ready(ctx, fd, POLLOUT)
                && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error}) == 0 && error == 0))) {
        return fd;
    }
    close(fd);
    return -1;
}

/* Takes an answer that has come apart. A server that says nonsense is one that cannot be asked. */
static int parse_answer(char *bytes, http_answer *to) {
    char *body = strstr(bytes, "\r\n\r\n");
    char digits[4] = "";
    if (body == NULL || strncmp(bytes, "HTTP/1.1 ", 9) != 0) return http_say(to, 502, "the rpc's answer is none");
    snprintf(digits, sizeof digits, "%.3s", bytes + 9);
    long status = parse_number(digits, -1, 599);
    body += 4;
    body[strcspn(body, "\r\n")] = '\0';
    if (status < 200) return http_say(to, 502, "the rpc's answer is none");
    return http_say(to, (int)status, "%s", body);
}

/* GET target from a server of this kind, with more header lines, each with its CRLF. The answer is the other server's;
 * or 502 if that cannot be had; or the context's end, and then the connection is closed: so the other server hears that
 * nobody waits any more. */
static int http_get(belay_ctx ctx, long port, const char *target, const char *headers, http_answer *to) {
    char bytes[2048];
    size_t received = 0;
    int fd = connect_loopback(ctx, port);
    int length =
        snprintf(bytes, sizeof bytes, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%ld\r\n%s\r\n", target, port, headers);
    bool sent = fd >= 0 && length > 0 && (size_t)length < sizeof bytes && send_all(ctx, fd, bytes, (size_t)length);
    for (ssize_t n = 1; sent && n > 0 && received < sizeof bytes - 1; received += n > 0 ? (size_t)n : 0) {
        n = receive(ctx, fd, bytes + received, sizeof bytes - 1 - received);
    }
    if (fd >= 0) close(fd);
    bytes[received] = '\0';
    if (belay_is_done(ctx)) return http_say_cause(to, ctx);
    return sent ? parse_answer(bytes, to) : http_say(to, 502, "the rpc's server cannot be reached");
}

#endif
