// SPDX-License-Identifier: Apache-2.0
//
// Request data: pools, what they promise about each item, and items on contexts.
//
//     test_pool [--without-membarrier]       the second is how this program calls itself once more
#define _GNU_SOURCE
#include "steps.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIVE_ITEMS check_metric("/pool/live:items")
#define IDLE_ITEMS check_metric("/pool/idle:items")
#define HITS check_metric("/pool/hits:gets")
#define MISSES check_metric("/pool/misses:gets")

// An item that knows what was done to it, and whose it is.
enum { MADE = 0x600d, DROPPED = 0xdead };
struct item { int state; atomic_int user; int uses; char scratch[100]; };
struct counts { atomic_long made, reset, dropped; atomic_bool refuse; };

static bool item_init(void *raw, void *self) {
    struct counts *counts = self;
    struct item *item = raw;
    for (size_t i = 0; i < sizeof *item; i++) CHECK_IS(((char *)raw)[i], 0);
    if (atomic_load(&counts->refuse)) return false;
    item->state = MADE;
    atomic_fetch_add(&counts->made, 1);
    return true;
}
static void item_reset(void *raw, void *self) {
    struct item *item = raw;
    CHECK_IS(item->state, MADE);
    atomic_store(&item->user, 0);
    memset(item->scratch, 0, sizeof item->scratch);
    atomic_fetch_add(&((struct counts *)self)->reset, 1);
}
static void item_drop(void *raw, void *self) {
    struct item *item = raw;
    CHECK_IS(item->state, MADE);
    CHECK_IS(item->user, 0);
    item->state = DROPPED;
    atomic_fetch_add(&((struct counts *)self)->dropped, 1);
}

static belay_pool new_pool(struct counts *counts, size_t cap, unsigned flags) {
    belay_pool_desc desc = {.size = sizeof desc, .item_size = sizeof(struct item), .init = item_init,
                            .reset = item_reset, .drop = item_drop, .self = counts, .cap = cap, .flags = flags,
                            .name = "test"};
    belay_pool pool = belay_pool_new(&desc);
    CHECK(pool.bits != 0);
    return pool;
}
static belay_pool plain_pool(size_t size) {
    belay_pool_desc desc = {.size = sizeof desc, .item_size = size};
    belay_pool pool = belay_pool_new(&desc);
    CHECK(pool.bits != 0);
    return pool;
}
static struct item *get(belay_pool pool) {
    struct item *item = belay_pool_get(pool);
    CHECK(item != NULL);
    CHECK_IS(item->state, MADE);
    CHECK_IS(atomic_exchange(&item->user, 1), 0); // nobody else has it
    item->uses++;
    for (size_t i = 0; i < sizeof item->scratch; i++) CHECK_IS(item->scratch[i], 0);
    memset(item->scratch, 'x', sizeof item->scratch);
    return item;
}
static void put(belay_pool pool, void *item) { CHECK_IS(belay_pool_put(pool, item), BELAY_OK); }
static void free_pool(belay_pool pool) { CHECK_IS(belay_pool_free(pool), BELAY_OK); }
static void all_dropped(struct counts *counts) {
    EVENTUALLY(counts->made == counts->dropped);
}

static void an_item_is_made_once_and_used_again(void) {
    struct counts counts = {0};
    uint64_t hits = HITS, misses = MISSES, live = LIVE_ITEMS, idle = IDLE_ITEMS;
    belay_pool pool = new_pool(&counts, 0, 0);
    struct item *first = get(pool);
    CHECK_IS(LIVE_ITEMS, live + 1);
    for (int i = 0; i < 100; i++) {
        put(pool, first);
        CHECK_IS(IDLE_ITEMS, idle + 1);
        CHECK(get(pool) == first);
    }
    CHECK_IS(first->uses, 101);
    put(pool, first);
    CHECK(counts.made == 1 && counts.reset == 101 && counts.dropped == 0);
    CHECK(HITS == hits + 100 && MISSES == misses + 1);
    free_pool(pool);
    CHECK_IS(counts.dropped, 1);
    CHECK(LIVE_ITEMS == live && IDLE_ITEMS == idle);
}

static void without_hooks_an_item_is_zeroes(void) {
    for (size_t size = 1; size <= 10000; size = size * 3 + 1) {
        belay_pool pool = plain_pool(size);
        for (int round = 0; round < 3; round++) {
            char *items[5];
            for (int i = 0; i < 5; i++) {
                items[i] = belay_pool_get(pool);
                CHECK(items[i] != NULL && (uintptr_t)items[i] % (size < 512 ? _Alignof(max_align_t) : 64) == 0);
                for (size_t k = 0; k < size; k++) CHECK_IS(items[i][k], 0);
                memset(items[i], 0x55 + i, size);
            }
            for (int i = 0; i < 5; i++) {
                for (size_t k = 0; k < size; k++) CHECK_IS(items[i][k], 0x55 + i);
                put(pool, items[i]);
            }
        }
        free_pool(pool);
    }
}

static void items_are_aligned(void) {
    for (size_t alignment = 1; alignment <= 1 << 16; alignment *= 2) {
        belay_pool_desc desc = {.size = sizeof desc, .item_size = 3, .alignment = alignment,
                                .flags = alignment % 32 == 0 ? BELAY_POOL_CHECKED : 0};
        belay_pool pool = belay_pool_new(&desc);
        void *items[4];
        for (int i = 0; i < 4; i++) CHECK((items[i] = belay_pool_get(pool)) && (uintptr_t)items[i] % alignment == 0);
        for (int i = 0; i < 4; i++) put(pool, items[i]);
        free_pool(pool);
    }
}

static void a_bad_description_makes_no_pool(void) {
    const belay_pool_desc good = {.size = sizeof good, .item_size = 8};
    belay_pool_desc bad[] = {good, good, good, good, good, good, good};
    bad[0].size = 0;
    bad[1].size = sizeof good - 1;
    bad[2].item_size = 0;
    bad[3].alignment = 24;
    bad[4].flags = 0x80;
    bad[5].alignment = SIZE_MAX;
    bad[6].flags = BELAY_POOL_AS_LEFT;
    bad[6].reset = item_reset;
    for (int i = 0; i < 7; i++) {
        CHECK_IS(belay_pool_new(&bad[i]).bits, 0);
        CHECK_IS(belay_last_status(), BELAY_EINVAL);
    }
    CHECK_IS(belay_pool_new(NULL).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    // A program of a later header: fine, if what we do not know is zero.
    struct { belay_pool_desc desc; char more[16]; } later = {{.size = sizeof later, .item_size = 8}, {0}};
    free_pool(belay_pool_new(&later.desc));
    later.more[9] = 1;
    CHECK_IS(belay_pool_new(&later.desc).bits, 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 4, SIZE_MAX / 15};
    for (int i = 0; i < 4; i++) { // no machine has that much: found out at birth, or by the first get
        belay_pool_desc huge = {.size = sizeof huge, .item_size = sizes[i], .flags = BELAY_POOL_CHECKED};
        belay_pool pool = belay_pool_new(&huge);
        if (pool.bits == 0) {
            CHECK(belay_last_status() == BELAY_EINVAL || belay_last_status() == BELAY_ENOMEM);
        }
    }
}

static void items_may_come_back_as_they_were_left(void) {
    for (unsigned checked = 0; checked <= BELAY_POOL_CHECKED; checked++) {
        struct counts counts = {0};
        belay_pool_desc desc = {.size = sizeof desc, .item_size = sizeof(struct item), .init = item_init,
                                .drop = item_drop, .self = &counts, .flags = BELAY_POOL_AS_LEFT | checked};
        belay_pool pool = belay_pool_new(&desc);
        CHECK(pool.bits != 0);
        struct item *item = belay_pool_get(pool);
        CHECK(item != NULL);
        item->scratch[7] = 77;
        put(pool, item);
        CHECK(belay_pool_get(pool) == item);
        CHECK_IS(item->scratch[7], 77);
        put(pool, item);
        CHECK_IS(belay_pool_put(pool, item), BELAY_EINVAL); // given back twice
        struct item *data;
        belay_ctx ctx = belay_with_data(belay_background(), pool, (void **)&data);
        CHECK(data == item);
        CHECK_IS(data->scratch[7], 77);
        data->scratch[7] = 78;
        check_close(ctx);
        CHECK(belay_pool_get(pool) == item);
        CHECK_IS(item->scratch[7], 78);
        free_pool(pool);
        CHECK_IS(belay_pool_put(pool, item), BELAY_OK); // to a pool that was freed, which takes the slow way
        CHECK_IS(counts.made, 1);
        CHECK_IS(counts.dropped, 1);
    }
}

static void bad_handles_get_a_status(void) {
    int something[8] = {0};
    belay_ctx ctx = belay_with_cancel(belay_background()), other = belay_with_cancel(ctx);
    belay_timer timer = belay_timer_after(ctx, BELAY_FOREVER, check_ignore, NULL);
    belay_pool pool = plain_pool(8), freed = plain_pool(8);
    free_pool(freed);
    const struct { belay_pool pool; belay_status status; } cases[] = {
        {{0}, BELAY_EINVAL}, {{ctx.bits}, BELAY_EINVAL}, {{timer.bits}, BELAY_EINVAL}, {freed, BELAY_ESTALE},
        {{pool.bits + 1}, BELAY_EINVAL}, {{pool.bits + (1ull << 32)}, BELAY_EINVAL},
        {{pool.bits | 0x100}, BELAY_EINVAL},
        {{freed.bits + (1ull << 32)}, BELAY_EINVAL}, {{freed.bits & ~0xf0000000ull}, BELAY_EINVAL},
        {{UINT64_MAX}, BELAY_EINVAL}, {{pool.bits | 1ull << 63}, BELAY_EINVAL}, {{7}, BELAY_EINVAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        belay_pool bad = cases[i].pool;
        belay_status status = cases[i].status;
        void *data = something;
        CHECK(belay_pool_get(bad) == NULL);
        CHECK_IS(belay_last_status(), status);
        CHECK_IS(belay_pool_put(bad, &something[4]), status);
        CHECK_IS(belay_pool_put(bad, NULL), status);
        CHECK(belay_is_none(belay_with_data(ctx, bad, &data)) && data == NULL);
        CHECK_IS(belay_last_status(), status);
        belay_cancel(belay_with_cancel((belay_ctx){0})); // another last status
        CHECK(belay_data(ctx, bad) == NULL);
        CHECK_IS(belay_last_status(), status);
        CHECK_IS(belay_pool_trim(bad), status);
        CHECK_IS(belay_pool_free(bad), status);
    }
    belay_ctx stale = belay_with_cancel(ctx), lite = belay_lite(ctx, BELAY_FOREVER);
    check_close(stale);
    const struct { belay_ctx ctx; belay_status derive, ask; } contexts[] = {
        {{0}, BELAY_EINVAL, BELAY_EINVAL}, {stale, BELAY_ESTALE, BELAY_ESTALE},
        {{pool.bits}, BELAY_EINVAL, BELAY_EINVAL}, {lite, BELAY_ELEAF, BELAY_OK},
    };
    uint64_t live = LIVE_ITEMS;
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        void *data = something;
        CHECK(belay_is_none(belay_with_data(contexts[i].ctx, pool, &data)) && data == NULL);
        CHECK_IS(belay_last_status(), contexts[i].derive);
        CHECK(belay_data(contexts[i].ctx, pool) == NULL);
        if (contexts[i].ask) CHECK_IS(belay_last_status(), contexts[i].ask);
    }
    CHECK_IS(LIVE_ITEMS, live); // nothing leaked
    CHECK_IS(belay_pool_put(pool, NULL), BELAY_EINVAL);
    CHECK_IS(belay_cancel((belay_ctx){pool.bits}), BELAY_EINVAL);
    CHECK_IS(belay_err((belay_ctx){pool.bits}), BELAY_EINVAL);
    CHECK_IS(belay_timer_stop(timer), BELAY_STOP_PREVENTED);
    check_close(lite);
    check_close(other);
    check_close(ctx);
    free_pool(pool);
}

static void giving_back_twice_is_found(void) {
    struct counts counts = {0};
    belay_pool pool = new_pool(&counts, 0, 0), other = new_pool(&counts, 0, 0);
    struct item *item = get(pool), *second = get(pool);
    CHECK_IS(belay_pool_put(other, item), BELAY_EINVAL);
    put(pool, item);
    CHECK_IS(belay_pool_put(pool, item), BELAY_EINVAL);
    CHECK_IS(belay_pool_put(other, item), BELAY_EINVAL);
    put(pool, second);
    CHECK_IS(belay_pool_put(pool, item), BELAY_EINVAL);
    CHECK_IS(belay_pool_put(pool, second), BELAY_EINVAL);
    CHECK_IS(belay_pool_put((belay_pool){0}, item), BELAY_EINVAL);
    CHECK_IS(counts.reset, 2);
    struct item *a = get(pool), *b = get(pool);
    CHECK(a != b);
    put(pool, a);
    put(pool, b);
    free_pool(pool);
    free_pool(other);
    all_dropped(&counts);
}

static void init_may_fail(void) {
    struct counts counts = {0};
    belay_pool pool = new_pool(&counts, 2, 0);
    atomic_store(&counts.refuse, true);
    for (int i = 0; i < 5; i++) { // it does not use up the cap
        void *data = &counts;
        CHECK(belay_pool_get(pool) == NULL);
        CHECK_IS(belay_last_status(), BELAY_ENOMEM);
        CHECK(belay_is_none(belay_with_data(belay_background(), pool, &data)) && data == NULL);
    }
    atomic_store(&counts.refuse, false);
    struct item *a = get(pool), *b = get(pool);
    CHECK(belay_pool_get(pool) == NULL);
    put(pool, a);
    put(pool, b);
    CHECK_IS(counts.made, 2);
    free_pool(pool);
    all_dropped(&counts);
}

// More items than magazines and depot hold, given back in another order.
static void many_items(void) {
    enum { MOST = 6000 };
    static struct item *items[MOST];
    struct counts counts = {0};
    uint64_t random = 3, live = LIVE_ITEMS;
    belay_pool pool = new_pool(&counts, 0, 0);
    int count = (int)check_scaled(MOST);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < count; i++) items[i] = get(pool);
        CHECK_IS(LIVE_ITEMS, live + (uint64_t)count);
        for (int i = count; i > 0; i--) {
            int k = (int)(check_random(&random) % (uint64_t)i);
            put(pool, items[k]);
            items[k] = items[i - 1];
        }
        CHECK_IS(LIVE_ITEMS, live);
    }
    free_pool(pool);
    all_dropped(&counts);
}

static void trim_releases_what_is_free(void) {
    struct counts counts = {0};
    belay_pool pool = new_pool(&counts, 0, 0);
    struct item *items[300];
    for (int i = 0; i < 300; i++) items[i] = get(pool);
    for (int i = 0; i < 200; i++) put(pool, items[i]);
    CHECK_IS(belay_pool_trim(pool), BELAY_OK);
    CHECK_IS(counts.dropped, 200);
    CHECK_IS(belay_pool_trim(pool), BELAY_OK);
    CHECK_IS(counts.dropped, 200);
    for (int i = 0; i < 200; i++) items[i] = get(pool);
    for (int i = 0; i < 300; i++) put(pool, items[i]);
    free_pool(pool);
    CHECK_IS(belay_pool_trim(pool), BELAY_ESTALE);
    CHECK_IS(counts.dropped, counts.made);
}

static void free_while_in_use(void) {
    for (int flags = 0; flags <= (int)BELAY_POOL_CHECKED; flags++) {
        struct counts counts = {0};
        belay_pool pool = new_pool(&counts, 0, (unsigned)flags);
        struct item *a = get(pool), *b = get(pool), *c = get(pool);
        void *data;
        belay_ctx ctx = belay_with_data(belay_background(), pool, &data);
        put(pool, c);
        free_pool(pool);
        CHECK_IS(counts.dropped, 1);
        CHECK_IS(belay_pool_free(pool), BELAY_ESTALE);
        CHECK(belay_pool_get(pool) == NULL);
        CHECK_IS(belay_last_status(), BELAY_ESTALE);
        a->scratch[7] = 7; // still ours
        // A later pool is another one, also where it stands in the same place.
        belay_pool later = plain_pool(sizeof(struct item));
        CHECK(later.bits != pool.bits);
        CHECK_IS(belay_pool_put(later, a), BELAY_EINVAL);
        put(pool, a);
        CHECK_IS(counts.dropped, 2);
        CHECK(belay_data(ctx, pool) == data);
        CHECK(belay_data(ctx, later) == NULL);
        check_close(ctx);
        CHECK_IS(counts.dropped, 3);
        put(pool, b);
        CHECK_IS(counts.dropped, 4);
        CHECK_IS(belay_pool_put(pool, b), BELAY_ESTALE);
        free_pool(later);
    }
}

static void places_are_used_again(void) {
    belay_pool pools[300];
    for (int round = 0; round < 3; round++) {
        int made = 0;
        for (; made < 300; made++) {
            belay_pool_desc desc = {.size = sizeof desc, .item_size = 8};
            pools[made] = belay_pool_new(&desc);
            if (pools[made].bits == 0) break;
            put(pools[made], belay_pool_get(pools[made]));
        }
        CHECK(made >= 250 && made <= 255);
        CHECK_IS(belay_last_status(), BELAY_ENOMEM);
        for (int i = 0; i < made; i++) free_pool(pools[i]);
        for (int i = 0; i < made; i++) CHECK_IS(belay_pool_free(pools[i]), BELAY_ESTALE);
    }
}

// --- Threads ---------------------------------------------------------------------------------------------------------

static belay_pool shared_pool;
static void get_and_put_many(void *argument) {
    struct item *items[150];
    for (int i = 0; i < 150; i++) items[i] = get(shared_pool);
    for (int i = 0; i < 150; i++) put(shared_pool, items[i]);
    (void)argument;
}
static void a_thread_that_ends_leaves_its_items_to_others(void) {
    struct counts counts = {0};
    shared_pool = new_pool(&counts, 0, 0);
    for (int i = 0; i < 20; i++) check_threads(1, get_and_put_many, NULL);
    CHECK_IS(counts.made, 150); // the first thread made them all
    get_and_put_many(NULL);
    CHECK_IS(counts.made, 150);
    free_pool(shared_pool);
    all_dropped(&counts);
}

// Many threads that end with one item each leave more short chains than the depot has places.
static atomic_int holding_one, may_end;
struct ending { struct check_thread thread; int number; };
static void get_and_put_one(void *argument) {
    struct ending *self = argument;
    struct item *item = get(shared_pool);
    atomic_fetch_add(&holding_one, 1);
    while (atomic_load(&may_end) < self->number) check_sleep(BELAY_US(100));
    put(shared_pool, item);
}
static void many_threads_that_end_leave_their_items_to_others(void) {
    enum { THREADS = 100 };
    static struct ending endings[THREADS];
    struct counts counts = {0};
    uint64_t idle = IDLE_ITEMS;
    shared_pool = new_pool(&counts, 0, 0);
    atomic_store(&holding_one, 0);
    atomic_store(&may_end, -1);
    for (int i = 0; i < THREADS; i++) {
        endings[i].number = i;
        check_start(&endings[i].thread, get_and_put_one, &endings[i]);
    }
    EVENTUALLY(holding_one == THREADS);
    for (int i = 0; i < THREADS; i++) { // one after the other
        atomic_store(&may_end, i);
        check_join(&endings[i].thread);
    }
    CHECK_IS(counts.made, THREADS);
    CHECK_IS(IDLE_ITEMS, idle + THREADS);
    struct item *items[THREADS];
    for (int i = 0; i < THREADS; i++) items[i] = get(shared_pool);
    CHECK_IS(counts.made, THREADS);
    for (int i = 0; i < THREADS; i++) put(shared_pool, items[i]);
    CHECK_IS(counts.dropped, 0);
    free_pool(shared_pool);
    all_dropped(&counts);
}

static atomic_int inside, arrived;
static atomic_bool go_home;
static void hold_one_free_item(void *argument) {
    belay_pool *pool = argument;
    put(*pool, get(*pool));
    atomic_fetch_add(&arrived, 1);
    while (!atomic_load(&go_home)) check_sleep(BELAY_US(100));
}
// Free items of threads that do nothing are found by a get at the cap, by trim and by free.
static void items_of_idle_threads_are_taken(void) {
    for (int how = 0; how < 3; how++) {
        struct counts counts = {0};
        belay_pool pool = new_pool(&counts, 4, 0);
        struct check_thread threads[4];
        struct item *items[4], *more[4];
        atomic_store(&arrived, 0);
        atomic_store(&go_home, false);
        for (int i = 0; i < 4; i++) items[i] = get(pool);
        for (int i = 0; i < 4; i++) { // each takes one with it
            put(pool, items[i]);
            check_start(&threads[i], hold_one_free_item, &pool);
            EVENTUALLY(arrived == i + 1);
        }
        CHECK_IS(counts.made, 4);
        if (how == 0) {
            for (int i = 0; i < 4; i++) more[i] = get(pool);
            CHECK(belay_pool_get(pool) == NULL);
            CHECK_IS(belay_last_status(), BELAY_ENOMEM);
            CHECK_IS(counts.made, 4);
            for (int i = 0; i < 4; i++) put(pool, more[i]);
        }
        if (how == 1) {
            CHECK_IS(belay_pool_trim(pool), BELAY_OK);
            CHECK_IS(counts.dropped, 4);
        }
        free_pool(pool);
        CHECK_IS(counts.dropped, 4);
        atomic_store(&go_home, true);
        for (int i = 0; i < 4; i++) check_join(&threads[i]);
        CHECK_IS(counts.dropped, 4);
    }
}

enum { CAP = 6, CONTENDERS = 8 };
static atomic_long refused;
static void want_items(void *argument) {
    (void)argument;
    for (long i = check_scaled(3000); i > 0; i--) {
        struct item *item = belay_pool_get(shared_pool);
        if (item == NULL) {
            CHECK_IS(belay_last_status(), BELAY_ENOMEM);
            atomic_fetch_add(&refused, 1);
            sched_yield();
            continue;
        }
        CHECK_IS(atomic_exchange(&item->user, 1), 0);
        CHECK(atomic_fetch_add(&inside, 1) < CAP);
        if (i % 16 == 0) sched_yield();
        CHECK(atomic_fetch_sub(&inside, 1) <= CAP);
        put(shared_pool, item);
    }
}
// Eight threads want six items: never more than six exist, and with nobody else about each of the six is to be had.
static void the_cap_is_exact(void) {
    struct counts counts = {0};
    shared_pool = new_pool(&counts, CAP, 0);
    atomic_store(&refused, 0);
    check_threads(CONTENDERS, want_items, NULL);
    CHECK(counts.made - counts.dropped <= CAP);
    struct item *items[CAP];
    for (int i = 0; i < CAP; i++) items[i] = get(shared_pool);
    CHECK(belay_pool_get(shared_pool) == NULL);
    for (int i = 0; i < CAP; i++) put(shared_pool, items[i]);
    free_pool(shared_pool);
    all_dropped(&counts);
}

// As many threads as items, so nobody may be refused: what is free is found wherever it stands.
static void take_for_granted(void *argument) {
    (void)argument;
    for (long i = check_scaled(3000); i > 0; i--) {
        struct item *item = get(shared_pool);
        if (i % 16 == 0) sched_yield();
        put(shared_pool, item);
    }
}
static void nobody_is_refused_a_free_item(void) {
    struct counts counts = {0};
    shared_pool = new_pool(&counts, CAP, 0);
    check_threads(CAP, take_for_granted, NULL);
    CHECK(counts.made <= CAP);
    free_pool(shared_pool);
    all_dropped(&counts);
}

// One thread trims without a pause while others take and give a few items as fast as they can. Unless the two keep out of
// each other's way, an item is had twice, or used after it was released.
static atomic_bool enough;
static void take_and_give(void *argument) {
    (void)argument;
    while (!atomic_load_explicit(&enough, memory_order_relaxed)) {
        struct item *items[3];
        for (int i = 0; i < 3; i++) {
            CHECK((items[i] = belay_pool_get(shared_pool)) != NULL);
            CHECK_IS(atomic_exchange_explicit(&items[i]->user, 1, memory_order_relaxed), 0);
        }
        for (int i = 0; i < 3; i++) put(shared_pool, items[i]);
    }
}
static void owners_and_thieves_keep_apart(void) {
    struct counts counts = {0};
    struct check_thread owners[3];
    uint64_t live = LIVE_ITEMS;
    shared_pool = new_pool(&counts, 0, 0);
    atomic_store(&enough, false);
    for (int i = 0; i < 3; i++) check_start(&owners[i], take_and_give, NULL);
    for (long i = check_scaled(30000); i > 0; i--) CHECK_IS(belay_pool_trim(shared_pool), BELAY_OK);
    atomic_store(&enough, true);
    for (int i = 0; i < 3; i++) check_join(&owners[i]);
    free_pool(shared_pool);
    all_dropped(&counts);
    CHECK_IS(LIVE_ITEMS, live);
}

// Hits were what was left of all gets, so in the midst of a miss, which had been counted as such and not as a get yet,
// there was one less. Looked at after each step of a miss.
static atomic_bool has_missed;
static void miss_step_by_step(void *item) {
    put(shared_pool, belay_pool_get(shared_pool)); // the thread's first
    CHECK((*(void **)item = belay_pool_get(shared_pool)) != NULL);
    count_steps(true);
    void *second = belay_pool_get(shared_pool);
    count_steps(false);
    atomic_store(&has_missed, true);
    put(shared_pool, second);
}
static void a_hit_that_was_counted_stays_counted(void) {
    struct check_thread missing;
    uint64_t hits = 0, misses = 0;
    long halts = 0, halt = atomic_fetch_add(&check_holds, 1) + 1;
    belay_duration most = atomic_exchange(&check_hold_most, BELAY_SEC(10));
    void *item = NULL;
    shared_pool = plain_pool(64);
    atomic_store(&has_missed, false);
    atomic_store(&steps, 1);
    check_start(&missing, miss_step_by_step, &item);
    for (;; halts++) {
        while (atomic_load(&check_held) < halt && !atomic_load(&has_missed)) {}
        belay_sample both[] = {{.name = "/pool/hits:gets"}, {.name = "/pool/misses:gets"}};
        CHECK_IS(belay_metrics_read(both, 2), BELAY_OK);
        CHECK(both[0].value >= hits && both[1].value >= misses);
        hits = both[0].value;
        misses = both[1].value;
        if (atomic_load(&has_missed)) break;
        atomic_store(&more, 1);
        halt = atomic_fetch_add(&check_holds, 1) + 1;
        atomic_store(&check_freed, halt - 1);
    }
    atomic_store(&more, 0);
    check_free();
    check_join(&missing);
    printf("    %ld steps\n", halts);
    atomic_store(&check_hold_most, most);
    put(shared_pool, item);
    free_pool(shared_pool);
}

// --- Data on contexts ------------------------------------------------------------------------------------------------

// Among so many keys that some take three levels of the trie and more.
static void data_is_seen_among_many_values(void) {
    enum { KEYS = 400 };
    static belay_key keys[KEYS];
    struct counts counts = {0};
    belay_pool pools[8];
    void *data[8];
    belay_ctx chain[KEYS + 8], top = belay_background();
    for (int i = 0; i < 8; i++) {
        pools[i] = new_pool(&counts, 0, 0);
        top = chain[i] = belay_with_data(top, pools[i], &data[i]);
    }
    for (int i = 0; i < KEYS; i++) {
        top = chain[8 + i] = belay_with_value(top, &keys[i], &keys[i], NULL);
        for (int k = 0; k < 8; k++) CHECK(data[k] != NULL && belay_data(top, pools[k]) == data[k]);
    }
    for (int i = KEYS + 8; i-- > 0;) check_close(chain[i]);
    for (int i = 0; i < 8; i++) free_pool(pools[i]);
    all_dropped(&counts);
}

static void data_is_seen_below(void) {
    static const belay_key key = {"key"};
    struct counts counts = {0};
    belay_pool pool = new_pool(&counts, 0, 0), other = new_pool(&counts, 0, 0), unused = plain_pool(1);
    void *data = NULL, *second = NULL, *hiding = NULL;
    belay_ctx root = belay_with_timeout(belay_background(), BELAY_SEC(100));
    belay_ctx ctx = belay_with_data(root, pool, &data), deep = belay_with_cancel(ctx);
    CHECK(data != NULL && belay_data(ctx, pool) == data && belay_data(root, pool) == NULL);
    belay_ctx chain[40];
    for (int i = 0; i < 40; i++) {
        belay_ctx parent = i ? chain[i - 1] : deep;
        chain[i] = i % 4 == 0   ? belay_with_value(parent, &key, &counts, NULL)
                   : i % 4 == 1 ? belay_with_cancel(parent)
                   : i % 4 == 2 ? belay_without_cancel(parent)
                                : belay_with_data(parent, other, &second);
        CHECK(belay_data(chain[i], pool) == data);
        if (i >= 3) CHECK(belay_data(chain[i], other) == second);
        CHECK(belay_data(chain[i], unused) == NULL);
    }
    belay_ctx hidden = belay_with_data(chain[39], pool, &hiding);
    CHECK(hiding != data && belay_data(hidden, pool) == hiding && belay_data(chain[39], pool) == data);
    CHECK_IS(belay_cancel(ctx), BELAY_ENOCANCEL);
    belay_instant a, b;
    CHECK(belay_deadline(root, &a) && belay_deadline(ctx, &b) && a == b);
    CHECK_IS(belay_cancel(root), BELAY_OK);
    check_done(ctx, BELAY_CANCELED);
    CHECK(belay_data(ctx, pool) == data);
    belay_status before = belay_last_status();
    CHECK(belay_data(ctx, unused) == NULL); // no failure
    CHECK_IS(belay_last_status(), before);
    check_close(ctx);
    CHECK(belay_data(ctx, pool) == NULL);
    CHECK_IS(belay_last_status(), BELAY_ESTALE);
    for (int i = 0; i < 40; i++) check_close(chain[i]);
    check_close(deep);
    check_close(root);
    CHECK(belay_data(hidden, pool) == hiding);
    CHECK_IS(counts.reset, 0);
    check_close(hidden);
    CHECK_IS(counts.reset, counts.made);
    check_close(belay_with_data(belay_background(), pool, NULL));
    free_pool(pool);
    free_pool(other);
    free_pool(unused);
    all_dropped(&counts);
}

static void data_goes_back_with_the_last_that_sees_it(void) {
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    struct counts counts = {0};
    belay_pool pool = new_pool(&counts, 1, 0);
    for (int order = 0; order < 6; order++) {
        void *data, *none = &counts;
        belay_ctx ctx = belay_with_data(belay_background(), pool, &data);
        CHECK(belay_is_none(belay_with_data(ctx, pool, &none)) && none == NULL); // at the cap
        CHECK_IS(belay_last_status(), BELAY_ENOMEM);
        belay_ctx ctxs[3] = {ctx, belay_with_cancel(ctx), {0}};
        ctxs[2] = belay_without_cancel(ctxs[1]);
        for (int i = 0; i < 3; i++) {
            CHECK_IS(counts.reset, order);
            for (int k = i; k < 3; k++) CHECK(belay_data(ctxs[orders[order][k]], pool) == data);
            check_close(ctxs[orders[order][i]]);
        }
        CHECK_IS(counts.reset, order + 1); // before the last close returned
    }
    CHECK_IS(counts.made, 1);
    free_pool(pool);
    all_dropped(&counts);
}

static void nothing_of_one_request_is_seen_by_the_next(void) {
    belay_pool pool = plain_pool(777);
    char *first = NULL;
    for (int request = 0; request < 50; request++) {
        void *raw;
        belay_ctx ctx = belay_with_data(belay_background(), pool, &raw);
        char *data = raw;
        for (int i = 0; i < 777; i++) CHECK_IS(data[i], 0);
        if (first == NULL) first = data;
        CHECK(data == first);
        memset(data, request + 1, 777);
        check_close(ctx);
    }
    free_pool(pool);
}

// It belongs to the context: a put is refused, also once the pool was freed, and the context gives it back.
static void data_on_a_context_cannot_be_given_back(void) {
    for (int flags = 0; flags <= (int)BELAY_POOL_CHECKED; flags++) {
        struct counts counts = {0};
        belay_pool pool = new_pool(&counts, 0, (unsigned)flags);
        void *data;
        belay_ctx ctx = belay_with_data(belay_background(), pool, &data);
        CHECK_IS(belay_pool_put(pool, data), BELAY_EBUSY);
        struct item *other = get(pool);
        CHECK(other != data && belay_data(ctx, pool) == data);
        put(pool, other);
        CHECK_IS(counts.reset, 1);
        check_close(ctx);
        CHECK_IS(counts.reset, 2);
        CHECK_IS(belay_pool_put(pool, data), BELAY_EINVAL); // free already
        ctx = belay_with_data(belay_background(), pool, &data);
        free_pool(pool);
        CHECK_IS(belay_pool_put(pool, data), BELAY_EBUSY);
        check_close(ctx);
        all_dropped(&counts);
    }
}

// Hooks may use the whole API, the pool itself included.
static belay_pool nested_pool;
static atomic_int nesting;
static bool nested_init(void *item, void *self) {
    (void)self;
    memset(item, 1, 8);
    if (atomic_fetch_add(&nesting, 1) < 3) put(nested_pool, belay_pool_get(nested_pool));
    return true;
}
static void nested_reset(void *item, void *self) {
    (void)item, (void)self;
    if (atomic_fetch_add(&nesting, 1) > 20) return;
    put(nested_pool, belay_pool_get(nested_pool));
    CHECK_IS(belay_pool_trim(nested_pool), BELAY_OK);
    check_close(belay_with_data(belay_background(), nested_pool, NULL));
}
static void nested_drop(void *item, void *self) {
    (void)item, (void)self;
    CHECK(belay_pool_trim(nested_pool) == BELAY_OK || belay_pool_free(nested_pool) == BELAY_ESTALE);
    check_close(belay_with_cancel(belay_background()));
}
static void hooks_may_use_the_api(void) {
    belay_pool_desc desc = {.size = sizeof desc, .item_size = 8, .init = nested_init, .reset = nested_reset,
                            .drop = nested_drop};
    uint64_t live = LIVE_ITEMS, idle = IDLE_ITEMS;
    nested_pool = belay_pool_new(&desc);
    for (int i = 0; i < 30; i++) put(nested_pool, belay_pool_get(nested_pool));
    free_pool(nested_pool);
    CHECK(LIVE_ITEMS == live && IDLE_ITEMS == idle);
}

// A reset that gives back the very item was believed, and the item handed out twice after that.
static int puts_in_reset;
static void reset_by_put(void *item, void *self) {
    (void)self;
    puts_in_reset++;
    CHECK_IS(belay_pool_put(nested_pool, item), BELAY_EINVAL);
    CHECK_IS(belay_pool_put(nested_pool, item), BELAY_EINVAL);
}
static void reset_by_put_after_the_free(void *item, void *self) {
    (void)self;
    puts_in_reset++;
    CHECK_IS(belay_pool_put(nested_pool, item), BELAY_ESTALE);
}
static void a_reset_that_gives_back_an_item_of_a_freed_pool(void) {
    for (unsigned checked = 0; checked <= BELAY_POOL_CHECKED; checked++) {
        struct counts counts = {0};
        belay_pool_desc desc = {.size = sizeof desc, .item_size = sizeof(struct item), .init = item_init,
                                .reset = reset_by_put_after_the_free, .drop = item_drop, .self = &counts,
                                .flags = checked};
        nested_pool = belay_pool_new(&desc);
        puts_in_reset = 0;
        void *item = belay_pool_get(nested_pool), *data;
        belay_ctx ctx = belay_with_data(belay_background(), nested_pool, &data);
        CHECK(item != NULL && item != data);
        free_pool(nested_pool);
        put(nested_pool, item);
        CHECK(puts_in_reset == 1 && counts.dropped == 1);
        check_close(ctx);
        CHECK(puts_in_reset == 2 && counts.dropped == 2);
    }
}
static void a_reset_that_gives_the_item_back(void) {
    for (unsigned checked = 0; checked <= BELAY_POOL_CHECKED; checked++)
        for (int how = 0; how < 3; how++) { // as it is, at a cap, by a context's close
            belay_pool_desc desc = {.size = sizeof desc, .item_size = 128, .reset = reset_by_put, .flags = checked,
                                    .cap = how == 1 ? 3 : 0};
            uint64_t live = LIVE_ITEMS, idle = IDLE_ITEMS;
            nested_pool = belay_pool_new(&desc);
            puts_in_reset = 0;
            void *items[3], *data;
            for (int round = 0; round < 3; round++) {
                for (int i = 0; i < 3; i++) CHECK((items[i] = belay_pool_get(nested_pool)) != NULL);
                CHECK(items[0] != items[1] && items[1] != items[2] && items[0] != items[2]);
                CHECK_IS(LIVE_ITEMS, live + 3);
                for (int i = 0; i < 3; i++) put(nested_pool, items[i]);
                if (how == 2) check_close(belay_with_data(belay_background(), nested_pool, &data));
                CHECK_IS(LIVE_ITEMS, live);
                CHECK_IS(IDLE_ITEMS, idle + 3);
            }
            CHECK_IS(puts_in_reset, how == 2 ? 12 : 9);
            free_pool(nested_pool);
            CHECK(LIVE_ITEMS == live && IDLE_ITEMS == idle);
        }
}

// What fails in a hook is not what failed in the call that it runs in.
static bool refusing_init(void *item, void *self) {
    (void)item;
    CHECK(belay_is_none(belay_with_cancel((belay_ctx){0})));
    return *(bool *)self;
}
static void failing_reset(void *item, void *self) {
    (void)item, (void)self;
    CHECK(belay_is_none(belay_with_cancel((belay_ctx){0})));
}
static void a_failing_derivation_says_why_whatever_its_hooks_do(void) {
    bool fine = true;
    belay_pool_desc desc = {.size = sizeof desc, .item_size = 8, .init = refusing_init, .reset = failing_reset,
                            .self = &fine};
    belay_pool pool = belay_pool_new(&desc);
    belay_runtime_options options = {.size = sizeof options, .max_contexts = 1};
    belay_runtime full = belay_runtime_new(&options);
    belay_ctx lite = belay_lite(belay_background(), BELAY_FOREVER), stale = belay_with_cancel(belay_background());
    belay_ctx only = belay_with_cancel(belay_runtime_background(full));
    void *data;
    check_close(stale);
    for (int i = 0; i < 2; i++) {
        CHECK(belay_is_none(belay_with_data(only, pool, &data)));
        CHECK_IS(belay_last_status(), BELAY_ENOMEM);
        CHECK(belay_is_none(belay_with_data(lite, pool, &data)));
        CHECK_IS(belay_last_status(), BELAY_ELEAF);
        CHECK(belay_is_none(belay_with_data(stale, pool, &data)));
        CHECK_IS(belay_last_status(), BELAY_ESTALE);
    }
    CHECK_IS(belay_pool_trim(pool), BELAY_OK);
    fine = false;
    CHECK(belay_pool_get(pool) == NULL);
    CHECK_IS(belay_last_status(), BELAY_ENOMEM);
    CHECK(belay_is_none(belay_with_data(belay_background(), pool, &data)));
    CHECK_IS(belay_last_status(), BELAY_ENOMEM);
    check_close(lite);
    check_close(only);
    free_pool(pool);
    CHECK_IS(belay_runtime_free(full, BELAY_FOREVER), BELAY_OK);
}

// --- Checked pools ---------------------------------------------------------------------------------------------------

static void checked_pools_work_like_others(void) {
    struct counts counts = {0};
    belay_pool pool = new_pool(&counts, 0, BELAY_POOL_CHECKED);
    struct item *first = get(pool);
    for (int i = 0; i < 20; i++) {
        put(pool, first);
        CHECK_IS(belay_pool_put(pool, first), BELAY_EINVAL);
        CHECK(get(pool) == first);
        CHECK_IS(first->uses, i + 2); // the content came back
    }
    put(pool, first);
    CHECK_IS(belay_pool_trim(pool), BELAY_OK);
    CHECK_IS(counts.dropped, 1);
    put(pool, get(pool));
    free_pool(pool);
    all_dropped(&counts);
}

// A write to an item that was given back ends the program: at the next get, trim or free. In a program of its own: a
// forked child has no pools.
static void misuse(const char *how) {
    belay_pool_desc desc = {.size = sizeof desc, .item_size = 64, .flags = BELAY_POOL_CHECKED, .name = "misused"};
    belay_pool pool = belay_pool_new(&desc);
    volatile char *item = belay_pool_get(pool);
    put(pool, (void *)item);
    item[24] = 0;
    if (*how == 'g') belay_pool_get(pool);
    if (*how == 't') belay_pool_trim(pool);
    if (*how == 'f') belay_pool_free(pool);
}
static const char *program;
static void run_again(const char *option, const char *value, int *status, char *output, size_t size) {
    int ends[2];
    CHECK_IS(pipe(ends), 0);
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (size) dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        check_become(program, option, value);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got; size && length < size - 1 && (got = read(ends[0], output + length, size - 1 - length)) > 0;) {
        length += (size_t)got;
    }
    if (size) output[length] = 0;
    close(ends[0]);
    CHECK_IS(waitpid(pid, status, 0), pid);
}
#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER true
#elif defined(__has_feature)
#define ADDRESS_SANITIZER __has_feature(address_sanitizer)
#else
#define ADDRESS_SANITIZER false
#endif
static void checked_pools_catch_a_write_after_the_return(void) {
    const char *const ways[] = {"get", "trim", "free"};
    for (int i = 0; i < 3; i++) {
        char output[4096];
        int status = 0;
        run_again("--misuse", ways[i], &status, output, sizeof output);
        if (ADDRESS_SANITIZER) { // it stops at the write itself
            CHECK(status != 0 && strstr(output, "use-after-poison"));
            continue;
        }
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        CHECK(strstr(output, "pool 'misused'") && strstr(output, "byte 24 is 0x00"));
    }
}

// --- Fork ------------------------------------------------------------------------------------------------------------

static void a_forked_child_has_no_pools(void) {
    struct counts counts = {0};
    belay_pool pool = new_pool(&counts, 0, 0);
    struct item *item = get(pool);
    put(pool, get(pool));
    void *data;
    belay_ctx ctx = belay_with_data(belay_background(), pool, &data);
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(belay_pool_get(pool) == NULL);
        CHECK_IS(belay_last_status(), BELAY_EFORK);
        CHECK_IS(belay_pool_put(pool, item), BELAY_EFORK);
        CHECK_IS(belay_pool_put((belay_pool){0}, item), BELAY_EFORK);
        CHECK_IS(belay_pool_put(pool, NULL), BELAY_EFORK);
        CHECK(belay_is_none(belay_with_data(belay_background(), pool, &data)));
        CHECK_IS(belay_last_status(), BELAY_EFORK);
        CHECK(belay_data(ctx, pool) == NULL);
        CHECK_IS(belay_last_status(), BELAY_EFORK);
        CHECK_IS(belay_pool_trim(pool), BELAY_EFORK);
        CHECK_IS(belay_pool_free(pool), BELAY_EFORK);
        belay_pool_desc desc = {.size = sizeof desc, .item_size = 8};
        CHECK_IS(belay_pool_new(&desc).bits, 0);
        CHECK_IS(belay_last_status(), BELAY_EFORK);
        belay_close(ctx);
        CHECK_IS(counts.reset, 1); // nothing was given back
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    int status = -1;
    CHECK_IS(waitpid(pid, &status, 0), pid);
    CHECK_IS(status, 0);
    put(pool, item);
    check_close(ctx);
    free_pool(pool);
    all_dropped(&counts);
}

// --- A random run against a naive model ------------------------------------------------------------------------------

enum { MODEL_ITEMS = 200, MODEL_CONTEXTS = 60 };
struct model_context { belay_ctx ctx; int parent, children; bool open, gone; void *own, *seen; };

static void model_release(struct model_context *all, int index, long *in_use) {
    while (index >= 0 && !all[index].open && all[index].children == 0 && !all[index].gone) {
        all[index].gone = true;
        if (all[index].own) --*in_use;
        index = all[index].parent;
        if (index >= 0) all[index].children--;
    }
}

static void a_random_run(uint64_t seed) {
    static struct item *held[MODEL_ITEMS];
    static struct model_context contexts[MODEL_CONTEXTS];
    struct counts counts = {0};
    uint64_t random = seed * 0x9e3779b97f4a7c15 + 1, live = LIVE_ITEMS;
    long cap = check_random(&random) % 3 ? (long)(check_random(&random) % 100 + 1) : 0, in_use = 0;
    unsigned flags = check_random(&random) % 4 == 0 ? BELAY_POOL_CHECKED : 0;
    int holding = 0, made = 0, freed = 0;
    belay_pool pool = new_pool(&counts, (size_t)cap, flags);
    for (int step = 0; step < 600; step++) {
        int pick = made ? (int)(check_random(&random) % (uint64_t)made) : -1;
        switch (check_random(&random) % 10) {
        case 0: case 1: case 2: {
            if (holding == MODEL_ITEMS) break;
            bool expected = !freed && (cap == 0 || in_use < cap);
            struct item *item = belay_pool_get(pool);
            CHECK_IS(item != NULL, expected);
            if (!item) CHECK_IS(belay_last_status(), freed ? BELAY_ESTALE : BELAY_ENOMEM);
            else {
                CHECK_IS(atomic_exchange(&item->user, 1), 0);
                for (int i = 0; i < 100; i++) CHECK_IS(item->scratch[i], 0);
                memset(item->scratch, step, 100);
                held[holding++] = item;
                in_use++;
            }
            break;
        }
        case 3: case 4: case 5: {
            if (holding == 0) break;
            int index = (int)(check_random(&random) % (uint64_t)holding);
            put(pool, held[index]);
            held[index] = held[--holding];
            in_use--;
            break;
        }
        case 6: case 7: {
            if (made == MODEL_CONTEXTS) break;
            int parent = pick >= 0 && contexts[pick].open ? pick : -1;
            belay_ctx above = parent < 0 ? belay_background() : contexts[parent].ctx;
            struct model_context *born = &contexts[made];
            *born = (struct model_context){.parent = parent, .open = true};
            born->seen = parent < 0 ? NULL : contexts[parent].seen;
            if (check_random(&random) % 2) {
                born->ctx = check_random(&random) % 2 ? belay_with_cancel(above) : belay_without_cancel(above);
            } else {
                bool expected = !freed && (cap == 0 || in_use < cap);
                born->ctx = belay_with_data(above, pool, &born->own);
                CHECK_IS(!belay_is_none(born->ctx), expected);
                CHECK_IS(born->own != NULL, expected);
                if (!expected) break;
                in_use++;
                born->seen = born->own;
            }
            if (parent >= 0) contexts[parent].children++;
            made++;
            break;
        }
        case 8:
            if (pick < 0 || !contexts[pick].open) break;
            CHECK_IS(belay_close(contexts[pick].ctx), BELAY_OK);
            contexts[pick].open = false;
            model_release(contexts, pick, &in_use);
            break;
        default: {
            uint64_t rare = check_random(&random) % 60;
            if (rare < 3) CHECK_IS(belay_pool_trim(pool), freed ? BELAY_ESTALE : BELAY_OK);
            if (rare == 5) CHECK_IS(belay_pool_free(pool), freed++ ? BELAY_ESTALE : BELAY_OK);
        }
        }
        CHECK_IS(LIVE_ITEMS, live + (uint64_t)in_use);
        CHECK(cap == 0 || counts.made - counts.dropped <= cap);
        if (pick < 0) continue;
        CHECK(belay_data(contexts[pick].ctx, pool) == (contexts[pick].open ? contexts[pick].seen : NULL));
    }
    for (int i = 0; i < made; i++) {
        if (contexts[i].open) check_close(contexts[i].ctx);
    }
    while (holding) put(pool, held[--holding]);
    if (!freed) free_pool(pool);
    CHECK_IS(counts.made, counts.dropped);
    CHECK_IS(LIVE_ITEMS, live);
}
static void random_runs_agree_with_a_model(void) {
    const char *given = getenv("BELAY_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 1000;
    printf("the first seed is %" PRIu64 "\n", seed);
    for (long runs = given ? 1 : check_scaled(300); runs > 0; runs--) a_random_run(seed++);
}

// --- Contention ------------------------------------------------------------------------------------------------------

enum { POOLS = 4, SHARED_CONTEXTS = 16 };
static _Atomic uint64_t pools[POOLS], contexts[SHARED_CONTEXTS];
static struct counts contention;
static atomic_bool over;

static void use(void *raw, uint64_t *random) {
    struct item *item = raw;
    CHECK_IS(item->state, MADE);
    CHECK_IS(atomic_exchange(&item->user, 1), 0);
    for (size_t i = 0; i < sizeof item->scratch; i += 9) CHECK_IS(item->scratch[i], 0);
    memset(item->scratch, 1, check_random(random) % sizeof item->scratch);
}
static belay_pool any_pool(uint64_t *random) { return (belay_pool){atomic_load(&pools[check_random(random) % POOLS])}; }

static void contend(void *argument) {
    (void)argument;
    static atomic_ulong seeds = 1;
    uint64_t random = atomic_fetch_add(&seeds, 1) * 0x9e3779b97f4a7c15;
    struct { belay_pool pool; struct item *item; } held[100];
    int holding = 0;
    while (!atomic_load(&over)) {
        belay_pool pool = any_pool(&random);
        switch (check_random(&random) % 64) {
        case 0: CHECK(belay_pool_trim(pool) != BELAY_EINVAL); break;
        case 1: { // another pool takes its place
            size_t cap = check_random(&random) % 2 ? 20 : 0;
            unsigned flags = check_random(&random) % 4 ? 0 : BELAY_POOL_CHECKED;
            belay_pool_desc desc = {.size = sizeof desc, .item_size = sizeof(struct item), .init = item_init,
                                    .reset = item_reset, .drop = item_drop, .self = &contention, .cap = cap,
                                    .flags = flags};
            belay_pool made = belay_pool_new(&desc);
            if (made.bits == 0) { // items in use hold on to the places of too many pools
                CHECK_IS(belay_last_status(), BELAY_ENOMEM);
                break;
            }
            belay_pool old = {atomic_exchange(&pools[check_random(&random) % POOLS], made.bits)};
            if (old.bits) free_pool(old);
            break;
        }
        case 2: case 3: case 4: case 5: case 6: case 7: case 8: case 9: {
            void *data;
            belay_ctx parent = {atomic_load(&contexts[check_random(&random) % SHARED_CONTEXTS])};
            belay_ctx ctx = belay_with_data(check_random(&random) % 2 ? parent : belay_background(), pool, &data);
            if (belay_is_none(ctx)) break;
            use(data, &random);
            CHECK(belay_data(ctx, pool) == data);
            if (check_random(&random) % 2) {
                belay_ctx child = belay_without_cancel(ctx);
                check_close(ctx);
                CHECK(belay_data(child, pool) == data);
                ctx = child;
            }
            belay_ctx old = {atomic_exchange(&contexts[check_random(&random) % SHARED_CONTEXTS], ctx.bits)};
            if (old.bits) check_close(old);
            break;
        }
        case 10: { // look from elsewhere
            belay_ctx ctx = {atomic_load(&contexts[check_random(&random) % SHARED_CONTEXTS])};
            belay_data(ctx, pool);
            break;
        }
        default:
            if (holding < 100 && check_random(&random) % 2) {
                struct item *item = belay_pool_get(pool);
                if (!item) break;
                use(item, &random);
                held[holding].pool = pool;
                held[holding++].item = item;
            } else if (holding) {
                int index = (int)(check_random(&random) % (uint64_t)holding);
                put(held[index].pool, held[index].item); // also where the pool was freed meanwhile
                held[index] = held[--holding];
            }
        }
    }
    while (holding--) put(held[holding].pool, held[holding].item);
}

static void threads_contend(void) {
    for (int threads = 1; threads <= 16; threads *= 2) {
        uint64_t live = LIVE_ITEMS, idle = IDLE_ITEMS;
        struct check_thread workers[16];
        atomic_store(&over, false);
        for (int i = 0; i < POOLS; i++) atomic_store(&pools[i], new_pool(&contention, 0, 0).bits);
        for (int i = 0; i < threads; i++) check_start(&workers[i], contend, NULL);
        check_sleep(BELAY_MS(check_scaled(300)));
        atomic_store(&over, true);
        for (int i = 0; i < threads; i++) check_join(&workers[i]);
        for (int i = 0; i < SHARED_CONTEXTS; i++) {
            belay_ctx old = {atomic_exchange(&contexts[i], 0)};
            if (old.bits) check_close(old);
        }
        for (int i = 0; i < POOLS; i++) free_pool((belay_pool){atomic_exchange(&pools[i], 0)});
        all_dropped(&contention);
        EVENTUALLY(LIVE_ITEMS == live && IDLE_ITEMS == idle);
        printf("%2d threads: so far %ld items made, %ld uses\n", threads, contention.made, contention.reset);
        fflush(stdout);
    }
}

// --- Where the system has no barrier for all threads -----------------------------------------------------------------

static bool forbid_membarrier(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog all = {sizeof filter / sizeof *filter, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) == 0;
}
static void all_of_it_without_membarrier(void) {
    for (int late = 0; late < 2; late++) {
        int status = -1;
        run_again(late ? "--late" : "--without-membarrier", NULL, &status, NULL, 0);
        CHECK_IS(status, 0);
    }
}

int main(int argc, char **argv) {
    program = argv[0];
    if (argc > 2 && strcmp(argv[1], "--misuse") == 0) {
        misuse(argv[2]);
        return 0;
    }
    static const struct check_test tests[] = {
        TEST(an_item_is_made_once_and_used_again),
        TEST(without_hooks_an_item_is_zeroes),
        TEST(items_are_aligned),
        TEST(a_bad_description_makes_no_pool),
        TEST(items_may_come_back_as_they_were_left),
        TEST(bad_handles_get_a_status),
        TEST(giving_back_twice_is_found),
        TEST(init_may_fail),
        TEST(many_items),
        TEST(trim_releases_what_is_free),
        TEST(free_while_in_use),
        TEST(places_are_used_again),
        TEST(a_thread_that_ends_leaves_its_items_to_others),
        TEST(many_threads_that_end_leave_their_items_to_others),
        TEST(items_of_idle_threads_are_taken),
        TEST(the_cap_is_exact),
        TEST(nobody_is_refused_a_free_item),
        TEST(owners_and_thieves_keep_apart),
        TEST(a_hit_that_was_counted_stays_counted),
        TEST(data_is_seen_among_many_values),
        TEST(data_is_seen_below),
        TEST(data_goes_back_with_the_last_that_sees_it),
        TEST(nothing_of_one_request_is_seen_by_the_next),
        TEST(data_on_a_context_cannot_be_given_back),
        TEST(hooks_may_use_the_api),
        TEST(a_reset_that_gives_the_item_back),
        TEST(a_reset_that_gives_back_an_item_of_a_freed_pool),
        TEST(a_failing_derivation_says_why_whatever_its_hooks_do),
        TEST(checked_pools_work_like_others),
        TEST(a_forked_child_has_no_pools),
        TEST(random_runs_agree_with_a_model),
        TEST(threads_contend),
    };
    static const struct check_test outer[] = {
        TEST(checked_pools_catch_a_write_after_the_return),
        TEST(all_of_it_without_membarrier),
    };
    if (argc > 1 && strcmp(argv[1], "--without-membarrier") == 0) {
        if (!forbid_membarrier()) return 0; // this system does not let us
        RUN_TESTS(tests, ", without membarrier");
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "--late") == 0) {
        free_pool(plain_pool(1)); // registered
        if (!forbid_membarrier()) return 0;
        RUN_TESTS(tests, ", membarrier taken away");
        return 0;
    }
    RUN_TESTS(tests, "");
    RUN_TESTS(outer, "");
    return 0;
}
