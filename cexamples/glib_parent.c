/*
 * glib_parent.c — a GCancellable as a parent. Built when GLib is present.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <belay.h>
#include <gio/gio.h>

#include "check.h"

/* One handler for the wrapper. GLib runs it inside g_cancellable_cancel, or at once if that has been called. */
struct handler { void (*fn)(void *arg); void *arg; };

static void call(GCancellable *cancellable, gpointer raw) {
    struct handler *handler = raw;
    (void)cancellable;
    handler->fn(handler->arg);
}

static uint64_t after_func(void *self, void (*fn)(void *arg), void *arg) {
    struct handler *handler = g_new(struct handler, 1);
    *handler = (struct handler){fn, arg};
    return g_cancellable_connect(self, G_CALLBACK(call), handler, g_free);
}

/* Not g_cancellable_disconnect: that waits for a running handler, and we may be inside it. A late call does no harm. */
static void stop(void *self, uint64_t token) { g_signal_handler_disconnect(self, token); }

static belay_status err(void *self, belay_cause *cause) {
    (void)cause;
    return g_cancellable_is_cancelled(self) ? BELAY_CANCELED : BELAY_OK;
}

static void drop(void *self) { g_object_unref(self); }

static const belay_custom_ops gcancellable = {
    .size = sizeof gcancellable, .after_func = after_func, .stop = stop, .err = err, .drop = drop};

int main(void) {
    GCancellable *cancellable = g_cancellable_new();
    belay_ctx parent = belay_custom(&gcancellable, g_object_ref(cancellable));
    belay_ctx work = belay_with_timeout(parent, BELAY_SEC(10));
    CHECK(!belay_is_done(work), "the work goes on");
    g_cancellable_cancel(cancellable);
    CHECK(belay_err(work) == BELAY_CANCELED, "GLib's cancel ended it");
    belay_close(work);
    belay_close(parent);
    CHECK(G_OBJECT(cancellable)->ref_count == 1, "the wrapper's reference went with the last context");
    g_object_unref(cancellable);
    return 0;
}
