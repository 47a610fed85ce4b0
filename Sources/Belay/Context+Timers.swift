// SPDX-License-Identifier: Apache-2.0
import CBelay

extension Context {
    /// Runs `body` once, `delay` from now, never early, on a thread of the runtime's executor; not if the context has
    /// ended by then, or its runtime has.
    ///
    /// ``current`` is not bound in `body`, which may block.
    ///
    /// > Note: A timer on the context of a `withValue`, `withData` or `withoutCancel` scope does not go at that scope's
    /// > end, which ends nothing, but when the context ends that the scope's has its end from. To have it go with the
    /// > scope take `withCancel` inside, or stop the timer.
    ///
    /// - Parameters:
    ///   - delay: Zero and less mean as soon as possible. What exceeds 292 years means never, until
    ///     ``ContextTimer/reset(_:)``.
    ///   - body: Released when it has run, when the timer is stopped, or when the context or the runtime ends.
    /// - Returns: The timer, which may be dropped.
    /// - Throws: ``ContextError/unavailable(_:)`` if the context was closed or never was, or if there is no memory or
    ///   no thread to be had. `body` will then never run. On a context that has ended but is not closed this does not
    ///   throw.
    @discardableResult
    public func after(
        _ delay: Duration, _ body: @escaping @Sendable () -> Void
    ) throws(ContextError) -> ContextTimer {
        let core = TimerCore(under: self, period: 0, body)
        try core.start(after: delay.belayNanoseconds)
        return ContextTimer(core: core)
    }

    /// Runs `body` every `period`, first after one period, until the timer is stopped or the context ends. On a thread
    /// of the runtime's executor.
    ///
    /// The times are the start plus whole periods: they do not drift. One run at a time: times that pass while `body`
    /// runs are skipped, not made up for. On a context that never ends, it repeats until it is stopped.
    ///
    /// On the context of a `withValue`, `withData` or `withoutCancel` scope see the note of ``after(_:_:)``.
    ///
    /// - Parameters:
    ///   - period: Must be more than zero.
    ///   - body: Released when the timer is stopped or the context ends, after the run that goes on then.
    /// - Returns: The timer, which may be dropped.
    /// - Throws: As ``after(_:_:)``.
    @discardableResult
    public func every(
        _ period: Duration, _ body: @escaping @Sendable () -> Void
    ) throws(ContextError) -> ContextTimer {
        precondition(period > .zero, "a period must be more than zero")
        let nanoseconds = period.belayNanoseconds
        let core = TimerCore(under: self, period: nanoseconds, body)
        try core.start(after: nanoseconds)
        return ContextTimer(core: core)
    }

    /// The same times as an `AsyncSequence`, for a loop in a task: it blocks no thread, and ends when the context does.
    ///
    /// ```swift
    /// for await _ in ctx.ticks(every: .seconds(30)) { await refresh() }
    /// ```
    ///
    /// - Parameter period: Must be more than zero.
    public func ticks(every period: Duration) -> ContextTicks {
        precondition(period > .zero, "a period must be more than zero")
        return ContextTicks(context: self, period: period)
    }
}
