// SPDX-License-Identifier: Apache-2.0
//
// Waiting: for one context, for any of several, and by descriptor. No wake-up is lost, no wait ends early.
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

static belay_ctx live(void) { return belay_with_cancel(belay_background()); }
static bool readable(int fd, int timeout_ms) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    int ready = poll(&poll_fd, 1, timeout_ms);
    CHECK(ready >= 0 && (poll_fd.revents & ~POLLIN) == 0);
    return ready == 1;
}

static void waits_end_by_timeout(void) {
    belay_ctx ctx = live();
    belay_ctx ctxs[] = {ctx, belay_background(), belay_todo(), belay_without_cancel(ctx)};
    for (int i = 0; i < 4; i++) {
        CHECK_IS(belay_wait(ctxs[i], 0), BELAY_TIMEOUT);
        CHECK_IS(belay_wait(ctxs[i], INT64_MIN), BELAY_TIMEOUT);
        belay_instant until = belay_now() + BELAY_US(700);
        CHECK_IS(belay_wait(ctxs[i], BELAY_US(700)), BELAY_TIMEOUT);
        CHECK(belay_now() >= until);
    }
    size_t index = 77;
    belay_instant until = belay_now() + BELAY_MS(2);
    CHECK_IS(belay_wait_any(ctxs, 4, BELAY_MS(2), &index), BELAY_TIMEOUT);
    CHECK(belay_now() >= until && index == 77);
    CHECK_IS(belay_wait_any(ctxs, 4, -1, &index), BELAY_TIMEOUT);
    check_close(ctxs[3]);
    check_close(ctx);
}

static void waits_end_by_deadline(void) {
    for (int i = 0; i < 30; i++) {
        belay_instant deadline = belay_now() + BELAY_US(i * 150), seen;
        belay_ctx ctx = belay_with_deadline(belay_background(), deadline), child = belay_with_cancel(ctx);
        size_t index = 9;
        belay_ctx both[] = {belay_background(), child};
        belay_status status = i % 3 == 0   ? belay_wait(ctx, BELAY_FOREVER)
                              : i % 3 == 1 ? belay_wait(child, BELAY_SEC(1000))
                                           : belay_wait_any(both, 2, BELAY_FOREVER, &index);
        seen = belay_now();
        CHECK_IS(status, BELAY_DEADLINE_EXCEEDED);
        CHECK(seen >= deadline);
        CHECK(i % 3 != 2 || index == 1);
        check_done(child, BELAY_DEADLINE_EXCEEDED);
        check_close(child);
        check_close(ctx);
    }
}

static void waits_on_done_contexts_return_at_once(void) {
    belay_ctx canceled = live(), late = belay_with_timeout(belay_background(), -1), open = live(), stale = live();
    CHECK_IS(belay_cancel(canceled), BELAY_OK);
    check_close(stale);
    CHECK_IS(belay_wait(canceled, BELAY_FOREVER), BELAY_CANCELED);
    CHECK_IS(belay_wait(canceled, 0), BELAY_CANCELED);
    CHECK_IS(belay_wait(late, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    const struct { belay_ctx ctxs[3]; belay_status status; size_t index; } cases[] = {
        {{open, canceled, late}, BELAY_CANCELED, 1},       {{late, canceled, open}, BELAY_DEADLINE_EXCEEDED, 0},
        {{open, {0}, canceled}, BELAY_EINVAL, 1},          {{open, belay_background(), stale}, BELAY_ESTALE, 2},
        {{late, late, late}, BELAY_DEADLINE_EXCEEDED, 0},  {{open, open, canceled}, BELAY_CANCELED, 2},
    };
    for (int i = 0; i < 6; i++) {
        size_t index = 9;
        CHECK_IS(belay_wait_any(cases[i].ctxs, 3, BELAY_FOREVER, &index), cases[i].status);
        CHECK_IS(index, cases[i].index);
        CHECK_IS(belay_wait_any(cases[i].ctxs, 3, 0, NULL), cases[i].status);
    }
    check_close(canceled);
    check_close(late);
    check_close(open);
}

// Two threads: one waits in some way, the other ends the context at about the same moment.
struct meeting { belay_ctx ctx, child; atomic_int turn; int how; };
static void wait_somehow(struct meeting *meeting) {
    belay_ctx several[] = {belay_background(), meeting->child, belay_todo()};
    size_t index = 9;
    belay_status status = BELAY_OK;
    switch (meeting->how % 5) {
    case 0: status = belay_wait(meeting->ctx, BELAY_FOREVER); break;
    case 1: status = belay_wait(meeting->child, BELAY_FOREVER); break;
    case 2: status = belay_wait_any(several, 3, BELAY_FOREVER, &index); break;
    case 3:
        CHECK(readable(belay_done_fd(meeting->child), -1));
        status = belay_err(meeting->child);
        break;
    default:
        while ((status = belay_wait(meeting->child, BELAY_US(5))) == BELAY_TIMEOUT) {}
    }
    CHECK_IS(status, BELAY_CANCELED);
    CHECK(meeting->how % 5 != 2 || index == 1);
    CHECK(belay_is_done(meeting->child));
}
static void waiter(void *argument) {
    struct meeting *meeting = argument;
    for (int turn = 1;; turn += 2) {
        while (atomic_load(&meeting->turn) != turn) {
            if (atomic_load(&meeting->turn) < 0) return;
            sched_yield();
        }
        wait_somehow(meeting);
        atomic_store(&meeting->turn, turn + 1);
    }
}
static void no_wake_up_is_lost(void) {
    struct meeting meeting = {.turn = 0};
    struct check_thread thread;
    check_start(&thread, waiter, &meeting);
    uint64_t random = 9;
    long rounds = check_scaled(20000);
    for (int i = 0; i < rounds; i++) {
        meeting.ctx = live();
        meeting.child = belay_with_timeout(meeting.ctx, BELAY_SEC(1000));
        meeting.how = i;
        atomic_store(&meeting.turn, 2 * i + 1);
        for (uint64_t spin = check_random(&random) % 2000; spin > 0; spin--) atomic_load(&meeting.turn);
        if (i % 64 == 0) check_sleep(BELAY_US(300));
        CHECK_IS(belay_cancel(meeting.ctx), BELAY_OK);
        while (atomic_load(&meeting.turn) != 2 * i + 2) sched_yield();
        check_close(meeting.child);
        check_close(meeting.ctx);
    }
    atomic_store(&meeting.turn, -1);
    check_join(&thread);
}

struct crowd { belay_ctx ctx; atomic_int waiting, woken; };
static void wait_in_a_crowd(void *argument) {
    struct crowd *crowd = argument;
    belay_ctx two[] = {belay_background(), crowd->ctx};
    int number = atomic_fetch_add(&crowd->waiting, 1);
    belay_status status = number % 2 ? belay_wait(crowd->ctx, BELAY_FOREVER)
                                     : belay_wait_any(two, 2, BELAY_FOREVER, NULL);
    CHECK(status == BELAY_CANCELED || status == BELAY_ESTALE);
    atomic_fetch_add(&crowd->woken, 1);
}
static void one_end_wakes_all(void) {
    enum { CROWD = 32 };
    for (int by_close = 0; by_close < 2; by_close++) {
        struct crowd crowd = {.ctx = live()};
        struct check_thread threads[CROWD];
        for (int i = 0; i < CROWD; i++) check_start(&threads[i], wait_in_a_crowd, &crowd);
        EVENTUALLY(atomic_load(&crowd.waiting) == CROWD);
        check_sleep(BELAY_MS(5));
        CHECK_IS(crowd.woken, 0);
        CHECK_IS(by_close ? belay_close(crowd.ctx) : belay_cancel(crowd.ctx), BELAY_OK);
        for (int i = 0; i < CROWD; i++) check_join(&threads[i]);
        CHECK_IS(crowd.woken, CROWD);
        if (!by_close) check_close(crowd.ctx);
    }
}

static void of_many_the_one_that_ends_is_named(void) {
    enum { MANY = 300 };
    belay_ctx ctxs[MANY];
    for (int i = 0; i < MANY; i++) ctxs[i] = belay_with_timeout(belay_background(), BELAY_SEC(1000 + i));
    for (size_t end = 0; end < MANY; end += 37) {
        size_t index = MANY;
        CHECK_IS(belay_wait_any(ctxs, MANY, BELAY_US(50), &index), BELAY_TIMEOUT);
        CHECK_IS(belay_cancel(ctxs[end]), BELAY_OK);
        CHECK_IS(belay_wait_any(ctxs, MANY, BELAY_FOREVER, &index), BELAY_CANCELED);
        CHECK_IS(index, end);
        check_close(ctxs[end]);
        ctxs[end] = live();
    }
    for (int i = 0; i < MANY; i++) check_close(ctxs[i]);
}

// --- Descriptors

static void check_readable_for_ever(int fd) {
    for (int i = 0; i < 5; i++) {
        uint64_t bytes;
        CHECK(readable(fd, -1));
        CHECK(read(fd, &bytes, sizeof bytes) != 0); // somebody reads it
    }
    CHECK(readable(fd, 0));
}

static void a_descriptor_is_readable_from_the_end_on(void) {
    belay_ctx ctx = live(), child = belay_with_cancel(ctx), timed = belay_with_timeout(ctx, BELAY_MS(3));
    int fd = belay_done_fd(ctx), child_fd = belay_done_fd(child), timed_fd = belay_done_fd(timed);
    CHECK(fd >= 0 && child_fd >= 0 && timed_fd >= 0 && fd != child_fd);
    CHECK_IS(belay_done_fd(ctx), fd);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(readable(timed_fd, -1));
    CHECK_IS(belay_err(timed), BELAY_DEADLINE_EXCEEDED);
    CHECK(!readable(fd, 0) && !readable(child_fd, 0));
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    check_readable_for_ever(fd);
    check_readable_for_ever(child_fd);
    check_readable_for_ever(timed_fd);
    CHECK_IS(belay_done_fd(ctx), fd);
    check_close(timed);
    check_close(child);
    check_close(ctx);
    EVENTUALLY(fcntl(fd, F_GETFD) == -1 && errno == EBADF); // closed with the last reference: the driver may have one
}

static int open_descriptors(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    while (readdir(dir) != NULL) count++;
    closedir(dir);
    return count;
}
static void done_contexts_share_one_descriptor(void) {
    enum { MANY = 500 };
    belay_ctx ctxs[MANY], endless = belay_without_cancel(belay_background());
    int shared = -1, never = belay_done_fd(belay_background()), before = 0;
    CHECK(never >= 0 && !readable(never, 0));
    CHECK_IS(belay_done_fd(belay_todo()), never);
    CHECK_IS(belay_done_fd(endless), never);
    for (int i = 0; i < MANY; i++) {
        ctxs[i] = i % 2 ? belay_with_timeout(belay_background(), 0) : live();
        CHECK_IS(belay_cancel(ctxs[i]), BELAY_OK);
        int fd = belay_done_fd(ctxs[i]);
        if (i == 0) {
            shared = fd;
            before = open_descriptors();
            check_readable_for_ever(shared);
        }
        CHECK_IS(fd, shared);
    }
    CHECK_IS(open_descriptors(), before);
    for (int i = 0; i < MANY; i++) check_close(ctxs[i]);
    check_close(endless);
    CHECK(readable(shared, 0) && !readable(never, 0)); // those are never closed
}

static void without_descriptors_it_says_so(void) {
    struct rlimit old, none;
    CHECK_IS(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 0;
    belay_ctx ctx = live();
    CHECK_IS(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_IS(belay_done_fd(ctx), -1);
    int error = errno;
    CHECK_IS(belay_last_status(), BELAY_ESYSTEM);
    CHECK_IS(error, EMFILE);
    CHECK_IS(setrlimit(RLIMIT_NOFILE, &old), 0);
    int fd = belay_done_fd(ctx);
    CHECK(fd >= 0 && !readable(fd, 0));
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    CHECK(readable(fd, -1));
    check_close(ctx);
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(waits_end_by_timeout),
        TEST(waits_end_by_deadline),
        TEST(waits_on_done_contexts_return_at_once),
        TEST(no_wake_up_is_lost),
        TEST(one_end_wakes_all),
        TEST(of_many_the_one_that_ends_is_named),
        TEST(a_descriptor_is_readable_from_the_end_on),
        TEST(done_contexts_share_one_descriptor),
        TEST(without_descriptors_it_says_so),
    };
    RUN_TESTS(tests, "");
    return 0;
}
