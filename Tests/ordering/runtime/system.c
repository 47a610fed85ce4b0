/*
 * The calls of libc that order threads, in place of libc's own: what a thread did before it gave something to the
 * system is known to whoever takes something from it. That orders a little more than there is, since all of them are as
 * one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE
#include "memory.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* libc's function of that name. */
#define REAL(name)                                                                                                     \
    static __typeof__(&name) real;                                                                                     \
    if (__atomic_load_n(&real, __ATOMIC_RELAXED) == NULL)                                                              \
        __atomic_store_n(&real, (__typeof__(&name))dlsym(RTLD_NEXT, #name), __ATOMIC_RELAXED)

#define ORDERED(type, name, parameters, arguments)                                                                     \
    type name parameters {                                                                                             \
        REAL(name);                                                                                                    \
        memory_give();                                                                                                 \
        type result = real arguments;                                                                                  \
        int saved = errno;                                                                                             \
        memory_take();                                                                                                 \
        errno = saved;                                                                                                 \
        return result;                                                                                                 \
    }

ORDERED(int, pthread_join, (pthread_t thread, void **value), (thread, value))
ORDERED(int, pthread_mutex_lock, (pthread_mutex_t *mutex), (mutex))
ORDERED(int, pthread_mutex_trylock, (pthread_mutex_t *mutex), (mutex))
ORDERED(int, pthread_mutex_unlock, (pthread_mutex_t *mutex), (mutex))
ORDERED(int, pthread_cond_wait, (pthread_cond_t *condition, pthread_mutex_t *mutex), (condition, mutex))
ORDERED(int, pthread_cond_timedwait, (pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *time),
        (condition, mutex, time))
ORDERED(int, pthread_barrier_wait, (pthread_barrier_t *barrier), (barrier))
ORDERED(int, pthread_once, (pthread_once_t *once, void (*routine)(void)), (once, routine))
ORDERED(int, sem_wait, (sem_t *semaphore), (semaphore))
ORDERED(int, sem_post, (sem_t *semaphore), (semaphore))
ORDERED(ssize_t, read, (int descriptor, void *buffer, size_t bytes), (descriptor, buffer, bytes))
ORDERED(ssize_t, write, (int descriptor, const void *buffer, size_t bytes), (descriptor, buffer, bytes))
ORDERED(int, poll, (struct pollfd *descriptors, nfds_t count, int timeout), (descriptors, count, timeout))
ORDERED(int, epoll_wait, (int epoll, struct epoll_event *events, int most, int timeout), (epoll, events, most, timeout))

struct start {
    void *(*routine)(void *);
    void *argument;
};

static void *start(void *memory) {
    struct start it = *(struct start *)memory;
    free(memory);
    memory_take();
    return it.routine(it.argument);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*routine)(void *), void *argument) {
    REAL(pthread_create);
    struct start *it = malloc(sizeof *it);
    if (it == NULL) return EAGAIN;
    it->routine = routine;
    it->argument = argument;
    memory_give();
    int error = real(thread, attributes, start, it);
    if (error != 0) free(it);
    return error;
}

/* Memory that comes back as something else has no history. */
void free(void *memory) {
    extern void __libc_free(void *memory);
    if (memory != NULL) memory_forget(memory, malloc_usable_size(memory));
    __libc_free(memory);
}

/* To make a page less accessible the kernel interrupts every processor: a fence for all, where there is no
 * membarrier(2). */
int mprotect(void *address, size_t bytes, int protection) {
    REAL(mprotect);
    int result = real(address, bytes, protection);
    int saved = errno;
    if (protection == PROT_NONE) memory_fence_on_all();
    errno = saved;
    return result;
}

long syscall(long number, ...) {
    REAL(syscall);
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long), d = va_arg(list, long),
         e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    memory_dawdle();
    long result = real(number, a, b, c, d, e, f);
    int saved = errno;
    if (number == SYS_membarrier && result == 0) memory_fence_on_all();
    errno = saved;
    return result;
}
