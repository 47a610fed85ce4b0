/*
 * pooled-small-data.c — the same with 32 bytes, where a pool is hardly worth it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lever.h"

struct scratch { size_t used; char bytes[24]; };

static belay_pool scratches;   /* made when the server starts */

/* What a request wrote is forgotten, as far as the next one would read it. */
static void forget(void *item, void *self) {
    (void)self;
    ((struct scratch *)item)->used = 0;
}

static belay_pool make_pool(void) {
    belay_pool_desc desc = {.size = sizeof desc, .item_size = sizeof(struct scratch), .reset = forget};
    return belay_pool_new(&desc);
}

static bool before(belay_ctx server) {
    static const belay_key key = {"scratch"};
    BELAY_SCOPED belay_ctx request = belay_with_value(server, &key, calloc(1, sizeof(struct scratch)), free);
    struct scratch *scratch = belay_value(request, &key);
    return scratch != NULL && ++scratch->used == 1;
}

static bool after(belay_ctx server) {
    BELAY_SCOPED belay_ctx request = belay_with_data(server, scratches, NULL);
    struct scratch *scratch = belay_data(request, scratches);
    return scratch != NULL && ++scratch->used == 1;
}

/* --- Measuring ------------------------------------------------------------------------------------------------ */

static belay_ctx server;

static void open_server(void) {
    server = belay_with_cancel(belay_background());
    scratches = make_pool();
}
static void close_server(void) {
    belay_pool_free(scratches);
    belay_close(server);
}
static inline void request(bool side(belay_ctx)) { bench_check(side(server), "no scratch, or an old one"); }

LEVER(open_server, close_server)
