/*
 * profile.c — where do all these contexts come from? A program that leaks some, and the profile that says so.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *     build/profile live.pprof
 *     go tool pprof -top -cum live.pprof
 *     go tool pprof -list handler live.pprof
 *
 * The same without a change to the program: BELAY_PROFILE_RATE=1000 in its environment, and a signal handler's thread
 * or an HTTP handler that calls belay_profile_write.
 */
#include <belay.h>

#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Forgets to close its context when there is nothing to do: the leak. If it were
 * inlined, its line would be found under the name of main. */
static __attribute__((noinline)) int forgetful_handler(belay_ctx server, int request) {
    belay_ctx ctx = belay_with_timeout(server, BELAY_SEC(30));
    if (request % 10 == 0) return 0;
    int answer = belay_is_done(ctx) ? 504 : 200;
    belay_close(ctx);
    return answer;
}

int main(int count, char **arguments) {
    const char *path = count > 1 ? arguments[1] : "/dev/null";
    CHECK(belay_profile_rate(1) == BELAY_OK, "from here on every derivation is remembered; a server says 1000");

    belay_ctx server = belay_with_cancel(belay_background());
    for (int request = 0; request < 500; request++) (void)forgetful_handler(server, request);

    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    CHECK(file >= 0, "there is a file for the profile");
    CHECK(belay_profile_write(BELAY_PROFILE_LIVE, file) == BELAY_OK, "who is open, and who derived it: leaks");
    struct stat about;
    CHECK(fstat(file, &about) == 0 && (!S_ISREG(about.st_mode) || about.st_size > 0), "it was written");
    close(file);

    /* The other two kinds: what is derived most often, and how contexts end. */
    int nowhere = open("/dev/null", O_WRONLY);
    CHECK(belay_profile_write(BELAY_PROFILE_DERIVATIONS, nowhere) == BELAY_OK, "all derivations by stack");
    CHECK(belay_profile_write(BELAY_PROFILE_CANCELLATIONS, nowhere) == BELAY_OK, "all ends by stack and reason");
    close(nowhere);

    CHECK(belay_profile_rate(0) == BELAY_OK, "off again; what was sampled stays");
    CHECK(belay_close(server) == BELAY_OK, "the server ends, and with it what was forgotten");
    return 0;
}
