// SPDX-License-Identifier: Apache-2.0
//
// Trees of contexts and lite contexts whose deadlines are set, moved and taken away at random, in virtual time, next to
// a naive model that knows who ends when, and why. Every context is asked after every step.
#include "check.h"

enum { NODES = 48 };

struct node {
    belay_ctx ctx;
    int parent; // -1: the root
    bool open, lite, heard;
    int children;
    belay_instant own; // the deadline that is its own, if that counts at all
    int64_t timeout_code;
    belay_status status; // how it ended, and why
    int64_t code;
    atomic_int ran;
};

static struct node nodes[NODES];
static belay_runtime runtime;
static belay_instant now;

static belay_instant effective(int i) {
    belay_instant earliest = BELAY_FOREVER;
    for (; i >= 0; i = nodes[i].parent)
        if (nodes[i].own < earliest) earliest = nodes[i].own;
    return earliest;
}

static void end_below(int i, belay_status status, int64_t code) {
    if (nodes[i].status != BELAY_OK) return;
    nodes[i].status = status;
    nodes[i].code = code;
    for (int j = 0; j < NODES; j++)
        if (nodes[j].ctx.bits != 0 && nodes[j].parent == i) end_below(j, status, code);
}

// Time passes: deadlines come in their order, the outer one first where two come together.
static void model_until(belay_instant end) {
    for (;;) {
        int first = -1;
        for (int i = 0; i < NODES; i++)
            if (nodes[i].ctx.bits != 0 && nodes[i].status == BELAY_OK && nodes[i].own <= end &&
                (first < 0 || nodes[i].own < nodes[first].own))
                first = i;
        if (first < 0) break;
        int top = first; // one further out may come at the same instant
        for (int i = nodes[first].parent; i >= 0; i = nodes[i].parent)
            if (nodes[i].own == nodes[first].own) top = i;
        end_below(top, BELAY_DEADLINE_EXCEEDED, nodes[top].timeout_code);
    }
    now = end;
}

static void compare(void) {
    for (int i = 0; i < NODES; i++) {
        struct node *node = &nodes[i];
        if (!node->open) continue;
        CHECK_IS(belay_err(node->ctx), node->status);
        belay_cause cause = {0};
        CHECK_IS(belay_cause_of(node->ctx, &cause), node->status != BELAY_OK);
        CHECK_IS(cause.code, node->code);
        CHECK_IS(node->ran, node->heard && node->status != BELAY_OK);
        belay_instant deadline = BELAY_FOREVER;
        if (node->status != BELAY_OK) continue;
        belay_deadline(node->ctx, &deadline);
        CHECK_IS(deadline, effective(i));
        CHECK_IS(belay_remaining(node->ctx), deadline == BELAY_FOREVER ? BELAY_FOREVER : deadline - now);
    }
}

static void forget(int i) { // a node that is closed and has no children left is nobody's parent any more
    while (i >= 0 && !nodes[i].open && nodes[i].children == 0) {
        int parent = nodes[i].parent;
        memset(&nodes[i], 0, sizeof nodes[i]);
        if (parent >= 0) nodes[parent].children--;
        i = parent;
    }
}

static void close_node(int i) {
    check_close(nodes[i].ctx);
    if (nodes[i].status == BELAY_OK) end_below(i, BELAY_CANCELED, BELAY_CANCELED);
    CHECK_IS(nodes[i].ran, nodes[i].heard);
    nodes[i].open = false;
    forget(i);
}

static belay_duration some_time(uint64_t *random) {
    return (belay_duration)(check_random(random) % (UINT64_C(1) << (10 + check_random(random) % 26)));
}

static void make_node(uint64_t *random, int i) {
    struct node *node = &nodes[i];
    int parent = (int)(check_random(random) % (NODES + 8));
    if (parent >= NODES || !nodes[parent].open || nodes[parent].lite) parent = -1;
    belay_ctx above = parent < 0 ? belay_runtime_background(runtime) : nodes[parent].ctx;
    *node = (struct node){.parent = parent, .open = true, .own = BELAY_FOREVER, .timeout_code = BELAY_DEADLINE_EXCEEDED};
    node->lite = check_random(random) % 5 == 0;
    belay_duration timeout = check_random(random) % 3 == 0 ? BELAY_FOREVER : 1 + some_time(random);
    if (node->lite) {
        node->ctx = belay_lite(above, timeout);
    } else if (check_random(random) % 2 && timeout != BELAY_FOREVER) {
        node->timeout_code = 1000 + i;
        node->ctx = belay_with_timeout_cause(above, timeout, node->timeout_code, "");
    } else {
        node->ctx = belay_with_timeout(above, timeout);
    }
    CHECK(node->ctx.bits != 0);
    if (timeout != BELAY_FOREVER) node->own = now + timeout;
    if (parent < 0) return;
    nodes[parent].children++;
    node->status = nodes[parent].status;
    node->code = nodes[parent].code;
}

static void move_deadline(uint64_t *random, int i) {
    struct node *node = &nodes[i];
    belay_instant next = check_random(random) % 4 == 0 ? BELAY_FOREVER : now - BELAY_US(5) + some_time(random);
    belay_status status = belay_set_deadline(node->ctx, next);
    if (node->lite) {
        CHECK_IS(status, BELAY_ELEAF);
    } else if (node->status != BELAY_OK) {
        CHECK_IS(status, node->status);
    } else {
        CHECK_IS(status, BELAY_OK);
        node->own = next < effective(node->parent) ? next : BELAY_FOREVER;
        if (node->own <= now) end_below(i, BELAY_DEADLINE_EXCEEDED, node->timeout_code);
    }
}

static void reset_node(int i) {
    struct node *node = &nodes[i];
    if (node->lite || node->heard || node->children != 0) return;
    belay_ctx fresh = belay_reset(node->ctx);
    if (node->status != BELAY_OK) {
        CHECK_IS(fresh.bits, 0);
        CHECK_IS(belay_last_status(), node->status);
        return;
    }
    CHECK(fresh.bits != 0 && fresh.bits != node->ctx.bits);
    CHECK_IS(belay_err(node->ctx), BELAY_ESTALE);
    node->ctx = fresh;
    node->own = BELAY_FOREVER;
    node->timeout_code = BELAY_DEADLINE_EXCEEDED;
}

static void change_node(uint64_t *random, int i) {
    struct node *node = &nodes[i];
    switch (check_random(random) % 12) {
    case 0:
    case 1: close_node(i); break;
    case 2:
        CHECK_IS(belay_cancel_cause(node->ctx, 2000 + i, ""), BELAY_OK);
        end_below(i, BELAY_CANCELED, 2000 + i);
        break;
    case 3:
    case 4: move_deadline(random, i); break;
    case 5: reset_node(i); break;
    case 6:
        if (node->lite || node->heard) break;
        node->heard = true;
        CHECK(belay_on_done(node->ctx, check_count, &node->ran).bits != 0);
        break;
    case 7: CHECK_IS(belay_wait(node->ctx, 0), node->status == BELAY_OK ? BELAY_TIMEOUT : node->status); break;
    default: {
        belay_instant target = now + some_time(random) / 4;
        CHECK_IS(belay_runtime_poll(runtime, target), BELAY_OK);
        model_until(target);
    }
    }
}

static void step(uint64_t *random) {
    int i = (int)(check_random(random) % NODES);
    if (nodes[i].ctx.bits == 0) make_node(random, i);
    else if (nodes[i].open) change_node(random, i);
}

static void agrees_with_the_model(void) {
    uint64_t random = 0x9e3779b97f4a7c15;
    for (int round = 0; round < (int)check_scaled(400); round++) {
        belay_runtime_options options = {.size = sizeof options, .virtual_clock = true};
        runtime = belay_runtime_new(&options);
        CHECK(runtime.bits != 0);
        now = belay_runtime_now(runtime);
        memset(nodes, 0, sizeof nodes);
        for (int i = 0; i < 1500; i++) {
            step(&random);
            compare();
        }
        for (int i = 0; i < NODES; i++)
            if (nodes[i].open) close_node(i);
        CHECK_IS(belay_runtime_free(runtime, BELAY_FOREVER), BELAY_OK);
    }
}

int main(void) {
    check_close(belay_with_cancel(belay_background()));
    const struct check_test tests[] = {TEST(agrees_with_the_model)};
    RUN_TESTS(tests, "");
    return 0;
}
