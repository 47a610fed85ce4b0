// SPDX-License-Identifier: Apache-2.0
//
// Calls that race with a close. An owner makes contexts and closes them; visitors, who only know the handle,
// use it at the same time.
#include "check.h"

#include <sched.h>

enum { PLACES = 8, VISITORS = 2 };

static _Atomic uint64_t places[PLACES];
static atomic_bool over;
static const belay_key key = {"key"};

static belay_ctx visible(unsigned *turn) { return (belay_ctx){atomic_load(&places[(*turn)++ % PLACES])}; }

static belay_ctx make(unsigned turn, belay_ctx parent) {
    switch (turn % 5) {
    case 0: return belay_with_cancel(belay_background());
    case 1: return belay_with_value(parent, &key, &over, check_ignore);
    case 2: return belay_with_timeout_cause(parent, turn % 2 ? 0 : BELAY_SEC(100), 3, "too late");
    case 3: return belay_without_cancel(parent);
    default: return belay_with_cancel(parent);
    }
}

// Every owner's close must find the context that it owns, whatever visitors do.
static void owner(void *argument) {
    (void)argument;
    for (unsigned turn = 0; !atomic_load(&over); turn++) {
        belay_ctx parent = belay_with_cancel(belay_background()), made = make(turn, parent);
        CHECK(!belay_is_none(made));
        belay_ctx old = {atomic_exchange(&places[turn % PLACES], made.bits)};
        if (old.bits && turn % 3 == 0) belay_cancel_cause(old, 4, "over");
        if (old.bits) check_close(old);
        check_close(parent);
    }
}

static void race(check_body *visitor) {
    struct check_thread threads[1 + VISITORS];
    atomic_store(&over, false);
    check_start(&threads[0], owner, NULL);
    for (int i = 0; i < VISITORS; i++) check_start(&threads[1 + i], visitor, NULL);
    check_sleep((belay_duration)check_scaled(BELAY_MS(700)));
    atomic_store(&over, true);
    for (int i = 0; i < 1 + VISITORS; i++) check_join(&threads[i]);
    for (int i = 0; i < PLACES; i++) {
        belay_ctx last = {atomic_exchange(&places[i], 0)};
        if (last.bits) check_close(last); // the owner may not have come round
    }
}

static void retain_it(void *argument) {
    (void)argument;
    for (unsigned turn = 0; !atomic_load(&over);) {
        belay_ctx ctx = visible(&turn);
        belay_status status = belay_retain(ctx);
        CHECK(status == BELAY_OK || status == BELAY_ESTALE || ctx.bits == 0);
        if (status != BELAY_OK) continue;
        CHECK(belay_err(ctx) != BELAY_ESTALE); // it is ours too
        check_close(ctx);
    }
}
static void retain_and_close(void) { race(retain_it); }

static void derive_from_it(void *argument) {
    (void)argument;
    for (unsigned turn = 0; !atomic_load(&over);) {
        belay_ctx parent = visible(&turn), child = make(turn % 5 == 0 ? 4 : turn, parent);
        if (belay_is_none(child)) continue;
        belay_err(child);
        check_close(child);
    }
}
static void derive_and_close(void) { race(derive_from_it); }

static void listen_to_it(void *argument) {
    (void)argument;
    for (unsigned turn = 0; !atomic_load(&over);) {
        atomic_int runs = 0;
        belay_ctx ctx = visible(&turn);
        belay_reg reg = turn % 2 ? belay_on_done(ctx, check_count, &runs) : belay_after_func(ctx, check_count, &runs);
        if (reg.bits == 0) continue;
        belay_status stopped = belay_stop_wait(reg, BELAY_FOREVER);
        CHECK(stopped == BELAY_STOP_PREVENTED || stopped == BELAY_STOP_GONE);
        CHECK_IS(runs, stopped == BELAY_STOP_GONE);
    }
}
static void listen_and_close(void) { race(listen_to_it); }

// The end may come as soon as the callback is in the list, and take the context away under the hands of whoever put it
// there, who has yet to see to the deadline.
struct meeting { belay_ctx ctx; atomic_int turn; long rounds; };
static void listen_first(void *argument) {
    struct meeting *all = argument;
    atomic_int runs = 0;
    for (int round = 0; round < all->rounds; round++) {
        int before = atomic_load(&runs);
        while (atomic_load(&all->turn) != 2 * round + 1) {}
        belay_reg reg = belay_on_done(all->ctx, check_count, &runs);
        CHECK(reg.bits != 0 || belay_last_status() == BELAY_ESTALE);
        while (reg.bits && atomic_load(&runs) == before) {}
        atomic_fetch_add(&all->turn, 1);
    }
}
static void close_at_once(void *argument) {
    struct meeting *all = argument;
    uint64_t random = 3;
    for (int round = 0; round < all->rounds; round++) {
        all->ctx = belay_with_timeout(belay_background(), BELAY_SEC(100));
        atomic_fetch_add(&all->turn, 1);
        for (volatile uint64_t i = check_random(&random) % 300; i > 0; i--) {}
        check_close(all->ctx);
        belay_ctx next = belay_with_timeout(belay_background(), BELAY_SEC(100)); // in the same cell, if that is free
        while (atomic_load(&all->turn) != 2 * round + 2) {}
        check_close(next);
    }
}
static void listen_as_it_closes(void) {
    uint64_t pending = check_metric("/timers/pending:timers");
    struct meeting all = {.rounds = check_scaled(20000)};
    struct check_thread listener, closer;
    check_start(&listener, listen_first, &all);
    check_start(&closer, close_at_once, &all);
    check_join(&listener);
    check_join(&closer);
    EVENTUALLY(check_metric("/timers/pending:timers") == pending);
}

// A context that was listened to, by nobody any more, closes as its deadline passes, its parent ends, or somebody else
// takes a last look.
static void listen_and_leave(void *argument) {
    (void)argument;
    uint64_t random = (uint64_t)(uintptr_t)&random;
    for (unsigned turn = 0; !atomic_load(&over);) {
        belay_ctx parent = visible(&turn);
        uint64_t dice = check_random(&random);
        belay_ctx child = dice % 3 ? belay_with_timeout(parent, BELAY_US(dice / 8 % 60)) : belay_with_cancel(parent);
        if (belay_is_none(child)) continue;
        atomic_int runs = 0;
        belay_reg reg = belay_on_done(child, check_count, &runs);
        if (dice % 16 == 0) CHECK(belay_done_fd(child) >= 0);
        belay_status stopped = belay_stop_wait(reg, BELAY_FOREVER);
        CHECK(stopped == BELAY_STOP_PREVENTED || stopped == BELAY_STOP_GONE);
        CHECK_IS(runs, stopped == BELAY_STOP_GONE);
        if (dice % 7 == 0) belay_cancel(child);
        check_close(child);
        CHECK_IS(belay_err(child), BELAY_ESTALE);
    }
}
static void leave_and_close(void) {
    uint64_t pending = check_metric("/timers/pending:timers");
    race(listen_and_leave);
    EVENTUALLY(check_metric("/timers/pending:timers") == pending);
}

static void cancel_it(void *argument) {
    (void)argument;
    for (unsigned turn = 0; !atomic_load(&over);) {
        belay_ctx ctx = visible(&turn), child = belay_with_cancel(ctx);
        belay_status status = belay_cancel_cause(ctx, 7, "raced");
        CHECK(status == BELAY_OK || status == BELAY_ESTALE || status == BELAY_ENOCANCEL || ctx.bits == 0);
        if (belay_is_none(child)) continue;
        if (status == BELAY_OK || status == BELAY_ESTALE) CHECK(belay_is_done(ctx));
        if (status == BELAY_OK) CHECK(belay_is_done(child)); // also where another visitor's cancel won
        check_close(child);
    }
}
static void cancel_and_close(void) { race(cancel_it); }

static void wait_for_it(void *argument) {
    (void)argument;
    for (unsigned turn = 0; !atomic_load(&over);) {
        belay_ctx several[] = {belay_background(), visible(&turn), visible(&turn)};
        belay_status status = turn % 3 ? belay_wait(several[1], BELAY_US(turn % 50))
                                       : belay_wait_any(several, 3, BELAY_US(turn % 50), NULL);
        CHECK(status != BELAY_OK && status != BELAY_ENOMEM);
        belay_cause cause;
        if (belay_is_done(several[1])) CHECK(belay_cause_of(several[1], &cause));
    }
}
static void wait_and_close(void) { race(wait_for_it); }

// Once done, always done: the same answer, until the handle is stale.
static void ask_it(void *argument) {
    (void)argument;
    for (unsigned turn = 0; !atomic_load(&over);) {
        belay_ctx ctx = visible(&turn);
        belay_status first = belay_err(ctx), second = belay_err(ctx);
        if (first != BELAY_OK) CHECK(second == first || second == BELAY_ESTALE);
        if (second == BELAY_ESTALE) CHECK_IS(belay_err(ctx), BELAY_ESTALE);
        if (first != BELAY_OK) CHECK_IS(belay_remaining(ctx), 0);
        belay_cause cause;
        belay_instant deadline;
        if (first != BELAY_OK) CHECK(belay_cause_of(ctx, &cause) && strnlen(cause.message, 56) < 56);
        belay_deadline(ctx, &deadline);
        void *value = belay_value(ctx, &key);
        CHECK(value == NULL || value == &over);
    }
}
static void ask_and_close(void) { race(ask_it); }

// Two closes of a last reference: one is OK, the other stale.
struct closers { belay_ctx ctx; atomic_int ready, ok, stale; };
static void close_together(void *argument) {
    struct closers *all = argument;
    atomic_fetch_add(&all->ready, 1);
    while (atomic_load(&all->ready) < 2) {}
    belay_status status = belay_close(all->ctx);
    if (status == BELAY_OK) atomic_fetch_add(&all->ok, 1);
    if (status == BELAY_ESTALE) atomic_fetch_add(&all->stale, 1);
}
static void close_and_close(void) {
    for (long round = check_scaled(800); round > 0; round--) {
        belay_ctx parent = belay_with_cancel(belay_background());
        struct closers all = {.ctx = make((unsigned)round, parent)};
        if (round % 3 == 0) CHECK(belay_done_fd(all.ctx) >= 0);
        if (round % 3 == 1) belay_stop(belay_on_done(all.ctx, check_ignore, NULL));
        check_threads(2, close_together, &all);
        CHECK(all.ok == 1 && all.stale == 1);
        check_close(parent);
    }
}

// A cancel without a reference and the close of the same context, which both saw the other one too late: an end for
// each of them was counted.
static uint64_t ends(void) {
    belay_sample all[] = {{.name = "/ctx/ended/canceled:contexts"}, {.name = "/ctx/ended/closed:contexts"},
                          {.name = "/ctx/ended/deadline:contexts"}, {.name = "/ctx/ended/parent:contexts"}};
    CHECK_IS(belay_metrics_read(all, 4), BELAY_OK);
    return all[0].value + all[1].value + all[2].value + all[3].value;
}
static void meet_at(struct meeting *all, int turn) {
    for (int spin = 0; atomic_load(&all->turn) != turn; spin++)
        if (spin > 1000) sched_yield();
}
static void cancel_at_once(void *argument) {
    struct meeting *all = argument;
    for (int round = 0; round < all->rounds; round++) {
        meet_at(all, 2 * round + 1);
        belay_status status = belay_cancel(all->ctx);
        CHECK(status == BELAY_OK || status == BELAY_ESTALE);
        atomic_fetch_add(&all->turn, 1);
    }
}
static void close_as_it_is_cancelled(void *argument) {
    struct meeting *all = argument;
    uint64_t random = 5;
    for (int round = 0; round < all->rounds; round++) {
        all->ctx = belay_with_cancel(belay_background());
        atomic_fetch_add(&all->turn, 1);
        for (volatile uint64_t i = check_random(&random) % 64; i > 0; i--) {}
        check_close(all->ctx);
        meet_at(all, 2 * round + 2);
    }
}
static void cancel_and_close_count_one_end(void) {
    struct meeting all = {.rounds = check_scaled(300000)};
    struct check_thread canceller, closer;
    uint64_t ended = ends(), created = check_metric("/ctx/created/cancel:contexts");
    check_start(&canceller, cancel_at_once, &all);
    check_start(&closer, close_as_it_is_cancelled, &all);
    check_join(&canceller);
    check_join(&closer);
    CHECK_IS(check_metric("/ctx/created/cancel:contexts") - created, all.rounds);
    CHECK_IS(ends() - ended, all.rounds);
}

// It had ended with the scope at the top, though nobody had noticed, before its handle was known. Its owner closes it and all
// above, and a live context gets the cell of the one at the top, perhaps while somebody is on his way up there.
enum { CHAIN = 8 };
static struct { _Atomic uint64_t ctx; atomic_long asked; } question;
static void ask_once_each(void *argument) {
    long *open = argument;
    uint64_t random = 21, last = 0;
    while (!atomic_load(&over)) {
        belay_ctx ctx = {atomic_load(&question.ctx)};
        if (ctx.bits == last) continue;
        last = ctx.bits;
        for (volatile uint64_t spin = check_random(&random) % 64; spin > 0; spin--) {}
        belay_status error = belay_err(ctx);
        CHECK(error == BELAY_CANCELED || error == BELAY_ESTALE);
        if (error == BELAY_CANCELED) ++*open;
        atomic_fetch_add(&question.asked, 1);
    }
}
static void ended_and_never_live(void) {
    struct check_thread asker;
    uint64_t random = 22;
    long open = 0, rounds = 0;
    // From the first move on everybody compares the clock with each deadline above, which takes its time.
    belay_ctx chain[CHAIN], moved = belay_with_cancel(belay_background());
    CHECK_IS(belay_set_deadline(moved, belay_now() + BELAY_SEC(1000)), BELAY_OK);
    check_close(moved);
    atomic_store(&over, false);
    atomic_store(&question.ctx, 0);
    atomic_store(&question.asked, 0);
    check_start(&asker, ask_once_each, &open);
    for (belay_instant end = belay_now() + BELAY_MS(check_scaled(300)); belay_now() < end; rounds++) {
        for (int i = 0; i < CHAIN; i++)
            chain[i] = belay_with_timeout(i ? chain[i - 1] : belay_background(), BELAY_SEC(1000));
        CHECK_IS(belay_cancel(chain[0]), BELAY_OK);
        atomic_store(&question.ctx, chain[CHAIN - 1].bits);
        for (volatile uint64_t spin = check_random(&random) % 2048; spin > 0; spin--) {}
        for (int i = CHAIN; i > 0; i--) check_close(chain[i - 1]);
        belay_ctx next = belay_with_cancel(belay_background());
        while (atomic_load(&question.asked) <= rounds) sched_yield();
        check_close(next);
    }
    atomic_store(&over, true);
    check_join(&asker);
    printf("    of %ld it was open %ld times when it was asked\n", rounds, open);
}

// Threads that derive from a parent that is renewed again and again, each time in the same cell, and that has stripes before
// long. What was derived from one that is closed has ended with it, and is not taken for a child of the next.
enum { DERIVERS = 3 };
static void derive_and_compare(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        belay_ctx parent = {atomic_load(&places[0])}, child = belay_with_cancel(parent);
        if (belay_is_none(child)) continue;
        if (belay_err(parent) == BELAY_ESTALE) CHECK(belay_is_done(child));
        check_close(child);
    }
}
// True if the next one is in the same cell.
static bool renew_the_parent(void) {
    belay_ctx old = {atomic_load(&places[0])}, last = belay_with_cancel(old);
    check_close(old);
    for (volatile int spin = 0; spin < 1000; spin++) {} // until the others' children have gone: so the cell comes to us
    check_close(last);
    belay_ctx next = belay_with_cancel(belay_background());
    atomic_store(&places[0], next.bits);
    return (next.bits & 0xfffffff) == (old.bits & 0xfffffff);
}
static void derive_and_renew(void) {
    struct check_thread derivers[DERIVERS];
    uint64_t random = 41;
    long held = 0, same = 0, all = 0;
    atomic_store(&over, false);
    atomic_store(&places[0], belay_with_cancel(belay_background()).bits);
    for (int i = 0; i < DERIVERS; i++) check_start(&derivers[i], derive_and_compare, NULL);
    for (belay_instant end = belay_now() + BELAY_MS(check_scaled(500)); belay_now() < end; all++) {
        if (check_hold(&derivers[check_random(&random) % DERIVERS])) held++; // on its way to the stripes, now and then
        if (renew_the_parent()) same++;
        check_sleep(BELAY_US(1)); // until the others have met at the new one
        check_free();
    }
    atomic_store(&over, true);
    for (int i = 0; i < DERIVERS; i++) check_join(&derivers[i]);
    check_close((belay_ctx){atomic_exchange(&places[0], 0)});
    printf("    %ld parents, %ld in the cell of the one before; %ld threads held\n", all, same, held);
}

// Threads that have come to one parent so often that each counts there by itself, without a locked instruction, until the
// parent is closed, whatever they are at. A count that the close missed would keep the parent for ever.
enum { SITTERS = 2 };
static struct sitter {
    struct check_thread thread;
    _Atomic uint64_t parent; // where it sits
} sitters[SITTERS];
static void sit_and_derive(void *argument) {
    struct sitter *sitter = argument;
    uint64_t random = (uint64_t)(sitter - sitters) + 51;
    enum { TURNS = 3000, CHILDREN = 4 }; // more turns than it takes
    while (!atomic_load(&over)) {
        belay_ctx parent = {atomic_load(&places[0])}, children[CHILDREN] = {{0}}, *child;
        long turn = 0;
        do {
            if (turn++ == TURNS) atomic_store(&sitter->parent, parent.bits);
            child = &children[check_random(&random) % CHILDREN];
            if (!belay_is_none(*child)) check_close(*child);
            *child = belay_with_cancel(parent);
        } while (!belay_is_none(*child));
        for (int i = 0; i < CHILDREN; i++)
            if (!belay_is_none(children[i])) check_close(children[i]);
    }
}
static void close_under_sitters(void) {
    uint64_t random = 52;
    long held = 0, all = 0;
    atomic_store(&over, false);
    atomic_store(&places[0], belay_with_cancel(belay_background()).bits);
    for (int i = 0; i < SITTERS; i++) check_start(&sitters[i].thread, sit_and_derive, &sitters[i]);
    for (belay_instant end = belay_now() + BELAY_MS(check_scaled(700)); belay_now() < end; all++) {
        belay_ctx old = {atomic_load(&places[0])}, next = belay_with_cancel(belay_background());
        for (int i = 0; i < SITTERS; i++)
            while (atomic_load(&sitters[i].parent) != old.bits && belay_now() < end) check_sleep(BELAY_US(20));
        if (all % 2 && check_hold(&sitters[check_random(&random) % SITTERS].thread)) held++;
        check_close(old);
        check_free();
        atomic_store(&places[0], next.bits);
    }
    atomic_store(&over, true);
    check_close((belay_ctx){atomic_exchange(&places[0], 0)});
    for (int i = 0; i < SITTERS; i++) check_join(&sitters[i].thread);
    printf("    %ld parents; %ld threads held\n", all, held);
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(retain_and_close), TEST(derive_and_close), TEST(listen_and_close), TEST(listen_as_it_closes),
        TEST(leave_and_close),  TEST(cancel_and_close), TEST(wait_and_close),   TEST(ask_and_close),
        TEST(close_and_close),  TEST(cancel_and_close_count_one_end),
        TEST(ended_and_never_live), TEST(derive_and_renew), TEST(close_under_sitters),
    };
    RUN_TESTS(tests, "");
    return 0;
}
