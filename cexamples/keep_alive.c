/*
 * keep_alive.c — a connection that ends when it is idle too long, and is used again for the next client.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The idle timeout is a deadline that moves with each sign of life. Between two clients the context is reset: a new
 * handle for the same memory, so that whoever still has the old one cannot touch the next client.
 */
#include <belay.h>

#include "check.h"

static const belay_duration IDLE = BELAY_SEC(60);

static belay_instant idle_deadline(belay_ctx connection) {
    belay_instant deadline = 0;
    CHECK(belay_deadline(connection, &deadline), "the connection has a deadline");
    return deadline;
}

int main(void) {
    belay_ctx server = belay_with_timeout(belay_background(), BELAY_SEC(3600));
    belay_ctx connection = belay_with_timeout_cause(server, IDLE, 408, "idle for too long");

    belay_instant first = idle_deadline(connection);
    (void)belay_wait(connection, BELAY_MS(2)); /* the client thinks … */
    CHECK(belay_set_deadline(connection, belay_now() + IDLE) == BELAY_OK, "a sign of life pushes the idle timeout back");
    CHECK(idle_deadline(connection) > first, "so it is later now");

    CHECK(belay_set_deadline(connection, BELAY_FOREVER) == BELAY_OK, "while a request runs there is no idle timeout");
    belay_instant limit = 0;
    CHECK(belay_deadline(server, &limit) && idle_deadline(connection) == limit, "but never past the server's own limit");

    belay_ctx old = connection;
    connection = belay_reset(old);
    CHECK(!belay_is_none(connection), "the client is gone: the context is made ready for the next one");
    CHECK(belay_cancel(old) == BELAY_ESTALE, "a straggler with the old handle finds nothing");
    CHECK(!belay_is_done(connection), "and does not hurt the next client");

    belay_ctx request = belay_with_cancel(connection);
    CHECK(belay_is_none(belay_reset(connection)) && belay_last_status() == BELAY_EBUSY, "with a request on it, it is in use");

    CHECK(belay_set_deadline(connection, belay_now() + BELAY_MS(3)) == BELAY_OK, "the second client falls silent");
    CHECK(belay_wait(request, BELAY_FOREVER) == BELAY_DEADLINE_EXCEEDED, "its connection ends, and the request with it");
    CHECK(belay_set_deadline(connection, belay_now() + IDLE) == BELAY_DEADLINE_EXCEEDED, "too late to move it now");
    belay_close(request);
    belay_close(connection);
    belay_close(server);
    return 0;
}
