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

// What a source said once is not taken for what it says next; what stands in the chain stays right beside it.
static void *latest(void *self, const belay_key *key) {
    struct source *source = self;
    if (key != source->key) return NULL;
    source->asked++;
    return source->asked % 2 ? NULL : (void *)(uintptr_t)source->asked; // also that there is none may change
}
static void a_source_is_asked_for_each_look_up(void) {
    static const belay_key ours = {"ours"}, theirs = {"theirs"};
    static const belay_custom_ops with_values = {.size = sizeof with_values, .err = err, .value = latest, .drop = drop};
    struct source *source = source_new();
    source->key = &theirs;
    belay_pool pool = belay_pool_new(&(belay_pool_desc){.size = sizeof(belay_pool_desc), .item_size = 8});
    void *item;
    belay_ctx above = belay_with_data(belay_background(), pool, &item), wrapper = belay_custom(&with_values, source);
    belay_ctx child = belay_with_value(wrapper, &ours, (void *)&ours, NULL), below = belay_with_cancel(child);
    int asked = source->asked;
    for (int i = 1; i < 5; i++) {
        uintptr_t now = (uintptr_t)(asked + i);
        CHECK(belay_value(below, &theirs) == (now % 2 ? NULL : (void *)now));
        CHECK(belay_value(below, &ours) == &ours && belay_value(above, &ours) == NULL);
        CHECK(belay_data(above, pool) == item && belay_data(below, pool) == NULL);
    }
    check_close(below);
    CHECK(belay_value(below, &ours) == NULL && belay_value(below, &theirs) == NULL);
    CHECK_IS(source->asked, asked + 4);
    check_close(child);
    check_close(wrapper);
    check_close(above);
    CHECK(belay_data(above, pool) == NULL);
    CHECK_IS(belay_pool_free(pool), BELAY_OK);
    source_free(source);
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

// A source that asks about what its answer is for asked itself without end. Asked in there, that is live as far as
// anyone can know.
struct curious { atomic_int status; belay_ctx about[8]; int count; atomic_int asked; atomic_bool expects_live; };
static belay_status asks_first(void *self, belay_cause *cause) {
    struct curious *curious = self;
    (void)cause;
    belay_status status = (belay_status)atomic_load(&curious->status);
    bool expects_live = atomic_load(&curious->expects_live);
    curious->asked++;
    for (int i = 0; i < curious->count; i++) {
        bool done = belay_is_done(curious->about[i]);
        belay_status error = belay_err(curious->about[i]);
        belay_cause why;
        bool known = belay_cause_of(curious->about[i], &why);
        if (expects_live) CHECK(!done && error == BELAY_OK && !known);
    }
    return status;
}
static const belay_custom_ops by_asking_first = {.size = sizeof by_asking_first, .err = asks_first};

static void a_source_that_asks_about_its_wrapper(void) {
    static const belay_key key = {"key"};
    for (int variant = 0; variant < 8; variant++) {
        struct curious curious = {.status = BELAY_OK, .expects_live = true};
        belay_ctx all[] = {belay_custom(&by_asking_first, &curious), {0}, {0}, {0}, {0}};
        all[1] = belay_with_cancel(all[0]);
        all[2] = belay_with_value(all[0], &key, NULL, NULL);
        all[3] = belay_with_timeout(all[1], BELAY_SEC(1000));
        all[4] = belay_lite(all[1], BELAY_FOREVER);
        memcpy(curious.about, all, sizeof all);
        curious.count = 5;
        for (int i = 0; i < 5; i++) check_live(all[i]);
        CHECK(curious.asked >= 5);
        atomic_int ran = 0;
        bool heard = variant >= 5;
        if (heard) { // the driver asks too: what it finds may be known here before it is asked for
            atomic_store(&curious.expects_live, false);
            CHECK(belay_on_done(all[variant - 5], check_count, &ran).bits != 0);
        }
        atomic_store(&curious.status, BELAY_DEADLINE_EXCEEDED);
        if (heard) EVENTUALLY(atomic_load(&ran) == 1);
        else if (variant % 2) CHECK_IS(belay_err(all[variant]), BELAY_DEADLINE_EXCEEDED);
        else CHECK(belay_is_done(all[variant]));
        for (int i = 0; i < 5; i++) check_done(all[i], BELAY_DEADLINE_EXCEEDED);
        for (int i = 4; i >= 0; i--) check_close(all[i]);
    }
}

// Two whose sources ask about each other's contexts, on one thread and on two.
struct couple { struct curious curious[2]; belay_ctx wrappers[2], children[2]; atomic_int ready; };
static void ask_the_couple(void *raw) {
    struct couple *couple = raw;
    int mine = atomic_fetch_add(&couple->ready, 1) % 2;
    while (atomic_load(&couple->ready) < 2) {}
    for (int i = 0; i < 100; i++) {
        belay_ctx ctx = i % 2 ? couple->wrappers[mine] : couple->children[mine];
        CHECK(!belay_is_done(ctx) || belay_err(ctx) == BELAY_CANCELED);
        if (i == 50 && mine == 0) atomic_store(&couple->curious[1].status, BELAY_CANCELED);
    }
    EVENTUALLY(belay_is_done(couple->children[1]));
}
static void sources_that_ask_about_each_other(void) {
    for (int threads = 1; threads <= 2; threads++)
        for (long round = threads == 1 ? 4 : check_scaled(200); round > 0; round--) {
            static struct couple couple;
            memset(&couple, 0, sizeof couple);
            for (int i = 0; i < 2; i++) {
                couple.wrappers[i] = belay_custom(&by_asking_first, &couple.curious[i]);
                couple.children[i] = belay_with_cancel(couple.wrappers[i]);
            }
            for (int i = 0; i < 2; i++) {
                couple.curious[i].about[0] = couple.wrappers[1 - i];
                couple.curious[i].about[1] = couple.children[1 - i];
                couple.curious[i].about[2] = couple.children[i];
                couple.curious[i].count = 3;
            }
            for (int i = 0; i < 2; i++) {
                check_live(couple.wrappers[i]);
                check_live(couple.children[i]);
            }
            atomic_int ran = 0;
            if (round % 2) CHECK(belay_on_done(couple.children[1], check_count, &ran).bits != 0);
            if (threads == 1) atomic_store(&couple.curious[1].status, BELAY_CANCELED);
            else check_threads(2, ask_the_couple, &couple);
            if (round % 2) EVENTUALLY(atomic_load(&ran) == 1); // the driver's asking tells those below
            check_live(couple.wrappers[0]);
            check_done(couple.wrappers[1], BELAY_CANCELED);
            check_done(couple.children[1], BELAY_CANCELED);
            CHECK(couple.curious[0].asked > 0 && couple.curious[1].asked > 0);
            for (int i = 0; i < 2; i++) {
                check_close(couple.children[i]);
                check_close(couple.wrappers[i]);
            }
        }
}

// Causes as sources give them: one that has a status's number, which lost its text, and one that takes all the 56
// bytes, whose last one passed for the mark of a signal.
struct given { atomic_bool over; belay_status status; belay_cause cause; };
static belay_status give(void *self, belay_cause *cause) {
    struct given *given = self;
    if (!atomic_load(&given->over)) return BELAY_OK;
    if (given->cause.code != 0 || given->cause.message[0] != 0) *cause = given->cause;
    return given->status;
}
static void check_given(const struct given *template, int64_t code, const char *message) {
    static const belay_custom_ops by_giving = {.size = sizeof by_giving, .err = give};
    for (int heard = 0; heard < 2; heard++) {
        struct given given = {.status = template->status, .cause = template->cause};
        belay_ctx wrapper = belay_custom(&by_giving, &given), child = belay_with_cancel(wrapper);
        belay_ctx lite = belay_lite(child, BELAY_FOREVER), all[] = {lite, child, wrapper};
        atomic_int ran = 0;
        check_live(lite);
        if (heard) CHECK(belay_on_done(child, check_count, &ran).bits != 0);
        atomic_store(&given.over, true);
        if (heard) EVENTUALLY(atomic_load(&ran) == 1);
        for (int i = 0; i < 3; i++) {
            check_done(all[i], given.status);
            check_cause(all[i], code, message);
            CHECK_IS(belay_signal_of(all[i]), 0);
        }
        for (int i = 0; i < 3; i++) check_close(all[i]);
    }
}

static void a_source_whose_cause_has_a_statuss_number(void) {
    struct given given = {.status = BELAY_CANCELED, .cause = {BELAY_CANCELED, "the user pressed stop"}};
    check_given(&given, BELAY_CANCELED, "the user pressed stop");
    given = (struct given){.status = BELAY_DEADLINE_EXCEEDED, .cause = {BELAY_DEADLINE_EXCEEDED, "idle for 30 s"}};
    check_given(&given, BELAY_DEADLINE_EXCEEDED, "idle for 30 s");
    given = (struct given){.status = BELAY_CANCELED, .cause = {BELAY_DEADLINE_EXCEEDED, "the other one's"}};
    check_given(&given, BELAY_DEADLINE_EXCEEDED, "the other one's");
    for (int status = BELAY_CANCELED; status <= BELAY_DEADLINE_EXCEEDED; status++) { // without a text, the status's
        given = (struct given){.status = (belay_status)status, .cause = {status, ""}};
        check_given(&given, status, belay_status_string(given.status));
        given = (struct given){.status = (belay_status)status};
        check_given(&given, status, belay_status_string(given.status));
    }
}

static void a_source_whose_cause_takes_all_the_room(void) {
    // Two, three and four bytes, of which one, two or three would be left over.
    static const char *const characters[] = {"x", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    for (int which = 0; which < 4; which++)
        for (size_t shift = 0; shift < 5; shift++) {
            struct given given = {.status = BELAY_CANCELED, .cause = {.code = 15}};
            char expected[57] = "";
            size_t width = strlen(characters[which]), length = shift;
            memset(given.cause.message, 'x', 56);
            for (; length < 56; length += width)
                memcpy(given.cause.message + length, characters[which], length + width > 56 ? 56 - length : width);
            memcpy(expected, given.cause.message, 56);
            for (length = shift; length + width <= 55;) length += width;
            expected[length] = 0;
            check_given(&given, 15, expected);
        }
    static const char lasts[] = {1, 2, 'x', 127, -128, -1}; // behind the text
    for (size_t i = 0; i < sizeof lasts; i++) {
        struct given given = {.status = BELAY_CANCELED, .cause = {15, "signal 15 (SIGTERM)"}};
        given.cause.message[55] = lasts[i];
        check_given(&given, 15, "signal 15 (SIGTERM)");
    }
}

// What fails in a drop is not what failed in the derivation that it runs in.
static void failing_drop(void *self) {
    CHECK(belay_is_none(belay_with_cancel((belay_ctx){0})));
    drop(self);
}
static void a_failing_wrapper_says_why_whatever_its_drop_does(void) {
    static const belay_custom_ops ops = {.size = sizeof ops, .inner = inner, .err = err, .drop = failing_drop};
    static const belay_custom_ops fast = {.size = sizeof fast, .inner = inner, .drop = failing_drop};
    belay_runtime_options options = {.size = sizeof options, .max_contexts = 1};
    belay_runtime full = belay_runtime_new(&options);
    belay_ctx only = belay_with_cancel(belay_runtime_background(full));
    belay_ctx lite = belay_lite(belay_background(), BELAY_FOREVER), stale = belay_with_cancel(belay_background());
    check_close(stale);
    const struct { belay_ctx inner; belay_status status; } cases[] = {
        {only, BELAY_ENOMEM}, {lite, BELAY_ELEAF}, {stale, BELAY_ESTALE}};
    for (int i = 0; i < 6; i++) {
        struct source *source = source_new();
        source->inner = cases[i / 2].inner;
        CHECK(belay_is_none(belay_custom(i % 2 ? &ops : &fast, source)));
        CHECK_IS(belay_last_status(), cases[i / 2].status);
        source_free(source);
    }
    check_close(only);
    check_close(lite);
    CHECK_IS(belay_runtime_free(full, BELAY_FOREVER), BELAY_OK);
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
        TEST(an_inner_context_is_the_fast_path), TEST(an_inner_context_with_more), TEST(values_come_from_the_source), TEST(a_source_is_asked_for_each_look_up),
        TEST(data_above_is_found),
        TEST(one_registration_for_all), TEST(bad_ones), TEST(in_the_hosts_loop),
        TEST(a_cancel_that_hid_the_sources_end), TEST(a_source_that_was_never_asked_again),
        TEST(an_inner_context_and_a_deadline),
        TEST(a_descriptor_that_two_runtimes_watch), TEST(a_source_that_asks_about_its_wrapper),
        TEST(sources_that_ask_about_each_other), TEST(a_source_whose_cause_has_a_statuss_number),
        TEST(a_source_whose_cause_takes_all_the_room), TEST(a_failing_wrapper_says_why_whatever_its_drop_does),
        TEST(random_trees), TEST(contention),
    };
    RUN_TESTS(tests, "");
    return 0;
}
