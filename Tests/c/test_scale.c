// SPDX-License-Identifier: Apache-2.0
//
// A million contexts: in a chain, in a fan, in a random tree, and as outstanding timeouts. All of it runs on a thread
// with a small stack, so that nothing may recurse. Prints what they take.
#include "check.h"

#include <sys/resource.h>

enum { STACK = 256 * 1024 };

static long count;
static belay_ctx *ctxs;
static uint64_t random_state = 12;

static belay_ctx parent_in_chain(long i) { return i ? ctxs[i - 1] : belay_background(); }
static belay_ctx parent_in_fan(long i) { return i ? ctxs[0] : belay_background(); }
static belay_ctx parent_in_tree(long i) {
    return i ? ctxs[check_random(&random_state) % (uint64_t)i] : belay_background();
}

static void derive(belay_ctx (*parent)(long)) {
    for (long i = 0; i < count; i++) {
        ctxs[i] = i % 5 == 4 ? belay_with_timeout(parent(i), BELAY_SEC(100000)) : belay_with_cancel(parent(i));
        CHECK(!belay_is_none(ctxs[i]));
    }
}
static void check_all_done(void) {
    for (long i = 0; i < count; i++) CHECK_IS(belay_err(ctxs[count - 1 - i]), BELAY_CANCELED);
}
static void close_parents_first(void) {
    for (long i = 0; i < count; i++) check_close(ctxs[i]);
}
static void close_children_first(void) {
    for (long i = count; i > 0; i--) check_close(ctxs[i - 1]);
}
static void close_in_random_order(void) {
    for (long i = count; i > 0; i--) {
        long k = (long)(check_random(&random_state) % (uint64_t)i);
        check_close(ctxs[k]);
        ctxs[k] = ctxs[i - 1];
    }
}

static long listeners, ended;
static void on_end(void *argument) {
    (void)argument;
    ended++;
}
static void listen_to_every(long step) {
    for (long i = count - 1; i >= 0; i -= step, listeners++) CHECK(belay_on_done(ctxs[i], on_end, NULL).bits != 0);
}

// Each shape: nobody listens; one listens at the far end; all listen. Ended by a cancel or by the closes, which come in
// either order.
static void shape(belay_ctx (*parent)(long), void (*const closes[2])(void)) {
    const long steps[] = {0, 1L << 60, 1};
    for (int run = 0; run < 6; run++) {
        derive(parent);
        listeners = ended = 0;
        if (steps[run % 3]) listen_to_every(steps[run % 3]);
        if (run != 1) { // else the closes end them
            CHECK_IS(belay_cancel(ctxs[0]), BELAY_OK);
            CHECK_IS(ended, listeners);
            check_all_done();
        }
        closes[run % 2]();
        CHECK_IS(ended, listeners);
    }
}
static void (*const in_order[2])(void) = {close_parents_first, close_children_first};
static void (*const at_random[2])(void) = {close_parents_first, close_in_random_order};
static void a_chain(void) { shape(parent_in_chain, in_order); }
static void a_fan(void) { shape(parent_in_fan, in_order); }
static void a_tree(void) {
    long all = count;
    count = all / 4 + 1; // in caches it does badly
    shape(parent_in_tree, at_random);
    count = all;
}

static void a_chain_of_values(void) {
    static belay_key keys[4];
    atomic_int drops = 0;
    for (long i = 0; i < count; i++) ctxs[i] = belay_with_value(parent_in_chain(i), &keys[i % 4], &drops, check_count);
    CHECK(belay_value(ctxs[count - 1], &keys[count > 3 ? 3 : 0]) == &drops);
    for (long i = 0; i + 1 < count; i++) check_close(ctxs[i]);
    CHECK_IS(drops, 0);
    check_close(ctxs[count - 1]); // releases the whole chain
    CHECK_IS(drops, count);
}

// --- What they take

static double resident_bytes(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return (double)pages * 4096;
}
static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}
static void outstanding(const char *what, bool listened) {
    for (long i = 0; i < count; i++) ctxs[i] = (belay_ctx){1}; // so that this memory is there already
    double resident = resident_bytes(), cpu = cpu_seconds();
    uint64_t contexts = LIVE_CONTEXTS, arena = check_metric("/memory/arena:bytes");
    belay_instant start = belay_now();
    for (long i = 0; i < count; i++) {
        belay_duration timeout = BELAY_SEC(1000) + (belay_duration)(check_random(&random_state) % BELAY_SEC(100000));
        ctxs[i] = belay_with_timeout(belay_background(), timeout);
        CHECK(!belay_is_none(ctxs[i]));
        if (listened) CHECK(belay_on_done(ctxs[i], check_ignore, NULL).bits != 0);
    }
    CHECK_IS(LIVE_CONTEXTS, contexts + (uint64_t)count);
    printf("    %ld %s: %.0f bytes each resident, %.0f of the arena; %.0f ns each to make (%.2f s CPU)\n", count, what,
           (resident_bytes() - resident) / (double)count,
           (double)(check_metric("/memory/arena:bytes") - arena) / (double)count,
           (double)(belay_now() - start) / (double)count, cpu_seconds() - cpu);
    check_sleep(BELAY_MS(20));
    uint64_t wakeups = check_metric("/driver/wakeups:wakeups");
    cpu = cpu_seconds();
    check_sleep(BELAY_MS(500));
    printf("    all of them pending, half a second took %.1f ms CPU\n", (cpu_seconds() - cpu) * 1e3);
    CHECK_IS(check_metric("/driver/wakeups:wakeups"), wakeups);
    for (long i = 0; i < count; i++) check_close(ctxs[i]);
}
static void outstanding_timeouts(void) { outstanding("timeouts", false); }
static void outstanding_timeouts_with_callbacks(void) { outstanding("timeouts with a callback", true); }

static void *run(void *argument) {
    // What measures memory comes first, while the arena is small.
    static const struct check_test tests[] = {
        TEST(outstanding_timeouts),
        TEST(outstanding_timeouts_with_callbacks),
        TEST(a_chain),
        TEST(a_fan),
        TEST(a_tree),
        TEST(a_chain_of_values),
    };
    RUN_TESTS(tests, "");
    return argument;
}

int main(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    count = check_scaled(check_is_sanitized() ? 250000 : 1000000); // one thread: nothing to race
    ctxs = calloc((size_t)count, sizeof *ctxs);
    pthread_attr_init(&attributes);
    CHECK_IS(pthread_attr_setstacksize(&attributes, STACK), 0);
    CHECK_IS(pthread_create(&thread, &attributes, run, NULL), 0);
    CHECK_IS(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attributes);
    free(ctxs);
    return 0;
}
