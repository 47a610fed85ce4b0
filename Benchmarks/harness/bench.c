/*
 * bench.c — the harness of the C and C++ programs. Commands come on standard input, a line each, and are answered with
 * a line of JSON each:
 *
 *     open CASE NANOSECONDS    sets up, and finds an n that takes about so long      {"n": 1000}
 *     run                      one measurement                                       {"value": 12.5}
 *     count                    calls of the allocator and bytes, per operation       {"allocs": 2, "bytes": 96}
 *     close                    tears down                                            {}
 *
 * and on the command line: --list prints the names of the cases; --costs N CASE… runs each for callgrind, see costs.py.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef BENCH_CALLGRIND
#include <valgrind/callgrind.h>
#endif

enum { TABLES = 16 };
static struct { const bench_case *cases; size_t n; } tables[TABLES];
static size_t table_count;

/* There when heap.c is preloaded. */
__attribute__((weak)) void bench_heap_counts(uint64_t *calls, uint64_t *bytes);

void bench_check(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "benchmark: %s\n", what);
    exit(1);
}

void bench_register(const bench_case *cases, size_t n) {
    bench_check(table_count < TABLES, "too many tables of cases");
    tables[table_count].cases = cases;
    tables[table_count++].n = n;
}

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static int64_t read_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t bench_now(void) { return read_clock(CLOCK_MONOTONIC); }
int64_t bench_cpu(void) { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

void bench_sleep(int64_t nanoseconds) {
    struct timespec t = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    nanosleep(&t, NULL);
}

void bench_resume(bench *b) {
    if (bench_heap_counts) bench_heap_counts(&b->calls_before, &b->bytes_before);
    b->started = bench_now();
}

void bench_pause(bench *b) {
    b->elapsed += bench_now() - b->started;
    if (bench_heap_counts) {
        uint64_t calls, bytes;
        bench_heap_counts(&calls, &bytes);
        b->calls += calls - b->calls_before;
        b->bytes += bytes - b->bytes_before;
    }
}

void bench_value(bench *b, double value) { b->value = value; }

static void measure(bench *b, const bench_case *c, uint64_t n) {
    b->n = n;
    b->elapsed = 0;
    b->calls = b->bytes = 0;
    bench_resume(b);
    c->run(b);
    bench_pause(b);
}

static double operations(const bench *b, const bench_case *c) {
    return (double)b->n * (c->kind == BENCH_EACH && c->size > 0 ? (double)c->size : 1);
}

static uint64_t calibrate(bench *b, const bench_case *c, int64_t target) {
    uint64_t n = 1;
    if (c->kind == BENCH_VALUE) return n;
    for (;;) {
        measure(b, c, n);
        if (b->elapsed * 5 >= target * 4) return n;
        double grow = b->elapsed > 0 ? (double)target / (double)b->elapsed : 100;
        grow = fmin(fmax(grow, 1.2), 20);
        n = (uint64_t)ceil((double)n * grow);
    }
}

/* --- Threads -------------------------------------------------------------------------------------------------- */

typedef struct worker {
    pthread_t thread;
    pthread_barrier_t *barrier;
    void (*body)(bench *);
    bench own;
    int64_t from, to;
} worker;

static void *work(void *arg) {
    worker *w = arg;
    pthread_barrier_wait(w->barrier);
    w->from = bench_now();
    w->body(&w->own);
    w->to = bench_now();
    return NULL;
}

void bench_threads(bench *b, void (*body)(bench *)) {
    bench_pause(b);
    int64_t before = b->elapsed;
    worker *workers = calloc((size_t)b->size, sizeof *workers);
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, (unsigned)b->size);
    bench_resume(b);
    for (long i = 0; i < b->size; i++) {
        workers[i] = (worker){.barrier = &barrier, .body = body, .own = *b};
        workers[i].own.random += (uint64_t)i * 0x9E3779B97F4A7C15u;
        bench_check(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0, "no thread");
    }
    int64_t from = INT64_MAX, to = 0;
    for (long i = 0; i < b->size; i++) {
        pthread_join(workers[i].thread, NULL);
        if (workers[i].from < from) from = workers[i].from;
        if (workers[i].to > to) to = workers[i].to;
    }
    bench_pause(b);
    b->elapsed = before + (to - from);
    pthread_barrier_destroy(&barrier);
    free(workers);
    bench_resume(b);
}

/* --- What the system knows of the process --------------------------------------------------------------------- */

long bench_resident(void) {
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    bench_check(f != NULL, "cannot read /proc/self/smaps_rollup");
    char line[256];
    long kilobytes = 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "Anonymous: %ld kB", &kilobytes) == 1) break;
    fclose(f);
    return kilobytes * 1024;
}

long bench_sleeps(void) {
    long sum = 0;
    DIR *tasks = opendir("/proc/self/task");
    bench_check(tasks != NULL, "cannot read /proc/self/task");
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], line[256];
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *f = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        long one;
        while (f != NULL && fgets(line, sizeof line, f))
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &one) == 1) sum += one;
        if (f != NULL) fclose(f);
    }
    closedir(tasks);
    return sum;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_quantile(double *numbers, long n, double p) {
    qsort(numbers, (size_t)n, sizeof *numbers, by_size);
    return numbers[(long)(p * (double)(n - 1))];
}

/* --- Commands ------------------------------------------------------------------------------------------------- */

static const bench_case *find(const char *name) {
    for (size_t t = 0; t < table_count; t++)
        for (size_t i = 0; i < tables[t].n; i++)
            if (strcmp(tables[t].cases[i].name, name) == 0) return &tables[t].cases[i];
    fprintf(stderr, "benchmark: there is no case %s\n", name);
    exit(2);
}

static void open_case(bench *b, const bench_case *c) {
    *b = (bench){.size = c->size, .random = 88172645463325252u, .value = NAN};
    if (c->setup) c->setup(b);
}

static void close_case(bench *b, const bench_case *c) {
    if (c->teardown) c->teardown(b);
}

static void serve(void) {
    static bench b;
    const bench_case *c = NULL;
    uint64_t n = 1;
    char line[256], name[200];
    long long target;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "open %199s %lld", name, &target) == 2) {
            c = find(name);
            open_case(&b, c);
            n = calibrate(&b, c, target);
            printf("{\"n\": %llu}\n", (unsigned long long)n);
        } else if (c != NULL && strcmp(line, "run\n") == 0) {
            measure(&b, c, n);
            double time = (double)b.elapsed / operations(&b, c);
            printf("{\"value\": %.9g}\n", c->kind == BENCH_VALUE ? b.value : time);
        } else if (c != NULL && strcmp(line, "count\n") == 0) {
            measure(&b, c, n); /* whatever is made once is there by now */
            measure(&b, c, n);
            printf("{\"allocs\": %.9g, \"bytes\": %.9g}\n", (double)b.calls / operations(&b, c),
                   (double)b.bytes / operations(&b, c));
        } else if (c != NULL && strcmp(line, "close\n") == 0) {
            close_case(&b, c);
            c = NULL;
            printf("{}\n");
        } else {
            fprintf(stderr, "benchmark: not understood: %s", line);
            exit(2);
        }
        fflush(stdout);
    }
}

static void list(void) {
    for (size_t t = 0; t < table_count; t++)
        for (size_t i = 0; i < tables[t].n; i++) puts(tables[t].cases[i].name);
}

/* One dump of callgrind's counts for n operations, and one for 3 n: the difference is 2 n operations, nothing else. */
static void count_instructions(const char *name, uint64_t n) {
#ifdef BENCH_CALLGRIND
    /* So often is it done first: a thread has its seat at a parent that it keeps deriving from by then. */
    const double to_settle = 20000;
    static bench b;
    const bench_case *c = find(name);
    open_case(&b, c);
    b.n = n;
    for (double done = 0; done < to_settle; done += operations(&b, c)) c->run(&b);
    for (uint64_t times = 1; times <= 3; times += 2) {
        char label[256];
        b.n = n * times;
        snprintf(label, sizeof label, "%s %llu %.0f", name, (unsigned long long)times, operations(&b, c));
        CALLGRIND_ZERO_STATS;
        c->run(&b);
        CALLGRIND_DUMP_STATS_AT(label);
    }
    close_case(&b, c);
#else
    (void)n;
    fprintf(stderr, "benchmark: %s: built without callgrind's header\n", name);
    exit(2);
#endif
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list();
    } else if (argc >= 3 && strcmp(argv[1], "--costs") == 0) {
        for (int i = 3; i < argc; i++) count_instructions(argv[i], strtoull(argv[2], NULL, 10));
    } else {
        serve();
    }
    return 0;
}
