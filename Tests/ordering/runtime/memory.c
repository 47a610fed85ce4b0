/*
 * A memory as weak as C11 lets it be: see memory.h, and ../../CONTRIBUTING.md for how to use it.
 *
 * The machine's own memory always holds the latest value of each atomic, since all operations on atomics go through one
 * lock. What is added is a history: the last few stores to each location, each with who made it and with what it
 * publishes. A load may answer any of those that the rules leave it, drawn at random, so that it reads what a processor
 * of a weaker order (or a compiler) might have let it read. Vector clocks say which those are, as in a race detector.
 *
 * The rules, where `clock` is what a thread knows of every thread's time:
 *
 * | operation | effect |
 * |---|---|
 * | load | answers a store that is no older than the latest one that the thread knows of, than any that it has read, and than any that was read by others in the past that it knows |
 * | acquire load | takes over what that store published; a relaxed one keeps it for an acquire fence that may follow |
 * | release store | publishes the clock; a relaxed one publishes the clock as of the last release fence |
 * | read-modify-write | reads the latest store, and carries on what that published |
 * | fence, sequentially consistent | both fences, and takes part in the clock of all such fences |
 * | load, sequentially consistent | is no older than the last such store to the location, or than what such fences know |
 *
 * Where something has to be left out, the load has less choice and not more: a location that is forgotten to make room
 * publishes to all that acquire anything that is not in the table. A store is known to all when it is half a
 * millisecond old: a processor's stores do arrive, and programs go by that.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE
#include "memory.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { THREADS = 128, STORES = 4, BUCKET_BITS = 13, WAYS = 4 };
static const int64_t arrives_within = 500 * 1000; /* ns */

struct clock { uint32_t of[THREADS]; };

struct store {
    uint64_t value;
    int64_t when;
    uint32_t time; /* of the thread that made it */
    uint8_t thread;
    uint64_t turn; /* among all stores that are sequentially consistent, from 1; 0 for others */
    struct clock published;
};

/* The history of one atomic. */
struct location {
    uint64_t count; /* of all stores; the last STORES of them are kept */
    struct store stores[STORES];
    /* The last store that each thread has read, at what time of its own; and the last before it. */
    uint64_t read[THREADS], read_before[THREADS];
    uint32_t read_at[THREADS];
};

struct thread {
    bool is_taken;
    uint32_t number;
    struct clock clock;
    struct clock at_release_fence; /* what relaxed stores publish */
    struct clock for_acquire_fence; /* what relaxed loads have found */
    uint64_t turn; /* the last of the sequentially consistent stores at its last such fence */
};

/* Which atomics have a history: all of a word of 8 bytes are in one bucket, a line of its own. */
static struct bucket {
    _Alignas(64) uintptr_t addresses[WAYS]; /* 0: none */
    uint8_t sizes[WAYS];
} buckets[1 << BUCKET_BITS];
static struct location locations[1 << BUCKET_BITS][WAYS];
static struct thread threads[THREADS];
static int most_threads; /* there ever were at once: the places beyond are of no interest */
static struct clock of_fences; /* sequentially consistent ones */
static struct clock of_forgotten; /* what locations had published that are not in the table any more */
static struct clock of_system;
static uint64_t turns; /* of sequentially consistent stores */
static atomic_flag lock = ATOMIC_FLAG_INIT;
static pthread_key_t thread_ends;
static pthread_once_t is_set_up = PTHREAD_ONCE_INIT;
static bool only_dawdles; /* ORDERING=strong: every load answers the latest store */

static _Thread_local struct thread *self;
/* Set while a thread is in here: a signal handler that comes in between is not modelled. */
static _Thread_local volatile bool is_inside;
static _Thread_local uint64_t random_state;

// --- Chance ----------------------------------------------------------------------------------------------------------

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t draw(void) {
    if (random_state == 0) {
        static atomic_uint_fast64_t drawn;
        random_state = ((uint64_t)now() + atomic_fetch_add(&drawn, 1) | 1) * 0x9E3779B97F4A7C15;
    }
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

void memory_dawdle(void) {
    uint64_t drawn = draw();
    if (drawn % 256 == 0) sched_yield();
    if (drawn % 4096 == 1) {
        struct timespec nap = {0, (long)(drawn >> 20) % 100000};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
    }
}

// --- Clocks ----------------------------------------------------------------------------------------------------------

static void join(struct clock *clock, const struct clock *other) {
    for (int i = 0; i < most_threads; i++)
        if (clock->of[i] < other->of[i]) clock->of[i] = other->of[i];
}

// --- The lock, and who is in it --------------------------------------------------------------------------------------

static void unlock(void) { atomic_flag_clear_explicit(&lock, memory_order_release); }

static void lock_it(void) {
    for (int turns = 0; atomic_flag_test_and_set_explicit(&lock, memory_order_acquire); turns++)
        if (turns > 50) sched_yield();
}

static void end_thread(void *times) {
    if ((intptr_t)times < 3) { /* others' destructors come first, and may use atomics */
        pthread_setspecific(thread_ends, (void *)((intptr_t)times + 1));
        return;
    }
    if (self == NULL) return;
    lock_it();
    join(&of_system, &self->clock);
    self->is_taken = false;
    unlock();
    self = NULL;
}

static void before_fork(void) { is_inside = true, lock_it(); }
static void after_fork(void) { unlock(), is_inside = false; }

static void set_up(void) {
    const char *kind = getenv("ORDERING");
    only_dawdles = kind != NULL && strcmp(kind, "strong") == 0;
    pthread_key_create(&thread_ends, end_thread);
    pthread_atfork(before_fork, after_fork, after_fork);
}

/* Takes the lock; false, without it, where the operation cannot be modelled: in a signal handler that came into one
 * that is, or in a thread too many. */
static bool enter(void) {
    if (is_inside) return false;
    is_inside = true;
    atomic_signal_fence(memory_order_seq_cst);
    memory_dawdle();
    if (self == NULL) pthread_once(&is_set_up, set_up);
    lock_it();
    if (self != NULL) return true;
    for (uint32_t i = 0; i < THREADS; i++) {
        if (threads[i].is_taken) continue;
        self = &threads[i];
        self->is_taken = true;
        self->number = i;
        if (most_threads <= (int)i) most_threads = (int)i + 1;
        self->clock.of[i]++;
        /* Whoever had this place before is in the past. */
        join(&self->clock, &of_system);
        unlock();
        pthread_setspecific(thread_ends, (void *)1);
        lock_it();
        return true;
    }
    fprintf(stderr, "ordering: more than %d threads at once; make THREADS greater\n", THREADS);
    abort();
}

static void leave(void) {
    unlock();
    atomic_signal_fence(memory_order_seq_cst);
    is_inside = false;
}

// --- Locations -------------------------------------------------------------------------------------------------------

static size_t bucket_of(uintptr_t address) {
    return (uint64_t)(address >> 3) * 0x9E3779B97F4A7C15 >> (64 - BUCKET_BITS);
}

static void forget(size_t bucket, int way) {
    struct location *location = &locations[bucket][way];
    uint64_t kept = location->count < STORES ? location->count : STORES;
    for (uint64_t i = 0; i < kept; i++) join(&of_forgotten, &location->stores[i].published);
    buckets[bucket].addresses[way] = 0;
}

/* The history of a location, if there is one of these very bytes that goes up to what is there. Others that have some
 * of them are over: parts of a word may be looked at in several sizes. */
static struct location *find(uintptr_t address, int size, uint64_t actual) {
    size_t bucket = bucket_of(address);
    struct location *found = NULL;
    for (int way = 0; way < WAYS; way++) {
        uintptr_t start = buckets[bucket].addresses[way], end = start + buckets[bucket].sizes[way];
        if (start == 0) continue;
        if (start == address && end == address + (uintptr_t)size) {
            struct location *location = &locations[bucket][way];
            /* Somebody may have written without telling: a signal handler, or code that is not ours. */
            if (location->stores[(location->count - 1) % STORES].value == actual) found = location;
            else forget(bucket, way);
        } else if (start < address + (uintptr_t)size && address < end) {
            forget(bucket, way);
        }
    }
    return found;
}

/* The same for a store: makes room. What was there counts as known to all. */
static struct location *find_or_make(uintptr_t address, int size, uint64_t actual) {
    struct location *location = find(address, size, actual);
    if (location != NULL) return location;
    size_t bucket = bucket_of(address);
    int way = 0;
    while (way < WAYS && buckets[bucket].addresses[way] != 0) way++;
    if (way == WAYS) forget(bucket, way = (int)(draw() % WAYS));
    buckets[bucket].addresses[way] = address;
    buckets[bucket].sizes[way] = (uint8_t)size;
    location = &locations[bucket][way];
    memset(location, 0, sizeof *location);
    location->count = 1;
    location->stores[0].value = actual;
    location->stores[0].published = of_forgotten;
    return location;
}

static struct store *store_number(struct location *location, uint64_t number) {
    return &location->stores[number % STORES];
}

/* The oldest store that a load may answer. `turn`: up to which sequentially consistent stores are known. */
static uint64_t oldest(const struct location *location, const struct clock *known, uint64_t turn) {
    uint64_t latest = location->count - 1, least = location->count > STORES ? location->count - STORES : 0;
    const struct store *last = &location->stores[latest % STORES];
    if (last->time <= known->of[last->thread]) return latest;
    for (int i = 0; i < most_threads; i++) {
        if (location->read_at[i] == 0) continue;
        uint64_t read = location->read_at[i] <= known->of[i] ? location->read[i] : location->read_before[i];
        if (read > least) least = read;
    }
    for (uint64_t number = latest; number > least; number--) {
        const struct store *store = &location->stores[number % STORES];
        bool is_in_turn = store->turn != 0 && store->turn <= turn;
        bool is_known = is_in_turn || store->time <= known->of[store->thread];
        if (is_known || now() - store->when > arrives_within) return number;
    }
    return least;
}

static void note_read(struct location *location, uint64_t number) {
    uint32_t me = self->number;
    if (location->read_at[me] != 0 && location->read[me] >= number) return;
    location->read_before[me] = location->read[me];
    location->read[me] = number;
    location->read_at[me] = self->clock.of[me];
}

static bool acquires(enum order order) { return order == CONSUME || order == ACQUIRE || order >= ACQ_REL; }
static bool releases(enum order order) { return order >= RELEASE; }

static void take(const struct clock *published, enum order order) {
    join(acquires(order) ? &self->clock : &self->for_acquire_fence, published);
}

/* Writes a store down; the memory has it already. `carried`: what it goes on publishing, of a store that it read. */
static void append(struct location *location, uint64_t value, enum order order, const struct clock *carried) {
    struct store *store = store_number(location, location->count++);
    store->value = value;
    store->when = now();
    store->thread = (uint8_t)self->number;
    store->time = self->clock.of[self->number];
    store->published = releases(order) ? self->clock : self->at_release_fence;
    if (carried != NULL) join(&store->published, carried);
    store->turn = order == SEQ_CST ? ++turns : 0;
    note_read(location, location->count - 1);
    /* Each store has a time of its own: to know of one is not to know of the next. */
    self->clock.of[self->number]++;
}

// --- Operations ------------------------------------------------------------------------------------------------------

static uint64_t look(const volatile void *address, int size) {
    switch (size) {
    case 1: return __atomic_load_n((const volatile uint8_t *)address, __ATOMIC_SEQ_CST);
    case 2: return __atomic_load_n((const volatile uint16_t *)address, __ATOMIC_SEQ_CST);
    case 4: return __atomic_load_n((const volatile uint32_t *)address, __ATOMIC_SEQ_CST);
    default: return __atomic_load_n((const volatile uint64_t *)address, __ATOMIC_SEQ_CST);
    }
}

static uint64_t put(volatile void *address, int size, uint64_t value) {
    switch (size) {
    case 1: return __atomic_exchange_n((volatile uint8_t *)address, (uint8_t)value, __ATOMIC_SEQ_CST);
    case 2: return __atomic_exchange_n((volatile uint16_t *)address, (uint16_t)value, __ATOMIC_SEQ_CST);
    case 4: return __atomic_exchange_n((volatile uint32_t *)address, (uint32_t)value, __ATOMIC_SEQ_CST);
    default: return __atomic_exchange_n((volatile uint64_t *)address, value, __ATOMIC_SEQ_CST);
    }
}

static uint64_t cut(uint64_t value, int size) { return size == 8 ? value : value & ((1ull << (8 * size)) - 1); }

/* Puts `value` there if what is there is `expected`; answers what was. For who races with what is not modelled. */
static uint64_t swap(volatile void *address, int size, uint64_t expected, uint64_t value) {
    switch (size) {
#define SWAP(bytes, type)                                                                                              \
    case bytes: {                                                                                                      \
        type old = (type)expected, *place = (type *)(uintptr_t)address;                                                \
        __atomic_compare_exchange_n(place, &old, (type)value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                  \
        return old;                                                                                                    \
    }
        SWAP(1, uint8_t)
        SWAP(2, uint16_t)
        SWAP(4, uint32_t)
        SWAP(8, uint64_t)
#undef SWAP
    }
    abort();
}

static uint64_t result(enum operation operation, uint64_t old, uint64_t operand) {
    switch (operation) {
    case EXCHANGE: return operand;
    case ADD: return old + operand;
    case SUBTRACT: return old - operand;
    case AND: return old & operand;
    case OR: return old | operand;
    case XOR: return old ^ operand;
    case NAND: return ~(old & operand);
    }
    abort();
}

uint64_t memory_load(const volatile void *address, int size, enum order order) {
    if (!enter()) return look(address, size);
    uint64_t value = look(address, size);
    struct location *location = find((uintptr_t)address, size, value);
    if (location == NULL) {
        take(&of_forgotten, order);
    } else {
        struct clock known = self->clock;
        if (order == SEQ_CST) join(&known, &of_fences);
        uint64_t latest = location->count - 1;
        uint64_t least = only_dawdles ? latest : oldest(location, &known, order == SEQ_CST ? turns : self->turn);
        uint64_t drawn = draw() >> 20;
        uint64_t number = latest == least || drawn % 2 == 0 ? latest : least + (drawn >> 1) % (latest - least + 1);
        struct store *store = store_number(location, number);
        value = store->value;
        note_read(location, number);
        take(&store->published, order);
    }
    leave();
    return value;
}

static uint64_t change_unmodelled(volatile void *address, int size, enum operation operation, uint64_t operand) {
    uint64_t old = look(address, size);
    while (true) {
        uint64_t found = swap(address, size, old, cut(result(operation, old, operand), size));
        if (found == old) return old;
        old = found;
    }
}

void memory_store(volatile void *address, int size, uint64_t value, enum order order) {
    if (!enter()) {
        put(address, size, value);
        return;
    }
    uint64_t old = put(address, size, value);
    append(find_or_make((uintptr_t)address, size, old), cut(value, size), order, NULL);
    leave();
}

uint64_t memory_change(volatile void *address, int size, enum operation operation, uint64_t operand, enum order order) {
    if (!enter()) return change_unmodelled(address, size, operation, operand);
    uint64_t old = change_unmodelled(address, size, operation, operand);
    struct location *location = find_or_make((uintptr_t)address, size, old);
    struct clock published = store_number(location, location->count - 1)->published;
    take(&published, order);
    append(location, cut(result(operation, old, operand), size), order, &published);
    leave();
    return old;
}

uint64_t memory_compare_exchange(volatile void *address, int size, uint64_t expected, uint64_t desired,
                                 enum order order, enum order failure) {
    if (!enter()) return swap(address, size, expected, desired);
    uint64_t old = swap(address, size, expected, desired);
    struct location *location = find_or_make((uintptr_t)address, size, old);
    struct clock published = store_number(location, location->count - 1)->published;
    if (old == cut(expected, size)) {
        take(&published, order);
        append(location, cut(desired, size), order, &published);
    } else {
        note_read(location, location->count - 1);
        take(&published, failure);
    }
    leave();
    return old;
}

static void fence(struct thread *thread, enum order order) {
    if (acquires(order)) join(&thread->clock, &thread->for_acquire_fence);
    if (order == SEQ_CST) {
        join(&thread->clock, &of_fences);
        join(&of_fences, &thread->clock);
        thread->turn = turns;
    }
    if (releases(order)) thread->at_release_fence = thread->clock;
}

void memory_fence(enum order order) {
    if (!enter()) return;
    fence(self, order);
    leave();
}

void memory_fence_on_all(void) {
    if (!enter()) return;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < most_threads; i++)
            if (threads[i].is_taken) fence(&threads[i], SEQ_CST);
    leave();
}

void memory_forget(const volatile void *address, uint64_t size) {
    uintptr_t start = (uintptr_t)address, end = start + size;
    for (uintptr_t word = start & ~(uintptr_t)7; word < end; word += 8) {
        size_t bucket = bucket_of(word);
        for (int way = 0; way < WAYS; way++) {
            uintptr_t *address = &buckets[bucket].addresses[way];
            /* A look without the lock: most that is written was never an atomic. */
            if (__atomic_load_n(address, __ATOMIC_RELAXED) >> 3 != word >> 3 || !enter()) continue;
            bool is_there = *address >> 3 == word >> 3 && *address < end;
            if (is_there && start < *address + buckets[bucket].sizes[way]) forget(bucket, way);
            leave();
        }
    }
}

void memory_give(void) {
    if (!enter()) return;
    join(&of_system, &self->clock);
    self->clock.of[self->number]++;
    leave();
}

void memory_take(void) {
    if (!enter()) return;
    join(&self->clock, &of_system);
    leave();
}
