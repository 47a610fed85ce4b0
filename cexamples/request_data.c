/*
 * request_data.c — what a request needs while it is served, made once and used by one request after another.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L
#include <belay.h>

#include "check.h"

#include <string.h>

/* A kilobyte of scratch and a buffer that grows: dear to make, cheap to use again. */
struct request {
    char *body;
    size_t length, capacity;
    int queries;
    char scratch[1024];
};

static int made, dropped;   /* this program has one thread */

/* Once for each item. It is all zeroes before. */
static bool request_init(void *item, void *self) {
    struct request *request = item;
    (void)self;
    request->capacity = 4096;
    request->body = malloc(request->capacity);
    made += request->body != NULL;
    return request->body != NULL;   /* false: no item */
}

/* Each time one comes back. Keeps the buffer; forgets what the last request wrote, as far as the next would read it. */
static void request_reset(void *item, void *self) {
    struct request *request = item;
    (void)self;
    request->length = 0;
    request->queries = 0;
}

/* Once for each item, at its end. */
static void request_drop(void *item, void *self) {
    (void)self;
    free(((struct request *)item)->body);
    dropped++;
}

static belay_pool requests;

/* Deep down, with nothing but the context in hand. */
static void query(belay_ctx ctx, const char *text) {
    struct request *request = belay_data(ctx, requests);
    if (request == NULL) return;   /* not in a request: nothing to write to */
    size_t length = strlen(text);
    if (request->length + length > request->capacity) return;
    memcpy(request->body + request->length, text, length);
    request->length += length;
    request->queries++;
}

static void *serve(int number) {
    void *data;
    belay_ctx ctx = belay_with_data(belay_background(), requests, &data);
    struct request *request = data;
    if (request == NULL) return NULL;
    CHECK(request->length == 0 && request->queries == 0, "a request finds nothing of the one before");

    belay_ctx step = belay_with_timeout(ctx, BELAY_MS(100));
    query(step, "select 1; ");
    query(step, "select 2; ");
    printf("  request %d: %d queries: %.*s\n", number, request->queries, (int)request->length, request->body);
    belay_close(step);
    belay_close(ctx);   /* nobody can see the item any more: it goes back */
    return data;
}

int main(void) {
    belay_pool_desc desc = {.size = sizeof desc, .item_size = sizeof(struct request), .init = request_init,
                            .reset = request_reset, .drop = request_drop, .cap = 100, .name = "requests"};
    /* In tests: desc.flags = BELAY_POOL_CHECKED finds whoever writes to an item after it was given back. */
    requests = belay_pool_new(&desc);
    CHECK(requests.bits != 0, "a pool");

    void *first = serve(1), *second = serve(2), *third = serve(3);
    CHECK(first != NULL && first == second && second == third && made == 1, "three requests, one item, one malloc");

    /* Work that outlives its request keeps the item as long as it can see it. */
    void *data;
    belay_ctx ctx = belay_with_data(belay_background(), requests, &data);
    belay_ctx audit = belay_without_cancel(ctx);
    belay_close(ctx);
    CHECK(belay_data(audit, requests) == data, "the request is closed, its audit still sees the item");
    belay_close(audit);

    /* Without a context: get and put. */
    struct request *one = belay_pool_get(requests), *two = belay_pool_get(requests);
    CHECK(one != NULL && two != NULL && one != two && made == 2, "two at the same time are two items");
    CHECK(belay_pool_put(requests, one) == BELAY_OK, "given back");
    CHECK(belay_pool_put(requests, one) == BELAY_EINVAL, "giving back twice is an error, and harmless");

    CHECK(belay_pool_trim(requests) == BELAY_OK && dropped == 1, "a quiet moment: free items go back to the system");
    CHECK(belay_pool_free(requests) == BELAY_OK && belay_pool_get(requests) == NULL, "no more items from this pool");
    CHECK(belay_pool_put(requests, two) == BELAY_OK && dropped == made, "the one in use was dropped when it came back");
    return 0;
}
