/* Storage and thread start-up for the core. See platform.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "platform.h"

#include <signal.h>

_Alignas(128) unsigned char belaycore_region_storage[BELAYCORE_REGIONS][BELAYCORE_REGION_BYTES];
_Alignas(128) unsigned char belaycore_shard_storage[BELAYCORE_SHARDS][BELAYCORE_SHARD_BYTES];
_Alignas(128) unsigned char belaycore_global_storage[BELAYCORE_GLOBAL_BYTES];
_Alignas(128) unsigned char belaycore_standard_runtime[BELAYCORE_RUNTIME_BYTES];
void *belaycore_runtimes[BELAYCORE_RUNTIMES];
__thread void *belaycore_thread_record __attribute__((tls_model("initial-exec")));
__thread int32_t belaycore_thread_status __attribute__((tls_model("initial-exec")));

struct start {
    belaycore_entry entry;
    void *argument;
    const char *name;
};

static void *begin(void *raw) {
    struct start start = *(struct start *)raw;
    free(raw);
    prctl(PR_SET_NAME, start.name, 0, 0, 0);
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
