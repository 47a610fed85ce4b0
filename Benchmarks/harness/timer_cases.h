/*
 * timer_cases.h — the timer cases, for any facility that can do this (timers are numbered from 0):
 *
 *     static void timer_open(long most);                     room for so many
 *     static void timer_close(void);
 *     static inline void timer_add(long i, int64_t delay);   arms timer i; it calls timer_fired(i) in `delay` ns
 *     static inline void timer_cancel(long i);               disarms it
 *     static inline void timer_move(long i, int64_t delay);  an armed one is due in `delay` ns instead
 *     static void timer_wait(void);                          runs or sleeps until timers_left is 0
 *
 * or, for a bare data structure that is told the time (TIMER_VIRTUAL), instead of the last two:
 *
 *     static long timer_advance(int64_t step);               time goes on by so many ns; answers how many came due
 *
 * or (TIMER_LOOPS_ONLY) neither: then there are the cases in which nothing is moved or comes due,
 * TIMER_LOOP_CASES("timer").
 *
 * Define them, then include this, then put TIMER_CASES into BENCH_CASES. They are no function pointers, so that nothing
 * stands between the loop and the facility. A facility that remembers the time of its loop's last turn defines
 * TIMER_REFRESH() too: it is called where a timer's instant matters, and not where only its cost does.
 *
 * Delays are random from 10 to 70 s, or 30 s: none comes due while a case is measured.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TIMER_REFRESH
#define TIMER_REFRESH() ((void)0)
#endif

#define TIMER_LATE_COUNT 20000L
#define TIMER_EXPIRE_COUNT 1000000L
#define TIMER_BYTES_COUNT 500000L

static inline int64_t timer_delay(bench *b) { return 10000000000 + (int64_t)bench_random(b) * 14; }

static void timers_setup(bench *b) {
    timer_open(b->size + 64);
    for (long i = 0; i < b->size; i++) timer_add(i, timer_delay(b));
}

static void timers_setup_fixed(bench *b) {
    timer_open(b->size + 64);
    for (long i = 0; i < b->size; i++) timer_add(i, 30000000000);
    b->state = NULL; /* the oldest timer's number */
}

static void timers_teardown(bench *b) {
    for (long i = 0; i < b->size; i++) timer_cancel(i);
    timer_close();
}

static void run_timer_churn(bench *b) {
    for (uint64_t i = 0; i < b->n; i++) {
        timer_add(b->size, timer_delay(b));
        timer_cancel(b->size);
    }
}

static void run_timer_oldest(bench *b) {
    long oldest = (long)(intptr_t)b->state;
    for (uint64_t i = 0; i < b->n; i++) {
        timer_cancel(oldest);
        timer_add(oldest, 30000000000);
        oldest = oldest + 1 == b->size ? 0 : oldest + 1;
    }
    b->state = (void *)(intptr_t)oldest;
}

static void run_timer_random(bench *b) {
    for (uint64_t i = 0; i < b->n; i++) {
        long victim = (long)(bench_random(b) * (uint64_t)b->size >> 32);
        timer_cancel(victim);
        timer_add(victim, timer_delay(b));
    }
}

#if defined TIMER_VIRTUAL || defined TIMER_LOOPS_ONLY
#define TIMER_MOVES(prefix)
#else
/* An idle timeout: something arrives on one of many connections, whose 30 s begin anew. */
static void run_timer_moved(bench *b) {
    for (uint64_t i = 0; i < b->n; i++)
        timer_move((long)(bench_random(b) * (uint64_t)b->size >> 32), 30000000000);
}
#define TIMER_MOVES(prefix) , TIMER_SIZES(prefix ".moved", run_timer_moved, timers_setup_fixed)
#endif

#define TIMER_WORK(name, run, setup, count) {name "." #count, run, count, BENCH_ONE, setup, timers_teardown}
#define TIMER_SIZES(name, run, setup)                                                                            \
    TIMER_WORK(name, run, setup, 1000), TIMER_WORK(name, run, setup, 100000), TIMER_WORK(name, run, setup, 1000000)
#define TIMER_LOOP_CASES(prefix)                                                                                 \
    TIMER_SIZES(prefix ".churn", run_timer_churn, timers_setup),                                                 \
    TIMER_SIZES(prefix ".oldest", run_timer_oldest, timers_setup_fixed),                                         \
    TIMER_SIZES(prefix ".random", run_timer_random, timers_setup) TIMER_MOVES(prefix)

#if defined TIMER_LOOPS_ONLY

/* Nothing comes due. */

#elif defined TIMER_VIRTUAL

/* --- Timers that come due, in virtual time -------------------------------------------------------------------- */

/* 10^6 timers over one second, in steps of a millisecond. */
static void run_timer_expire(bench *b) {
    timer_open(TIMER_EXPIRE_COUNT);
    for (long i = 0; i < TIMER_EXPIRE_COUNT; i++) timer_add(i, 1000000 + (int64_t)(bench_random(b) * 1000000000 >> 32));
    long fired = 0;
    int64_t before = bench_now();
    for (int step = 1; step <= 1002; step++) fired += timer_advance(1000000);
    bench_value(b, (double)(bench_now() - before) / TIMER_EXPIRE_COUNT);
    bench_check(fired == TIMER_EXPIRE_COUNT, "not all timers came due");
    timer_close();
}

#define TIMER_CASES                                                                                              \
    TIMER_LOOP_CASES("wheel"),                                                                                   \
    {"wheel.expire", run_timer_expire, 0, BENCH_VALUE, NULL, NULL}

#else

/* --- Timers that come due ------------------------------------------------------------------------------------- */

static long timers_left;
static int64_t *timers_due; /* NULL: lateness is not asked for */
static double *timers_late;

static inline void timer_fired(long i) {
    if (timers_due != NULL) timers_late[i] = (double)(bench_now() - timers_due[i]);
    __atomic_fetch_sub(&timers_left, 1, __ATOMIC_RELEASE);
}

/* The processor time, of all threads, of 10^6 timers that come due over one second. */
__attribute__((unused)) static void run_timer_expire(bench *b) {
    timer_open(TIMER_EXPIRE_COUNT);
    timers_due = NULL;
    timers_left = TIMER_EXPIRE_COUNT;
    int64_t start = bench_now() + 2500000000;
    for (long i = 0; i < TIMER_EXPIRE_COUNT; i++) {
        TIMER_REFRESH();
        timer_add(i, start + (int64_t)(bench_random(b) * 1000000000 >> 32) - bench_now());
    }
    bench_check(bench_now() < start, "too slow to add 10^6 timers in 2.5 s");
    int64_t before = bench_cpu();
    timer_wait();
    bench_value(b, (double)(bench_cpu() - before) / TIMER_EXPIRE_COUNT);
    timer_close();
}

/* How late 20,000 timers are that come due at random within two seconds; early ones count as failures. */
static void timers_lateness(bench *b, double part) {
    timer_open(TIMER_LATE_COUNT);
    timers_due = (int64_t *)calloc(TIMER_LATE_COUNT, sizeof *timers_due);
    timers_late = (double *)calloc(TIMER_LATE_COUNT, sizeof *timers_late);
    timers_left = TIMER_LATE_COUNT;
    for (long i = 0; i < TIMER_LATE_COUNT; i++) {
        int64_t delay = 100000000 + (int64_t)(bench_random(b) * 2000000000 >> 32);
        TIMER_REFRESH();
        timers_due[i] = bench_now() + delay;
        timer_add(i, delay);
    }
    timer_wait();
    if (part < 0) {
        long early = 0;
        for (long i = 0; i < TIMER_LATE_COUNT; i++) early += timers_late[i] < 0;
        bench_value(b, (double)early);
    } else {
        bench_value(b, bench_quantile(timers_late, TIMER_LATE_COUNT, part) / 1000);
    }
    free(timers_due);
    free(timers_late);
    timers_due = NULL;
    timer_close();
}

static void run_timer_p50(bench *b) { timers_lateness(b, 0.5); }
static void run_timer_p99(bench *b) { timers_lateness(b, 0.99); }
static void run_timer_early(bench *b) { timers_lateness(b, -1); }

static void run_timer_bytes(bench *b) {
    timer_open(TIMER_BYTES_COUNT);
    long before = bench_resident();
    for (long i = 0; i < TIMER_BYTES_COUNT; i++) timer_add(i, timer_delay(b));
    bench_value(b, (double)(bench_resident() - before) / TIMER_BYTES_COUNT);
    for (long i = 0; i < TIMER_BYTES_COUNT; i++) timer_cancel(i);
    timer_close();
}

#define TIMER_COMING_DUE                                                                                         \
    {"timer.late.p50", run_timer_p50, 0, BENCH_VALUE, NULL, NULL},                                               \
    {"timer.late.p99", run_timer_p99, 0, BENCH_VALUE, NULL, NULL},                                               \
    {"timer.early", run_timer_early, 0, BENCH_VALUE, NULL, NULL},                                                \
    {"timer.bytes", run_timer_bytes, 0, BENCH_VALUE, NULL, NULL}
#define TIMER_CASES                                                                                              \
    TIMER_LOOP_CASES("timer"),                                                                                   \
    {"timer.expire", run_timer_expire, 0, BENCH_VALUE, NULL, NULL},                                              \
    TIMER_COMING_DUE

#endif
