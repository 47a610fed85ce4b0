/*
 * prefork.c — a server that forks its workers: after fork() the child starts over, and the parent goes on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

static int worker(belay_ctx inherited) {
    CHECK(belay_err(inherited) == BELAY_EFORK, "in the child nothing of the parent's works, and nothing hangs");
    CHECK(belay_is_none(belay_with_cancel(belay_background())), "nothing can be made either");
    CHECK(belay_runtime_restart() == BELAY_OK, "until the child starts over");
    CHECK(belay_err(inherited) == BELAY_ESTALE, "what was the parent's is stale for good");
    belay_ctx own = belay_with_timeout(belay_background(), BELAY_MS(5));
    CHECK(belay_wait(own, BELAY_FOREVER) == BELAY_DEADLINE_EXCEEDED, "and the child's own contexts live and end");
    belay_close(own);
    return 0;
}

int main(void) {
    belay_ctx server = belay_with_timeout(belay_background(), BELAY_SEC(60));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int status = worker(server);
        fflush(stdout);
        execl("/bin/true", "true", (char *)NULL); /* a real worker would serve; this one ends as another program */
        _exit(status);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0, "the worker did its work");
    CHECK(!belay_is_done(server), "the parent's contexts never noticed");
    belay_close(server);
    return 0;
}
