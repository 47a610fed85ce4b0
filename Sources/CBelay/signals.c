/* Signals: what a handler may do, and the dispositions that were there before it. See platform.h.
 *
 * The handler is C because it has to be async-signal-safe in every build, and Swift is not in a debug build. It does
 * three things, all lock-free: notes when the signal came, rings, and leaves errno alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "platform.h"

#include <signal.h>

_Alignas(64) uint64_t belaycore_signal_words[BELAYCORE_SIGNAL_WORDS];
_Alignas(64) unsigned char belaycore_signal_storage[BELAYCORE_SIGNAL_BYTES];
static struct sigaction before[BELAYCORE_SIGNALS + 1];
static unsigned char installed[BELAYCORE_SIGNALS + 1];
static unsigned char watches_fork;
static uint32_t *bell;

/* Order: what happened is there before the count of news says so, and that before the driver is woken. The driver takes
 * its wake-up word first, then looks at the news. */
void belaycore_signal_ring(void) {
    int saved = errno;
    __atomic_fetch_add(&belaycore_signal_words[BELAYCORE_SIGNAL_NEWS], 1, __ATOMIC_SEQ_CST);
    uint32_t *word = __atomic_load_n(&bell, __ATOMIC_ACQUIRE);
    if (word != NULL) {
        __atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
        belaycore_futex_wake(word, 1);
    }
    errno = saved;
}

static void on_signal(int number) {
    uint64_t ticket = __atomic_add_fetch(&belaycore_signal_words[BELAYCORE_SIGNAL_TICKETS], 1, __ATOMIC_SEQ_CST);
    uint64_t *last = &belaycore_signal_words[BELAYCORE_SIGNAL_LAST + number];
    uint64_t seen = __atomic_load_n(last, __ATOMIC_RELAXED);
    /* The latest ticket stays, whichever thread's handler comes last. */
    while (seen < ticket && !__atomic_compare_exchange_n(last, &seen, ticket, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {}
    belaycore_signal_ring();
}

/* In the child of a fork nobody watches: it gets its signals as before. sigaction is allowed here. */
static void forked(void) {
    for (int number = 1; number <= BELAYCORE_SIGNALS; number++) belaycore_signal_restore(number);
}

/* The next four are called under a lock of the core's. */
void belaycore_signal_set_bell(void *word) { __atomic_store_n(&bell, (uint32_t *)word, __ATOMIC_RELEASE); }

int belaycore_signal_watch_fork(void) {
    if (watches_fork || pthread_atfork(NULL, NULL, forked) == 0) return watches_fork = 1, 0;
    return -1;
}

int belaycore_signal_install(int number) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigfillset(&action.sa_mask);
    if (sigaction(number, &action, &before[number]) != 0) return -1;
    installed[number] = 1;
    return 0;
}

void belaycore_signal_restore(int number) {
    struct sigaction now;
    if (!installed[number]) return;
    installed[number] = 0;
    /* Somebody who put a handler over ours since keeps it. */
    if (sigaction(number, NULL, &now) != 0 || (now.sa_flags & SA_SIGINFO) || now.sa_handler != on_signal) return;
    sigaction(number, &before[number], NULL);
}
