/*
 * belay.hpp — belay.h for C++11 and later: contexts that close themselves, std::chrono, typed values, callbacks of
 * any type. A header, and nothing to link but what belay.h needs.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *     #include <belay.hpp>
 *
 *     bool fetch(belay::context_view ctx) {                             // borrows; a handle, passed by value
 *         return ctx.wait_for(std::chrono::milliseconds(500)) == belay::errc::timeout;
 *     }
 *
 *     int main() {
 *         belay::context request = belay::background().with_timeout(std::chrono::milliseconds(20));   // owns
 *         belay::registration told = request.on_done([] { std::puts("over"); });
 *         if (!fetch(request)) std::puts(request.cause().message);       // deadline exceeded
 *     }                                                                  // told is stopped, then request is closed
 *
 * belay.h is the manual: what it promises of a function holds for the member that calls it, and so do its ground rules
 * for threads, signals, forks and callbacks. What is said here is what C++ adds:
 *
 *   Ownership   belay::context, lite_context, registration, timer, group and pool own, can be moved and not copied,
 *               and give up what they own in their destructors. belay::context_view owns nothing and is a handle: copy
 *               it freely. A context is a view, so it can be passed wherever a view is wanted; by value, because an
 *               assignment through a context_view & that is an owner changes what it closes, and what it owned stays
 *               open. One owner is not to be used by two threads at a time, if one of them changes it (moves, assigns,
 *               closes, stops it); views of the same context are as free as handles are.
 *               An owner without a name closes at the end of its statement, and that ends what was derived from it:
 *               after `auto ctx = background().with_timeout(t).with_value(k, v);` ctx is done, and so is a view of a
 *               temporary. Give each step a name. Fine are the argument of a call, `fetch(parent.with_timeout(t))`, and
 *               values and without_cancel() before another step, because their close ends nothing.
 *   Failure     No member throws, but those that say so. What could not be made is an owner of nothing: it reads as
 *               done, and last_error() on that thread says why. Members that answer a std::error_code answer an empty
 *               one for BELAY_OK.
 *   Callbacks   A callable is copied or moved into memory of its own. One that throws ends the program
 *               (std::terminate), because there is nobody to catch it; but what a group's task throws is the group's,
 *               and wait throws it. If there is no memory for it, it is destroyed, and the registration is one of
 *               nothing. If its copy or move throws, that passes through, and nothing is registered.
 *   Time        Any std::chrono::duration; fractions of a nanosecond are rounded up. What exceeds 292 years, and
 *               duration::max(), mean never (BELAY_FOREVER); not-a-number has passed. Points of
 *               std::chrono::steady_clock, which on Linux counts CLOCK_MONOTONIC from the same start, with libstdc++
 *               and with libc++ (elsewhere the distance from now is taken); time_point::max() means never. Where a
 *               runtime has a virtual clock, points are that clock's, and steady_clock::now() is none of them: there
 *               the present is ctx.now().
 *   The rest    Foreign parents, runtimes, headers, measurements, trees and profiles have no form of their own here.
 *               Call their functions with raw(), and hand contexts that they make to context::adopt().
 */
#ifndef BELAY_HPP
#define BELAY_HPP

#include <belay.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <ratio>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#if defined(__has_cpp_attribute) && __cplusplus >= 201703L
#define BELAY_NODISCARD [[nodiscard]]
#else
#define BELAY_NODISCARD
#endif

/* One for a program and its shared libraries. */
#define BELAY_SHARED __attribute__((visibility("default")))

/* What is compiled to something else with -fno-exceptions has a name of its own there, so that a program may be linked
 * of both kinds of files. */
#if defined(__cpp_exceptions)
#define BELAY_CATCHES
#else
#define BELAY_CATCHES __attribute__((abi_tag("noexceptions")))
#endif

#if defined(__linux__) && (defined(__GLIBCXX__) || defined(_LIBCPP_VERSION))
#define BELAY_STEADY_IS_MONOTONIC 1
#else
#define BELAY_STEADY_IS_MONOTONIC 0
#endif

namespace belay {

/* --- Errors --------------------------------------------------------------------------------------------------- */

/* belay_status as an enumeration that std::error_code can be compared with: `ctx.error() == belay::errc::canceled`. */
enum class errc {
    canceled = BELAY_CANCELED,
    deadline_exceeded = BELAY_DEADLINE_EXCEEDED,
    timeout = BELAY_TIMEOUT,
    invalid = BELAY_EINVAL,
    stale = BELAY_ESTALE,
    no_memory = BELAY_ENOMEM,
    leaf = BELAY_ELEAF,
    forked = BELAY_EFORK,
    no_cancel = BELAY_ENOCANCEL,
    deadlock = BELAY_EDEADLK,
    system = BELAY_ESYSTEM,
    busy = BELAY_EBUSY,
    failed = BELAY_EFAILED
};

namespace detail {

class BELAY_SHARED category_type final : public std::error_category {
public:
    const char *name() const noexcept override { return "belay"; }

    std::string message(int status) const override { return belay_status_string(static_cast<belay_status>(status)); }

    /* So that code which knows nothing of Belay can ask: `error == std::errc::timed_out`. */
    std::error_condition default_error_condition(int status) const noexcept override {
        switch (status) {
        case BELAY_CANCELED: return std::errc::operation_canceled;
        case BELAY_DEADLINE_EXCEEDED:
        case BELAY_TIMEOUT: return std::errc::timed_out;
        case BELAY_EINVAL: return std::errc::invalid_argument;
        case BELAY_ESTALE: return std::errc::bad_file_descriptor;
        case BELAY_ENOMEM: return std::errc::not_enough_memory;
        case BELAY_ELEAF:
        case BELAY_ENOCANCEL: return std::errc::operation_not_supported;
        case BELAY_EFORK: return std::errc::operation_not_permitted;
        case BELAY_EDEADLK: return std::errc::resource_deadlock_would_occur;
        case BELAY_EBUSY: return std::errc::device_or_resource_busy;
        default: return std::error_condition(status, *this);
        }
    }
};

} // namespace detail

/* The category of all error codes here. Its name is "belay", its messages are belay_status_string()'s. It is the same
 * in a program and the shared libraries that it is linked with, however much they hide (-fvisibility=hidden). What was
 * loaded by dlopen may have one of its own: its error codes compare with std::errc, and groups understand them, but
 * they are not equal to errc's here. Compare their value(), if category().name() is "belay". */
BELAY_SHARED inline const std::error_category &category() noexcept {
    static const detail::category_type one;
    return one;
}

/* A status as an error code; empty for BELAY_OK. */
inline std::error_code make_error_code(belay_status status) noexcept {
    return std::error_code(static_cast<int>(status), category());
}
inline std::error_code make_error_code(errc error) noexcept {
    return std::error_code(static_cast<int>(error), category());
}

/* Why the last call of this thread that made nothing did so: belay_last_status(). */
inline std::error_code last_error() noexcept { return make_error_code(belay_last_status()); }

/* --- Time ----------------------------------------------------------------------------------------------------- */

using clock = std::chrono::steady_clock;

namespace detail {

constexpr std::int64_t giga = 1000000000;

/* How many nanoseconds a period is, where that is a whole number which fits; 0 otherwise. */
template <class Period>
struct whole_nanoseconds {
    static constexpr bool exist = giga % Period::den == 0 && Period::num <= INT64_MAX / (giga / Period::den);
    static constexpr std::int64_t value = exist ? Period::num * (exist ? giga / Period::den : 0) : 0;
};

/* The count, or the end of 64 bits that it lies beyond. */
template <class Rep>
std::int64_t clamped(Rep count) noexcept {
    using wide = typename std::common_type<Rep, std::int64_t>::type; /* may be unsigned, or of 128 bits */
    if (count > Rep(0) && static_cast<wide>(count) > static_cast<wide>(INT64_MAX)) return INT64_MAX;
    if (count < Rep(0) && static_cast<wide>(count) < static_cast<wide>(INT64_MIN)) return INT64_MIN;
    return static_cast<std::int64_t>(count);
}

/* In nanoseconds, rounded up. Counts of whole numbers stay whole: `long double` has no more digits than `double` has on
 * some machines. */
template <class Rep, class Period>
belay_duration nanoseconds_of(std::chrono::duration<Rep, Period> length, std::true_type /* integral */) noexcept {
    constexpr std::int64_t each = whole_nanoseconds<Period>::value;
    if (each > 0) {
        constexpr std::int64_t most = INT64_MAX / (each > 0 ? each : 1);
        const std::int64_t count = clamped(length.count());
        if (each == 1) return count;
        return count > most ? BELAY_FOREVER : count < -most ? INT64_MIN : count * each;
    }
    __extension__ typedef __int128 wide;
    constexpr wide most = INT64_MAX / giga; /* seconds */
    const wide count = static_cast<wide>(length.count());
    if (count < 0 && length.count() > Rep(0)) return BELAY_FOREVER; /* 128 bits without a sign */
    const wide periods = count / Period::den; /* of Period::num seconds each */
    if (periods > most / Period::num) return BELAY_FOREVER;
    if (periods < -(most / Period::num)) return INT64_MIN;
    const wide left = count % Period::den * Period::num; /* each of two with 64 bits */
    const wide second = periods * Period::num + left / Period::den, rest = left % Period::den * giga;
    if (second > most) return BELAY_FOREVER;
    if (second < -most) return INT64_MIN;
    return clamped(second * giga + rest / Period::den + (rest % Period::den > 0 ? 1 : 0));
}

template <class Rep, class Period>
belay_duration nanoseconds_of(std::chrono::duration<Rep, Period> length, std::false_type /* floating */) noexcept {
    const long double count = static_cast<long double>(length.count());
    constexpr std::int64_t each = whole_nanoseconds<Period>::value;
    const long double exact = each > 0 ? count * each : count * Period::num * giga / Period::den;
    if (exact >= 9223372036854775807.0L) return BELAY_FOREVER;
    if (!(exact > -9223372036854775807.0L)) return INT64_MIN; /* not-a-number, too */
    const std::int64_t whole = static_cast<std::int64_t>(exact);
    return static_cast<long double>(whole) < exact ? whole + 1 : whole;
}

} // namespace detail

/* A duration in Belay's nanoseconds: rounded up, BELAY_FOREVER for what does not fit, and for duration::max(). */
template <class Rep, class Period>
belay_duration nanoseconds_of(std::chrono::duration<Rep, Period> length) noexcept {
    const bool has_max = std::numeric_limits<Rep>::is_specialized; /* 128 bits have none without GNU's extensions */
    if (has_max && length == (std::chrono::duration<Rep, Period>::max)()) return BELAY_FOREVER;
    return detail::nanoseconds_of(length, std::is_integral<Rep>());
}

/* A point of steady_clock as Belay's instant; BELAY_FOREVER for time_point::max(). */
inline belay_instant instant_of(clock::time_point point) noexcept {
    if (point == (clock::time_point::max)()) return BELAY_FOREVER;
#if BELAY_STEADY_IS_MONOTONIC
    return nanoseconds_of(point.time_since_epoch());
#else
    const belay_duration left = nanoseconds_of(point - clock::now()); /* read first: late, never early */
    const belay_instant now = belay_now();
    return left > INT64_MAX - now ? BELAY_FOREVER : now + left;
#endif
}

/* The other way round. */
inline clock::time_point time_point_of(belay_instant instant) noexcept {
    if (instant == BELAY_FOREVER) return (clock::time_point::max)();
#if BELAY_STEADY_IS_MONOTONIC
    return clock::time_point(std::chrono::duration_cast<clock::duration>(std::chrono::nanoseconds(instant)));
#else
    return clock::now() + std::chrono::duration_cast<clock::duration>(std::chrono::nanoseconds(instant - belay_now()));
#endif
}

/* --- Keys ----------------------------------------------------------------------------------------------------- */

/* A key for values of type T, by its address: define it once, with a lifetime that exceeds all contexts that use it.
 *     static const belay::key<const std::string> USER("user");
 * Values are seen from many threads. A T that is const, or that may be used by several threads at a time, is safe. */
template <class T>
class key {
public:
    /* The name is for people; it is not copied. */
    constexpr explicit key(const char *name) noexcept : raw_{name} {}
    key(const key &) = delete;
    key &operator=(const key &) = delete;

    /* The key in C. Values that C code hangs on it must be a T. */
    const belay_key *raw() const noexcept { return &raw_; }

private:
    belay_key raw_;
};

/* --- Callbacks ------------------------------------------------------------------------------------------------ */

/* What became of a callback that was to be stopped. */
enum class stop_result {
    prevented, /* it will not run (again), and is destroyed */
    running,   /* it is running now, on another thread or around this call */
    gone       /* it has run or was stopped before, or there is none */
};

namespace detail {

inline stop_result stop_result_of(belay_status status) noexcept {
    switch (status) {
    case BELAY_STOP_PREVENTED: return stop_result::prevented;
    case BELAY_STOP_RUNNING:
    case BELAY_EDEADLK:
    case BELAY_TIMEOUT: return stop_result::running;
    default: return stop_result::gone;
    }
}

/* Has last_error() say BELAY_ENOMEM, by a call that fails so: for a pool whose items no machine has the memory for. */
inline void leave_no_memory() noexcept {
    belay_pool_desc desc = belay_pool_desc();
    desc.size = sizeof desc;
    desc.item_size = SIZE_MAX;
    (void)belay_pool_new(&desc);
}

/* A T in memory of its own, from the global operator new, whatever T's class has; nullptr without memory. */
template <class T, class... From>
T *make(From &&...from) {
#if !defined(__cpp_aligned_new)
    static_assert(alignof(T) <= alignof(std::max_align_t),
                  "belay: before C++17 new aligns no such type: build as C++17, or with -faligned-new, or hand over a "
                  "pointer or a reference to one");
#endif
    T *const made = ::new (std::nothrow) T(std::forward<From>(from)...);
    if (made == nullptr) leave_no_memory();
    return made;
}

/* What make() made goes. */
template <class T>
void destroy(void *made) noexcept {
    ::delete static_cast<T *>(made);
}
struct destroyer {
    template <class T>
    void operator()(T *made) const noexcept { destroy<T>(made); }
};
template <class T>
using owner_of = std::unique_ptr<T, destroyer>;

/* What a std::unique_ptr had goes. */
template <class T>
void destroy_owned(void *owned) noexcept {
    delete static_cast<T *>(owned);
}

/* Runs a callable that is called once, and destroys it. */
template <class F>
void run_once(void *callable) noexcept {
    const owner_of<F> owner(static_cast<F *>(callable));
    (void)(*owner)();
}

/* A pointer as C has it. */
template <class T>
void *plain(T *pointer) noexcept {
    return const_cast<typename std::remove_cv<T>::type *>(pointer);
}

/* T itself, where the argument is not to say what T is. */
template <class T>
using same = typename std::enable_if<true, T>::type;

/* Whether a U can be seen as a T: the same but for const, or derived from it. */
template <class U, class T>
using if_points_to = typename std::enable_if<std::is_convertible<U *, T *>::value>::type;

} // namespace detail

/* Owns a callback on a context's end: context_view::after_func and on_done return it. Its destructor stops the
 * callback, and if it is running waits until it has returned, so a callback may refer to what lives longer than its
 * registration. It does not wait inside the callback itself, or where callbacks wait for each other in a ring. The
 * callable is destroyed when it has run or was stopped. */
class BELAY_NODISCARD registration {
public:
    /* A registration of nothing. */
    registration() noexcept = default;
    registration(registration &&other) noexcept { swap(other); }
    registration &operator=(registration &&other) noexcept {
        registration(std::move(other)).swap(*this);
        return *this;
    }
    registration(const registration &) = delete;
    registration &operator=(const registration &) = delete;
    ~registration() { (void)stop_wait(); }

    void swap(registration &other) noexcept {
        std::swap(raw_, other.raw_);
        std::swap(callable_, other.callable_);
        std::swap(destroy_, other.destroy_);
    }

    /* False where nothing was registered: last_error() says why, if it is asked at once. */
    explicit operator bool() const noexcept { return raw_.bits != 0; }

    /* Tries to stop the callback, without blocking. */
    stop_result stop() noexcept { return settle(raw_.bits == 0 ? BELAY_STOP_GONE : belay_stop(raw_)); }

    /* The same, and waits for a callback that is running: then stop_result::gone, and all that it wrote is visible.
     * stop_result::running if waiting would never end; see the class. */
    stop_result stop_wait() noexcept {
        return settle(raw_.bits == 0 ? BELAY_STOP_GONE : belay_stop_wait(raw_, BELAY_FOREVER));
    }

    /* The same, for no longer than `timeout`: then stop_result::running. */
    template <class Rep, class Period>
    stop_result stop_wait_for(std::chrono::duration<Rep, Period> timeout) noexcept {
        return settle(raw_.bits == 0 ? BELAY_STOP_GONE : belay_stop_wait(raw_, nanoseconds_of(timeout)));
    }

    /* Lets the callback be: it runs at the context's end, and nobody can stop it any more. */
    void detach() noexcept { raw_ = belay_reg(); }

private:
    friend class context_view;
    registration(belay_reg raw, void *callable, void (*destroy)(void *)) noexcept
        : raw_(raw), callable_(callable), destroy_(destroy) {}

    /* The callable is ours again only where it will never run. */
    stop_result settle(belay_status status) noexcept {
        if (status == BELAY_STOP_PREVENTED) {
            raw_ = belay_reg();
            destroy_(callable_);
        }
        return detail::stop_result_of(status);
    }

    belay_reg raw_ = belay_reg();
    void *callable_ = nullptr;
    void (*destroy_)(void *) = nullptr;
};

namespace detail {

/* A timer's callable, and who destroys it: its owner, once nobody calls it any more; or the call itself, if the owner
 * has gone in the middle of it. That is settled by two swaps, of which the second one knows that the other is over. */
class timer_task {
public:
    enum { idle, running, orphaned };
    virtual ~timer_task() = default;
    virtual void call() = 0;

    static void run(void *raw) noexcept {
        timer_task *self = static_cast<timer_task *>(raw);
        self->state_.store(running);
        self->call();
        if (self->state_.exchange(idle) == orphaned) delete self;
    }

    /* The owner goes, and the call goes on: it is inside the call, or the call waits for it. */
    void orphan() noexcept {
        if (state_.exchange(orphaned) == idle) delete this;
    }

private:
    std::atomic<int> state_{idle};
};

template <class F>
class timer_call final : public timer_task {
public:
    template <class G>
    explicit timer_call(G &&callable) : callable_(std::forward<G>(callable)) {}
    void call() override { (void)callable_(); }

private:
    F callable_;
};

} // namespace detail

/* Owns a timer and its callable: context_view::after and every return it. Its destructor stops the timer, and if the
 * callable is running waits until it has returned; not inside the callable itself, or where callbacks wait for each
 * other in a ring. The callable is destroyed with the timer, or when it returns, whichever is later. */
class BELAY_NODISCARD timer {
public:
    /* A timer of nothing. */
    timer() noexcept = default;
    timer(timer &&other) noexcept { swap(other); }
    timer &operator=(timer &&other) noexcept {
        timer(std::move(other)).swap(*this);
        return *this;
    }
    timer(const timer &) = delete;
    timer &operator=(const timer &) = delete;
    ~timer() {
        if (task_ == nullptr) return;
        const stop_result result = stop_wait();
        if (result == stop_result::running) task_->orphan();
        else delete task_;
    }

    void swap(timer &other) noexcept {
        std::swap(raw_, other.raw_);
        std::swap(task_, other.task_);
    }

    /* False where no timer was started: last_error() says why, if it is asked at once. */
    explicit operator bool() const noexcept { return raw_.bits != 0; }

    /* Stops the timer, without blocking: it will not run (again). */
    stop_result stop() noexcept { return detail::stop_result_of(belay_timer_stop(raw_)); }

    /* The same, and waits for a call that is running; stop_result::running if waiting would never end. */
    stop_result stop_wait() noexcept {
        return detail::stop_result_of(belay_timer_stop_wait(raw_, BELAY_FOREVER));
    }

    /* Moves it, so that it is next due `delay` from now. False if it is running or about to, has run, was stopped. */
    template <class Rep, class Period>
    bool reset(std::chrono::duration<Rep, Period> delay) noexcept {
        return belay_timer_reset(raw_, nanoseconds_of(delay)) == BELAY_OK;
    }

private:
    friend class context_view;
    timer(belay_timer raw, detail::timer_task *task) noexcept : raw_(raw), task_(task) {}

    belay_timer raw_ = belay_timer();
    detail::timer_task *task_ = nullptr;
};

/* --- Contexts ------------------------------------------------------------------------------------------------- */

class context;
class lite_context;
template <class T>
class pool;

/* A context that somebody else owns: a handle of 64 bits, trivially copyable. It cannot dangle: once the context is
 * closed it reads as done, with errc::stale. */
class context_view {
public:
    /* No context: reads as done, with errc::invalid. */
    context_view() noexcept : raw_() {}
    /* A handle from C, which is not taken over. */
    context_view(belay_ctx raw) noexcept : raw_(raw) {}

    /* The handle, for C. */
    belay_ctx raw() const noexcept { return raw_; }
    /* True for no context: what could not be made. */
    bool is_none() const noexcept { return belay_is_none(raw_); }

    friend bool operator==(context_view one, context_view other) noexcept { return one.raw_.bits == other.raw_.bits; }
    friend bool operator!=(context_view one, context_view other) noexcept { return one.raw_.bits != other.raw_.bits; }

    /* Derive. Each returns an owner; what could not be made is none (is_none), and reads as done. */

    /* belay_with_cancel. */
    inline context with_cancel() const noexcept;
    /* belay_with_timeout: ends `timeout` from now at the latest. */
    template <class Rep, class Period>
    context with_timeout(std::chrono::duration<Rep, Period> timeout) const noexcept;
    /* belay_with_timeout_cause: with this cause, if (and only if) this deadline ends it. */
    template <class Rep, class Period>
    context with_timeout(std::chrono::duration<Rep, Period> timeout, std::int64_t code,
                         const char *message) const noexcept;
    /* belay_with_deadline. */
    inline context with_deadline(clock::time_point deadline) const noexcept;
    /* belay_with_deadline_cause. */
    inline context with_deadline(clock::time_point deadline, std::int64_t code, const char *message) const noexcept;
    /* belay_without_cancel: the values, and not the end. */
    inline context without_cancel() const noexcept;
    /* A context with a T made of `value`, which is destroyed when nobody can see it any more, on the thread that closes
     * the last context that can. Throws what T's constructor throws; without memory the answer is none. */
    template <class T, class U>
    context with_value(const key<T> &which, U &&value) const;
    /* The same with a value that is there already, and is taken over: a T, or what is derived from one whose destructor
     * is virtual. An empty pointer hides the parent's. */
    template <class T, class U, class = detail::if_points_to<U, T>>
    context with_value(const key<T> &which, std::unique_ptr<U> value) const noexcept;
    /* A context that hides the parent's value. */
    template <class T>
    context with_value(const key<T> &which, std::nullptr_t) const noexcept;
    /* The same with a value that is not taken over: it has to outlive all contexts that can see it. */
    template <class T, class U, class = detail::if_points_to<U, T>>
    context with_reference(const key<T> &which, U &value) const noexcept;
    template <class T, class U>
    context with_reference(const key<T> &which, const U &&value) const = delete;
    /* belay_with_data: a context that carries an item of the pool, which goes back by itself when nobody can see it any
     * more; *data, if not null, is that item. On failure none, and *data is nullptr. */
    template <class T>
    context with_data(const pool<T> &of, detail::same<T> **data = nullptr) const noexcept;
    /* belay_notify_signals: a context that also ends when one of these signals arrives, whose default action is off
     * until the close: `with_signals({SIGINT, SIGTERM})`. {} is for one that a handler of yours ends; there call
     * belay_cancel(ctx.raw()), which is async-signal-safe, as no member is. */
    inline context with_signals(std::initializer_list<int> numbers) const noexcept;
    /* The same for signals in a std::vector, std::array, or anything else with data() and size(). */
    template <class List>
    context with_signals(const List &numbers) const noexcept;
    /* belay_lite, without a deadline of its own. */
    inline lite_context lite() const noexcept;
    /* belay_lite. */
    template <class Rep, class Period>
    lite_context lite(std::chrono::duration<Rep, Period> timeout) const noexcept;

    /* Ask. */

    /* True once the context has ended, or its deadline has passed. */
    bool done() const noexcept { return belay_is_done(raw_); }
    /* Why it ended: errc::canceled, errc::deadline_exceeded, errc::stale, errc::invalid; empty while it is live. */
    std::error_code error() const noexcept { return make_error_code(belay_err(raw_)); }
    /* The code and the message of its end; {0, ""} while it is live. */
    belay_cause cause() const noexcept {
        belay_cause cause = belay_cause();
        (void)belay_cause_of(raw_, &cause);
        return cause;
    }
    /* The signal that ended it, if it is one of with_signals() or has its end from one; 0 otherwise. */
    int signal() const noexcept { return belay_signal_of(raw_); }
    /* The present by the clock that its deadlines go by: clock::now(), or what its runtime's virtual clock shows. */
    clock::time_point now() const noexcept { return time_point_of(belay_runtime_now(belay_runtime_of(raw_))); }
    /* When it ends at the latest; time_point::max() where there is no deadline. */
    clock::time_point deadline() const noexcept {
        belay_instant instant = BELAY_FOREVER;
        (void)belay_deadline(raw_, &instant);
        return time_point_of(instant);
    }
    /* The time left: nanoseconds::max() where there is no deadline, zero once it is done. */
    std::chrono::nanoseconds remaining() const noexcept { return std::chrono::nanoseconds(belay_remaining(raw_)); }
    /* The nearest value for the key; nullptr where there is none. Valid while a context that can see it is open. */
    template <class T>
    T *value(const key<T> &which) const noexcept {
        return static_cast<T *>(belay_value(raw_, which.raw()));
    }
    /* belay_data: the pool's item that the nearest context carries; nullptr where there is none. Valid as long. */
    template <class T>
    T *data(const pool<T> &of) const noexcept;
#if defined(__cpp_exceptions)
    /* Throws std::system_error with error() and the cause's message if the context has ended; otherwise nothing. */
    void throw_if_done() const {
        const std::error_code why = error();
        if (why) throw std::system_error(why, cause().message);
    }
#endif

    /* End. */

    /* belay_cancel. errc::no_cancel for contexts without an end of their own. */
    std::error_code cancel() const noexcept { return make_error_code(belay_cancel(raw_)); }
    /* belay_cancel_cause; the message is copied, up to 55 bytes of it. */
    std::error_code cancel(std::int64_t code, const char *message) const noexcept {
        return make_error_code(belay_cancel_cause(raw_, code, message));
    }

    /* Move. */

    /* belay_set_deadline: earlier, later, or never (time_point::max()). If it has ended already, how. */
    std::error_code set_deadline(clock::time_point deadline) const noexcept {
        return make_error_code(belay_set_deadline(raw_, instant_of(deadline)));
    }
    /* The same for `timeout` from now. */
    template <class Rep, class Period>
    std::error_code set_timeout(std::chrono::duration<Rep, Period> timeout) const noexcept {
        const belay_duration left = nanoseconds_of(timeout);
        const belay_instant now = belay_runtime_now(belay_runtime_of(raw_));
        return make_error_code(belay_set_deadline(raw_, left > INT64_MAX - now ? BELAY_FOREVER : now + left));
    }

    /* Listen. */

    /* Blocks until the context is done, and answers error(). For ever on one that never ends. */
    std::error_code wait() const noexcept { return make_error_code(belay_wait(raw_, BELAY_FOREVER)); }
    /* The same for no longer than `timeout`: then errc::timeout. */
    template <class Rep, class Period>
    std::error_code wait_for(std::chrono::duration<Rep, Period> timeout) const noexcept {
        return make_error_code(belay_wait(raw_, nanoseconds_of(timeout)));
    }
    /* belay_done_fd: a descriptor that is readable once the context is done, and belongs to it. -1 on failure. */
    int done_fd() const noexcept { return belay_done_fd(raw_); }
    /* belay_after_func: calls `callable()` once when the context is done, on the executor. */
    template <class F>
    registration after_func(F &&callable) const {
        return add(belay_after_func, std::forward<F>(callable));
    }
    /* belay_on_done: the same, inline on the thread that ends the context. For short work that does not block. */
    template <class F>
    registration on_done(F &&callable) const {
        return add(belay_on_done, std::forward<F>(callable));
    }

    /* Timers. */

    /* belay_timer_after: calls `callable()` once, `delay` from now, on the executor; also if the context has ended. */
    template <class Rep, class Period, class F>
    timer after(std::chrono::duration<Rep, Period> delay, F &&callable) const {
        return start(belay_timer_after, nanoseconds_of(delay), std::forward<F>(callable));
    }
    /* belay_timer_every: calls `callable()` every `period`, until it is stopped, or a last time after the end. */
    template <class Rep, class Period, class F>
    timer every(std::chrono::duration<Rep, Period> period, F &&callable) const {
        return start(belay_timer_every, nanoseconds_of(period), std::forward<F>(callable));
    }

protected:
    belay_ctx raw_;

private:
    template <class F>
    registration add(belay_reg (*to)(belay_ctx, void (*)(void *), void *), F &&callable) const {
        using stored = typename std::decay<F>::type;
        detail::owner_of<stored> owner(detail::make<stored>(std::forward<F>(callable)));
        if (!owner) return registration();
        const belay_reg raw = to(raw_, detail::run_once<stored>, owner.get());
        if (raw.bits == 0) return registration();
        /* It may have run, and be destroyed, by now: its address only counts where a stop says "prevented". */
        return registration(raw, owner.release(), detail::destroy<stored>);
    }

    template <class F>
    timer start(belay_timer (*with)(belay_ctx, belay_duration, void (*)(void *), void *), belay_duration length,
                F &&callable) const {
        using stored = detail::timer_call<typename std::decay<F>::type>;
        std::unique_ptr<detail::timer_task> owner(detail::make<stored>(std::forward<F>(callable)));
        if (!owner) return timer();
        const belay_timer raw = with(raw_, length, detail::timer_task::run, owner.get());
        if (raw.bits == 0) return timer();
        return timer(raw, owner.release());
    }
};

/* The root of all work: never done. */
inline context_view background() noexcept { return context_view(belay_background()); }

/* The same, for code that has not been given a context yet. */
inline context_view todo() noexcept { return context_view(belay_todo()); }

/* Owns a context: its destructor closes it, which cancels it and all that was derived from it. */
class BELAY_NODISCARD context : public context_view {
public:
    /* No context: reads as done. */
    context() noexcept = default;
    /* Takes over a handle that a C function made, and whose belay_close is this owner's now. */
    static context adopt(belay_ctx raw) noexcept { return context(raw); }
    /* One more owner of a context that somebody else owns; the last of them to close cancels it. None on failure:
     * errc::invalid, errc::stale, errc::no_memory. */
    static context retain(context_view other) noexcept {
        const belay_status status = belay_retain(other.raw());
        if (status == BELAY_OK) return context(other.raw());
        if (status == BELAY_ENOMEM) detail::leave_no_memory();
        else (void)other.with_cancel(); /* fails, too, and leaves its status */
        return context();
    }
    context(context &&other) noexcept : context_view(other.release()) {}
    /* Takes first, and then closes what it had: `other` may live in a value of that. */
    context &operator=(context &&other) noexcept {
        context(std::move(other)).swap(*this);
        return *this;
    }
    context(const context &) = delete;
    context &operator=(const context &) = delete;
    ~context() { (void)close(); }

    void swap(context &other) noexcept { std::swap(raw_, other.raw_); }

    /* Closes it now, and owns nothing afterwards. */
    std::error_code close() noexcept {
        if (is_none()) return std::error_code();
        return make_error_code(belay_close(release()));
    }
    /* Gives up ownership without closing: for C code that calls belay_close. */
    BELAY_NODISCARD belay_ctx release() noexcept {
        const belay_ctx raw = raw_;
        raw_ = belay_ctx();
        return raw;
    }
    /* belay_reset: the same memory for the next use; views of it from before are stale. On failure, such as errc::busy,
     * it stays as it was. */
    std::error_code reset() noexcept {
        const belay_ctx fresh = belay_reset(raw_);
        if (belay_is_none(fresh)) return last_error();
        raw_ = fresh;
        return std::error_code();
    }

private:
    explicit context(belay_ctx raw) noexcept : context_view(raw) {}
    friend class context_view;
};

/* Owns a lite context: a leaf for hot paths (belay_lite). Nothing can be derived from it or registered on it, so it is
 * no context_view; it can be asked, waited for, cancelled and closed. */
class BELAY_NODISCARD lite_context : private context_view {
public:
    /* No context: reads as done. */
    lite_context() noexcept = default;
    lite_context(lite_context &&other) noexcept { swap(other); }
    lite_context &operator=(lite_context &&other) noexcept {
        lite_context(std::move(other)).swap(*this);
        return *this;
    }
    lite_context(const lite_context &) = delete;
    lite_context &operator=(const lite_context &) = delete;
    ~lite_context() { (void)close(); }

    void swap(lite_context &other) noexcept { std::swap(raw_, other.raw_); }

    using context_view::cancel;
    using context_view::cause;
    using context_view::deadline;
    using context_view::done;
    using context_view::error;
    using context_view::is_none;
    using context_view::raw;
    using context_view::remaining;
#if defined(__cpp_exceptions)
    using context_view::throw_if_done;
#endif
    using context_view::wait;
    using context_view::wait_for;

    /* Closes it now, and owns nothing afterwards. */
    std::error_code close() noexcept {
        if (is_none()) return std::error_code();
        const belay_ctx raw = raw_;
        raw_ = belay_ctx();
        return make_error_code(belay_close(raw));
    }

private:
    explicit lite_context(belay_ctx raw) noexcept : context_view(raw) {}
    friend class context_view;
};

/* A lite context in this object's own memory (belay_local), which costs less still. It can be neither copied nor moved,
 * and nobody may use it any more when it goes out of scope. What could not be opened reads as done. */
class local_context {
public:
    /* Without a deadline of its own. */
    explicit local_context(context_view parent) noexcept {
        (void)belay_local_open(&local_, parent.raw(), BELAY_FOREVER);
    }
    template <class Rep, class Period>
    local_context(context_view parent, std::chrono::duration<Rep, Period> timeout) noexcept {
        (void)belay_local_open(&local_, parent.raw(), nanoseconds_of(timeout));
    }
    local_context(const local_context &) = delete;
    local_context &operator=(const local_context &) = delete;
    ~local_context() { (void)belay_local_close(&local_); }

    bool done() const noexcept { return belay_local_is_done(&local_); }
    std::error_code error() const noexcept { return make_error_code(belay_local_err(&local_)); }
    belay_cause cause() const noexcept {
        belay_cause cause = belay_cause();
        (void)belay_local_cause_of(&local_, &cause);
        return cause;
    }
    std::chrono::nanoseconds remaining() const noexcept {
        return std::chrono::nanoseconds(belay_local_remaining(&local_));
    }
    std::error_code cancel() noexcept { return make_error_code(belay_local_cancel(&local_)); }
    std::error_code cancel(std::int64_t code, const char *message) noexcept {
        return make_error_code(belay_local_cancel_cause(&local_, code, message));
    }
    std::error_code wait() noexcept { return make_error_code(belay_local_wait(&local_, BELAY_FOREVER)); }
    template <class Rep, class Period>
    std::error_code wait_for(std::chrono::duration<Rep, Period> timeout) noexcept {
        return make_error_code(belay_local_wait(&local_, nanoseconds_of(timeout)));
    }

private:
    belay_local local_;
};

/* --- Derivations ---------------------------------------------------------------------------------------------- */

inline context context_view::with_cancel() const noexcept { return context(belay_with_cancel(raw_)); }

template <class Rep, class Period>
context context_view::with_timeout(std::chrono::duration<Rep, Period> timeout) const noexcept {
    return context(belay_with_timeout(raw_, nanoseconds_of(timeout)));
}

template <class Rep, class Period>
context context_view::with_timeout(std::chrono::duration<Rep, Period> timeout, std::int64_t code,
                                   const char *message) const noexcept {
    return context(belay_with_timeout_cause(raw_, nanoseconds_of(timeout), code, message));
}

inline context context_view::with_deadline(clock::time_point deadline) const noexcept {
    return context(belay_with_deadline(raw_, instant_of(deadline)));
}

inline context context_view::with_deadline(clock::time_point deadline, std::int64_t code,
                                           const char *message) const noexcept {
    return context(belay_with_deadline_cause(raw_, instant_of(deadline), code, message));
}

inline context context_view::without_cancel() const noexcept { return context(belay_without_cancel(raw_)); }

template <class T, class U>
context context_view::with_value(const key<T> &which, U &&value) const {
    static_assert(!std::is_arithmetic<T>::value || std::is_convertible<U, T>::value,
                  "belay: this value becomes a number (or a bool) by an explicit conversion alone: convert it");
    T *const copy = detail::make<T>(std::forward<U>(value));
    if (copy == nullptr) return context();
    return context(belay_with_value(raw_, which.raw(), detail::plain(copy), detail::destroy<T>));
}

template <class T, class U, class>
context context_view::with_value(const key<T> &which, std::unique_ptr<U> value) const noexcept {
    static_assert(std::is_same<const volatile T, const volatile U>::value || std::has_virtual_destructor<T>::value,
                  "belay: a T whose destructor is not virtual cannot destroy what is derived from it");
    T *const owned = value.release();
    return context(belay_with_value(raw_, which.raw(), detail::plain(owned), detail::destroy_owned<T>));
}

template <class T>
context context_view::with_value(const key<T> &which, std::nullptr_t) const noexcept {
    return context(belay_with_value(raw_, which.raw(), nullptr, nullptr));
}

template <class T, class U, class>
context context_view::with_reference(const key<T> &which, U &value) const noexcept {
    T *const shared = std::addressof(value);
    return context(belay_with_value(raw_, which.raw(), detail::plain(shared), nullptr));
}

inline lite_context context_view::lite() const noexcept { return lite_context(belay_lite(raw_, BELAY_FOREVER)); }

template <class Rep, class Period>
lite_context context_view::lite(std::chrono::duration<Rep, Period> timeout) const noexcept {
    return lite_context(belay_lite(raw_, nanoseconds_of(timeout)));
}

inline context context_view::with_signals(std::initializer_list<int> numbers) const noexcept {
    return context(belay_notify_signals(raw_, numbers.begin(), numbers.size()));
}

template <class List>
context context_view::with_signals(const List &numbers) const noexcept {
    return context(belay_notify_signals(raw_, numbers.data(), numbers.size()));
}

/* --- Several contexts ----------------------------------------------------------------------------------------- */

namespace detail {

/* A view is its handle and nothing else, and so is an owner: a row of them is a row of handles. */
template <class View>
const belay_ctx *handles(const View *views) noexcept {
    static_assert(std::is_base_of<context_view, View>::value, "belay: these are no contexts");
    static_assert(std::is_standard_layout<View>::value && sizeof(View) == sizeof(belay_ctx), "a view is its handle");
    return reinterpret_cast<const belay_ctx *>(views);
}

} // namespace detail

/* belay_merge: a context that ends when the first of these ends, with its cause, and has the values of the first that
 * is named: `merge({request, server})`. Where all but one add nothing it is that one, with one more owner: so what is
 * to be cancelled by itself is derived from it. They may be closed first, which ends it. */
BELAY_NODISCARD inline context merge(std::initializer_list<context_view> parents) noexcept {
    return context::adopt(belay_merge(detail::handles(parents.begin()), parents.size()));
}
/* The same for views or owners in a std::vector, std::array, or anything else with data() and size(). */
template <class List>
BELAY_NODISCARD context merge(const List &parents) noexcept {
    return context::adopt(belay_merge(detail::handles(parents.data()), parents.size()));
}

/* belay_wait_any: blocks until the first of these is done, and answers its error(); *index, if not null, is which. */
inline std::error_code wait_any(std::initializer_list<context_view> of, std::size_t *index = nullptr) noexcept {
    return make_error_code(belay_wait_any(detail::handles(of.begin()), of.size(), BELAY_FOREVER, index));
}
template <class List>
std::error_code wait_any(const List &of, std::size_t *index = nullptr) noexcept {
    return make_error_code(belay_wait_any(detail::handles(of.data()), of.size(), BELAY_FOREVER, index));
}
/* The same for no longer than `timeout`: then errc::timeout, and *index is as it was. */
template <class Rep, class Period>
std::error_code wait_any_for(std::chrono::duration<Rep, Period> timeout, std::initializer_list<context_view> of,
                             std::size_t *index = nullptr) noexcept {
    return make_error_code(belay_wait_any(detail::handles(of.begin()), of.size(), nanoseconds_of(timeout), index));
}
template <class Rep, class Period, class List>
std::error_code wait_any_for(std::chrono::duration<Rep, Period> timeout, const List &of,
                             std::size_t *index = nullptr) noexcept {
    return make_error_code(belay_wait_any(detail::handles(of.data()), of.size(), nanoseconds_of(timeout), index));
}

/* --- Groups --------------------------------------------------------------------------------------------------- */

namespace detail {

/* Whether numbers of this category are Belay's; it may be the one of a library that dlopen loaded. */
inline bool is_ours(const std::error_category &of) noexcept {
    return of == category() || std::strcmp(of.name(), "belay") == 0;
}

/* A code and a text that a group takes as they are: cut at 55 bytes, and between UTF-8 characters, if it is UTF-8. */
inline belay_cause cause_of(std::int64_t code, const char *text) noexcept {
    belay_cause cause = belay_cause();
    const std::size_t room = sizeof cause.message - 1, length = std::strlen(text);
    std::size_t kept = length < room ? length : room;
    const auto is_inside = [text](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; };
    if (kept < length) {
        while (kept > room - 3 && is_inside(kept)) kept--;
        if (is_inside(kept)) kept = room;
    }
    std::memcpy(cause.message, text, kept);
    cause.code = code;
    return cause;
}

/* One of the exceptions that a group's tasks threw, and what the group was told of it. */
struct thrown_error {
    std::exception_ptr exception;
    belay_cause told;
    thrown_error *earlier;

    bool is(const belay_cause &error) const noexcept {
        return told.code == error.code && std::strcmp(told.message, error.message) == 0;
    }
};

/* What a group and its tasks share, until the last of them goes: the exceptions. Which error came first the group
 * knows, and nobody else, because errors come from other places, too. So all that are different are kept, and the one
 * that looks like the group's error is the one to throw. Its layout is the same with and without exceptions. */
class group_state {
public:
    void retain() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

#if defined(__cpp_exceptions)
    /* Makes the exception that is being handled the group's error, and answers its code. */
    std::int64_t fail(belay_group group, belay_ctx ctx) noexcept {
        try {
            throw;
        } catch (const std::system_error &error) {
            const bool is_status = is_ours(error.code().category()) && error.code();
            return fail(group, ctx, is_status ? error.code().value() : BELAY_EFAILED, error.what());
        } catch (const std::exception &error) {
            return fail(group, ctx, BELAY_EFAILED, error.what());
        } catch (...) {
            return fail(group, ctx, BELAY_EFAILED, "a task threw what is no std::exception");
        }
    }

    /* Throws the exception that is this error, if one is. */
    void rethrow(const belay_cause &error) const {
        const thrown_error *first = nullptr;
        for (const thrown_error *at = thrown_.load(std::memory_order_acquire); at != nullptr; at = at->earlier) {
            if (at->is(error)) first = at;
        }
        if (first != nullptr) std::rethrow_exception(first->exception);
    }
#endif

private:
    ~group_state() {
        thrown_error *at = thrown_.load(std::memory_order_relaxed);
        while (at != nullptr) {
            thrown_error *const earlier = at->earlier;
            delete at;
            at = earlier;
        }
    }

#if defined(__cpp_exceptions)
    std::int64_t fail(belay_group group, belay_ctx ctx, std::int64_t code, const char *message) noexcept {
        const bool is_echo = (code == BELAY_CANCELED || code == BELAY_DEADLINE_EXCEEDED) && belay_is_done(ctx);
        if (!is_echo) {
            const belay_cause told = cause_of(code, message);
            keep(told); /* first: who waits may see the error from the next line on */
            (void)belay_group_fail(group, code, told.message);
        }
        return code;
    }

    /* Without memory the group has the error, and no exception. */
    void keep(const belay_cause &told) noexcept {
        std::unique_ptr<thrown_error> mine(new (std::nothrow) thrown_error());
        if (!mine) return;
        mine->exception = std::current_exception();
        mine->told = told;
        mine->earlier = thrown_.load(std::memory_order_acquire);
        do {
            for (const thrown_error *at = mine->earlier; at != nullptr; at = at->earlier) {
                if (at->is(told)) return; /* says the same */
            }
        } while (!thrown_.compare_exchange_weak(mine->earlier, mine.get(), std::memory_order_acq_rel));
        (void)mine.release();
    }
#endif

    std::atomic<std::size_t> holders_{1};
    std::atomic<thrown_error *> thrown_{nullptr};
};

/* Calls a task, with the group's context if it takes one. */
template <class F>
auto call_task(F &callable, context_view ctx, int /* preferred */) -> decltype(callable(ctx)) {
    return callable(ctx);
}
template <class F>
auto call_task(F &callable, context_view, long) -> decltype(callable()) {
    return callable();
}

/* Whether there is a way to call it. */
template <class F, class = decltype(call_task(std::declval<F &>(), context_view(), 0))>
std::true_type is_task_of(int);
template <class F>
std::false_type is_task_of(long);
template <class F>
using is_task = decltype(is_task_of<F>(0));

/* What a task returned, as its group understands it. */
inline std::int64_t task_code(belay_group group, const std::error_code &error) {
    if (!error) return 0;
    if (is_ours(error.category())) return error.value();
    /* Its number would be taken for something else. */
    const std::string text = error.category().name() + (':' + std::to_string(error.value())) + ' ' + error.message();
    (void)belay_group_fail(group, BELAY_EFAILED, text.c_str());
    return BELAY_EFAILED;
}
template <class Code, class = typename std::enable_if<std::is_integral<Code>::value>::type>
std::int64_t task_code(belay_group, Code code) noexcept {
    static_assert(!std::is_same<Code, bool>::value, "belay: does true mean success? Return an error code");
    return static_cast<std::int64_t>(code);
}
inline std::int64_t task_code(belay_group, belay_status status) noexcept { return status; }

template <class F>
class task final {
public:
    template <class G>
    task(G &&callable, belay_group group, group_state *state)
        : callable_(std::forward<G>(callable)), group_(group), state_(state) {
        state_->retain();
    }
    task(const task &) = delete;
    task &operator=(const task &) = delete;
    ~task() { state_->release(); }

    BELAY_CATCHES static std::int64_t run(belay_ctx ctx, void *raw) noexcept {
        using result = decltype(call_task(std::declval<F &>(), context_view(), 0));
        std::unique_ptr<task> self(static_cast<task *>(raw));
#if defined(__cpp_exceptions)
        try {
            return self->call(ctx, std::is_void<result>());
        } catch (...) {
            return self->state_->fail(self->group_, ctx);
        }
#else
        return self->call(ctx, std::is_void<result>());
#endif
    }

private:
    std::int64_t call(context_view ctx, std::true_type /* void */) {
        call_task(callable_, ctx, 0);
        return 0;
    }
    std::int64_t call(context_view ctx, std::false_type) { return task_code(group_, call_task(callable_, ctx, 0)); }

    F callable_;
    belay_group group_;
    group_state *state_;
};

} // namespace detail

/* Owns a group: tasks that work on one thing, so many at a time, under one context, which the first error ends.
 *
 *     belay::group parts(request, 8);
 *     for (part &each : page) (void)parts.go([&each](belay::context_view ctx) { return fetch(ctx, each); });
 *     if (parts.wait()) …
 *
 * A task is called with the group's context, or with nothing, and returns nothing, a std::error_code, a belay_status,
 * or a number of its own; what is not 0, or empty, is an error, as for belay_group_go. An error code of another
 * category than belay::category() counts as errc::failed, with "category:value message" as the text.
 *
 * What a task throws is an error, too: errc::failed with what() as the text; a std::system_error of belay::category()
 * has its own status. Of all errors, returned, thrown, or given by fail, the first one counts, and where that was
 * thrown, wait throws it: the same object to all that wait. Exceptions are told apart by what the group knows of them,
 * the code and the first 55 bytes of the text: of two that have both in common either may be thrown, and one is thrown
 * also if the first error was returned or given, and had the same code and text. They go with the group, or with its
 * last task. A throw_if_done() after the group's context has ended is an echo of that end: it hides no error and is not
 * thrown again.
 *
 * The destructor cancels what is still at work, waits until all tasks have returned, and passes over errors that nobody
 * has waited for. So tasks may refer to what lives longer than their group. It waits for tasks in a manual runtime,
 * too, which another thread then has to poll. A callable is destroyed when its task has returned, before a wait does,
 * or when it is refused.
 *
 * It cannot wait where that would be for ever, and wait() answers errc::deadlock: inside a task of its own, inside a
 * poll of the manual runtime that its tasks run in (so in each callback and timer there, too), or where tasks,
 * callbacks and groups wait for each other in a ring. There its tasks run after it has gone: let them own what they
 * use, or keep the group where it outlives the poll, in a member of the loop, and wait for it from outside.
 *
 * Any thread may use the const members at any time, tasks too, for as long as this object is there. */
class BELAY_NODISCARD group {
public:
    /* No group: starts nothing. */
    group() noexcept = default;
    /* belay_group_new: a group under `parent`, of which `limit` tasks may run at a time. False, if it could not be
     * made: last_error() says why, if it is asked at once; it starts nothing (errc::invalid). */
    explicit group(context_view parent, std::int32_t limit = BELAY_UNLIMITED) noexcept {
        detail::group_state *const state = detail::make<detail::group_state>();
        if (state == nullptr) return;
        raw_ = belay_group_new(parent.raw(), limit, &ctx_);
        if (raw_.bits == 0) state->release();
        else state_ = state;
    }
    group(group &&other) noexcept { swap(other); }
    group &operator=(group &&other) noexcept {
        group(std::move(other)).swap(*this);
        return *this;
    }
    group(const group &) = delete;
    group &operator=(const group &) = delete;
    ~group() {
        if (raw_.bits == 0) return;
        (void)cancel();
        (void)belay_group_wait(raw_, BELAY_FOREVER, nullptr);
        (void)abandon();
    }

    void swap(group &other) noexcept {
        std::swap(raw_, other.raw_);
        std::swap(ctx_, other.ctx_);
        std::swap(state_, other.state_);
    }

    /* False for no group. */
    explicit operator bool() const noexcept { return raw_.bits != 0; }
    /* The handle, for C. */
    belay_group raw() const noexcept { return raw_; }
    /* The context of the tasks. It is the group's own. */
    context_view ctx() const noexcept { return ctx_; }

    /* belay_group_go: has `callable` called once, on the executor, also when the context has ended by then. Blocks
     * while as many tasks run as may; inside a task of this group it then calls it itself. On any error it is destroyed
     * without a call: errc::deadlock for a limit of 0, errc::no_memory, errc::invalid, errc::stale, errc::forked.
     * Throws what the callable's copy or move throws, and starts nothing then. */
    template <class F>
    BELAY_CATCHES std::error_code go(F &&callable) const {
        return start(belay_group_go, std::forward<F>(callable));
    }
    /* The same, but errc::busy where that one would block, or call it itself. */
    template <class F>
    BELAY_CATCHES std::error_code try_go(F &&callable) const {
        return start(belay_group_try_go, std::forward<F>(callable));
    }
    /* belay_group_set_limit; errc::busy while tasks run or are queued. */
    std::error_code set_limit(std::int32_t limit) const noexcept {
        return make_error_code(belay_group_set_limit(raw_, limit));
    }

    /* Ends the context of the tasks: no error, but tasks that report it are echoes, which wait tells of. */
    std::error_code cancel() const noexcept { return make_error_code(belay_cancel(ctx_)); }
    /* The same with a cause. */
    std::error_code cancel(std::int64_t code, const char *message) const noexcept {
        return make_error_code(belay_cancel_cause(ctx_, code, message));
    }
    /* belay_group_fail: gives the group an error, with a text that is copied. A code of 0 is errc::invalid. */
    std::error_code fail(std::int64_t code, const char *message) const noexcept {
        return make_error_code(belay_group_fail(raw_, code, message));
    }

    /* Waits until no task runs or is queued, and ends their context. Empty if all of them succeeded. If not, throws the
     * exception if the first error was one; else errc::failed, and *error, if not null, is that error, or for echoes
     * alone why the context ended (it is set before the throw, too). errc::deadlock at once where it would be for ever,
     * such as inside a task of this group. */
    BELAY_CATCHES std::error_code wait(belay_cause *error = nullptr) const { return settle(BELAY_FOREVER, error); }
    /* The same for no longer than `timeout`: then errc::timeout, and nothing is ended. */
    template <class Rep, class Period>
    BELAY_CATCHES std::error_code wait_for(std::chrono::duration<Rep, Period> timeout,
                                           belay_cause *error = nullptr) const {
        return settle(nanoseconds_of(timeout), error);
    }

    /* belay_group_free: ends the context, and owns nothing afterwards, without waiting: tasks that run finish, those
     * that are queued still run. For tasks that use nothing that goes before them. */
    std::error_code abandon() noexcept {
        if (raw_.bits == 0) return std::error_code();
        const belay_status status = belay_group_free(raw_);
        state_->release();
        raw_ = belay_group();
        ctx_ = belay_ctx();
        state_ = nullptr;
        return make_error_code(status);
    }

private:
    template <class F>
    BELAY_CATCHES std::error_code start(belay_status (*by)(belay_group, std::int64_t (*)(belay_ctx, void *), void *),
                                        F &&callable) const {
        using callable_type = typename std::decay<F>::type;
        using stored = detail::task<callable_type>;
        static_assert(detail::is_task<callable_type>::value,
                      "belay: a task is called with a belay::context_view, or with nothing");
        if (raw_.bits == 0) return make_error_code(BELAY_EINVAL);
        std::unique_ptr<stored> owner(detail::make<stored>(std::forward<F>(callable), raw_, state_));
        if (!owner) return make_error_code(BELAY_ENOMEM);
        const belay_status status = by(raw_, stored::run, owner.get());
        if (status == BELAY_OK) (void)owner.release(); /* the task's, which may have gone by now */
        return make_error_code(status);
    }

    BELAY_CATCHES std::error_code settle(belay_duration timeout, belay_cause *error) const {
        belay_cause first = belay_cause();
        const belay_status status = belay_group_wait(raw_, timeout, &first);
        if (status == BELAY_EFAILED) {
            if (error != nullptr) *error = first;
#if defined(__cpp_exceptions)
            state_->rethrow(first);
#endif
        }
        return make_error_code(status);
    }

    belay_group raw_ = belay_group();
    belay_ctx ctx_ = belay_ctx();
    detail::group_state *state_ = nullptr;
};

/* --- Pools ---------------------------------------------------------------------------------------------------- */

/* What a pool is to be like, beside its items. */
struct pool_options {
    std::size_t cap = 0;        /* the most items in existence at a time, in use or free; 0: no limit */
    bool checked = false;       /* BELAY_POOL_CHECKED: finds uses of items that were given back. For tests */
    const char *name = nullptr; /* for people; copied, cut at 63 bytes */
};

namespace detail {

/* What a pool calls for its items. It goes with the last of them, or with the pool's owner, whichever is later: items
 * in use outlive their pool. */
class pool_hooks {
public:
    virtual ~pool_hooks() = default;
    void retain() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

private:
    std::atomic<std::size_t> holders_{1};
};

template <class T>
struct constructed {
    void operator()(void *at) const { ::new (at) T(); }
};

template <class T, class Make>
struct made_by {
    Make make;
    void operator()(void *at) { ::new (at) T(make()); }
};

template <class T, class Make, class Reset>
class hooks_of final : public pool_hooks {
public:
    template <class M, class R>
    hooks_of(M &&make, R &&reset) : make_(std::forward<M>(make)), reset_(std::forward<R>(reset)) {}

    BELAY_CATCHES static bool make(void *item, void *raw) noexcept {
        hooks_of *const self = static_cast<hooks_of *>(raw);
#if defined(__cpp_exceptions)
        try {
            self->make_(item);
        } catch (...) {
            return false;
        }
#else
        self->make_(item);
#endif
        self->retain();
        return true;
    }
    static void reset(void *item, void *raw) noexcept {
        (void)static_cast<hooks_of *>(raw)->reset_(*static_cast<T *>(item));
    }
    static void drop(void *item, void *raw) noexcept {
        static_cast<T *>(item)->~T();
        static_cast<hooks_of *>(raw)->release();
    }

private:
    Make make_;
    Reset reset_;
};

} // namespace detail

/* Owns a pool of T, made once and used again: for what is large or dear to make (see belay_pool_new).
 *
 *     static belay::pool<parser> parsers([](parser &used) { used.clear(); });
 *     belay::context request = connection.with_data(parsers);      // found by all work below: ctx.data(parsers)
 *     belay::pool<parser>::item one = parsers.get();               // or without a context
 *
 * `reset` is called with each item that was given back, on the thread that does, and makes it fit for the next use; it
 * keeps what is dear, and forgets the rest. T's destructor runs when an item goes for good. Neither may throw
 * (std::terminate). Hooks are called by many threads at a time, for different items; those with state order it
 * themselves.
 *
 * The destructor frees the pool: free items are destroyed before it returns, those in use when they are given back. It
 * waits for nothing. `reset` and `make` live as long as there are items. Any thread may use the const members at any
 * time, for as long as this object is there. */
template <class T>
class BELAY_NODISCARD pool {
public:
    /* An item in use: its destructor gives it back, on whatever thread, also when the pool has gone. */
    class BELAY_NODISCARD item {
    public:
        /* No item. */
        item() noexcept = default;
        item(item &&other) noexcept { swap(other); }
        item &operator=(item &&other) noexcept {
            item(std::move(other)).swap(*this);
            return *this;
        }
        item(const item &) = delete;
        item &operator=(const item &) = delete;
        ~item() {
            if (item_ != nullptr) (void)belay_pool_put(pool_, item_);
        }

        void swap(item &other) noexcept {
            std::swap(pool_, other.pool_);
            std::swap(item_, other.item_);
        }

        /* False for no item: last_error() says why, if it is asked at once. */
        explicit operator bool() const noexcept { return item_ != nullptr; }
        /* The item, which stays this object's; nullptr for none. */
        T *get() const noexcept { return item_; }
        T &operator*() const noexcept { return *item_; }
        T *operator->() const noexcept { return item_; }
        /* Gives up ownership without giving back: for code that calls belay_pool_put. */
        BELAY_NODISCARD T *release() noexcept {
            T *const mine = item_;
            item_ = nullptr;
            return mine;
        }

    private:
        friend class pool;
        item(belay_pool from, T *mine) noexcept : pool_(from), item_(mine) {}

        belay_pool pool_ = belay_pool();
        T *item_ = nullptr;
    };

    /* No pool: has no items. */
    pool() noexcept = default;
    /* belay_pool_new: a pool whose items are made as T(), and reset by `reset(item)`. False if it could not be made:
     * last_error() says why, if it is asked at once. Throws what copying or moving `reset` throws. */
    template <class Reset, class = decltype(std::declval<typename std::decay<Reset>::type &>()(std::declval<T &>()))>
    BELAY_CATCHES explicit pool(Reset &&reset, pool_options options = pool_options()) {
        open(detail::constructed<T>(), std::forward<Reset>(reset), options);
    }
    /* The same with items made as T(make()): for a T that is made of something. */
    template <class Make, class Reset,
              class = decltype(std::declval<typename std::decay<Reset>::type &>()(std::declval<T &>()))>
    BELAY_CATCHES pool(Make &&make, Reset &&reset, pool_options options = pool_options()) {
        using maker = detail::made_by<T, typename std::decay<Make>::type>;
        open(maker{std::forward<Make>(make)}, std::forward<Reset>(reset), options);
    }
    pool(pool &&other) noexcept { swap(other); }
    pool &operator=(pool &&other) noexcept {
        pool(std::move(other)).swap(*this);
        return *this;
    }
    pool(const pool &) = delete;
    pool &operator=(const pool &) = delete;
    ~pool() {
        if (raw_.bits == 0) return;
        (void)belay_pool_free(raw_);
        hooks_->release();
    }

    void swap(pool &other) noexcept {
        std::swap(raw_, other.raw_);
        std::swap(hooks_, other.hooks_);
    }

    /* False for no pool. */
    explicit operator bool() const noexcept { return raw_.bits != 0; }
    /* The handle, for C. */
    belay_pool raw() const noexcept { return raw_; }

    /* belay_pool_get: an item, as it was made or last reset. None on failure: errc::no_memory at the cap, without
     * memory, and where T's constructor or `make` threw, which is not passed on. Does not wait. */
    item get() const noexcept { return item(raw_, static_cast<T *>(belay_pool_get(raw_))); }
    /* belay_pool_trim: destroys all items that are free. For a quiet moment. */
    std::error_code trim() const noexcept { return make_error_code(belay_pool_trim(raw_)); }

private:
    template <class Make, class Reset>
    BELAY_CATCHES void open(Make &&make, Reset &&reset, const pool_options &options) {
        using hooks = detail::hooks_of<T, typename std::decay<Make>::type, typename std::decay<Reset>::type>;
        hooks *const self = detail::make<hooks>(std::forward<Make>(make), std::forward<Reset>(reset));
        if (self == nullptr) return;
        belay_pool_desc desc = belay_pool_desc();
        desc.size = sizeof desc;
        desc.item_size = sizeof(T);
        desc.alignment = alignof(T) > alignof(std::max_align_t) ? alignof(T) : 0;
        desc.init = hooks::make;
        desc.reset = hooks::reset;
        desc.drop = hooks::drop;
        desc.self = self;
        desc.cap = options.cap;
        desc.flags = options.checked ? BELAY_POOL_CHECKED : 0;
        desc.name = options.name;
        raw_ = belay_pool_new(&desc);
        if (raw_.bits == 0) self->release();
        else hooks_ = self;
    }

    belay_pool raw_ = belay_pool();
    detail::pool_hooks *hooks_ = nullptr;
};

template <class T>
context context_view::with_data(const pool<T> &of, detail::same<T> **data) const noexcept {
    void *item = nullptr;
    const belay_ctx carrier = belay_with_data(raw_, of.raw(), &item);
    if (data != nullptr) *data = static_cast<T *>(item);
    return context(carrier);
}

template <class T>
T *context_view::data(const pool<T> &of) const noexcept {
    return static_cast<T *>(belay_data(raw_, of.raw()));
}

} // namespace belay

namespace std {
template <>
struct is_error_code_enum<belay::errc> : true_type {};

template <>
struct hash<belay::context_view> {
    size_t operator()(belay::context_view view) const noexcept { return hash<uint64_t>()(view.raw().bits); }
};
} // namespace std

#endif /* BELAY_HPP */
