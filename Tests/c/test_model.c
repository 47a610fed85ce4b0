// SPDX-License-Identifier: Apache-2.0
//
// Random operations on a tree of contexts, against a naive model that ends whole subtrees at once, counts every reference
// and looks values up by walking. Deadlines are far ahead or long past, so that each answer is known.
//
//     test_model [SEED]      or BELAY_TEST_SEED=SEED: one run, with the seed that a failure has printed
#include "check.h"

#include <signal.h>
#include <unistd.h>

enum { MOST = 400, STEPS = 500, KEYS = 5 };
enum kind { CANCEL, DEADLINE, VALUE, WITHOUT_CANCEL };

struct model {
    belay_ctx ctx;
    enum kind kind;
    int parent, owners, children; // parent: -1 is the root; children: those not gone
    bool gone;
    belay_status error;
    int64_t code;
    char message[56];
    bool has_deadline_cause;
    int64_t deadline_code;
    belay_instant deadline; // BELAY_FOREVER: none
    int key;
    int value, drops, drops_expected;
    belay_reg reg;
    bool listening;
    int runs, runs_expected;
};

static struct model nodes[MOST];
static int made;
static uint64_t seed, random_state;
static const belay_key keys[KEYS] = {{"a"}, {"b"}, {"c"}, {"d"}, {"e"}};
static const belay_key *const key_table[KEYS] = {&keys[0], &keys[1], &keys[2], &keys[3], &keys[4]};

static uint64_t below(uint64_t limit) { return check_random(&random_state) % limit; }

// --- The model

static bool can_end(const struct model *node) { return node->kind == CANCEL || node->kind == DEADLINE; }

static void model_end(int index, belay_status error, int64_t code, const char *message) {
    struct model *node = &nodes[index];
    if (node->error != BELAY_OK || node->kind == WITHOUT_CANCEL) return;
    node->error = error;
    node->code = code;
    memset(node->message, 0, sizeof node->message);
    memcpy(node->message, message, strnlen(message, 55));
    if (node->listening) node->runs_expected++;
    node->listening = false;
    for (int i = index + 1; i < made; i++) {
        if (nodes[i].parent == index && !nodes[i].gone) model_end(i, error, code, message);
    }
}

// What goes with the last owner and the last child: the value, and a hold on the parent.
static void model_release(int index) {
    while (index >= 0) {
        struct model *node = &nodes[index];
        if (node->owners > 0 || node->children > 0) return;
        node->gone = true;
        if (node->kind == VALUE) node->drops_expected++;
        index = node->parent;
        if (index >= 0) nodes[index].children--;
    }
}

static void *model_value(int index, int key) {
    for (; index >= 0; index = nodes[index].parent) {
        if (nodes[index].kind == VALUE && nodes[index].key == key) return nodes[index].value ? &nodes[index] : NULL;
    }
    return NULL;
}

// --- Asking

static void on_drop(void *value) {
    if (value) ((struct model *)value)->drops++;
}
static void on_end(void *argument) { ((struct model *)argument)->runs++; }

static void check_node(int index) {
    struct model *node = &nodes[index];
    belay_instant deadline = -1;
    CHECK_IS(node->runs, node->runs_expected);
    if (node->kind == VALUE && node->value) CHECK_IS(node->drops, node->drops_expected);
    if (node->owners == 0) {
        CHECK_IS(belay_err(node->ctx), BELAY_ESTALE);
        CHECK(belay_value(node->ctx, key_table[0]) == NULL);
        return;
    }
    if (below(2)) CHECK_IS(belay_is_done(node->ctx), node->error != BELAY_OK); // in either order
    CHECK_IS(belay_err(node->ctx), node->error);
    CHECK_IS(belay_is_done(node->ctx), node->error != BELAY_OK);
    if (node->error == BELAY_OK) {
        belay_cause cause;
        CHECK(!belay_cause_of(node->ctx, &cause));
    } else {
        check_cause(node->ctx, node->code, node->message);
    }
    CHECK_IS(belay_deadline(node->ctx, &deadline), node->deadline != BELAY_FOREVER);
    if (node->deadline != BELAY_FOREVER) CHECK_IS(deadline, node->deadline);
    belay_duration left = belay_remaining(node->ctx);
    if (node->error != BELAY_OK) CHECK_IS(left, 0);
    else if (node->deadline == BELAY_FOREVER) CHECK_IS(left, BELAY_FOREVER);
    else CHECK(left > 0 && left < BELAY_FOREVER);
    for (int key = 0; key < KEYS; key++) CHECK(belay_value(node->ctx, key_table[key]) == model_value(index, key));
    CHECK_IS(belay_wait(node->ctx, 0), node->error == BELAY_OK ? BELAY_TIMEOUT : node->error);
}

// --- Operations

static belay_ctx derive_deadline(struct model *node, belay_ctx parent, belay_instant own) {
    static const char *const messages[] = {"", "too late", "a message of more than fifty-five bytes, which is to be cut"};
    node->kind = DEADLINE;
    node->has_deadline_cause = below(2);
    node->deadline_code = (int64_t)below(100) - 50;
    const char *message = messages[below(3)];
    memcpy(node->message, message, strnlen(message, 55));
    return node->has_deadline_cause ? belay_with_deadline_cause(parent, own, node->deadline_code, message)
                                    : belay_with_deadline(parent, own);
}

static void derive(void) {
    if (made == MOST) return;
    int parent = (int)below((uint64_t)made + 1) - 1;
    if (made && below(3)) parent = made - 1 - (int)below(made < 4 ? (uint64_t)made : 4); // deep rather than wide
    belay_ctx parent_ctx = parent < 0 ? (below(2) ? belay_background() : belay_todo()) : nodes[parent].ctx;
    struct model *node = &nodes[made];
    *node = (struct model){.parent = parent, .owners = 1, .key = -1};
    node->deadline = parent < 0 ? BELAY_FOREVER : nodes[parent].deadline;
    bool past = false;
    belay_instant own = BELAY_FOREVER;
    switch (below(8)) {
    case 0:
        node->kind = WITHOUT_CANCEL;
        node->deadline = BELAY_FOREVER;
        node->ctx = belay_without_cancel(parent_ctx);
        break;
    case 1:
    case 2:
        node->kind = VALUE;
        node->key = (int)below(KEYS);
        node->value = below(5) != 0;
        node->ctx = belay_with_value(parent_ctx, key_table[node->key], node->value ? node : NULL, on_drop);
        break;
    case 3: own = belay_now() + BELAY_SEC(1000000) + (belay_duration)below(BELAY_SEC(1000)); break;
    case 4:
        own = (belay_instant)below(1000);
        past = below(4) == 0;
        if (!past) own = BELAY_FOREVER;
        break;
    default:
        node->kind = CANCEL;
        node->ctx = belay_with_cancel(parent_ctx);
    }
    if (node->ctx.bits == 0 && node->kind == CANCEL) node->ctx = derive_deadline(node, parent_ctx, own);
    if (parent >= 0 && nodes[parent].owners == 0) { // stale
        CHECK(belay_is_none(node->ctx));
        CHECK_IS(belay_last_status(), BELAY_ESTALE);
        CHECK_IS(node->drops, node->kind == VALUE && node->value);
        return;
    }
    CHECK(!belay_is_none(node->ctx));
    if (own < node->deadline) node->deadline = own;
    if (parent >= 0) nodes[parent].children++;
    made++;
    if (parent >= 0 && nodes[parent].error != BELAY_OK && node->kind != WITHOUT_CANCEL) {
        model_end(made - 1, nodes[parent].error, nodes[parent].code, nodes[parent].message);
    } else if (past) {
        char message[56];
        memcpy(message, node->message, sizeof message);
        model_end(made - 1, BELAY_DEADLINE_EXCEEDED,
                  node->has_deadline_cause ? node->deadline_code : BELAY_DEADLINE_EXCEEDED,
                  node->has_deadline_cause ? message : belay_status_string(BELAY_DEADLINE_EXCEEDED));
    }
}

static void cancel(int index) {
    struct model *node = &nodes[index];
    bool with_cause = below(2);
    int64_t code = (int64_t)below(1000);
    belay_status expected = node->owners == 0 ? BELAY_ESTALE : can_end(node) ? BELAY_OK : BELAY_ENOCANCEL;
    CHECK_IS(with_cause ? belay_cancel_cause(node->ctx, code, "cause") : belay_cancel(node->ctx), expected);
    if (expected != BELAY_OK) return;
    if (with_cause) model_end(index, BELAY_CANCELED, code, "cause");
    else model_end(index, BELAY_CANCELED, BELAY_CANCELED, belay_status_string(BELAY_CANCELED));
}

static void listen(int index) {
    struct model *node = &nodes[index];
    if (node->listening || node->owners == 0) return;
    node->reg = belay_on_done(node->ctx, on_end, node);
    CHECK(node->reg.bits != 0);
    node->listening = node->error == BELAY_OK;
    if (!node->listening) node->runs_expected++;
}

static void stop(int index) {
    struct model *node = &nodes[index];
    if (node->reg.bits == 0) return;
    CHECK_IS(belay_stop(node->reg), node->listening ? BELAY_STOP_PREVENTED : BELAY_STOP_GONE);
    node->listening = false;
}

static void close_once(int index) {
    struct model *node = &nodes[index];
    if (node->owners == 0) {
        CHECK_IS(belay_close(node->ctx), BELAY_ESTALE);
        return;
    }
    if (node->owners == 1 && !can_end(node)) stop(index); // its callback would stay
    node->owners--;
    // The model first: callbacks and drops look at nothing, and so may run at any time.
    if (node->owners == 0 && can_end(node)) {
        model_end(index, BELAY_CANCELED, BELAY_CANCELED, belay_status_string(BELAY_CANCELED));
    }
    model_release(index);
    CHECK_IS(belay_close(node->ctx), BELAY_OK);
}

static void retain(int index) {
    struct model *node = &nodes[index];
    CHECK_IS(belay_retain(node->ctx), node->owners ? BELAY_OK : BELAY_ESTALE);
    if (node->owners) node->owners++;
}

static void check_counts(void) {
    for (int i = 0; i < made; i++) {
        CHECK_IS(nodes[i].runs, nodes[i].runs_expected);
        if (nodes[i].kind == VALUE && nodes[i].value) CHECK_IS(nodes[i].drops, nodes[i].drops_expected);
    }
}

static void run(void) {
    random_state = seed * 0x9e3779b97f4a7c15 + 1;
    made = 0;
    uint64_t asks = below(3) ? below(20) : 0; // how often somebody looks: often, seldom, never before the end
    for (int step = 0; step < STEPS; step++) {
        int index = made ? (int)below((uint64_t)made) : -1;
        switch (index < 0 ? 0 : below(12)) {
        case 5: cancel(index); break;
        case 6: listen(index); break;
        case 7: stop(index); break;
        case 8: retain(index); break;
        case 9:
        case 10: close_once(index); break;
        case 11: {
            uint64_t stopped = below(2);
            if (stopped) listen(index);
            break;
        }
        default: derive();
        }
        check_counts();
        if (made && below(20) < asks) check_node((int)below((uint64_t)made));
    }
    for (int i = 0; i < made; i++) check_node(i);
    for (int i = made - 1; i >= 0; i--) {
        int index = seed % 2 ? i : made - 1 - i;
        while (nodes[index].owners) close_once(index);
    }
    check_counts();
    for (int i = 0; i < made; i++) CHECK(nodes[i].gone && nodes[i].drops_expected == (nodes[i].kind == VALUE));
}

static void print_seed(int signal_number) {
    (void)signal_number;
    char text[80];
    int length = snprintf(text, sizeof text, "to see this again: test_model %" PRIu64 "\n", seed);
    if (write(STDERR_FILENO, text, (size_t)length) < 0) _exit(1);
}

static void many_runs(void) {
    for (long runs = check_scaled(10000); runs > 0; runs--, seed++) run();
}
static void one_run(void) { run(); }

int main(int argc, char **argv) {
    const char *given = argc > 1 ? argv[1] : getenv("BELAY_TEST_SEED");
    seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 100000;
    printf("the first seed is %" PRIu64 "\n", seed);
    signal(SIGABRT, print_seed);
    static const struct check_test one[] = {TEST(one_run)}, many[] = {TEST(many_runs)};
    if (given) RUN_TESTS(one, ""); else RUN_TESTS(many, "");
    return 0;
}
