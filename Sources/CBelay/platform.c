/* Storage and thread start-up for the core. See platform.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "platform.h"

#include <poll.h>
#include <signal.h>
#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define BELAYCORE_IS_SINGLE_THREADED __libc_single_threaded
#endif
#endif

_Alignas(128) unsigned char belaycore_region_storage[BELAYCORE_REGIONS][BELAYCORE_REGION_BYTES];
_Alignas(128) unsigned char belaycore_shard_storage[BELAYCORE_SHARDS][BELAYCORE_SHARD_BYTES];
_Alignas(128) unsigned char belaycore_global_storage[BELAYCORE_GLOBAL_BYTES];
_Alignas(128) unsigned char belaycore_standard_runtime[BELAYCORE_RUNTIME_BYTES];
void *belaycore_runtimes[BELAYCORE_RUNTIMES];
_Alignas(128) unsigned char belaycore_pool_storage[BELAYCORE_POOLS][BELAYCORE_POOL_BYTES];
__thread void *belaycore_thread_record __attribute__((tls_model("initial-exec")));
void *belaycore_no_magazines[BELAYCORE_POOLS];
__thread void *belaycore_thread_magazines __attribute__((tls_model("initial-exec"))) = (void *)belaycore_no_magazines;
__thread int32_t belaycore_thread_status __attribute__((tls_model("initial-exec")));

struct start {
    belaycore_entry entry;
    void *argument;
    const char *name;
};

static void *begin(void *raw) {
    struct start start = *(struct start *)raw;
    free(raw);
    belaycore_name_thread(start.name);
    start.entry(start.argument);
    return NULL;
}

/* Detached, with every signal blocked: signals are the host's business, on the host's threads. */
int belaycore_start_thread(belaycore_entry entry, void *argument, const char *name) {
    struct start *start = malloc(sizeof *start);
    if (start == NULL) return ENOMEM;
    *start = (struct start){entry, argument, name};
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int error = pthread_create(&thread, &attributes, begin, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error != 0) free(start);
    return error;
}

static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static int exit_error;

static void make_exit_key(void) { exit_error = pthread_key_create(&exit_key, belaycore_thread_ended); }

int belaycore_watch_thread_exit(void *record) {
    pthread_once(&exit_once, make_exit_key);
    return exit_error != 0 ? exit_error : pthread_setspecific(exit_key, record);
}

int belaycore_watch_fork(void) { return pthread_atfork(NULL, NULL, belaycore_forked_child); }

/* Weak: they are there if the program that we are in was built with the address sanitizer. */
void __asan_poison_memory_region(void const volatile *p, size_t bytes) __attribute__((weak));
void __asan_unpoison_memory_region(void const volatile *p, size_t bytes) __attribute__((weak));

void belaycore_poison(void *p, size_t bytes) {
#ifdef VALGRIND_MAKE_MEM_NOACCESS
    VALGRIND_MAKE_MEM_NOACCESS(p, bytes);
#endif
    if (__asan_poison_memory_region != NULL) __asan_poison_memory_region(p, bytes);
}

void belaycore_unpoison(void *p, size_t bytes) {
    if (__asan_unpoison_memory_region != NULL) __asan_unpoison_memory_region(p, bytes);
#ifdef VALGRIND_MAKE_MEM_DEFINED
    VALGRIND_MAKE_MEM_DEFINED(p, bytes);
#endif
}

int belaycore_is_single_threaded(void) {
#ifdef BELAYCORE_IS_SINGLE_THREADED
    return BELAYCORE_IS_SINGLE_THREADED;
#else
    return 0;
#endif
}

#if defined(__x86_64__) || defined(__i386__)
void belaycore_barrier_without_membarrier(void) {
    int saved = errno;
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    char *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED) {
        *(volatile char *)page = 1; /* there is something to flush only once it is mapped */
        mprotect(page, bytes, PROT_NONE);
        munmap(page, bytes);
    }
    errno = saved;
}
#else
/* A store that stands before a load which was done can only be on its way out of its processor. That takes some hundred
 * nanoseconds, and ends in any case: no proof, as a barrier would be, but a hundred times what it takes. */
void belaycore_barrier_without_membarrier(void) {
    int saved = errno;
    struct timespec left = {0, 100000};
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our own */
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    errno = saved;
}
#endif

/* SIGPIPE comes to the thread that writes, so it is kept off here and, if it came for us, taken away again. */
ssize_t belaycore_write(int32_t fd, const void *bytes, size_t count) {
    sigset_t only, before, pending;
    sigemptyset(&only);
    sigaddset(&only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &only, &before);
    sigpending(&pending);
    ssize_t done = write(fd, bytes, count);
    if (done < 0) done = -errno;
    if (done == -EPIPE && !sigismember(&pending, SIGPIPE)) {
        struct timespec none = {0, 0};
        while (sigtimedwait(&only, NULL, &none) < 0 && errno == EINTR) {}
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return done;
}

int32_t belaycore_await_room(int32_t fd) {
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    return poll(&room, 1, -1) < 0 && errno != EINTR ? errno : 0;
}
