/*
 * asio.cpp — Boost.Asio's steady_timer: one io_context, and a timer is cancelled by destroying or moving it.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * bench-title: Boost.Asio steady_timer
 * bench-debian: libboost-dev
 * bench-flags: -Wno-deprecated-declarations
 */
#include "bench.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <memory>
#include <new>
#include <vector>

static void timer_fired(long i);

namespace {

std::unique_ptr<boost::asio::io_context> context;
using Timer = boost::asio::steady_timer;
Timer *timers; /* memory that is not touched before a timer is made in it */
std::vector<bool> made;

void timer_open(long most) {
    context = std::make_unique<boost::asio::io_context>();
    timers = static_cast<Timer *>(calloc(static_cast<size_t>(most), sizeof(Timer)));
    made.assign(static_cast<size_t>(most), false);
}

void timer_close() {
    for (size_t i = 0; i < made.size(); i++)
        if (made[i]) timers[i].~Timer();
    free(static_cast<void *>(timers));
    context.reset();
}

inline void timer_add(long i, int64_t delay) {
    Timer *timer = &timers[i];
    if (!made[static_cast<size_t>(i)]) {
        new (timer) Timer(*context);
        made[static_cast<size_t>(i)] = true;
    }
    timer->expires_after(std::chrono::nanoseconds(delay));
    timer->async_wait([i](const boost::system::error_code &error) {
        if (!error) timer_fired(i);
    });
}

/* The handlers of cancelled waits are queued until a turn of the loop: here there is one for every 256. */
inline void count_cancelled() {
    static unsigned cancelled;
    if (++cancelled % 256 == 0) context->poll();
}

inline void timer_cancel(long i) {
    timers[i].cancel();
    count_cancelled();
}

inline void timer_move(long i, int64_t delay) {
    timer_add(i, delay); /* cancels the wait that there is */
    count_cancelled();
}

void timer_wait();

}  // namespace

#include "timer_cases.h"

namespace {
void timer_wait() {
    context->restart();
    context->run();
}
}  // namespace

BENCH_CASES(TIMER_CASES)
