// SPDX-License-Identifier: Apache-2.0
//
// More than one runtime: options, threads of their own, event loops, and the end with work outstanding.
#define _GNU_SOURCE
#include "steps.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

static belay_runtime make(belay_runtime_options options) {
    options.size = sizeof options;
    belay_runtime runtime = belay_runtime_new(&options);
    CHECK(runtime.bits != 0);
    return runtime;
}
static void unmake(belay_runtime runtime) { CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK); }
static bool readable(int fd) {
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, 0) == 1;
}

static void options_are_checked(void) {
    belay_runtime_options options = {.size = 0};
    CHECK_IS(belay_runtime_new(&options).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    options.size = sizeof options;
    options.tick = -1;
    CHECK_IS(belay_runtime_new(&options).bits, 0);
    options = (belay_runtime_options){.size = sizeof options, .start = -1};
    CHECK_IS(belay_runtime_new(&options).bits, 0);

    // A caller with a newer idea of the struct: fine while it does not use it.
    struct { belay_runtime_options known; char more[24]; } newer;
    memset(&newer, 0, sizeof newer);
    newer.known.size = sizeof newer;
    unmake(belay_runtime_new(&newer.known));
    newer.more[7] = 1;
    CHECK_IS(belay_runtime_new(&newer.known).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    // And one with an older idea.
    belay_runtime_options older = {.size = sizeof(size_t), .virtual_clock = true};
    belay_runtime real = belay_runtime_new(&older);
    CHECK_IS(belay_runtime_poll(real, 0), BELAY_EINVAL); // the flag was beyond its size
    unmake(real);
    unmake(belay_runtime_new(NULL));
}

static void bad_handles(void) {
    belay_runtime stale = make((belay_runtime_options){.manual = true});
    unmake(stale);
    belay_runtime none = {0}, forged = {0x123456789abcdef0}, context = {belay_background().bits};
    belay_runtime bad[] = {none, forged, context, stale, {stale.bits + (UINT64_C(5) << 32)}, {stale.bits | 0xffffff}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        belay_status expected = i == 3 ? BELAY_ESTALE : BELAY_EINVAL;
        CHECK_IS(belay_runtime_background(bad[i]).bits, 0);
        CHECK_IS(belay_last_status(), expected);
        CHECK_IS(belay_runtime_free(bad[i], 0), expected);
        CHECK_IS(belay_runtime_poll(bad[i], 0), expected);
        CHECK_IS(belay_runtime_fd(bad[i]), -1);
        CHECK_IS(belay_last_status(), expected);
        CHECK_IS(belay_runtime_next(bad[i]), BELAY_FOREVER);
        CHECK(belay_runtime_now(bad[i]) <= belay_now());
    }
    uint64_t random = 88172645463325252;
    for (int i = 0; i < 10000; i++) {
        belay_runtime any = {check_random(&random)};
        CHECK(belay_runtime_free(any, 0) != BELAY_OK && belay_runtime_poll(any, 0) != BELAY_OK);
    }
}

static void the_root_is_a_root(void) {
    belay_runtime runtime = make((belay_runtime_options){.manual = false});
    belay_ctx root = belay_runtime_background(runtime);
    CHECK_IS(root.bits, belay_runtime_background(runtime).bits);
    CHECK(root.bits != belay_background().bits);
    check_live(root);
    CHECK_IS(belay_remaining(root), BELAY_FOREVER);
    CHECK_IS(belay_cancel(root), BELAY_ENOCANCEL);
    CHECK_IS(belay_cancel_cause(root, 1, "x"), BELAY_ENOCANCEL);
    check_close(root);
    CHECK_IS(belay_retain(root), BELAY_OK);
    CHECK_IS(belay_release(root), BELAY_OK);
    check_live(root);
    belay_ctx child = belay_with_timeout(root, BELAY_SEC(100)), lite = belay_lite(child, BELAY_FOREVER);
    check_live(child);
    check_live(lite);
    CHECK_IS(belay_wait(root, BELAY_MS(1)), BELAY_TIMEOUT);
    CHECK_IS(belay_wait(child, BELAY_MS(1)), BELAY_TIMEOUT);
    unmake(runtime);
    check_done(child, BELAY_CANCELED);
    check_cause(child, BELAY_CANCELED, "the runtime was freed");
    check_done(lite, BELAY_CANCELED);
    CHECK_IS(belay_err(root), BELAY_ESTALE);
    CHECK_IS(belay_with_cancel(root).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_ESTALE);
    check_close(lite);
    check_close(child);
}

struct name { char text[16]; atomic_int known; };
static void note_name(void *raw) {
    struct name *name = raw;
    prctl(PR_GET_NAME, name->text, 0, 0, 0);
    name->known = 1;
}

static void threads_have_its_name(void) {
    belay_runtime runtime = make((belay_runtime_options){.name = "orders-and-invoices"});
    belay_ctx ctx = belay_with_cancel(belay_runtime_background(runtime));
    struct name name = {"", 0};
    CHECK(belay_after_func(ctx, note_name, &name).bits != 0);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    EVENTUALLY(atomic_load(&name.known) == 1);
    CHECK(strcmp(name.text, "orders-a-worker") == 0);
    check_close(ctx);
    unmake(runtime);
}

static void contexts_have_a_limit(void) {
    belay_runtime runtime = make((belay_runtime_options){.max_contexts = 3});
    belay_ctx root = belay_runtime_background(runtime), held[3];
    held[0] = belay_with_cancel(root);
    held[1] = belay_lite(root, BELAY_FOREVER);
    held[2] = belay_with_value(held[0], &(belay_key){"k"}, NULL, NULL);
    CHECK_IS(belay_with_cancel(root).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_ENOMEM);
    CHECK_IS(belay_lite(root, 1).bits, 0);
    CHECK_IS(belay_without_cancel(root).bits, 0);
    belay_ctx elsewhere = belay_with_cancel(belay_background());
    CHECK(elsewhere.bits != 0);
    check_close(elsewhere);
    for (int i = 0; i < 3; i++) check_close(held[i]);
    for (int i = 0; i < 3; i++) check_live(held[i] = belay_with_cancel(root));
    for (int i = 0; i < 3; i++) check_close(held[i]);
    unmake(runtime);
}

// A size_t that is no Int ended the program.
static void any_limit_of_contexts_will_do(void) {
    const size_t limits[] = {SIZE_MAX, (size_t)INT64_MAX + 1, INT64_MAX, UINT32_MAX, UINT32_MAX - 2, 5};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        belay_runtime runtime = make((belay_runtime_options){.max_contexts = limits[i]});
        belay_ctx all[5];
        for (int k = 0; k < 5; k++) check_live(all[k] = belay_with_cancel(belay_runtime_background(runtime)));
        for (int k = 0; k < 5; k++) check_close(all[k]);
        unmake(runtime);
    }
}

// --- event loops -----------------------------------------------------------------------------------------------

static void a_loop_drives_it(void) {
    belay_runtime runtime = make((belay_runtime_options){.manual = true});
    belay_ctx root = belay_runtime_background(runtime), ctx = belay_with_timeout(root, BELAY_MS(20));
    int fd = belay_runtime_fd(runtime);
    CHECK(fd >= 0);
    CHECK_IS(belay_runtime_fd(runtime), fd);
    CHECK(!readable(fd));
    CHECK_IS(belay_runtime_next(runtime), BELAY_FOREVER);
    atomic_int ran = 0;
    CHECK(belay_after_func(ctx, check_count, &ran).bits != 0);
    belay_instant deadline = 0;
    CHECK(belay_deadline(ctx, &deadline));
    belay_instant next = belay_runtime_next(runtime);
    CHECK(next == deadline || (next > deadline && next <= belay_now())); // the present, if it is due already
    CHECK(belay_timer_after(root, BELAY_MS(5), check_count, &ran).bits != 0);
    int polls = 0;
    while (ran < 2) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        CHECK_IS(poll(&one, 1, -1), 1);
        int before = ran;
        CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
        if (before == 0 && ran == 1) CHECK(belay_now() < deadline || belay_is_done(ctx));
        polls++;
    }
    CHECK(polls < 20);
    CHECK(belay_now() >= deadline);
    check_done(ctx, BELAY_DEADLINE_EXCEEDED);
    CHECK(!readable(fd));
    check_close(ctx);
    unmake(runtime);
}

static void end_it(void *ctx) { belay_cancel(*(belay_ctx *)ctx); }
static void add_to_it(void *ctx) { CHECK(belay_timer_after(*(belay_ctx *)ctx, 0, check_ignore, NULL).bits != 0); }

static void other_threads_wake_the_loop(void) {
    belay_runtime runtime = make((belay_runtime_options){.manual = true});
    int fd = belay_runtime_fd(runtime);
    for (int round = 0; round < 50; round++) {
        belay_ctx ctx = belay_with_cancel(belay_runtime_background(runtime));
        atomic_int ran = 0;
        CHECK(belay_after_func(ctx, check_count, &ran).bits != 0);
        CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
        struct check_thread other;
        check_start(&other, round % 2 ? end_it : add_to_it, &ctx);
        struct pollfd one = {.fd = fd, .events = POLLIN};
        CHECK_IS(poll(&one, 1, 60000), 1);
        check_join(&other);
        CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
        CHECK_IS(ran, round % 2);
        check_close(ctx);
        CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
        CHECK_IS(ran, 1);
    }
    unmake(runtime);
}

// A poll that had looked for an alarm by then did not set the one that was made for the descriptor, and nobody else did.
static atomic_int asked_for;
static void poll_until_asked(void *runtime) {
    while (atomic_load(&asked_for) == 0) {
        belay_status status = belay_runtime_poll(*(belay_runtime *)runtime, belay_now());
        CHECK(status == BELAY_OK || status == BELAY_EBUSY); // the latter while the descriptor is made
    }
}
static void a_descriptor_that_is_made_during_a_poll(void) {
    uint64_t random = 3;
    for (long round = check_scaled(100); round > 0; round--) {
        belay_runtime runtime = make((belay_runtime_options){.manual = true});
        atomic_int ran = 0;
        CHECK(belay_timer_after(belay_runtime_background(runtime), BELAY_MS(5), check_count, &ran).bits != 0);
        atomic_store(&asked_for, 0);
        struct check_thread poller;
        check_start(&poller, poll_until_asked, &runtime);
        check_sleep(BELAY_US(check_random(&random) % 200));
        struct pollfd one = {.fd = belay_runtime_fd(runtime), .events = POLLIN};
        atomic_store(&asked_for, 1);
        check_join(&poller);
        if (atomic_load(&ran) == 0) CHECK_IS(poll(&one, 1, 60000), 1);
        EVENTUALLY(belay_runtime_poll(runtime, belay_now()) == BELAY_OK && atomic_load(&ran) == 1);
        unmake(runtime);
    }
}

static belay_runtime polled;
static void poll_again(void *answer) {
    atomic_store((atomic_int *)answer, (int)belay_runtime_poll(polled, BELAY_FOREVER));
}
static void free_inside(void *answer) { atomic_store((atomic_int *)answer, (int)belay_runtime_free(polled, 0)); }

static void no_poll_inside_a_poll(void) {
    polled = make((belay_runtime_options){.manual = true});
    belay_ctx root = belay_runtime_background(polled);
    atomic_int answer = -1, freed = -1;
    CHECK(belay_timer_after(root, 0, poll_again, &answer).bits != 0);
    CHECK(belay_timer_after(root, 0, free_inside, &freed).bits != 0);
    while (freed == -1 || answer == -1) CHECK_IS(belay_runtime_poll(polled, BELAY_FOREVER), BELAY_OK);
    CHECK_IS(answer, BELAY_EBUSY);
    CHECK_IS(freed, BELAY_EDEADLK);
    unmake(polled);
    polled = make((belay_runtime_options){.manual = false});
    freed = -1;
    CHECK(belay_timer_after(belay_runtime_background(polled), 0, free_inside, &freed).bits != 0);
    EVENTUALLY(atomic_load(&freed) != -1);
    CHECK_IS(freed, BELAY_EDEADLK);
    unmake(polled);
}

static void timers_wait_for_a_tick(void) {
    belay_runtime runtime = make((belay_runtime_options){.virtual_clock = true, .tick = BELAY_MS(10)});
    belay_ctx root = belay_runtime_background(runtime);
    atomic_int ran = 0;
    for (int i = 1; i <= 9; i++) CHECK(belay_timer_after(root, BELAY_MS(i), check_count, &ran).bits != 0);
    CHECK_IS(belay_runtime_next(runtime), BELAY_SEC(1) + BELAY_MS(10));
    CHECK_IS(belay_runtime_poll(runtime, belay_runtime_next(runtime)), BELAY_OK);
    CHECK_IS(ran, 9);
    unmake(runtime);
}

// --- the end of a runtime ----------------------------------------------------------------------------------------

static void everything_runs_when_it_is_freed(belay_runtime_options options) {
    belay_runtime runtime = make(options);
    belay_ctx root = belay_runtime_background(runtime), ctx = belay_with_timeout(root, BELAY_SEC(1000));
    belay_ctx detached = belay_without_cancel(root), apart = belay_with_cancel(detached);
    atomic_int ended = 0, inlined = 0, once = 0, again = 0, never = 0, late = 0;
    CHECK(belay_after_func(ctx, check_count, &ended).bits != 0);
    CHECK(belay_on_done(ctx, check_count, &inlined).bits != 0);
    CHECK(belay_after_func(apart, check_count, &late).bits != 0);
    for (int i = 0; i < 1000; i++) CHECK(belay_timer_after(ctx, BELAY_SEC(10 + i), check_count, &once).bits != 0);
    CHECK(belay_timer_every(apart, BELAY_SEC(5), check_count, &again).bits != 0);
    CHECK(belay_timer_after(root, BELAY_FOREVER, check_count, &never).bits != 0);
    int fd = belay_done_fd(ctx);
    unmake(runtime);
    CHECK_IS(ended, 1);
    CHECK_IS(inlined, 1);
    CHECK_IS(once, 1000);
    CHECK_IS(again, 1);
    CHECK_IS(never, 1);
    CHECK_IS(late, 0);
    CHECK(readable(fd));
    check_done(ctx, BELAY_CANCELED);
    check_live(apart);
    CHECK_IS(belay_timer_after(apart, 1, check_count, &once).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_ESTALE);
    CHECK_IS(belay_cancel(apart), BELAY_OK);
    EVENTUALLY(atomic_load(&late) == 1); // on the default runtime
    check_close(apart);
    check_close(detached);
    check_close(ctx);
}

static void freed_with_threads(void) { everything_runs_when_it_is_freed((belay_runtime_options){.manual = false}); }
static void freed_in_a_loop(void) { everything_runs_when_it_is_freed((belay_runtime_options){.manual = true}); }
static void freed_with_a_virtual_clock(void) {
    everything_runs_when_it_is_freed((belay_runtime_options){.virtual_clock = true});
}

static atomic_int gate;
static void wait_for_the_gate(void *began) {
    atomic_store((atomic_int *)began, 1);
    EVENTUALLY(atomic_load(&gate) == 1);
}

static void free_waits_for_callbacks(void) {
    belay_runtime runtime = make((belay_runtime_options){.manual = false});
    atomic_int began = 0;
    gate = 0;
    CHECK(belay_timer_after(belay_runtime_background(runtime), 0, wait_for_the_gate, &began).bits != 0);
    EVENTUALLY(atomic_load(&began) == 1);
    CHECK_IS(belay_runtime_free(runtime, 0), BELAY_TIMEOUT);
    CHECK_IS(belay_runtime_free(runtime, BELAY_MS(2)), BELAY_TIMEOUT);
    CHECK_IS(belay_runtime_background(runtime).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_ESTALE);
    gate = 1;
    unmake(runtime);
    CHECK_IS(belay_runtime_free(runtime, 0), BELAY_ESTALE);
}

static void numbers_are_used_again(void) {
    belay_runtime made[300];
    int count = 0;
    for (; count < 300; count++) {
        made[count] = belay_runtime_new(NULL);
        if (made[count].bits == 0) break;
    }
    CHECK_IS(belay_last_status(), BELAY_ENOMEM);
    CHECK_IS(count, 255);
    belay_ctx held = belay_without_cancel(belay_runtime_background(made[7]));
    for (int i = 0; i < count; i++) unmake(made[i]);
    // The one whose context is still open is not given to anybody.
    for (int i = 0; i < 254; i++) CHECK((made[i] = belay_runtime_new(NULL)).bits != 0);
    CHECK_IS(belay_runtime_new(NULL).bits, 0);
    check_close(held);
    CHECK((made[254] = belay_runtime_new(NULL)).bits != 0);
    for (int i = 0; i < 255; i++) unmake(made[i]);
}

static void timers_after_reuse(void) { // the storage is as new, whatever the one before left
    for (int round = 0; round < 20; round++) {
        belay_runtime runtime = make((belay_runtime_options){.manual = round % 2 == 0});
        atomic_int ran = 0;
        belay_ctx root = belay_runtime_background(runtime);
        CHECK(belay_timer_after(root, BELAY_MS(1), check_count, &ran).bits != 0);
        CHECK(belay_timer_after(root, BELAY_SEC(100), check_count, &ran).bits != 0);
        while (ran == 0) {
            if (round % 2 == 0) CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
            check_sleep(BELAY_US(100));
        }
        CHECK_IS(ran, 1);
        unmake(runtime);
        CHECK_IS(ran, 2);
    }
}

// Threads use a runtime while another one frees it: each timer runs once, or was refused, or was stopped.
struct storm { belay_runtime runtime; atomic_long made, ran, prevented; atomic_int over; };
static void ran_in_storm(void *storm) { atomic_fetch_add(&((struct storm *)storm)->ran, 1); }

static void use_it(void *raw) {
    struct storm *storm = raw;
    uint64_t random = (uint64_t)(uintptr_t)&random | 1;
    for (;;) {
        belay_ctx root = belay_runtime_background(storm->runtime);
        if (root.bits == 0) return;
        belay_ctx ctx = belay_with_timeout(root, BELAY_US((int64_t)(check_random(&random) % 300)));
        belay_timer timer = belay_timer_after(ctx, BELAY_US((int64_t)(check_random(&random) % 3000)), ran_in_storm, storm);
        if (timer.bits != 0) storm->made++;
        belay_reg reg = belay_after_func(ctx, ran_in_storm, storm);
        if (reg.bits != 0) storm->made++;
        if (timer.bits != 0 && check_random(&random) % 4 == 0 && belay_timer_stop(timer) == BELAY_STOP_PREVENTED) storm->prevented++;
        if (reg.bits != 0 && check_random(&random) % 4 == 0 && belay_stop(reg) == BELAY_STOP_PREVENTED) storm->prevented++;
        belay_close(ctx);
    }
}

static void freed_in_a_storm(void) {
    for (int round = 0; round < (int)check_scaled(60); round++) {
        struct storm storm = {.runtime = make((belay_runtime_options){.manual = false})};
        struct check_thread threads[4];
        for (int i = 0; i < 4; i++) check_start(&threads[i], use_it, &storm);
        check_sleep(BELAY_MS(round % 5));
        unmake(storm.runtime);
        for (int i = 0; i < 4; i++) check_join(&threads[i]);
        EVENTUALLY(storm.ran + storm.prevented == storm.made);
    }
}

// A free on another thread than the loop's returned, and closed the loop's descriptors, in the middle of a poll.
struct polled { belay_runtime runtime; atomic_int began, ended; };
static void takes_its_time(void *raw) {
    struct polled *polled = raw;
    polled->began = 1;
    check_sleep(BELAY_MS(30));
    polled->ended = 1;
}
static void poll_it(void *raw) { CHECK_IS(belay_runtime_poll(((struct polled *)raw)->runtime, BELAY_FOREVER), BELAY_OK); }

static void a_free_that_did_not_wait_for_a_poll(void) {
    struct polled polled = {.runtime = make((belay_runtime_options){.manual = true})};
    belay_ctx ctx = belay_with_timeout(belay_runtime_background(polled.runtime), BELAY_MS(1));
    CHECK(belay_on_done(ctx, takes_its_time, &polled).bits != 0);
    check_sleep(BELAY_MS(2));
    struct check_thread thread;
    check_start(&thread, poll_it, &polled);
    EVENTUALLY(atomic_load(&polled.began));
    CHECK_IS(belay_runtime_free(polled.runtime, 0), BELAY_TIMEOUT);
    unmake(polled.runtime);
    CHECK_IS(polled.ended, 1);
    check_join(&thread);
    check_close(ctx);
}

// The instant before its rounding counted as something that the host had not been told of.
static void a_tick_that_kept_the_descriptor_readable(void) {
    belay_runtime runtime = make((belay_runtime_options){.manual = true, .tick = BELAY_SEC(50)});
    int fd = belay_runtime_fd(runtime);
    atomic_int ran = 0;
    belay_timer timer = belay_timer_after(belay_runtime_background(runtime), BELAY_SEC(500) + 1, check_count, &ran);
    CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
    CHECK(!readable(fd));
    CHECK_IS(belay_timer_stop(timer), BELAY_STOP_PREVENTED);
    unmake(runtime);
    CHECK_IS(ran, 0);
}

// A thread on its way to tell a loop wrote to whatever had the number of the loop's descriptor by then.
struct late { belay_runtime runtime; atomic_int runs, over; };
static void tells_the_loop(void *raw) {
    struct late *late = raw;
    belay_ctx elsewhere = belay_with_cancel(belay_background()); // the thread's first
    CHECK_IS(belay_stop(belay_on_done(elsewhere, check_ignore, NULL)), BELAY_STOP_PREVENTED);
    check_close(elsewhere);
    count_steps(true);
    belay_timer_after(belay_runtime_background(late->runtime), BELAY_SEC(1), check_count, &late->runs);
    count_steps(false);
    late->over = 1;
}

static void a_bell_that_was_somebody_elses(void) {
    struct late late = {.runtime = make((belay_runtime_options){.manual = true})};
    CHECK(belay_runtime_fd(late.runtime) >= 0);
    CHECK_IS(belay_runtime_poll(late.runtime, BELAY_FOREVER), BELAY_OK);
    atomic_store(&steps, 1);
    atomic_store(&first_step, SYSTEM_CALL);
    long halt = atomic_fetch_add(&check_holds, 1) + 1;
    struct check_thread thread;
    check_start(&thread, tells_the_loop, &late);
    while (atomic_load(&check_held) < halt && !atomic_load(&late.over)) check_sleep(BELAY_US(10));
    unmake(late.runtime);
    int others[4];
    for (int i = 0; i < 4; i++) CHECK((others[i] = eventfd(0, EFD_NONBLOCK)) >= 0);
    check_free();
    check_join(&thread);
    CHECK_IS(late.runs, 1);
    for (int i = 0; i < 4; i++) {
        CHECK(!readable(others[i]));
        close(others[i]);
    }
}

static void free_it(void *raw) {
    belay_status status = belay_runtime_free(*(belay_runtime *)raw, BELAY_FOREVER);
    CHECK(status == BELAY_OK || status == BELAY_ESTALE);
}

// A free found the lists and the wheels empty, and returned while another call had yet to hand out what it had taken there: a
// cancel, or the same free on another thread.
struct taker { belay_runtime runtime; belay_ctx ctx; int how; atomic_int runs, began, over; };
static void takes_them(void *raw) {
    struct taker *taker = raw;
    taker->began = 1;
    if (taker->how == 0) belay_cancel(taker->ctx); else free_it(&taker->runtime);
    while (!taker->over) check_sleep(BELAY_US(10));
}

static void a_free_that_left_callbacks_behind(void) {
    enum { COUNT = 200 };
    uint64_t random = 21;
    for (long turn = 3 * check_scaled(40); turn > 0; turn--) {
        struct taker taker = {.runtime = make((belay_runtime_options){.manual = false}), .how = turn % 3};
        taker.ctx = belay_with_cancel(belay_runtime_background(taker.runtime));
        for (int i = 0; i < COUNT; i++) {
            if (taker.how == 1) CHECK(belay_timer_after(taker.ctx, BELAY_SEC(1000), check_count, &taker.runs).bits != 0);
            else CHECK(belay_after_func(taker.ctx, check_count, &taker.runs).bits != 0);
        }
        struct check_thread thread;
        check_start(&thread, takes_them, &taker);
        while (!taker.began) {}
        for (volatile uint64_t i = check_random(&random) % 4096; i > 0; i--) {}
        check_hold(&thread);
        belay_status status = belay_runtime_free(taker.runtime, BELAY_FOREVER);
        CHECK(status == BELAY_OK || status == BELAY_ESTALE);
        if (status == BELAY_OK) CHECK_IS(taker.runs, COUNT);
        check_free();
        taker.over = 1;
        check_join(&thread);
        CHECK_IS(taker.runs, COUNT);
        check_close(taker.ctx);
    }
}

// What runs on a runtime's own threads beside its callbacks: the end of a context of another runtime below one of its
// own, and the drop function of what a task was the last to keep. A free waited for the thread that it was called on.
struct freer { belay_runtime runtime; belay_ctx ctx; belay_group group; atomic_int release, answer; struct name name; };
static void free_its_own(void *raw) {
    struct freer *self = raw;
    note_name(&self->name);
    atomic_store(&self->answer, (int)belay_runtime_free(self->runtime, BELAY_MS(10)));
}
static int64_t held_task(belay_ctx ctx, void *raw) {
    (void)ctx;
    struct freer *self = raw;
    EVENTUALLY(atomic_load(&self->release));
    return self->ctx.bits != 0 ? 5 : 0; // an error ends that context
}
// Afterwards the runtime is what it was, and its owner frees it.
static void check_refused(struct freer *self, const char *thread) {
    EVENTUALLY(atomic_load(&self->answer) != -1);
    CHECK_IS(self->answer, BELAY_EDEADLK);
    if (strcmp(self->name.text, thread) != 0) fprintf(stderr, "on the thread %s\n", self->name.text);
    CHECK(strcmp(self->name.text, thread) == 0);
    check_live(belay_runtime_background(self->runtime));
    unmake(self->runtime);
}
static struct freer freer(belay_runtime_options options) {
    options.name = "own";
    return (struct freer){.runtime = make(options), .answer = -1};
}
// The last to keep the value is the task.
static void start_dropping_task(struct freer *self) {
    static const belay_key key = {"key"};
    belay_ctx value = belay_with_value(belay_runtime_background(self->runtime), &key, self, free_its_own);
    self->group = belay_group_new(value, 1, NULL);
    CHECK_IS(belay_group_go(self->group, held_task, self), BELAY_OK);
    check_close(value);
    CHECK_IS(belay_group_free(self->group), BELAY_OK);
    CHECK_IS(self->answer, -1);
    self->release = 1;
}

static void no_free_where_a_deadline_is_pushed_elsewhere(void) {
    struct freer self = freer((belay_runtime_options){.manual = false});
    belay_ctx parents[2] = {belay_with_cancel(belay_background()), {0}};
    // Long enough to be listened to before, by a slow tool too.
    parents[1] = belay_with_timeout(belay_runtime_background(self.runtime), BELAY_MS(500));
    belay_ctx merged = belay_merge(parents, 2);
    CHECK(belay_on_done(merged, free_its_own, &self).bits != 0);
    check_refused(&self, "own-driver");
    check_done(merged, BELAY_DEADLINE_EXCEEDED);
    check_close(merged);
    for (int i = 0; i < 2; i++) check_close(parents[i]);
}

static void no_free_where_a_tasks_value_is_dropped(void) {
    struct freer self = freer((belay_runtime_options){.manual = false});
    start_dropping_task(&self);
    check_refused(&self, "own-worker");
}

static void no_free_where_a_tasks_error_is_pushed_elsewhere(void) {
    struct freer self = freer((belay_runtime_options){.manual = false});
    self.group = belay_group_new(belay_runtime_background(self.runtime), 1, &self.ctx);
    belay_ctx parents[2] = {belay_with_cancel(belay_background()), self.ctx}, merged = belay_merge(parents, 2);
    CHECK(belay_on_done(merged, free_its_own, &self).bits != 0);
    self.release = 1;
    CHECK_IS(belay_group_go(self.group, held_task, &self), BELAY_OK);
    CHECK_IS(belay_group_wait(self.group, BELAY_FOREVER, NULL), BELAY_EFAILED);
    check_cause(merged, 5, "a task returned 5");
    check_close(merged);
    check_close(parents[0]);
    CHECK_IS(belay_group_free(self.group), BELAY_OK);
    check_refused(&self, "own-worker");
}

// A thread of the host's is the runtime's while it runs a task, and no longer: after that it may free.
struct host { void (*run)(void *task); void *task; struct freer *freer; atomic_int submitted; };
static void host_submit(void *raw, void (*run)(void *task), void *task) {
    struct host *host = raw;
    host->run = run;
    host->task = task;
    atomic_store(&host->submitted, 1);
}
static void host_thread(void *raw) {
    struct host *host = raw;
    prctl(PR_SET_NAME, "host", 0, 0, 0);
    EVENTUALLY(atomic_load(&host->submitted));
    host->run(host->task);
    check_refused(host->freer, "host");
}
static void no_free_where_a_host_runs_its_tasks(void) {
    struct host host = {.submitted = 0};
    struct freer self = freer((belay_runtime_options){.executor = {host_submit, &host}});
    struct check_thread thread;
    host.freer = &self;
    check_start(&thread, host_thread, &host);
    start_dropping_task(&self);
    check_join(&thread);
}

// One that runs a task before submit returns, under another's.
static void run_at_once(void *raw, void (*run)(void *task), void *task) {
    if (raw != NULL) atomic_fetch_add((atomic_int *)raw, 1);
    run(task);
}
static int64_t free_in_the_other(belay_ctx ctx, void *raw) {
    (void)ctx;
    struct freer *self = raw;
    self->release = 1;
    CHECK_IS(belay_group_go(self->group, held_task, self), BELAY_OK); // in there, and over by now
    CHECK_IS(belay_group_wait(self->group, 0, NULL), BELAY_OK);
    CHECK_IS(belay_group_free(self->group), BELAY_OK);
    CHECK_IS(belay_runtime_free(self->runtime, BELAY_MS(10)), BELAY_OK); // is not ours any more
    return 0;
}
static void a_host_that_runs_one_runtimes_task_in_anothers(void) {
    atomic_int inner_runs = 0, outer_runs = 0;
    struct freer inner = freer((belay_runtime_options){.executor = {run_at_once, &inner_runs}});
    inner.group = belay_group_new(belay_runtime_background(inner.runtime), 1, NULL);
    belay_runtime outer = make((belay_runtime_options){.executor = {run_at_once, &outer_runs}});
    belay_group group = belay_group_new(belay_runtime_background(outer), 1, NULL);
    CHECK_IS(belay_group_go(group, free_in_the_other, &inner), BELAY_OK);
    CHECK(inner_runs == 1 && outer_runs == 1);
    CHECK_IS(belay_group_free(group), BELAY_OK);
    unmake(outer);
}

// A thread that is one runtime's stays so while it runs what another one gave it: a task in a host's submit, a timer in
// a poll.
struct nested { struct freer outer; belay_runtime inner; belay_group group; bool polls; };
static void free_the_outer(void *raw) { free_its_own(&((struct nested *)raw)->outer); }
static int64_t free_the_outer_task(belay_ctx ctx, void *raw) {
    (void)ctx;
    free_the_outer(raw);
    return 0;
}
static void run_one_of_the_inner(void *raw) {
    struct nested *self = raw;
    if (!self->polls) CHECK_IS(belay_group_go(self->group, free_the_outer_task, self), BELAY_OK);
    else CHECK_IS(belay_runtime_poll(self->inner, BELAY_FOREVER), BELAY_OK);
}
static void no_free_of_the_outer_one_inside_anothers_task(void) {
    static const belay_key key = {"key"};
    for (int polls = 0; polls < 2; polls++) {
        struct nested self = {.outer = freer((belay_runtime_options){.manual = false}), .polls = polls};
        self.inner = make(polls ? (belay_runtime_options){.virtual_clock = true}
                                : (belay_runtime_options){.executor = {run_at_once, NULL}});
        self.group = belay_group_new(belay_runtime_background(self.inner), 1, NULL);
        if (polls) CHECK(belay_timer_after(belay_runtime_background(self.inner), 0, free_the_outer, &self).bits != 0);
        belay_ctx root = belay_runtime_background(self.outer.runtime);
        belay_ctx value = belay_with_value(root, &key, &self, run_one_of_the_inner);
        self.outer.group = belay_group_new(value, 1, NULL);
        CHECK_IS(belay_group_go(self.outer.group, held_task, &self.outer), BELAY_OK);
        check_close(value);
        CHECK_IS(belay_group_free(self.outer.group), BELAY_OK);
        self.outer.release = 1;
        check_refused(&self.outer, "own-worker");
        CHECK_IS(belay_group_wait(self.group, BELAY_FOREVER, NULL), BELAY_OK);
        CHECK_IS(belay_group_free(self.group), BELAY_OK);
        unmake(self.inner);
    }
}

// A timer under a runtime that was freed meanwhile went into the one that had got the number, which has fewer wheels, and was
// never seen again.
struct late_timer { belay_ctx root; belay_timer timer; atomic_int runs, began, over; };
static void starts_late(void *raw) {
    struct late_timer *late = raw;
    belay_ctx elsewhere = belay_with_cancel(belay_background()); // the thread's first
    CHECK_IS(belay_stop(belay_on_done(elsewhere, check_ignore, NULL)), BELAY_STOP_PREVENTED);
    check_close(elsewhere);
    count_steps(true);
    late->timer = belay_timer_after(late->root, BELAY_SEC(1), check_count, &late->runs);
    count_steps(false);
    late->began = 1;
    while (!late->over) check_sleep(BELAY_US(10));
}

static void a_timer_that_came_too_late(void) {
    enum { COUNT = 4 };
    static struct late_timer late[COUNT];
    struct check_thread threads[COUNT];
    for (int i = 0; i < COUNT; i++) {
        belay_runtime old = make((belay_runtime_options){.manual = false});
        late[i].root = belay_runtime_background(old);
        CHECK(belay_timer_after(late[i].root, BELAY_SEC(1000), check_ignore, NULL).bits != 0);
        atomic_store(&steps, 1);
        atomic_store(&first_step, LOCK);
        long halt = atomic_fetch_add(&check_holds, 1) + 1;
        check_start(&threads[i], starts_late, &late[i]);
        while (atomic_load(&check_held) < halt && !atomic_load(&late[i].began)) check_sleep(BELAY_US(10));
        unmake(old);
        belay_runtime next = make((belay_runtime_options){.manual = true});
        CHECK(belay_timer_after(belay_runtime_background(next), BELAY_SEC(1000), check_ignore, NULL).bits != 0);
        check_free();
        EVENTUALLY(atomic_load(&late[i].began));
        unmake(next);
        CHECK_IS(late[i].runs, late[i].timer.bits != 0);
    }
    for (int i = 0; i < COUNT; i++) {
        late[i].over = 1;
        check_join(&threads[i]);
    }
}

// Callbacks that wait for others got no more threads once their runtime was being freed.
static atomic_int arrived;
static void meets_the_others(void *count) {
    atomic_fetch_add(&arrived, 1);
    while (atomic_load(&arrived) < *(int *)count) check_sleep(BELAY_US(100));
}

static void callbacks_stuck_in_a_free(void) {
    for (int started = 0; started < 2; started++) {
        belay_runtime runtime = make((belay_runtime_options){.manual = false});
        belay_ctx ctx = belay_with_cancel(belay_runtime_background(runtime));
        int count = 12;
        atomic_store(&arrived, 0);
        for (int i = 0; i < count; i++) CHECK(belay_after_func(ctx, meets_the_others, &count).bits != 0);
        belay_timer timer = {0};
        if (started) timer = belay_timer_after(ctx, BELAY_SEC(1000), check_ignore, NULL);
        unmake(runtime);
        CHECK_IS(arrived, count);
        CHECK_IS(belay_timer_stop(timer), started ? BELAY_STOP_GONE : BELAY_EINVAL);
        check_close(ctx);
    }
}

// What outlives its runtime could not be listened to if it had a deadline.
static void listeners_refused_after_a_free(void) {
    belay_runtime runtime = make((belay_runtime_options){.manual = false});
    belay_ctx apart = belay_without_cancel(belay_runtime_background(runtime));
    belay_ctx far = belay_with_timeout(apart, BELAY_SEC(1000)), near = belay_with_timeout(apart, BELAY_MS(10));
    belay_ctx moved = belay_with_cancel(apart);
    CHECK_IS(belay_set_deadline(moved, belay_now() + BELAY_SEC(1000)), BELAY_OK);
    unmake(runtime);
    atomic_int ran = 0;
    CHECK(belay_after_func(far, check_count, &ran).bits != 0);
    CHECK(belay_on_done(moved, check_count, &ran).bits != 0);
    CHECK(belay_done_fd(far) >= 0);
    CHECK_IS(belay_wait(moved, BELAY_MS(1)), BELAY_TIMEOUT);
    CHECK_IS(belay_set_deadline(moved, belay_now() + BELAY_SEC(2000)), BELAY_OK);
    CHECK_IS(belay_wait(near, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED); // who waits is his own timer
    CHECK_IS(belay_cancel(far), BELAY_OK);
    CHECK_IS(belay_cancel(moved), BELAY_OK);
    CHECK(readable(belay_done_fd(far)));
    EVENTUALLY(atomic_load(&ran) == 2);
    check_close(far);
    check_close(near);
    check_close(moved);
    check_close(apart);
}

// Of two frees the second one could end the runtime that had got the number meanwhile.
static void two_frees_and_a_new_runtime(void) {
    for (long turn = check_scaled(500); turn > 0; turn--) {
        belay_runtime old = make((belay_runtime_options){.manual = true});
        struct check_thread thread;
        check_start(&thread, free_it, &old);
        free_it(&old);
        belay_runtime next = make((belay_runtime_options){.manual = true});
        belay_ctx ctx = belay_with_cancel(belay_runtime_background(next));
        check_join(&thread);
        check_live(ctx);
        check_close(ctx);
        unmake(next);
    }
}

int main(void) {
    belay_ctx first = belay_with_cancel(belay_background());
    check_close(first);
    const struct check_test tests[] = {
        TEST(options_are_checked), TEST(bad_handles), TEST(the_root_is_a_root), TEST(threads_have_its_name),
        TEST(contexts_have_a_limit), TEST(any_limit_of_contexts_will_do), TEST(a_loop_drives_it),
        TEST(other_threads_wake_the_loop),
        TEST(a_descriptor_that_is_made_during_a_poll),
        TEST(no_poll_inside_a_poll), TEST(timers_wait_for_a_tick), TEST(freed_with_threads), TEST(freed_in_a_loop),
        TEST(freed_with_a_virtual_clock), TEST(free_waits_for_callbacks), TEST(numbers_are_used_again),
        TEST(timers_after_reuse), TEST(freed_in_a_storm), TEST(a_free_that_did_not_wait_for_a_poll),
        TEST(callbacks_stuck_in_a_free), TEST(two_frees_and_a_new_runtime),
        TEST(listeners_refused_after_a_free), TEST(a_tick_that_kept_the_descriptor_readable),
        TEST(a_bell_that_was_somebody_elses), TEST(a_free_that_left_callbacks_behind),
        TEST(no_free_where_a_deadline_is_pushed_elsewhere), TEST(no_free_where_a_tasks_value_is_dropped),
        TEST(no_free_where_a_tasks_error_is_pushed_elsewhere), TEST(no_free_where_a_host_runs_its_tasks),
        TEST(a_host_that_runs_one_runtimes_task_in_anothers), TEST(no_free_of_the_outer_one_inside_anothers_task),
        TEST(a_timer_that_came_too_late),
    };
    RUN_TESTS(tests, "");
    return 0;
}
