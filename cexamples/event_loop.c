/*
 * event_loop.c — a runtime that lives in your own event loop: no thread of Belay's, all callbacks on the loop's thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The loop watches one descriptor of the runtime beside its own. It is readable when a timer or a deadline has come, or
 * when another thread has added or cancelled something; then a poll does the work.
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

static pthread_t loop_thread;
static int ticks, ended, on_loop;

static void tick(void *arg) {
    (void)arg;
    ticks++;
    on_loop += pthread_equal(pthread_self(), loop_thread) != 0;
}

static void job_ended(void *arg) {
    (void)arg;
    ended++;
    on_loop += pthread_equal(pthread_self(), loop_thread) != 0;
}

static void *cancel_from_elsewhere(void *job) {
    belay_wait(*(belay_ctx *)job, BELAY_MS(10)); /* any thread may wait for, ask and cancel what the loop drives */
    belay_cancel(*(belay_ctx *)job);
    return NULL;
}

int main(void) {
    loop_thread = pthread_self();
    belay_runtime_options options = {.size = sizeof options, .manual = true};
    belay_runtime runtime = belay_runtime_new(&options);
    belay_ctx root = belay_runtime_background(runtime);
    int epoll = epoll_create1(EPOLL_CLOEXEC), fd = belay_runtime_fd(runtime);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    CHECK(epoll >= 0 && fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "the runtime is one descriptor");

    belay_ctx visit = belay_with_timeout(root, BELAY_MS(25)), job = belay_with_cancel(root);
    belay_after_func(visit, job_ended, NULL);
    belay_after_func(job, job_ended, NULL);
    belay_timer_every(visit, BELAY_MS(5), tick, NULL);
    pthread_t other;
    CHECK(pthread_create(&other, NULL, cancel_from_elsewhere, &job) == 0, "another thread will cancel the job");

    while (ended < 2) {
        struct epoll_event ready;
        if (epoll_wait(epoll, &ready, 1, -1) == 1) belay_runtime_poll(runtime, BELAY_FOREVER);
    }
    pthread_join(other, NULL);
    CHECK(belay_err(visit) == BELAY_DEADLINE_EXCEEDED && belay_err(job) == BELAY_CANCELED, "both ended, each in its way");
    CHECK(ticks >= 1 && on_loop == ticks + ended, "every callback ran on the loop's thread");
    CHECK(belay_runtime_next(runtime) != 0, "and the loop knows until when it may sleep");

    belay_sample threads[] = {{"/executor/threads:threads", 0, BELAY_OK}, {"/driver/wakeups:wakeups", 0, BELAY_OK}};
    belay_metrics_read(threads, 2);
    CHECK(threads[0].value == 0 && threads[1].value == 0, "no thread was started for it");
    belay_close(visit);
    belay_close(job);
    CHECK(belay_runtime_free(runtime, BELAY_FOREVER) == BELAY_OK, "the runtime goes, and closes its descriptor");
    close(epoll);
    return 0;
}
