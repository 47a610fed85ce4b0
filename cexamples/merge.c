/*
 * merge.c — work that two masters may end: the client that asked for it, and the server that is shutting down.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <belay.h>

#include "check.h"

#include <string.h>

static const belay_key user = {"user"};

int main(void) {
    belay_ctx server = belay_with_cancel(belay_background());
    belay_ctx client = belay_with_timeout_cause(belay_background(), BELAY_SEC(10), 504, "the client's budget is used up");
    belay_ctx request = belay_with_value(client, &user, "ada", NULL);

    belay_ctx both[] = {request, server};
    belay_ctx work = belay_merge(both, 2);
    CHECK(!belay_is_done(work), "the work is wanted for as long as both are live");
    CHECK(belay_remaining(work) <= BELAY_SEC(10), "the earlier deadline counts");
    CHECK(strcmp(belay_value(work, &user), "ada") == 0, "and the values are those of the first");

    belay_cancel_cause(server, 503, "shutting down");
    belay_cause why;
    CHECK(belay_cause_of(work, &why) && why.code == 503, "the first to end says why");
    printf("  %s\n", why.message);
    CHECK(!belay_is_done(client), "the other one is not touched");

    belay_ctx needless[] = {belay_background(), client, client};
    belay_ctx same = belay_merge(needless, 3);
    CHECK(same.bits == client.bits, "what adds nothing costs nothing: the only parent that counts is the answer itself");
    CHECK(belay_close(same) == BELAY_OK && !belay_is_done(client), "with one owner more, so closing it is right in any case");

    belay_close(work);
    belay_close(request);
    belay_close(client);
    belay_close(server);
    return 0;
}
