/*
 * cpp.cpp — contexts in C++: they close themselves, time is std::chrono, values have types, callbacks and tasks are
 * lambdas.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <belay.hpp>

#include "check.h"

#include <atomic>
#include <csignal>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using std::chrono::milliseconds;
using std::chrono::seconds;

/* A key is the address of one, and says what stands behind it. */
static const belay::key<const std::string> USER("user");

/* Work that respects its caller's budget. It borrows the context: a handle, passed by value. */
static std::error_code fetch(belay::context_view ctx) {
    const std::string *user = ctx.value(USER);
    std::printf("  fetching for %s, with %lld ms left\n", user ? user->c_str() : "nobody",
                static_cast<long long>(std::chrono::duration_cast<milliseconds>(ctx.remaining()).count()));
    return ctx.wait_for(seconds(10)); /* what takes too long */
}

static void budgets() {
    belay::context request = belay::background().with_timeout(milliseconds(20), 504, "too slow");
    belay::context for_ada = request.with_value(USER, "ada");
    std::error_code why = fetch(for_ada);
    CHECK(why == belay::errc::deadline_exceeded, "the budget is over long before the work");
    CHECK(why == std::errc::timed_out, "which code that knows nothing of Belay understands, too");
    CHECK(request.cause().code == 504, "and the cause says whose budget it was");
    CHECK(*for_ada.value(USER) == "ada", "a value outlives the end, and dies with its context");
}

/* One cancel ends the work of all threads; the destructors do the rest. */
static void a_tree_of_work() {
    std::atomic<int> ended{0};
    belay::context job = belay::background().with_cancel();
    belay::registration told = job.on_done([&ended] { ended += 100; });
    std::vector<std::thread> workers;
    for (int i = 0; i < 4; i++) {
        auto work = [&ended](belay::context step) { if (step.wait()) ended += 1; };
        workers.emplace_back(work, job.with_timeout(seconds(60)));
    }
    (void)job.cancel(499, "client hung up");
    for (std::thread &worker : workers) worker.join();
    CHECK(ended == 104, "four workers and a callback heard of the end");
    CHECK(told.stop() == belay::stop_result::gone, "a callback runs once");
}

static void lifetimes() {
    belay::context_view seen;
    {
        belay::context connection = belay::background().with_cancel();
        belay::timer idle = connection.after(seconds(60), [] { std::puts("idle"); });
        seen = connection;
        CHECK(!seen.done() && idle, "a connection lives for as long as its object");
        CHECK(idle.reset(seconds(90)), "its timer can be moved");
        belay::context moved = std::move(connection);
        CHECK(connection.is_none() && seen == moved, "an owner moves; the context stays where it is");
    }
    CHECK(seen.done() && seen.error() == belay::errc::stale, "then what was lent reads as done, and never dangles");
    CHECK(belay::context_view().with_cancel().done(), "what cannot be made reads as done: the work under it stops");
}

/* Tasks that work on one thing. They may refer to this frame: the group waits for them when it goes. */
static void one_fails() {
    belay::context request = belay::background().with_timeout(seconds(60));
    belay::group parts(request, 3);
    std::atomic<int> stopped{0};
    for (int i = 0; i < 2; i++) (void)parts.go([&stopped](belay::context_view ctx) { stopped += bool(fetch(ctx)); });
    (void)parts.go([] { throw std::runtime_error("no such picture"); });
    std::string why;
    try {
        (void)parts.wait();
    } catch (const std::runtime_error &error) {
        why = error.what();
    }
    CHECK(why == "no such picture", "what the first task threw comes out of the wait");
    CHECK(stopped == 2 && !request.done(), "it called the other two off, and not the request");
}

/* What is dear to make is made once, and goes from one request to the next. */
static void request_data() {
    belay::pool<std::string> buffers([](std::string &used) { used.clear(); });
    const std::string *first = nullptr, *second = nullptr;
    for (const std::string **seen : {&first, &second}) {
        belay::context request = belay::background().with_data(buffers);
        belay::context step = request.with_timeout(seconds(1));
        step.data(buffers)->append("select 1;");
        *seen = step.data(buffers);
        CHECK(**seen == "select 1;", "a request finds nothing of the one before");
    }
    CHECK(first == second, "and has its buffer");
}

static void two_masters() {
    belay::context stop = belay::background().with_signals({SIGTERM, SIGINT});
    belay::context client = belay::background().with_timeout(seconds(60));
    belay::context work = belay::merge({client, stop});
    (void)std::raise(SIGTERM);
    CHECK(work.wait() == belay::errc::canceled, "the work ends with the client, or with the server");
    CHECK(work.signal() == SIGTERM && !client.done(), "and knows which it was");
}

int main() {
    budgets();
    a_tree_of_work();
    lifetimes();
    one_fails();
    request_data();
    two_masters();
    return 0;
}
