// SPDX-License-Identifier: Apache-2.0
//
// Signals: which one it was, none missed and none from before, dispositions taken and given back, the cancel in a handler,
// signals from many threads while contexts come and go.
#include "check.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static belay_ctx root(void) { return belay_background(); }
static belay_ctx watch(int signal) {
    belay_ctx ctx = belay_notify_signals(root(), &signal, 1);
    CHECK(!belay_is_none(ctx));
    return ctx;
}

// The driver ends it, a moment after the handler.
static void check_ended(belay_ctx ctx) {
    CHECK_IS(belay_wait(ctx, BELAY_FOREVER), BELAY_CANCELED);
    check_done(ctx, BELAY_CANCELED);
}

static void handler_of(int signal, struct sigaction *now) { CHECK_IS(sigaction(signal, NULL, now), 0); }
static bool is_default(int signal) {
    struct sigaction now;
    handler_of(signal, &now);
    return now.sa_handler == SIG_DFL;
}

static void a_signal_ends_it(void) {
    static const struct { int signal; const char *message; } all[] = {
        {SIGTERM, "signal 15 (SIGTERM)"}, {SIGINT, "signal 2 (SIGINT)"}, {SIGHUP, "signal 1 (SIGHUP)"},
        {SIGUSR1, "signal 10 (SIGUSR1)"}, {SIGWINCH, "signal 28 (SIGWINCH)"}, {SIGCHLD, "signal 17 (SIGCHLD)"},
        {SIGSYS, "signal 31 (SIGSYS)"}, {60, "signal 60"}, {40, "signal 40"}}; // valgrind keeps 64, and QEMU 63 too
    static const belay_key key = {"key"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        belay_ctx ctx = watch(all[i].signal), child = belay_with_timeout(ctx, BELAY_SEC(100));
        belay_ctx value = belay_with_value(child, &key, NULL, NULL), lite = belay_lite(child, BELAY_FOREVER);
        check_live(ctx);
        check_live(child);
        CHECK_IS(belay_signal_of(ctx), 0);
        CHECK_IS(check_metric("/signal/watchers:contexts"), 1);
        CHECK(!is_default(all[i].signal));
        CHECK_IS(raise(all[i].signal), 0);
        check_ended(ctx);
        belay_ctx ended[] = {ctx, child, value, lite};
        for (int k = 0; k < 4; k++) {
            check_done(ended[k], BELAY_CANCELED);
            check_cause(ended[k], all[i].signal, all[i].message);
            CHECK_IS(belay_signal_of(ended[k]), all[i].signal);
        }
        belay_cause cause; // the mark is not shown
        CHECK(belay_cause_of(ctx, &cause));
        for (int k = (int)strlen(cause.message); k < 56; k++) CHECK_IS(cause.message[k], 0);
        CHECK(!is_default(all[i].signal)); // until the close
        check_close(lite);
        check_close(value);
        check_close(child);
        check_close(ctx);
        CHECK(is_default(all[i].signal));
        CHECK_IS(check_metric("/signal/watchers:contexts"), 0);
    }
}

static void everyone_is_told(void) {
    belay_ctx ctx = watch(SIGUSR1), child = belay_with_cancel(ctx);
    atomic_int runs = 0;
    CHECK(belay_on_done(child, check_count, &runs).bits != 0);
    CHECK(belay_after_func(ctx, check_count, &runs).bits != 0);
    struct pollfd readable = {.fd = belay_done_fd(child), .events = POLLIN};
    raise(SIGUSR1);
    CHECK_IS(poll(&readable, 1, -1), 1);
    EVENTUALLY(atomic_load(&runs) == 2);
    CHECK_IS(belay_signal_of(child), SIGUSR1);
    check_close(child);
    check_close(ctx);
}

static void several_watch_several(void) {
    static const int two[] = {SIGUSR1, SIGUSR2, SIGUSR1};
    belay_ctx a = watch(SIGUSR1), b = belay_notify_signals(root(), two, 3), c = watch(SIGUSR2);
    raise(SIGUSR2);
    check_ended(b);
    check_ended(c);
    check_live(a);
    CHECK_IS(belay_signal_of(b), SIGUSR2);
    raise(SIGUSR1);
    check_ended(a);
    CHECK_IS(belay_signal_of(a), SIGUSR1);
    CHECK_IS(belay_signal_of(b), SIGUSR2);
    check_close(a);
    CHECK(!is_default(SIGUSR1)); // b watches it
    check_close(b);
    CHECK(is_default(SIGUSR1) && !is_default(SIGUSR2));
    check_close(c);
    CHECK(is_default(SIGUSR2));
}

static void ten_in_a_row_do_not_kill(void) {
    belay_ctx ctx = watch(SIGTERM);
    for (int i = 0; i < 10; i++) raise(SIGTERM);
    check_ended(ctx);
    for (int i = 0; i < 10; i++) raise(SIGTERM);
    CHECK_IS(belay_signal_of(ctx), SIGTERM);
    belay_ctx later = watch(SIGTERM); // those before do not end it
    check_sleep(BELAY_MS(3));
    check_live(later);
    raise(SIGTERM);
    check_ended(later);
    check_close(ctx);
    check_close(later);
}

static void none_is_missed(void) {
    for (long round = check_scaled(3000); round > 0; round--) {
        belay_ctx ctx = watch(SIGUSR1);
        raise(SIGUSR1);
        check_ended(ctx);
        check_close(ctx);
    }
}

static void other_ends_are_no_signals(void) {
    belay_ctx ctx = watch(SIGTERM), parent = belay_with_cancel(root());
    CHECK_IS(belay_cancel_cause(ctx, SIGTERM, "signal 15 (SIGTERM)"), BELAY_OK);
    check_cause(ctx, SIGTERM, "signal 15 (SIGTERM)");
    CHECK_IS(belay_signal_of(ctx), 0);
    raise(SIGTERM); // the first end stays
    check_sleep(BELAY_MS(2));
    CHECK_IS(belay_signal_of(ctx), 0);
    check_close(ctx);
    int term = SIGTERM;
    ctx = belay_notify_signals(parent, &term, 1);
    CHECK_IS(belay_cancel_cause(parent, 5, "parent"), BELAY_OK);
    check_ended(ctx);
    check_cause(ctx, 5, "parent");
    CHECK_IS(belay_signal_of(ctx), 0);
    check_close(ctx);
    ctx = belay_notify_signals(parent, &term, 1); // done at birth, and yet a watcher until its close
    check_ended(ctx);
    CHECK(!is_default(SIGTERM));
    raise(SIGTERM);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    check_close(ctx);
    check_close(parent);
    ctx = belay_with_timeout(root(), BELAY_MS(2));
    belay_ctx late = belay_notify_signals(ctx, &term, 1);
    CHECK_IS(belay_wait(late, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    CHECK_IS(belay_signal_of(late), 0);
    CHECK_IS(belay_cancel(late), BELAY_OK);
    CHECK_IS(belay_err(late), BELAY_DEADLINE_EXCEEDED);
    check_close(late);
    check_close(ctx);
    CHECK_IS(belay_signal_of(late), 0);
}

// --- Dispositions

static volatile sig_atomic_t mine;
static void my_handler(int number) { mine = number; }

static void the_earlier_action_comes_back(void) {
    struct sigaction own = {.sa_handler = my_handler, .sa_flags = SA_RESTART}, before, now;
    sigemptyset(&own.sa_mask);
    sigaddset(&own.sa_mask, SIGUSR2);
    CHECK_IS(sigaction(SIGUSR1, &own, &before), 0);
    for (int i = 0; i < 3; i++) {
        belay_ctx ctx = watch(SIGUSR1), second = watch(SIGUSR1);
        handler_of(SIGUSR1, &now);
        CHECK(now.sa_handler != my_handler && (now.sa_flags & SA_RESTART) && (now.sa_flags & SA_ONSTACK));
        mine = 0;
        raise(SIGUSR1);
        check_ended(ctx);
        CHECK_IS(mine, 0);
        check_close(i ? ctx : second);
        handler_of(SIGUSR1, &now);
        CHECK(now.sa_handler != my_handler);
        check_close(i ? second : ctx);
        handler_of(SIGUSR1, &now);
        CHECK(now.sa_handler == my_handler && sigismember(&now.sa_mask, SIGUSR2) == 1);
        raise(SIGUSR1);
        CHECK_IS(mine, SIGUSR1);
    }
    CHECK_IS(sigaction(SIGUSR1, &before, NULL), 0);
    signal(SIGUSR1, SIG_IGN);
    belay_ctx ctx = watch(SIGUSR1);
    raise(SIGUSR1);
    check_ended(ctx);
    CHECK(signal(SIGUSR1, my_handler) != SIG_IGN); // somebody puts another one over ours
    check_close(ctx);
    handler_of(SIGUSR1, &now);
    CHECK(now.sa_handler == my_handler); // and keeps it
    ctx = watch(SIGUSR1);
    raise(SIGUSR1);
    check_ended(ctx);
    check_close(ctx);
    handler_of(SIGUSR1, &now);
    CHECK(now.sa_handler == my_handler);
    signal(SIGUSR1, SIG_DFL);
}

static void owners_count(void) {
    belay_ctx ctx = watch(SIGUSR1);
    CHECK_IS(belay_retain(ctx), BELAY_OK);
    check_close(ctx);
    CHECK(!is_default(SIGUSR1));
    CHECK(belay_is_none(belay_reset(ctx)));
    CHECK_IS(belay_last_status(), BELAY_EBUSY);
    CHECK_IS(belay_set_deadline(ctx, belay_now() + BELAY_SEC(100)), BELAY_OK);
    raise(SIGUSR1);
    check_ended(ctx);
    check_close(ctx);
    CHECK(is_default(SIGUSR1));
    CHECK_IS(belay_close(ctx), BELAY_ESTALE);
    ctx = watch(SIGUSR1);
    CHECK_IS(belay_set_deadline(ctx, belay_now() + BELAY_MS(1)), BELAY_OK);
    CHECK_IS(belay_wait(ctx, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    check_close(ctx);
}

static void errno_and_system_calls_are_left_alone(void) {
    int both[2];
    char byte = 0;
    belay_ctx ctx = watch(SIGALRM);
    CHECK_IS(pipe(both), 0);
    errno = 4711;
    raise(SIGALRM);
    CHECK_IS(errno, 4711);
    check_ended(ctx);
    if (fork() == 0) { // after a while, in the middle of our read
        check_sleep(BELAY_MS(20));
        kill(getppid(), SIGALRM);
        check_sleep(BELAY_MS(20));
        CHECK_IS(write(both[1], "x", 1), 1);
        execl("/bin/true", "true", (char *)NULL);
    }
    CHECK_IS(read(both[0], &byte, 1), 1); // restarted
    CHECK_IS(byte, 'x');
    wait(NULL);
    close(both[0]);
    close(both[1]);
    check_close(ctx);
}

static void the_child_of_a_fork_has_its_signals_back(void) {
    belay_ctx ctx = watch(SIGTERM);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int term = SIGTERM;
        CHECK(is_default(SIGTERM));
        CHECK_IS(belay_cancel(ctx), BELAY_EFORK);
        CHECK_IS(belay_signal_of(ctx), 0);
        CHECK(belay_is_none(belay_notify_signals(root(), &term, 1)));
        CHECK_IS(belay_last_status(), BELAY_EFORK);
        belay_group none = belay_group_new(root(), 1, NULL);
        CHECK(none.bits == 0);
        CHECK_IS(belay_last_status(), BELAY_EFORK);
        CHECK_IS(belay_group_go(none, NULL, NULL), BELAY_EFORK);
        raise(SIGTERM);
        _exit(1);
    }
    int status;
    CHECK_IS(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    CHECK(!is_default(SIGTERM));
    check_live(ctx);
    check_close(ctx);
}

static void bad_input(void) {
    static const int bad[] = {0, -1, 65, INT32_MAX, INT32_MIN, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, 32, 33};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int with_good[] = {SIGUSR1, bad[i], SIGUSR2};
        CHECK(belay_is_none(belay_notify_signals(root(), with_good, 3)));
        CHECK_IS(belay_last_status(), BELAY_EINVAL);
        CHECK(is_default(SIGUSR1) && is_default(SIGUSR2));
    }
    int good = SIGUSR1;
    CHECK(belay_is_none(belay_notify_signals(root(), NULL, 1)));
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    CHECK(belay_is_none(belay_notify_signals(root(), &good, SIZE_MAX)));
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    belay_ctx closed = belay_with_cancel(root()), lite = belay_lite(root(), BELAY_SEC(100));
    check_close(closed);
    struct { belay_ctx parent; belay_status status; } parents[] = {
        {{0}, BELAY_EINVAL}, {{UINT64_MAX}, BELAY_EINVAL}, {closed, BELAY_ESTALE}, {lite, BELAY_ELEAF}};
    for (int i = 0; i < 4; i++) {
        CHECK(belay_is_none(belay_notify_signals(parents[i].parent, &good, 1)));
        CHECK_IS(belay_last_status(), parents[i].status);
        CHECK_IS(belay_signal_of(parents[i].parent), 0);
    }
    CHECK_IS(belay_memory_limit(1), BELAY_OK); // no record, or no context: nothing is left behind
    belay_ctx hoard[4096];
    int hoarded = 0;
    while (hoarded < 4096 && !belay_is_none(hoard[hoarded] = belay_notify_signals(root(), &good, 1))) hoarded++;
    if (hoarded < 4096) CHECK_IS(belay_last_status(), BELAY_ENOMEM);
    CHECK_IS(belay_memory_limit(0), BELAY_OK);
    while (hoarded > 0) check_close(hoard[--hoarded]);
    check_close(lite);
    CHECK(is_default(SIGUSR1));
}

// --- The cancel in a handler

static _Atomic uint64_t target;
static atomic_int handled;
static void canceling_handler(int number) {
    (void)number;
    int saved = errno;
    belay_status status = belay_cancel((belay_ctx){atomic_load(&target)});
    if (status != BELAY_OK && status != BELAY_ESTALE) abort();
    if (!belay_is_none((belay_ctx){0})) abort();
    if (errno != saved) abort();
    atomic_fetch_add(&handled, 1);
}

static void cancel_in_a_handler(void) {
    signal(SIGUSR2, canceling_handler);
    for (int round = 0; round < 200; round++) {
        belay_ctx ctx = belay_notify_signals(root(), NULL, 0);
        belay_ctx asked = belay_with_cancel(ctx), listened = belay_with_cancel(ctx);
        atomic_int runs = 0;
        CHECK(belay_on_done(listened, check_count, &runs).bits != 0);
        atomic_store(&target, ctx.bits);
        raise(SIGUSR2);
        CHECK_IS(belay_err(ctx), BELAY_CANCELED);
        CHECK_IS(belay_err(asked), BELAY_CANCELED);
        check_cause(asked, BELAY_CANCELED, "context canceled");
        EVENTUALLY(belay_err(listened) == BELAY_CANCELED);
        EVENTUALLY(atomic_load(&runs) == 1);
        CHECK_IS(belay_signal_of(ctx), 0);
        CHECK_IS(belay_cancel(ctx), BELAY_OK);
        check_close(listened);
        check_close(asked);
        check_close(ctx);
        CHECK_IS(belay_cancel(ctx), BELAY_ESTALE);
    }
    signal(SIGUSR2, SIG_DFL);
}

// Handlers that cancel, on a thread that makes, uses and closes contexts all the time, while another sends.
static atomic_bool over;
static void bombard(void *argument) {
    while (!atomic_load(&over)) {
        pthread_kill(*(pthread_t *)argument, SIGUSR2);
        sched_yield();
    }
}
static void handlers_interrupt_everything(void) {
    struct check_thread sender;
    pthread_t self = pthread_self();
    signal(SIGUSR2, canceling_handler);
    atomic_store(&over, false);
    belay_ctx ctx = belay_notify_signals(root(), NULL, 0);
    atomic_store(&target, ctx.bits);
    check_start(&sender, bombard, &self);
    for (long round = check_scaled(3000); round > 0; round--) {
        belay_ctx child = belay_with_timeout(ctx, BELAY_SEC(100));
        belay_reg reg = belay_on_done(child, check_ignore, NULL);
        belay_wait(child, BELAY_US(10));
        belay_stop(reg);
        check_close(child);
        if (round % 3 == 0) {
            belay_ctx next = belay_notify_signals(root(), NULL, 0);
            CHECK(!belay_is_none(next));
            atomic_store(&target, next.bits);
            check_close(ctx);
            ctx = next;
        }
    }
    atomic_store(&over, true);
    check_join(&sender);
    check_close(ctx);
    signal(SIGUSR2, SIG_DFL);
}

// --- From many threads

// The thread sanitizer puts a signal off that comes to a thread from elsewhere, until that thread's next call of libc that
// the sanitizer knows: perhaps for ever. So under it each thread sends to itself.
#if defined(__SANITIZE_THREAD__)
#define TO_THE_PROCESS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TO_THE_PROCESS 0
#endif
#endif
#ifndef TO_THE_PROCESS
#define TO_THE_PROCESS 1
#endif

static atomic_long made, by_signal;
static void raiser(void *argument) {
    static const int signals[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGHUP};
    uint64_t random = (uint64_t)(uintptr_t)argument * 0x9e3779b97f4a7c15 + 1;
    while (!atomic_load(&over)) {
        int signal = signals[check_random(&random) % 4];
        belay_ctx ctx = belay_notify_signals(root(), &signal, 1), child = belay_with_cancel(ctx);
        CHECK(!belay_is_none(ctx));
        atomic_fetch_add(&made, 1);
        int runs_expected = check_random(&random) % 2;
        atomic_int runs = 0;
        if (runs_expected) CHECK(belay_on_done(child, check_count, &runs).bits != 0);
        uint64_t how = check_random(&random) % 4;
        if (how == 0) belay_cancel(ctx);
        if (how == 1) belay_cancel_cause(ctx, signal, "not a signal");
        if (how >= 2) {
            // This context watches the signal, so it kills nobody.
            if (how == 2 || !TO_THE_PROCESS) raise(signal);
            else kill(getpid(), signal);
            check_ended(ctx);
            CHECK_IS(belay_signal_of(ctx), signal);
            atomic_fetch_add(&by_signal, 1);
        }
        check_close(ctx);
        EVENTUALLY(belay_err(child) == BELAY_CANCELED);
        EVENTUALLY(atomic_load(&runs) == runs_expected);
        check_close(child);
    }
}

static void from_many_threads(void) {
    // Whoever sends a signal watches it; but one sent to the process may arrive after the sender's close.
    static const int all[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGHUP};
    for (int threads = 1; threads <= 16; threads *= 2) {
        struct check_thread raisers[16];
        belay_ctx safe = belay_notify_signals(root(), all, 4);
        atomic_store(&over, false);
        for (int i = 0; i < threads; i++) check_start(&raisers[i], raiser, (void *)(uintptr_t)(i + 1));
        check_sleep(BELAY_MS(check_scaled(300)));
        atomic_store(&over, true);
        for (int i = 0; i < threads; i++) check_join(&raisers[i]);
        check_close(safe);
        for (int i = 0; i < 4; i++) CHECK(is_default(all[i]));
        CHECK_IS(check_metric("/signal/watchers:contexts"), 0);
        printf("  %2d threads: so far %ld contexts, %ld ended by a signal\n", threads, made, by_signal);
        fflush(stdout);
    }
}

// The cancel was noted by the real clock, which is far ahead of a virtual one: deadlines seemed to have come first.
static void a_cancel_that_came_before_a_virtual_deadline(void) {
    belay_runtime_options options = {.size = sizeof options, .virtual_clock = true};
    belay_runtime runtime = belay_runtime_new(&options);
    belay_ctx ctx = belay_notify_signals(belay_runtime_background(runtime), NULL, 0);
    belay_ctx child = belay_with_timeout(ctx, BELAY_SEC(5));
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    CHECK_IS(belay_runtime_poll(runtime, BELAY_SEC(100)), BELAY_OK);
    check_done(child, BELAY_CANCELED);
    check_close(child);
    check_close(ctx);
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(a_signal_ends_it),
        TEST(everyone_is_told),
        TEST(several_watch_several),
        TEST(ten_in_a_row_do_not_kill),
        TEST(none_is_missed),
        TEST(other_ends_are_no_signals),
        TEST(the_earlier_action_comes_back),
        TEST(owners_count),
        TEST(errno_and_system_calls_are_left_alone),
        TEST(the_child_of_a_fork_has_its_signals_back),
        TEST(bad_input),
        TEST(cancel_in_a_handler),
        TEST(handlers_interrupt_everything),
        TEST(from_many_threads),
        TEST(a_cancel_that_came_before_a_virtual_deadline),
    };
    RUN_TESTS(tests, "");
    return 0;
}
