/*
 * consolidate-values.c — five things that a request carries: a context for each, or one for all.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

struct identity { const char *trace, *user, *tenant, *locale; int attempt; };

static const belay_key trace = {"trace"}, user = {"user"}, tenant = {"tenant"}, locale = {"locale"},
                       attempt = {"attempt"}, identity = {"identity"};

static bool before(belay_ctx server, struct identity *from) {
    BELAY_SCOPED belay_ctx a = belay_with_value(server, &trace, (void *)from->trace, NULL);
    BELAY_SCOPED belay_ctx b = belay_with_value(a, &user, (void *)from->user, NULL);
    BELAY_SCOPED belay_ctx c = belay_with_value(b, &tenant, (void *)from->tenant, NULL);
    BELAY_SCOPED belay_ctx d = belay_with_value(c, &locale, (void *)from->locale, NULL);
    BELAY_SCOPED belay_ctx request = belay_with_value(d, &attempt, &from->attempt, NULL);

    const int *tries = belay_value(request, &attempt);
    return belay_value(request, &trace) != NULL && belay_value(request, &user) != NULL
        && belay_value(request, &tenant) != NULL && belay_value(request, &locale) != NULL && *tries == 1;
}

static bool after(belay_ctx server, struct identity *from) {
    BELAY_SCOPED belay_ctx request = belay_with_value(server, &identity, from, NULL);

    const struct identity *who = belay_value(request, &identity);
    return who->trace != NULL && who->user != NULL && who->tenant != NULL && who->locale != NULL && who->attempt == 1;
}

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static belay_ctx server;
static struct identity ada = {"4bf92f35", "ada", "7", "en", 1};

static void open_server(void) { server = belay_with_cancel(belay_background()); }
static void close_server(void) { belay_close(server); }
static inline void request(bool side(belay_ctx, struct identity *)) { bench_check(side(server, &ada), "a value is missing"); }

LEVER(open_server, close_server)
