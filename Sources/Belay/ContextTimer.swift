// SPDX-License-Identifier: Apache-2.0

/// A timer under a context: what ``Context/after(_:_:)`` and ``Context/every(_:_:)`` return.
///
/// Dropping it does nothing: the timer stays, until it has run, is stopped, or its context ends. It needs no close. May
/// be copied, and used on any thread.
public struct ContextTimer: Sendable {
    let core: TimerCore

    /// Stops the timer, without blocking.
    ///
    /// - Returns: ``StopOutcome/prevented``: it will not run (again). ``StopOutcome/running``: it is running now, and
    ///   will not run after that; also from inside it. ``StopOutcome/gone``: it has run, was stopped before, or its
    ///   context has ended. The closure is released at once, or when the run that goes on has returned.
    @discardableResult
    public func stop() -> StopOutcome { core.stop() }

    /// Moves the timer, so that it is next due `delay` from now; one that repeats goes on from there.
    ///
    /// For idle timeouts: start it once, move it with each sign of life.
    ///
    /// - Returns: True if it was moved: it will not run at the old time. False if it is running or about to, has run,
    ///   or was stopped; nothing is changed then.
    @discardableResult
    public func reset(_ delay: Duration) -> Bool { core.reset(delay.belayNanoseconds) }
}
