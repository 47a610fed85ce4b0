// SPDX-License-Identifier: Apache-2.0
//
// The first move of a deadline in a process meets a listener that comes at the same moment. From then on scopes with
// deadlines of their own must be armed: either the listener sees to it, or the move. Since there is one first move in a
// process, each try is a process.
//
//     test_first_move [--once ROUNDS]       the second is how this program calls itself; it waits so many rounds before
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 8 };

static belay_ctx parent, children[CHILDREN];
static atomic_int told, ready;
static long patience;

static void meet(void) {
    atomic_fetch_add(&ready, 1);
    while (atomic_load(&ready) < 2) {}
}
static void listen_to_all(void *argument) {
    (void)argument;
    meet();
    for (int i = 0; i < CHILDREN; i++) CHECK(belay_on_done(children[i], check_count, &told).bits != 0);
}
static void move_the_parents(void *argument) {
    (void)argument;
    meet();
    for (volatile long i = 0; i < patience; i++) {}
    CHECK_IS(belay_set_deadline(parent, BELAY_FOREVER), BELAY_OK);
}

// The parent's deadline is the earlier one, so no child is armed. Then the parent has none any more, and it is the
// children's own that count. In virtual time, so that all of it is known.
static void once(void) {
    belay_runtime_options options = {.size = sizeof options, .virtual_clock = true};
    belay_runtime runtime = belay_runtime_new(&options);
    parent = belay_with_timeout(belay_runtime_background(runtime), BELAY_SEC(1));
    for (int i = 0; i < CHILDREN; i++) children[i] = belay_with_timeout(parent, BELAY_SEC(2));
    struct check_thread listener, mover;
    check_start(&listener, listen_to_all, NULL);
    check_start(&mover, move_the_parents, NULL);
    check_join(&listener);
    check_join(&mover);
    belay_instant start = belay_runtime_now(runtime);
    CHECK_IS(belay_runtime_poll(runtime, start + BELAY_SEC(2) - 1), BELAY_OK);
    CHECK_IS(told, 0);
    CHECK_IS(belay_runtime_poll(runtime, start + BELAY_SEC(2)), BELAY_OK);
    CHECK_IS(told, CHILDREN);
    for (int i = 0; i < CHILDREN; i++) {
        check_done(children[i], BELAY_DEADLINE_EXCEEDED);
        check_close(children[i]);
    }
    check_live(parent);
    check_close(parent);
    CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
}

static char program[4096];

static void a_listener_meets_the_first_move(void) {
    long tries = check_scaled(300);
    uint64_t random = 7;
    for (long i = 0; i < tries; i++) {
        char rounds[32];
        snprintf(rounds, sizeof rounds, "%" PRIu64, check_random(&random) % 4000);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) check_become(program, "--once", rounds);
        int status = 0;
        CHECK_IS(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

int main(int count, char **arguments) {
    // The link's target, not the link: under valgrind the link leads to valgrind itself, and only the target is made good.
    CHECK(readlink("/proc/self/exe", program, sizeof program - 1) > 0);
    if (count == 3 && strcmp(arguments[1], "--once") == 0) {
        patience = atol(arguments[2]);
        once();
        return 0;
    }
    static const struct check_test tests[] = {TEST(a_listener_meets_the_first_move)};
    RUN_TESTS(tests, "");
    return 0;
}
