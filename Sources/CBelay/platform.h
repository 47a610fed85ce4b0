/*
 * What Swift cannot say: thread-locals, storage for globals, and the system calls that Embedded Swift has no module for.
 * No logic lives here. Not installed; its symbols are hidden in the C libraries.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef BELAYCORE_PLATFORM_H
#define BELAYCORE_PLATFORM_H

/* No more than the default: Swift's own view of libc must agree with ours. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE
#endif
#include <errno.h>
#include <stddef.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define BELAYCORE_HIDDEN __attribute__((visibility("hidden")))

/* Storage. All zeroes is the valid first state of whatever Swift type looks at it. */
#define BELAYCORE_REGIONS 5
#define BELAYCORE_REGION_BYTES 128
#define BELAYCORE_GLOBAL_BYTES 512
#define BELAYCORE_RUNTIMES 256
#define BELAYCORE_RUNTIME_BYTES 640
#define BELAYCORE_SHARDS 8
#define BELAYCORE_SHARD_BYTES (33 * 1024)
#define BELAYCORE_POOLS 256
#define BELAYCORE_POOL_BYTES 1024
extern BELAYCORE_HIDDEN unsigned char belaycore_region_storage[BELAYCORE_REGIONS][BELAYCORE_REGION_BYTES];
extern BELAYCORE_HIDDEN unsigned char belaycore_shard_storage[BELAYCORE_SHARDS][BELAYCORE_SHARD_BYTES];
extern BELAYCORE_HIDDEN unsigned char belaycore_global_storage[BELAYCORE_GLOBAL_BYTES];
extern BELAYCORE_HIDDEN unsigned char belaycore_pool_storage[BELAYCORE_POOLS][BELAYCORE_POOL_BYTES];

static inline void *belaycore_region(uint32_t i) { return belaycore_region_storage[i]; }
static inline void *belaycore_shard(uint32_t i) { return belaycore_shard_storage[i]; }
/* Runtimes by number: the first is static, the others are made once and stay. */
extern BELAYCORE_HIDDEN void *belaycore_runtimes[BELAYCORE_RUNTIMES];
extern BELAYCORE_HIDDEN unsigned char belaycore_standard_runtime[BELAYCORE_RUNTIME_BYTES];
static inline void *belaycore_runtime(uint32_t i) {
    return i == 0 ? belaycore_standard_runtime : __atomic_load_n(&belaycore_runtimes[i], __ATOMIC_ACQUIRE);
}
static inline void belaycore_set_runtime(uint32_t i, void *runtime) {
    __atomic_store_n(&belaycore_runtimes[i], runtime, __ATOMIC_RELEASE);
}
static inline void *belaycore_globals(void) { return belaycore_global_storage; }
static inline void *belaycore_pool(uint32_t i) { return belaycore_pool_storage[i]; }
extern BELAYCORE_HIDDEN void *belaycore_no_magazines[BELAYCORE_POOLS];

/* The calling thread's record, NULL before its first use. Initial-exec: one instruction in the shared library too. */
extern BELAYCORE_HIDDEN __thread void *belaycore_thread_record __attribute__((tls_model("initial-exec")));
static inline void *belaycore_thread(void) { return belaycore_thread_record; }
static inline void belaycore_set_thread(void *record) { belaycore_thread_record = record; }
/* Its table of pool magazines; before it has one, a table that is empty and stays so, which spares a test. */
extern BELAYCORE_HIDDEN __thread void *belaycore_thread_magazines __attribute__((tls_model("initial-exec")));
static inline void *belaycore_magazines(void) { return belaycore_thread_magazines; }
static inline void belaycore_set_magazines(void *table) {
    belaycore_thread_magazines = table != NULL ? table : (void *)belaycore_no_magazines;
}
extern BELAYCORE_HIDDEN __thread int32_t belaycore_thread_status __attribute__((tls_model("initial-exec")));
static inline int32_t belaycore_last_status(void) { return belaycore_thread_status; }
static inline void belaycore_set_last_status(int32_t status) { belaycore_thread_status = status; }

/* Clocks, in nanoseconds. The coarse one is behind the exact one by up to a few milliseconds, and never ahead of it. */
static inline int64_t belaycore_nanoseconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static inline int64_t belaycore_now(void) { return belaycore_nanoseconds(CLOCK_MONOTONIC); }
static inline int64_t belaycore_now_coarse(void) { return belaycore_nanoseconds(CLOCK_MONOTONIC_COARSE); }

/* Sleeps while *word == expected, until `deadline` on CLOCK_MONOTONIC (INT64_MAX: for ever). May wake for no reason. */
static inline void belaycore_futex_wait(void *word, uint32_t expected, int64_t deadline) {
    int saved = errno;
    struct timespec t = {deadline / 1000000000, deadline % 1000000000};
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline == INT64_MAX ? NULL : &t, NULL,
            FUTEX_BITSET_MATCH_ANY);
    errno = saved;
}
static inline void belaycore_futex_wake(void *word, int32_t count) {
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
    errno = saved;
}
static inline void belaycore_yield(void) { sched_yield(); }
/* Not nanosleep, which is a cancellation point: the thread would end there, with what it has half done, and our locks. */
static inline void belaycore_nap(void) {
    uint32_t word = 0;
    belaycore_futex_wait(&word, 0, belaycore_now() + 20000);
}
/* The line is about to be read and written. Any address will do. */
static inline void belaycore_prefetch(const void *address) { __builtin_prefetch(address, 1); }
static inline void belaycore_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Address space, and memory for it. */
static inline void *belaycore_reserve(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}
static inline void belaycore_unmap(void *address, size_t bytes) { munmap(address, bytes); }
static inline int belaycore_commit(void *address, size_t bytes) {
    return mprotect(address, bytes, PROT_READ | PROT_WRITE);
}
/* Fresh pages, all zeroes; memory that is never touched costs nothing. */
static inline void *belaycore_map(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}
static inline void *belaycore_allocate(size_t bytes) {
    void *p = NULL;
    return posix_memalign(&p, 128, bytes) == 0 ? p : NULL;
}

/* Memory for the items of a pool. `alignment` is a power of two, at least that of a pointer. */
static inline void *belaycore_allocate_aligned(size_t alignment, size_t bytes) {
    void *p = NULL;
    int saved = errno, error = posix_memalign(&p, alignment, bytes);
    errno = saved;
    return error == 0 ? p : NULL;
}
static inline void belaycore_free(void *p) { free(p); }
static inline void belaycore_fill(void *p, int byte, size_t bytes) { memset(p, byte, bytes); }
static inline size_t belaycore_length(const char *text) { return strlen(text); }
static inline size_t belaycore_length_within(const char *text, size_t most) { return strnlen(text, most); }
static inline void belaycore_copy(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }

/* Tells the checking tool that the program runs under, if any, whether these bytes may be touched: a program that is
 * built with the address sanitizer, valgrind's memcheck. */
BELAYCORE_HIDDEN void belaycore_poison(void *p, size_t bytes);
BELAYCORE_HIDDEN void belaycore_unpoison(void *p, size_t bytes);
_Noreturn static inline void belaycore_abort(void) { abort(); }

/* The two halves of a Dekker handshake of which one side is to cost nothing: see Barrier.swift. Those that ask the system
 * are false if the kernel has no such barrier, or will not let us. */
static inline void belaycore_compiler_barrier(void) { __asm__ volatile("" ::: "memory"); }
static inline int belaycore_membarrier(int command) {
    int saved = errno;
    long result = syscall(SYS_membarrier, command, 0, 0);
    errno = saved;
    return result == 0;
}
static inline int belaycore_register_membarrier(void) {
    return belaycore_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
           belaycore_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}
static inline int belaycore_barrier_everywhere(void) { return belaycore_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED); }
/* Whether the process surely has one thread: what concerns all threads is then done at once. */
BELAYCORE_HIDDEN int belaycore_is_single_threaded(void);
/* For the case that the system call is taken away after it was registered (a sandbox that starts late): to make a page
 * less accessible the kernel must interrupt every processor that runs a thread of the process. On x86, that is: AArch64
 * broadcasts it, and interrupts nobody. There this waits until what the quick side has stored is visible. */
BELAYCORE_HIDDEN void belaycore_barrier_without_membarrier(void);

/* Threads. `name`, of at most 15 characters, stays where it is. belaycore_thread_ended and belaycore_forked_child are the
 * core's, called from here. */
typedef void (*belaycore_entry)(void *argument);
BELAYCORE_HIDDEN int belaycore_start_thread(belaycore_entry entry, void *argument, const char *name);
BELAYCORE_HIDDEN int belaycore_watch_thread_exit(void *record);
BELAYCORE_HIDDEN int belaycore_watch_fork(void);
BELAYCORE_HIDDEN void belaycore_thread_ended(void *record);
BELAYCORE_HIDDEN void belaycore_forked_child(void);
static inline void belaycore_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }
static inline void belaycore_sleep_precisely(void) { prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0); }
static inline uint32_t belaycore_processors(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (uint32_t)n;
}

/* A counting event descriptor: with EFD_SEMAPHORE a read takes one, so a full one stays readable for ever. */
static inline int32_t belaycore_event_new(void) { return eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK); }
static inline void belaycore_event_fill(int32_t fd) {
    int saved = errno;
    uint64_t most = UINT64_MAX - 1;
    ssize_t done = write(fd, &most, sizeof most);
    (void)done;
    errno = saved;
}
static inline void belaycore_close(int32_t fd) { close(fd); }

/* What a loop of the host's waits on: one descriptor that is readable when another one inside is. `tag` tells which. */
static inline int32_t belaycore_poll_new(void) { return epoll_create1(EPOLL_CLOEXEC); }
static inline int belaycore_poll_add(int32_t poll, int32_t fd, uint64_t tag) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = tag}};
    return epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}
/* The same, but reported once only. */
static inline int belaycore_poll_add_once(int32_t poll, int32_t fd, uint64_t tag) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data = {.u64 = tag}};
    return epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}
static inline void belaycore_poll_remove(int32_t poll, int32_t fd) {
    int saved = errno;
    epoll_ctl(poll, EPOLL_CTL_DEL, fd, NULL);
    errno = saved;
}
/* The tag of one that is readable, `none` if there is none within `milliseconds` (-1: for ever). */
static inline uint64_t belaycore_poll_wait(int32_t poll, int milliseconds, uint64_t none) {
    int saved = errno;
    struct epoll_event event;
    int found = epoll_wait(poll, &event, 1, milliseconds);
    errno = saved;
    return found == 1 ? event.data.u64 : none;
}
static inline int32_t belaycore_bell_new(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
static inline void belaycore_bell_ring(int32_t fd) {
    int saved = errno;
    uint64_t one = 1;
    ssize_t done = write(fd, &one, sizeof one);
    (void)done;
    errno = saved;
}
static inline void belaycore_bell_hush(int32_t fd) {
    int saved = errno;
    uint64_t count;
    ssize_t done = read(fd, &count, sizeof count);
    (void)done;
    errno = saved;
}
static inline int32_t belaycore_alarm_new(void) { return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); }
/* Readable from `instant` on; INT64_MAX: not at all. */
static inline void belaycore_alarm_set(int32_t fd, int64_t instant) {
    int saved = errno;
    if (instant < 1) instant = 1;
    struct itimerspec when = {{0, 0}, {instant / 1000000000, instant % 1000000000}};
    if (instant == INT64_MAX) when.it_value = (struct timespec){0, 0};
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL);
    errno = saved;
}
/* write(2): how much, or -errno. Raises no SIGPIPE. */
BELAYCORE_HIDDEN ssize_t belaycore_write(int32_t fd, const void *bytes, size_t count);
/* Sleeps until a descriptor that does not block has room, or for less. 0, or errno. */
BELAYCORE_HIDDEN int32_t belaycore_await_room(int32_t fd);
static inline void belaycore_set_errno(int error) { errno = error; }

/* A file without a name, in memory; its size; its first bytes, as many as there are. */
static inline int32_t belaycore_scratch_file(void) {
    return (int32_t)syscall(SYS_memfd_create, "belay", 1u); /* MFD_CLOEXEC */
}
static inline ptrdiff_t belaycore_file_size(int32_t fd) {
    off_t size = lseek(fd, 0, SEEK_END);
    return size < 0 ? 0 : (ptrdiff_t)size;
}
static inline ptrdiff_t belaycore_file_read(int32_t fd, void *bytes, ptrdiff_t size) {
    ptrdiff_t done = 0;
    for (ssize_t n; done < size && (n = pread(fd, (char *)bytes + done, (size_t)(size - done), done)) > 0;) done += n;
    return done;
}

/* Signals (signals.c). Words that handlers change, all lock-free; and storage for the core's own part. */
#define BELAYCORE_SIGNALS 64
#define BELAYCORE_SIGNAL_NEWS 0     /* goes up with everything the driver is to look at */
#define BELAYCORE_SIGNAL_TICKETS 1  /* goes up with every arrival */
#define BELAYCORE_SIGNAL_LAST 2     /* from here on, by signal: the ticket of its last arrival */
#define BELAYCORE_SIGNAL_WORDS (BELAYCORE_SIGNAL_LAST + BELAYCORE_SIGNALS + 1)
#define BELAYCORE_SIGNAL_BYTES 512
extern BELAYCORE_HIDDEN uint64_t belaycore_signal_words[BELAYCORE_SIGNAL_WORDS];
extern BELAYCORE_HIDDEN unsigned char belaycore_signal_storage[BELAYCORE_SIGNAL_BYTES];
static inline void *belaycore_signal_word(int i) { return &belaycore_signal_words[i]; }
static inline void *belaycore_signal_state(void) { return belaycore_signal_storage; }
BELAYCORE_HIDDEN void belaycore_signal_ring(void); /* async-signal-safe */
BELAYCORE_HIDDEN void belaycore_signal_set_bell(void *word);
BELAYCORE_HIDDEN int belaycore_signal_watch_fork(void);
BELAYCORE_HIDDEN int belaycore_signal_install(int number);
BELAYCORE_HIDDEN void belaycore_signal_restore(int number);

/* Profiles (profile.c). Storage of the sampler; the words that every derivation reads stand at its start. */
#define BELAYCORE_SAMPLER_BYTES 128
extern BELAYCORE_HIDDEN unsigned char belaycore_sampler_storage[BELAYCORE_SAMPLER_BYTES];
static inline void *belaycore_sampler(void) { return belaycore_sampler_storage; }
/* The call stack, innermost first: return addresses, at most `most`. May allocate when it is first called. */
BELAYCORE_HIDDEN int32_t belaycore_stack(void **frames, int32_t most);
/* A whole file as memory, read only; NULL if it is none. belaycore_unmap gives it back. */
BELAYCORE_HIDDEN void *belaycore_map_file(const char *path, size_t *bytes);
/* A file of /proc, which has no size: reads up to `room` bytes of it, and says how many; 0 if it cannot be read. */
BELAYCORE_HIDDEN size_t belaycore_read_file(const char *path, void *bytes, size_t room);
static inline int64_t belaycore_wall_clock(void) { return belaycore_nanoseconds(CLOCK_REALTIME); }
static inline const char *belaycore_environment(const char *name) { return getenv(name); }
BELAYCORE_HIDDEN void belaycore_watch_exit(void);
BELAYCORE_HIDDEN void belaycore_process_ends(void); /* the core's, called at exit */

#endif
