/*
 * values.c — what a request carries with it: values that flow down, hide each other, and are freed exactly once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <string.h>

/* A key is an address, so two libraries that both call theirs "user" do not meet. */
static const belay_key USER = {"user"};
static const belay_key TRACE = {"trace"};
static const belay_key LOCALE = {"locale"};

static int frees;   /* how often a trace was freed; this program has one thread */

static void free_trace(void *trace) {
    frees++;
    free(trace);
}

/* Deep down the call tree, with nothing but the context in hand. */
static void log_line(belay_ctx ctx, const char *text) {
    const char *user = belay_value(ctx, &USER);
    const char *trace = belay_value(ctx, &TRACE);
    printf("  [%s %s] %s\n", user ? user : "nobody", trace ? trace : "-", text);
}

static bool says(belay_ctx ctx, const belay_key *key, const char *text) {
    const char *value = belay_value(ctx, key);
    return value != NULL && strcmp(value, text) == 0;
}

int main(void) {
    char *id = strdup("trace-7");
    CHECK(id != NULL, "memory for a trace id");

    /* A string constant needs no drop function; the trace belongs to its context from this call on. */
    belay_ctx user = belay_with_value(belay_background(), &USER, "ada", NULL);
    belay_ctx trace = belay_with_value(user, &TRACE, id, free_trace);
    belay_ctx query = belay_with_timeout(trace, BELAY_SEC(60));
    log_line(query, "select 1");
    CHECK(says(query, &USER, "ada") && says(query, &TRACE, "trace-7"), "a child sees what stands above it");
    CHECK(belay_value(query, &LOCALE) == NULL, "a key that nobody set has no value");

    belay_ctx as_root = belay_with_value(query, &USER, "root", NULL);
    belay_ctx as_none = belay_with_value(query, &USER, NULL, NULL);
    log_line(as_root, "vacuum");
    CHECK(says(as_root, &USER, "root") && says(query, &USER, "ada"), "a value hides its parent's, below only");
    CHECK(belay_value(as_none, &USER) == NULL, "NULL hides it with none");
    CHECK(belay_cancel(as_root) == BELAY_ENOCANCEL, "a value context is not to be cancelled by itself");
    belay_close(as_root);
    belay_close(as_none);

    /* Work that must outlive the request keeps the values and sheds the end. */
    belay_ctx audit = belay_without_cancel(query);
    belay_close(query);
    belay_close(trace);
    belay_close(user);
    CHECK(!belay_is_done(audit), "the audit record goes on after its request was closed");
    log_line(audit, "ada asked for select 1");
    CHECK(says(audit, &TRACE, "trace-7") && frees == 0, "and still sees the trace, so it is not freed yet");
    belay_close(audit);
    CHECK(frees == 1, "the last context that could see the trace is closed: freed, once");

    CHECK(belay_is_none(belay_with_value((belay_ctx){0}, &TRACE, strdup("x"), free_trace)), "a derivation that fails");
    CHECK(frees == 2, "frees its value all the same: code that checks nothing leaks nothing");
    return 0;
}
