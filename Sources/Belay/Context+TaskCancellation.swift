// SPDX-License-Identifier: Apache-2.0
import CBelay

extension Context {
    /// Runs `body` in a child task that is cancelled when this context ends, so that everything in it that knows
    /// nothing of contexts, and looks at `Task.isCancelled`, stops too.
    ///
    /// ```swift
    /// let page = try await withTimeout(.seconds(1)) { ctx in
    ///     try await ctx.withTaskCancellation { _ in try await client.get(url) }
    /// }
    /// ```
    ///
    /// **This waits for `body`**, as structured concurrency does: it returns when `body` has returned, and not at the
    /// deadline. A body that ignores its cancellation makes this late. When the calling task is cancelled so is the
    /// child.
    ///
    /// The price: a task for each call, and `body` leaves the caller's actor. It must therefore be `sending`, and its
    /// result `Sendable`. Where the work asks its context, or waits with ``sleep(for:)`` and ``done()``, the plain
    /// scope functions do without. (Swift has no way to cancel a part of a running task.)
    ///
    /// Of the context's end and `body`'s return that race, `body`'s return counts: a result that was reached is not
    /// thrown away. An ended context cancels the child at birth; `body` is called all the same.
    ///
    /// - Parameter body: Gets this context, which is ``current`` meanwhile.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws; but in place of a `CancellationError`, if the context has ended, its ``error``,
    ///   which tells the deadline, a cancel and a cancelled task apart. Other errors pass: a client's own «cancelled»
    ///   error is not recognised; ask ``error`` where it matters. ``ContextError/unavailable(_:)`` if the context
    ///   cannot be listened to, in which case `body` is not called.
    public nonisolated(nonsending) func withTaskCancellation<R: Sendable>(
        _ body: sending @escaping (Context) async throws -> R
    ) async throws -> R {
        let bell = DoneBell()
        let rope = bell.ring(atEndOf: self)
        if rope == nil {
            let failure = ContextError.lastFailure(of: self)
            guard isDone else { throw failure }
            bell.ring()
        }
        defer { rope?.untie() }
        do {
            return try await run(body, until: bell, isolation: #isolation).get()
        } catch is CancellationError {
            throw error ?? CancellationError()
        }
    }

    /// Runs `body` in a child task, and cancels that if the context is done when `bell` rings.
    private func run<R: Sendable>(
        _ body: sending @escaping (Context) async throws -> R, until bell: DoneBell, isolation: isolated (any Actor)?
    ) async -> Result<R, any Error> {
        nonisolated(unsafe) let body = body  // sent to us, and from here to one child
        return await withTaskGroup(of: Result<R, any Error>.self) { group in
            if isDone { group.cancelAll() }
            group.addTask {
                defer { bell.ring() }
                do {
                    return .success(try await Self.$current.withValue(self) { try await body(self) })
                } catch {
                    return .failure(error)
                }
            }
            await bell.sleep(isolation: isolation)
            if isDone { group.cancelAll() }
            return await group.next()!
        }
    }
}
