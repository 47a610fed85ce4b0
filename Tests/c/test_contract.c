// SPDX-License-Identifier: Apache-2.0
//
// The contract of roots, derive, end and ask, one function a promise. Each runs with nobody listening, where contexts
// stay out of the tree, and again with every context listened to.
#include "check.h"

#include <dirent.h>

static bool listening;

// A context of a test: live, and listened to where the run asks for it.
static belay_ctx made(belay_ctx ctx) {
    CHECK(!belay_is_none(ctx));
    if (listening) CHECK(belay_on_done(ctx, check_ignore, NULL).bits != 0);
    return ctx;
}
static belay_ctx made_live(belay_ctx ctx) { return made(check_live(ctx)); }
static belay_ctx cancellable(belay_ctx parent) { return made_live(belay_with_cancel(parent)); }

static int threads_of_process(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

// Must come first: nothing was made yet in this process.
static void roots_answer_before_anything_was_made(void) {
    belay_instant seen;
    CHECK_IS(belay_remaining(belay_background()), BELAY_FOREVER);
    CHECK_IS(belay_remaining(belay_todo()), BELAY_FOREVER);
    CHECK(!belay_deadline(belay_background(), &seen));
    check_live(belay_background());
}

static void deriving_and_asking_start_nothing(void) {
    if (listening) return;
    int before = threads_of_process();
    uint64_t wakeups = check_metric("/driver/wakeups:wakeups");
    belay_ctx ctxs[100];
    for (int i = 0; i < 100; i++) {
        ctxs[i] = belay_with_timeout(i ? ctxs[i - 1] : belay_background(), BELAY_SEC(3600 - i));
        check_live(ctxs[i]);
        CHECK_IS(belay_wait(ctxs[i], BELAY_US(10)), BELAY_TIMEOUT);
    }
    for (int i = 99; i >= 0; i--) check_close(ctxs[i]);
    CHECK_IS(threads_of_process(), before);
    CHECK_IS(check_metric("/driver/wakeups:wakeups"), wakeups);
    CHECK_IS(check_metric("/executor/threads:threads"), 0);
}

static void roots_are_never_done(void) {
    CHECK(belay_background().bits == belay_background().bits && belay_todo().bits == belay_todo().bits);
    CHECK(belay_background().bits != belay_todo().bits);
    belay_ctx roots[2] = {belay_background(), belay_todo()};
    for (int i = 0; i < 2; i++) {
        belay_ctx root = roots[i];
        belay_cause cause;
        belay_instant deadline;
        CHECK(!belay_is_none(root));
        CHECK_IS(belay_cancel(root), BELAY_ENOCANCEL);
        CHECK_IS(belay_cancel_cause(root, 1, "no"), BELAY_ENOCANCEL);
        CHECK_IS(belay_retain(root), BELAY_OK);
        CHECK_IS(belay_release(root), BELAY_OK);
        CHECK_IS(belay_close(root), BELAY_OK);
        CHECK_IS(belay_close(root), BELAY_OK);
        check_live(root);
        CHECK(!belay_cause_of(root, &cause) && !belay_deadline(root, &deadline));
        CHECK_IS(belay_remaining(root), BELAY_FOREVER);
        CHECK_IS(belay_wait(root, 0), BELAY_TIMEOUT);
        CHECK_IS(belay_wait(root, BELAY_MS(1)), BELAY_TIMEOUT);
        check_close(check_live(belay_with_cancel(root)));
    }
}

static void constants_read_well(void) {
    CHECK(strcmp(belay_version(), BELAY_VERSION) == 0);
    const belay_status all[] = {
        BELAY_OK, BELAY_CANCELED, BELAY_DEADLINE_EXCEEDED, BELAY_TIMEOUT, BELAY_STOP_PREVENTED, BELAY_STOP_RUNNING,
        BELAY_STOP_GONE, BELAY_EINVAL, BELAY_ESTALE, BELAY_ENOMEM, BELAY_ELEAF, BELAY_EFORK, BELAY_ENOCANCEL,
        BELAY_EDEADLK, BELAY_ESYSTEM, BELAY_EBUSY, BELAY_EFAILED,
    };
    const size_t n = sizeof all / sizeof *all;
    for (size_t i = 0; i < n; i++) {
        const char *text = belay_status_string(all[i]);
        CHECK(text[0] >= 'a' && text[0] <= 'z');
        CHECK(strcmp(text, "unknown status") != 0);
        for (size_t k = 0; k < i; k++) CHECK(strcmp(text, belay_status_string(all[k])) != 0);
    }
    for (int i = BELAY_CANCELED; i <= BELAY_EFORK; i++) // a context can have each of these for its cause: whole
        if (i <= BELAY_DEADLINE_EXCEEDED || i == BELAY_EINVAL || i == BELAY_ESTALE || i == BELAY_EFORK)
            CHECK(strlen(belay_status_string((belay_status)i)) < sizeof(((belay_cause *)0)->message));
    CHECK(strcmp(belay_status_string(BELAY_DEADLINE_EXCEEDED), "deadline exceeded") == 0);
    CHECK(strstr(belay_status_string(BELAY_ENOMEM), "contexts, runtimes, pools or pool items") != NULL);
    CHECK(strstr(belay_status_string(BELAY_EDEADLK), "the group's limit is 0") != NULL);
    CHECK(strcmp(belay_status_string((belay_status)999), "unknown status") == 0);
    CHECK(strcmp(belay_status_string((belay_status)-1), "unknown status") == 0);
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    belay_instant now = belay_now();
    clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK(now >= (int64_t)before.tv_sec * 1000000000 + before.tv_nsec);
    CHECK(now <= (int64_t)after.tv_sec * 1000000000 + after.tv_nsec);
}

static void fresh_thread(void *argument) {
    (void)argument;
    CHECK_IS(belay_last_status(), BELAY_OK);
    belay_ctx none = {0};
    CHECK(belay_is_none(belay_with_cancel(none)));
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    check_close(made(belay_with_cancel(belay_background())));
    CHECK_IS(belay_last_status(), BELAY_EINVAL); // a call that succeeds does not change it
}
static void last_status_is_of_this_thread(void) { check_threads(2, fresh_thread, NULL); }

static void cancel_ends_the_subtree_and_no_more(void) {
    belay_ctx top = cancellable(belay_background()), side = cancellable(top);
    belay_ctx chain[300];
    for (int i = 0; i < 300; i++) chain[i] = cancellable(i ? chain[i - 1] : top);
    CHECK_IS(belay_cancel(chain[150]), BELAY_OK);
    for (int i = 299; i >= 0; i--) {
        if (i < 150) check_live(chain[i]); else check_done(chain[i], BELAY_CANCELED);
    }
    check_live(side);
    check_live(top);
    CHECK_IS(belay_cancel(top), BELAY_OK);
    CHECK_IS(belay_cancel(top), BELAY_OK); // also when it had ended before
    check_done(side, BELAY_CANCELED);
    check_done(chain[149], BELAY_CANCELED);
    for (int i = 0; i < 300; i++) check_close(chain[i]);
    check_close(side);
    check_close(top);
}

static void close_ends_what_was_derived(void) {
    belay_ctx parent = cancellable(belay_background()), child = cancellable(parent), grandchild = cancellable(child);
    check_close(parent);
    check_done(parent, BELAY_ESTALE);
    check_done(child, BELAY_CANCELED);
    check_done(grandchild, BELAY_CANCELED);
    check_close(child);
    check_done(grandchild, BELAY_CANCELED);
    check_close(grandchild);
}

static void stale_handles_read_as_done(void) {
    static const belay_key key = {"key"};
    belay_ctx ctx = made_live(belay_with_timeout(belay_background(), BELAY_SEC(100)));
    check_close(ctx);
    belay_instant deadline;
    check_done(ctx, BELAY_ESTALE);
    check_cause(ctx, BELAY_ESTALE, belay_status_string(BELAY_ESTALE));
    CHECK(!belay_deadline(ctx, &deadline));
    CHECK(belay_value(ctx, &key) == NULL);
    CHECK_IS(belay_close(ctx), BELAY_ESTALE);
    CHECK_IS(belay_release(ctx), BELAY_ESTALE);
    CHECK_IS(belay_retain(ctx), BELAY_ESTALE);
    CHECK_IS(belay_cancel(ctx), BELAY_ESTALE);
    CHECK_IS(belay_cancel_cause(ctx, 1, "late"), BELAY_ESTALE);
    CHECK(belay_is_none(belay_with_cancel(ctx)));
    CHECK_IS(belay_last_status(), BELAY_ESTALE);
    CHECK(belay_is_none(belay_with_timeout(ctx, BELAY_SEC(1))));
    CHECK(belay_is_none(belay_without_cancel(ctx)));
    for (int i = 0; i < 1000; i++) { // nor does it become somebody else's context
        belay_ctx other = belay_with_cancel(belay_background());
        CHECK(other.bits != ctx.bits);
        CHECK_IS(belay_err(ctx), BELAY_ESTALE);
        check_close(other);
    }
}

static void none_reads_as_done(void) {
    belay_ctx none = {0};
    CHECK(belay_is_none(none));
    check_done(none, BELAY_EINVAL);
    check_cause(none, BELAY_EINVAL, belay_status_string(BELAY_EINVAL));
    CHECK_IS(belay_close(none), BELAY_EINVAL);
    CHECK_IS(belay_cancel(none), BELAY_EINVAL);
    CHECK(belay_is_none(belay_with_deadline(none, BELAY_FOREVER)));
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
}

static void closes_pair_with_retains(void) {
    belay_ctx ctx = cancellable(belay_background()), child = cancellable(ctx);
    for (int i = 0; i < 100; i++) CHECK_IS(belay_retain(ctx), BELAY_OK);
    for (int i = 0; i < 50; i++) check_close(ctx);
    for (int i = 0; i < 50; i++) CHECK_IS(belay_release(ctx), BELAY_OK);
    check_live(ctx);
    check_live(child);
    check_close(ctx);
    check_done(child, BELAY_CANCELED);
    CHECK_IS(belay_close(ctx), BELAY_ESTALE);
    check_close(child);
}

static void children_of_done_contexts_are_done_at_birth(void) {
    belay_ctx parent = cancellable(belay_background());
    CHECK_IS(belay_cancel_cause(parent, 42, "enough"), BELAY_OK);
    belay_ctx children[3] = {
        made(belay_with_cancel(parent)),
        made(belay_with_timeout_cause(parent, BELAY_SEC(9), 1, "not this")),
        made(belay_with_deadline_cause(parent, 5, 1, "nor this: the parent was done first")),
    };
    for (int i = 0; i < 3; i++) {
        check_done(children[i], BELAY_CANCELED);
        check_cause(children[i], 42, "enough");
        check_close(children[i]);
    }
    check_close(parent);
}

static void durations_are_of_whole_numbers_and_of_fractions(void) {
    CHECK_IS(BELAY_SEC(0.5), BELAY_MS(500));
    CHECK_IS(BELAY_MS(1.5), BELAY_US(1500));
    CHECK_IS(BELAY_US(0.25), BELAY_NS(250));
    CHECK_IS(BELAY_SEC(-1 - 1), -INT64_C(2000000000));
    CHECK_IS(BELAY_SEC(4294967295u), INT64_C(4294967295000000000));
    static const belay_duration constant = BELAY_MS(7);
    CHECK_IS(constant, 7000000);
}

static void the_earlier_deadline_counts(void) {
    belay_instant in_an_hour = belay_now() + BELAY_SEC(3600), seen = 0;
    belay_ctx parent = made_live(belay_with_deadline(belay_background(), in_an_hour));
    CHECK(belay_deadline(parent, &seen));
    CHECK_IS(seen, in_an_hour);
    const struct { belay_instant asked, expected; } cases[] = {
        {in_an_hour - 1, in_an_hour - 1}, {in_an_hour, in_an_hour},
        {in_an_hour + 1, in_an_hour},     {BELAY_FOREVER, in_an_hour},
    };
    for (int i = 0; i < 4; i++) {
        belay_ctx child = made_live(belay_with_deadline(parent, cases[i].asked)), below = cancellable(child);
        CHECK(belay_deadline(below, &seen));
        CHECK_IS(seen, cases[i].expected);
        belay_duration left = belay_remaining(below);
        CHECK(left > 0 && left <= BELAY_SEC(3600));
        CHECK_IS(belay_cancel(child), BELAY_OK);
        CHECK_IS(belay_remaining(below), 0); // asked before anything else has noticed
        CHECK(belay_deadline(below, &seen) && seen == cases[i].expected); // readable after the end
        check_done(below, BELAY_CANCELED);
        check_close(below);
        check_close(child);
    }
    check_close(parent);
}

static void a_timeout_counts_from_now(void) {
    belay_instant before = belay_now(), seen = 0;
    belay_ctx ctx = made_live(belay_with_timeout(belay_background(), BELAY_SEC(60)));
    belay_instant after = belay_now();
    CHECK(belay_deadline(ctx, &seen));
    CHECK(seen >= before + BELAY_SEC(60)); // never earlier
    CHECK(belay_remaining(ctx) <= BELAY_SEC(60) + (seen - after));
    check_close(ctx);
    for (int i = 0; i < 20000; i++) { // never more than was given, as one thread sees it, and never more again
        ctx = belay_with_timeout(belay_background(), 1 + i % 500);
        belay_duration first = belay_remaining(ctx), second = belay_remaining(ctx);
        CHECK(first <= 1 + i % 500 && second <= first);
        check_close(ctx);
    }
}

static void never_means_never(void) {
    belay_instant seen;
    belay_ctx ctxs[] = {
        belay_with_deadline(belay_background(), BELAY_FOREVER),
        belay_with_timeout(belay_background(), BELAY_FOREVER),
        belay_with_timeout(belay_background(), BELAY_FOREVER - 1), // the sum overflows
        belay_with_timeout_cause(belay_background(), INT64_MAX - BELAY_SEC(1) / 1000000000, 1, "never"),
    };
    for (size_t i = 0; i < sizeof ctxs / sizeof *ctxs; i++) {
        made_live(ctxs[i]);
        CHECK(!belay_deadline(ctxs[i], &seen));
        CHECK_IS(belay_remaining(ctxs[i]), BELAY_FOREVER);
        CHECK_IS(belay_wait(ctxs[i], BELAY_MS(1)), BELAY_TIMEOUT);
        CHECK_IS(belay_cancel(ctxs[i]), BELAY_OK);
        check_done(ctxs[i], BELAY_CANCELED);
        check_close(ctxs[i]);
    }
}

static void past_deadlines_are_done_at_birth(void) {
    belay_instant seen;
    belay_ctx ctxs[] = {
        belay_with_timeout(belay_background(), 0),         belay_with_timeout(belay_background(), -1),
        belay_with_timeout(belay_background(), INT64_MIN), belay_with_deadline(belay_background(), 0),
        belay_with_deadline(belay_background(), INT64_MIN), belay_with_deadline(belay_background(), 1),
        belay_with_deadline(belay_background(), belay_now()),
    };
    for (size_t i = 0; i < sizeof ctxs / sizeof *ctxs; i++) {
        check_done(made(ctxs[i]), BELAY_DEADLINE_EXCEEDED);
        check_cause(ctxs[i], BELAY_DEADLINE_EXCEEDED, "deadline exceeded");
        CHECK_IS(belay_cancel_cause(ctxs[i], 1, "late"), BELAY_OK);
        check_cause(ctxs[i], BELAY_DEADLINE_EXCEEDED, "deadline exceeded");
        CHECK(belay_deadline(ctxs[i], &seen) && seen <= belay_now());
        check_close(ctxs[i]);
    }
}

static void deadlines_pass_never_early(void) {
    for (int i = 0; i < 20; i++) {
        belay_instant deadline = belay_now() + BELAY_US(i * 137);
        belay_ctx ctx = made(belay_with_deadline(belay_background(), deadline)), child = made(belay_with_cancel(ctx));
        belay_status seen = BELAY_OK;
        while (seen == BELAY_OK) {
            seen = belay_err(i % 2 ? child : ctx);
            if (seen == BELAY_OK) continue;
            CHECK_IS(seen, BELAY_DEADLINE_EXCEEDED);
            CHECK(belay_now() >= deadline);
        }
        check_done(ctx, BELAY_DEADLINE_EXCEEDED);
        check_done(child, BELAY_DEADLINE_EXCEEDED);
        check_close(child);
        check_close(ctx);
    }
}

static void no_time_left_means_done(void) {
    for (int i = 0; i < 20; i++) {
        belay_ctx ctx = made(belay_with_timeout(belay_background(), BELAY_US(i * 91)));
        belay_duration left;
        while ((left = belay_remaining(ctx)) > 0) CHECK(left <= BELAY_US(i * 91));
        CHECK_IS(left, 0);
        CHECK(belay_is_done(ctx));
        check_done(ctx, BELAY_DEADLINE_EXCEEDED);
        check_close(ctx);
    }
}

static void without_cancel_lives_on(void) {
    belay_instant seen;
    belay_cause cause;
    belay_ctx request = made_live(belay_with_timeout(belay_background(), BELAY_SEC(100)));
    belay_ctx audit = check_live(belay_without_cancel(request)), step = cancellable(audit);
    CHECK(!belay_deadline(audit, &seen) && !belay_deadline(step, &seen));
    CHECK_IS(belay_remaining(audit), BELAY_FOREVER);
    CHECK_IS(belay_cancel(audit), BELAY_ENOCANCEL);
    CHECK_IS(belay_cancel(request), BELAY_OK);
    belay_ctx late = check_live(belay_without_cancel(request)); // also from a done parent
    check_close(request);
    check_live(audit);
    check_live(step);
    CHECK(!belay_cause_of(audit, &cause));
    check_close(audit); // it ends nothing either
    check_live(step);
    CHECK_IS(belay_cancel(step), BELAY_OK);
    check_done(step, BELAY_CANCELED);
    check_close(step);
    check_close(late);
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(roots_answer_before_anything_was_made),
        TEST(deriving_and_asking_start_nothing),
        TEST(roots_are_never_done),
        TEST(constants_read_well),
        TEST(last_status_is_of_this_thread),
        TEST(cancel_ends_the_subtree_and_no_more),
        TEST(close_ends_what_was_derived),
        TEST(stale_handles_read_as_done),
        TEST(none_reads_as_done),
        TEST(closes_pair_with_retains),
        TEST(children_of_done_contexts_are_done_at_birth),
        TEST(durations_are_of_whole_numbers_and_of_fractions), TEST(the_earlier_deadline_counts),
        TEST(a_timeout_counts_from_now),
        TEST(never_means_never),
        TEST(past_deadlines_are_done_at_birth),
        TEST(deadlines_pass_never_early),
        TEST(no_time_left_means_done),
        TEST(without_cancel_lives_on),
    };
    RUN_TESTS(tests, "");
    listening = true;
    RUN_TESTS(tests, ", listened to");
    return 0;
}
