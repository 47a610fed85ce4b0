// SPDX-License-Identifier: Apache-2.0
//
// Foreign parents on all four paths, next to a naive model, and fought over by threads.
#include "check.h"

#include <sys/eventfd.h>
#include <unistd.h>

// A source that can be asked, told of, and watched, and counts what was done to it.
struct source {
    atomic_int status; // a belay_status
    int64_t code;
    belay_instant deadline;
    belay_ctx inner;
    int fd;
    pthread_mutex_t lock;
    struct { void (*fn)(void *); void *arg; } call;
    atomic_int registered, stopped, dropped, asked;
    const belay_key *key;
};

static struct source *source_new(void) {
    struct source *source = calloc(1, sizeof *source);
    source->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    source->deadline = BELAY_FOREVER;
    pthread_mutex_init(&source->lock, NULL);
    return source;
}

static void source_end(struct source *source, belay_status status) {
    pthread_mutex_lock(&source->lock);
    int live = BELAY_OK;
    void (*fn)(void *) = NULL;
    void *arg = source->call.arg;
    if (atomic_compare_exchange_strong(&source->status, &live, (int)status)) fn = source->call.fn;
    pthread_mutex_unlock(&source->lock);
    uint64_t one = 1;
    CHECK_IS(write(source->fd, &one, sizeof one), sizeof one);
    if (fn != NULL) fn(arg);
}

static void source_free(struct source *source) {
    EVENTUALLY(atomic_load(&source->dropped) == 1);
    CHECK_IS(source->stopped, source->registered);
    close(source->fd);
    pthread_mutex_destroy(&source->lock);
    free(source);
}

static belay_ctx inner(void *self) { return ((struct source *)self)->inner; }
static uint64_t after_func(void *self, void (*fn)(void *), void *arg) {
    struct source *source = self;
    pthread_mutex_lock(&source->lock);
    source->call.fn = fn;
    source->call.arg = arg;
    bool over = source->status != BELAY_OK;
    pthread_mutex_unlock(&source->lock);
    source->registered++;
    if (over) fn(arg);
    return 77;
}
static void stop(void *self, uint64_t token) {
    CHECK_IS(token, 77);
    ((struct source *)self)->stopped++;
}
static int done_fd(void *self) { return ((struct source *)self)->fd; }
static belay_status err(void *self, belay_cause *cause) {
    struct source *source = self;
    source->asked++;
    belay_status status = (belay_status)atomic_load(&source->status);
    if (status != BELAY_OK && source->code != 0) {
        cause->code = source->code;
        strcpy(cause->message, "the source");
    }
    return status;
}
static bool deadline(void *self, belay_instant *instant) {
    *instant = ((struct source *)self)->deadline;
    return *instant != BELAY_FOREVER;
}
static void *value(void *self, const belay_key *key) {
    struct source *source = self;
    return key == source->key ? source : NULL;
}
static void drop(void *self) { ((struct source *)self)->dropped++; }

static const belay_custom_ops by_inner = {.size = sizeof by_inner, .inner = inner, .drop = drop};
static const belay_custom_ops by_callback = {
    .size = sizeof by_callback, .after_func = after_func, .stop = stop, .err = err, .deadline = deadline, .drop = drop};
static const belay_custom_ops by_descriptor = {
    .size = sizeof by_descriptor, .done_fd = done_fd, .err = err, .deadline = deadline, .drop = drop};
static const belay_custom_ops by_asking = {.size = sizeof by_asking, .err = err, .deadline = deadline, .drop = drop};
static const belay_custom_ops *const paths[] = {&by_callback, &by_descriptor, &by_asking};
static const char *const counters[] = {"/custom/callback:contexts", "/custom/descriptor:contexts", "/custom/polled:contexts"};
enum { PATHS = 3 };

static void the_end_arrives(void) {
    for (int path = 0; path < PATHS; path++)
        for (int deadline = 0; deadline < 2; deadline++)
            for (int listen = 0; listen < 2; listen++) {
                struct source *source = source_new();
                source->code = listen ? 321 : 0;
                uint64_t before = check_metric(counters[path]);
                belay_ctx wrapper = belay_custom(paths[path], source), child = belay_with_cancel(wrapper);
                CHECK_IS(check_metric(counters[path]), before + 1);
                check_live(child);
                atomic_int ran = 0;
                if (listen) CHECK(belay_after_func(child, check_count, &ran).bits != 0);
                belay_status status = deadline ? BELAY_DEADLINE_EXCEEDED : BELAY_CANCELED;
                source_end(source, status);
                if (path == 1) EVENTUALLY(belay_is_done(wrapper));
                if (listen) EVENTUALLY(atomic_load(&ran) == 1);
                check_done(child, status);
                check_done(wrapper, status);
                if (listen) check_cause(child, 321, "the source");
                else check_cause(child, status, belay_status_string(status));
                check_close(wrapper);
                CHECK_IS(source->dropped, 0);
                check_close(child);
                source_free(source);
                CHECK_IS(check_metric(counters[path]), before);
            }
}

// The value is the first to be asked.
static void a_value_below_asks_too(void) {
    static const belay_key key = {"key"};
    for (int path = 0; path < PATHS; path++)
        for (int ask_err = 0; ask_err < 2; ask_err++) {
            struct source *source = source_new();
            belay_ctx wrapper = belay_custom(paths[path], source), below = belay_with_value(wrapper, &key, source, NULL);
            check_live(below);
            source_end(source, BELAY_CANCELED);
            if (path == 1) EVENTUALLY(ask_err ? belay_err(below) != BELAY_OK : belay_is_done(below));
            if (ask_err) CHECK_IS(belay_err(below), BELAY_CANCELED);
            else CHECK(belay_is_done(below));
            check_done(below, BELAY_CANCELED);
            check_close(below);
            check_close(wrapper);
            source_free(source);
        }
}

static void end_source(void *source) { source_end(source, BELAY_CANCELED); }

static void waits_end(void) {
    for (int path = 0; path < PATHS; path++) {
        struct source *source = source_new();
        belay_ctx wrapper = belay_custom(paths[path], source), child = belay_with_cancel(wrapper);
        CHECK_IS(belay_wait(child, BELAY_MS(1)), BELAY_TIMEOUT);
        struct check_thread thread;
        check_start(&thread, end_source, source);
        CHECK_IS(belay_wait(child, BELAY_FOREVER), BELAY_CANCELED);
        check_join(&thread);
        check_close(child);
        check_close(wrapper);
        source_free(source);
    }
}

static void ended_before(void) {
    for (int path = 0; path < PATHS; path++) {
        struct source *source = source_new();
        source->code = 5;
        source_end(source, BELAY_CANCELED);
        belay_ctx wrapper = belay_custom(paths[path], source);
        check_done(wrapper, BELAY_CANCELED);
        check_cause(wrapper, 5, "the source");
        check_close(wrapper);
        source_free(source);
    }
}

static void it_can_end_by_itself(void) {
    for (int path = 0; path < PATHS; path++) {
        struct source *source = source_new();
        belay_ctx wrapper = belay_custom(paths[path], source), child = belay_with_cancel(wrapper);
        atomic_int ran = 0;
        CHECK(belay_on_done(child, check_count, &ran).bits != 0);
        CHECK_IS(belay_cancel_cause(wrapper, 9, "ours"), BELAY_OK);
        CHECK_IS(ran, 1);
        check_cause(child, 9, "ours");
        CHECK_IS(source->status, BELAY_OK);
        source_end(source, BELAY_CANCELED);
        check_cause(child, 9, "ours");
        CHECK_IS(belay_reset(wrapper).bits, 0);
        check_close(child);
        check_close(wrapper);
        source_free(source);
    }
}

static void deadlines(void) {
    for (int path = 0; path < PATHS; path++) {
        struct source *source = source_new();
        source->deadline = belay_now() + BELAY_MS(5);
        belay_ctx wrapper = belay_custom(paths[path], source), child = belay_with_timeout(wrapper, BELAY_SEC(100));
        belay_instant instant = 0;
        CHECK(belay_deadline(child, &instant));
        CHECK_IS(instant, source->deadline);
        CHECK_IS(belay_wait(child, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
        check_close(child);
        check_close(wrapper);
        source_free(source);
    }
}

static void an_inner_context_is_the_fast_path(void) {
    struct source *source = source_new();
    source->inner = belay_with_cancel(belay_background());
    belay_ctx wrapper = belay_custom(&by_inner, source), child = belay_with_cancel(wrapper);
    uint64_t before = check_metric("/custom/inner:contexts");
    CHECK_IS(before, 1);
    for (long i = 0; i < check_scaled(100000); i++) check_close(belay_with_cancel(wrapper));
    CHECK_IS(check_metric("/custom/inner:contexts"), before);
    CHECK_IS(belay_cancel(wrapper), BELAY_ENOCANCEL);
    check_live(child);
    CHECK_IS(belay_cancel_cause(source->inner, 6, "inside"), BELAY_OK);
    check_done(child, BELAY_CANCELED);
    check_cause(child, 6, "inside");
    check_close(child);
    check_close(wrapper);
    CHECK_IS(source->dropped, 1);
    check_close(source->inner);
    source_free(source);
}

static void an_inner_context_with_more(void) {
    static const belay_custom_ops both = {.size = sizeof both, .inner = inner, .after_func = after_func, .stop = stop, .drop = drop};
    for (int which = 0; which < 2; which++) {
        struct source *source = source_new();
        source->inner = belay_with_timeout(belay_background(), BELAY_SEC(100));
        belay_ctx wrapper = belay_custom(&both, source), child = belay_with_cancel(wrapper);
        CHECK(belay_remaining(child) <= BELAY_SEC(100));
        if (which) belay_cancel(source->inner); else source_end(source, BELAY_CANCELED);
        check_done(child, BELAY_CANCELED);
        check_close(child);
        check_close(wrapper);
        check_close(source->inner);
        source_free(source);
    }
}

static void values_come_from_the_source(void) {
    static const belay_key ours = {"ours"}, theirs = {"theirs"}, both = {"both"}, nobodys = {"nobody's"};
    static const belay_custom_ops with_values = {.size = sizeof with_values, .inner = inner, .err = err, .value = value, .drop = drop};
    struct source *source = source_new(), *outer = source_new();
    source->key = &theirs;
    outer->key = &both;
    belay_ctx above = belay_with_value(belay_background(), &ours, (void *)&ours, NULL);
    belay_ctx hidden = belay_with_value(above, &theirs, (void *)&nobodys, NULL);
    outer->inner = hidden;
    belay_ctx first = belay_custom(&with_values, outer);
    source->inner = first;
    belay_ctx wrapper = belay_custom(&with_values, source), child = belay_with_cancel(wrapper);
    belay_ctx nearer = belay_with_value(child, &both, (void *)&both, NULL), none = belay_with_value(nearer, &theirs, NULL, NULL);
    CHECK(belay_value(child, &theirs) == source); // nearer than what the inner context has
    CHECK(belay_value(child, &ours) == &ours);
    CHECK(belay_value(child, &both) == outer);
    CHECK(belay_value(nearer, &both) == &both);
    CHECK(belay_value(none, &theirs) == NULL); // hidden with "none"
    CHECK(belay_value(child, &nobodys) == NULL);
    CHECK(belay_value(above, &theirs) == NULL);
    belay_ctx apart = belay_without_cancel(child);
    CHECK(belay_value(apart, &theirs) == source);
    belay_pool pool = belay_pool_new(&(belay_pool_desc){.size = sizeof(belay_pool_desc), .item_size = 8});
    CHECK(belay_data(child, pool) == NULL);
    belay_ctx all[] = {none, nearer, child, wrapper, first, hidden, above};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) check_close(all[i]);
    CHECK_IS(source->dropped, 0);
    CHECK_IS(belay_pool_free(pool), BELAY_OK);
    check_close(apart);
    source_free(source);
    source_free(outer);
}

static void data_above_is_found(void) {
    static const belay_custom_ops with_values = {.size = sizeof with_values, .inner = inner, .value = value, .err = err, .drop = drop};
    belay_pool pool = belay_pool_new(&(belay_pool_desc){.size = sizeof(belay_pool_desc), .item_size = 8});
    struct source *source = source_new();
    void *data = NULL;
    source->inner = belay_with_data(belay_background(), pool, &data);
    belay_ctx wrapper = belay_custom(&with_values, source), child = belay_with_cancel(wrapper);
    CHECK(data != NULL && belay_data(child, pool) == data);
    check_close(source->inner);
    check_close(wrapper);
    check_close(child);
    source_free(source);
    CHECK_IS(belay_pool_free(pool), BELAY_OK);
}

static void one_registration_for_all(void) {
    for (int path = 0; path < PATHS; path++) {
        struct source *source = source_new();
        belay_ctx wrapper = belay_custom(paths[path], source);
        uint64_t count = check_metric(counters[path]), tasks = LIVE_TASKS;
        for (long i = 0; i < check_scaled(100000); i++) {
            belay_ctx child = belay_with_cancel(wrapper);
            if (i % 100 == 0) CHECK_IS(belay_stop(belay_after_func(child, check_ignore, NULL)), BELAY_STOP_PREVENTED);
            check_close(child);
        }
        CHECK_IS(check_metric(counters[path]), count);
        CHECK(source->registered <= 1);
        CHECK(LIVE_TASKS <= tasks + 1); // the one timer that asks
        check_close(wrapper);
        source_free(source);
    }
}

static void bad_ones(void) {
    struct source *source = source_new();
    static const belay_custom_ops nothing = {.size = sizeof nothing, .drop = drop}, small = {.size = 8, .drop = drop, .err = err};
    static const belay_custom_ops no_fd = {.size = sizeof no_fd, .done_fd = done_fd, .drop = drop};
    CHECK_IS(belay_custom(NULL, source).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    CHECK_IS(belay_custom(&small, source).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    CHECK_IS(source->dropped, 0); // what a struct of another size means is not known
    CHECK_IS(belay_custom(&nothing, source).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    CHECK_IS(atomic_exchange(&source->dropped, 0), 1);
    int kept = source->fd;
    source->fd = -1;
    CHECK_IS(belay_custom(&no_fd, source).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    CHECK_IS(atomic_exchange(&source->dropped, 0), 1);
    source->fd = kept;
    CHECK_IS(belay_custom(&by_inner, source).bits, 0); // its inner context is {0}
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    source_free(source);
}

static void in_the_hosts_loop(void) {
    belay_runtime_options options = {.size = sizeof options, .manual = true};
    belay_runtime runtime = belay_runtime_new(&options);
    static const belay_custom_ops there = {.size = sizeof there, .inner = inner, .done_fd = done_fd, .drop = drop};
    for (int early = 0; early < 2; early++) { // the loop's descriptor made before or after
        struct source *source = source_new();
        source->inner = belay_runtime_background(runtime);
        int fd = early ? belay_runtime_fd(runtime) : -1;
        belay_ctx wrapper = belay_custom(&there, source);
        CHECK(wrapper.bits != 0);
        fd = belay_runtime_fd(runtime);
        CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
        check_live(wrapper);
        source_end(source, BELAY_CANCELED);
        check_live(wrapper);
        CHECK(fd >= 0);
        CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
        check_done(wrapper, BELAY_CANCELED);
        check_close(wrapper);
        source_free(source);
    }
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
}

// A cancel of a wrapper that nobody hung on did not ask the source, which had ended before.
static void a_cancel_that_hid_the_sources_end(void) {
    for (int child = 0; child < 2; child++) {
        struct source *source = source_new();
        belay_ctx wrapper = belay_custom(&by_asking, source), below = {0};
        if (child) below = belay_with_cancel(wrapper);
        source_end(source, BELAY_DEADLINE_EXCEEDED);
        CHECK_IS(belay_cancel(wrapper), BELAY_OK);
        check_done(wrapper, BELAY_DEADLINE_EXCEEDED);
        if (child) check_close(below);
        check_close(wrapper);
        source_free(source);
    }
}

// The first listener found no memory for the timer that asks; the next one was not told, because nobody asked.
static void a_source_that_was_never_asked_again(void) {
    enum { MANY = 20000 };
    struct source *source = source_new();
    belay_ctx wrapper = belay_custom(&by_asking, source), child = belay_with_cancel(wrapper);
    atomic_int ran = 0;
    CHECK(belay_timer_after(child, 0, check_count, &ran).bits != 0); // the driver is there
    EVENTUALLY(atomic_load(&ran) == 1);
    static belay_reg full[MANY];
    int count = 0;
    CHECK_IS(belay_memory_limit(1), BELAY_OK);
    while (count < MANY && (full[count] = belay_on_done(belay_background(), check_ignore, NULL)).bits != 0) count++;
    CHECK(count < MANY);
    CHECK_IS(belay_stop(full[--count]), BELAY_STOP_PREVENTED); // room for the callback alone
    CHECK_IS(belay_on_done(child, check_count, &ran).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_ENOMEM);
    CHECK_IS(belay_memory_limit(0), BELAY_OK);
    CHECK(belay_on_done(child, check_count, &ran).bits != 0);
    source_end(source, BELAY_CANCELED);
    EVENTUALLY(atomic_load(&ran) == 2);
    while (count > 0) CHECK_IS(belay_stop(full[--count]), BELAY_STOP_PREVENTED);
    check_close(child);
    check_close(wrapper);
    source_free(source);
}

// An inner context and a deadline were refused as if nothing told of an end.
static void an_inner_context_and_a_deadline(void) {
    static const belay_custom_ops both = {.size = sizeof both, .inner = inner, .deadline = deadline, .drop = drop};
    for (int which = 0; which < 2; which++) {
        struct source *source = source_new();
        source->inner = belay_with_cancel(belay_background());
        source->deadline = belay_now() + (which ? BELAY_SEC(1000) : BELAY_MS(5));
        belay_ctx wrapper = belay_custom(&both, source), child = belay_with_cancel(wrapper);
        belay_instant instant = 0;
        CHECK(belay_deadline(child, &instant) && instant == source->deadline);
        if (which) CHECK_IS(belay_cancel_cause(source->inner, 6, "inside"), BELAY_OK);
        CHECK_IS(belay_wait(child, BELAY_FOREVER), which ? BELAY_CANCELED : BELAY_DEADLINE_EXCEEDED);
        if (which) check_cause(child, 6, "inside");
        check_close(child);
        check_close(wrapper);
        check_close(source->inner);
        source_free(source);
    }
}

// The end of one took the descriptor out of every runtime's set.
static void a_descriptor_that_two_runtimes_watch(void) {
    belay_runtime_options options = {.size = sizeof options, .manual = true};
    belay_runtime runtime = belay_runtime_new(&options);
    static const belay_custom_ops there = {.size = sizeof there, .inner = inner, .done_fd = done_fd, .drop = drop};
    struct source *source = source_new(), *alias = source_new();
    int own = alias->fd;
    source->inner = belay_runtime_background(runtime);
    alias->fd = source->fd;
    belay_ctx wrapper = belay_custom(&there, source), other = belay_custom(&by_descriptor, alias);
    check_live(wrapper);
    check_live(other);
    check_close(other);
    source_end(source, BELAY_CANCELED);
    CHECK_IS(belay_runtime_poll(runtime, BELAY_FOREVER), BELAY_OK);
    check_done(wrapper, BELAY_CANCELED);
    check_close(wrapper);
    alias->fd = own;
    source_free(alias);
    source_free(source);
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
}

// --- the model: a source, a wrapper and a tree below it; whoever ends first decides for all below ---------------------------

static void random_trees(void) {
    uint64_t random = 0x9e3779b97f4a7c15;
    for (int round = 0; round < (int)check_scaled(2000); round++) {
        int path = (int)(check_random(&random) % PATHS);
        struct source *source = source_new();
        source->code = 100000;
        enum { COUNT = 12 };
        belay_ctx nodes[COUNT] = {belay_custom(paths[path], source)};
        int above[COUNT] = {-1}, made = 1;
        int64_t code[COUNT] = {0};
        for (int step = 0; step < 40; step++) {
            int which = (int)(check_random(&random) % (uint64_t)made);
            switch (check_random(&random) % 5) {
            case 0:
            case 1:
                if (made == COUNT) break;
                nodes[made] = belay_with_cancel(nodes[which]);
                above[made] = which;
                code[made] = code[which];
                made++;
                break;
            case 2: CHECK(belay_on_done(nodes[which], check_ignore, NULL).bits != 0 || belay_last_status() == BELAY_OK); break;
            case 3: {
                int64_t cause = check_random(&random) % 8 == 0 ? 100000 : 1 + step;
                if (cause == 100000) {
                    source_end(source, BELAY_CANCELED);
                    for (int i = 0; i < made; i++) EVENTUALLY(belay_is_done(nodes[i])); // listeners hear of it a moment later
                    which = 0;
                } else if (check_random(&random) % 3 == 0) {
                    CHECK_IS(belay_cancel_cause(nodes[which], cause, "the source"), BELAY_OK);
                } else {
                    break;
                }
                if (code[which] == 0) code[which] = cause;
                for (int i = 1; i < made; i++) if (code[i] == 0) code[i] = code[above[i]];
                break;
            }
            default: break;
            }
        }
        for (int i = 0; i < made; i++) {
            if (code[i] != 0) check_cause(nodes[i], code[i], "the source");
            else check_live(nodes[i]);
        }
        for (int i = 0; i < made; i++) check_close(nodes[i]);
        source_free(source);
    }
}

// --- contention --------------------------------------------------------------------------------------------------------------

struct arena { atomic_int over; int path; atomic_long rounds; };

static void wrap_and_end(void *raw) {
    struct arena *arena = raw;
    uint64_t random = (uint64_t)(uintptr_t)&random | 1;
    while (!atomic_load(&arena->over)) {
        struct source *source = source_new();
        belay_ctx wrapper = belay_custom(paths[arena->path], source);
        CHECK(wrapper.bits != 0);
        atomic_int ran = 0;
        bool heard = check_random(&random) % 2;
        belay_ctx child = belay_with_cancel(wrapper);
        if (heard) CHECK(belay_after_func(child, check_count, &ran).bits != 0);
        struct check_thread other;
        check_start(&other, end_source, source);
        while (check_random(&random) % 8) {
            belay_ctx more = belay_with_cancel(child);
            belay_is_done(more);
            belay_close(more);
        }
        if (check_random(&random) % 2) belay_cancel(wrapper);
        if (check_random(&random) % 2) belay_close(wrapper);
        check_join(&other);
        EVENTUALLY(belay_is_done(child));
        if (heard) EVENTUALLY(atomic_load(&ran) == 1);
        belay_close(wrapper);
        belay_close(child);
        source_free(source);
        atomic_fetch_add(&arena->rounds, 1);
    }
}

static void contention(void) {
    for (int threads = 1; threads <= 16; threads *= 2)
        for (int path = 0; path < PATHS; path++) {
            struct arena arena = {.path = path};
            struct check_thread all[16];
            for (int i = 0; i < threads; i++) check_start(&all[i], wrap_and_end, &arena);
            check_sleep(BELAY_MS(check_scaled(100)));
            atomic_store(&arena.over, 1);
            for (int i = 0; i < threads; i++) check_join(&all[i]);
            CHECK(arena.rounds > 0);
        }
}

int main(void) {
    const struct check_test tests[] = {
        TEST(the_end_arrives), TEST(a_value_below_asks_too), TEST(waits_end), TEST(ended_before), TEST(it_can_end_by_itself), TEST(deadlines),
        TEST(an_inner_context_is_the_fast_path), TEST(an_inner_context_with_more), TEST(values_come_from_the_source),
        TEST(data_above_is_found),
        TEST(one_registration_for_all), TEST(bad_ones), TEST(in_the_hosts_loop),
        TEST(a_cancel_that_hid_the_sources_end), TEST(a_source_that_was_never_asked_again),
        TEST(an_inner_context_and_a_deadline),
        TEST(a_descriptor_that_two_runtimes_watch), TEST(random_trees), TEST(contention),
    };
    RUN_TESTS(tests, "");
    return 0;
}
