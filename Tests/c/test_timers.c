// SPDX-License-Identifier: Apache-2.0
//
// Timers: none early, all run, and the driver sleeps in between. How late they are is printed, not judged.
#include "check.h"

static uint64_t wakeups(void) { return check_metric("/driver/wakeups:wakeups"); }
static void stop_pending(belay_timer timer) { CHECK_IS(belay_timer_stop(timer), BELAY_STOP_PREVENTED); }

// A timer that notes when it ran.
struct noted { _Atomic belay_instant not_before, ran_at; atomic_int runs; };
static atomic_int notes;
static void note(void *argument) {
    struct noted *noted = argument;
    noted->ran_at = belay_now();
    CHECK(noted->ran_at >= noted->not_before);
    CHECK_IS(atomic_fetch_add(&noted->runs, 1), 0);
    atomic_fetch_add(&notes, 1);
}
static belay_timer noted_after(struct noted *noted, belay_ctx ctx, belay_duration delay) {
    noted->not_before = belay_now() + delay;
    belay_timer timer = belay_timer_after(ctx, delay, note, noted);
    CHECK(timer.bits != 0);
    return timer;
}

static int compare(const void *a, const void *b) {
    belay_duration x = *(const belay_duration *)a, y = *(const belay_duration *)b;
    return (x > y) - (x < y);
}
static void print_lateness(const char *what, struct noted *noted, long count) {
    belay_duration *late = malloc((size_t)count * sizeof *late);
    for (long i = 0; i < count; i++) late[i] = noted[i].ran_at - noted[i].not_before;
    qsort(late, (size_t)count, sizeof *late, compare);
    printf("    %ld %s: late by %.3f ms (p50), %.3f ms (p99), %.3f ms (the latest); none early\n", count, what,
           (double)late[count / 2] / 1e6, (double)late[count * 99 / 100] / 1e6, (double)late[count - 1] / 1e6);
    free(late);
}

static void none_is_early_and_all_run(void) {
    long count = check_scaled(10000);
    uint64_t random = 3;
    struct noted *noted = calloc((size_t)count, sizeof *noted);
    atomic_store(&notes, 0);
    for (long i = 0; i < count; i++) {
        noted_after(&noted[i], belay_background(), (belay_duration)(check_random(&random) % BELAY_MS(1000)));
    }
    EVENTUALLY(atomic_load(&notes) == count);
    print_lateness("timers at random instants", noted, count);
    free(noted);
}

static void no_deadline_is_early(void) {
    long count = check_scaled(3000);
    uint64_t random = 4;
    struct noted *noted = calloc((size_t)count, sizeof *noted);
    belay_ctx *ctxs = calloc((size_t)count, sizeof *ctxs);
    atomic_store(&notes, 0);
    for (long i = 0; i < count; i++) {
        noted[i].not_before = belay_now() + (belay_duration)(check_random(&random) % BELAY_MS(300));
        ctxs[i] = belay_with_deadline(belay_background(), noted[i].not_before);
        CHECK((i % 2 ? belay_after_func(ctxs[i], note, &noted[i]) : belay_on_done(ctxs[i], note, &noted[i])).bits != 0);
    }
    EVENTUALLY(atomic_load(&notes) == count);
    print_lateness("deadlines with callbacks", noted, count);
    for (long i = 0; i < count; i++) {
        check_done(ctxs[i], BELAY_DEADLINE_EXCEEDED);
        check_close(ctxs[i]);
    }
    free(noted);
    free(ctxs);
}

static void timers_that_share_an_instant(void) {
    long count = check_scaled(10000);
    struct noted *noted = calloc((size_t)count, sizeof *noted);
    atomic_store(&notes, 0);
    uint64_t before = wakeups();
    belay_instant due = belay_now() + BELAY_MS(200);
    for (long i = 0; i < count; i++) {
        noted[i].not_before = due;
        belay_duration left = due - belay_now();
        CHECK(belay_timer_after(belay_background(), left, note, &noted[i]).bits != 0);
    }
    bool in_time = belay_now() < due;
    EVENTUALLY(atomic_load(&notes) == count);
    print_lateness("timers at one instant", noted, count);
    printf("    they woke the driver %" PRIu64 " times\n", wakeups() - before);
    if (in_time) CHECK(wakeups() - before <= 100);
    free(noted);
}

static void far_apart_each_wakes_once(void) {
    enum { COUNT = 100 };
    struct noted noted[COUNT] = {{0}};
    atomic_store(&notes, 0);
    uint64_t before = wakeups();
    for (int i = 0; i < COUNT; i++) noted_after(&noted[i], belay_background(), BELAY_MS(3 * (i + 5)));
    EVENTUALLY(atomic_load(&notes) == COUNT);
    printf("    %d timers woke the driver %" PRIu64 " times\n", COUNT, wakeups() - before);
    CHECK(wakeups() - before <= COUNT + 10);
}

static void pending_timers_cost_nothing(void) {
    long count = check_scaled(100000);
    belay_timer *timers = calloc((size_t)count, sizeof *timers);
    uint64_t random = 6;
    for (long i = 0; i < count; i++) {
        belay_duration delay = BELAY_SEC(600) + (belay_duration)(check_random(&random) % BELAY_SEC(100000));
        timers[i] = belay_timer_after(belay_background(), delay, check_ignore, NULL);
        CHECK(timers[i].bits != 0);
    }
    check_sleep(BELAY_MS(20));
    uint64_t before = wakeups();
    check_sleep(BELAY_MS(200));
    CHECK_IS(wakeups(), before);
    for (long i = 0; i < count; i++) stop_pending(timers[(i * 7919) % count]);
    check_sleep(BELAY_MS(20));
    before = wakeups();
    check_sleep(BELAY_MS(50));
    CHECK_IS(wakeups(), before);
    free(timers);
}

static void stop_and_reset(void) {
    struct noted noted = {0};
    atomic_store(&notes, 0);
    belay_timer timer = noted_after(&noted, belay_background(), BELAY_SEC(1000));
    stop_pending(timer);
    CHECK_IS(belay_timer_stop(timer), BELAY_STOP_GONE);
    CHECK_IS(belay_timer_reset(timer, 0), BELAY_STOP_GONE);

    timer = noted_after(&noted, belay_background(), BELAY_MS(50)); // later
    belay_instant moved = belay_now() + BELAY_MS(80);
    if (belay_timer_reset(timer, BELAY_MS(80)) == BELAY_OK) noted.not_before = moved;
    EVENTUALLY(atomic_load(&notes) == 1);
    EVENTUALLY(belay_timer_stop(timer) == BELAY_STOP_GONE);
    CHECK_IS(belay_timer_reset(timer, BELAY_MS(1)), BELAY_STOP_GONE);

    noted.runs = 0;
    timer = noted_after(&noted, belay_background(), BELAY_SEC(1000)); // earlier
    noted.not_before = belay_now() + BELAY_MS(2);
    CHECK_IS(belay_timer_reset(timer, BELAY_MS(2)), BELAY_OK);
    EVENTUALLY(atomic_load(&notes) == 2);

    noted = (struct noted){0};
    timer = belay_timer_after(belay_background(), BELAY_FOREVER, note, &noted); // not until it is reset
    CHECK_IS(belay_timer_reset(timer, BELAY_FOREVER), BELAY_OK);
    CHECK_IS(belay_timer_reset(timer, BELAY_SEC(7)), BELAY_OK);
    CHECK_IS(belay_timer_reset(timer, -1), BELAY_OK);
    EVENTUALLY(atomic_load(&notes) == 3);
    stop_pending(belay_timer_after(belay_background(), BELAY_FOREVER, note, &noted));
}

// Each timer runs once or is prevented once, whoever stops it while it may be due, stopped or another one by now.
static struct { _Atomic uint64_t timers[32]; atomic_int ran, seed; atomic_long started, prevented; } contest;
static void stop_contested(belay_timer timer) {
    belay_status status = belay_timer_stop(timer);
    if (status == BELAY_STOP_RUNNING) CHECK_IS(belay_timer_stop_wait(timer, BELAY_FOREVER), BELAY_STOP_GONE);
    else if (status == BELAY_STOP_PREVENTED) atomic_fetch_add(&contest.prevented, 1);
    else if (timer.bits != 0) CHECK_IS(status, BELAY_STOP_GONE);
}
static void take_part(void *rounds) {
    uint64_t random = 77 + (uint64_t)atomic_fetch_add(&contest.seed, 1) * 0x9e3779b97f4a7c15;
    for (long round = *(long *)rounds; round > 0; round--) {
        _Atomic uint64_t *place = &contest.timers[check_random(&random) >> 59];
        uint64_t choice = check_random(&random) >> 60;
        if (choice < 6) {
            belay_duration delay = choice == 0 ? BELAY_SEC(1000) : BELAY_US(check_random(&random) >> 58);
            belay_timer timer = belay_timer_after(belay_background(), delay, check_count, &contest.ran);
            CHECK(timer.bits != 0);
            atomic_fetch_add(&contest.started, 1);
            stop_contested((belay_timer){atomic_exchange(place, timer.bits)});
        } else if (choice < 8) {
            belay_timer_reset((belay_timer){atomic_load(place)}, BELAY_US(check_random(&random) >> 58));
        } else if (choice < 14) {
            stop_contested((belay_timer){atomic_load(place)});
        } else {
            check_sleep(BELAY_US(10)); // lets some come due
        }
    }
}
static void stops_that_race(void) {
    for (int threads = 1; threads <= 16; threads *= 2) {
        long rounds = check_scaled(20000) / threads + 1;
        check_threads(threads, take_part, &rounds);
        for (int i = 0; i < 32; i++) stop_contested((belay_timer){atomic_exchange(&contest.timers[i], 0)});
        EVENTUALLY(LIVE_TASKS == 0);
        CHECK_IS(contest.ran + contest.prevented, contest.started);
    }
    printf("    of %ld timers %d ran\n", contest.started, contest.ran);
}

// Stop-and-wait: when it returns nothing uses the argument any more, also not a periodic timer's next run.
struct slow { atomic_int inside, runs; _Atomic uint64_t timer; _Atomic belay_status from_inside; };
static void run_slowly(void *argument) {
    struct slow *slow = argument;
    atomic_store(&slow->inside, 1);
    check_sleep(BELAY_MS(2));
    if (slow->timer) slow->from_inside = belay_timer_stop_wait((belay_timer){slow->timer}, BELAY_FOREVER);
    atomic_fetch_add(&slow->runs, 1);
    atomic_store(&slow->inside, 0);
}
static void stop_and_wait(void) {
    for (int periodic = 0; periodic < 2; periodic++) {
        struct slow *slow = calloc(1, sizeof *slow);
        belay_timer timer = periodic ? belay_timer_every(belay_background(), BELAY_US(100), run_slowly, slow)
                                     : belay_timer_after(belay_background(), 0, run_slowly, slow);
        EVENTUALLY(atomic_load(&slow->inside) == 1 || atomic_load(&slow->runs) > 0);
        belay_status answer = belay_timer_stop_wait(timer, BELAY_FOREVER);
        CHECK(answer == BELAY_STOP_GONE || (periodic && answer == BELAY_STOP_PREVENTED));
        CHECK_IS(slow->inside, 0);
        CHECK_IS(belay_timer_stop_wait(timer, BELAY_FOREVER), BELAY_STOP_GONE);
        free(slow);
    }
    struct slow self = {.from_inside = BELAY_OK};
    belay_timer timer = belay_timer_every(belay_background(), BELAY_SEC(1000), run_slowly, &self);
    self.timer = timer.bits;
    CHECK_IS(belay_timer_stop_wait((belay_timer){0}, 0), BELAY_EINVAL);
    CHECK_IS(belay_timer_reset(timer, 0), BELAY_OK);
    EVENTUALLY(atomic_load(&self.runs) == 1); // waiting for itself it did not hang, and stopped itself
    CHECK_IS(self.from_inside, BELAY_STOP_RUNNING);
    EVENTUALLY(belay_timer_stop(timer) == BELAY_STOP_GONE);
    timer = belay_timer_after(belay_background(), BELAY_SEC(1000), check_ignore, NULL);
    CHECK_IS(belay_timer_stop_wait(timer, 0), BELAY_STOP_PREVENTED);
}

// Exactly once, whatever the context does: what hangs on the argument is never lost. A periodic one runs a last time.
static void a_timer_runs_under_an_ended_context(void) {
    atomic_int once = 0, last = 0;
    belay_ctx canceled = belay_with_cancel(belay_background()), closed = belay_with_cancel(belay_background());
    belay_ctx timed = belay_with_timeout(belay_background(), BELAY_MS(1)), child = belay_with_cancel(canceled);
    CHECK_IS(belay_cancel(canceled), BELAY_OK);
    belay_timer timers[] = {
        belay_timer_after(canceled, BELAY_MS(3), check_count, &once),
        belay_timer_after(closed, BELAY_MS(3), check_count, &once),
        belay_timer_after(timed, BELAY_MS(3), check_count, &once),
        belay_timer_after(canceled, 0, check_count, &once),
        belay_timer_every(child, BELAY_MS(1), check_count, &last),
    };
    check_close(closed);
    EVENTUALLY(atomic_load(&once) == 4);
    EVENTUALLY(belay_timer_stop(timers[3]) == BELAY_STOP_GONE);
    EVENTUALLY(LIVE_TASKS == 0);
    CHECK_IS(last, 1);
    check_close(child);
    check_close(timed);
    check_close(canceled);
}

// A periodic timer: the k-th run is not before k periods, runs do not overlap.
struct beat {
    belay_instant start;
    belay_duration period, work;
    _Atomic uint64_t timer;
    atomic_int runs, inside, stop_after;
};
static void run_beat(void *argument) {
    struct beat *beat = argument;
    CHECK_IS(atomic_fetch_add(&beat->inside, 1), 0);
    int run = atomic_fetch_add(&beat->runs, 1) + 1;
    CHECK(belay_now() >= beat->start + run * beat->period);
    check_sleep(beat->work);
    if (run == atomic_load(&beat->stop_after)) {
        EVENTUALLY(atomic_load(&beat->timer) != 0);
        belay_timer own = {atomic_load(&beat->timer)};
        CHECK_IS(belay_timer_reset(own, 0), BELAY_STOP_RUNNING);
        CHECK_IS(belay_timer_stop(own), BELAY_STOP_RUNNING);
    }
    atomic_fetch_sub(&beat->inside, 1);
}
static void start_beat(struct beat *beat, belay_ctx ctx) {
    beat->start = belay_now();
    belay_timer timer = belay_timer_every(ctx, beat->period, run_beat, beat);
    CHECK(timer.bits != 0);
    atomic_store(&beat->timer, timer.bits);
}

static void periodic_timers(void) {
    struct beat inside = {.period = BELAY_MS(2), .stop_after = 10}, slow = {.period = BELAY_MS(1), .work = BELAY_MS(4)};
    struct beat ended = {.period = BELAY_US(500)};
    belay_ctx ctx = belay_with_timeout(belay_background(), BELAY_MS(60));
    start_beat(&inside, belay_background());
    start_beat(&slow, ctx);
    start_beat(&ended, ctx);
    EVENTUALLY(atomic_load(&inside.runs) == 10); // it stopped itself
    EVENTUALLY(belay_timer_stop((belay_timer){inside.timer}) == BELAY_STOP_GONE);
    CHECK_IS(belay_wait(ctx, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    EVENTUALLY(LIVE_TASKS == 0);
    CHECK(slow.runs >= 1 && ended.runs >= 1);
    printf("    in 60 ms a period of 1 ms with 4 ms of work ran %d times, one of 0.5 ms %d times\n", slow.runs, ended.runs);
    check_sleep(BELAY_MS(5));
    CHECK_IS(inside.runs, 10);
    check_close(ctx);

    struct beat stopped = {.period = BELAY_MS(1)};
    start_beat(&stopped, belay_background());
    EVENTUALLY(atomic_load(&stopped.runs) >= 3);
    EVENTUALLY(belay_timer_stop((belay_timer){stopped.timer}) != BELAY_STOP_RUNNING);
    EVENTUALLY(LIVE_TASKS == 0);
    int runs = stopped.runs;
    check_sleep(BELAY_MS(5));
    CHECK_IS(stopped.runs, runs);

    struct beat moved = {.period = BELAY_SEC(1000)};
    start_beat(&moved, belay_background());
    moved.start = belay_now() - BELAY_SEC(1000); // the reset below goes on from there
    CHECK_IS(belay_timer_reset((belay_timer){moved.timer}, BELAY_MS(1)), BELAY_OK);
    EVENTUALLY(atomic_load(&moved.runs) == 1);
    // Its run may not be over; the next one is prevented all the same.
    CHECK(belay_timer_stop((belay_timer){moved.timer}) != BELAY_STOP_GONE);
    EVENTUALLY(LIVE_TASKS == 0);
    CHECK_IS(moved.runs, 1);
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(none_is_early_and_all_run),
        TEST(no_deadline_is_early),
        TEST(timers_that_share_an_instant),
        TEST(far_apart_each_wakes_once),
        TEST(pending_timers_cost_nothing),
        TEST(stop_and_reset),
        TEST(stops_that_race),
        TEST(stop_and_wait),
        TEST(a_timer_runs_under_an_ended_context),
        TEST(periodic_timers),
    };
    RUN_TESTS(tests, "");
    return 0;
}
