// SPDX-License-Identifier: Apache-2.0
//
// What the C tests share. A check that fails says where and stops the program. Nothing here asserts that something is
// quick: EVENTUALLY waits for as long as it takes, says so now and then, and leaves it to ctest to give up.
#ifndef CHECK_H
#define CHECK_H

#include <belay.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
#define CHECK_IS(actual, expected) \
    check_is(__FILE__, __LINE__, #actual " == " #expected, (long long)(actual), (long long)(expected))
#define EVENTUALLY(condition) \
    for (int check_turn = 0; !(condition); check_turn++) check_pause(__FILE__, __LINE__, #condition, check_turn)

static inline void check_failed(const char *file, int line, const char *what) {
    fflush(stdout);
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    abort();
}

static inline void check_is(const char *file, int line, const char *what, long long actual, long long expected) {
    if (actual == expected) return;
    fprintf(stderr, "%s:%d: %lld is not %lld\n", file, line, actual, expected);
    check_failed(file, line, what);
}

// By the clock: where signals come as fast as a thread can take them, it never gets to sleep what was left of its sleep.
static inline void check_sleep_until(belay_instant instant) {
    struct timespec end = {instant / 1000000000, instant % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR) {}
}

static inline void check_sleep(belay_duration length) {
    if (length > 0) check_sleep_until(belay_now() + length);
}

static inline void check_pause(const char *file, int line, const char *what, int turn) {
    check_sleep(BELAY_MS(1));
    if (turn >= 8192 && (turn & (turn - 1)) == 0) fprintf(stderr, "%s:%d: still waiting for: %s\n", file, line, what);
}

// The command that starts the test programs where this machine cannot run them itself, else NULL.
static inline char *check_emulator(void) { return getenv("BELAY_TEST_EMULATOR"); }

// Becomes `program`, which is this one, once more.
static inline void check_become(const char *program, const char *option, const char *value) {
    char *emulator = check_emulator();
    if (emulator) execlp(emulator, emulator, program, option, value, (char *)NULL);
    else execl(program, program, option, value, (char *)NULL);
    _exit(127);
}

// A count, scaled by BELAY_TEST_SCALE (0.05 for slow tools such as valgrind), at least 1.
static inline long check_scaled(long count) {
    const char *scale = getenv("BELAY_TEST_SCALE");
    double scaled = (double)count * (scale ? atof(scale) : 1.0);
    return scaled < 1 ? 1 : (long)scaled;
}

// Whether this program is built with a sanitizer that follows each access.
static inline bool check_is_sanitized(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return true;
#else
    return false;
#endif
#else
    return false;
#endif
}

static inline uint64_t check_metric(const char *name) {
    belay_sample sample = {.name = name, .value = 0, .status = BELAY_EINVAL};
    CHECK_IS(belay_metrics_read(&sample, 1), BELAY_OK);
    CHECK_IS(sample.status, BELAY_OK);
    return sample.value;
}
#define LIVE_CONTEXTS check_metric("/ctx/live:contexts")
#define LIVE_TASKS check_metric("/task/live:tasks")

// A test program is a list of named tests. Each must leave no context, registration or timer behind.
struct check_test { const char *name; void (*run)(void); };
#define TEST(function) {#function, function}
#define RUN_TESTS(tests, how) check_tests(tests, sizeof tests / sizeof *tests, how)

static inline void check_tests(const struct check_test *tests, size_t count, const char *how) {
    for (size_t i = 0; i < count; i++) {
        printf("%s%s\n", tests[i].name, how);
        fflush(stdout);
        uint64_t contexts = LIVE_CONTEXTS, tasks = LIVE_TASKS;
        tests[i].run();
        EVENTUALLY(LIVE_CONTEXTS == contexts);
        EVENTUALLY(LIVE_TASKS == tasks);
    }
}

// xorshift64*: small, and the same everywhere for the same seed.
static inline uint64_t check_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1d;
}

// Runs body(argument) on `count` threads and waits for all.
typedef void check_body(void *argument);
struct check_thread { pthread_t thread; check_body *body; void *argument; };

static inline void *check_thread_main(void *raw) {
    struct check_thread *self = raw;
    self->body(self->argument);
    return NULL;
}

static inline void check_start(struct check_thread *self, check_body *body, void *argument) {
    self->body = body;
    self->argument = argument;
    CHECK_IS(pthread_create(&self->thread, NULL, check_thread_main, self), 0);
}

static inline void check_join(struct check_thread *self) { CHECK_IS(pthread_join(self->thread, NULL), 0); }

static inline void check_threads(int count, check_body *body, void *argument) {
    struct check_thread *threads = calloc((size_t)count, sizeof *threads);
    for (int i = 0; i < count; i++) check_start(&threads[i], body, argument);
    for (int i = 0; i < count; i++) check_join(&threads[i]);
    free(threads);
}

// check_hold makes a thread of check_start stand still at whatever instruction it has come to, until check_free or for
// check_hold_most (it may have a lock that others need): so that others meet what lasts two instructions otherwise. False
// if it did not come to it: the thread sanitizer keeps signals for the next system call.
static atomic_long check_holds, check_held, check_freed;
static _Atomic belay_duration check_hold_most = BELAY_US(500);

// Until `count` has come to `number`, for check_hold_most at most. At first without leaving the processor.
static inline void check_await(atomic_long *count, long number) {
    belay_instant end = belay_now() + atomic_load(&check_hold_most);
    for (int turn = 0; atomic_load(count) < number && belay_now() < end; turn++)
        if (turn >= 200) nanosleep(&(struct timespec){0, 1000}, NULL);
}
static inline void check_stand_still(int signal) {
    (void)signal;
    int error = errno;
    long mine = atomic_load(&check_holds);
    atomic_store(&check_held, mine);
    check_await(&check_freed, mine);
    errno = error;
}
static inline bool check_hold(const struct check_thread *thread) {
    struct sigaction action = {.sa_handler = check_stand_still, .sa_flags = SA_RESTART};
    long mine = atomic_fetch_add(&check_holds, 1) + 1;
    CHECK_IS(sigaction(SIGUSR1, &action, NULL), 0);
    CHECK_IS(pthread_kill(thread->thread, SIGUSR1), 0);
    check_await(&check_held, mine);
    return atomic_load(&check_held) == mine;
}
static inline void check_free(void) { atomic_store(&check_freed, atomic_load(&check_holds)); }

// Callbacks that count.
static inline void check_count(void *counter) { atomic_fetch_add((atomic_int *)counter, 1); }
static inline void check_ignore(void *argument) { (void)argument; }

static inline belay_ctx check_live(belay_ctx ctx) {
    CHECK_IS(belay_err(ctx), BELAY_OK);
    CHECK(!belay_is_done(ctx));
    return ctx;
}

static inline void check_done(belay_ctx ctx, belay_status error) {
    CHECK_IS(belay_err(ctx), error);
    CHECK(belay_is_done(ctx));
    CHECK_IS(belay_remaining(ctx), 0);
    CHECK_IS(belay_wait(ctx, BELAY_FOREVER), error);
}

static inline void check_cause(belay_ctx ctx, int64_t code, const char *message) {
    belay_cause cause = {-1, "?"};
    CHECK(belay_cause_of(ctx, &cause));
    CHECK_IS(cause.code, code);
    if (strcmp(cause.message, message) != 0) {
        fprintf(stderr, "the message is '%.55s', not '%s'\n", cause.message, message);
        CHECK(!"the message");
    }
}

#define check_close(ctx) CHECK_IS(belay_close(ctx), BELAY_OK)

#endif
