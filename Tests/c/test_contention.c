// SPDX-License-Identifier: Apache-2.0
//
// Derive, ask, listen, cancel and close on one shared tree from 1, 2, 4, 8 and 16 threads. Every callback runs once, or
// never where stop said so; every drop runs once; at the end nothing is left.
//
//     test_contention [seconds for each number of threads, default 1]
#include "check.h"


enum { SHARED = 64, PRIVATE = 16, RING = 1 << 12 };

// A place of the shared tree: handles that any thread may use at any time, also when their context is long closed.
static _Atomic uint64_t shared[SHARED];
static const belay_key key = {"key"};
static atomic_bool over;
static double seconds;

// What was promised and what came: sums over all threads.
static atomic_long registered, prevented, ran, timers, timers_prevented, timers_ran, values, dropped, operations;

// One callback: open until it has run or is known never to.
typedef enum { OPEN, RAN, PREVENTED } outcome;
typedef _Atomic outcome callback;

static void settle(callback *callback, outcome outcome) { CHECK_IS(atomic_exchange(callback, outcome), OPEN); }
static void on_callback(void *argument) {
    atomic_fetch_add(&ran, 1);
    settle(argument, RAN);
}
static void on_timer(void *argument) {
    atomic_fetch_add(&timers_ran, 1);
    settle(argument, RAN);
}
static void on_drop(void *argument) {
    (void)argument;
    atomic_fetch_add(&dropped, 1);
}

static belay_ctx any_shared(uint64_t *random) {
    return (belay_ctx){atomic_load(&shared[check_random(random) % SHARED])};
}

static belay_ctx derive(belay_ctx parent, uint64_t choice) {
    switch (choice % 8) {
    case 0: return belay_with_timeout(parent, BELAY_US(choice / 8 % 2000));
    case 1: return belay_with_timeout_cause(parent, BELAY_SEC(100), 7, "timeout");
    case 2:
        atomic_fetch_add(&values, 1);
        return belay_with_value(parent, &key, &over, on_drop);
    case 3: return belay_with_deadline(parent, belay_now() + BELAY_MS(1));
    default: return belay_with_cancel(parent);
    }
}

// Once a context reads as done it stays so, with one error and a cause.
static void ask(belay_ctx ctx) {
    belay_instant deadline;
    belay_cause cause;
    bool done = belay_is_done(ctx);
    belay_status first = belay_err(ctx), second = belay_err(ctx);
    CHECK(!done || first != BELAY_OK);
    CHECK(first == BELAY_OK || second == first || second == BELAY_ESTALE);
    CHECK(first == BELAY_OK || belay_cause_of(ctx, &cause));
    CHECK(belay_remaining(ctx) >= 0);
    belay_deadline(ctx, &deadline);
    void *value = belay_value(ctx, &key);
    CHECK(value == NULL || value == &over);
}

// Replaces a context of the shared tree by a child of another one. The exchange makes this thread the old one's owner.
static void replace_shared(uint64_t *random) {
    belay_ctx parent = check_random(random) % 4 ? any_shared(random) : belay_background();
    belay_ctx made = derive(parent, check_random(random));
    if (belay_is_none(made)) return; // the parent was closed just now
    belay_ctx old = {atomic_exchange(&shared[check_random(random) % SHARED], made.bits)};
    if (old.bits) check_close(old);
}

// A subtree of this thread's own under a shared parent: when its cancel returns, all of it is done.
static void own_subtree(uint64_t *random) {
    belay_ctx own[PRIVATE];
    int made = 0;
    for (; made < PRIVATE; made++) {
        belay_ctx parent = made ? own[check_random(random) % (uint64_t)made] : any_shared(random);
        own[made] = made ? derive(parent, check_random(random)) : belay_with_cancel(parent);
        if (belay_is_none(own[made])) break;
        ask(own[made]);
    }
    if (made == 0) return;
    CHECK_IS(belay_cancel(own[0]), BELAY_OK);
    for (int i = 0; i < made; i++) CHECK(belay_is_done(own[i]));
    while (made > 0) check_close(own[--made]);
}

// A worker's callbacks: a ring, in which a place is used again once its callback is settled.
struct listeners { callback ring[RING]; unsigned next; };

static callback *next_callback(struct listeners *listeners) {
    callback *place = &listeners->ring[listeners->next++ % RING];
    EVENTUALLY(atomic_load(place) != OPEN);
    atomic_store(place, OPEN);
    return place;
}

static void listen(struct listeners *listeners, uint64_t *random) {
    belay_ctx ctx = belay_with_timeout(any_shared(random), BELAY_US(check_random(random) % 3000));
    callback *callback = next_callback(listeners);
    belay_reg reg = check_random(random) % 2 ? belay_after_func(ctx, on_callback, callback)
                                             : belay_on_done(ctx, on_callback, callback);
    if (belay_is_none(ctx)) {
        CHECK(reg.bits == 0);
        settle(callback, PREVENTED);
        return;
    }
    CHECK(reg.bits != 0);
    atomic_fetch_add(&registered, 1);
    uint64_t how = check_random(random) % 4;
    if (how == 0) CHECK_IS(belay_cancel(ctx), BELAY_OK);
    if (how == 1) belay_wait(ctx, BELAY_US(50));
    if (how != 2) {
        belay_status stopped = how == 3 ? belay_stop(reg) : belay_stop_wait(reg, BELAY_FOREVER);
        CHECK(stopped == BELAY_STOP_PREVENTED || stopped == BELAY_STOP_RUNNING || stopped == BELAY_STOP_GONE);
        CHECK(how == 3 || stopped != BELAY_STOP_RUNNING);
        if (stopped == BELAY_STOP_GONE) CHECK_IS(*callback, RAN);
        if (stopped == BELAY_STOP_PREVENTED) {
            atomic_fetch_add(&prevented, 1);
            settle(callback, PREVENTED);
        }
    }
    check_close(ctx);
}

static void run_timer(struct listeners *listeners, uint64_t *random) {
    callback *callback = next_callback(listeners);
    belay_timer timer = belay_timer_after(belay_background(), BELAY_US(check_random(random) % 500), on_timer, callback);
    CHECK(timer.bits != 0);
    atomic_fetch_add(&timers, 1);
    if (check_random(random) % 2) belay_timer_reset(timer, BELAY_US(check_random(random) % 500));
    if (check_random(random) % 2 && belay_timer_stop(timer) == BELAY_STOP_PREVENTED) {
        atomic_fetch_add(&timers_prevented, 1);
        settle(callback, PREVENTED);
    }
}

static void use_shared(uint64_t *random) {
    belay_ctx ctx = any_shared(random);
    switch (check_random(random) % 8) {
    case 0: belay_cancel_cause(ctx, 3, "shared"); break;
    case 1:
        if (belay_retain(ctx) == BELAY_OK) {
            CHECK(belay_err(ctx) != BELAY_ESTALE);
            check_close(ctx);
        }
        break;
    case 2: {
        belay_ctx several[4] = {ctx, any_shared(random), any_shared(random), belay_background()};
        belay_wait_any(several, 4, BELAY_US(30), NULL);
        break;
    }
    case 3: belay_wait(ctx, BELAY_US(30)); break;
    case 4:
        if (check_random(random) % 8 == 0) belay_done_fd(ctx);
        break;
    default: ask(ctx);
    }
}

static void worker(void *argument) {
    (void)argument;
    static atomic_ulong seeds = 1;
    struct listeners *listeners = calloc(1, sizeof *listeners);
    for (int i = 0; i < RING; i++) atomic_init(&listeners->ring[i], RAN);
    uint64_t random = atomic_fetch_add(&seeds, 1) * 0x9e3779b97f4a7c15;
    long done = 0;
    for (; !atomic_load(&over); done++) {
        switch (check_random(&random) % 8) {
        case 0: replace_shared(&random); break;
        case 1: own_subtree(&random); break;
        case 2: listen(listeners, &random); break;
        case 3: run_timer(listeners, &random); break;
        default: use_shared(&random);
        }
    }
    atomic_fetch_add(&operations, done);
    for (int i = 0; i < RING; i++) EVENTUALLY(atomic_load(&listeners->ring[i]) != OPEN);
    free(listeners);
}

static void contend(int threads) {
    uint64_t contexts = LIVE_CONTEXTS, tasks = LIVE_TASKS;
    struct check_thread workers[16];
    atomic_store(&over, false);
    atomic_store(&operations, 0);
    for (int i = 0; i < threads; i++) check_start(&workers[i], worker, NULL);
    check_sleep((belay_duration)(seconds * 1e9));
    atomic_store(&over, true);
    for (int i = 0; i < threads; i++) check_join(&workers[i]);
    for (int i = 0; i < SHARED; i++) {
        belay_ctx old = {atomic_exchange(&shared[i], 0)};
        if (old.bits) check_close(old);
    }
    EVENTUALLY(LIVE_CONTEXTS == contexts);
    EVENTUALLY(LIVE_TASKS == tasks);
    CHECK_IS(dropped, values);
    CHECK_IS(ran, registered - prevented);
    CHECK_IS(timers_ran, timers - timers_prevented);
    printf("%2d threads: %ld operations; so far %ld callbacks, %ld prevented; %ld timers, %ld prevented; %ld values\n",
           threads, operations, registered, prevented, timers, timers_prevented, values);
    fflush(stdout);
}

int main(int argc, char **argv) {
    seconds = argc > 1 ? atof(argv[1]) : (double)check_scaled(1000) / 1000;
    for (int threads = 1; threads <= 16; threads *= 2) contend(threads);
    return 0;
}
