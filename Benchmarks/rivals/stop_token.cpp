/*
 * stop_token.cpp — C++20's std::stop_source, stop_token and stop_callback, which know no deadline, value or child: a
 * child is a source of its own whose stop is requested by a callback on the parent's token.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * bench-title: C++20 std::stop_token (libstdc++)
 */
#include "bench.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

namespace {

struct Stop {
    std::stop_source *source;
    void operator()() const { source->request_stop(); }
};

/* A child: what a program has to build to have one. */
struct Child {
    std::stop_source source;
    std::stop_callback<Stop> link;
    explicit Child(std::stop_token parent) : link(std::move(parent), Stop{&source}) {}
};

void nothing() {}

std::stop_source &source(bench *b) { return *static_cast<std::stop_source *>(b->state); }
void setup(bench *b) { b->state = new std::stop_source; }
void setup_ended(bench *b) {
    setup(b);
    source(b).request_stop();
}
void teardown(bench *b) { delete static_cast<std::stop_source *>(b->state); }

void run_derive(bench *b) {
    std::stop_token parent = source(b).get_token();
    for (uint64_t i = 0; i < b->n; i++) {
        Child child(parent);
        child.source.request_stop();
    }
}

void run_root(bench *b) {
    for (uint64_t i = 0; i < b->n; i++) {
        std::stop_source root;
        root.request_stop();
    }
}

void run_asked(bench *b) {
    std::stop_token token = source(b).get_token();
    for (uint64_t i = 0; i < b->n; i++) BENCH_USE(token.stop_requested());
}

void run_callback(bench *b) {
    std::stop_token token = source(b).get_token();
    for (uint64_t i = 0; i < b->n; i++) std::stop_callback callback(token, nothing);
}

void run_callback_first(bench *b) {
    std::stop_token parent = source(b).get_token();
    for (uint64_t i = 0; i < b->n; i++) {
        Child child(parent);
        { std::stop_callback callback(child.source.get_token(), nothing); }
        child.source.request_stop();
    }
}

void run_fan(bench *b) {
    for (uint64_t n = 0; n < b->n; n++) {
        std::stop_source top;
        std::vector<std::unique_ptr<Child>> children;
        children.reserve(static_cast<size_t>(b->size));
        for (long i = 0; i < b->size; i++) children.push_back(std::make_unique<Child>(top.get_token()));
        top.request_stop();
    }
}

void run_threads(bench *b) { bench_threads(b, run_derive); }

void run_wake(bench *b) {
    static double took[500];
    for (double &one : took) {
        std::stop_source stop;
        int64_t woken = 0;
        std::thread waiter([&] {
            std::mutex mutex;
            std::condition_variable_any changed;
            std::unique_lock lock(mutex);
            changed.wait(lock, stop.get_token(), [] { return false; });
            woken = bench_now();
        });
        bench_sleep(200000);
        int64_t before = bench_now();
        stop.request_stop();
        waiter.join();
        one = static_cast<double>(woken - before);
    }
    bench_value(b, bench_quantile(took, 500, 0.5) / 1000);
}

void run_bytes(bench *b) {
    constexpr long count = 200000;
    std::stop_source top;
    std::vector<std::unique_ptr<Child>> children;
    children.reserve(count);
    for (long i = 0; i < count; i++) children.emplace_back();
    long before = bench_resident();
    for (auto &child : children) child = std::make_unique<Child>(top.get_token());
    bench_value(b, static_cast<double>(bench_resident() - before) / count);
}

}  // namespace

#define FAN(n) {"tree.fan." #n, run_fan, n, BENCH_EACH, nullptr, nullptr}
#define THREADS(n) {"threads.cancel." #n, run_threads, n, BENCH_EACH, setup, teardown}

BENCH_CASES(
    {"derive.cancel", run_derive, 0, BENCH_ONE, setup, teardown},
    {"derive.cancel.root", run_root, 0, BENCH_ONE, nullptr, nullptr},
    {"end.cancel", run_derive, 0, BENCH_ONE, setup, teardown},
    {"ask.is_done.live", run_asked, 0, BENCH_ONE, setup, teardown},
    {"ask.is_done.done", run_asked, 0, BENCH_ONE, setup_ended, teardown},
    {"listen.after_func", run_callback, 0, BENCH_ONE, setup, teardown},
    {"listen.after_func.first", run_callback_first, 0, BENCH_ONE, setup, teardown},
    {"listen.wake", run_wake, 0, BENCH_VALUE, nullptr, nullptr},
    {"bytes.cancel", run_bytes, 0, BENCH_VALUE, nullptr, nullptr},
    FAN(1), FAN(100), FAN(10000), FAN(100000),
    THREADS(2), THREADS(4), THREADS(8), THREADS(16))
