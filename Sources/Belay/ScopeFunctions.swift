// SPDX-License-Identifier: Apache-2.0

// The scope functions of Context, derived from Context.current.
//
// Where the synchronous form is marked as disfavored, here and there: a closure without `await` fits both forms, and
// the compiler would take the synchronous one for it, in async code too. Nobody would then see that the task is
// cancelled. The four that do not look at the task (values, items, `withoutCancel`, lite contexts) are left as they
// are: which form it is makes no difference, and code that does not wait needs no `await`.

/// Runs `body` with a child of ``Context/current`` that can be cancelled.
///
/// The same as `Context.current.withCancel`, which has the contract.
///
/// **The end of the context does not interrupt `body`**, which asks with ``Context/check()`` or ``Context/isDone``.
@_disfavoredOverload
@inlinable
public func withCancel<R: ~Copyable, E: Error>(
    _ body: (Context) throws(E) -> R
) throws(E) -> R {
    try Context.current.withCancel(body)
}

/// The `async` form: `Context.current.withCancel`, on the caller's actor. Cancelling the task cancels the child.
///
/// **The end of the context does not interrupt `body`**, and does not make this return: `Task.sleep(for: .seconds(2))`
/// in it takes two seconds in any case. It asks with ``Context/check()``; waits with ``Context/sleep(for:)`` and
/// ``Context/done()``; or wraps what knows only tasks in ``Context/withTaskCancellation(_:)``:
///
/// ```swift
/// try await withCancel { ctx in
///     try await ctx.withTaskCancellation { _ in try await client.get(url) }
/// }
/// ```
@inlinable
public nonisolated(nonsending) func withCancel<R: ~Copyable, E: Error>(
    _ body: nonisolated(nonsending) (Context) async throws(E) -> R
) async throws(E) -> R {
    try await Context.current.withCancel(body)
}

/// Runs `body` with a child of ``Context/current`` that ends `timeout` from now at the latest.
///
/// The same as `Context.current.withTimeout`, which has the contract.
///
/// **The deadline does not interrupt `body`**, which asks with ``Context/check()`` or ``Context/isDone``.
@_disfavoredOverload
@inlinable
public func withTimeout<R: ~Copyable, E: Error>(
    _ timeout: Duration,
    cause: ContextCause? = nil,
    _ body: (Context) throws(E) -> R
) throws(E) -> R {
    try Context.current.withTimeout(timeout, cause: cause, body)
}

/// The `async` form: `Context.current.withTimeout`, on the caller's actor. Cancelling the task cancels the child.
///
/// **The deadline does not interrupt `body`**, and does not make this return: `Task.sleep(for: .seconds(2))` in it
/// takes two seconds in any case. It asks with ``Context/check()``; waits with ``Context/sleep(for:)`` and
/// ``Context/done()``; or wraps what knows only tasks in ``Context/withTaskCancellation(_:)``:
///
/// ```swift
/// try await withTimeout(.milliseconds(20)) { ctx in
///     try await ctx.withTaskCancellation { _ in try await client.get(url) }
/// }
/// ```
@inlinable
public nonisolated(nonsending) func withTimeout<R: ~Copyable, E: Error>(
    _ timeout: Duration,
    cause: ContextCause? = nil,
    _ body: nonisolated(nonsending) (Context) async throws(E) -> R
) async throws(E) -> R {
    try await Context.current.withTimeout(timeout, cause: cause, body)
}

/// Runs `body` with a child of ``Context/current`` that ends at `deadline` at the latest.
///
/// The same as `Context.current.withDeadline`, which has the contract.
///
/// **The deadline does not interrupt `body`**, which asks with ``Context/check()`` or ``Context/isDone``.
@_disfavoredOverload
@inlinable
public func withDeadline<R: ~Copyable, E: Error>(
    _ deadline: SuspendingClock.Instant,
    cause: ContextCause? = nil,
    _ body: (Context) throws(E) -> R
) throws(E) -> R {
    try Context.current.withDeadline(deadline, cause: cause, body)
}

/// The `async` form: `Context.current.withDeadline`, on the caller's actor. Cancelling the task cancels the child.
///
/// **The deadline does not interrupt `body`**, and does not make this return: `Task.sleep(for: .seconds(2))` in it
/// takes two seconds in any case. It asks with ``Context/check()``; waits with ``Context/sleep(for:)`` and
/// ``Context/done()``; or wraps what knows only tasks in ``Context/withTaskCancellation(_:)``:
///
/// ```swift
/// try await withDeadline(.now + .seconds(1)) { ctx in
///     try await ctx.withTaskCancellation { _ in try await client.get(url) }
/// }
/// ```
@inlinable
public nonisolated(nonsending) func withDeadline<R: ~Copyable, E: Error>(
    _ deadline: SuspendingClock.Instant,
    cause: ContextCause? = nil,
    _ body: nonisolated(nonsending) (Context) async throws(E) -> R
) async throws(E) -> R {
    try await Context.current.withDeadline(deadline, cause: cause, body)
}

/// Runs `body` with a child of ``Context/current`` that ends when another clock reaches `deadline`: `ContinuousClock`,
/// as a rule.
///
/// The same as `Context.current.withDeadline`, which has the contract.
///
/// **The deadline does not interrupt `body`**, which asks with ``Context/check()`` or ``Context/isDone``.
@_disfavoredOverload
@inlinable
public func withDeadline<R: ~Copyable, E: Error>(
    _ deadline: some ContextInstant,
    cause: ContextCause? = nil,
    _ body: (Context) throws(E) -> R
) throws(E) -> R {
    try Context.current.withDeadline(deadline, cause: cause, body)
}

/// The `async` form: `Context.current.withDeadline`, on the caller's actor. Cancelling the task cancels the child.
///
/// **The deadline does not interrupt `body`**, and does not make this return: `Task.sleep(for: .seconds(2))` in it
/// takes two seconds in any case. It asks with ``Context/check()``; waits with ``Context/sleep(for:)`` and
/// ``Context/done()``; or wraps what knows only tasks in ``Context/withTaskCancellation(_:)``:
///
/// ```swift
/// try await withDeadline(.now + .seconds(1)) { ctx in
///     try await ctx.withTaskCancellation { _ in try await client.get(url) }
/// }
/// ```
@inlinable
public nonisolated(nonsending) func withDeadline<R: ~Copyable, E: Error>(
    _ deadline: some ContextInstant,
    cause: ContextCause? = nil,
    _ body: nonisolated(nonsending) (Context) async throws(E) -> R
) async throws(E) -> R {
    try await Context.current.withDeadline(deadline, cause: cause, body)
}

/// Runs `body` with a child of ``Context/current`` that carries `value` for `key`.
///
/// The same as `Context.current.withValue`, which has the contract.
@inlinable
public func withValue<K: ContextKey, R: ~Copyable, E: Error>(
    _ key: K.Type,
    _ value: K.Value?,
    _ body: (Context) throws(E) -> R
) throws(E) -> R {
    try Context.current.withValue(key, value, body)
}

/// The `async` form: `Context.current.withValue`, on the caller's actor.
@inlinable
public nonisolated(nonsending) func withValue<K: ContextKey, R: ~Copyable, E: Error>(
    _ key: K.Type,
    _ value: K.Value?,
    _ body: nonisolated(nonsending) (Context) async throws(E) -> R
) async throws(E) -> R {
    try await Context.current.withValue(key, value, body)
}

/// Runs `body` with the values of ``Context/current``, and without its end.
///
/// The same as `Context.current.withoutCancel`, which has the contract.
@inlinable
public func withoutCancel<R: ~Copyable, E: Error>(
    _ body: (Context) throws(E) -> R
) throws(E) -> R {
    try Context.current.withoutCancel(body)
}

/// The `async` form: `Context.current.withoutCancel`, on the caller's actor.
@inlinable
public nonisolated(nonsending) func withoutCancel<R: ~Copyable, E: Error>(
    _ body: nonisolated(nonsending) (Context) async throws(E) -> R
) async throws(E) -> R {
    try await Context.current.withoutCancel(body)
}

/// Runs `body` with a child of ``Context/current`` that carries an item of `pool`.
///
/// The same as `Context.current.withData`, which has the contract.
@inlinable
public func withData<Item: ~Copyable & Sendable, R: ~Copyable, E: Error>(
    in pool: RequestDataPool<Item>,
    _ body: (Context, borrowing RequestData<Item>) throws(E) -> R
) throws(E) -> R {
    try Context.current.withData(in: pool, body)
}

/// The `async` form: `Context.current.withData`, on the caller's actor.
@inlinable
public nonisolated(nonsending) func withData<Item: ~Copyable & Sendable, R: ~Copyable, E: Error>(
    in pool: RequestDataPool<Item>,
    _ body: nonisolated(nonsending) (Context, borrowing RequestData<Item>) async throws(E) -> R
) async throws(E) -> R {
    try await Context.current.withData(in: pool, body)
}
