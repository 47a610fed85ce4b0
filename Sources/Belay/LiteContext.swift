// SPDX-License-Identifier: Apache-2.0
import CBelay

/// A leaf for hot paths: a context that is asked, waited for, cancelled and closed, and nothing else.
///
/// ```swift
/// let lite = ctx.lite(timeout: .milliseconds(5))
/// while let row = rows.next() {
///     try lite.check()
///     …
/// }   // closed
/// ```
///
/// It joins no list, takes no lock and keeps no reference on its parent, so it shares nothing with other threads. Under
/// parents that change, as a request's own do, that saves two locked instructions of three and half of the time; under
/// one that its thread keeps coming back to, next to nothing. The price: nothing can be derived from it or registered
/// on it, it has no values, and it is not ``Context/current``. Therefore it is a type of its own and not a ``Context``.
/// It ends with its parent; if that was closed, and nobody had asked before, it knows no cause.
///
/// It is closed exactly once: by ``close()`` or at the end of its life. What could not be made (the parent was closed;
/// the parent is lite; no memory) reads as done, with ``ContextError/unavailable(_:)``.
public struct LiteContext: ~Copyable, Sendable {
    /// The C handle, for C code that asks it, waits for it or cancels it. Do not close it.
    public let handle: belay_ctx

    /// A lite context under `parent` that ends `timeout` from now at the latest; `nil` adds no deadline, and reads no
    /// clock.
    @inlinable
    public init(timeout: Duration? = nil, parent: Context = .current) {
        handle = Context(made: belay_lite(parent.handle, timeout?.belayNanoseconds ?? .max), under: parent).handle
    }

    /// True once the context has ended or its deadline has passed.
    @inlinable
    public var isDone: Bool { belay_is_done(handle) }

    /// Why the context ended; `nil` while it is live. Agrees with ``isDone``.
    public var error: ContextError? { asContext.error }

    /// Throws ``error`` if the context has ended; does nothing while it is live.
    @inlinable
    public func check() throws(ContextError) {
        if belay_is_done(handle) { throw Context(handle).doneError() }
    }

    /// The time left: `nil` where there is no deadline, zero once the context is done.
    public var remaining: Duration? { asContext.remaining }

    /// The instant at which the context ends at the latest: its own deadline or an ancestor's. `nil` where there is
    /// none.
    public var deadline: SuspendingClock.Instant? { asContext.deadline }

    /// Ends the context, with a cause if there is one to give. Ignored where it has ended already.
    public func cancel(_ cause: ContextCause? = nil) {
        if let cause { asContext.cancel(cause) } else { asContext.cancel() }
    }

    /// Blocks the calling thread until the context is done or `timeout` has passed; see ``Context/wait(timeout:)``.
    @available(*, noasync, message: "blocks its thread; use a context of the ordinary kind and 'await done()'")
    public func wait(timeout: Duration? = nil) -> ContextError? { asContext.wait(timeout: timeout) }

    /// Cancels the context if it is live, and gives it up.
    public consuming func close() {}  // deinit

    /// What can be asked of a context can be asked of this one in the same words.
    private var asContext: Context { Context(handle) }

    deinit { _ = belay_close(handle) }
}

extension Context {
    /// A lite context under this one; the same as `LiteContext(timeout: timeout, parent: self)`.
    @inlinable
    public func lite(timeout: Duration? = nil) -> LiteContext { LiteContext(timeout: timeout, parent: self) }

    /// Runs `body` with a lite context under this one, and closes it when `body` returns or throws.
    ///
    /// It is not ``current`` while `body` runs, because nothing can be derived from it.
    ///
    /// - Parameters:
    ///   - timeout: `nil` adds no deadline.
    ///   - body: Gets the lite context, on loan.
    /// - Returns: What `body` returns, also when the context has ended meanwhile.
    /// - Throws: What `body` throws, and nothing else.
    @inlinable
    public func withLite<R: ~Copyable, E: Error>(
        timeout: Duration? = nil,
        _ body: (borrowing LiteContext) throws(E) -> R
    ) throws(E) -> R {
        let lite = lite(timeout: timeout)
        return try body(lite)
    }

    /// Runs an `async` body with a lite context under this one, on the caller's actor.
    ///
    /// As the synchronous form. Unlike the other scopes **this one does not look at task cancellation**, so that it
    /// stays as cheap as it is: where this context belongs to a scope that does, its end is the lite one's too.
    @inlinable
    public nonisolated(nonsending) func withLite<R: ~Copyable, E: Error>(
        timeout: Duration? = nil,
        _ body: nonisolated(nonsending) (borrowing LiteContext) async throws(E) -> R
    ) async throws(E) -> R {
        let lite = lite(timeout: timeout)
        return try await body(lite)
    }
}
