// SPDX-License-Identifier: Apache-2.0
import CBelay

extension Context {
    /// Runs `body` once when the context is done, on a thread of the runtime's executor; at once if it is done already.
    /// Never on the caller's stack.
    ///
    /// The scope's end closes the context, which ends it, and so runs the callback: to leave without it,
    /// ``Registration/stop()`` it first. On a context that can never end the callback is kept until it is stopped.
    ///
    /// > Note: The context of a `withValue`, `withData` or `withoutCancel` scope has no end of its own, and the scope's
    /// > end is none. So what is registered on it waits for the end of the context above, from which it has its own;
    /// > where there is none (`withoutCancel`), until it is stopped. For a callback that runs at the scope's end take
    /// > `withCancel` inside and register on that; for one that is to be gone by then, stop it.
    ///
    /// `body` may block: the executor starts another thread. What was written before the cancel is visible in it.
    /// ``current`` is not bound in it.
    ///
    /// - Parameter body: Released when it has run or has been stopped.
    /// - Returns: The registration, which may be dropped.
    /// - Throws: ``ContextError/unavailable(_:)`` if the context was closed or never was, or if there is no memory or
    ///   no thread to be had. `body` will then never run.
    @discardableResult
    public func onDone(_ body: @escaping @Sendable () -> Void) throws(ContextError) -> Registration {
        try Callback.register(body, on: self) { belay_after_func(handle, $0, $1) }
    }

    /// The same, but `body` runs on the thread that ends the context: inside the ``cancel()`` or the end of the scope,
    /// on the runtime's own thread at a deadline, or before this returns if the context is done already.
    ///
    /// For short work that does not block, such as setting a flag or resuming a continuation: it delays whoever ends
    /// the context, and at a deadline every other timer.
    ///
    /// On the context of a `withValue`, `withData` or `withoutCancel` scope see the note of ``onDone(_:)``.
    ///
    /// - Parameter body: Released when it has run or has been stopped.
    /// - Returns: The registration, which may be dropped.
    /// - Throws: As ``onDone(_:)``.
    @discardableResult
    public func onDoneInline(_ body: @escaping @Sendable () -> Void) throws(ContextError) -> Registration {
        try Callback.register(body, on: self) { belay_on_done(handle, $0, $1) }
    }
}
