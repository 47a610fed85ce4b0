/*
 * audit.c — does this program use contexts well? It asks for three timeouts where the request's own would do.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The same without a change to the program: BELAY_AUDIT=1 in its environment writes the audit when it ends.
 */
#include <belay.h>

#include "check.h"

#include <string.h>
#include <unistd.h>

static void step(belay_ctx request, const char *what) {
    belay_ctx ctx = belay_with_timeout(request, BELAY_SEC(1)); /* but the request has 100 ms left at most */
    (void)what;
    (void)belay_wait(ctx, 0);
    belay_close(ctx);
}

static void handle(belay_ctx server) {
    belay_ctx request = belay_with_timeout(server, BELAY_MS(100));
    step(request, "cache");
    step(request, "database");
    step(request, "rpc");
    belay_close(request);
}

int main(void) {
    CHECK(belay_profile_rate(1) == BELAY_OK, "an audit sees what was sampled");
    belay_ctx server = belay_with_cancel(belay_background());
    for (int i = 0; i < 1000; i++) handle(server);

    int ends[2];
    CHECK(pipe(ends) == 0 && belay_audit_write(ends[1]) == BELAY_OK, "an audit was written, of some lines");
    close(ends[1]);
    char text[8192];
    ssize_t length = read(ends[0], text, sizeof text - 1);
    CHECK(length > 0, "and can be read");
    text[length] = 0;
    close(ends[0]);

    printf("%s\n", text);
    CHECK(strstr(text, "Deadlines that the parent's already covers") != NULL, "it found the three timeouts");
    CHECK(strstr(text, "remedy: pass the parent on") != NULL, "and says what to do");
    CHECK(belay_close(server) == BELAY_OK, "the end");
    return 0;
}
