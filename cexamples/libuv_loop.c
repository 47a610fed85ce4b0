/*
 * libuv_loop.c — a runtime inside a libuv loop. Built when libuv is present.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>
#include <uv.h>

#include "check.h"

static belay_runtime runtime;
static int ended;

static void drive(uv_poll_t *handle, int status, int events) {
    (void)handle, (void)status, (void)events;
    belay_runtime_poll(runtime, BELAY_FOREVER);
}

static void stop_loop(void *handle) {
    ended++;
    uv_poll_stop(handle);
}

int main(void) {
    belay_runtime_options options = {.size = sizeof options, .manual = true};
    runtime = belay_runtime_new(&options);
    uv_poll_t handle;
    CHECK(uv_poll_init(uv_default_loop(), &handle, belay_runtime_fd(runtime)) == 0, "libuv watches the runtime");
    uv_poll_start(&handle, UV_READABLE, drive);

    belay_ctx visit = belay_with_timeout(belay_runtime_background(runtime), BELAY_MS(10));
    belay_after_func(visit, stop_loop, &handle);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    CHECK(ended == 1 && belay_err(visit) == BELAY_DEADLINE_EXCEEDED, "the deadline came through the loop");

    belay_close(visit);
    uv_close((uv_handle_t *)&handle, NULL);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    CHECK(belay_runtime_free(runtime, BELAY_FOREVER) == BELAY_OK, "the runtime goes");
    CHECK(uv_loop_close(uv_default_loop()) == 0, "and the loop");
    return 0;
}
