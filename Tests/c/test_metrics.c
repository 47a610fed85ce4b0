// SPDX-License-Identifier: Apache-2.0
//
// Each counter moves by exactly what was done, on whatever thread, and never back; the list, the names and the text for
// Prometheus say the same.
#include "check.h"

#include <signal.h>
#include <unistd.h>

// --- What moved -------------------------------------------------------------------------------------------------------

#define MOST 128

static uint64_t before[MOST];

static size_t count_metrics(void) {
    belay_metric metric;
    size_t n = 0;
    while (belay_metric_at(n, &metric)) n++;
    CHECK(n < MOST);
    return n;
}

static void read_all(belay_sample *samples) {
    size_t n = count_metrics();
    for (size_t i = 0; i < n; i++) {
        belay_metric metric;
        CHECK(belay_metric_at(i, &metric));
        samples[i] = (belay_sample){.name = metric.name};
    }
    CHECK_IS(belay_metrics_read(samples, n), BELAY_OK);
}

static void mark(void) {
    belay_sample samples[MOST];
    read_all(samples);
    for (size_t i = 0, all = count_metrics(); i < all; i++) before[i] = samples[i].value;
}

struct moved { const char *name; uint64_t by; };

// All counters of contexts and of look-ups moved as listed, and those that are not listed did not.
static void check_moved(const struct moved *list, size_t n) {
    belay_sample samples[MOST];
    read_all(samples);
    for (size_t i = 0, all = count_metrics(); i < all; i++) {
        bool is_value = strncmp(samples[i].name, "/value/", 7) == 0;
        if (!is_value && strncmp(samples[i].name, "/ctx/", 5) != 0) continue;
        if (strncmp(samples[i].name, "/ctx/live", 9) == 0) continue;
        uint64_t expected = 0;
        for (size_t k = 0; k < n; k++) {
            if (strcmp(list[k].name, samples[i].name) == 0) expected = list[k].by;
        }
        if (samples[i].value - before[i] != expected) fprintf(stderr, "%s:\n", samples[i].name);
        CHECK_IS(samples[i].value - before[i], expected);
    }
}
#define MOVED(...) \
    check_moved((struct moved[]){__VA_ARGS__}, sizeof((struct moved[]){__VA_ARGS__}) / sizeof(struct moved))

#define CREATED(kind) "/ctx/created/" kind ":contexts"
#define ENDED(reason) "/ctx/ended/" reason ":contexts"
#define ATTACHED "/ctx/attached:contexts"

static belay_ctx background;

// --- Contexts ---------------------------------------------------------------------------------------------------------

static const belay_key KEY = {"key"};

static void created_by_kind(void) {
    belay_pool pool = belay_pool_new(&(belay_pool_desc){.size = sizeof(belay_pool_desc), .item_size = 64});
    static atomic_bool never;
    mark();
    belay_ctx all[12];
    all[0] = belay_with_cancel(background);
    all[1] = belay_with_timeout(all[0], BELAY_SEC(100));
    all[2] = belay_with_deadline(all[0], belay_now() + BELAY_SEC(100));
    all[3] = belay_with_timeout_cause(all[0], BELAY_SEC(100), 1, "one");
    all[4] = belay_with_value(all[0], &KEY, &never, NULL);
    all[5] = belay_with_data(all[0], pool, NULL);
    all[6] = belay_without_cancel(all[0]);
    all[7] = belay_lite(all[0], BELAY_FOREVER);
    all[8] = belay_lite(all[0], BELAY_SEC(100));
    for (int i = 0; i < 9; i++) check_live(all[i]);
    MOVED({CREATED("cancel"), 1}, {CREATED("timeout"), 3}, {CREATED("value"), 1}, {CREATED("data"), 1},
          {CREATED("detached"), 1}, {CREATED("lite"), 2});
    belay_sample live[] = {
        {.name = "/ctx/live:contexts"}, {.name = "/ctx/live/scope:contexts"}, {.name = "/ctx/live/value:contexts"},
        {.name = "/ctx/live/detached:contexts"}, {.name = "/ctx/live/lite:contexts"},
    };
    const uint64_t expected[] = {9, 4, 2, 1, 2};
    CHECK_IS(belay_metrics_read(live, 5), BELAY_OK);
    for (int i = 0; i < 5; i++) CHECK_IS(live[i].value, expected[i]);
    for (int i = 8; i >= 0; i--) check_close(all[i]);
    CHECK_IS(belay_metrics_read(live, 5), BELAY_OK);
    for (int i = 0; i < 5; i++) CHECK_IS(live[i].value, 0);
    CHECK_IS(belay_pool_free(pool), BELAY_OK);
    // What cannot be made does not count.
    mark();
    CHECK(belay_is_none(belay_with_cancel(all[0])));
    CHECK(belay_is_none(belay_lite(all[0], 1)));
    CHECK(belay_is_none(belay_with_value(background, NULL, NULL, NULL)));
    MOVED({"", 0});
}

static belay_status err_live(void *self, belay_cause *cause) {
    (void)cause;
    return atomic_load((atomic_bool *)self) ? BELAY_CANCELED : BELAY_OK;
}
static belay_ctx inner_of(void *self) { return *(belay_ctx *)self; }

static uint64_t read_one(const char *name) {
    belay_sample sample = {.name = name};
    CHECK_IS(belay_metrics_read(&sample, 1), BELAY_OK);
    return sample.value;
}

static void look_up(void *ctx) { CHECK(belay_value(*(belay_ctx *)ctx, &KEY) == &background); }

static void look_ups_by_depth(void) {
    enum { KEYS = 400 };
    static const belay_key keys[KEYS];
    static const char *const FOUND[] = {"/value/found/nearest:lookups", "/value/found/level-1:lookups",
                                        "/value/found/level-2:lookups", "/value/found/further:lookups"};
    belay_pool pool = belay_pool_new(&(belay_pool_desc){.size = sizeof(belay_pool_desc), .item_size = 64});
    belay_ctx one = belay_with_value(background, &KEY, &background, NULL), data = belay_with_data(one, pool, NULL);
    mark();
    look_up(&one);
    check_threads(1, look_up, &one); // its first call of all
    CHECK(belay_value(one, &keys[0]) == NULL);
    CHECK(belay_value(background, &KEY) == NULL);
    CHECK(belay_data(data, pool) != NULL);
    CHECK(belay_data(one, pool) == NULL);
    CHECK(belay_value((belay_ctx){0}, &KEY) == NULL); // no look-up
    MOVED({FOUND[0], 3}, {"/value/missed:lookups", 3});
    check_close(data);
    CHECK_IS(belay_pool_free(pool), BELAY_OK);

    belay_ctx chain[KEYS];
    for (int i = 0; i < KEYS; i++) {
        chain[i] = belay_with_value(i > 0 ? chain[i - 1] : one, &keys[i], &background, NULL);
    }
    uint64_t start[4], sum = 0;
    for (int i = 0; i < 4; i++) start[i] = read_one(FOUND[i]);
    for (int i = 0; i < KEYS; i++) CHECK(belay_value(chain[KEYS - 1], &keys[i]) != NULL);
    for (int i = 0; i < 4; i++) sum += read_one(FOUND[i]) - start[i];
    CHECK_IS(sum, KEYS);
    CHECK_IS(read_one(FOUND[0]) - start[0], 1);
    CHECK(read_one(FOUND[3]) > start[3]); // 256 places on two levels
    for (int i = KEYS - 1; i >= 0; i--) check_close(chain[i]);
    check_close(one);
}

static void merged_and_foreign(void) {
    belay_ctx one = belay_with_cancel(background), two = belay_with_cancel(background);
    mark();
    belay_ctx merged = belay_merge((belay_ctx[]){one, two}, 2);
    belay_ctx same = belay_merge((belay_ctx[]){one, background}, 2);
    CHECK_IS(same.bits, one.bits);
    MOVED({CREATED("merge"), 1}, {CREATED("inner"), 1}, {ATTACHED, 3});
    check_close(same);
    mark();
    static atomic_bool ended;
    static const belay_custom_ops asked = {.size = sizeof asked, .err = err_live};
    static const belay_custom_ops inside = {.size = sizeof inside, .inner = inner_of};
    belay_ctx polled = belay_custom(&asked, &ended), wrapper = belay_custom(&inside, &one);
    MOVED({CREATED("custom"), 2}, {CREATED("inner"), 1});
    CHECK_IS(check_metric("/custom/polled:contexts"), 1);
    CHECK_IS(check_metric("/custom/inner:contexts"), 1);
    mark();
    atomic_store(&ended, true);
    check_done(polled, BELAY_CANCELED);
    MOVED({ENDED("canceled"), 1});
    mark();
    belay_cancel(two);
    MOVED({ENDED("canceled"), 1}, {ENDED("parent"), 1});
    check_close(wrapper);
    check_close(polled);
    check_close(merged);
    check_close(one);
    check_close(two);
    MOVED({ENDED("canceled"), 1}, {ENDED("parent"), 1}, {ENDED("closed"), 1});
}

static void ended_by_reason(void) {
    mark();
    belay_ctx ctx = belay_with_cancel(background);
    check_close(ctx);
    MOVED({CREATED("cancel"), 1}, {ENDED("closed"), 1});
    // A close that has others to tell.
    mark();
    ctx = belay_with_cancel(background);
    belay_ctx child = belay_with_cancel(ctx), listener = belay_with_cancel(ctx);
    CHECK_IS(belay_wait(listener, BELAY_US(1)), BELAY_TIMEOUT);
    check_close(ctx);
    MOVED({CREATED("cancel"), 3}, {ENDED("closed"), 1}, {ENDED("parent"), 1}, {ATTACHED, 2});
    check_done(child, BELAY_CANCELED);
    check_close(child);
    check_close(listener);
    MOVED({CREATED("cancel"), 3}, {ENDED("closed"), 1}, {ENDED("parent"), 2}, {ATTACHED, 2});
    // Cancelled, in both ways, once.
    mark();
    ctx = belay_with_cancel(background);
    belay_ctx timed = belay_with_timeout(background, BELAY_SEC(100)), lite = belay_lite(background, BELAY_FOREVER);
    for (int i = 0; i < 2; i++) {
        CHECK_IS(belay_cancel(ctx), BELAY_OK);
        CHECK_IS(belay_cancel_cause(timed, 7, "seven"), BELAY_OK);
        CHECK_IS(belay_cancel(lite), BELAY_OK);
    }
    check_close(ctx);
    check_close(timed);
    check_close(lite);
    MOVED({CREATED("cancel"), 1}, {CREATED("timeout"), 1}, {CREATED("lite"), 1}, {ENDED("canceled"), 3});
    // By its deadline: at birth, by whoever asks, by whoever waits, for a lite one; and a child with each.
    mark();
    ctx = belay_with_timeout(background, -1);
    timed = belay_with_timeout(background, BELAY_US(10));
    lite = belay_lite(background, BELAY_US(10));
    child = belay_with_timeout(ctx, BELAY_SEC(100));
    check_sleep_until(belay_now() + BELAY_MS(1));
    check_done(timed, BELAY_DEADLINE_EXCEEDED);
    check_done(lite, BELAY_DEADLINE_EXCEEDED);
    check_done(child, BELAY_DEADLINE_EXCEEDED);
    check_close(child);
    check_close(ctx);
    check_close(timed);
    check_close(lite);
    MOVED({CREATED("timeout"), 3}, {CREATED("lite"), 1}, {ENDED("deadline"), 3}, {ENDED("parent"), 1});
    // Used again.
    mark();
    ctx = belay_reset(belay_with_cancel(background));
    check_close(ctx);
    MOVED({CREATED("cancel"), 1}, {"/ctx/reset:contexts", 1}, {ENDED("closed"), 1});
}

static void signal_contexts(void) {
    uint64_t arrivals = check_metric("/signal/arrivals:signals");
    mark();
    belay_ctx ctx = belay_notify_signals(background, (int[]){SIGUSR1}, 1);
    CHECK_IS(check_metric("/signal/watchers:contexts"), 1);
    raise(SIGUSR1);
    EVENTUALLY(belay_is_done(ctx));
    check_close(ctx);
    ctx = belay_notify_signals(background, NULL, 0);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    check_close(ctx);
    MOVED({CREATED("cancel"), 2}, {ENDED("canceled"), 2}, {ATTACHED, 2});
    CHECK_IS(check_metric("/signal/arrivals:signals") - arrivals, 1);
    CHECK_IS(check_metric("/signal/watchers:contexts"), 0);
}

static void runtimes_and_groups(void) {
    mark();
    belay_runtime runtime = belay_runtime_new(&(belay_runtime_options){.size = sizeof(belay_runtime_options)});
    CHECK_IS(check_metric("/runtime/live:runtimes"), 2);
    MOVED({CREATED("inner"), 2});
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
    CHECK_IS(check_metric("/runtime/live:runtimes"), 1);
    uint64_t groups = check_metric("/group/created:groups"), tasks = check_metric("/task/created:tasks");
    belay_group group = belay_group_new(background, 1, NULL);
    CHECK_IS(check_metric("/group/live:groups"), 1);
    CHECK_IS(belay_group_free(group), BELAY_OK);
    CHECK_IS(check_metric("/group/live:groups"), 0);
    CHECK_IS(check_metric("/group/created:groups") - groups, 1);
    CHECK_IS(check_metric("/task/created:tasks") - tasks, 1);
}

// --- Timers and the executor ------------------------------------------------------------------------------------------

static void timers(void) {
    uint64_t armed = check_metric("/timers/armed:timers"), fired = check_metric("/timers/fired:timers");
    uint64_t stopped = check_metric("/timers/stopped:timers"), late = check_metric("/timers/lateness/le-inf:timers");
    atomic_int runs = 0;
    belay_timer far[3];
    for (int i = 0; i < 3; i++) far[i] = belay_timer_after(background, BELAY_SEC(100), check_count, &runs);
    CHECK_IS(check_metric("/timers/pending:timers"), 3);
    CHECK_IS(check_metric("/timers/armed:timers") - armed, 3);
    CHECK_IS(belay_timer_reset(far[0], BELAY_SEC(200)), BELAY_OK);
    for (int i = 0; i < 3; i++) CHECK_IS(belay_timer_stop(far[i]), BELAY_STOP_PREVENTED);
    CHECK_IS(check_metric("/timers/armed:timers") - armed, 4);
    CHECK_IS(check_metric("/timers/stopped:timers") - stopped, 4);
    CHECK_IS(check_metric("/timers/pending:timers"), 0);
    for (int i = 0; i < 10; i++) CHECK(belay_timer_after(background, BELAY_US(100 * i), check_count, &runs).bits);
    EVENTUALLY(atomic_load(&runs) == 10);
    CHECK_IS(check_metric("/timers/fired:timers") - fired, 10);
    CHECK_IS(check_metric("/timers/lateness/le-inf:timers") - late, 10);
    // A deadline that somebody listens to, which passes; and one that is cancelled.
    belay_ctx ctx = belay_with_timeout(background, BELAY_MS(300)); // far enough for a slow tool to listen before
    belay_ctx other = belay_with_timeout(background, BELAY_SEC(100));
    CHECK(belay_on_done(ctx, check_count, &runs).bits != 0);
    CHECK(belay_on_done(other, check_ignore, NULL).bits != 0);
    EVENTUALLY(atomic_load(&runs) == 11);
    check_close(other);
    check_close(ctx);
    CHECK_IS(check_metric("/timers/fired:timers") - fired, 11);
    CHECK_IS(check_metric("/timers/stopped:timers") - stopped, 5);
    CHECK_IS(check_metric("/timers/pending:timers"), 0);
}

// In virtual time it is known how late each timer is: not at all. Where the host polls late, as late as that.
static void lateness(void) {
    static const char *const NAMES[] = {"62500ns", "125us", "250us", "500us", "1ms", "2ms", "4ms", "8ms", "16ms",
                                        "32ms", "64ms", "128ms", "256ms", "512ms", "1024ms", "inf"};
    belay_runtime_options options = {.size = sizeof options, .manual = true};
    belay_runtime runtime = belay_runtime_new(&options);
    belay_sample sums[17];
    char names[17][64];
    for (int i = 0; i < 16; i++) {
        snprintf(names[i], sizeof names[i], "/timers/lateness/le-%s:timers", NAMES[i]);
        sums[i].name = names[i];
    }
    sums[16].name = "/timers/lateness/sum:nanoseconds";
    CHECK_IS(belay_metrics_read(sums, 17), BELAY_OK);
    uint64_t from[17];
    for (int i = 0; i < 17; i++) from[i] = sums[i].value;
    atomic_int runs = 0;
    belay_instant start = belay_now();
    CHECK(belay_timer_after(belay_runtime_background(runtime), BELAY_MS(1), check_count, &runs).bits != 0);
    check_sleep_until(belay_now() + BELAY_MS(6));
    while (atomic_load(&runs) == 0) CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
    belay_duration most = belay_now() - start;
    CHECK_IS(belay_metrics_read(sums, 17), BELAY_OK);
    belay_duration late = (belay_duration)(sums[16].value - from[16]);
    CHECK(late >= BELAY_MS(4) && late <= most);
    for (int i = 0; i < 16; i++) {
        bool expected = i == 15 || late <= (BELAY_MS(1) >> 4) << i;
        CHECK_IS(sums[i].value - from[i], expected);
    }
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
}

static atomic_int gate;
static int64_t hold(belay_ctx ctx, void *arg) {
    (void)ctx, (void)arg;
    while (atomic_load(&gate) == 0) check_sleep(BELAY_US(200));
    return 0;
}

static void executor_queue(void) {
    belay_runtime_options options = {.size = sizeof options, .manual = true};
    belay_runtime runtime = belay_runtime_new(&options);
    belay_ctx root = belay_runtime_background(runtime);
    uint64_t taken = check_metric("/executor/taken:tasks"), queue = check_metric("/executor/queue:tasks");
    belay_group group = belay_group_new(root, BELAY_UNLIMITED, NULL);
    atomic_store(&gate, 1);
    for (int i = 0; i < 5; i++) CHECK_IS(belay_group_go(group, hold, NULL), BELAY_OK);
    CHECK_IS(check_metric("/executor/queue:tasks") - queue, 5);
    CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
    CHECK_IS(check_metric("/executor/queue:tasks") - queue, 0);
    CHECK_IS(check_metric("/executor/taken:tasks") - taken, 5);
    CHECK_IS(belay_group_free(group), BELAY_OK);
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
}

// --- Threads ----------------------------------------------------------------------------------------------------------

static long rounds;

static void derive_and_close(void *raw) {
    belay_ctx parent = *(belay_ctx *)raw;
    for (long i = 0; i < rounds; i++) {
        belay_ctx one = belay_with_cancel(parent), two = belay_with_timeout(one, BELAY_SEC(100));
        belay_ctx lite = belay_lite(two, BELAY_SEC(10)), value = belay_with_value(two, &KEY, raw, NULL);
        if (i % 4 == 0) CHECK_IS(belay_cancel(two), BELAY_OK);
        check_close(value);
        check_close(lite);
        check_close(two);
        check_close(one);
    }
}

static void threads_add_up(void) {
    rounds = check_scaled(5000);
    for (int n = 1; n <= 16; n *= 2) {
        belay_ctx parent = belay_with_cancel(background);
        mark();
        check_threads(n, derive_and_close, &parent);
        uint64_t all = (uint64_t)(n * rounds), cancelled = (uint64_t)(n * ((rounds + 3) / 4));
        // The threads have gone; what they counted has not.
        MOVED({CREATED("cancel"), all}, {CREATED("timeout"), all}, {CREATED("lite"), all}, {CREATED("value"), all},
              {ENDED("canceled"), cancelled}, {ENDED("closed"), 3 * all - cancelled});
        check_close(parent);
    }
}

static atomic_bool stop;

static void churn(void *raw) {
    while (!atomic_load(&stop)) {
        belay_ctx parent = belay_with_timeout(background, BELAY_MS(50));
        CHECK(belay_on_done(parent, check_ignore, NULL).bits != 0);
        belay_ctx child = belay_with_value(parent, &KEY, raw, NULL);
        belay_timer timer = belay_timer_after(child, BELAY_US(300), check_ignore, NULL);
        (void)belay_timer_stop(timer);
        check_close(parent);
        check_close(child);
    }
}

static void read_meanwhile(void) {
    struct check_thread threads[8];
    static belay_ctx parent;
    parent = background;
    atomic_store(&stop, false);
    for (int i = 0; i < 8; i++) check_start(&threads[i], churn, &parent);
    static char text[BELAY_PROMETHEUS_SIZE];
    belay_sample last[MOST], now[MOST];
    read_all(last);
    for (long turn = check_scaled(2000); turn > 0; turn--) {
        read_all(now);
        for (size_t i = 0, all = count_metrics(); i < all; i++) {
            belay_metric metric;
            CHECK(belay_metric_at(i, &metric));
            // Counters never go back; what lives never comes out as a number below zero.
            if (metric.kind == BELAY_METRIC_COUNTER && now[i].value < last[i].value) fprintf(stderr, "%s:\n", metric.name);
            if (metric.kind == BELAY_METRIC_COUNTER) CHECK(now[i].value >= last[i].value);
            else CHECK(now[i].value < (uint64_t)1 << 40);
            last[i] = now[i];
        }
        ptrdiff_t length = belay_metrics_prometheus(text, sizeof text);
        CHECK(length > 0 && (size_t)length < sizeof text);
        CHECK_IS(strlen(text), length);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 8; i++) check_join(&threads[i]);
}

// --- The table --------------------------------------------------------------------------------------------------------

static void the_list(void) {
    belay_metric metric, other;
    size_t n = count_metrics();
    for (size_t i = 0; i < n; i++) {
        CHECK(belay_metric_at(i, &metric));
        CHECK(metric.name[0] == '/' && metric.description[0] != 0);
        CHECK(metric.kind == BELAY_METRIC_COUNTER || metric.kind == BELAY_METRIC_GAUGE);
        const char *unit = strrchr(metric.name, ':');
        CHECK(unit != NULL && strcmp(unit + 1, metric.unit) == 0);
        for (size_t k = 0; k < i; k++) {
            CHECK(belay_metric_at(k, &other));
            CHECK(strcmp(metric.name, other.name) != 0);
        }
        (void)check_metric(metric.name);
    }
    metric.name = "as it was";
    CHECK(!belay_metric_at(n, &metric));
    CHECK(!belay_metric_at(SIZE_MAX, &metric));
    CHECK(strcmp(metric.name, "as it was") == 0);
    CHECK(!belay_metric_at(0, NULL));
    // The names of the first version.
    static const char *const OLD[] = {
        "/ctx/live:contexts", "/task/live:tasks", "/group/live:groups", "/signal/watchers:contexts",
        "/memory/records:records", "/memory/arena:bytes", "/driver/wakeups:wakeups", "/executor/threads:threads",
        "/pool/live:items", "/pool/idle:items", "/pool/hits:gets", "/pool/misses:gets", "/custom/inner:contexts",
        "/custom/callback:contexts", "/custom/descriptor:contexts", "/custom/polled:contexts",
    };
    for (size_t i = 0; i < sizeof OLD / sizeof *OLD; i++) (void)check_metric(OLD[i]);
    belay_sample samples[] = {{.name = "/ctx/live"}, {.name = "/ctx/live:contexts"}, {.name = NULL}, {.name = ""}};
    samples[1].status = BELAY_EINVAL;
    CHECK_IS(belay_metrics_read(samples, 4), BELAY_EINVAL);
    CHECK_IS(samples[0].status, BELAY_EINVAL);
    CHECK_IS(samples[1].status, BELAY_OK);
    CHECK_IS(samples[2].status, BELAY_EINVAL);
    CHECK_IS(belay_metrics_read(NULL, 0), BELAY_OK);
    CHECK_IS(belay_metrics_read(NULL, 1), BELAY_EINVAL);
    CHECK_IS(belay_memory_limit(1 << 30), BELAY_OK);
    CHECK_IS(check_metric("/memory/limit:bytes"), 1 << 30);
    CHECK_IS(belay_memory_limit(0), BELAY_OK);
    CHECK(check_metric("/memory/threads:threads") >= 1);
}

// --- Prometheus -------------------------------------------------------------------------------------------------------

// Every line is a comment or a sample; each family has one HELP and one TYPE, before its samples, which follow each other.
static void prometheus_text(void) {
    static char text[BELAY_PROMETHEUS_SIZE], again[BELAY_PROMETHEUS_SIZE];
    ptrdiff_t length = belay_metrics_prometheus(text, sizeof text);
    CHECK(length > 0 && (size_t)length < sizeof text && text[length - 1] == '\n');
    CHECK_IS(strlen(text), length);
    CHECK_IS(belay_metrics_prometheus(NULL, 0), length);
    // One byte short of room for the NUL: nothing. Just enough: all.
    memset(again, 'x', sizeof again);
    CHECK_IS(belay_metrics_prometheus(again, (size_t)length), length);
    CHECK(again[0] == 0 && again[length] == 'x');
    CHECK_IS(belay_metrics_prometheus(again, (size_t)length + 1), length);
    CHECK(again[length] == 0 && again[length + 1] == 'x');
    CHECK_IS(belay_metrics_prometheus(NULL, 1), -1);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    // The largest numbers that there can be fit.
    size_t samples = 0;
    char family[128] = "", type[32] = "", seen[64][128];
    size_t families = 0;
    uint64_t bucket = 0, count = 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && rest != NULL;) {
        char name[128], what[32];
        if (sscanf(line, "# HELP %127s ", name) == 1) {
            for (size_t i = 0; i < families; i++) CHECK(strcmp(seen[i], name) != 0);
            CHECK(families < 64);
            strcpy(seen[families++], name);
            strcpy(family, name);
            CHECK(strlen(strchr(line + 7, ' ')) > 5);
            type[0] = 0;
        } else if (sscanf(line, "# TYPE %127s %31s", name, what) == 2) {
            CHECK(strcmp(name, family) == 0 && type[0] == 0);
            strcpy(type, what);
            size_t total = strlen(name);
            bool says = total > 6 && strcmp(name + total - 6, "_total") == 0;
            CHECK(strcmp(type, "histogram") == 0 || says == (strcmp(type, "counter") == 0));
        } else {
            samples++;
            CHECK(strncmp(line, family, strlen(family)) == 0 && type[0] != 0);
            const char *after = line + strlen(family);
            unsigned long long value;
            char *end = strrchr(line, ' ');
            CHECK(end != NULL && end[1] >= '0' && end[1] <= '9');
            value = strtoull(end + 1, &end, 10);
            if (strcmp(type, "histogram") == 0) {
                if (strncmp(after, "_bucket{le=\"", 12) == 0) {
                    CHECK(value >= bucket);
                    bucket = value;
                } else if (strncmp(after, "_count ", 7) == 0) {
                    count = value;
                } else {
                    CHECK(strncmp(after, "_sum ", 5) == 0 && *end == '.');
                    continue;
                }
            } else {
                CHECK(*after == ' ' || (*after == '{' && strstr(after, "=\"") != NULL && strstr(after, "\"} ") != NULL));
            }
            CHECK_IS(*end, 0);
        }
    }
    CHECK_IS(samples, count_metrics() + 1);
    CHECK_IS(bucket, count);
    CHECK_IS(count, check_metric("/timers/lateness/le-inf:timers"));
    CHECK((size_t)length + samples * 19 < BELAY_PROMETHEUS_SIZE);
}

int main(void) {
    background = belay_background();
    const struct check_test tests[] = {
        TEST(created_by_kind), TEST(look_ups_by_depth), TEST(merged_and_foreign), TEST(ended_by_reason), TEST(signal_contexts),
        TEST(runtimes_and_groups), TEST(timers), TEST(lateness), TEST(executor_queue), TEST(threads_add_up),
        TEST(read_meanwhile), TEST(the_list), TEST(prometheus_text),
    };
    RUN_TESTS(tests, "");
    return 0;
}
