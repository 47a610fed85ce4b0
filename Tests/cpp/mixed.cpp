// SPDX-License-Identifier: Apache-2.0
//
// One program of two files that use the same templates: this one with exceptions, and with -fno-exceptions once more.
// Neither may get what was compiled for the other, in whichever order they are linked. scripts/check-install does both.
#include <belay.hpp>

#include <cstdio>
#include <functional>
#include <stdexcept>

int half_without_exceptions();

static bool holds(const char *what, bool so) {
    if (!so) std::printf("not so: %s\n", what);
    return so;
}

#if defined(__cpp_exceptions)
static int made_by_throwing() { throw std::runtime_error("no item"); }

int main() {
    belay::group group(belay::background());
    bool thrown = false;
    const bool is_started = !group.go(std::function<void()>([] { throw std::runtime_error("no picture"); }));
    try {
        (void)group.wait();
    } catch (const std::runtime_error &) {
        thrown = true;
    }
    belay::pool<int> pool(std::function<int()>(made_by_throwing), std::function<void(int &)>([](int &) {}));
    const bool is_none = !pool.get();
    return holds("a task's exception is thrown by the wait", is_started && thrown) &&
                   holds("a maker that throws makes none", is_none)
               ? half_without_exceptions()
               : 1;
}
#else
int half_without_exceptions() {
    belay::group group(belay::background());
    const bool is_over = !group.go(std::function<void()>([] {})) && !group.wait();
    belay::pool<int> pool(std::function<int()>([] { return 7; }), std::function<void(int &)>([](int &) {}));
    return holds("a task returns", is_over) && holds("an item is made", *pool.get() == 7) ? 0 : 1;
}
#endif
