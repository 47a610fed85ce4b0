// SPDX-License-Identifier: Apache-2.0
//
// Why a context ended: causes, and which of several ends is the verdict. The first end wins, also where nobody looked
// at the time; every such test runs for each choice of which of the contexts are listened to.
#include "check.h"

#include <sched.h>

#define LATER BELAY_MS(25) // far enough apart for any clock that asking may use

static unsigned listen_to; // bit i: listen to contexts[i]
static void each_way_of_listening(unsigned contexts, void (*test)(void)) {
    for (listen_to = 0; listen_to < 1u << contexts; listen_to++) test();
    listen_to = 0;
}
static belay_ctx made(unsigned bit, belay_ctx ctx) {
    CHECK(!belay_is_none(ctx));
    if (listen_to >> bit & 1) CHECK(belay_on_done(ctx, check_ignore, NULL).bits != 0);
    return ctx;
}
static void check_end(belay_ctx ctx, belay_status error, int64_t code, const char *message) {
    check_cause(ctx, code, message);
    check_done(ctx, error);
    check_cause(ctx, code, message);
}
static void check_plain_end(belay_ctx ctx, belay_status error) {
    check_end(ctx, error, error, belay_status_string(error));
}

static void live_contexts_have_no_cause(void) {
    belay_cause cause = {77, "untouched"};
    belay_ctx ctx = belay_with_timeout_cause(belay_background(), BELAY_SEC(100), 5, "not yet");
    CHECK(!belay_cause_of(ctx, &cause));
    CHECK(cause.code == 77 && strcmp(cause.message, "untouched") == 0);
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    CHECK(!belay_cause_of(ctx, NULL));
    check_close(ctx);
}

static void a_cause_is_for_all_that_it_ends(void) {
    belay_ctx top = made(0, belay_with_cancel(belay_background())), middle = made(1, belay_with_cancel(top));
    belay_ctx leaf = made(2, belay_with_timeout_cause(middle, BELAY_SEC(100), 3, "unused"));
    CHECK_IS(belay_cancel_cause(middle, -7000000000, "the disk is full"), BELAY_OK);
    check_end(middle, BELAY_CANCELED, -7000000000, "the disk is full");
    CHECK_IS(belay_cancel_cause(top, 2, "second"), BELAY_OK);
    check_end(leaf, BELAY_CANCELED, -7000000000, "the disk is full");
    check_end(top, BELAY_CANCELED, 2, "second");
    CHECK_IS(belay_cancel_cause(top, 9, "ignored"), BELAY_OK);
    check_end(top, BELAY_CANCELED, 2, "second");
    belay_ctx late = belay_with_cancel(leaf);
    check_end(late, BELAY_CANCELED, -7000000000, "the disk is full");
    check_close(top);
    check_close(middle);
    check_end(leaf, BELAY_CANCELED, -7000000000, "the disk is full"); // its giver may be closed
    check_end(late, BELAY_CANCELED, -7000000000, "the disk is full");
    check_close(leaf);
    check_close(late);
}

static void an_explicit_cancel_is_no_timeout(void) {
    belay_ctx ctx = made(0, belay_with_timeout_cause(belay_background(), BELAY_SEC(100), 5, "too slow"));
    belay_ctx child = made(1, belay_with_cancel(ctx));
    CHECK_IS(belay_cancel(ctx), BELAY_OK);
    check_plain_end(ctx, BELAY_CANCELED);
    check_plain_end(child, BELAY_CANCELED);
    check_close(child);
    check_close(ctx);
}

static void a_close_reads_as_canceled(void) {
    belay_ctx ctx = made(0, belay_with_timeout_cause(belay_background(), BELAY_SEC(100), 5, "too slow"));
    belay_ctx child = made(1, belay_with_cancel(ctx));
    check_close(ctx);
    check_plain_end(child, BELAY_CANCELED);
    check_close(child);
}

static void a_deadline_gives_its_cause(void) {
    belay_ctx outer = made(0, belay_with_timeout_cause(belay_background(), BELAY_SEC(100), 1, "outer"));
    belay_ctx ctx = made(1, belay_with_timeout_cause(outer, BELAY_MS(2), 2, "inner"));
    belay_ctx child = made(2, belay_with_timeout_cause(ctx, BELAY_SEC(50), 3, "innermost"));
    CHECK_IS(belay_wait(child, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    check_end(child, BELAY_DEADLINE_EXCEEDED, 2, "inner");
    check_end(ctx, BELAY_DEADLINE_EXCEEDED, 2, "inner");
    check_live(outer);
    CHECK_IS(belay_cancel_cause(ctx, 4, "late"), BELAY_OK);
    check_end(ctx, BELAY_DEADLINE_EXCEEDED, 2, "inner");
    check_close(child);
    check_close(ctx);
    check_close(outer);
}

static void an_equal_deadline_is_the_parents(void) {
    belay_instant deadline = belay_now() + BELAY_MS(2);
    belay_ctx parent = made(0, belay_with_deadline_cause(belay_background(), deadline, 1, "parent"));
    belay_ctx child = made(1, belay_with_deadline_cause(parent, deadline, 2, "child"));
    CHECK_IS(belay_wait(child, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    check_end(child, BELAY_DEADLINE_EXCEEDED, 1, "parent");
    check_close(child);
    check_close(parent);
}

static void a_deadline_that_has_passed_gives_its_cause(void) {
    belay_ctx ctx = made(0, belay_with_deadline_cause(belay_background(), 1, 9, "long ago"));
    check_end(ctx, BELAY_DEADLINE_EXCEEDED, 9, "long ago");
    belay_ctx plain = made(1, belay_with_timeout_cause(ctx, 0, 8, "not this"));
    check_end(plain, BELAY_DEADLINE_EXCEEDED, 9, "long ago");
    check_close(plain);
    check_close(ctx);
}

// The child's deadline passes, nobody looks, then its parent is cancelled.
static void a_deadline_wins_over_a_later_cancel(void) {
    belay_ctx top = made(0, belay_with_cancel(belay_background()));
    belay_ctx child = made(1, belay_with_timeout(top, BELAY_MS(1))), leaf = made(2, belay_with_cancel(child));
    belay_instant deadline;
    CHECK(belay_deadline(child, &deadline));
    check_sleep_until(deadline + LATER);
    CHECK_IS(belay_cancel_cause(top, 1, "later"), BELAY_OK);
    check_end(top, BELAY_CANCELED, 1, "later");
    check_plain_end(leaf, BELAY_DEADLINE_EXCEEDED);
    check_plain_end(child, BELAY_DEADLINE_EXCEEDED);
    check_close(top);
    check_close(child);
    check_close(leaf);
}

// The same by a cancel without a cause, which has a way of its own where nobody is below.
static void a_deadline_wins_over_a_later_plain_cancel(void) {
    belay_ctx top = made(0, belay_with_cancel(belay_background())), child = made(1, belay_with_timeout(top, BELAY_MS(1)));
    belay_instant deadline;
    CHECK(belay_deadline(child, &deadline));
    check_sleep_until(deadline + LATER);
    CHECK_IS(belay_cancel(top), BELAY_OK);
    check_plain_end(child, BELAY_DEADLINE_EXCEEDED);
    check_plain_end(top, BELAY_CANCELED);
    check_close(top);
    check_close(child);
}

// The same where the end of the parent is its close, and the handle above is gone when somebody asks.
static void a_deadline_wins_over_a_later_close(void) {
    belay_ctx top = made(0, belay_with_cancel(belay_background())), child = made(1, belay_with_timeout(top, BELAY_MS(1)));
    belay_instant deadline;
    CHECK(belay_deadline(child, &deadline));
    check_sleep_until(deadline + LATER);
    check_close(top);
    check_plain_end(child, BELAY_DEADLINE_EXCEEDED);
    check_close(child);
}

// The parent is cancelled, nobody looks, then the child's deadline passes.
static void a_cancel_wins_over_a_later_deadline(void) {
    belay_ctx top = made(0, belay_with_cancel(belay_background()));
    belay_ctx child = made(1, belay_with_timeout(top, BELAY_MS(50))), leaf = made(2, belay_with_cancel(child));
    belay_instant deadline;
    CHECK_IS(belay_cancel_cause(top, 1, "first"), BELAY_OK);
    CHECK(belay_deadline(child, &deadline));
    bool in_time = belay_now() < deadline;
    check_sleep_until(deadline + LATER);
    if (in_time) {
        check_end(leaf, BELAY_CANCELED, 1, "first");
        check_end(child, BELAY_CANCELED, 1, "first");
    }
    check_close(leaf);
    check_close(child);
    check_close(top);
}

// Two deadlines pass unseen: the earlier one is the verdict, whichever context it is on.
static void of_two_deadlines_the_earlier_wins(void) {
    belay_ctx top = made(0, belay_with_timeout_cause(belay_background(), BELAY_MS(1) + LATER, 1, "top"));
    belay_ctx child = made(1, belay_with_timeout_cause(top, BELAY_MS(1), 2, "child"));
    belay_ctx leaf = made(2, belay_with_timeout_cause(child, BELAY_SEC(10), 3, "leaf"));
    belay_instant deadline;
    CHECK(belay_deadline(top, &deadline));
    check_sleep_until(deadline + LATER);
    check_end(leaf, BELAY_DEADLINE_EXCEEDED, 2, "child");
    check_end(child, BELAY_DEADLINE_EXCEEDED, 2, "child");
    check_end(top, BELAY_DEADLINE_EXCEEDED, 1, "top");
    check_close(leaf);
    check_close(child);
    check_close(top);
}

// Parent and child are cancelled by themselves, in both orders, and nobody looks in between.
static void of_two_cancels_the_first_wins(void) {
    for (int child_first = 0; child_first < 2; child_first++) {
        belay_ctx top = made(0, belay_with_cancel(belay_background())), child = made(1, belay_with_cancel(top));
        belay_ctx leaf = made(2, belay_with_cancel(child));
        CHECK_IS(belay_cancel_cause(child_first ? child : top, 1, "first"), BELAY_OK);
        CHECK_IS(belay_cancel_cause(child_first ? top : child, 2, "second"), BELAY_OK);
        check_end(leaf, BELAY_CANCELED, 1, "first");
        check_end(child, BELAY_CANCELED, 1, "first");
        check_end(top, BELAY_CANCELED, child_first ? 2 : 1, child_first ? "second" : "first");
        check_close(leaf);
        check_close(child);
        check_close(top);
    }
}

static void messages_are_copied_and_cut(void) {
    char ascii[100];
    memset(ascii, 'a', sizeof ascii);
    ascii[99] = 0;
    const struct { size_t prefix; const char *tail; size_t expected; } cases[] = {
        {0, "", 0}, {54, "b", 55}, {55, "b", 55}, {54, "\u00e9", 54}, {53, "\u00e9", 55}, {53, "\u20ac", 53},
        {52, "\u20ac", 55}, {52, "\U0001f600", 52}, {51, "\U0001f600", 55}, {90, "b", 55},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char message[120];
        belay_cause cause;
        snprintf(message, sizeof message, "%.*s%s", (int)cases[i].prefix, ascii, cases[i].tail);
        belay_ctx ctx = belay_with_cancel(belay_background());
        CHECK_IS(belay_cancel_cause(ctx, 1, message), BELAY_OK);
        belay_ctx timed = belay_with_deadline_cause(belay_background(), 1, 1, message);
        char expected[56] = {0};
        memcpy(expected, message, cases[i].expected);
        memset(message, 'x', sizeof message - 1);
        CHECK(belay_cause_of(ctx, &cause));
        CHECK_IS(strnlen(cause.message, 56), cases[i].expected);
        CHECK(strcmp(cause.message, expected) == 0);
        check_cause(timed, 1, expected);
        check_close(ctx);
        check_close(timed);
    }
}

static void causes_go_with_their_contexts(void) {
    uint64_t before = 0;
    for (int turn = 0; turn < 2; turn++) { // the first one makes what is made once
        before = check_metric("/memory/records:records");
        for (int i = 0; i < 3000; i++) {
            belay_ctx timed = belay_with_timeout_cause(belay_background(), i % 2 ? 0 : BELAY_SEC(100), 1, "one");
            belay_ctx both = belay_with_timeout_cause(timed, BELAY_SEC(100), 2, "two"), plain = belay_with_cancel(timed);
            belay_ctx lite = belay_lite(plain, BELAY_FOREVER), late = belay_lite(timed, BELAY_FOREVER);
            CHECK_IS(belay_cancel_cause(lite, 3, "three"), BELAY_OK);
            CHECK_IS(belay_cancel_cause(plain, 4, "four"), BELAY_OK);
            CHECK_IS(belay_cancel_cause(both, 5, "five"), BELAY_OK);
            CHECK_IS(belay_err(late), i % 2 ? BELAY_DEADLINE_EXCEEDED : BELAY_OK); // which keeps a copy of the cause
            belay_ctx all[] = {late, lite, plain, both, timed};
            for (int j = 0; j < 5; j++) check_close(all[j]);
        }
    }
    CHECK_IS(check_metric("/memory/records:records"), before);
}

static void odd_messages_are_safe(void) {
    char continuation[100];
    memset(continuation, 0x80, sizeof continuation);
    continuation[99] = 0;
    const char *messages[] = {NULL, "", continuation, "\xff\xfe"};
    for (int i = 0; i < 4; i++) {
        belay_cause cause;
        belay_ctx ctx = belay_with_timeout_cause(belay_background(), 0, INT64_MIN, messages[i]);
        CHECK(belay_cause_of(ctx, &cause));
        CHECK_IS(cause.code, INT64_MIN);
        CHECK(strnlen(cause.message, 56) < 56);
        if (i < 2) CHECK_IS(cause.message[0], 0);
        check_close(ctx);
    }
}

// Cancel and deadline race: whoever asks gets the same verdict, once and for all, for parent and child alike.
struct race { belay_ctx ctx, child; belay_duration before; atomic_int ready; };
struct verdict { belay_status error; belay_cause cause; };

static struct verdict ask(belay_ctx ctx) {
    struct verdict seen = {BELAY_OK, {0, ""}};
    while ((seen.error = belay_err(ctx)) == BELAY_OK) sched_yield();
    CHECK(belay_cause_of(ctx, &seen.cause));
    CHECK(belay_is_done(ctx));
    return seen;
}
static void check_same(struct verdict a, struct verdict b) {
    CHECK_IS(a.error, b.error);
    CHECK_IS(a.cause.code, b.cause.code);
    CHECK(strcmp(a.cause.message, b.cause.message) == 0);
}
static void racer(void *argument) {
    struct race *race = argument;
    int number = atomic_fetch_add(&race->ready, 1);
    while (atomic_load(&race->ready) < 4) sched_yield();
    belay_instant deadline;
    CHECK(belay_deadline(race->ctx, &deadline));
    if (number == 0) {
        while (belay_now() < deadline - race->before) sched_yield();
        CHECK_IS(belay_cancel_cause(race->ctx, 8, "cancel"), BELAY_OK);
    }
    struct verdict first = ask(number % 2 ? race->child : race->ctx);
    CHECK(first.error == BELAY_CANCELED || first.error == BELAY_DEADLINE_EXCEEDED);
    CHECK_IS(first.cause.code, first.error == BELAY_CANCELED ? 8 : 7);
    CHECK(strcmp(first.cause.message, first.error == BELAY_CANCELED ? "cancel" : "timeout") == 0);
    for (int i = 0; i < 50; i++) {
        check_same(ask(race->ctx), first);
        check_same(ask(race->child), first);
    }
}
static void cancel_and_deadline_race_to_one_verdict(void) {
    long rounds = check_scaled(200), canceled = 0;
    for (long i = 0; i < rounds; i++) {
        listen_to = (unsigned)i % 4;
        struct race race = {.before = BELAY_US(i % 50 * 4), .ready = 0};
        race.ctx = made(0, belay_with_timeout_cause(belay_background(), BELAY_MS(4), 7, "timeout"));
        race.child = made(1, belay_with_cancel(race.ctx));
        check_threads(4, racer, &race);
        canceled += belay_err(race.ctx) == BELAY_CANCELED;
        check_close(race.child);
        check_close(race.ctx);
    }
    listen_to = 0;
    printf("    %ld of %ld rounds went to the cancel\n", canceled, rounds);
}

#define EACH_WAY(name) static void name##_each_way(void) { each_way_of_listening(3, name); }
EACH_WAY(a_cause_is_for_all_that_it_ends)
EACH_WAY(an_explicit_cancel_is_no_timeout)
EACH_WAY(a_close_reads_as_canceled)
EACH_WAY(a_deadline_gives_its_cause)
EACH_WAY(an_equal_deadline_is_the_parents)
EACH_WAY(a_deadline_that_has_passed_gives_its_cause)
EACH_WAY(a_deadline_wins_over_a_later_cancel)
EACH_WAY(a_deadline_wins_over_a_later_plain_cancel)
EACH_WAY(a_deadline_wins_over_a_later_close)
EACH_WAY(a_cancel_wins_over_a_later_deadline)
EACH_WAY(of_two_deadlines_the_earlier_wins)
EACH_WAY(of_two_cancels_the_first_wins)

int main(void) {
    static const struct check_test tests[] = {
        TEST(live_contexts_have_no_cause),
        TEST(a_cause_is_for_all_that_it_ends_each_way),
        TEST(an_explicit_cancel_is_no_timeout_each_way),
        TEST(a_close_reads_as_canceled_each_way),
        TEST(a_deadline_gives_its_cause_each_way),
        TEST(an_equal_deadline_is_the_parents_each_way),
        TEST(a_deadline_that_has_passed_gives_its_cause_each_way),
        TEST(a_deadline_wins_over_a_later_cancel_each_way),
        TEST(a_deadline_wins_over_a_later_plain_cancel_each_way),
        TEST(a_deadline_wins_over_a_later_close_each_way),
        TEST(a_cancel_wins_over_a_later_deadline_each_way),
        TEST(of_two_deadlines_the_earlier_wins_each_way),
        TEST(of_two_cancels_the_first_wins_each_way),
        TEST(messages_are_copied_and_cut),
        TEST(causes_go_with_their_contexts),
        TEST(odd_messages_are_safe),
        TEST(cancel_and_deadline_race_to_one_verdict),
    };
    RUN_TESTS(tests, "");
    return 0;
}
