// SPDX-License-Identifier: Apache-2.0
//
// The ordering build's own memory: that it is as weak as C11 lets it be, and no weaker. Each shape is known by its name
// in the literature: MP is passing a message, SB is storing and looking (Dekker), WRC and IRIW are what a third and a
// fourth thread see.
#include "../c/check.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>

static atomic_int x, y;
static int seen[4];
static const struct shape *shape;

#define LOAD(object, order) atomic_load_explicit(&(object), memory_order_##order)
#define STORE(object, value, order) atomic_store_explicit(&(object), value, memory_order_##order)
#define FENCE(order) atomic_thread_fence(memory_order_##order)

// All five threads meet. Not a barrier of the system's: that orders, in this build, with whatever was given to the
// system at any time before.
static void meet(void) {
    static atomic_int arrived, round;
    int now = atomic_load(&round);
    if (atomic_fetch_add(&arrived, 1) == 4) {
        atomic_store(&arrived, 0);
        atomic_store(&round, now + 1);
    }
    while (atomic_load(&round) == now) sched_yield();
}

// --- MP: y says that x is there. Not in order: y was seen, and x not. -----------------------------------------------

static bool mp_is_out_of_order(void) { return seen[0] == 1 && seen[1] == 0; }

#define MP(name, between_stores, store, load, between_loads)                        \
    static void name##_0(void) {                                                    \
        STORE(x, 1, relaxed);                                                       \
        between_stores;                                                             \
        STORE(y, 1, store);                                                         \
    }                                                                               \
    static void name##_1(void) {                                                    \
        seen[0] = LOAD(y, load);                                                    \
        between_loads;                                                              \
        seen[1] = LOAD(x, relaxed);                                                 \
    }
MP(mp, , relaxed, relaxed, )
MP(mp_release, , release, relaxed, )
MP(mp_acquire, , relaxed, acquire, )
MP(mp_both, , release, acquire, )
MP(mp_fences, FENCE(release), relaxed, relaxed, FENCE(acquire))
MP(mp_fence_load, FENCE(release), relaxed, acquire, )
MP(mp_store_fence, , release, relaxed, FENCE(acquire))
MP(mp_wrong_fence, , release, relaxed, FENCE(release))

static void mp_carry_0(void) {
    STORE(x, 1, relaxed);
    STORE(y, 2, release);
}
static void mp_carry_2(void) {
    // Whoever changes what was released carries it on, without a word of its own.
    int expected = 2;
    atomic_compare_exchange_strong_explicit(&y, &expected, 1, memory_order_relaxed, memory_order_relaxed);
}
static void mp_carry_1(void) {
    seen[0] = LOAD(y, acquire);
    seen[1] = LOAD(x, relaxed);
}

// --- SB: each stores its own and looks at the other's. Not in order: neither saw the other. -------------------------

static bool sb_is_out_of_order(void) { return seen[0] == 0 && seen[1] == 0; }

#define SB(name, store, load, between_0, between_1)                                 \
    static void name##_0(void) {                                                    \
        STORE(x, 1, store);                                                         \
        between_0;                                                                  \
        seen[0] = LOAD(y, load);                                                    \
    }                                                                               \
    static void name##_1(void) {                                                    \
        STORE(y, 1, store);                                                         \
        between_1;                                                                  \
        seen[1] = LOAD(x, load);                                                    \
    }
SB(sb, relaxed, relaxed, , )
SB(sb_release_acquire, release, acquire, , )
SB(sb_seq_cst, seq_cst, seq_cst, , )
SB(sb_fences, relaxed, relaxed, FENCE(seq_cst), FENCE(seq_cst))
SB(sb_one_fence, relaxed, relaxed, FENCE(seq_cst), )
SB(sb_weak_fences, relaxed, relaxed, FENCE(acq_rel), FENCE(acq_rel))
SB(sb_membarrier, relaxed, relaxed, syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0),
   atomic_signal_fence(memory_order_seq_cst))

// --- CoRR: one location is never read backwards. --------------------------------------------------------------------

static bool corr_is_out_of_order(void) { return seen[0] > seen[1]; }
static void corr_0(void) {
    STORE(x, 1, relaxed);
    STORE(x, 2, relaxed);
}
static void corr_1(void) {
    seen[0] = LOAD(x, relaxed);
    seen[1] = LOAD(x, relaxed);
}

// --- WRC: who hears of x from another, who saw it. ------------------------------------------------------------------

static bool wrc_is_out_of_order(void) { return seen[0] == 1 && seen[1] == 0; }
static void wrc_0(void) { STORE(x, 1, relaxed); }
#define WRC(name, store, load)                                                      \
    static void name##_1(void) {                                                    \
        if (LOAD(x, relaxed) == 1) STORE(y, 1, store);                              \
    }                                                                               \
    static void name##_2(void) {                                                    \
        seen[0] = LOAD(y, load);                                                    \
        seen[1] = LOAD(x, relaxed);                                                 \
    }
WRC(wrc, relaxed, relaxed)
WRC(wrc_both, release, acquire)

// --- IRIW: two who look at two stores in different orders. ----------------------------------------------------------

static bool iriw_is_out_of_order(void) { return seen[0] == 1 && seen[1] == 0 && seen[2] == 1 && seen[3] == 0; }
#define IRIW(name, store, load)                                                     \
    static void name##_0(void) { STORE(x, 1, store); }                              \
    static void name##_1(void) { STORE(y, 1, store); }                              \
    static void name##_2(void) {                                                    \
        seen[0] = LOAD(x, load);                                                    \
        seen[1] = LOAD(y, load);                                                    \
    }                                                                               \
    static void name##_3(void) {                                                    \
        seen[2] = LOAD(y, load);                                                    \
        seen[3] = LOAD(x, load);                                                    \
    }
IRIW(iriw, release, acquire)
IRIW(iriw_seq_cst, seq_cst, seq_cst)

// --- Mutexes, and what else the system orders: plain stores to atomics, in their shadow. ----------------------------

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void locked_0(void) {
    pthread_mutex_lock(&mutex);
    STORE(x, 1, relaxed);
    STORE(y, 1, relaxed);
    pthread_mutex_unlock(&mutex);
}
static void locked_1(void) {
    pthread_mutex_lock(&mutex);
    seen[0] = LOAD(y, relaxed);
    seen[1] = LOAD(x, relaxed);
    pthread_mutex_unlock(&mutex);
}

// --------------------------------------------------------------------------------------------------------------------

enum allowed { NEVER, SOMETIMES };

static const struct shape {
    const char *name;
    enum allowed allowed;
    bool (*is_out_of_order)(void);
    void (*threads[4])(void);
} shapes[] = {
    {"mp", SOMETIMES, mp_is_out_of_order, {mp_0, mp_1}},
    {"mp_release", SOMETIMES, mp_is_out_of_order, {mp_release_0, mp_release_1}},
    {"mp_acquire", SOMETIMES, mp_is_out_of_order, {mp_acquire_0, mp_acquire_1}},
    {"mp_both", NEVER, mp_is_out_of_order, {mp_both_0, mp_both_1}},
    {"mp_fences", NEVER, mp_is_out_of_order, {mp_fences_0, mp_fences_1}},
    {"mp_fence_load", NEVER, mp_is_out_of_order, {mp_fence_load_0, mp_fence_load_1}},
    {"mp_store_fence", NEVER, mp_is_out_of_order, {mp_store_fence_0, mp_store_fence_1}},
    {"mp_wrong_fence", SOMETIMES, mp_is_out_of_order, {mp_wrong_fence_0, mp_wrong_fence_1}},
    {"mp_carry", NEVER, mp_is_out_of_order, {mp_carry_0, mp_carry_1, mp_carry_2}},
    {"sb", SOMETIMES, sb_is_out_of_order, {sb_0, sb_1}},
    {"sb_release_acquire", SOMETIMES, sb_is_out_of_order, {sb_release_acquire_0, sb_release_acquire_1}},
    {"sb_seq_cst", NEVER, sb_is_out_of_order, {sb_seq_cst_0, sb_seq_cst_1}},
    {"sb_fences", NEVER, sb_is_out_of_order, {sb_fences_0, sb_fences_1}},
    {"sb_one_fence", SOMETIMES, sb_is_out_of_order, {sb_one_fence_0, sb_one_fence_1}},
    {"sb_weak_fences", SOMETIMES, sb_is_out_of_order, {sb_weak_fences_0, sb_weak_fences_1}},
    {"sb_membarrier", NEVER, sb_is_out_of_order, {sb_membarrier_0, sb_membarrier_1}},
    {"corr", NEVER, corr_is_out_of_order, {corr_0, corr_1}},
    {"wrc", SOMETIMES, wrc_is_out_of_order, {wrc_0, wrc_1, wrc_2}},
    {"wrc_both", NEVER, wrc_is_out_of_order, {wrc_0, wrc_both_1, wrc_both_2}},
    {"iriw", SOMETIMES, iriw_is_out_of_order, {iriw_0, iriw_1, iriw_2, iriw_3}},
    {"iriw_seq_cst", NEVER, iriw_is_out_of_order, {iriw_seq_cst_0, iriw_seq_cst_1, iriw_seq_cst_2, iriw_seq_cst_3}},
    {"locked", NEVER, mp_is_out_of_order, {locked_0, locked_1}},
};

static void *run_thread(void *argument) {
    int number = (int)(intptr_t)argument;
    while (true) {
        meet();
        if (shape == NULL) return NULL;
        if (shape->threads[number] != NULL) shape->threads[number]();
        meet();
    }
}

static void run(const struct shape *it, long rounds) {
    long found = 0;
    for (long round = 0; round < rounds; round++) {
        STORE(x, 0, relaxed);
        STORE(y, 0, relaxed);
        memset(seen, 0, sizeof seen);
        shape = it;
        meet();
        meet();
        found += it->is_out_of_order();
    }
    printf("%s: out of order %ld times in %ld\n", it->name, found, rounds);
    if (it->allowed == NEVER) CHECK_IS(found, 0);
    else CHECK(found > 0);
}

int main(void) {
    pthread_t threads[4];
    CHECK_IS(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0), 0);
    for (intptr_t i = 0; i < 4; i++) CHECK_IS(pthread_create(&threads[i], NULL, run_thread, (void *)i), 0);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) run(&shapes[i], 5000);
    shape = NULL;
    meet();
    for (int i = 0; i < 4; i++) CHECK_IS(pthread_join(threads[i], NULL), 0);
    return 0;
}
