// SPDX-License-Identifier: Apache-2.0
import CBelay

/// A callback on the end of a context: what ``Context/onDone(_:)`` and ``Context/onDoneInline(_:)`` return.
///
/// Dropping it does nothing: the callback stays, and runs at the context's end. It needs no close; the closure is
/// released when it has run or has been stopped. May be copied, and used on any thread.
public struct Registration: Sendable {
    let handle: belay_reg
    let callback: Callback

    /// Tries to stop the callback, without blocking.
    ///
    /// Takes back one that is waiting for a thread, too. After ``StopOutcome/prevented`` the closure has been released.
    @discardableResult
    public func stop() -> StopOutcome {
        outcome(of: belay_stop(handle))
    }

    /// The same, and if the callback is running waits until it has returned. Suspends, and blocks no thread.
    ///
    /// Cancelling the task does not cut this short.
    ///
    /// - Returns: ``StopOutcome/prevented``, or ``StopOutcome/gone``: then all that the callback wrote is visible, and
    ///   the closure has been released.
    @discardableResult
    public nonisolated(nonsending) func stopAndWait() async -> StopOutcome {
        guard stop() != .prevented else { return .prevented }
        await callback.finish()
        return .gone
    }

    /// The same as ``stopAndWait()`` for a thread that may block.
    ///
    /// - Parameter timeout: How long to wait for a callback that is running, in real time under a ``VirtualClock``
    ///   too; `nil` is as long as it takes.
    /// - Returns: ``StopOutcome/prevented``; ``StopOutcome/gone``: all that the callback wrote is visible;
    ///   ``StopOutcome/running``: it has not returned, because `timeout` passed, because this *is* that callback, or
    ///   because waiting would never end (callbacks that wait for each other).
    @available(*, noasync, message: "blocks its thread; use 'await stopAndWait()'")
    @discardableResult
    public func blockingStopAndWait(timeout: Duration? = nil) -> StopOutcome {
        outcome(of: belay_stop_wait(handle, timeout?.belayNanoseconds ?? forever))
    }

    private func outcome(of status: belay_status) -> StopOutcome {
        switch status {
        case BELAY_STOP_PREVENTED:
            callback.discard()
            return .prevented
        case BELAY_STOP_RUNNING, BELAY_TIMEOUT, BELAY_EDEADLK:
            return .running
        default:
            return .gone
        }
    }
}
