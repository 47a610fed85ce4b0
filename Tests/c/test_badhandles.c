// SPDX-License-Identifier: Apache-2.0
//
// Bad input on every function of belay.h: random bits, real handles with bits flipped, stale handles, {0}, handles of
// another kind, NULL and extreme numbers. Each gets a status, none a crash, and no handle that was not meant is touched.
#include "check.h"

static const belay_key key = {"key"};
static uint64_t random_state = 42;
static uint64_t next_random(void) { return check_random(&random_state); }

static bool known(belay_status status) { return strcmp(belay_status_string(status), "unknown status") != 0; }
static bool refused(belay_status status) { return status == BELAY_EINVAL || status == BELAY_ESTALE; }
static void must_not_run(void *argument) {
    (void)argument;
    CHECK(!"a callback of a bad handle ran");
}
static void check_none(uint64_t bits) {
    CHECK_IS(bits, 0);
    CHECK(refused(belay_last_status()));
}

// Everything that takes a context, given bits that are none.
static void abuse_context(belay_ctx bad) {
    belay_instant deadline;
    belay_cause cause;
    belay_status status = belay_err(bad);
    CHECK(refused(status));
    CHECK(belay_is_done(bad));
    CHECK(belay_cause_of(bad, &cause));
    CHECK_IS(cause.code, status);
    CHECK(strcmp(cause.message, belay_status_string(status)) == 0);
    CHECK(!belay_cause_of(bad, NULL));
    CHECK(!belay_deadline(bad, &deadline) && !belay_deadline(bad, NULL));
    CHECK_IS(belay_remaining(bad), 0);
    CHECK(belay_value(bad, &key) == NULL && belay_value(bad, NULL) == NULL);
    CHECK_IS(belay_cancel(bad), status);
    CHECK_IS(belay_cancel_cause(bad, 1, "x"), status);
    CHECK_IS(belay_cancel_cause(bad, INT64_MIN, NULL), status);
    CHECK_IS(belay_retain(bad), status);
    CHECK_IS(belay_close(bad), status);
    CHECK_IS(belay_release(bad), status);
    CHECK_IS(belay_wait(bad, BELAY_FOREVER), status);
    CHECK_IS(belay_wait(bad, INT64_MIN), status);
    size_t index = 99;
    belay_ctx two[2] = {belay_background(), bad};
    CHECK_IS(belay_wait_any(two, 2, BELAY_FOREVER, &index), status);
    CHECK_IS(index, 1);
    CHECK_IS(belay_done_fd(bad), -1);
    CHECK(refused(belay_last_status()));
    check_none(belay_with_cancel(bad).bits);
    check_none(belay_with_deadline(bad, INT64_MIN).bits);
    check_none(belay_with_timeout(bad, INT64_MAX).bits);
    check_none(belay_with_deadline_cause(bad, 0, 0, NULL).bits);
    check_none(belay_with_timeout_cause(bad, BELAY_SEC(1), 1, "x").bits);
    check_none(belay_without_cancel(bad).bits);
    check_none(belay_lite(bad, BELAY_SEC(1)).bits);
    check_none(belay_reset(bad).bits);
    CHECK_IS(belay_set_deadline(bad, INT64_MIN), status);
    CHECK_IS(belay_set_deadline(bad, BELAY_FOREVER), status);
    atomic_int drops = 0;
    check_none(belay_with_value(bad, &key, &drops, check_count).bits);
    CHECK_IS(drops, 1);
    check_none(belay_after_func(bad, must_not_run, NULL).bits);
    check_none(belay_on_done(bad, must_not_run, NULL).bits);
    check_none(belay_timer_after(bad, 0, must_not_run, NULL).bits);
    check_none(belay_timer_every(bad, 1, must_not_run, NULL).bits);
}

static void abuse_registration(belay_reg bad) {
    belay_status status = belay_stop(bad);
    CHECK(status == BELAY_EINVAL || status == BELAY_STOP_GONE);
    CHECK_IS(belay_stop_wait(bad, BELAY_FOREVER), status);
    CHECK_IS(belay_stop_wait(bad, INT64_MIN), status);
}

static void abuse_timer(belay_timer bad) {
    belay_status status = belay_timer_stop(bad);
    CHECK(status == BELAY_EINVAL || status == BELAY_STOP_GONE);
    CHECK_IS(belay_timer_stop_wait(bad, BELAY_FOREVER), status);
    CHECK_IS(belay_timer_reset(bad, INT64_MIN), status);
    CHECK_IS(belay_timer_reset(bad, BELAY_FOREVER), status);
}

static void abuse(uint64_t bits) {
    abuse_context((belay_ctx){bits});
    abuse_registration((belay_reg){bits});
    abuse_timer((belay_timer){bits});
}

// Some real objects. What is done to bad handles must leave them as they are.
enum { REAL = 64 };
static belay_ctx real_ctx[REAL];
static belay_reg real_reg[REAL];
static belay_timer real_timer[REAL];
static atomic_int real_runs;

static void make_real(void) {
    atomic_store(&real_runs, 0);
    for (int i = 0; i < REAL; i++) {
        real_ctx[i] = belay_with_timeout_cause(i ? real_ctx[i / 2] : belay_background(), BELAY_SEC(9000), 1, "real");
        real_reg[i] = belay_after_func(real_ctx[i], check_count, &real_runs);
        real_timer[i] = belay_timer_after(real_ctx[i], BELAY_SEC(9000), check_count, &real_runs);
        CHECK(real_ctx[i].bits && real_reg[i].bits && real_timer[i].bits);
    }
}
static void unmake_real(void) {
    for (int i = 0; i < REAL; i++) {
        check_live(real_ctx[i]);
        CHECK_IS(belay_timer_stop(real_timer[i]), BELAY_STOP_PREVENTED);
        CHECK_IS(belay_stop(real_reg[i]), BELAY_STOP_PREVENTED);
    }
    for (int i = 0; i < REAL; i++) check_close(real_ctx[i]);
    CHECK_IS(real_runs, 0);
}
static bool is_real(uint64_t bits) {
    for (int i = 0; i < REAL; i++) {
        if (bits == real_ctx[i].bits || bits == real_reg[i].bits || bits == real_timer[i].bits) return true;
    }
    return bits == belay_background().bits || bits == belay_todo().bits;
}
static uint64_t any_real(void) {
    switch (next_random() % 4) {
    case 0: return real_reg[next_random() % REAL].bits;
    case 1: return real_timer[next_random() % REAL].bits;
    case 2: return next_random() % 2 ? belay_background().bits : belay_todo().bits;
    default: return real_ctx[next_random() % REAL].bits;
    }
}

static void random_bits(void) {
    make_real();
    for (long i = check_scaled(1000000); i > 0; i--) {
        uint64_t bits = next_random();
        if (i % 4 == 1) bits &= next_random() & next_random(); // few bits set
        if (i % 4 == 2) bits %= 4096;
        if (i % 4 == 3) bits = bits << 32 | next_random() % 4096;
        if (!is_real(bits)) abuse(bits);
    }
    abuse(0);
    abuse(UINT64_MAX);
    unmake_real();
}

static void flipped_bits(void) {
    make_real();
    for (long i = check_scaled(500000); i > 0; i--) {
        uint64_t bits = any_real();
        for (uint64_t flips = next_random() % 3 + 1; flips > 0; flips--) bits ^= 1ull << next_random() % 64;
        if (!is_real(bits)) abuse(bits);
    }
    for (int i = 0; i < REAL; i++) { // each single bit of each kind
        for (int bit = 0; bit < 64; bit++) {
            const uint64_t all[] = {real_ctx[i].bits, real_reg[i].bits, real_timer[i].bits};
            for (int k = 0; k < 3; k++) {
                if (!is_real(all[k] ^ 1ull << bit)) abuse(all[k] ^ 1ull << bit);
            }
        }
    }
    unmake_real();
}

static void other_kinds(void) {
    make_real();
    for (int i = 0; i < REAL; i++) {
        abuse_context((belay_ctx){real_reg[i].bits});
        abuse_context((belay_ctx){real_timer[i].bits});
        abuse_registration((belay_reg){real_ctx[i].bits});
        abuse_registration((belay_reg){real_timer[i].bits});
        abuse_timer((belay_timer){real_ctx[i].bits});
        abuse_timer((belay_timer){real_reg[i].bits});
    }
    abuse_registration((belay_reg){belay_background().bits});
    abuse_timer((belay_timer){belay_todo().bits});
    unmake_real();
}

static void stale_handles(void) {
    make_real();
    unmake_real();
    for (int i = 0; i < REAL; i++) {
        abuse_context(real_ctx[i]);
        CHECK_IS(belay_err(real_ctx[i]), BELAY_ESTALE);
        CHECK_IS(belay_stop(real_reg[i]), BELAY_STOP_GONE);
        CHECK_IS(belay_timer_stop(real_timer[i]), BELAY_STOP_GONE);
        abuse_registration(real_reg[i]);
        abuse_timer(real_timer[i]);
    }
}

static void null_pointers(void) {
    belay_ctx ctx = belay_with_cancel(belay_background());
    CHECK_IS(belay_wait_any(NULL, 3, BELAY_FOREVER, NULL), BELAY_EINVAL);
    CHECK_IS(belay_wait_any(&ctx, 0, BELAY_FOREVER, NULL), BELAY_EINVAL);
    CHECK_IS(belay_wait_any(&ctx, 1, 0, NULL), BELAY_TIMEOUT);
    CHECK(!belay_deadline(ctx, NULL) && !belay_cause_of(ctx, NULL) && belay_value(ctx, NULL) == NULL);
    CHECK(belay_after_func(ctx, NULL, NULL).bits == 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    CHECK(belay_on_done(ctx, NULL, &ctx).bits == 0);
    CHECK(belay_timer_after(ctx, 0, NULL, NULL).bits == 0);
    CHECK(belay_timer_every(ctx, 1, NULL, NULL).bits == 0);
    CHECK_IS(belay_last_status(), BELAY_EINVAL);
    CHECK(belay_is_none(belay_with_value(ctx, NULL, NULL, NULL)));
    static const belay_key nameless = {NULL};
    belay_ctx value = belay_with_value(ctx, &nameless, &ctx, NULL);
    CHECK(belay_value(value, &nameless) == &ctx);
    check_close(value);
    CHECK_IS(belay_cancel_cause(ctx, 5, NULL), BELAY_OK);
    check_cause(ctx, 5, "");
    check_close(ctx);

    CHECK_IS(belay_set_executor(&(belay_executor){NULL, NULL}), BELAY_EINVAL);
    CHECK_IS(belay_set_executor(NULL), BELAY_OK);
    CHECK_IS(belay_metrics_read(NULL, 0), BELAY_OK);
    CHECK_IS(belay_metrics_read(NULL, 3), BELAY_EINVAL);
    belay_sample samples[4] = {
        {"/ctx/live:contexts", 9, BELAY_EINVAL}, {NULL, 9, BELAY_OK}, {"/no/such:thing", 9, BELAY_OK},
        {"/task/live:tasks", 9, BELAY_EINVAL},
    };
    CHECK_IS(belay_metrics_read(samples, 4), BELAY_EINVAL);
    CHECK(samples[0].status == BELAY_OK && samples[0].value == 0);
    CHECK(samples[1].status == BELAY_EINVAL && samples[2].status == BELAY_EINVAL && samples[3].status == BELAY_OK);
}

static void extreme_numbers(void) {
    const int64_t numbers[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};
    belay_ctx live = belay_with_cancel(belay_background());
    for (int i = 0; i < 7; i++) {
        belay_ctx made[4] = {
            belay_with_deadline(live, numbers[i]), belay_with_timeout(live, numbers[i]),
            belay_with_deadline_cause(live, numbers[i], numbers[i], "x"),
            belay_with_timeout_cause(live, numbers[i], numbers[i], "x"),
        };
        for (int k = 0; k < 4; k++) {
            CHECK(known(belay_err(made[k])) && belay_remaining(made[k]) >= 0);
            check_close(made[k]);
        }
        if (numbers[i] <= 1) CHECK_IS(belay_wait(live, numbers[i]), BELAY_TIMEOUT);
        atomic_int runs = 0;
        belay_timer timer = belay_timer_after(live, numbers[i], check_count, &runs);
        CHECK(timer.bits != 0);
        CHECK(known(belay_timer_reset(timer, numbers[i])));
        if (belay_timer_stop(timer) != BELAY_STOP_PREVENTED) EVENTUALLY(atomic_load(&runs) == 1);
        belay_timer every = belay_timer_every(live, numbers[i], check_ignore, NULL);
        CHECK((every.bits != 0) == (numbers[i] > 0 && numbers[i] != BELAY_FOREVER));
        if (every.bits) CHECK(known(belay_timer_stop(every)));
    }
    check_close(live);
}

// Before anything was derived in this process: a root is no scope, whether it has been set up or not.
static void a_root_is_no_scope(void) {
    for (int turn = 0; turn < 2; turn++) {
        CHECK_IS(belay_reset(belay_background()).bits, 0);
        CHECK_IS(belay_last_status(), BELAY_EINVAL);
        CHECK_IS(belay_set_deadline(belay_todo(), BELAY_FOREVER), BELAY_ENOCANCEL);
        CHECK_IS(belay_cancel(belay_todo()), BELAY_ENOCANCEL);
        CHECK_IS(belay_close(belay_with_cancel(belay_background())), BELAY_OK);
    }
}

int main(void) {
    static const struct check_test tests[] = {
        TEST(a_root_is_no_scope), TEST(random_bits),   TEST(flipped_bits),    TEST(other_kinds),
        TEST(stale_handles),      TEST(null_pointers), TEST(extreme_numbers),
    };
    RUN_TESTS(tests, "");
    return 0;
}
