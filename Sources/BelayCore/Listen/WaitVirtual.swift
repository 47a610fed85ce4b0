// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// Waiting where time is a virtual clock's: a thread cannot be its own timer, because only a poll knows when time goes
/// on. So everything that may end the wait is a callback or a timer that wakes the thread.
enum WaitVirtual {
    /// The timeout is measured by the first context's clock.
    @inline(never) static func run(
        _ ctxs: UnsafePointer<belay_ctx>, _ n: Int, _ timeout: Int64, _ index: UnsafeMutablePointer<Int>?
    ) -> belay_status {
        for i in 0..<n {
            // The thread that moves the clock on would wait for itself.
            let runtime = Handle(ctxs[i]).runtime
            if runtime != 0 && Runtime.at(runtime).pointee.loop.isMine { return BELAY_EDEADLK }
        }
        return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 2 + 2 * n) { words in
            var wakers = Wakers(words.baseAddress.unsafelyUnwrapped, for: n)
            let status = sleep(ctxs, n, timeout, index, &wakers)
            wakers.withdraw()
            return status
        }
    }

    @inline(never) private static func sleep(
        _ ctxs: UnsafePointer<belay_ctx>, _ n: Int, _ timeout: Int64, _ index: UnsafeMutablePointer<Int>?,
        _ wakers: inout Wakers
    ) -> belay_status {
        let clock = Handle(ctxs[0]).runtime
        let end = Clock.after(timeout, in: clock)
        if end != Clock.never && !wakers.wake(at: end, of: ctxs[0]) {
            let status = WaitAny.failure(ctxs, n, index)
            // The clock has stopped for ever, and nobody would wake us.
            return status == BELAY_ESTALE && Handle(ctxs[0]).status() == BELAY_OK ? BELAY_TIMEOUT : status
        }
        for i in 0..<n where !watch(ctxs[i], &wakers) { return WaitAny.failure(ctxs, n, index) }
        while true {
            // Before the looks, so that a waker that comes after them is not missed.
            wakers.prepare()
            if let done = WaitAny.firstDone(ctxs, n, index) { return done }
            // Where its runtime was freed the clock has stopped, and the alarm is the last one.
            if end != Clock.never && (Clock.now(in: clock) >= end || hasStopped(clock)) { return BELAY_TIMEOUT }
            // Nobody is told of a lite context's cancel but those who sleep on its own word, so a wait for one looks
            // now and then.
            var until = Clock.never
            for i in 0..<n where Handle(ctxs[i]).kind == Kind.lite { until = Clock.after(1_000_000) }
            wakers.sleep(until: until)
        }
    }

    fileprivate static func hasStopped(_ clock: UInt32) -> Bool {
        clock != 0 && Runtime.at(clock).pointee.phase != Runtime.open
    }

    /// Has the end of a context wake the thread; of a lite one, its parent's end and its own deadline. False, and the
    /// last status, on failure.
    private static func watch(_ ctx: belay_ctx, _ wakers: inout Wakers) -> Bool {
        let handle = Handle(ctx)
        guard handle.kind == Kind.lite, let pinned = handle.pin() else { return wakers.wake(atEndOf: ctx) }
        let parent = belay_ctx(bits: pinned.asLite.pointee.parentHandle.get())
        let deadline = pinned.asLite.pointee.deadline.get()
        pinned.unpin()
        // Without an alarm where its runtime was freed: no deadline comes any more.
        if deadline != Clock.never && !wakers.wake(at: deadline, of: parent) && belay_last_status() != BELAY_ESTALE {
            return false
        }
        return wakers.wake(atEndOf: parent)
    }
}

extension UnsafeMutablePointer where Pointee == LiteNode {
    /// The same for a local context alone. It keeps its parent's runtime, so one alarm does for both times.
    func waitVirtually(_ timeout: Int64) -> belay_status {
        let clock = asNode.state.runtime
        if Runtime.at(clock).pointee.loop.isMine { return BELAY_EDEADLK }
        return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 4) { words in
            var wakers = Wakers(words.baseAddress.unsafelyUnwrapped, for: 1)
            let status = sleepVirtually(until: Clock.after(timeout, in: clock), &wakers)
            wakers.withdraw()
            return status
        }
    }

    private func sleepVirtually(until end: Int64, _ wakers: inout Wakers) -> belay_status {
        let clock = asNode.state.runtime
        let parent = belay_ctx(bits: above.bits)
        let first = min(end, pointee.deadline.get())
        let isSet = wakers.wake(atEndOf: parent) && (first == Clock.never || wakers.wake(at: first, of: parent))
        // With the parent or its runtime gone there is nothing to hear of, and the look below says so.
        if !isSet && belay_last_status() != BELAY_ESTALE { return belay_last_status() }
        while true {
            // Before the look, so that a waker that comes after it is not missed.
            wakers.prepare()
            let state = settle()
            if state.isDone { return state.verdict.status }
            if end != Clock.never && (Clock.now(in: clock) >= end || WaitVirtual.hasStopped(clock)) {
                return BELAY_TIMEOUT
            }
            // Its own cancel wakes only those who sleep on its own word.
            wakers.sleep(until: Clock.after(1_000_000))
        }
    }
}

/// Callbacks and timers that wake a thread, and the word that it sleeps on meanwhile.
private struct Wakers {
    private let word: UnsafeMutablePointer<Atomic<UInt32>>
    /// From the front callbacks, from the back timers.
    private let handles: UnsafeMutablePointer<UInt64>
    private let room: Int
    private var callbacks = 0
    private var timers = 0

    /// For so many contexts, each with a callback and a timer, and one timer more: `words` has two for each, and two.
    init(_ words: UnsafeMutablePointer<UInt64>, for contexts: Int) {
        word = UnsafeMutableRawPointer(words).initializeMemory(as: Atomic<UInt32>.self, to: Atomic(0))
        handles = words + 1
        room = 2 * contexts + 1
    }

    @inline(never) mutating func wake(atEndOf ctx: belay_ctx) -> Bool {
        let reg = Registration.add(ctx, Wait.waker, word, flags: Task.inline | Task.waker)
        if reg.bits == 0 { return false }
        handles[callbacks] = reg.bits
        callbacks += 1
        return true
    }

    /// At an instant of the context's clock.
    @inline(never) mutating func wake(at instant: Int64, of ctx: belay_ctx) -> Bool {
        let delay = instant &- Clock.now(in: Handle(ctx).runtime)
        let timer = TimerTask.add(ctx, delay, period: 0, Wait.waker, word, flags: Task.waker)
        if timer.bits == 0 { return false }
        timers += 1
        handles[room - timers] = timer.bits
        return true
    }

    /// From here on a waker ends the next sleep.
    func prepare() {
        // An exchange and not a store: a waker (`Wait.waker`) writes its 1 after what it tells of, so where this 0 undoes
        // the 1 it has read it, and the looks, which are no more than acquire, see what it told of.
        _ = word.pointee.exchange(0, ordering: .sequentiallyConsistent)
        // StoreLoad: where this 0 came first, the waker's 1 ends the sleep.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
    }

    func sleep(until end: Int64) { belaycore_futex_wait(word, 0, end) }

    /// When it returns, nobody touches the word any more.
    func withdraw() {
        for i in 0..<callbacks { Wait.withdraw(belay_reg(bits: handles[i])) }
        for i in room - timers..<room {
            let timer = belay_timer(bits: handles[i])
            if belay_timer_stop(timer) == BELAY_STOP_RUNNING { _ = belay_timer_stop_wait(timer, Clock.never) }
        }
    }
}
