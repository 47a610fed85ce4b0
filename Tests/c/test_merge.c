// SPDX-License-Identifier: Apache-2.0
//
// Contexts with several parents, next to a naive model, and fought over by threads.
#include "check.h"

#include <sched.h>

static belay_ctx live(void) { return check_live(belay_with_cancel(belay_background())); }

static void first_to_end_wins(void) {
    for (int which = 0; which < 3; which++) {
        belay_ctx parents[3] = {live(), live(), live()};
        belay_ctx merged = belay_merge(parents, 3), child = belay_with_cancel(merged);
        check_live(child);
        CHECK_IS(belay_cancel_cause(parents[which], 40 + which, "this one"), BELAY_OK);
        check_done(merged, BELAY_CANCELED);
        check_cause(merged, 40 + which, "this one");
        check_cause(child, 40 + which, "this one");
        CHECK_IS(belay_cancel_cause(parents[(which + 1) % 3], 9, "too late"), BELAY_OK);
        check_cause(merged, 40 + which, "this one");
        for (int i = 0; i < 3; i++) check_close(parents[i]);
        check_cause(child, 40 + which, "this one"); // kept alive
        check_close(child);
        check_close(merged);
    }
}

static void listeners_are_told(void) {
    belay_ctx parents[2] = {live(), live()};
    belay_ctx merged = belay_merge(parents, 2), child = belay_with_cancel(merged), leaf = belay_with_cancel(child);
    atomic_int ran = 0;
    CHECK(belay_on_done(merged, check_count, &ran).bits != 0);
    CHECK(belay_on_done(leaf, check_count, &ran).bits != 0);
    CHECK_IS(belay_wait(leaf, BELAY_MS(1)), BELAY_TIMEOUT);
    CHECK_IS(belay_cancel(parents[1]), BELAY_OK);
    CHECK_IS(ran, 2);
    check_done(leaf, BELAY_CANCELED);
    check_close(leaf);
    check_close(child);
    check_close(merged);
    for (int i = 0; i < 2; i++) check_close(parents[i]);
}

static void it_ends_by_itself(void) {
    belay_ctx parents[2] = {live(), live()}, merged = belay_merge(parents, 2);
    CHECK_IS(belay_cancel(merged), BELAY_OK);
    check_live(parents[0]);
    check_live(parents[1]);
    CHECK_IS(belay_reset(merged).bits, 0);
    check_close(merged);
    check_close(parents[0]);
    check_close(parents[1]);
}

static void what_counts_for_nothing(void) {
    static const belay_key key = {"k"};
    belay_ctx root = belay_background(), a = live(), value = belay_with_value(a, &key, (void *)&key, NULL);
    belay_ctx apart = belay_without_cancel(value), kept = belay_with_value(root, &key, (void *)&key, NULL);
    belay_ctx one[] = {a}, never[] = {root, belay_todo()}, sole[] = {root, a, belay_todo(), a}, twice[] = {a, value, a};
    CHECK_IS(belay_merge(one, 1).bits, a.bits);
    CHECK_IS(belay_merge(never, 2).bits, root.bits);
    CHECK_IS(belay_merge(sole, 4).bits, a.bits);
    CHECK_IS(belay_merge(twice, 3).bits, a.bits);
    for (int i = 0; i < 3; i++) {
        check_close(a); // one owner more for each
        check_live(a);
    }
    belay_ctx with_values[] = {kept, a}, merged = belay_merge(with_values, 2); // the first one's values are not lost
    CHECK(merged.bits != a.bits && merged.bits != kept.bits);
    CHECK(belay_value(merged, &key) == &key);
    CHECK_IS(belay_cancel(a), BELAY_OK);
    check_done(merged, BELAY_CANCELED);
    check_close(merged);
    check_close(kept);
    check_close(apart);
    check_close(value);
    check_close(a);
}

// The values are parents[0]'s, also where it has none and the only other one that can end has some: that one is not the
// answer then, which can be cancelled by itself.
static void *any_value(void *self, const belay_key *key) { return (void)key, self; }
static belay_status never_ends(void *self, belay_cause *cause) { return (void)self, (void)cause, BELAY_OK; }
static void values_that_the_first_parent_has_not(void) {
    static const belay_key key = {"k"};
    static const belay_custom_ops ops = {.size = sizeof ops, .err = never_ends, .value = any_value};
    belay_pool pool = belay_pool_new(&(belay_pool_desc){.size = sizeof(belay_pool_desc), .item_size = 64});
    belay_ctx a = live(), value = belay_with_value(a, &key, (void *)&key, NULL);
    belay_ctx apart = belay_without_cancel(belay_background());
    belay_ctx data = belay_with_data(a, pool, NULL), foreign = belay_custom(&ops, (void *)&key);
    belay_ctx firsts[] = {belay_background(), belay_todo(), apart};
    belay_ctx others[] = {value, belay_with_cancel(value), data, belay_with_timeout(data, BELAY_SEC(1000)), foreign};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 5; k++) {
            belay_ctx parents[] = {firsts[i], others[k], belay_background(), others[k]};
            belay_ctx merged = belay_merge(parents, 4);
            CHECK(merged.bits != 0 && merged.bits != others[k].bits);
            CHECK(belay_value(merged, &key) == NULL && belay_data(merged, pool) == NULL);
            belay_ctx below = belay_with_cancel(merged);
            CHECK(belay_value(below, &key) == NULL && belay_data(below, pool) == NULL);
            belay_instant mine = 0, theirs = 0;
            CHECK_IS(belay_deadline(merged, &mine), belay_deadline(others[k], &theirs));
            CHECK_IS(mine, theirs);
            CHECK_IS(belay_cancel(merged), BELAY_OK);
            check_done(below, BELAY_CANCELED);
            check_live(others[k]);
            check_close(below);
            check_close(merged);
            check_live(others[k]);
        }
    belay_ctx parents[] = {apart, value}, merged = belay_merge(parents, 2);
    CHECK_IS(belay_cancel_cause(a, 8, "a"), BELAY_OK);
    check_done(merged, BELAY_CANCELED);
    check_cause(merged, 8, "a");
    check_close(merged);
    for (int k = 4; k >= 0; k--) check_close(others[k]);
    check_close(apart);
    check_close(a);
    CHECK_IS(belay_pool_free(pool), BELAY_OK);
}

static void ended_parents(void) {
    belay_ctx a = live(), b = live();
    CHECK_IS(belay_cancel_cause(b, 5, "before"), BELAY_OK);
    belay_ctx parents[] = {a, b}, merged = belay_merge(parents, 2);
    check_done(merged, BELAY_CANCELED);
    check_cause(merged, 5, "before");
    check_live(a);
    check_close(merged);
    check_close(b);
    CHECK_IS(belay_merge(parents, 2).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_ESTALE);
    check_close(a);
}

static void bad_parents(void) {
    belay_ctx a = live(), lite = belay_lite(a, BELAY_FOREVER), none = {0}, with_lite[] = {a, lite}, with_none[] = {a, none};
    belay_ctx first_none[] = {none, a};
    CHECK_IS(belay_merge(NULL, 3).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    CHECK_IS(belay_merge(&a, 0).bits, 0);
    CHECK_IS(belay_merge(with_lite, 2).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_ELEAF);
    CHECK_IS(belay_merge(with_none, 2).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    CHECK_IS(belay_merge(first_none, 2).bits, 0);
    check_live(a);
    check_close(lite);
    check_close(a);
}

static void the_earliest_deadline_counts(void) {
    for (int which = 0; which < 2; which++) {
        belay_ctx slow = belay_with_timeout(belay_background(), BELAY_SEC(100));
        belay_ctx quick = belay_with_timeout_cause(belay_background(), BELAY_MS(5), 8, "quick");
        belay_ctx parents[2] = {which ? slow : quick, which ? quick : slow}, merged = belay_merge(parents, 2);
        belay_instant own = 0, expected = 0;
        CHECK(belay_deadline(merged, &own) && belay_deadline(quick, &expected));
        CHECK_IS(own, expected);
        CHECK_IS(belay_wait(merged, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
        check_cause(merged, 8, "quick");
        check_live(slow);
        check_close(merged);
        check_close(slow);
        check_close(quick);
    }
    belay_ctx parents[2] = {belay_with_timeout(belay_background(), BELAY_SEC(100)), live()};
    belay_ctx merged = belay_merge(parents, 2);
    CHECK_IS(belay_set_deadline(parents[0], belay_now() + BELAY_SEC(50)), BELAY_OK);
    CHECK(belay_remaining(merged) <= BELAY_SEC(50));
    CHECK_IS(belay_set_deadline(parents[1], belay_now() + BELAY_MS(1)), BELAY_OK); // heard of through the link
    CHECK_IS(belay_wait(merged, BELAY_FOREVER), BELAY_DEADLINE_EXCEEDED);
    check_close(merged);
    for (int i = 0; i < 2; i++) check_close(parents[i]);
}

static void a_merge_over_two_runtimes(void) {
    belay_runtime_options options = {.size = sizeof options, .virtual_clock = true};
    belay_runtime runtime = belay_runtime_new(&options);
    belay_ctx there = belay_with_timeout(belay_runtime_background(runtime), BELAY_SEC(10)), here = live();
    belay_ctx parents[2] = {here, there}, merged = belay_merge(parents, 2);
    check_live(merged);
    CHECK_IS(belay_remaining(merged), BELAY_FOREVER); // the other clock's instants mean nothing here
    CHECK_IS(belay_runtime_poll(runtime, belay_runtime_now(runtime) + BELAY_SEC(10)), BELAY_OK);
    check_done(merged, BELAY_DEADLINE_EXCEEDED);
    check_close(merged);
    check_close(there);
    check_close(here);
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
}

static void a_long_chain_of_merges(void) { // ends without recursion
    long length = check_scaled(100000);
    belay_ctx *merged = calloc((size_t)length + 1, sizeof *merged), side = live();
    merged[0] = live();
    for (long i = 1; i <= length; i++) {
        belay_ctx parents[2] = {side, merged[i - 1]};
        merged[i] = belay_merge(parents, 2);
        CHECK(merged[i].bits != 0);
    }
    atomic_int ran = 0;
    CHECK(belay_on_done(merged[length], check_count, &ran).bits != 0);
    CHECK_IS(belay_cancel_cause(merged[0], 3, "far away"), BELAY_OK);
    CHECK_IS(ran, 1);
    check_cause(merged[length], 3, "far away");
    check_live(side);
    for (long i = 0; i <= length; i++) check_close(merged[i]);
    check_close(side);
    free(merged);
}

// --- the model -----------------------------------------------------------------------------------------------------------

enum { NODES = 40 };
struct node { belay_ctx ctx; int same, parents[4], count; int64_t code; bool heard; atomic_int ran; };

static void model_end(struct node *nodes, int made, int which, int64_t code) {
    if (nodes[which].code != 0) return;
    nodes[which].code = code;
    for (int i = which + 1; i < made; i++)
        for (int p = 0; p < nodes[i].count; p++)
            if (nodes[i].parents[p] == which) model_end(nodes, made, i, code);
}

static void random_graphs(void) {
    uint64_t random = 0x2545f4914f6cdd1d;
    for (int round = 0; round < (int)check_scaled(3000); round++) {
        static struct node nodes[NODES];
        memset(nodes, 0, sizeof nodes);
        for (int i = 0; i < NODES; i++) {
            struct node *node = &nodes[i];
            belay_ctx parents[4];
            if (i >= 3 && check_random(&random) % 3 == 0) {
                node->count = 1 + (int)(check_random(&random) % 4);
                for (int p = 0; p < node->count; p++) {
                    node->parents[p] = nodes[check_random(&random) % (uint64_t)i].same;
                    parents[p] = nodes[node->parents[p]].ctx;
                }
                node->ctx = belay_merge(parents, (size_t)node->count);
            } else if (i > 0 && check_random(&random) % 4 != 0) {
                node->count = 1;
                node->parents[0] = nodes[check_random(&random) % (uint64_t)i].same;
                node->ctx = belay_with_cancel(nodes[node->parents[0]].ctx);
            } else {
                node->ctx = belay_with_cancel(belay_background());
            }
            CHECK(node->ctx.bits != 0);
            // A merge may answer with one of its parents: then it is known under that one's number.
            node->same = i;
            for (int j = 0; j < i && node->same == i; j++)
                if (nodes[j].ctx.bits == node->ctx.bits) node->same = j;
            if (node->same != i) node->count = 0;
            for (int p = 0; p < node->count && node->code == 0; p++) node->code = nodes[node->parents[p]].code;
            if (check_random(&random) % 4 == 0) {
                node->heard = true;
                CHECK(belay_on_done(node->ctx, check_count, &node->ran).bits != 0);
            }
            if (check_random(&random) % 12 == 0) {
                int which = nodes[check_random(&random) % (uint64_t)(i + 1)].same;
                CHECK_IS(belay_cancel_cause(nodes[which].ctx, 1000 + i, ""), BELAY_OK);
                model_end(nodes, i + 1, which, 1000 + i);
            }
        }
        for (int i = 0; i < NODES; i++) {
            belay_cause cause = {0};
            int64_t code = nodes[nodes[i].same].code;
            CHECK_IS(belay_cause_of(nodes[i].ctx, &cause), code != 0);
            CHECK_IS(cause.code, code);
            CHECK_IS(nodes[i].ran, nodes[i].heard && code != 0);
        }
        for (int i = 0; i < NODES; i++) check_close(nodes[(i * 7) % NODES].ctx);
        for (int i = 0; i < NODES; i++) CHECK_IS(nodes[i].ran, nodes[i].heard);
    }
}

// --- contention --------------------------------------------------------------------------------------------------------

struct shared { belay_ctx parents[4]; atomic_long registered, ran, prevented; atomic_int over; };
static void ran_there(void *shared) { atomic_fetch_add(&((struct shared *)shared)->ran, 1); }

static void merge_them(void *raw) {
    struct shared *shared = raw;
    uint64_t random = (uint64_t)(uintptr_t)&random | 1;
    while (!atomic_load(&shared->over)) {
        belay_ctx parents[4];
        for (int i = 0; i < 4; i++) {
            parents[i] = belay_with_cancel(shared->parents[i]);
            if (parents[i].bits == 0) parents[i] = belay_with_cancel(belay_background());
        }
        belay_ctx merged = belay_merge(parents, 2 + check_random(&random) % 3);
        CHECK(merged.bits != 0);
        belay_ctx child = belay_with_cancel(merged);
        belay_reg reg = {0};
        if (check_random(&random) % 2) {
            reg = belay_on_done(check_random(&random) % 2 ? child : merged, ran_there, shared);
            CHECK(reg.bits != 0);
            atomic_fetch_add(&shared->registered, 1);
        }
        switch (check_random(&random) % 4) {
        case 0: belay_cancel(parents[check_random(&random) % 2]); CHECK(belay_is_done(merged) && belay_is_done(child)); break;
        case 1: belay_cancel(merged); break;
        case 2: if (reg.bits && belay_stop(reg) == BELAY_STOP_PREVENTED) atomic_fetch_add(&shared->prevented, 1); break;
        default: break;
        }
        if (check_random(&random) % 2) belay_close(merged);
        for (int i = 0; i < 4; i++) belay_close(parents[i]);
        belay_close(merged);
        belay_close(child);
    }
}

static void contention(void) {
    for (int threads = 1; threads <= 16; threads *= 2) {
        struct shared shared = {.over = 0};
        for (int i = 0; i < 4; i++) shared.parents[i] = live();
        struct check_thread all[16];
        for (int i = 0; i < threads; i++) check_start(&all[i], merge_them, &shared);
        belay_instant end = belay_now() + BELAY_MS(check_scaled(300));
        while (belay_now() < end) { // the parents end under them, and come back
            for (int i = 0; i < 4; i++) {
                check_sleep(BELAY_US(200));
                belay_ctx old = shared.parents[i];
                belay_cancel(old);
            }
        }
        atomic_store(&shared.over, 1);
        for (int i = 0; i < threads; i++) check_join(&all[i]);
        for (int i = 0; i < 4; i++) check_close(shared.parents[i]);
        CHECK_IS(shared.ran + shared.prevented, shared.registered);
    }
}

// --- two cancels at once -------------------------------------------------------------------------------------------------

// Two parents, and under both a merge with many below it, the last of them a merge too, with as many below.
enum { BELOW = 500 };
struct crossed { belay_ctx top[2], third, merged[2], below[2 * BELOW]; atomic_int ready; };

// Cancels one of the parents. Another thread cancels it as well, and a third one the other: whoever returns, all are done.
static void cancel_one_of_them(struct crossed *crossed, int which) {
    for (atomic_fetch_add(&crossed->ready, 1); atomic_load(&crossed->ready) < 3;) sched_yield();
    CHECK_IS(belay_cancel(crossed->top[which]), BELAY_OK);
    for (int i = 0; i < 2; i++) CHECK(belay_is_done(crossed->merged[i]));
    for (int i = 2 * BELOW; i-- > 0;) CHECK(belay_is_done(crossed->below[i]));
}
static void cancel_the_first(void *crossed) { cancel_one_of_them(crossed, 0); }
static void cancel_the_second(void *crossed) { cancel_one_of_them(crossed, 1); }

static void two_cancels_at_once(void) {
    for (long round = 0; round < check_scaled(400); round++) {
        struct crossed crossed = {.top = {live(), live()}, .third = live()};
        atomic_int ran = 0;
        for (int i = 0; i < 2 * BELOW; i++) {
            if (i % BELOW == 0) {
                belay_ctx parents[2] = {i ? crossed.third : crossed.top[0], i ? crossed.below[i - 1] : crossed.top[1]};
                crossed.merged[i / BELOW] = belay_merge(parents, 2);
            }
            crossed.below[i] = belay_with_cancel(crossed.merged[i / BELOW]);
            CHECK(belay_on_done(crossed.below[i], check_count, &ran).bits != 0);
        }
        struct check_thread threads[3];
        for (int i = 0; i < 3; i++) check_start(&threads[i], i == 2 ? cancel_the_second : cancel_the_first, &crossed);
        for (int i = 0; i < 3; i++) check_join(&threads[i]);
        CHECK_IS(ran, 2 * BELOW);
        for (int i = 0; i < 2 * BELOW; i++) check_close(crossed.below[i]);
        for (int i = 0; i < 2; i++) check_close(crossed.merged[i]);
        for (int i = 0; i < 2; i++) check_close(crossed.top[i]);
        check_close(crossed.third);
    }
}

// The same in graphs of whatever shape: when a cancel returns, all that can be reached from there is done. Each place has
// many children, so that a cancel takes its time.
enum { PLACES = 64, CHILDREN = 40, CANCELERS = 3 };
struct graph {
    belay_ctx merged[PLACES], ctx[PLACES], child[PLACES][CHILDREN];
    uint64_t below[PLACES], seed;
    atomic_int ready, numbers;
};

static void cancel_one(void *raw) { // mostly the same as the others, and near the top
    struct graph *graph = raw;
    uint64_t own = graph->seed + 2 * (uint64_t)atomic_fetch_add(&graph->numbers, 1), all = graph->seed;
    int which = (int)(check_random(&own) % 3 != 0 ? check_random(&all) % (PLACES / 3) : check_random(&own) % (PLACES / 2));
    for (atomic_fetch_add(&graph->ready, 1); atomic_load(&graph->ready) < CANCELERS;) sched_yield();
    CHECK_IS(belay_cancel(graph->ctx[which]), BELAY_OK);
    for (int i = PLACES; i-- > which;) {
        if (i != which && !(graph->below[which] >> i & 1)) continue;
        CHECK(belay_is_done(graph->ctx[i]));
        for (int j = 0; j < CHILDREN; j++) CHECK(belay_is_done(graph->child[i][j]));
    }
}

static void cancels_at_once_in_random_graphs(void) {
    uint64_t random = 0x9e3779b97f4a7c15;
    for (long round = 0; round < check_scaled(400); round++) {
        static struct graph graph;
        graph = (struct graph){.seed = check_random(&random) | 1};
        int listening = 0;
        atomic_int ran = 0;
        for (int i = 0; i < PLACES; i++) {
            belay_ctx parents[3];
            int count = i < 4 ? 0 : 1 + (int)(check_random(&random) % 3);
            uint64_t above = 0;
            for (int p = 0; p < count; p++) {
                int parent = (int)(check_random(&random) % (uint64_t)i);
                parents[p] = graph.ctx[parent];
                above |= UINT64_C(1) << parent;
            }
            graph.merged[i] = count == 0 ? live() : belay_merge(parents, (size_t)count); // perhaps one of them
            graph.ctx[i] = check_live(belay_with_cancel(graph.merged[i]));
            for (int up = 0; up < i; up++) // a parent's place, or one above it
                if ((above & (graph.below[up] | UINT64_C(1) << up)) != 0) graph.below[up] |= UINT64_C(1) << i;
            for (int j = 0; j < CHILDREN; j++) {
                graph.child[i][j] = belay_with_cancel(graph.ctx[i]);
                if (check_random(&random) % 4 == 0) continue;
                listening++;
                CHECK(belay_on_done(graph.child[i][j], check_count, &ran).bits != 0);
            }
        }
        check_threads(CANCELERS, cancel_one, &graph);
        for (int i = 0; i < PLACES; i++) {
            check_close(graph.ctx[(i * 13) % PLACES]); // which ends those that are live still
            check_close(graph.merged[(i * 29) % PLACES]);
            for (int j = 0; j < CHILDREN; j++) check_close(graph.child[i][j]);
        }
        CHECK_IS(ran, listening);
    }
}

// Threads that end merges of their own: each runs its own callbacks, before its cancel returns, and nobody else's.
struct own { pthread_t thread; int ran; };
static void runs_on_its_own_thread(void *raw) {
    struct own *own = raw;
    CHECK(pthread_equal(pthread_self(), own->thread));
    own->ran++;
}
static void end_own_merges(void *unused) {
    (void)unused;
    struct own own = {.thread = pthread_self()};
    for (long round = 1; round <= check_scaled(10000); round++) {
        belay_ctx parents[2] = {live(), live()}, merged = belay_merge(parents, 2), below[CHILDREN];
        for (int i = 0; i < CHILDREN; i++) {
            below[i] = belay_with_cancel(merged);
            CHECK(belay_on_done(below[i], runs_on_its_own_thread, &own).bits != 0);
        }
        CHECK_IS(belay_cancel(parents[1]), BELAY_OK);
        CHECK_IS(own.ran, round * CHILDREN);
        for (int i = 0; i < CHILDREN; i++) check_close(below[i]);
        check_close(merged);
        for (int i = 0; i < 2; i++) check_close(parents[i]);
    }
}
static void callbacks_run_where_the_merge_is_ended(void) { check_threads(4, end_own_merges, NULL); }

static belay_instant deadline_of(belay_ctx ctx) {
    belay_instant instant = BELAY_FOREVER;
    belay_deadline(ctx, &instant);
    return instant;
}

// The first parent is not the only one that has a say when deadlines move.
static void moved_deadlines_of_other_parents(void) {
    belay_instant now = belay_now();
    belay_ctx parents[2] = {live(), belay_with_deadline(belay_background(), now + BELAY_SEC(100))};
    belay_ctx merged = belay_merge(parents, 2), child = belay_with_cancel(merged);
    CHECK_IS(belay_set_deadline(merged, now + BELAY_SEC(500)), BELAY_OK);
    CHECK_IS(deadline_of(child) - now, BELAY_SEC(100));
    CHECK_IS(belay_set_deadline(merged, BELAY_FOREVER), BELAY_OK);
    CHECK_IS(deadline_of(child) - now, BELAY_SEC(100));
    CHECK_IS(belay_set_deadline(parents[0], now + BELAY_SEC(50)), BELAY_OK);
    CHECK_IS(deadline_of(child) - now, BELAY_SEC(50));
    CHECK_IS(belay_set_deadline(parents[0], BELAY_FOREVER), BELAY_OK);
    CHECK_IS(belay_set_deadline(parents[1], now + BELAY_SEC(700)), BELAY_OK);
    CHECK_IS(deadline_of(child) - now, BELAY_SEC(700));
    check_close(child);
    check_close(merged);
    for (int i = 0; i < 2; i++) check_close(parents[i]);

    // A net of merges, in which there are more ways up than anybody could go.
    belay_ctx top = live(), level[40][3];
    for (int i = 0; i < 40; i++) {
        for (int j = 0; j < 2; j++) level[i][j] = belay_with_cancel(i == 0 ? top : level[i - 1][2]);
        level[i][2] = belay_merge(level[i], 2);
    }
    CHECK_IS(belay_set_deadline(top, now + BELAY_SEC(60)), BELAY_OK);
    CHECK_IS(deadline_of(level[39][2]) - now, BELAY_SEC(60));
    CHECK_IS(belay_set_deadline(level[3][1], now + BELAY_SEC(30)), BELAY_OK);
    CHECK_IS(deadline_of(level[39][2]) - now, BELAY_SEC(30));
    CHECK_IS(belay_set_deadline(level[3][1], 0), BELAY_OK);
    EVENTUALLY(belay_is_done(level[39][2])); // the driver may be at it by now, and then it is who tells what is far below
    check_done(level[39][2], BELAY_DEADLINE_EXCEEDED);
    for (int i = 0; i < 40; i++)
        for (int j = 0; j < 3; j++) check_close(level[i][j]);
    check_close(top);
}

// A cancel that marked a merged context took a reference there, by which its thread found that it was time to move its
// seat: away from the context that was being cancelled, under whose lock it was.
static void derive_often(belay_ctx parent, int count) {
    for (int i = 0; i < count; i++) check_close(belay_with_cancel(parent));
}
static void derive_often_elsewhere(void *parent) { derive_often(*(belay_ctx *)parent, 20000); }
static void a_cancel_whose_thread_is_about_to_move_its_seat(void) {
    uint64_t random = 8;
    for (long round = check_scaled(2000); round > 0; round--) {
        belay_ctx parents[2] = {live(), live()}, merged = belay_merge(parents, 2);
        derive_often(parents[1], 20000);
        struct check_thread other;
        check_start(&other, derive_often_elsewhere, &merged); // gives the merged context its stripes
        check_join(&other);
        derive_often(merged, 1750 + (int)(check_random(&random) % 1200)); // nearly enough for a seat there
        CHECK_IS(belay_cancel(parents[1]), BELAY_OK);
        CHECK(belay_is_done(merged));
        check_close(merged);
        for (int i = 0; i < 2; i++) check_close(parents[i]);
    }
}

// The earliest deadline was the second parent's. Where it is moved away, the first one's must have been armed.
static void the_first_parents_deadline_was_not_armed(void) {
    belay_ctx parents[2] = {
        belay_with_timeout(belay_background(), BELAY_MS(20)), belay_with_timeout(belay_background(), BELAY_MS(10))};
    belay_ctx merged = belay_merge(parents, 2);
    atomic_int ran = 0;
    CHECK(belay_on_done(merged, check_count, &ran).bits != 0);
    belay_status moved = belay_set_deadline(parents[1], BELAY_FOREVER);
    CHECK(moved == BELAY_OK || moved == BELAY_DEADLINE_EXCEEDED); // the latter if this machine slept
    EVENTUALLY(atomic_load(&ran) == 1);
    check_done(merged, BELAY_DEADLINE_EXCEEDED);
    check_close(merged);
    for (int i = 0; i < 2; i++) check_close(parents[i]);
}

static void a_deadline_of_another_runtime_counts(void) {
    for (int is_virtual = 0; is_virtual < 2; is_virtual++) {
        belay_runtime_options options = {.size = sizeof options, .virtual_clock = is_virtual};
        belay_runtime runtime = belay_runtime_new(&options);
        belay_instant then = belay_now() + BELAY_SEC(100);
        belay_ctx parents[2] = {live(), belay_with_deadline(belay_runtime_background(runtime), then)};
        belay_ctx merged = belay_merge(parents, 2);
        CHECK_IS(deadline_of(merged), is_virtual ? BELAY_FOREVER : then); // instants of another clock mean nothing
        CHECK_IS(belay_set_deadline(parents[0], then + 1), BELAY_OK);
        CHECK_IS(deadline_of(merged), is_virtual ? then + 1 : then);
        check_close(merged);
        for (int i = 0; i < 2; i++) check_close(parents[i]);
        CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
    }
}

// The merged context was settled by a deadline below a context that had been cancelled before, which nobody had noticed.
static void a_deadline_that_passed_after_the_cancel_above_it(void) {
    belay_runtime_options options = {.size = sizeof options, .virtual_clock = true};
    belay_runtime runtime = belay_runtime_new(&options);
    belay_ctx top = belay_with_cancel(belay_runtime_background(runtime)), other = belay_with_cancel(top);
    belay_ctx middle = belay_with_timeout(other, BELAY_SEC(5)), bottom = belay_with_cancel(middle);
    CHECK_IS(belay_cancel(other), BELAY_OK);
    CHECK_IS(belay_runtime_poll(runtime, BELAY_SEC(100)), BELAY_OK);
    belay_ctx parents[2] = {top, bottom}, merged = belay_merge(parents, 2);
    CHECK_IS(belay_err(merged), BELAY_CANCELED);
    CHECK_IS(belay_err(middle), BELAY_CANCELED);
    check_close(merged);
    check_close(bottom);

    // The same with the deadline above the cancel.
    belay_ctx timed = belay_with_timeout(top, BELAY_SEC(5)), ended = belay_with_cancel(timed);
    CHECK_IS(belay_cancel(ended), BELAY_OK);
    CHECK_IS(belay_runtime_poll(runtime, BELAY_SEC(200)), BELAY_OK);
    parents[1] = ended;
    merged = belay_merge(parents, 2);
    CHECK_IS(belay_err(merged), BELAY_CANCELED);
    check_close(merged);
    check_close(ended);
    check_close(timed);
    check_close(middle);
    check_close(other);
    check_close(top);
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
}

// Attaching hid a moved deadline above the first parent, which had passed unnoticed before the other one ended.
static void a_moved_deadline_above_the_first_parent(void) {
    belay_runtime_options options = {.size = sizeof options, .virtual_clock = true};
    belay_runtime runtime = belay_runtime_new(&options);
    belay_ctx top = belay_with_cancel(belay_runtime_background(runtime)), middle = belay_with_cancel(top);
    belay_ctx bottom = belay_with_cancel(middle), other = belay_with_cancel(belay_runtime_background(runtime));
    CHECK_IS(belay_set_deadline(middle, BELAY_SEC(5)), BELAY_OK);
    CHECK_IS(belay_runtime_poll(runtime, BELAY_SEC(100)), BELAY_OK);
    CHECK_IS(belay_cancel(other), BELAY_OK);
    belay_ctx parents[2] = {bottom, other}, merged = belay_merge(parents, 2);
    CHECK_IS(belay_err(merged), BELAY_DEADLINE_EXCEEDED);
    check_close(merged);
    check_close(other);
    check_close(bottom);

    // The same for the second one, which is cancelled after it.
    bottom = belay_with_cancel(top);
    other = belay_with_timeout(bottom, BELAY_SEC(1000));
    CHECK_IS(belay_set_deadline(bottom, BELAY_SEC(150)), BELAY_OK);
    CHECK_IS(belay_runtime_poll(runtime, BELAY_SEC(200)), BELAY_OK);
    belay_ctx more[2] = {belay_with_cancel(top), other};
    merged = belay_merge(more, 2);
    CHECK_IS(belay_cancel(other), BELAY_OK);
    CHECK_IS(belay_err(other), BELAY_DEADLINE_EXCEEDED);
    check_close(merged);
    check_close(more[0]);
    check_close(other);
    check_close(bottom);
    check_close(middle);
    check_close(top);
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
}

// The end of a parent on the real clock seemed to come after all deadlines on a virtual one.
static void deadlines_compared_across_clocks(void) {
    belay_runtime_options options = {.size = sizeof options, .virtual_clock = true};
    for (int linked_before = 0; linked_before < 2; linked_before++) {
        belay_runtime runtime = belay_runtime_new(&options);
        belay_ctx parents[2] = {belay_with_cancel(belay_runtime_background(runtime)), live()};
        if (!linked_before) CHECK_IS(belay_cancel(parents[1]), BELAY_OK);
        belay_ctx merged = belay_merge(parents, 2), child = belay_with_timeout(merged, BELAY_SEC(5));
        belay_ctx below = belay_with_cancel(child), lite = belay_lite(merged, BELAY_SEC(5));
        if (linked_before) CHECK_IS(belay_cancel(parents[1]), BELAY_OK);
        CHECK_IS(belay_runtime_poll(runtime, BELAY_SEC(100)), BELAY_OK);
        CHECK_IS(belay_err(child), BELAY_CANCELED);
        CHECK_IS(belay_err(below), BELAY_CANCELED);
        CHECK_IS(belay_err(lite), BELAY_CANCELED);
        check_close(lite);
        check_close(below);
        check_close(child);
        check_close(merged);
        for (int i = 0; i < 2; i++) check_close(parents[i]);
        CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
    }
}

int main(void) {
    const struct check_test tests[] = {
        TEST(first_to_end_wins), TEST(listeners_are_told), TEST(it_ends_by_itself), TEST(what_counts_for_nothing),
        TEST(values_that_the_first_parent_has_not),
        TEST(ended_parents), TEST(bad_parents), TEST(the_earliest_deadline_counts), TEST(a_merge_over_two_runtimes),
        TEST(a_long_chain_of_merges), TEST(moved_deadlines_of_other_parents),
        TEST(a_cancel_whose_thread_is_about_to_move_its_seat),
        TEST(the_first_parents_deadline_was_not_armed), TEST(a_deadline_of_another_runtime_counts),
        TEST(a_deadline_that_passed_after_the_cancel_above_it), TEST(a_moved_deadline_above_the_first_parent),
        TEST(deadlines_compared_across_clocks), TEST(random_graphs), TEST(contention), TEST(two_cancels_at_once),
        TEST(cancels_at_once_in_random_graphs), TEST(callbacks_run_where_the_merge_is_ended),
    };
    RUN_TESTS(tests, "");
    return 0;
}
