/*
 * heap.c — counts calls of the allocator, and the bytes asked for. A shared library to be preloaded into a program of
 * the harness in a run of its own, so that the runs that are timed have the system's own malloc. mmap counts as a call
 * too: who maps memory instead of allocating it gets no credit for that.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

/* glibc's own, so that no dlsym is needed, which allocates. */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static _Atomic uint64_t calls, bytes;

void bench_heap_counts(uint64_t *calls_out, uint64_t *bytes_out);
void bench_heap_counts(uint64_t *calls_out, uint64_t *bytes_out) {
    *calls_out = calls;
    *bytes_out = bytes;
}

static void count(size_t size) {
    atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&bytes, size, memory_order_relaxed);
}

void *malloc(size_t size) {
    count(size);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    count(n * size);
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size) {
    count(size);
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size) {
    count(size);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **out, size_t alignment, size_t size) {
    *out = memalign(alignment, size);
    return *out == NULL ? ENOMEM : 0;
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    static void *(*next)(void *, size_t, int, int, int, off_t);
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "mmap");
    count(size);
    return next(address, size, protection, flags, fd, offset);
}
