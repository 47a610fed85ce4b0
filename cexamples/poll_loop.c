/*
 * poll_loop.c — a context in an event loop: its descriptor becomes readable when the context ends.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The loop echoes what a client sends until the visit's time is up. No timer, no thread and no timeout of
 * epoll_wait is needed: the deadline arrives as one more readable descriptor.
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "a descriptor joins the poll set");
}

/* Echoes until the visit ends; answers how many bytes it echoed. */
static size_t serve(int epoll, int client, int visit_done) {
    size_t echoed = 0;
    for (bool over = false; !over;) {
        struct epoll_event events[2];
        int n = epoll_wait(epoll, events, 2, -1);
        if (n < 0 && errno != EINTR) return echoed;
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == visit_done) {
                over = true;
            } else {
                char text[64];
                ssize_t length = read(client, text, sizeof text);
                if (length > 0 && write(client, text, (size_t)length) == length) echoed += (size_t)length;
            }
        }
    }
    return echoed;
}

int main(void) {
    int pair[2], epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(epoll >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "an event loop and a client");
    belay_ctx visit = belay_with_timeout(belay_background(), BELAY_MS(30));
    int done = belay_done_fd(visit);
    CHECK(done >= 0, "the visit has a descriptor, made when it is first asked for");
    watch(epoll, pair[0]);
    watch(epoll, done);

    CHECK(write(pair[1], "hello", 5) == 5, "the client says hello, and then nothing more");
    CHECK(serve(epoll, pair[0], done) == 5, "the loop echoed it, and came back when the visit was over");
    char text[8] = "";
    CHECK(read(pair[1], text, sizeof text - 1) == 5 && strcmp(text, "hello") == 0, "the client has its echo");

    CHECK(belay_err(visit) == BELAY_DEADLINE_EXCEEDED, "the descriptor and the context agree");
    struct pollfd still = {.fd = done, .events = POLLIN};
    CHECK(poll(&still, 1, 0) == 1 && poll(&still, 1, 0) == 1, "it stays readable: nobody can miss the end");
    CHECK(belay_done_fd(visit) == done, "it is the same one, whenever you ask");

    /* The descriptor goes with the context: out of the poll set first, for its number may be used anew. */
    CHECK(epoll_ctl(epoll, EPOLL_CTL_DEL, done, NULL) == 0, "it leaves the poll set before the close");
    belay_close(visit);
    close(pair[0]);
    close(pair[1]);
    close(epoll);
    return 0;
}
