/*
 * A memory as weak as C11 lets it be, for the ordering build: what a load may answer, and what that orders.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ORDERING_MEMORY_H
#define ORDERING_MEMORY_H

#include <stdint.h>

/* Values of memory_order, as the compiler passes them. */
enum order { RELAXED, CONSUME, ACQUIRE, RELEASE, ACQ_REL, SEQ_CST };

enum operation { EXCHANGE, ADD, SUBTRACT, AND, OR, XOR, NAND };

/* Accesses of 1, 2, 4 and 8 bytes. Each answers what was there, or what the load is to believe was there. */
uint64_t memory_load(const volatile void *address, int size, enum order order);
void memory_store(volatile void *address, int size, uint64_t value, enum order order);
uint64_t memory_change(volatile void *address, int size, enum operation operation, uint64_t operand, enum order order);
/* Answers the value before; the exchange was made if that is `expected`. */
uint64_t memory_compare_exchange(volatile void *address, int size, uint64_t expected, uint64_t desired,
                                 enum order order, enum order failure);
void memory_fence(enum order order);

/* A store that is not atomic: what was known of these bytes is over. */
void memory_forget(const volatile void *address, uint64_t size);

/* What the operating system orders. Whoever calls `memory_give` before a call, and `memory_take` after one, is ordered
 * with all others that do. */
void memory_give(void);
void memory_take(void);
/* membarrier(2): a fence on every thread. */
void memory_fence_on_all(void);
/* Dawdles, now and then. */
void memory_dawdle(void);

#endif
