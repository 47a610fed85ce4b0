// SPDX-License-Identifier: Apache-2.0
import CBelay

/// A closure that runs later under a context, once or with a period.
///
/// A C timer runs at its time, also when its context has ended long before, and until then has its reference. Here the
/// closure is to be released when the context ends: so a callback at that end stops the C timer. Each C timer runs
/// once; one that repeats is started anew after each run. So a C timer owns one reference, and gives it up in exactly
/// one of two ways: it runs, or a stop answers «prevented».
///
/// What counts is `state`, and not what C answers: a run begins by entering itself there, unless the timer was ended
/// before.
final class TimerCore: Sendable {
    private struct State: Sendable {
        var body: (@Sendable () -> Void)?  // nil: ended
        var running = false
        var due: belay_instant = 0
        var timer = belay_timer()  // the C timer that is pending
        var arming: UInt64 = 0  // counts C timers
        var rope = belay_reg()  // the callback at the context's end

        /// Ends the timer, and hands out what it held.
        mutating func end() -> State {
            let last = self
            body = nil
            timer = belay_timer()
            rope = belay_reg()
            return last
        }
    }

    private let context: Context
    private let time: ContextTime
    private let period: belay_duration  // 0: once
    private let state: Lock<State>

    init(under context: Context, period: belay_duration, _ body: @escaping @Sendable () -> Void) {
        self.context = context
        time = ContextTime(of: context)
        self.period = period
        state = Lock(State(body: body))
    }

    /// Called once. On a context that is done the timer is ended before this returns.
    func start(after delay: belay_duration) throws(ContextError) {
        let held = Unmanaged.passRetained(self)
        let rope = belay_on_done(
            context.handle, { _ = Unmanaged<TimerCore>.fromOpaque($0!).takeRetainedValue().stop() }, held.toOpaque())
        guard rope.bits != 0 else {
            held.release()
            throw .lastFailure(of: context)
        }
        state.withLock { $0.rope = rope }
        guard arm(at: time.instant(after: delay), delay) else {
            let failure = ContextError.lastFailure(of: context)
            stop()
            throw failure
        }
    }

    /// Ends the timer: it will not run again.
    @discardableResult
    func stop() -> StopOutcome {
        let last = state.withLock { $0.end() }
        release(last)
        return last.body == nil ? .gone : last.running ? .running : .prevented
    }

    func reset(_ delay: belay_duration) -> Bool {
        // Under the lock, which a run takes before it looks when the next one is due: it sees the new time.
        state.withLock { state in
            let due = time.instant(after: delay)
            guard state.timer.bits != 0, belay_timer_reset(state.timer, delay) == BELAY_OK else { return false }
            state.due = due
            return true
        }
    }

    /// Starts a C timer, unless the timer has ended. Answers false if there is none to be had.
    private func arm(at due: belay_instant, _ delay: belay_duration) -> Bool {
        let arming = state.withLock { state -> UInt64? in
            guard state.body != nil else { return nil }
            state.due = due
            state.arming += 1
            return state.arming
        }
        guard let arming else { return true }
        let held = Unmanaged.passRetained(self)
        let timer = belay_timer_after(
            context.handle, delay, { Unmanaged<TimerCore>.fromOpaque($0!).takeRetainedValue().fire() },
            held.toOpaque())
        guard timer.bits != 0 else {
            held.release()
            return false
        }
        // By now it may have run, and another one may be pending, whose handle must stay.
        let ended = state.withLock { state in
            if state.body != nil, state.arming == arming { state.timer = timer }
            return state.body == nil
        }
        if ended { disarm(timer) }
        return true
    }

    /// The C timer calls this.
    private func fire() {
        while let due = run() {
            let delay = due == forever ? forever : due - time.now
            if arm(at: due, delay) { return }
            // The context was closed, or its runtime freed; or a runtime that somebody else drives has no memory left,
            // and cannot wait here. Else this thread is the timer for which there was no memory.
            guard time.isDefault, !context.isDone else {
                stop()
                return
            }
            _ = belay_wait(context.handle, delay)
        }
    }

    /// Runs the closure if the timer has not ended. Answers when to run it again, if at all.
    private func run() -> belay_instant? {
        let (body, planned) = state.withLock { state in
            state.timer = belay_timer()
            state.running = state.body != nil
            return (state.body, state.due)
        }
        guard let body else { return nil }
        // A runtime that is freed runs what is pending early; a `withoutCancel` context is live then.
        let now = time.now
        let wanted = !context.isDone && now >= planned && time.isStill(of: context)
        if wanted { body() }
        let (last, due) = state.withLock { state -> (State?, belay_instant) in
            state.running = false
            guard wanted, period > 0, state.body != nil else { return (state.end(), 0) }
            return (nil, time.nextInstant(after: state.due, every: period))
        }
        guard let last else { return due }
        release(last)
        return nil
    }

    /// Gives back what the timer held when it ended.
    private func release(_ last: State) {
        disarm(last.timer)
        if belay_stop(last.rope) == BELAY_STOP_PREVENTED { Unmanaged.passUnretained(self).release() }
    }

    private func disarm(_ timer: belay_timer) {
        if belay_timer_stop(timer) == BELAY_STOP_PREVENTED { Unmanaged.passUnretained(self).release() }
    }
}
