// SPDX-License-Identifier: Apache-2.0
import CBelay

/// Something with an end of its own, such as a framework's request or a flag, that contexts can hang on.
///
/// ```swift
/// final class StopFlag: ForeignCancellation {
///     let isSet = Atomic<Bool>(false)
///     var error: ContextError? {
///         isSet.load(ordering: .acquiring) ? .cancelled(ContextCause(code: 1, message: "stop")) : nil
///     }
/// }
///
/// try await withForeignParent(flag) { ctx in try await serve(ctx) }
/// ```
///
/// However many contexts hang on it, it sees one registration, or one poll at a time; and no thread waits for it.
/// Write a small adapter, and tell with ``listen(_:)`` how it makes its end known. It is kept alive until the last
/// context that hangs on it has gone, and not longer.
///
/// All of this is called on any thread, with no lock held, and must not block.
public protocol ForeignCancellation: Sendable {
    /// How and why it ended; `nil` while it goes on. Never changes back.
    ///
    /// Asked at the start and at the end; all the time where there is nothing but asking (``ForeignListening/poll``).
    /// ``ContextError/unavailable(_:)`` counts as cancelled.
    var error: ContextError? { get }

    /// The instant at which it ends at the latest. Asked once, at the start. By default there is none.
    var deadline: SuspendingClock.Instant? { get }

    /// A context that it has inside, whose values and end the contexts on it have too. Asked once, at the start. By
    /// default there is none.
    var inner: Context? { get }

    /// Called once, at the start, and says how the end is noticed: it calls `ended`, or a descriptor becomes readable,
    /// or it has to be asked. By default it has to be asked.
    ///
    /// - Parameter ended: To be called when it has ended, on any thread, at once if it has ended before; by then
    ///   ``error`` must say so. To call it twice, or too late, does no harm.
    func listen(_ ended: @escaping @Sendable () -> Void) -> ForeignListening
}

/// How the end of a ``ForeignCancellation`` is noticed.
public enum ForeignListening: Sendable {
    /// It calls the function that it was given. `stop` calls that off: once, before the object is released.
    case callback(stop: (@Sendable () -> Void)?)

    /// A descriptor that is readable from the end on. It must stay open until the object is released.
    case descriptor(Int32)

    /// Only by asking: at once for whoever asks a context, and within 10 ms for those who wait.
    case poll

    /// It ends when its ``ForeignCancellation/inner`` context does, and not otherwise: the fast path. Its contexts
    /// hang on that one directly.
    case inner
}

extension ForeignCancellation {
    /// None.
    public var deadline: SuspendingClock.Instant? { nil }
    /// None.
    public var inner: Context? { nil }
    /// It has to be asked.
    public func listen(_ ended: @escaping @Sendable () -> Void) -> ForeignListening { .poll }
}

/// Runs `body` with a context that ends when `source` does.
///
/// It can be cancelled by itself, which does not end the source. It is ``Context/current`` while `body` runs, and is
/// closed when `body` returns or throws. If a source's end and a cancel race the first one wins. Code that is `async`
/// gets the `async` form: see ``Context/withCancel(_:)-1mtr8``.
///
/// - Parameters:
///   - source: Kept alive until the last context that hangs on it has gone. One that has ended makes a context that is
///     done at birth.
///   - body: Gets the context. If it could not be made (a descriptor that cannot be watched, an inner context that was
///     closed, no memory) it reads as done, with ``ContextError/unavailable(_:)``.
/// - Returns: What `body` returns.
/// - Throws: What `body` throws, and nothing else.
@_disfavoredOverload
@inlinable
public func withForeignParent<R: ~Copyable, E: Error>(
    _ source: some ForeignCancellation,
    _ body: (Context) throws(E) -> R
) throws(E) -> R {
    let wrapper = OwnedContext(foreign: source)
    return try wrapper.context.withCancel(body)
}

/// Runs an `async` body with a context that ends when `source` does, on the caller's actor.
///
/// As the synchronous form, and in addition: when the task is cancelled, so is the context, with the error
/// ``ContextError/taskCancelled``.
@inlinable
public nonisolated(nonsending) func withForeignParent<R: ~Copyable, E: Error>(
    _ source: some ForeignCancellation,
    _ body: nonisolated(nonsending) (Context) async throws(E) -> R
) async throws(E) -> R {
    let wrapper = OwnedContext(foreign: source)
    return try await wrapper.context.withCancel(body)
}

extension OwnedContext {
    /// A context that ends when `source` does: one for as many contexts as are derived from it. See
    /// `withForeignParent`.
    ///
    /// Where the source says ``ForeignListening/inner`` it cannot be cancelled by itself; what is derived from it can.
    public init(foreign source: some ForeignCancellation) {
        self.init(adopting: ForeignBox(source).makeContext().handle)
    }
}
