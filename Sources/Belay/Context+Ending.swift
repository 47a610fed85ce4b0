// SPDX-License-Identifier: Apache-2.0
import CBelay

extension Context {
    /// Ends the context and everything derived from it.
    ///
    /// When this returns every descendant reads as done, also if another thread's cancel came first. Callbacks may
    /// still be running; inline ones (``onDoneInline(_:)``) that this cancel sets off have run. A context that has
    /// ended keeps its first error and cause. Cancelling does not close: the scope or the ``OwnedContext`` does that.
    ///
    /// Cancels contexts, not tasks: see ``withTaskCancellation(_:)`` for work that should see `Task.isCancelled`.
    ///
    /// > Note: On the context of a `withValue`, `withData` or `withoutCancel` scope, and on a root, this does nothing,
    /// > and nothing but the result says so. Cancel the context around that scope, or take `withCancel` inside it. Look
    /// > at the result where you did not make the context yourself.
    ///
    /// - Returns: False if this context ends only with its parent, or never, and so was not ended. True otherwise.
    @discardableResult
    public func cancel() -> Bool {
        belay_cancel(handle) != BELAY_ENOCANCEL
    }

    /// The same, with a cause that this context and every descendant that it ends will give.
    ///
    /// The cause is ignored where the context has ended before. Under extreme memory pressure the context ends without
    /// it.
    ///
    /// - Parameter cause: Copied; a message of more than 55 bytes of UTF-8 is cut between characters.
    /// - Returns: As ``cancel()``.
    @discardableResult
    public func cancel(_ cause: ContextCause) -> Bool {
        belay_cancel_cause(handle, cause.code, cause.message) != BELAY_ENOCANCEL
    }

    /// The same as ``cancel(_:)`` with `ContextCause(code: code, message: message)`.
    @discardableResult
    public func cancel(code: some BinaryInteger, message: String) -> Bool {
        cancel(ContextCause(code: code, message: message))
    }
}
