// SPDX-License-Identifier: Apache-2.0
//
// The audit: a wasteful program in which it finds every symptom, and a clean one in which it finds none. Each is a
// process of its own, this program called with a word, so that nothing of one is there for the other.
#define _GNU_SOURCE
#include "check.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __clang__
#define APART __attribute__((noinline))
#else
#define APART __attribute__((noinline, noclone))
#endif
#define STAY __asm__ volatile("" ::: "memory") // no call is the last thing done

// --- The wasteful program -----------------------------------------------------------------------------------------

enum { MANY = 1500, CHILDREN = 11000, ENDLESS = 150 };
static belay_ctx kept[CHILDREN];

APART static void query_with_its_own_timeout(belay_ctx request) {
    belay_ctx ctx = belay_with_timeout(request, BELAY_SEC(60));
    (void)belay_wait(ctx, 0);
    belay_reg reg = belay_on_done(ctx, check_ignore, NULL);
    (void)belay_stop(reg);
    belay_close(ctx);
}

APART static void deadlines_that_are_covered(void) {
    belay_ctx request = belay_with_timeout(belay_background(), BELAY_SEC(30));
    for (int i = 0; i < MANY; i++) query_with_its_own_timeout(request);
    belay_close(request);
}

APART static void a_value_for_each_layer(void) {
    static const belay_key keys[9];
    for (int i = 0; i < MANY; i++) {
        belay_ctx chain[9], parent = belay_background();
        for (int layer = 0; layer < 9; layer++)
            parent = chain[layer] = belay_with_value(parent, &keys[layer], NULL, NULL);
        for (int layer = 9; layer-- > 0;) belay_close(chain[layer]);
    }
}

APART static void start_workers(belay_ctx service) {
    for (int i = 0; i < CHILDREN; i++) kept[i] = belay_with_cancel(service);
    STAY;
}

static int64_t task(belay_ctx ctx, void *unused) {
    (void)unused;
    belay_ctx mine = belay_with_timeout(ctx, BELAY_SEC(5));
    (void)belay_stop(belay_on_done(mine, check_ignore, NULL));
    belay_close(mine);
    return 0;
}

APART static void a_context_for_each_task(void) {
    belay_group group = belay_group_new(belay_background(), 4, NULL);
    for (int i = 0; i < MANY; i++) CHECK_IS(belay_group_go(group, task, NULL), BELAY_OK);
    CHECK_IS(belay_group_wait(group, BELAY_FOREVER, NULL), BELAY_OK);
    belay_group_free(group);
}

APART static void ended_long_before_closed(void) {
    static belay_ctx late[400];
    for (int i = 0; i < 400; i++) late[i] = belay_with_timeout(belay_background(), BELAY_MS(1));
    check_sleep(BELAY_MS(1200));
    for (int i = 0; i < 400; i++) {
        CHECK(belay_is_done(late[i]));
        belay_close(late[i]);
    }
}

APART static void only_to_be_asked(belay_ctx parent) {
    for (int i = 0; i < 12000; i++) {
        belay_ctx ctx = belay_with_timeout(parent, BELAY_SEC(100 + i % 7));
        if (belay_is_done(ctx)) abort();
        belay_close(ctx);
    }
}

static belay_status poll_it(void *self, belay_cause *cause) {
    (void)self, (void)cause;
    return BELAY_OK;
}

APART static void forgotten_callback(void *unused) { (void)unused; }

static void be_wasteful(void) {
    static const belay_custom_ops polled = {.size = sizeof polled, .err = poll_it};
    belay_ctx service = belay_with_cancel(belay_background());
    belay_ctx foreign = belay_custom(&polled, NULL);
    belay_pool_desc desc = {.size = sizeof desc, .item_size = 24, .name = "point"};
    belay_pool pool = belay_pool_new(&desc);
    CHECK(pool.bits != 0 && foreign.bits != 0);
    start_workers(service);
    for (int i = 0; i < ENDLESS; i++) (void)belay_after_func(belay_background(), forgotten_callback, NULL);
    deadlines_that_are_covered();
    a_value_for_each_layer();
    a_context_for_each_task();
    ended_long_before_closed();
    only_to_be_asked(belay_background());
}

// --- One that closes late, whatever the end was ---------------------------------------------------------------------

static void close_late(void) {
    enum { ENDS = 7, EACH = 300 };
    static belay_ctx late[ENDS][EACH];
    belay_ctx service = belay_with_cancel(belay_background()), watched = belay_with_cancel(belay_background());
    for (int i = 0; i < EACH; i++) {
        for (int k = 0; k < 3; k++) late[k][i] = belay_with_cancel(belay_background());
        (void)belay_on_done(late[1][i], check_ignore, NULL);
        late[3][i] = belay_with_timeout(belay_background(), BELAY_MS(1));
        late[4][i] = belay_with_cancel(service);
        late[5][i] = belay_with_cancel(watched);
        (void)belay_on_done(late[5][i], check_ignore, NULL);
        late[6][i] = belay_with_cancel(service);
        belay_close(belay_with_cancel(late[6][i])); // it has had a child
        belay_cancel(late[0][i]);
        belay_cancel(late[1][i]);
        belay_cancel_cause(late[2][i], i, "a cause");
    }
    belay_cancel(service);
    belay_cancel(watched);
    check_sleep(BELAY_MS(1200));
    for (int k = 0; k < ENDS; k++)
        for (int i = 0; i < EACH; i++) belay_close(late[k][i]);
    belay_close(service);
    belay_close(watched);
}

// --- One that leaks one in eight of its requests -------------------------------------------------------------------

APART static belay_ctx begin_request(belay_ctx service) {
    belay_ctx request = belay_with_timeout(service, BELAY_SEC(100));
    STAY;
    return request;
}

static void leak_some(void) {
    belay_ctx service = belay_with_cancel(belay_background());
    for (int i = 0; i < 9600; i++) {
        belay_ctx request = begin_request(service);
        (void)belay_stop(belay_on_done(request, check_ignore, NULL));
        if (i % 8 != 0) belay_close(request);
    }
    check_sleep(BELAY_MS(1200));
}

// --- The clean one ------------------------------------------------------------------------------------------------

static bool make_dear(void *item, void *unused) {
    (void)unused;
    memset(item, 1, sizeof(void *));
    return true;
}

static void be_clean(void) {
    static const belay_key key = {"user"};
    belay_pool_desc desc = {.size = sizeof desc, .item_size = 256};
    belay_pool pool = belay_pool_new(&desc);
    belay_ctx service = belay_with_cancel(belay_background()), workers[8];
    for (int i = 0; i < 8; i++) workers[i] = belay_with_cancel(belay_background());
    for (int i = 0; i < 3000; i++) {
        void *data;
        belay_ctx request = belay_with_timeout(service, BELAY_SEC(30));
        belay_ctx carrying = belay_with_data(request, pool, &data);
        belay_ctx user = belay_with_value(carrying, &key, NULL, NULL);
        belay_ctx query = belay_with_timeout(user, BELAY_SEC(20));
        belay_reg reg = belay_after_func(query, check_ignore, NULL);
        CHECK_IS(belay_stop(reg), BELAY_STOP_PREVENTED);
        belay_ctx lite = belay_lite(query, BELAY_SEC(10));
        CHECK(!belay_is_done(lite));
        belay_close(lite);
        belay_close(query);
        belay_close(user);
        belay_close(carrying);
        belay_close(request);
    }
    for (int i = 0; i < 8; i++) belay_close(workers[i]);
    belay_close(service);
    CHECK_IS(belay_pool_free(pool), BELAY_OK);
    // A few bytes that are dear to make, and one foreign parent that was asked little.
    static const belay_custom_ops polled = {.size = sizeof polled, .err = poll_it};
    belay_pool_desc dear = {.size = sizeof dear, .item_size = sizeof(void *), .init = make_dear};
    CHECK_IS(belay_pool_free(belay_pool_new(&dear)), BELAY_OK);
    belay_ctx foreign = belay_custom(&polled, NULL);
    CHECK(!belay_is_done(foreign));
    belay_close(foreign);
}

// --- One that leaves contexts open: no symptom, but said ------------------------------------------------------------

APART static void forget(belay_ctx parent, int count) {
    for (volatile int i = 0; i < count; i++) (void)belay_with_cancel(parent); // volatile: one call, not several
    STAY;
}

APART static void forget_elsewhere(belay_ctx parent) {
    (void)belay_lite(parent, BELAY_SEC(1));
    STAY;
}

static void leave_open(void) {
    static const belay_key key = {"user"};
    belay_ctx parent = belay_with_cancel(belay_background()), kept_by_children = belay_with_cancel(parent);
    forget(kept_by_children, 3);
    forget_elsewhere(parent);
    (void)belay_with_value(parent, &key, NULL, NULL);
    (void)belay_runtime_new(NULL); // counts as one; its root does not
    belay_close(kept_by_children); // and so does not what only its children keep
    belay_close(parent);
}

// --- Running them --------------------------------------------------------------------------------------------------

static const char *program; // not /proc/self/exe: under valgrind that is valgrind
static char text[1 << 16];

// What this program writes to standard error when it is called with `word` and `environment`.
static const char *audit_of(const char *word, const char *environment) {
    extern char **environ;
    int ends[2], status;
    pid_t child;
    char *emulator = check_emulator(), *variables[512] = {(char *)environment};
    char *arguments[] = {emulator, (char *)program, (char *)word, NULL};
    size_t count = 1, name = strcspn(environment, "=") + 1;
    for (size_t i = 0; environ[i] != NULL && count < 500; i++) {
        if (strncmp(environ[i], environment, name) != 0) variables[count++] = environ[i];
    }
    posix_spawn_file_actions_t actions;
    CHECK_IS(pipe(ends), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    const char *first = emulator ? emulator : program;
    CHECK_IS(posix_spawnp(&child, first, &actions, NULL, arguments + !emulator, variables), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    size_t have = 0;
    for (ssize_t more; (more = read(ends[0], text + have, sizeof text - 1 - have)) > 0;) have += (size_t)more;
    text[have] = 0;
    close(ends[0]);
    CHECK_IS(waitpid(child, &status, 0), child);
    if (status != 0) fprintf(stderr, "%s", text);
    CHECK_IS(status, 0);
    return text;
}

static void says(const char *what) {
    if (strstr(text, what) == NULL) {
        fprintf(stderr, "the audit does not say '%s':\n%s", what, text);
        CHECK(!"the audit says so");
    }
}

static const char *const TITLES[] = {
    "Deadlines that the parent's already covers", "Long chains of values",
    "Very many long-lived children of one context", "Foreign parents that can only be polled",
    "Callbacks that are never stopped", "Contexts that are closed late", "Contexts that are never closed",
    "A context for each task of a group", "Pools of small items", "Contexts that a lite one could be",
};

static void every_symptom_is_found(void) {
    (void)audit_of("wasteful", "BELAY_PROFILE_RATE=1");
    printf("%s", text);
    says("belay audit: 10 symptoms (");
    says("open now: 110"); // 11000 workers, and a few of its own
    says("           11000x belay_with_cancel+0x");
    const char *last = text;
    for (int i = 0; i < 10; i++) {
        char title[128];
        snprintf(title, sizeof title, "\n%d. %s\n", i + 1, TITLES[i]);
        says(title);
        CHECK(strstr(text, title) > last);
        last = strstr(text, title);
    }
    says("1500 of 1500 contexts were given a deadline that is not earlier");
    says("query_with_its_own_timeout+0x");
    says("chains of up to 9 values");
    says("a context has 11000 open children");
    says("1 foreign parent could only be polled, 1 of them open now");
    says("150 callbacks wait on contexts that never end, most often forgotten_callback (");
    says("400 of 400 contexts stayed open for more than a second");
    says("start_workers+0x");
    says("1500 of 1500 contexts with a deadline were derived by a group's task");
    says("such as 'point' with 24 bytes");
    says("12000 of 12000 contexts were closed without anyone having listened");
    says("only_to_be_asked+0x");
    says("docs/audit.md#contexts-that-are-never-closed");
}

static void a_late_close_is_one_whatever_the_end_was(void) {
    (void)audit_of("late", "BELAY_PROFILE_RATE=1");
    says("belay audit: 1 symptom (");
    says("2100 of 2100 contexts stayed open for more than a second");
}

static void a_leak_among_much_that_is_closed(void) {
    (void)audit_of("leak", "BELAY_PROFILE_RATE=1");
    says("belay audit: 1 symptom (");
    says("1200 contexts are open for more than a second, of 9600 that were derived there");
    says("begin_request+0x");
    (void)audit_of("leak", "BELAY_PROFILE_RATE=4");
    says("Contexts that are never closed");
}

static void samples_are_enough(void) {
    (void)audit_of("wasteful", "BELAY_PROFILE_RATE=8");
    for (int i = 0; i < 10; i++)
        if (i != 2) says(TITLES[i]);
}

static void a_clean_program_is_clean(void) {
    (void)audit_of("clean", "BELAY_PROFILE_RATE=1");
    CHECK_IS(strcmp(text, "belay audit: nothing found (15012 derivations, all sampled)\nopen now: no context\n"), 0);
    (void)audit_of("clean", "BELAY_PROFILE_RATE=0");
    CHECK(strncmp(text, "belay audit: nothing found (about", 33) == 0);
    says("1 in 64 sampled");
}

static void what_is_open_is_said(void) {
    (void)audit_of("open", "BELAY_PROFILE_RATE=1");
    says("belay audit: nothing found (10 derivations, all sampled)\n"
         "open now: 6 contexts\n           3x belay_with_cancel+0x");
    says("forget+0x");
    int places = 0;
    for (const char *line = text; (line = strstr(line, "x belay_")) != NULL; line++) places++;
    CHECK_IS(places, 3);
    (void)audit_of("open", "BELAY_PROFILE_RATE=1000000"); // counted without a sample, too
    says("belay audit: nothing was sampled: too few derivations for 1 in 1000000; BELAY_PROFILE_RATE=1 samples all\n"
         "open now: 6 contexts\n");
}

static void without_samples_it_says_so(void) {
    (void)audit_of("by hand", "BELAY_AUDIT=0");
    says("belay audit: nothing was sampled: set BELAY_AUDIT=1, or call belay_profile_rate first\n"
         "open now: no context\n");
    (void)audit_of("nothing", "BELAY_PROFILE_RATE=1000000");
    says("belay audit: nothing was sampled: too few derivations for 1 in 1000000; BELAY_PROFILE_RATE=1 samples all\n"
         "open now: no context\n");
    (void)audit_of("nothing", "BELAY_AUDIT=0");
    CHECK_IS(strlen(text), 0);
}

int main(int count, char **arguments) {
    if (count > 1) {
        if (strcmp(arguments[1], "wasteful") == 0) be_wasteful();
        if (strcmp(arguments[1], "clean") == 0) be_clean();
        if (strcmp(arguments[1], "late") == 0) close_late();
        if (strcmp(arguments[1], "leak") == 0) leak_some();
        if (strcmp(arguments[1], "open") == 0) leave_open();
        if (strcmp(arguments[1], "by hand") == 0) CHECK_IS(belay_audit_write(STDERR_FILENO), BELAY_OK);
        belay_close(belay_with_cancel(belay_background()));
        return 0;
    }
    program = arguments[0];
    setenv("BELAY_AUDIT", "1", 0);
    static const struct check_test tests[] = {
        TEST(every_symptom_is_found),
        TEST(a_late_close_is_one_whatever_the_end_was),
        TEST(a_leak_among_much_that_is_closed),
        TEST(samples_are_enough),
        TEST(a_clean_program_is_clean),
        TEST(what_is_open_is_said),
        TEST(without_samples_it_says_so),
    };
    RUN_TESTS(tests, "");
    return 0;
}
