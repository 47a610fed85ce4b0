// SPDX-License-Identifier: Apache-2.0
//
// belay.hpp: owners and views, time, merges, signals, typed values, callbacks, timers and groups that are held safely,
// pools. Built as C++11, C++20, and C++23 without exceptions.
#include <belay.hpp>

#include <array>
#include <cmath>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#define CHECK(condition) ((condition) ? (void)0 : failed(__LINE__, #condition))

static void failed(int line, const char *what) {
    std::fprintf(stderr, "test_cpp.cpp:%d: not so: %s\n", line, what);
    std::abort();
}

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

static_assert(std::is_trivially_copyable<belay::context_view>::value, "a view is a handle");
static_assert(sizeof(belay::context_view) == 8 && sizeof(belay::context) == 8, "and so is an owner");
static_assert(!std::is_copy_constructible<belay::context>::value, "an owner is not copied");
static_assert(std::is_nothrow_move_constructible<belay::context>::value, "an owner is moved");
static_assert(std::is_convertible<belay::context &, belay::context_view>::value, "an owner is a view");
static_assert(!std::is_convertible<belay::lite_context &, belay::context_view>::value, "a lite context is none");
static_assert(!std::is_copy_constructible<belay::registration>::value, "a registration is not copied");
static_assert(std::is_nothrow_move_assignable<belay::registration>::value, "a registration is moved");
static_assert(std::is_nothrow_move_assignable<belay::timer>::value, "a timer is moved");
static_assert(!std::is_copy_constructible<belay::group>::value, "a group is not copied");
static_assert(std::is_nothrow_move_assignable<belay::group>::value, "a group is moved");
static_assert(std::is_error_code_enum<belay::errc>::value, "errors are error codes");

static uint64_t measure(const char *name) {
    belay_sample sample = {name, 0, BELAY_OK};
    CHECK(belay_metrics_read(&sample, 1) == BELAY_OK);
    return sample.value;
}

template <class Condition>
static void eventually(Condition condition) {
    while (!condition()) std::this_thread::sleep_for(microseconds(200));
}

/* A callable and value that counts how many of it there are. */
static std::atomic<int> alive{0};
struct counted {
    std::atomic<int> *calls;
    explicit counted(std::atomic<int> *calls) : calls(calls) { alive++; }
    counted(const counted &other) : calls(other.calls) { alive++; }
    counted(counted &&other) noexcept : calls(other.calls) { alive++; }
    ~counted() { alive--; }
    void operator()() const { (*calls)++; }
};

// --- Owners and views ------------------------------------------------------------------------------------------------

static void owners_close() {
    belay::context_view seen, child;
    {
        belay::context ctx = belay::background().with_cancel();
        seen = ctx;
        CHECK(!ctx.done() && !ctx.error() && !ctx.is_none() && seen == ctx);
        belay::context below = ctx.with_timeout(seconds(100));
        child = below;
        CHECK(child != seen);
        belay::context moved(std::move(ctx));
        CHECK(ctx.is_none() && ctx.done() && !seen.done() && moved == seen);
        ctx = std::move(moved);
        CHECK(moved.is_none() && ctx == seen);
        belay::context &self = ctx;
        ctx = std::move(self);
        CHECK(ctx == seen && !seen.done());
    }
    CHECK(seen.error() == belay::errc::stale && child.error() == belay::errc::stale);
    CHECK(!belay::context().close());
    CHECK(belay::context_view().error() == belay::errc::invalid);
}

static void assignment_closes_what_was_there() {
    belay::context ctx = belay::background().with_cancel();
    belay::context_view first = ctx;
    ctx = belay::background().with_cancel();
    CHECK(first.done() && !ctx.done());
    CHECK(!ctx.close());
    CHECK(ctx.is_none());
}

// What is assigned may live in a value of what the assignment closes: a list whose head is taken off.
static void assignment_takes_before_it_closes() {
    struct node {
        belay::context next;
        explicit node(belay::context next) : next(std::move(next)) {}
    };
    static const belay::key<node> NODE("node");
    belay::context tail = belay::background().with_cancel();
    belay::context_view second = tail;
    belay::context head = belay::background().with_value(NODE, std::move(tail));
    head = std::move(head.value(NODE)->next);
    CHECK(head == second && !head.done());
    belay::lite_context one = head.lite(), two = head.lite(seconds(100));
    one.swap(two);
    CHECK(one.remaining() <= seconds(100) && two.remaining() == nanoseconds::max());
    two = std::move(one);
    CHECK(one.is_none() && !two.done() && two.remaining() <= seconds(100));
    belay::context other;
    other.swap(head);
    CHECK(head.is_none() && other == second);
    const std::hash<belay::context_view> hash{};
    CHECK(hash(other) == hash(second));
}

// What is derived from an owner without a name is good until the end of the statement, and after it if that owner is one
// whose close ends nothing.
static void owners_without_a_name() {
    const auto is_live = [](belay::context_view ctx) { return !ctx.done(); };
    CHECK(is_live(belay::background().with_timeout(seconds(100)).with_cancel()));
    belay::context ended = belay::background().with_timeout(seconds(100)).with_cancel();
    CHECK(ended.error() == belay::errc::canceled);
    belay::context audit = ended.without_cancel().with_timeout(seconds(100));
    CHECK(!audit.done());
    static const belay::key<const int> NUMBER("number");
    belay::context numbered = belay::background().with_value(NUMBER, 7).with_timeout(seconds(100));
    CHECK(!numbered.done() && *numbered.value(NUMBER) == 7);
}

static void owners_adopt_retain_and_release() {
    belay::context one = belay::context::adopt(belay_with_cancel(belay_background()));
    belay::context two = belay::context::retain(one);
    belay::context_view view = one;
    CHECK(!one.close() && !view.done());
    belay_ctx raw = two.release();
    CHECK(two.is_none() && !view.done());
    CHECK(belay_close(raw) == BELAY_OK && view.done());
    CHECK(belay::context::retain(view).is_none() && belay::last_error() == belay::errc::stale);
    CHECK(belay::context::retain(belay::context_view()).is_none() && belay::last_error() == belay::errc::invalid);
}

static void owners_are_reset() {
    belay::context ctx = belay::background().with_timeout(seconds(100));
    belay::context_view old = ctx;
    CHECK(!ctx.reset() && old.done() && !ctx.done() && ctx.deadline() == belay::clock::time_point::max());
    belay::context child = ctx.with_cancel();
    old = ctx;
    CHECK(ctx.reset() == belay::errc::busy && ctx == old && !ctx.done());
}

static void contexts_end_with_a_cause() {
    belay::context ctx = belay::background().with_cancel(), child = ctx.with_cancel();
    CHECK(ctx.cause().code == 0);
    CHECK(!ctx.cancel(7, "seven"));
    CHECK(child.done() && child.cause().code == 7 && std::strcmp(child.cause().message, "seven") == 0);
    CHECK(child.error() == belay::errc::canceled && child.error() == std::errc::operation_canceled);
    CHECK(belay::background().cancel() == belay::errc::no_cancel);
    belay::context late = belay::background().with_timeout(seconds(0), 5, "five");
    CHECK(late.error() == belay::errc::deadline_exceeded && late.cause().code == 5);
    belay::context free = late.without_cancel();
    CHECK(!free.done() && free.cancel() == std::errc::operation_not_supported);
    belay::context none = belay::context_view().with_cancel();
    CHECK(none.is_none() && none.done() && belay::last_error() == belay::errc::invalid);
}

static void errors_are_error_codes() {
    std::error_code error = belay::errc::deadline_exceeded;
    CHECK(error.category() == belay::category() && std::string(error.category().name()) == "belay");
    CHECK(error.message() == "deadline exceeded" && error == std::errc::timed_out);
    CHECK(!belay::make_error_code(BELAY_OK));
    CHECK(belay::make_error_code(BELAY_ENOMEM) == std::errc::not_enough_memory);
    CHECK(belay::make_error_code(BELAY_EFAILED) == belay::errc::failed);
    CHECK(belay::make_error_code(BELAY_STOP_GONE).default_error_condition().category() == belay::category());
#if defined(__cpp_exceptions)
    belay::context ctx = belay::background().with_cancel();
    ctx.throw_if_done();
    (void)ctx.cancel(1, "over");
    bool thrown = false;
    try {
        ctx.throw_if_done();
    } catch (const std::system_error &caught) {
        thrown = caught.code() == belay::errc::canceled && std::strstr(caught.what(), "over") != nullptr;
    }
    CHECK(thrown);
#endif
}

// --- Time ------------------------------------------------------------------------------------------------------------

static void durations_are_rounded_up() {
    using belay::nanoseconds_of;
    using picoseconds = std::chrono::duration<int64_t, std::pico>;
    using real_seconds = std::chrono::duration<double>;
    CHECK(nanoseconds_of(seconds(3)) == BELAY_SEC(3));
    CHECK(nanoseconds_of(nanoseconds(-3)) == -3);
    CHECK(nanoseconds_of(nanoseconds::max()) == BELAY_FOREVER);
    CHECK(nanoseconds_of(nanoseconds::min()) == INT64_MIN);
    CHECK(nanoseconds_of(nanoseconds::max() - nanoseconds(1)) == INT64_MAX - 1);
    CHECK(nanoseconds_of(hours::max()) == BELAY_FOREVER);
    CHECK(nanoseconds_of(hours(2562047)) == INT64_C(2562047) * 3600 * 1000000000);
    CHECK(nanoseconds_of(hours(2562048)) == BELAY_FOREVER);
    CHECK(nanoseconds_of(hours(-2562048)) == INT64_MIN);
    CHECK(nanoseconds_of(picoseconds(1)) == 1 && nanoseconds_of(picoseconds(1000)) == 1);
    CHECK(nanoseconds_of(picoseconds(1001)) == 2 && nanoseconds_of(picoseconds(-1)) == 0);
    CHECK(nanoseconds_of(picoseconds(-1001)) == -1);
    CHECK(nanoseconds_of(std::chrono::duration<uint64_t, std::milli>(UINT64_MAX - 1)) == BELAY_FOREVER);
    CHECK(nanoseconds_of(std::chrono::duration<uint8_t>(200)) == BELAY_SEC(200));
    CHECK(nanoseconds_of(std::chrono::duration<int, std::ratio<1, 3>>(1)) == 333333334);
    CHECK(nanoseconds_of(real_seconds(1.5)) == 1500000000);
    CHECK(nanoseconds_of(real_seconds(1e-12)) == 1);
    CHECK(nanoseconds_of(real_seconds(-1e-12)) == 0);
    CHECK(nanoseconds_of(real_seconds(1e300)) == BELAY_FOREVER && nanoseconds_of(real_seconds(-1e300)) == INT64_MIN);
    CHECK(nanoseconds_of(real_seconds(INFINITY)) == BELAY_FOREVER);
    CHECK(nanoseconds_of(real_seconds(NAN)) == INT64_MIN);
}

// Counts of clocks whose ticks are no whole number of nanoseconds, up to 292 years; and numbers of any size.
static void durations_of_odd_periods() {
    using belay::nanoseconds_of;
    using pc_ticks = std::chrono::duration<int64_t, std::ratio<1, 1193182>>;
    using crystal_ticks = std::chrono::duration<int64_t, std::ratio<1, 32768>>;
    using frames = std::chrono::duration<int64_t, std::ratio<1001, 30000>>;
    using primes = std::chrono::duration<int64_t, std::ratio<1, 1000000007>>;
    const int64_t year = 365 * 86400;
    CHECK(nanoseconds_of(pc_ticks(5 * 3600 * INT64_C(1193182))) == BELAY_SEC(5 * 3600));
    CHECK(nanoseconds_of(pc_ticks(-5 * 3600 * INT64_C(1193182))) == -BELAY_SEC(5 * 3600));
    CHECK(nanoseconds_of(pc_ticks(1)) == 839 && nanoseconds_of(pc_ticks(-1)) == -838);
    CHECK(nanoseconds_of(crystal_ticks(290 * year * 32768)) == BELAY_SEC(290 * year));
    CHECK(nanoseconds_of(crystal_ticks(293 * year * 32768)) == BELAY_FOREVER);
    CHECK(nanoseconds_of(crystal_ticks(-293 * year * 32768)) == INT64_MIN);
    CHECK(nanoseconds_of(frames(86400 * INT64_C(30000))) == BELAY_SEC(86400 * 1001));
    CHECK(nanoseconds_of(frames(1)) == 33366667);
    CHECK(nanoseconds_of(primes(INT64_C(10000000071))) == BELAY_SEC(10) + 1);
    CHECK(nanoseconds_of(std::chrono::duration<int, std::tera>(1)) == BELAY_FOREVER);
    CHECK(nanoseconds_of(std::chrono::duration<int, std::tera>(-1)) == INT64_MIN);
    CHECK(nanoseconds_of(std::chrono::duration<int, std::tera>(0)) == 0);
    CHECK(nanoseconds_of(std::chrono::duration<double, std::tera>(1e-12)) == BELAY_SEC(1));
    CHECK(nanoseconds_of(std::chrono::duration<double, std::milli>(1.5)) == 1500000);
    using nearly_seconds = std::chrono::duration<int64_t, std::ratio<INT64_MAX, INT64_MAX - 1>>;
    CHECK(nanoseconds_of(nearly_seconds(3)) == BELAY_SEC(3) + 1);
    CHECK(nanoseconds_of(std::chrono::duration<uint64_t, std::pico>(UINT64_MAX - 1)) == INT64_C(18446744073709552));
    CHECK(nanoseconds_of(std::chrono::duration<uint64_t, std::micro>(UINT64_MAX - 1)) == BELAY_FOREVER);
    __extension__ typedef __int128 huge;
    const huge beyond = (static_cast<huge>(1) << 64) + 5;
    CHECK(nanoseconds_of(std::chrono::duration<huge>(beyond)) == BELAY_FOREVER);
    CHECK(nanoseconds_of(std::chrono::duration<huge>(-beyond)) == INT64_MIN);
    CHECK(nanoseconds_of(std::chrono::duration<huge>(5)) == BELAY_SEC(5));
    CHECK(nanoseconds_of(std::chrono::duration<huge, std::atto>(beyond)) == INT64_C(18446744074));
    CHECK(nanoseconds_of(std::chrono::duration<huge>(0)) == 0);
}

static void steady_clock_is_our_clock() {
    belay_instant before = belay_now(), now = belay::instant_of(belay::clock::now()), after = belay_now();
    CHECK(before <= now && now <= after);
    CHECK(belay::time_point_of(now) <= belay::clock::now());
    CHECK(belay::background().now() >= belay::time_point_of(after));
    CHECK(belay::instant_of(belay::time_point_of(now)) == now);
    CHECK(belay::instant_of(belay::clock::time_point::max()) == BELAY_FOREVER);
    const belay::clock::time_point deadline = belay::clock::now() + seconds(100);
    belay::context ctx = belay::background().with_deadline(deadline);
    CHECK(ctx.deadline() == deadline && ctx.remaining() > seconds(50) && ctx.remaining() <= seconds(100));
    CHECK(belay::background().remaining() == nanoseconds::max());
    CHECK(belay::background().deadline() == belay::clock::time_point::max());
    belay::context late = belay::background().with_deadline(belay::clock::now(), 3, "three");
    CHECK(late.done() && late.cause().code == 3 && late.remaining() == nanoseconds(0));
}

static void deadlines_move() {
    belay::context ctx = belay::background().with_timeout(seconds(100));
    const belay::clock::time_point later = belay::clock::now() + seconds(500);
    CHECK(!ctx.set_deadline(later) && ctx.deadline() == later);
    CHECK(!ctx.set_timeout(seconds(10)) && ctx.remaining() <= seconds(10));
    CHECK(!ctx.set_timeout(hours::max()) && ctx.remaining() == nanoseconds::max());
    CHECK(!ctx.set_timeout(seconds(-1)) && ctx.error() == belay::errc::deadline_exceeded);
    CHECK(ctx.set_timeout(seconds(1)) == belay::errc::deadline_exceeded);
    CHECK(belay::background().set_timeout(seconds(1)) == belay::errc::no_cancel);
}

static void deadlines_are_the_runtimes() {
    belay_runtime_options options = belay_runtime_options();
    options.size = sizeof options;
    options.virtual_clock = true;
    const belay_runtime runtime = belay_runtime_new(&options);
    CHECK(runtime.bits != 0);
    {
        belay::context_view root(belay_runtime_background(runtime));
        const belay::clock::time_point now = belay::time_point_of(belay_runtime_now(runtime));
        CHECK(root.now() == now);
        belay::context one = root.with_timeout(seconds(100)), two = root.with_deadline(now + seconds(30));
        CHECK(one.deadline() == now + seconds(100) && two.deadline() == now + seconds(30));
        CHECK(!one.set_timeout(seconds(10)) && one.remaining() == seconds(10) && one.deadline() == now + seconds(10));
        CHECK(!two.set_deadline(now + seconds(20)) && two.remaining() == seconds(20));
        CHECK(!two.set_timeout(hours::max()) && two.remaining() == nanoseconds::max());
        CHECK(!one.set_timeout(seconds(0)) && one.error() == belay::errc::deadline_exceeded);
    }
    CHECK(belay_runtime_free(runtime, BELAY_FOREVER) == BELAY_OK);
}

static void waiting() {
    belay::context ctx = belay::background().with_timeout(milliseconds(5));
    CHECK(ctx.wait_for(seconds(0)) == belay::errc::timeout);
    CHECK(ctx.done_fd() >= 0);
    CHECK(ctx.wait() == belay::errc::deadline_exceeded);
    CHECK(ctx.wait_for(hours(1)) == belay::errc::deadline_exceeded);
    CHECK(belay::context_view().done_fd() == -1);
}

static void lite_contexts() {
    belay::context ctx = belay::background().with_cancel();
    belay::lite_context one = ctx.lite(), two = ctx.lite(seconds(0));
    CHECK(!one.done() && one.remaining() == nanoseconds::max() && two.error() == belay::errc::deadline_exceeded);
    belay_ctx raw = one.raw();
    belay::lite_context moved(std::move(one));
    CHECK(one.is_none() && !moved.done() && moved.raw().bits == raw.bits);
    moved = ctx.lite(seconds(9));
    CHECK(belay_err(raw) == BELAY_ESTALE && !moved.done());
    (void)ctx.cancel(4, "four");
    CHECK(moved.done() && moved.cause().code == 4 && moved.wait() == belay::errc::canceled);
    CHECK(!moved.close() && moved.is_none() && !moved.close());
}

static void local_contexts() {
    static_assert(!std::is_copy_constructible<belay::local_context>::value, "its address is what it is");
    static_assert(!std::is_move_constructible<belay::local_context>::value, "its address is what it is");
    belay::context ctx = belay::background().with_cancel();
    belay::local_context one(ctx), two(ctx, seconds(0)), three(ctx, seconds(9)), none((belay::context_view()));
    CHECK(!one.done() && one.remaining() == nanoseconds::max() && two.error() == belay::errc::deadline_exceeded);
    CHECK(none.done() && none.error() == belay::errc::invalid && none.cancel() == belay::errc::invalid);
    CHECK(one.wait_for(nanoseconds(1)) == belay::errc::timeout && three.remaining() <= seconds(9));
    CHECK(!three.cancel() && three.done() && !ctx.done());
    (void)ctx.cancel(4, "four");
    CHECK(!one.cancel(5, "five") && one.cause().code == 4 && one.wait() == belay::errc::canceled);
}

// --- Several contexts, and signals -----------------------------------------------------------------------------------

static const belay::key<const int> MASTER("master");

static void merges_end_with_the_first() {
    belay::context server = belay::background().with_cancel(), client = belay::background().with_timeout(seconds(100));
    belay::context one = client.with_value(MASTER, 1), two = server.with_value(MASTER, 2);
    belay::context work = belay::merge({one, two});
    CHECK(!work.done() && work.remaining() <= seconds(100) && *work.value(MASTER) == 1);
    const std::vector<belay::context_view> views = {two, one};
    belay::context other_way = belay::merge(views);
    CHECK(*other_way.value(MASTER) == 2 && other_way != work);
    (void)server.cancel(503, "shutting down");
    CHECK(work.done() && work.cause().code == 503 && other_way.done() && !client.done());

    // What adds nothing: the answer is the parent, with one more owner.
    const std::array<belay::context_view, 3> needless = {{belay::background(), client, client}};
    {
        belay::context same = belay::merge(needless);
        CHECK(same == client);
    }
    CHECK(!client.done());
    CHECK(belay::merge({}).is_none() && belay::last_error() == belay::errc::invalid);
    CHECK(belay::merge({client, belay::context_view()}).is_none() && belay::last_error() == belay::errc::invalid);
    CHECK(belay::merge(std::vector<belay::context_view>()).is_none());
    belay::context_view gone = belay::background().with_cancel();
    CHECK(belay::merge({client, gone}).is_none() && belay::last_error() == belay::errc::stale);
}

static void the_first_of_many_is_waited_for() {
    std::vector<belay::context> owners;
    for (int i = 0; i < 3; i++) owners.push_back(belay::background().with_cancel());
    std::size_t index = 7;
    CHECK(belay::wait_any_for(seconds(0), owners, &index) == belay::errc::timeout && index == 7);
    CHECK(belay::wait_any_for(nanoseconds(1), {owners[0], owners[1]}, &index) == belay::errc::timeout && index == 7);
    std::thread canceler([&] { (void)owners[2].cancel(); });
    CHECK(belay::wait_any(owners, &index) == belay::errc::canceled && index == 2);
    CHECK(belay::wait_any({owners[2], owners[0]}, &index) == belay::errc::canceled && index == 0);
    canceler.join();
    CHECK(belay::wait_any({}) == belay::errc::invalid);
    CHECK(belay::wait_any({owners[0], belay::context_view()}, &index) == belay::errc::invalid && index == 1);
}

static void signals_end_contexts() {
    belay::context serving = belay::background().with_cancel();
    {
        belay::context accepting = serving.with_signals({SIGTERM, SIGUSR1});
        const std::vector<int> more = {SIGUSR2};
        belay::context second = serving.with_signals(more);
        belay::context below = accepting.with_cancel();
        CHECK(!accepting.done() && accepting.signal() == 0);
        CHECK(std::raise(SIGUSR1) == 0);
        CHECK(accepting.wait() == belay::errc::canceled && accepting.signal() == SIGUSR1 && below.signal() == SIGUSR1);
        CHECK(accepting.cause().code == SIGUSR1 && !second.done() && !serving.done());
    }
    belay::context by_hand = serving.with_signals({});
    CHECK(belay_cancel(by_hand.raw()) == BELAY_OK && by_hand.done() && by_hand.signal() == 0);
    CHECK(serving.with_signals({SIGKILL}).is_none() && belay::last_error() == belay::errc::invalid);
    CHECK(belay::context_view().with_signals({SIGTERM}).is_none() && belay::context_view().signal() == 0);
}

// --- Values ----------------------------------------------------------------------------------------------------------

static const belay::key<const std::string> NAME("name");
static const belay::key<counted> COUNTED("counted");
static const belay::key<std::atomic<int>> COUNTER("counter");

static void values_have_types_and_are_destroyed_once() {
    std::atomic<int> calls{0};
    {
        belay::context child;
        {
            belay::context named = belay::background().with_value(NAME, "ada");
            belay::context with = named.with_value(COUNTED, counted(&calls));
            CHECK(*with.value(NAME) == "ada" && named.value(COUNTED) == nullptr && alive == 1);
            belay::context hidden = with.with_value(COUNTED, std::unique_ptr<counted>());
            CHECK(hidden.value(COUNTED) == nullptr);
            belay::context nameless = with.with_value(NAME, nullptr), neither = nameless.with_value(COUNTED, nullptr);
            CHECK(!nameless.is_none() && nameless.value(NAME) == nullptr && nameless.value(COUNTED) != nullptr);
            CHECK(!neither.is_none() && neither.value(COUNTED) == nullptr && *with.value(NAME) == "ada");
            child = with.with_cancel();
        }
        CHECK(alive == 1 && child.value(COUNTED)->calls == &calls && *child.value(NAME) == "ada");
        belay::context counting = child.with_reference(COUNTER, calls);
        ++*counting.value(COUNTER);
        CHECK(calls == 1);
    }
    CHECK(alive == 0);
    CHECK(belay::context_view().with_value(COUNTED, counted(&calls)).is_none());
    CHECK(alive == 0);
#if defined(__cpp_exceptions)
    struct thrower {
        thrower() = default;
        thrower(const thrower &) { throw 7; }
    };
    static const belay::key<thrower> THROWER("thrower");
    bool thrown = false;
    try {
        belay::context never = belay::background().with_value(THROWER, static_cast<const thrower &>(thrower()));
    } catch (int) {
        thrown = true;
    }
    CHECK(thrown);
#endif
}

// A value that is handed over or referred to may be less const than the key says, or derived from what it says; and
// nothing is made a bool of that only can be asked like one.
static void values_that_are_there() {
    struct base {
        virtual ~base() = default;
        virtual int number() const = 0;
    };
    struct derived : base {
        std::atomic<int> *gone;
        explicit derived(std::atomic<int> *gone) : gone(gone) {}
        ~derived() override { ++*gone; }
        int number() const override { return 7; }
    };
    static const belay::key<const bool> FLAG("flag");
    static const belay::key<const base> BASE("base");
    static const belay::key<std::unique_ptr<int>> BOX("box");
    belay::context flagged = belay::background().with_value(FLAG, std::unique_ptr<bool>(new bool(false)));
    CHECK(!*flagged.value(FLAG));
    belay::context named = flagged.with_value(NAME, std::unique_ptr<std::string>(new std::string("ada")));
    CHECK(*named.value(NAME) == "ada");
    std::string mine = "grace";
    belay::context renamed = named.with_reference(NAME, mine);
    CHECK(renamed.value(NAME) == &mine);
    std::atomic<int> gone{0};
    {
        derived here(&gone);
        belay::context one = renamed.with_value(BASE, std::unique_ptr<derived>(new derived(&gone)));
        belay::context two = one.with_reference(BASE, here);
        CHECK(one.value(BASE)->number() == 7 && two.value(BASE) == &here);
    }
    CHECK(gone == 2);
    belay::context boxed = renamed.with_value(BOX, std::unique_ptr<int>(new int(3))); // the pointer is the value
    CHECK(**boxed.value(BOX) == 3);
}

/* A type whose memory comes from functions of its own. */
static std::atomic<int> own_memory{0};
struct self_made {
    int number = 5;
    static void *operator new(std::size_t size) { return own_memory++, ::operator new(size); }
    static void operator delete(void *at) { own_memory--, ::operator delete(at); }
    void operator()() const {}
};

static void values_with_memory_of_their_own() {
    static const belay::key<self_made> SELF_MADE("self-made");
    {
        belay::context copied = belay::background().with_value(SELF_MADE, self_made());
        CHECK(copied.value(SELF_MADE)->number == 5 && own_memory == 0);
        belay::context owned = copied.with_value(SELF_MADE, std::unique_ptr<self_made>(new self_made()));
        CHECK(owned.value(SELF_MADE)->number == 5 && own_memory == 1);
        belay::registration called = owned.on_done(self_made());
        CHECK(called && called.stop() == belay::stop_result::prevented);
    }
    CHECK(own_memory == 0);
}

// --- No memory -------------------------------------------------------------------------------------------------------

/* What the nothrow operator new answers to this thread. The thread sanitizer brings one of its own. */
static thread_local bool has_memory = true;
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_ITS_OWN_NEW 1
#endif
#endif
#ifndef HAS_ITS_OWN_NEW
#define HAS_ITS_OWN_NEW 0
void *operator new(std::size_t size, const std::nothrow_t &) noexcept {
    return has_memory ? ::operator new(size) : nullptr;
}
#endif

static void what_could_not_be_made_says_why() {
    if (HAS_ITS_OWN_NEW) {
        std::printf("  NOT TESTED: memory that runs out, with a sanitizer's operator new\n");
        return;
    }
    belay::context ctx = belay::background().with_cancel();
    const auto leaves_no_memory = [] {
        const bool leaves = belay::last_error() == belay::errc::no_memory;
        CHECK(belay::context_view().with_cancel().is_none() && belay::last_error() == belay::errc::invalid);
        return leaves;
    };
    has_memory = false;
    CHECK(ctx.with_value(COUNTER, 3).is_none() && leaves_no_memory());
    CHECK(!ctx.on_done([] {}) && leaves_no_memory());
    CHECK(!ctx.after(seconds(100), [] {}) && leaves_no_memory());
    CHECK(!belay::group(ctx) && leaves_no_memory());
    CHECK(!belay::pool<int>([](int &) {}) && leaves_no_memory());
    has_memory = true;
    belay::group group(ctx);
    has_memory = false;
    CHECK(group.go([] {}) == belay::errc::no_memory);
    has_memory = true;
    CHECK(!group.wait());
}

// --- Callbacks -------------------------------------------------------------------------------------------------------

static void callbacks_run_once_and_are_destroyed() {
    std::atomic<int> calls{0};
    {
        belay::context ctx = belay::background().with_cancel();
        belay::registration inside = ctx.on_done(counted(&calls)), aside = ctx.after_func(counted(&calls));
        belay::registration stopped = ctx.on_done(counted(&calls)), dropped = ctx.after_func(counted(&calls));
        CHECK(inside && aside && alive == 4);
        CHECK(stopped.stop() == belay::stop_result::prevented && alive == 3 && !stopped);
        CHECK(stopped.stop() == belay::stop_result::gone);
        dropped = belay::registration();
        CHECK(alive == 2);
        ctx.on_done(counted(&calls)).detach();
        CHECK(!ctx.cancel());
        CHECK(aside.stop_wait() != belay::stop_result::running && alive == 0 && calls >= 2);
        belay::registration late = ctx.on_done(counted(&calls));
        CHECK(alive == 0 && late.stop() == belay::stop_result::gone);
    }
    belay::context_view none;
    belay::registration refused = none.on_done(counted(&calls));
    CHECK(!refused && alive == 0 && belay::last_error() == belay::errc::invalid);
    CHECK(refused.stop() == belay::stop_result::gone && refused.stop_wait() == belay::stop_result::gone);
}

static void destructors_wait_for_running_callbacks() {
    std::atomic<int> stage{0};
    belay::context ctx = belay::background().with_cancel();
    {
        belay::registration told = ctx.after_func([&stage] {
            stage = 1;
            std::this_thread::sleep_for(milliseconds(10));
            stage = 2;
        });
        (void)ctx.cancel();
        eventually([&] { return stage >= 1; });
        CHECK(told.stop_wait_for(seconds(0)) != belay::stop_result::prevented);
    }
    CHECK(stage == 2);
}

static void a_callback_may_drop_its_own_registration() {
    belay::context ctx = belay::background().with_cancel();
    belay::registration told;
    std::atomic<int> calls{0};
    told = ctx.on_done([&] {
        CHECK(told.stop() == belay::stop_result::running);
        told = belay::registration();
        calls++;
    });
    CHECK(!ctx.cancel());
    CHECK(calls == 1 && !told);
}

/* A result that is not to be passed over; callbacks' are. */
struct BELAY_NODISCARD demanding {};

static void callables_of_all_kinds() {
    static std::atomic<int> calls{0};
    belay::context ctx = belay::background().with_cancel();
    struct here { static void call() { calls++; } };
    std::function<void()> function = [] { calls++; };
    std::unique_ptr<int> only(new int(1));
    struct mover {
        std::unique_ptr<int> held;
        void operator()() { calls += *held; }
    };
    belay::registration all[] = {
        ctx.on_done(here::call), ctx.on_done(&here::call), ctx.on_done(function), ctx.on_done(mover{std::move(only)}),
    };
    belay::registration asking = ctx.on_done([] { return demanding(); });
    belay::timer ticking = ctx.after(seconds(100), [] { return demanding(); });
    CHECK(!ctx.cancel());
    CHECK(calls == 4 && all[0] && asking && ticking);
    CHECK(belay::pool<int>([](int &) { return demanding(); }).get());
}

// --- Timers ----------------------------------------------------------------------------------------------------------

static void timers_run_and_are_destroyed() {
    std::atomic<int> calls{0};
    belay::context ctx = belay::background().with_cancel();
    {
        const belay::clock::time_point start = belay::clock::now();
        belay::timer once = ctx.after(milliseconds(2), counted(&calls));
        belay::timer never = ctx.after(hours(1), counted(&calls));
        CHECK(once && alive == 2);
        eventually([&] { return calls == 1; });
        CHECK(belay::clock::now() - start >= milliseconds(2));
        CHECK(once.stop_wait() == belay::stop_result::gone && !once.reset(seconds(1)));
        CHECK(never.reset(hours(2)) && never.stop() == belay::stop_result::prevented);
        belay::timer often = ctx.every(microseconds(500), counted(&calls));
        eventually([&] { return calls >= 4; });
        belay::timer moved = std::move(often);
        CHECK(!often && moved);
        moved = belay::timer(); // stops, and waits
        const int last = calls;
        std::this_thread::sleep_for(milliseconds(3));
        CHECK(calls == last && alive == 2);
    }
    CHECK(alive == 0);
    belay::timer refused = ctx.every(seconds(0), counted(&calls));
    CHECK(!refused && alive == 0 && refused.stop() == belay::stop_result::gone && !refused.reset(seconds(1)));
}

static void destructors_wait_for_running_timers() {
    for (int stopped_before = 0; stopped_before < 2; stopped_before++) {
        std::atomic<int> stage{0};
        belay::context ctx = belay::background().with_cancel();
        {
            belay::timer often = ctx.every(microseconds(100), [&stage] {
                stage = 1;
                std::this_thread::sleep_for(milliseconds(10));
                stage = 2;
            });
            eventually([&] { return stage == 1; });
            if (stopped_before) CHECK(often.stop() != belay::stop_result::prevented || stage == 2);
        }
        CHECK(stage == 2);
    }
}

static void a_timer_may_drop_itself() {
    std::atomic<int> calls{0}, done{0};
    belay::context ctx = belay::background().with_cancel();
    std::mutex lock;
    std::unique_ptr<belay::timer> own(new belay::timer);
    {
        std::lock_guard<std::mutex> guard(lock);
        counted tracked(&calls);
        *own = ctx.every(microseconds(100), [&lock, &own, &done, tracked] {
            std::lock_guard<std::mutex> inside(lock);
            tracked();
            CHECK(own->stop() == belay::stop_result::running);
            own.reset(); // the timer goes while it runs
            CHECK(alive >= 1);
            done = 1;
        });
    }
    eventually([&] { return done == 1 && alive == 0; });
    CHECK(calls == 1);
}

static void timers_end_after_their_context() {
    std::atomic<int> calls{0};
    belay::timer often;
    {
        belay::context ctx = belay::background().with_cancel();
        often = ctx.every(microseconds(200), counted(&calls));
        eventually([&] { return calls >= 1; });
    }
    eventually([&] { return often.stop() == belay::stop_result::gone; });
    often = belay::timer();
    CHECK(alive == 0);
}

// --- Groups ----------------------------------------------------------------------------------------------------------

static void groups_run_their_tasks() {
    static std::atomic<int> calls{0};
    belay::context request = belay::background().with_cancel();
    std::atomic<int> now{0}, most{0};
    belay::group group(request, 2);
    CHECK(group && !group.ctx().done() && group.ctx() != request);
    for (int i = 0; i < 8; i++) {
        CHECK(!group.go([&](belay::context_view ctx) {
            CHECK(ctx == group.ctx());
            const int at_work = ++now;
            for (int seen = most; at_work > seen && !most.compare_exchange_weak(seen, at_work);) {}
            std::this_thread::sleep_for(microseconds(500));
            now--;
            calls++;
        }));
    }
    CHECK(!group.wait() && calls == 8 && most <= 2 && group.ctx().done() && !request.done());

    // All kinds of callables, with the context and without; a callable is called as what it is.
    belay::group kinds(request);
    struct here { static void call() { calls++; } };
    struct mover {
        std::unique_ptr<int> held;
        int operator()() { return *held; }
    };
    struct either {
        std::atomic<int> *with, *without;
        void operator()(belay::context_view) const { ++*with; }
        void operator()() const { ++*without; }
    };
    std::atomic<int> with{0}, without{0};
    std::function<std::error_code(belay::context_view)> function = [](belay::context_view ctx) { return ctx.error(); };
    CHECK(!kinds.go(here::call) && !kinds.go(&here::call) && !kinds.go(function));
    CHECK(!kinds.go(mover{std::unique_ptr<int>(new int(0))}) && !kinds.try_go([] { return BELAY_OK; }));
    CHECK(!kinds.go(either{&with, &without}) && !kinds.go([] { return std::error_code(); }));
    CHECK(!kinds.wait() && calls == 10 && with == 1 && without == 0);
}

// Each callable is destroyed once: after its call, before a wait returns, or when it is refused.
static void callables_of_groups_are_destroyed_once() {
    std::atomic<int> calls{0};
    belay::group group(belay::background(), 0);
    counted named(&calls);
    CHECK(group.go(named) == belay::errc::deadlock && alive == 1);
    CHECK(group.go(counted(&calls)) == belay::errc::deadlock);
    CHECK(group.try_go(counted(&calls)) == belay::errc::busy);
    CHECK(alive == 1);
    CHECK(!group.set_limit(1) && !group.go(named) && !group.wait_for(hours(1)));
    CHECK(alive == 1 && calls == 1);

    std::atomic<bool> go_on{false};
    CHECK(!group.go([&] { eventually([&] { return go_on.load(); }); }));
    CHECK(group.try_go(counted(&calls)) == belay::errc::busy && group.set_limit(2) == belay::errc::busy);
    CHECK(group.wait_for(seconds(0)) == belay::errc::timeout && alive == 1);
    go_on = true;
    CHECK(!group.wait() && !group.go(counted(&calls)) && !group.wait() && calls == 2); // also after the end

    CHECK(!group.abandon() && !group && !group.abandon() && group.ctx().done());
    CHECK(group.go(counted(&calls)) == belay::errc::invalid && group.wait() == belay::errc::invalid);
    CHECK(alive == 1);
    belay::group none, refused((belay::context_view()));
    CHECK(!refused && belay::last_error() == belay::errc::invalid && refused.ctx().done());
    CHECK(none.go(counted(&calls)) == belay::errc::invalid && none.try_go(named) == belay::errc::invalid);
    CHECK(alive == 1);
    CHECK(none.fail(1, "one") == belay::errc::invalid && none.set_limit(1) == belay::errc::invalid && none.cancel());
    belay::group freed(belay::background());
    const belay_group raw = freed.raw();
    CHECK(belay_group_free(raw) == BELAY_OK && freed.go(counted(&calls)) == belay::errc::stale);
    CHECK(alive == 1 && calls == 2);
#if defined(__cpp_exceptions)
    struct thrower {
        thrower() = default;
        thrower(const thrower &) { throw 7; }
        void operator()() const {}
    };
    belay::group live(belay::background());
    const thrower never;
    bool thrown = false;
    try {
        (void)live.go(never);
    } catch (int) {
        thrown = true;
    }
    CHECK(thrown && !live.wait());
#endif
}

static void the_first_error_counts() {
    const auto error_of = [](belay::group &group) {
        belay_cause why = belay_cause();
        CHECK(group.wait(&why) == belay::errc::failed);
        return why;
    };
    belay::context request = belay::background().with_cancel();
    {
        belay::group group(request);
        CHECK(!group.go([](belay::context_view ctx) { return ctx.wait(); }));
        CHECK(!group.go([] { return 404; }));
        const belay_cause why = error_of(group);
        CHECK(why.code == 404 && std::strcmp(why.message, "a task returned 404") == 0);
        CHECK(group.ctx().cause().code == 404 && !request.done() && error_of(group).code == 404);
    }
    {
        belay::group group(request);
        CHECK(!group.go([&group] { CHECK(!group.fail(7, "seven")); }) && error_of(group).code == 7);
        CHECK(group.fail(0, "nothing") == belay::errc::invalid && std::strcmp(error_of(group).message, "seven") == 0);
    }
    belay::group status(request), code(request), foreign(request), listed(request);
    CHECK(!status.go([] { return BELAY_ENOMEM; }) && error_of(status).code == BELAY_ENOMEM);
    CHECK(!code.go([] { return belay::make_error_code(belay::errc::timeout); }));
    CHECK(error_of(code).code == BELAY_TIMEOUT);
    CHECK(!listed.go([] { return belay::errc::busy; }) && error_of(listed).code == BELAY_EBUSY);
    // The category of a library that was loaded later.
    static const struct : std::error_category {
        const char *name() const noexcept override { return "belay"; }
        std::string message(int) const override { return "elsewhere"; }
    } elsewhere{};
    belay::group loaded(request);
    CHECK(!loaded.go([] { return std::error_code(BELAY_TIMEOUT, elsewhere); }));
    CHECK(error_of(loaded).code == BELAY_TIMEOUT);
    // Its number is that of BELAY_DEADLINE_EXCEEDED, and means something else.
    CHECK(!foreign.go([] { return std::make_error_code(std::errc::no_such_file_or_directory); }));
    const belay_cause why = error_of(foreign);
    CHECK(why.code == BELAY_EFAILED && std::strncmp(why.message, "generic:2 ", 10) == 0);

    belay::group canceled(request);
    CHECK(!canceled.cancel(9, "nine") && !canceled.go([](belay::context_view ctx) { return ctx.error(); }));
    CHECK(error_of(canceled).code == 9);
    belay::group quiet(request);
    CHECK(!quiet.cancel() && !quiet.go([] {}) && !quiet.wait());
}

static void tasks_start_tasks() {
    std::atomic<int> calls{0};
    belay::group group(belay::background(), 1);
    CHECK(!group.go([&] {
        CHECK(group.try_go(counted(&calls)) == belay::errc::busy);
        CHECK(!group.go(counted(&calls)) && calls == 1); // in its place
        CHECK(alive == 0 && group.wait() == belay::errc::deadlock);
    }));
    CHECK(!group.wait());
}

static void groups_end_with_their_owner() {
    std::atomic<int> calls{0}, stage{0};
    {
        belay::group group(belay::background());
        CHECK(!group.go([&stage](belay::context_view ctx) {
            stage = 1;
            (void)ctx.wait();
            std::this_thread::sleep_for(milliseconds(5));
            stage = 2;
        }));
        CHECK(!group.go(counted(&calls)));
        belay::group moved(std::move(group));
        CHECK(!group && moved);
        group = std::move(moved);
        CHECK(group && !moved);
    }
    CHECK(stage == 2 && calls == 1 && alive == 0);
    {
        belay::group group(belay::background());
        CHECK(!group.go([&stage](belay::context_view ctx) { stage = ctx.wait() ? 3 : 4; }));
        group = belay::group();
        CHECK(stage == 3);
    }
    // A task may be the last to know its group: then nobody waits for it.
    std::unique_ptr<belay::group> own(new belay::group(belay::background()));
    belay::group *const at = own.get();
    CHECK(!at->go([&own, &calls] {
        const counted tracked(&calls);
        own.reset();
        tracked();
        return 5;
    }));
    eventually([&] { return calls == 2 && alive == 0; });
    // And an owner may give it up: what is queued still runs.
    belay::group left(belay::background());
    for (int i = 0; i < 4; i++) CHECK(!left.go(counted(&calls)));
    CHECK(!left.abandon());
    eventually([&] { return calls == 6 && alive == 0; });
}

#if defined(__cpp_exceptions)
/* What a wait throws: the text of a std::exception, "int" for an int, "" for nothing. */
static std::string thrown_by(const belay::group &group, belay_cause *why = nullptr) {
    try {
        (void)group.wait(why);
    } catch (const std::exception &error) {
        return error.what();
    } catch (int) {
        return "int";
    }
    return "";
}

static void exceptions_are_thrown_by_the_wait() {
    std::atomic<int> calls{0};
    belay::context request = belay::background().with_cancel();
    {
        belay::group group(request);
        belay_cause why = belay_cause();
        CHECK(!group.go([](belay::context_view ctx) { (void)ctx.wait(); ctx.throw_if_done(); })); // an echo
        CHECK(!group.go([](belay::context_view ctx) { (void)ctx.wait(); throw std::runtime_error("too late"); }));
        const counted tracked(&calls);
        CHECK(!group.go([tracked]() -> int { throw std::runtime_error("no such picture"); }));
        CHECK(thrown_by(group, &why) == "no such picture" && why.code == BELAY_EFAILED && alive == 1);
        CHECK(std::strcmp(group.ctx().cause().message, "no such picture") == 0);
        CHECK(thrown_by(group) == "no such picture"); // as often as it is asked
        bool timed = false;
        try {
            (void)group.wait_for(hours(1));
        } catch (const std::runtime_error &) {
            timed = true;
        }
        CHECK(timed);
    }
    belay::group number(request), status(request), cut(request), none(request), returned(request), echo(request);
    CHECK(!number.go([] { throw 7; }) && thrown_by(number) == "int");
    // A status that is thrown is the error's code; here it is no echo, for the group is live.
    belay::context late = request.with_timeout(seconds(0), 5, "five");
    belay_cause why = belay_cause();
    CHECK(!status.go([&late] { late.throw_if_done(); }) && thrown_by(status, &why).find("five") == 0);
    CHECK(why.code == BELAY_DEADLINE_EXCEEDED && status.ctx().cause().code == BELAY_DEADLINE_EXCEEDED);
    // A text that does not fit, cut in the middle of a character.
    const std::string text = std::string(54, 'x') + "\xc3\xa9 and more";
    CHECK(!cut.go([&text] { throw std::runtime_error(text); }) && thrown_by(cut, &why) == text);
    CHECK(std::string(why.message) == std::string(54, 'x'));
    // Texts that are no UTF-8 are cut all the same, and found.
    for (const std::string &odd : {std::string(60, '\x80'), std::string(50, 'x') + std::string(60, '\x80'),
                                   std::string(60, '\xc3'), std::string("\xe9t\xe9")}) {
        belay::group other(request);
        CHECK(!other.go([&odd] { throw std::runtime_error(odd); }) && thrown_by(other, &why) == odd);
        CHECK(odd.compare(0, 55, why.message) == 0);
    }
    // Where the first error was returned, what is thrown after it is not the error.
    CHECK(!returned.go([&returned] { CHECK(!returned.fail(404, "first")); throw std::runtime_error("second"); }));
    CHECK(thrown_by(returned, &why) == "" && why.code == 404);
    // An end from elsewhere is an end, and no error that anybody threw.
    CHECK(!echo.cancel(9, "nine") && !echo.go([](belay::context_view ctx) { ctx.throw_if_done(); }));
    CHECK(thrown_by(echo, &why) == "" && why.code == 9);
    belay::group same_words(request);
    CHECK(!same_words.cancel() && !same_words.go([] { throw std::system_error(belay::errc::canceled); }));
    CHECK(thrown_by(same_words, &why) == "" && why.code == BELAY_CANCELED);
    CHECK(!none.go([] {}) && thrown_by(none) == "");
    // A task in another one's place: what it throws is its own.
    belay::group nested(request, 1);
    CHECK(!nested.go([&nested] { CHECK(!nested.go([] { throw std::runtime_error("inside"); })); return 1; }));
    CHECK(thrown_by(nested) == "inside");
    // Nobody waits: the exception goes with the group.
    belay::group unasked(request);
    CHECK(!unasked.go([] { throw std::runtime_error("unheard"); }));
}

// Tasks on many threads throw, return and are refused at the same time: one error is the first, for all who wait.
static void races_of_errors() {
    for (int round = 0; round < 100; round++) {
        std::atomic<int> calls{0}, started{0};
        belay::group group(belay::background(), 1 + round % 3);
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; i++) {
            threads.emplace_back([&group, &calls, &started](int number) {
                const counted tracked(&calls);
                const auto task = [tracked, number]() -> int {
                    tracked();
                    if (number == 3) return 3;
                    throw std::runtime_error(std::to_string(number % 2));
                };
                if (!group.go(task)) started++;
                if (!group.try_go(task)) started++;
            }, i);
        }
        for (std::thread &thread : threads) thread.join();
        belay_cause why = belay_cause();
        const std::string thrown = thrown_by(group, &why);
        CHECK(alive == 0 && calls == started);
        CHECK(thrown.empty() ? why.code == 3 : why.code == BELAY_EFAILED && thrown == why.message);
        CHECK(thrown_by(group) == thrown);
    }
}
#endif

// --- Pools -----------------------------------------------------------------------------------------------------------

static std::atomic<int> made{0}, destroyed{0}, cleared{0};
struct alignas(64) scratch {
    std::string text;
    std::vector<int> numbers;
    scratch() { made++; }
    explicit scratch(const char *start) : text(start) { made++; }
    scratch(scratch &&) = default;
    ~scratch() { destroyed++; }
    static void clear(scratch &used) {
        used.numbers.clear();
        cleared++;
    }
};
static_assert(!std::is_copy_constructible<belay::pool<scratch>>::value, "a pool is not copied");
static_assert(!std::is_constructible<belay::pool<scratch>, belay::pool<scratch> &>::value, "and is no reset of a pool");
static_assert(std::is_nothrow_move_assignable<belay::pool<scratch>>::value, "a pool is moved");
static_assert(!std::is_copy_constructible<belay::pool<scratch>::item>::value, "an item is not copied");
static_assert(std::is_nothrow_move_constructible<belay::pool<scratch>::item>::value, "an item is moved");

static void items_are_made_once_and_used_again() {
    made = destroyed = cleared = 0;
    belay_pool raw;
    belay::pool<scratch>::item late;
    {
        belay::pool<scratch> pool(scratch::clear);
        CHECK(pool && made == 0);
        scratch *first = nullptr;
        {
            belay::pool<scratch>::item one = pool.get();
            CHECK(one && reinterpret_cast<std::uintptr_t>(one.get()) % 64 == 0 && one->numbers.empty());
            first = one.get();
            one->text = "kept";
            (*one).numbers.push_back(7);
            belay::pool<scratch>::item moved = std::move(one);
            CHECK(!one && one.get() == nullptr && moved.get() == first);
            one = std::move(moved);
            CHECK(one.get() == first && !moved && cleared == 0);
        }
        CHECK(made == 1 && cleared == 1 && destroyed == 0);
        belay::pool<scratch>::item again = pool.get();
        CHECK(again.get() == first && again->text == "kept" && again->numbers.empty() && made == 1);
        late = pool.get();
        CHECK(late && late.get() != first && made == 2);
        again = belay::pool<scratch>::item();
        CHECK(!pool.trim() && destroyed == 1 && made == 2);
        scratch *const given_up = pool.get().release();
        raw = pool.raw();
        CHECK(belay_pool_put(raw, given_up) == BELAY_OK && made == 3);
        belay::pool<scratch> moved(std::move(pool));
        CHECK(!pool && moved.raw().bits == raw.bits && pool.trim() == belay::errc::invalid);
        pool = std::move(moved);
    }
    CHECK(belay_pool_get(raw) == nullptr && destroyed == 2); // the one in use outlives its pool
    late->text = "still here";
    late = belay::pool<scratch>::item();
    CHECK(destroyed == 3 && made == 3);
}

static void pools_have_options_and_hooks_of_any_kind() {
    std::atomic<int> calls{0};
    made = destroyed = 0;
    belay::pool<scratch>::item last;
    {
        belay::pool_options options;
        options.cap = 2;
        options.checked = true;
        options.name = "scratch";
        const counted tracked(&calls);
        belay::pool<scratch> pool([] { return scratch("start"); }, [tracked](scratch &used) {
            used.text = "start";
            tracked();
        }, options);
        last = pool.get();
        belay::pool<scratch>::item other = pool.get(), none = pool.get();
        CHECK(last && other && !none && belay::last_error() == belay::errc::no_memory);
        CHECK(last->text == "start" && other->text == "start" && alive == 2);
        other->text = "a text that does not fit into the string itself";
        other = belay::pool<scratch>::item();
        other = pool.get();
        CHECK(other->text == "start" && calls == 1);
    }
    CHECK(alive == 1); // the hooks live for as long as items do
    last = belay::pool<scratch>::item();
    CHECK(alive == 0 && calls == 3 && made >= 2);

    const belay::pool<scratch> none;
    CHECK(!none && !none.get() && belay::last_error() == belay::errc::invalid);
    CHECK(none.trim() == belay::errc::invalid && belay::background().with_data(none).is_none());
    CHECK(belay::background().data(none) == nullptr);
#if defined(__cpp_exceptions)
    struct thrower {
        thrower() { if (made++ == 0) throw 7; }
    };
    made = 0;
    belay::pool<thrower> throwing([](thrower &) {});
    CHECK(!throwing.get() && belay::last_error() == belay::errc::no_memory);
    CHECK(throwing.get() && made == 2);
#endif
}

static void data_hangs_on_contexts() {
    made = destroyed = cleared = 0;
    belay::pool<scratch> pool(scratch::clear), other(scratch::clear);
    {
        scratch *data = nullptr;
        belay::context request = belay::background().with_data(pool, &data);
        CHECK(data != nullptr && request.data(pool) == data && request.data(other) == nullptr);
        CHECK(belay::background().data(pool) == nullptr && belay_pool_put(pool.raw(), data) == BELAY_EBUSY);
        belay::context audit = request.without_cancel(), nested = request.with_data(pool, nullptr);
        CHECK(nested.data(pool) != nullptr && nested.data(pool) != data);
        CHECK(!request.close() && audit.data(pool) == data && cleared == 0);
    }
    CHECK(cleared == 2 && destroyed == 0);
    scratch *data = reinterpret_cast<scratch *>(&pool);
    CHECK(belay::context_view().with_data(pool, &data).is_none() && data == nullptr);
    CHECK(belay::last_error() == belay::errc::invalid && made == 2);
}

// Owners on many threads come and go while their parent ends: nothing is lost, and nothing is called after its owner.
static void races() {
    for (int round = 0; round < 100; round++) {
        belay::context parent = belay::background().with_cancel();
        std::atomic<int> calls{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; i++) {
            threads.emplace_back([&calls](belay::context_view above, int number) {
                belay::context ctx = above.with_timeout(microseconds(50 * number));
                belay::registration one = ctx.after_func(counted(&calls)), two = above.on_done(counted(&calls));
                belay::timer three = ctx.after(microseconds(30), counted(&calls));
                belay::timer four = ctx.every(microseconds(20), counted(&calls));
                if (number % 2) (void)one.stop();
                (void)ctx.wait_for(microseconds(100));
            }, belay::context_view(parent), i);
        }
        (void)parent.cancel();
        for (std::thread &thread : threads) thread.join();
        CHECK(alive == 0);
    }
}

int main() {
    const struct { const char *name; void (*run)(); } tests[] = {
        {"owners close", owners_close},
        {"assignment closes what was there", assignment_closes_what_was_there},
        {"assignment takes before it closes", assignment_takes_before_it_closes},
        {"owners without a name", owners_without_a_name},
        {"owners adopt, retain and release", owners_adopt_retain_and_release},
        {"owners are reset", owners_are_reset},
        {"contexts end with a cause", contexts_end_with_a_cause},
        {"errors are error codes", errors_are_error_codes},
        {"durations are rounded up", durations_are_rounded_up},
        {"durations of odd periods", durations_of_odd_periods},
        {"steady_clock is our clock", steady_clock_is_our_clock},
        {"deadlines move", deadlines_move},
        {"deadlines are the runtime's", deadlines_are_the_runtimes},
        {"waiting", waiting},
        {"lite contexts", lite_contexts},
        {"local contexts", local_contexts},
        {"merges end with the first", merges_end_with_the_first},
        {"the first of many is waited for", the_first_of_many_is_waited_for},
        {"signals end contexts", signals_end_contexts},
        {"values have types and are destroyed once", values_have_types_and_are_destroyed_once},
        {"values that are there", values_that_are_there},
        {"values with memory of their own", values_with_memory_of_their_own},
        {"what could not be made says why", what_could_not_be_made_says_why},
        {"callbacks run once and are destroyed", callbacks_run_once_and_are_destroyed},
        {"destructors wait for running callbacks", destructors_wait_for_running_callbacks},
        {"a callback may drop its own registration", a_callback_may_drop_its_own_registration},
        {"callables of all kinds", callables_of_all_kinds},
        {"timers run and are destroyed", timers_run_and_are_destroyed},
        {"destructors wait for running timers", destructors_wait_for_running_timers},
        {"a timer may drop itself", a_timer_may_drop_itself},
        {"timers end after their context", timers_end_after_their_context},
        {"groups run their tasks", groups_run_their_tasks},
        {"callables of groups are destroyed once", callables_of_groups_are_destroyed_once},
        {"the first error counts", the_first_error_counts},
        {"tasks start tasks", tasks_start_tasks},
        {"groups end with their owner", groups_end_with_their_owner},
#if defined(__cpp_exceptions)
        {"exceptions are thrown by the wait", exceptions_are_thrown_by_the_wait},
        {"races of errors", races_of_errors},
#endif
        {"items are made once and used again", items_are_made_once_and_used_again},
        {"pools have options, and hooks of any kind", pools_have_options_and_hooks_of_any_kind},
        {"data hangs on contexts", data_hangs_on_contexts},
        {"races", races},
    };
    for (const auto &test : tests) {
        std::printf("%s\n", test.name);
        std::fflush(stdout);
        const uint64_t contexts = measure("/ctx/live:contexts"), tasks = measure("/task/live:tasks");
        test.run();
        eventually([&] { return measure("/ctx/live:contexts") == contexts && measure("/task/live:tasks") == tasks; });
    }
    return 0;
}
