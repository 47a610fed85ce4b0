// SPDX-License-Identifier: Apache-2.0
//
// Values: who sees which, and that each drop function runs exactly once.
#include "check.h"

static const belay_key key_a = {"a"}, key_b = {"b"}, key_unused = {"unused"};
static belay_ctx none = {0};

static void the_nearest_value_counts(void) {
    int one, two, three;
    static const belay_key same_name = {"a"};
    belay_ctx a = belay_with_value(belay_background(), &key_a, &one, NULL);
    belay_ctx b = belay_with_value(a, &key_b, &two, NULL), hiding = belay_with_value(b, &key_a, &three, NULL);
    belay_ctx hidden = belay_with_value(hiding, &key_a, NULL, NULL), below = belay_with_cancel(hidden);
    CHECK(belay_value(a, &key_a) == &one && belay_value(a, &key_b) == NULL);
    CHECK(belay_value(b, &key_a) == &one && belay_value(b, &key_b) == &two);
    CHECK(belay_value(hiding, &key_a) == &three && belay_value(hiding, &key_b) == &two);
    CHECK(belay_value(hidden, &key_a) == NULL && belay_value(hidden, &key_b) == &two);
    CHECK(belay_value(below, &key_a) == NULL && belay_value(below, &key_b) == &two);
    CHECK(belay_value(b, &same_name) == NULL); // a key is an address, not its name
    CHECK(belay_value(b, &key_unused) == NULL && belay_value(b, NULL) == NULL);
    CHECK(belay_value(none, &key_a) == NULL && belay_value(belay_background(), &key_a) == NULL);
    belay_ctx all[] = {below, hidden, hiding, b, a};
    for (int i = 0; i < 5; i++) check_close(all[i]);
}

// Every context of a deep chain sees exactly the values of its ancestors, through all kinds of context.
static void values_are_found_at_any_depth(void) {
    enum { DEPTH = 400, KEYS = 150 };
    static belay_key keys[KEYS];
    static int values[DEPTH];
    static void *expected[DEPTH][KEYS];
    belay_ctx chain[DEPTH];
    uint64_t random = 11;
    for (int i = 0; i < DEPTH; i++) {
        belay_ctx parent = i ? chain[i - 1] : belay_background();
        if (i) memcpy(expected[i], expected[i - 1], sizeof expected[i]);
        int key = (int)(check_random(&random) % KEYS);
        switch (check_random(&random) % 6) {
        case 0: chain[i] = belay_with_cancel(parent); break;
        case 1: chain[i] = belay_with_timeout(parent, BELAY_SEC(1000)); break;
        case 2: chain[i] = belay_without_cancel(parent); break;
        default:
            chain[i] = belay_with_value(parent, &keys[key], i % 7 ? &values[i] : NULL, NULL);
            expected[i][key] = i % 7 ? &values[i] : NULL;
        }
        check_live(chain[i]);
    }
    for (int i = 0; i < DEPTH; i++) {
        for (int k = 0; k < KEYS; k++) CHECK(belay_value(chain[i], &keys[k]) == expected[i][k]);
    }
    for (int i = 0; i < DEPTH; i++) check_close(chain[i]);
}

static void a_value_context_is_its_parent_otherwise(void) {
    belay_instant a = 0, b = 0;
    belay_ctx parent = belay_with_timeout(belay_background(), BELAY_SEC(100));
    belay_ctx value = belay_with_value(parent, &key_a, &a, NULL), child = belay_with_cancel(value);
    CHECK(belay_deadline(parent, &a) && belay_deadline(value, &b));
    CHECK_IS(a, b);
    CHECK_IS(belay_cancel(value), BELAY_ENOCANCEL);
    CHECK_IS(belay_cancel_cause(value, 1, "no"), BELAY_ENOCANCEL);
    check_live(child);
    check_close(value); // ends nothing
    CHECK_IS(belay_err(value), BELAY_ESTALE);
    CHECK(belay_value(value, &key_a) == NULL);
    check_live(child);
    CHECK(belay_value(child, &key_a) == &a);
    belay_ctx again = belay_with_value(child, &key_b, &b, NULL);
    CHECK_IS(belay_cancel_cause(parent, 3, "over"), BELAY_OK);
    check_done(again, BELAY_CANCELED);
    check_cause(again, 3, "over");
    CHECK(belay_value(again, &key_a) == &a); // values outlive the end
    check_close(again);
    check_close(child);
    check_close(parent);
}

// Nobody listens, and the value is the first to be asked.
static void a_value_sees_its_scopes_deadline_pass(void) {
    for (int variant = 0; variant < 8; variant++) {
        bool is_below = variant & 1, is_moved = variant & 2, ask_err = variant & 4;
        belay_ctx top = is_moved ? belay_with_cancel(belay_background()) : belay_with_timeout(belay_background(), BELAY_MS(20));
        belay_ctx scope = is_below ? belay_with_cancel(top) : top, value = belay_with_value(scope, &key_a, &top, NULL);
        if (is_moved) CHECK_IS(belay_set_deadline(top, belay_now() + BELAY_MS(20)), BELAY_OK);
        belay_instant end = 0;
        CHECK(belay_deadline(value, &end));
        belay_status before = belay_err(value);
        CHECK(before == BELAY_OK || belay_now() >= end);
        check_sleep(end - belay_now() + BELAY_MS(1));
        if (ask_err) CHECK_IS(belay_err(value), BELAY_DEADLINE_EXCEEDED);
        else CHECK(belay_is_done(value));
        check_done(value, BELAY_DEADLINE_EXCEEDED);
        check_close(value);
        if (is_below) check_close(scope);
        check_close(top);
    }
}

static void a_retained_value_needs_as_many_closes(void) {
    atomic_int drops = 0;
    belay_ctx ctx = belay_with_value(belay_background(), &key_a, &drops, check_count);
    CHECK_IS(belay_retain(ctx), BELAY_OK);
    check_close(ctx);
    CHECK(belay_value(ctx, &key_a) == &drops);
    CHECK_IS(drops, 0);
    check_close(ctx);
    CHECK_IS(drops, 1);
    CHECK_IS(belay_close(ctx), BELAY_ESTALE);
    CHECK_IS(drops, 1);
}

static void drops_run_with_the_last_that_sees_the_value(void) {
    for (int order = 0; order < 6; order++) {
        static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
        atomic_int drops = 0;
        belay_ctx value = belay_with_value(belay_background(), &key_a, &drops, check_count);
        belay_ctx ctxs[3] = {value, belay_with_cancel(value), {0}};
        ctxs[2] = belay_without_cancel(ctxs[1]);
        for (int i = 0; i < 3; i++) {
            CHECK_IS(drops, 0);
            for (int k = i; k < 3; k++) CHECK(belay_value(ctxs[orders[order][k]], &key_a) == &drops);
            check_close(ctxs[orders[order][i]]);
        }
        CHECK_IS(drops, 1); // before the last close returned
    }
}

static void hidden_values_are_dropped_too(void) {
    atomic_int first = 0, second = 0;
    belay_ctx a = belay_with_value(belay_background(), &key_a, &first, check_count);
    belay_ctx b = belay_with_value(a, &key_a, &second, check_count);
    check_close(a);
    CHECK_IS(first + second, 0);
    check_close(b);
    CHECK(first == 1 && second == 1);
}

static void failing_derivations_drop_at_once(void) {
    belay_ctx stale = belay_with_cancel(belay_background());
    check_close(stale);
    const struct { belay_ctx parent; const belay_key *key; belay_status status; } cases[] = {
        {none, &key_a, BELAY_EINVAL}, {stale, &key_a, BELAY_ESTALE}, {belay_background(), NULL, BELAY_EINVAL},
        {{0x1234567812345678}, &key_a, BELAY_EINVAL},
    };
    for (int i = 0; i < 4; i++) {
        atomic_int drops = 0;
        CHECK(belay_is_none(belay_with_value(cases[i].parent, cases[i].key, &drops, check_count)));
        CHECK_IS(drops, 1);
        CHECK_IS(belay_last_status(), cases[i].status);
        CHECK(belay_is_none(belay_with_value(cases[i].parent, cases[i].key, &drops, NULL)));
    }
}

// What fails in there is not what failed here.
static void fail_in_drop(void *status) {
    if (*(belay_status *)status == BELAY_EINVAL) {
        CHECK(belay_is_none(belay_with_cancel(none)));
    } else {
        belay_ctx lite = belay_lite(belay_background(), BELAY_FOREVER);
        CHECK(belay_is_none(belay_with_cancel(lite)));
        check_close(lite);
    }
    CHECK_IS(belay_last_status(), *(belay_status *)status);
}
static void a_failing_derivation_says_why_whatever_its_drop_does(void) {
    static belay_status others[] = {BELAY_EINVAL, BELAY_ELEAF};
    belay_ctx stale = belay_with_cancel(belay_background()), lite = belay_lite(belay_background(), BELAY_FOREVER);
    check_close(stale);
    for (int i = 0; i < 2; i++) {
        CHECK(belay_is_none(belay_with_value(stale, &key_a, &others[i], fail_in_drop)));
        CHECK_IS(belay_last_status(), BELAY_ESTALE);
        CHECK(belay_is_none(belay_with_value(belay_background(), NULL, &others[1], fail_in_drop)));
        CHECK_IS(belay_last_status(), BELAY_EINVAL);
        CHECK(belay_is_none(belay_with_value(lite, &key_a, &others[0], fail_in_drop)));
        CHECK_IS(belay_last_status(), BELAY_ELEAF);
    }
    check_close(lite);
}

static void values_of_done_parents_are_kept_and_dropped(void) {
    atomic_int drops = 0;
    belay_ctx parent = belay_with_timeout(belay_background(), 0);
    belay_ctx ctx = belay_with_value(parent, &key_a, &drops, check_count);
    check_done(ctx, BELAY_DEADLINE_EXCEEDED);
    CHECK(belay_value(ctx, &key_a) == &drops);
    check_close(parent);
    CHECK_IS(drops, 0);
    check_close(ctx);
    CHECK_IS(drops, 1);
}

static void *dropped;
static void remember(void *value) { dropped = value; }
static void null_values_are_dropped_as_null(void) {
    dropped = &dropped;
    check_close(belay_with_value(belay_background(), &key_a, NULL, remember));
    CHECK(dropped == NULL);
    check_close(belay_with_value(belay_background(), &key_a, NULL, NULL));
}

// A drop function may use the whole API, also close contexts whose drops run inside it.
struct nested { belay_ctx inner; atomic_int *drops; };
static void drop_nested(void *raw) {
    struct nested *self = raw;
    if (!belay_is_none(self->inner)) check_close(self->inner);
    belay_ctx other = belay_with_timeout(belay_background(), BELAY_SEC(1));
    belay_ctx value = belay_with_value(other, &key_b, self->drops, check_count);
    check_close(other);
    check_done(value, BELAY_CANCELED);
    check_close(value);
    free(self);
}
static void drops_may_use_the_api(void) {
    enum { DEPTH = 50 };
    atomic_int drops = 0;
    belay_ctx inner = {0};
    for (int i = 0; i < DEPTH; i++) {
        struct nested *nested = malloc(sizeof *nested);
        *nested = (struct nested){inner, &drops};
        inner = belay_with_value(belay_background(), &key_a, nested, drop_nested);
    }
    check_close(inner);
    CHECK_IS(drops, DEPTH);
}

// A tree of values, closed by many threads in random order: each is dropped once.
enum { TREE = 512 };
static belay_ctx tree[TREE];
static atomic_int tree_drops[TREE], next_to_close, order[TREE];
static void closer(void *argument) {
    (void)argument;
    for (int i; (i = atomic_fetch_add(&next_to_close, 1)) < TREE;) check_close(tree[order[i]]);
}
static void threads_that_close_drop_once(void) {
    uint64_t random = 5;
    for (long round = 0; round < check_scaled(40); round++) {
        for (int i = 0; i < TREE; i++) {
            belay_ctx parent = i ? tree[check_random(&random) % (uint64_t)i] : belay_background();
            atomic_store(&tree_drops[i], 0);
            tree[i] = i % 3 ? belay_with_value(parent, &key_a, &tree_drops[i], check_count) : belay_with_cancel(parent);
            order[i] = i;
        }
        for (int i = TREE - 1; i > 0; i--) {
            int k = (int)(check_random(&random) % (uint64_t)(i + 1)), swapped = order[i];
            order[i] = order[k];
            order[k] = swapped;
        }
        atomic_store(&next_to_close, 0);
        check_threads(4, closer, NULL);
        for (int i = 0; i < TREE; i++) CHECK_IS(tree_drops[i], i % 3 != 0);
    }
}

// Whatever a thread remembers of contexts that have gone, or of other keys: what it is told is what the context has. Few
// cells, so that each is soon another context; and threads that take over what earlier ones remember.
enum { ASKED = 24, ASKED_KEYS = 6 };
static void asker(void *argument) {
    static const belay_key keys[ASKED_KEYS];
    struct { belay_ctx top, ctx; void *values[ASKED_KEYS]; } all[ASKED] = {0};
    uint64_t random = (uint64_t)(uintptr_t)argument + 1;
    uintptr_t next = 8;
    belay_ctx gone = none;
    for (long i = 0; i < check_scaled(60000); i++) {
        int at = (int)(check_random(&random) % ASKED), key = (int)(check_random(&random) % ASKED_KEYS);
        if (check_random(&random) % 8 == 0) {
            if (all[at].ctx.bits != 0) check_close(all[at].ctx), check_close(all[at].top);
            gone = all[at].ctx;
            memset(all[at].values, 0, sizeof all[at].values);
            all[at].top = belay_with_value(belay_background(), &keys[key], (void *)(next += 8), NULL);
            all[at].values[key] = (void *)next;
            key = (int)(check_random(&random) % ASKED_KEYS);
            all[at].ctx = belay_with_value(all[at].top, &keys[key], (void *)(next += 8), NULL);
            all[at].values[key] = (void *)next;
        }
        CHECK(belay_value(all[at].ctx, &keys[key]) == all[at].values[key]);
        CHECK(belay_value(all[at].ctx, &keys[key]) == all[at].values[key]);
        CHECK(belay_value(gone, &keys[key]) == NULL);
    }
    for (int i = 0; i < ASKED; i++) {
        if (all[i].ctx.bits != 0) check_close(all[i].ctx), check_close(all[i].top);
        for (int key = 0; key < ASKED_KEYS; key++) CHECK(belay_value(all[i].ctx, &keys[key]) == NULL);
    }
}
static void close_it(void *ctx) { check_close(*(belay_ctx *)ctx); }
static void what_is_remembered_is_right(void) {
    // Closed by another thread than the one that remembers it.
    belay_ctx elsewhere = belay_with_value(belay_background(), &key_a, &elsewhere, NULL);
    for (int i = 0; i < 2; i++) CHECK(belay_value(elsewhere, &key_a) == &elsewhere);
    check_threads(1, close_it, &elsewhere);
    CHECK(belay_value(elsewhere, &key_a) == NULL);

    for (int round = 0; round < 4; round++) check_threads(1 + round, asker, (void *)(uintptr_t)round);
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(the_nearest_value_counts),
        TEST(values_are_found_at_any_depth),
        TEST(a_value_context_is_its_parent_otherwise),
        TEST(a_value_sees_its_scopes_deadline_pass),
        TEST(a_retained_value_needs_as_many_closes),
        TEST(drops_run_with_the_last_that_sees_the_value),
        TEST(hidden_values_are_dropped_too),
        TEST(failing_derivations_drop_at_once),
        TEST(a_failing_derivation_says_why_whatever_its_drop_does),
        TEST(values_of_done_parents_are_kept_and_dropped),
        TEST(null_values_are_dropped_as_null),
        TEST(drops_may_use_the_api),
        TEST(threads_that_close_drop_once),
        TEST(what_is_remembered_is_right),
    };
    RUN_TESTS(tests, "");
    return 0;
}
