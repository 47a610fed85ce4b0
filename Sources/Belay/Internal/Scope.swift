// SPDX-License-Identifier: Apache-2.0
import CBelay

// What all scope functions share: bind the context as Context.current, run the body, close at the end.
//
// The standard library's scope functions (TaskLocal.withValue, withTaskCancellationHandler) rethrow without a type, and
// want a result that can be copied. So the body's outcome goes around them, as a Result.
//
// They take plain `async` closures, and such a closure in a `nonisolated(nonsending)` function runs on the global
// executor: the body would leave the caller's actor, and come back, at ten microseconds each. Therefore what calls them
// has the caller's actor as an `isolated` parameter, and its closures capture that.

/// Owns `context` for as long as `body` runs.
@inlinable
func withScope<R: ~Copyable, E: Error>(of context: Context, _ body: (Context) throws(E) -> R) throws(E) -> R {
    defer { context.close() }
    var outcome: Result<R, E>?
    Context.$current.withValue(context) {
        do throws(E) { outcome = .success(try body(context)) } catch { outcome = .failure(error) }
    }
    return try outcome.take()!.get()
}

/// The same for an `async` body, on the caller's actor. The context stays as it is when the task is cancelled.
@inlinable
func withScope<R: ~Copyable, E: Error>(
    of context: Context,
    isolation: isolated (any Actor)?,
    _ body: nonisolated(nonsending) (Context) async throws(E) -> R
) async throws(E) -> R {
    defer { context.close() }
    var outcome: Result<R, E>?
    await Context.$current.withValue(context) {
        _ = isolation
        do throws(E) { outcome = .success(try await body(context)) } catch { outcome = .failure(error) }
    }
    return try outcome.take()!.get()
}

/// The same, and cancelling the task cancels the context. The handler may come late, even after the close: the handle
/// is stale by then, and cancelling it does nothing.
@inlinable
func withTaskScope<R: ~Copyable, E: Error>(
    of context: Context,
    isolation: isolated (any Actor)?,
    _ body: nonisolated(nonsending) (Context) async throws(E) -> R
) async throws(E) -> R {
    defer { context.close() }
    var outcome: Result<R, E>?
    await withTaskCancellationHandler {
        _ = isolation
        await Context.$current.withValue(context) {
            _ = isolation
            do throws(E) { outcome = .success(try await body(context)) } catch { outcome = .failure(error) }
        }
    } onCancel: {
        context.cancel(.taskCancelled)
    }
    return try outcome.take()!.get()
}
