// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// Waiting where time is a virtual clock's: a thread cannot be its own timer, because only a poll knows when time goes on.
/// So everything that may end the wait is a callback or a timer that wakes the thread.
enum WaitVirtual {
    /// The timeout is measured by the first context's clock.
    static func run(
        _ ctxs: UnsafePointer<belay_ctx>, _ n: Int, _ timeout: Int64, _ index: UnsafeMutablePointer<Int>?
    ) -> belay_status {
        for i in 0..<n {
            // The thread that moves the clock on would wait for itself.
            let runtime = Handle(ctxs[i]).runtime
            if runtime != 0 && Runtime.at(runtime).pointee.loop.isMine { return BELAY_EDEADLK }
        }
        let clock = Handle(ctxs[0]).runtime
        let end = Clock.after(timeout, in: clock)
        let word = Atomic<UInt32>(0)
        return withUnsafePointer(to: word) { word in
            let address = UnsafeMutableRawPointer(mutating: word)
            return withUnsafeTemporaryAllocation(of: belay_reg.self, capacity: n) { registrations in
                withUnsafeTemporaryAllocation(of: belay_timer.self, capacity: n + 1) { timers in
                    let alarms = Alarms(timers: timers, address: address)
                    var answer: belay_status?
                    if end != Clock.never && !alarms.add(ctxs[0], at: end) {
                        answer = WaitAny.failure(ctxs, n, index)
                        // The clock has stopped for ever, and nobody would wake us.
                        if answer == BELAY_ESTALE && Handle(ctxs[0]).status() == BELAY_OK { answer = BELAY_TIMEOUT }
                    }
                    var registered = 0
                    while registered < n && answer == nil {
                        registrations[registered] = watch(ctxs[registered], alarms, address)
                        if registrations[registered].bits == 0 { answer = WaitAny.failure(ctxs, n, index) }
                        registered += 1
                    }
                    while answer == nil {
                        // Before the looks, so that a waker that comes after them is not missed.
                        word.pointee.store(0, ordering: .sequentiallyConsistent)
                        answer = WaitAny.firstDone(ctxs, n, index)
                        if answer != nil { break }
                        // Where its runtime was freed the clock has stopped, and the alarm is the last one.
                        let isLate = end != Clock.never && (Clock.now(in: clock) >= end || hasStopped(clock))
                        if isLate { answer = BELAY_TIMEOUT } else { sleep(ctxs, n, address) }
                    }
                    for i in 0..<registered where registrations[i].bits != 0 { Wait.withdraw(registrations[i]) }
                    alarms.withdraw()
                    return answer ?? BELAY_TIMEOUT
                }
            }
        }
    }

    fileprivate static func hasStopped(_ clock: UInt32) -> Bool {
        clock != 0 && Runtime.at(clock).pointee.phase != Runtime.open
    }

    /// Has the end of a context wake the thread; of a lite one, its parent's end and its own deadline.
    private static func watch(_ ctx: belay_ctx, _ alarms: borrowing Alarms, _ address: UnsafeMutableRawPointer)
        -> belay_reg
    {
        let handle = Handle(ctx)
        guard handle.kind == Kind.lite, let pinned = handle.pin() else {
            return Registration.add(ctx, Wait.waker, address, flags: Task.inline | Task.waker)
        }
        defer { pinned.release() }
        let parent = belay_ctx(bits: pinned.asLite.pointee.parentHandle.get())
        let deadline = pinned.asLite.pointee.deadline.get()
        // Without an alarm where its runtime was freed: no deadline comes any more.
        if deadline != Clock.never && !alarms.add(parent, at: deadline) && belay_last_status() != BELAY_ESTALE {
            return belay_reg()
        }
        return Registration.add(parent, Wait.waker, address, flags: Task.inline | Task.waker)
    }

    /// Nobody is told of a lite context's cancel but those who sleep on its own word, so a wait for one looks now and then.
    private static func sleep(_ ctxs: UnsafePointer<belay_ctx>, _ n: Int, _ address: UnsafeMutableRawPointer) {
        var until = Clock.never
        for i in 0..<n where Handle(ctxs[i]).kind == Kind.lite { until = Clock.after(1_000_000) }
        belaycore_futex_wait(address, 0, until)
    }
}

extension UnsafeMutablePointer where Pointee == LiteNode {
    /// The same for a local context alone. It keeps its parent's runtime, so one alarm does for both times.
    func waitVirtually(_ timeout: Int64) -> belay_status {
        let clock = asNode.state.runtime
        if Runtime.at(clock).pointee.loop.isMine { return BELAY_EDEADLK }
        let parent = belay_ctx(bits: above.bits)
        let end = Clock.after(timeout, in: clock)
        let first = min(end, pointee.deadline.get())
        let word = Atomic<UInt32>(0)
        return withUnsafePointer(to: word) { word in
            let address = UnsafeMutableRawPointer(mutating: word)
            return withUnsafeTemporaryAllocation(of: belay_timer.self, capacity: 1) { timers in
                let alarms = Alarms(timers: timers, address: address)
                var answer: belay_status?
                // With the parent or its runtime gone there is nothing to hear of, and the look below says so.
                let reg = Registration.add(parent, Wait.waker, address, flags: Task.inline | Task.waker)
                if reg.bits == 0 { answer = failure() }
                if answer == nil && first != Clock.never && !alarms.add(parent, at: first) { answer = failure() }
                while answer == nil {
                    // Before the looks, so that a waker that comes after them is not missed.
                    word.pointee.store(0, ordering: .sequentiallyConsistent)
                    let state = settle()
                    if state.isDone { answer = state.verdict.status }
                    let isLate = end != Clock.never && (Clock.now(in: clock) >= end || WaitVirtual.hasStopped(clock))
                    if answer == nil && isLate { answer = BELAY_TIMEOUT }
                    // Its own cancel wakes only those who sleep on its own word.
                    if answer == nil { belaycore_futex_wait(address, 0, Clock.after(1_000_000)) }
                }
                if reg.bits != 0 { Wait.withdraw(reg) }
                alarms.withdraw()
                return answer ?? BELAY_TIMEOUT
            }
        }
    }

    /// Why a callback or an alarm could not be had, unless that is because what it would tell of is known already.
    private func failure() -> belay_status? {
        let status = belay_last_status()
        return status == BELAY_ESTALE ? nil : status
    }
}

/// Timers that wake a thread.
private struct Alarms: ~Copyable {
    private let timers: UnsafeMutableBufferPointer<belay_timer>
    private let address: UnsafeMutableRawPointer
    private let count = Atomic<Int>(0)

    init(timers: UnsafeMutableBufferPointer<belay_timer>, address: UnsafeMutableRawPointer) {
        self.timers = timers
        self.address = address
    }

    /// At an instant of the context's clock. False, and the last status, on failure.
    borrowing func add(_ ctx: belay_ctx, at instant: Int64) -> Bool {
        let delay = instant &- Clock.now(in: Handle(ctx).runtime)
        let timer = TimerTask.add(ctx, delay, period: 0, Wait.waker, address, flags: Task.waker)
        if timer.bits == 0 { return false }
        timers[count.load(ordering: .relaxed)] = timer
        count.wrappingAdd(1, ordering: .relaxed)
        return true
    }

    /// When it returns, nobody touches the word any more.
    borrowing func withdraw() {
        for i in 0..<count.load(ordering: .relaxed) {
            if belay_timer_stop(timers[i]) == BELAY_STOP_RUNNING { _ = belay_timer_stop_wait(timers[i], Clock.never) }
        }
    }
}
