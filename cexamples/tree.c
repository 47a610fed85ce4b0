/*
 * tree.c — a look at the live contexts: whose work is this, what is left of its time, what has ended and why.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <belay.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static const belay_key TENANT = {"tenant"};

static void show(belay_ctx ctx) {
    fflush(stdout);
    CHECK(belay_tree_write(ctx, BELAY_TREE_TEXT, STDOUT_FILENO) == BELAY_OK, "the tree is written");
}

int main(void) {
    BELAY_SCOPED belay_ctx serving = belay_with_cancel(belay_background());
    BELAY_SCOPED belay_ctx tenant = belay_with_value(serving, &TENANT, "acme", NULL);
    BELAY_SCOPED belay_ctx request = belay_with_timeout(tenant, BELAY_SEC(30));
    BELAY_SCOPED belay_ctx query = belay_lite(request, BELAY_SEC(5));
    BELAY_SCOPED belay_ctx audit = belay_without_cancel(request);

    /* Nobody listens yet, so nothing is "attached": deriving and asking do without the tree. */
    show(belay_background());

    /* A wait makes the request and what is above it join. Then it is cancelled, and what hangs on it ends with it; the audit
     * goes on. */
    CHECK(belay_wait(request, BELAY_MS(1)) == BELAY_TIMEOUT, "the request is live");
    belay_cancel_cause(request, 499, "the client hung up");
    show(serving);

    /* The same for a program (jq .contexts[].kind), and for a picture (dot -Tsvg): here into a pipe. */
    int ends[2];
    char text[8192];
    CHECK(pipe(ends) == 0, "there is a pipe");
    CHECK(belay_tree_write(serving, BELAY_TREE_JSON, ends[1]) == BELAY_OK, "and as JSON");
    close(ends[1]);
    ssize_t length = read(ends[0], text, sizeof text - 1);
    text[length > 0 ? length : 0] = '\0';
    close(ends[0]);
    fputs(text, stdout);
    CHECK(strstr(text, "\"name\":\"tenant\"") != NULL, "which has the names of keys");
    CHECK(strstr(text, "\"cause\":{\"code\":499,\"message\":\"the client hung up\"}") != NULL, "and the causes");
    return 0;
}
