// SPDX-License-Identifier: Apache-2.0
//
// The threads of a runtime: whoever drives it may run callbacks too, and somebody drives it all the same.
#include "check.h"

#include <dirent.h>

static void add(belay_ctx ctx, belay_duration delay, void (*callback)(void *), void *argument) {
    CHECK(belay_timer_after(ctx, delay, callback, argument).bits != 0);
}

// Each callback waits for the next timer's; the last one is the first to return.
enum { CHAIN = 12 };
static atomic_int begun, returned;
static void wait_for_the_next(void *argument) {
    int number = (int)(intptr_t)argument;
    atomic_fetch_add(&begun, 1);
    EVENTUALLY(atomic_load(&begun) > number);
    atomic_fetch_add(&returned, 1);
}
static void timers_fire_while_callbacks_wait_for_them(void) {
    for (int round = 0; round < 5; round++) { // the first finds no threads, the others find some that sleep
        atomic_store(&begun, 0);
        atomic_store(&returned, 0);
        for (int i = 1; i <= CHAIN; i++) {
            add(belay_background(), BELAY_US(300) * i, wait_for_the_next, (void *)(intptr_t)(i < CHAIN ? i : 0));
        }
        EVENTUALLY(atomic_load(&returned) == CHAIN);
    }
}

// Deadlines, timers and tasks of several threads at once, of which some block for a moment.
static atomic_int left;
static void take_a_while(void *argument) {
    check_sleep((belay_duration)(intptr_t)argument);
    atomic_fetch_sub(&left, 1);
}
static belay_duration a_while(uint64_t *random) {
    return check_random(random) % 8 == 0 ? BELAY_US(200) : 0;
}
static void run_some(belay_ctx root, uint64_t *random, int count) {
    for (int i = 0; i < count; i++) {
        belay_duration delay = (belay_duration)(check_random(random) % BELAY_MS(2));
        void *argument = (void *)(intptr_t)a_while(random);
        if (i % 3 == 0) {
            belay_ctx ctx = belay_with_timeout(root, delay);
            CHECK(belay_after_func(ctx, take_a_while, argument).bits != 0);
            belay_release(ctx); // which ends it, or has been ended by then
        } else {
            add(root, i % 3 == 1 ? delay : 0, take_a_while, argument);
        }
    }
}

static uint64_t threads_called(const char *name) {
    uint64_t count = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        char path[300], text[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL) continue; // it has ended
        if (fgets(text, sizeof text, file) != NULL) {
            text[strcspn(text, "\n")] = 0;
            count += strcmp(text, name) == 0;
        }
        fclose(file);
    }
    closedir(tasks);
    return count;
}

static belay_runtime make(const char *name) {
    belay_runtime_options options = {.size = sizeof options, .name = name};
    belay_runtime runtime = belay_runtime_new(&options);
    CHECK(runtime.bits != 0);
    return runtime;
}

static void one_of_them_drives_and_is_called_so(void) {
    belay_runtime runtime = make("crew");
    uint64_t random = 11;
    for (int round = 0; round < 20; round++) {
        atomic_store(&left, 100);
        run_some(belay_runtime_background(runtime), &random, 100);
        EVENTUALLY(atomic_load(&left) == 0);
    }
    // What has just run a callback is yet to look whether it still drives.
    EVENTUALLY(threads_called("crew-driver") == 1);
    CHECK(threads_called("crew-worker") >= 1);
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
    EVENTUALLY(threads_called("crew-driver") == 0);
    EVENTUALLY(threads_called("crew-worker") == 0);
}

static void they_go_with_their_runtime_at_any_time(void) {
    uint64_t random = 12;
    for (int round = 0, rounds = check_scaled(300); round < rounds; round++) {
        belay_runtime runtime = make("brief");
        atomic_store(&left, 30);
        run_some(belay_runtime_background(runtime), &random, 30);
        check_sleep((belay_duration)(check_random(&random) % BELAY_MS(3)));
        CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
        CHECK_IS(atomic_load(&left), 0);
    }
    EVENTUALLY(threads_called("brief-driver") == 0);
}

static void run_on_a_thread(void *argument) {
    uint64_t random = 13 + (uintptr_t)&argument % 1000;
    for (int round = 0; round < 20; round++) {
        run_some(belay_background(), &random, 30);
        check_sleep(BELAY_US(500));
    }
}
static void many_threads_give_them_work(void) {
    atomic_store(&left, 4 * 20 * 30);
    check_threads(4, run_on_a_thread, NULL);
    EVENTUALLY(atomic_load(&left) == 0);
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(timers_fire_while_callbacks_wait_for_them),
        TEST(one_of_them_drives_and_is_called_so),
        TEST(they_go_with_their_runtime_at_any_time),
        TEST(many_threads_give_them_work),
    };
    RUN_TESTS(tests, "");
    return 0;
}
