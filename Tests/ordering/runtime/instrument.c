/*
 * What the compiler calls at each access when it is told -fsanitize=thread, here in place of the sanitizer's runtime.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "memory.h"

#include <stddef.h>
#include <string.h>

void __tsan_init(void);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);
void __tsan_external_write(void *address, void *caller, void *tag);
void __tsan_init(void) {}
/* Swift is about to change something there, by stores of which each tells us itself. */
void __tsan_external_write(void *address, void *caller, void *tag) { (void)address, (void)caller, (void)tag; }
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void) {}

/* Those of C++'s pointers to virtual functions. */
void __tsan_vptr_read(void **address);
void __tsan_vptr_update(void **address, void *value);
void __tsan_vptr_read(void **address) { (void)address; }
void __tsan_vptr_update(void **address, void *value) { (void)value, memory_forget(address, sizeof *address); }

/* Plain accesses: the real memory. Only a store says something, namely that no atomic is there any more. */
#define PLAIN(name, bytes)                                                                                             \
    void __tsan_read##name(void *address);                                                                             \
    void __tsan_write##name(void *address);                                                                            \
    void __tsan_read##name(void *address) { (void)address; }                                                           \
    void __tsan_write##name(void *address) { memory_forget(address, bytes); }
PLAIN(1, 1)
PLAIN(2, 2)
PLAIN(4, 4)
PLAIN(8, 8)
PLAIN(16, 16)

#define UNALIGNED(bytes)                                                                                               \
    void __tsan_unaligned_read##bytes(void *address);                                                                  \
    void __tsan_unaligned_write##bytes(void *address);                                                                 \
    void __tsan_unaligned_read##bytes(void *address) { (void)address; }                                                \
    void __tsan_unaligned_write##bytes(void *address) { memory_forget(address, bytes); }
UNALIGNED(2)
UNALIGNED(4)
UNALIGNED(8)
UNALIGNED(16)

void *__tsan_memcpy(void *to, const void *from, size_t bytes);
void *__tsan_memmove(void *to, const void *from, size_t bytes);
void *__tsan_memset(void *to, int byte, size_t bytes);
void *__tsan_memcpy(void *to, const void *from, size_t bytes) {
    memory_forget(to, bytes);
    return memcpy(to, from, bytes);
}
void *__tsan_memmove(void *to, const void *from, size_t bytes) {
    memory_forget(to, bytes);
    return memmove(to, from, bytes);
}
void *__tsan_memset(void *to, int byte, size_t bytes) {
    memory_forget(to, bytes);
    return memset(to, byte, bytes);
}

#define CHANGE(bits, name, operation)                                                                                  \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *address, uint##bits##_t operand, int order);  \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *address, uint##bits##_t operand, int order) { \
        return (uint##bits##_t)memory_change(address, bits / 8, operation, operand, (enum order)order);                \
    }
#define ATOMIC(bits)                                                                                                   \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *address, int order);                      \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *address, uint##bits##_t value, int order);               \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(                                                         \
        volatile uint##bits##_t *address, uint##bits##_t expected, uint##bits##_t desired, int order, int failure);    \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *address, int order) {                     \
        return (uint##bits##_t)memory_load(address, bits / 8, (enum order)order);                                      \
    }                                                                                                                  \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *address, uint##bits##_t value, int order) {              \
        memory_store(address, bits / 8, value, (enum order)order);                                                     \
    }                                                                                                                  \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(                                                         \
        volatile uint##bits##_t *address, uint##bits##_t expected, uint##bits##_t desired, int order, int failure) {   \
        return (uint##bits##_t)memory_compare_exchange(address, bits / 8, expected, desired, (enum order)order,        \
                                                       (enum order)failure);                                           \
    }                                                                                                                  \
    CHANGE(bits, exchange, EXCHANGE)                                                                                   \
    CHANGE(bits, fetch_add, ADD)                                                                                       \
    CHANGE(bits, fetch_sub, SUBTRACT)                                                                                  \
    CHANGE(bits, fetch_and, AND)                                                                                       \
    CHANGE(bits, fetch_or, OR)                                                                                         \
    CHANGE(bits, fetch_xor, XOR)                                                                                       \
    CHANGE(bits, fetch_nand, NAND)
ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_thread_fence(int order) { memory_fence((enum order)order); }
void __tsan_atomic_signal_fence(int order) { (void)order; }
