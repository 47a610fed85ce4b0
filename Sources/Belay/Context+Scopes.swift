// SPDX-License-Identifier: Apache-2.0

/// Scopes: each derives a context, lends it to a body, and closes it when the body is over.
extension Context {
    /// Runs `body` with a child of this context that can be cancelled: it ends with `ctx.cancel()`, at the end of the
    /// scope, or when this context ends, whichever happens first.
    ///
    /// The child is ``current`` while `body` runs. When `body` returns or throws the child is closed, and with it
    /// everything that was derived from it has ended. The end of the context does not interrupt `body`: it asks with
    /// ``check()`` or ``isDone``.
    ///
    /// Nothing here looks at task cancellation; the `async` form does. Code that is `async` gets that one, also for a
    /// `body` without `await`, and this one is for all other code: see <doc:Tasks>.
    ///
    /// - Parameter body: Gets the child. A handle that it lets escape reads as done later.
    /// - Returns: What `body` returns, also when the context has ended meanwhile.
    /// - Throws: What `body` throws, and nothing else.
    @_disfavoredOverload
    @inlinable
    public func withCancel<R: ~Copyable, E: Error>(
        _ body: (Context) throws(E) -> R
    ) throws(E) -> R {
        try withScope(of: makeCancel(), body)
    }

    /// Runs an `async` body with a child of this context that can be cancelled, on the caller's actor.
    ///
    /// As the synchronous form, and in addition: when the task is cancelled, so is the child, with the cause
    /// ``ContextCause/taskCancelled``, and its error is ``ContextError/taskCancelled``. Of that and a deadline or
    /// cancel that race the first one wins. (Of the two, `Task.isCancelled` is true first, and the child done a moment
    /// later; child tasks may be cancelled in between.) The other way round, the context's end does not cancel the
    /// task: use ``withTaskCancellation(_:)`` inside for a body that should see `Task.isCancelled`.
    ///
    /// No thread is blocked. `body` is neither `@Sendable` nor moved to another task.
    @inlinable
    public nonisolated(nonsending) func withCancel<R: ~Copyable, E: Error>(
        _ body: nonisolated(nonsending) (Context) async throws(E) -> R
    ) async throws(E) -> R {
        try await withTaskScope(of: makeCancel(), isolation: #isolation, body)
    }

    /// Runs `body` with a child of this context that ends `timeout` from now at the latest, never earlier.
    ///
    /// The earlier of this deadline and the context's own counts. The child is ``current`` while `body` runs, and is
    /// closed when `body` returns or throws. **The deadline does not interrupt `body`**, and this does not return at
    /// the deadline: it returns when `body` does, which asks with ``check()``, ``isDone`` or ``remaining``.
    ///
    /// Nothing here looks at task cancellation; the `async` form does, which `async` code gets: see `withCancel`.
    ///
    /// - Parameters:
    ///   - timeout: Zero and less have passed already: the child is done at birth. What exceeds 292 years means never.
    ///     Fractions of a nanosecond are rounded up.
    ///   - cause: What the child's ``cause`` says if it is this deadline that ends it. A cancel that comes first, or an
    ///     earlier deadline of this context, leaves no trace of it.
    ///   - body: Gets the child. A handle that it lets escape reads as done later.
    /// - Returns: What `body` returns, also when the context has ended meanwhile.
    /// - Throws: What `body` throws, and nothing else.
    @_disfavoredOverload
    @inlinable
    public func withTimeout<R: ~Copyable, E: Error>(
        _ timeout: Duration,
        cause: ContextCause? = nil,
        _ body: (Context) throws(E) -> R
    ) throws(E) -> R {
        try withScope(of: makeTimeout(timeout, cause), body)
    }

    /// Runs an `async` body with a child of this context that ends `timeout` from now at the latest, on the caller's
    /// actor.
    ///
    /// As the synchronous form, and in addition: when the task is cancelled, so is the child, with the error
    /// ``ContextError/taskCancelled``. **The deadline does not interrupt `body`**: it does not cancel the task, and
    /// does not make this return. A body that awaits something which knows nothing of contexts does so in
    /// ``withTaskCancellation(_:)``; else it asks with ``check()``, or waits with ``sleep(for:)`` and ``done()``.
    ///
    /// No thread is blocked. `body` is neither `@Sendable` nor moved to another task.
    @inlinable
    public nonisolated(nonsending) func withTimeout<R: ~Copyable, E: Error>(
        _ timeout: Duration,
        cause: ContextCause? = nil,
        _ body: nonisolated(nonsending) (Context) async throws(E) -> R
    ) async throws(E) -> R {
        try await withTaskScope(of: makeTimeout(timeout, cause), isolation: #isolation, body)
    }

    /// Runs `body` with a child of this context that ends at `deadline` at the latest, never earlier.
    ///
    /// As `withTimeout`, with an instant. `SuspendingClock` is the runtime's own clock (`CLOCK_MONOTONIC`), so the
    /// instant is exact. A bare `.now + .seconds(1)` means this clock.
    ///
    /// - Parameters:
    ///   - deadline: If it has passed the child is done at birth.
    ///   - cause: What the child's ``cause`` says if it is this deadline that ends it.
    ///   - body: Gets the child. A handle that it lets escape reads as done later.
    /// - Returns: What `body` returns, also when the context has ended meanwhile.
    /// - Throws: What `body` throws, and nothing else.
    @_disfavoredOverload
    @inlinable
    public func withDeadline<R: ~Copyable, E: Error>(
        _ deadline: SuspendingClock.Instant,
        cause: ContextCause? = nil,
        _ body: (Context) throws(E) -> R
    ) throws(E) -> R {
        try withScope(of: makeDeadline(deadline, cause), body)
    }

    /// Runs an `async` body with a child of this context that ends at `deadline` at the latest, on the caller's actor.
    ///
    /// As the synchronous form, and in addition: when the task is cancelled, so is the child, with the error
    /// ``ContextError/taskCancelled``. See the `async` form of `withTimeout` for what the deadline does not do.
    @inlinable
    public nonisolated(nonsending) func withDeadline<R: ~Copyable, E: Error>(
        _ deadline: SuspendingClock.Instant,
        cause: ContextCause? = nil,
        _ body: nonisolated(nonsending) (Context) async throws(E) -> R
    ) async throws(E) -> R {
        try await withTaskScope(of: makeDeadline(deadline, cause), isolation: #isolation, body)
    }

    /// Runs `body` with a child of this context that ends when another clock reaches `deadline`, never earlier:
    /// `ContinuousClock`, as a rule.
    ///
    /// That clock runs on while the machine sleeps; the runtime's does not. The instant is therefore turned into the
    /// time from now until then. If the machine sleeps in between, the context ends later than `deadline`, by the
    /// length of the sleep.
    ///
    /// - Parameters:
    ///   - deadline: If it has passed the child is done at birth.
    ///   - cause: What the child's ``cause`` says if it is this deadline that ends it.
    ///   - body: Gets the child. A handle that it lets escape reads as done later.
    /// - Returns: What `body` returns, also when the context has ended meanwhile.
    /// - Throws: What `body` throws, and nothing else.
    @_disfavoredOverload
    @inlinable
    public func withDeadline<R: ~Copyable, E: Error>(
        _ deadline: some ContextInstant,
        cause: ContextCause? = nil,
        _ body: (Context) throws(E) -> R
    ) throws(E) -> R {
        try withScope(of: makeDeadline(deadline, cause), body)
    }

    /// Runs an `async` body with a child of this context that ends when another clock reaches `deadline`, on the
    /// caller's actor: `ContinuousClock`, as a rule.
    ///
    /// As the synchronous form, and in addition: when the task is cancelled, so is the child, with the error
    /// ``ContextError/taskCancelled``. See the `async` form of `withTimeout` for what the deadline does not do.
    @inlinable
    public nonisolated(nonsending) func withDeadline<R: ~Copyable, E: Error>(
        _ deadline: some ContextInstant,
        cause: ContextCause? = nil,
        _ body: nonisolated(nonsending) (Context) async throws(E) -> R
    ) async throws(E) -> R {
        try await withTaskScope(of: makeDeadline(deadline, cause), isolation: #isolation, body)
    }

    /// Runs `body` with a child of this context that carries `value` for `key`, and is otherwise this context: the same
    /// end, deadline and cause.
    ///
    /// The child is ``current`` while `body` runs. Its value hides the parent's for the same key. Closing the child at
    /// the end of the scope ends nothing: contexts derived from it and still open live on, and see the value. The value
    /// is released when the last of those is closed, exactly once.
    ///
    /// There is nothing for task cancellation to end, so this form and the `async` one do the same; `async` code gets
    /// this one for a `body` without `await`.
    ///
    /// > Note: The child cannot be cancelled by itself. `ctx.cancel()` in `body` does nothing, and only its result,
    /// > which may be discarded, says so. Cancel the context around it, or take `withCancel` inside:
    /// > `ctx.withValue(Key.self, value) { $0.withCancel { ctx in … ctx.cancel() … } }`. The same goes for callbacks
    /// > and timers, which do not end with this scope: see ``onDone(_:)``.
    ///
    /// - Parameters:
    ///   - key: The type that is the key.
    ///   - value: `nil` hides the parent's value.
    ///   - body: Gets the child.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws, and nothing else.
    @inlinable
    public func withValue<K: ContextKey, R: ~Copyable, E: Error>(
        _ key: K.Type,
        _ value: K.Value?,
        _ body: (Context) throws(E) -> R
    ) throws(E) -> R {
        try withScope(of: makeValue(key, value), body)
    }

    /// Runs an `async` body with a child of this context that carries `value` for `key`, on the caller's actor.
    ///
    /// As the synchronous form: `ctx.cancel()` in `body` does nothing. Nor does task cancellation do anything to the
    /// child.
    @inlinable
    public nonisolated(nonsending) func withValue<K: ContextKey, R: ~Copyable, E: Error>(
        _ key: K.Type,
        _ value: K.Value?,
        _ body: nonisolated(nonsending) (Context) async throws(E) -> R
    ) async throws(E) -> R {
        try await withScope(of: makeValue(key, value), isolation: #isolation, body)
    }

    /// Runs `body` with a context that has this one's values and does not end with it: never done, no deadline, no
    /// cause.
    ///
    /// For work that must finish although its request has ended, such as an audit record. Derive a timeout from it as
    /// from a root. It is ``current`` while `body` runs. It cannot be cancelled. As with `withValue`, both forms do the
    /// same.
    ///
    /// - Parameter body: Gets the context.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws, and nothing else.
    @inlinable
    public func withoutCancel<R: ~Copyable, E: Error>(
        _ body: (Context) throws(E) -> R
    ) throws(E) -> R {
        try withScope(of: makeWithoutCancel(), body)
    }

    /// Runs an `async` body with a context that has this one's values and does not end with it, on the caller's actor.
    ///
    /// As the synchronous form. It shields from the end of *contexts*: a task that is cancelled stays cancelled, and
    /// what looks at `Task.isCancelled` in `body` still sees that. Scopes derived inside it are ended by the task's
    /// cancellation again.
    @inlinable
    public nonisolated(nonsending) func withoutCancel<R: ~Copyable, E: Error>(
        _ body: nonisolated(nonsending) (Context) async throws(E) -> R
    ) async throws(E) -> R {
        try await withScope(of: makeWithoutCancel(), isolation: #isolation, body)
    }
}
