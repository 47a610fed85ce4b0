/*
 * group.c — tasks that work on one thing, so many at a time: the first that fails calls the others off.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * A page is put together from parts, each fetched by a task of its own. The fetches are simulated: each waits on the
 * group's context for as long as its part would take to come.
 */
#include <belay.h>

#include "check.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

enum { PARTS = 8, AT_A_TIME = 3, NOT_FOUND = 404 };

typedef struct page page;
typedef struct part { page *of; belay_duration takes; bool here; } part;
struct page {
    belay_group group;
    part parts[PARTS];
    part footer;
    atomic_int at_work, most_at_work;
};

static int64_t fetch(belay_ctx ctx, void *arg) {
    part *p = arg;
    int now = atomic_fetch_add(&p->of->at_work, 1) + 1, most = atomic_load(&p->of->most_at_work);
    while (now > most && !atomic_compare_exchange_weak(&p->of->most_at_work, &most, now)) {}
    belay_status waited = belay_wait(ctx, p->takes);
    atomic_fetch_sub(&p->of->at_work, 1);
    if (waited != BELAY_TIMEOUT) return waited;   /* the group has ended: this is an echo, and hides no error */
    p->here = true;
    return 0;
}

static int64_t fetch_missing(belay_ctx ctx, void *arg) {
    (void)ctx;
    /* A number alone would do: `return NOT_FOUND;`. With a text it says more. */
    (void)belay_group_fail(((part *)arg)->of->group, NOT_FOUND, "no such picture");
    return NOT_FOUND;
}

/* A task may start another one. While the group is full belay_group_go runs it in the task's own place. */
static int64_t fetch_with_footer(belay_ctx ctx, void *arg) {
    page *of = ((part *)arg)->of;
    if (belay_group_go(of->group, fetch, &of->footer) != BELAY_OK) return BELAY_ENOMEM;
    return fetch(ctx, arg);
}

static void begin(page *p, belay_ctx parent, belay_duration takes, belay_ctx *ctx) {
    memset(p, 0, sizeof *p);
    p->group = belay_group_new(parent, AT_A_TIME, ctx);
    for (int i = 0; i < PARTS; i++) p->parts[i] = (part){p, takes, false};
    p->footer = (part){p, takes, false};
}

static void all_succeed(belay_ctx request) {
    page p;
    begin(&p, request, BELAY_MS(2), NULL);
    bool started = true;
    for (int i = 0; i < PARTS; i++) {
        started &= belay_group_go(p.group, i == 0 ? fetch_with_footer : fetch, &p.parts[i]) == BELAY_OK;
    }
    CHECK(started, "the starts wait for one another: no more than three run at a time");
    CHECK(belay_group_wait(p.group, BELAY_FOREVER, NULL) == BELAY_OK, "all parts are here");
    CHECK(p.parts[PARTS - 1].here && p.footer.here, "what the tasks wrote is visible, also what a task's task wrote");
    CHECK(atomic_load(&p.most_at_work) <= AT_A_TIME, "the limit held");
    CHECK(belay_group_free(p.group) == BELAY_OK, "freed");
}

static void one_fails(belay_ctx request) {
    page p;
    belay_ctx ctx;
    belay_cause why;
    begin(&p, request, BELAY_SEC(1000), &ctx);
    (void)belay_group_go(p.group, fetch, &p.parts[0]);
    (void)belay_group_go(p.group, fetch, &p.parts[1]);
    (void)belay_group_go(p.group, fetch_missing, &p.parts[2]);
    CHECK(belay_group_wait(p.group, BELAY_FOREVER, &why) == BELAY_EFAILED, "one part is missing: the page fails at once");
    printf("      %s (%" PRId64 ")\n", why.message, why.code);
    CHECK(why.code == NOT_FOUND, "with the error, and not with the cancellations that followed from it");
    CHECK(belay_is_done(ctx) && !belay_is_done(request), "the group's context has ended, and the request's has not");
    (void)belay_group_free(p.group);
}

static void not_now(belay_ctx request) {
    page p;
    begin(&p, request, 0, NULL);
    (void)belay_group_set_limit(p.group, 0);
    CHECK(belay_group_try_go(p.group, fetch, &p.parts[0]) == BELAY_EBUSY, "try_go does not wait for room");
    CHECK(belay_group_set_limit(p.group, BELAY_UNLIMITED) == BELAY_OK, "an idle group may get another limit");
    CHECK(belay_group_try_go(p.group, fetch, &p.parts[0]) == BELAY_OK, "and then there is room");
    /* belay_group_free does not wait for the task, and the task uses this frame. */
    CHECK(belay_group_wait(p.group, BELAY_FOREVER, NULL) == BELAY_OK, "wait, then free");
    (void)belay_group_free(p.group);
}

int main(void) {
    belay_ctx request = belay_with_timeout(belay_background(), BELAY_SEC(60));
    puts("eight parts and a footer, three at a time");
    all_succeed(request);
    puts("one of three fails");
    one_fails(request);
    puts("not now");
    not_now(request);
    belay_close(request);
    return 0;
}
