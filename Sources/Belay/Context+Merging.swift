// SPDX-License-Identifier: Apache-2.0
import CBelay

// Contexts with more than one parent.

/// Runs `body` with a context that ends when the first of `parents` does, with that one's error and cause.
///
/// ```swift
/// // The work is the request's, and yet must not outlive its connection.
/// try await withMerged([request, connection.context]) { ctx in try await serve(ctx) }
/// ```
///
/// Its deadline is the earliest of theirs; it has the values of the first one. It can be cancelled by itself, which
/// ends none of the parents. Parents that repeat another, or can never end, count for nothing. It is
/// ``Context/current`` while `body` runs, and is closed when `body` returns or throws. Of two parents that end at the
/// same time one wins.
///
/// It listens to its parents, and arms their timers: dearer than any other derivation. Code that is `async` gets the
/// `async` form: see ``Context/withCancel(_:)-1mtr8``.
///
/// - Parameters:
///   - parents: At least one. If one of them was closed, or there is none, the context reads as done, with
///     ``ContextError/unavailable(_:)``.
///   - body: Gets the context. A handle that it lets escape reads as done later.
/// - Returns: What `body` returns, also when the context has ended meanwhile.
/// - Throws: What `body` throws, and nothing else.
@_disfavoredOverload
@inlinable
public func withMerged<R: ~Copyable, E: Error>(
    _ parents: [Context],
    _ body: (Context) throws(E) -> R
) throws(E) -> R {
    try withScope(of: .makeMerged(parents), body)
}

/// Runs an `async` body with a context that ends when the first of `parents` does, on the caller's actor.
///
/// As the synchronous form, and in addition: when the task is cancelled, so is the context, with the error
/// ``ContextError/taskCancelled``.
@inlinable
public nonisolated(nonsending) func withMerged<R: ~Copyable, E: Error>(
    _ parents: [Context],
    _ body: nonisolated(nonsending) (Context) async throws(E) -> R
) async throws(E) -> R {
    try await withTaskScope(of: .makeMerged(parents), isolation: #isolation, body)
}

extension Context {
    /// Runs `body` with a context that ends when this one or one of `others` does, and has the values of this one.
    ///
    /// The same as `withMerged([self] + others)`, which has the contract.
    @_disfavoredOverload
    @inlinable
    public func withMerged<R: ~Copyable, E: Error>(
        with others: [Context],
        _ body: (Context) throws(E) -> R
    ) throws(E) -> R {
        try withScope(of: .makeMerged([self] + others), body)
    }

    /// The `async` form, on the caller's actor. Cancelling the task cancels the context.
    @inlinable
    public nonisolated(nonsending) func withMerged<R: ~Copyable, E: Error>(
        with others: [Context],
        _ body: nonisolated(nonsending) (Context) async throws(E) -> R
    ) async throws(E) -> R {
        try await withTaskScope(of: .makeMerged([self] + others), isolation: #isolation, body)
    }

    @usableFromInline
    static func makeMerged(_ parents: [Context]) -> Context {
        let handle = parents.map(\.handle).withUnsafeBufferPointer { belay_merge($0.baseAddress, $0.count) }
        guard handle.bits != 0 else { return unmade(under: parents) }
        let merged = Context(handle)
        guard parents.contains(merged) else { return merged }
        // Where a single parent is left C answers with that one, which a cancel of ours must not end.
        defer { merged.close() }
        return merged.makeCancel()
    }
}

extension OwnedContext {
    /// A context that ends when the first of `parents` does; see `withMerged`.
    public init(merging parents: [Context]) {
        self.init(adopting: Context.makeMerged(parents).handle)
    }
}
