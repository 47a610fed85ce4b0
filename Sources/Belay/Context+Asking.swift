// SPDX-License-Identifier: Apache-2.0
import CBelay

/// Questions. None of them blocks, allocates a context, or runs a callback. An answer «done» is final, and the same for
/// everyone who asks, with the same error and the same cause.
extension Context {
    /// True once the context has ended or its deadline has passed; also for a context that was closed or never was.
    @inlinable
    public var isDone: Bool { belay_is_done(handle) }

    /// Why the context ended; `nil` while it is live.
    ///
    /// Agrees with ``isDone``: if that was true before, this is not `nil`. Of a deadline and a cancel that race, one
    /// wins, and everybody sees that one.
    public var error: ContextError? {
        let status = belay_err(handle)
        return status == BELAY_OK ? nil : ContextError(status, of: handle)
    }

    /// The code and the message of the end; `nil` while the context is live. The same as `error?.cause`.
    public var cause: ContextCause? { error?.cause }

    /// Throws if the context has ended; does nothing while it is live.
    ///
    /// For the seams of long work: between two steps, at the head of a loop. Does not look at `Task.isCancelled`:
    /// inside an `async` scope function a cancelled task ends the scope's context, so there one check sees both, a
    /// moment after the task does.
    ///
    /// - Throws: what ``error`` says.
    @inlinable
    public func check() throws(ContextError) {
        if belay_is_done(handle) { throw doneError() }
    }

    /// The time left: `nil` where there is no deadline, zero once the context is done for whatever reason. Never
    /// negative; when it is zero ``isDone`` is true.
    ///
    /// It is a bound for what comes next, such as a socket's timeout or the budget that goes out with a request.
    public var remaining: Duration? {
        let left = belay_remaining(handle)
        return left == forever ? nil : .nanoseconds(left)
    }

    /// The instant at which the context ends at the latest: its own deadline or an ancestor's, whichever is earlier.
    /// `nil` where there is none, and for a context that was closed. Stays readable after the end.
    ///
    /// The runtime's clock is `CLOCK_MONOTONIC`, which is Swift's `SuspendingClock`: it stands still while the machine
    /// sleeps. There is no exact counterpart on `ContinuousClock`. Under a ``VirtualClock`` this is the present plus
    /// ``remaining``; ``VirtualClock/deadline(of:)`` is exact there.
    public var deadline: SuspendingClock.Instant? {
        var nanoseconds: belay_instant = 0
        guard belay_deadline(handle, &nanoseconds) else { return nil }
        return ContextTime(of: self).suspendingInstant(nanoseconds)
    }

    /// The error of a context that is known to be done.
    @usableFromInline
    func doneError() -> ContextError { ContextError(belay_err(handle), of: handle) }
}
