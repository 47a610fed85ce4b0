// SPDX-License-Identifier: Apache-2.0
import CBelay

/// Owns a context whose life fits no scope: a connection's, a pool's, one that an object keeps.
///
/// ```swift
/// final class Connection {
///     private let life = OwnedContext(timeout: .seconds(3600), parent: .background)
///     func serve() async { await Context.$current.withValue(life.context) { … } }
/// }   // the connection's end is the end of all its work
/// ```
///
/// It is closed exactly once: by ``close()`` or at the end of its life, whichever happens first. Closing cancels what
/// can be cancelled. Cannot be copied; ``context`` can, and reads as done afterwards.
///
/// None of the initialisers fails: what could not be made is a context that reads as done, with
/// ``ContextError/unavailable(_:)``.
public struct OwnedContext: ~Copyable, Sendable {
    /// The context. Pass it on freely; it does not keep itself open.
    public private(set) var context: Context

    /// A child of `parent` that ends when it is cancelled or closed or when `parent` ends, whichever happens first.
    public init(parent: Context = .current) {
        context = parent.makeCancel()
    }

    /// The same, and `timeout` from now at the latest. See `withTimeout` for the parameters.
    public init(timeout: Duration, cause: ContextCause? = nil, parent: Context = .current) {
        context = parent.makeTimeout(timeout, cause)
    }

    /// The same, and at `deadline` at the latest. See `withDeadline` for the parameters.
    public init(deadline: SuspendingClock.Instant, cause: ContextCause? = nil, parent: Context = .current) {
        context = parent.makeDeadline(deadline, cause)
    }

    /// The same, for an instant of another clock, such as the one that runs on while the machine sleeps; see
    /// `withDeadline` for what that means.
    @_disfavoredOverload
    public init(deadline: some ContextInstant, cause: ContextCause? = nil, parent: Context = .current) {
        context = parent.makeDeadline(deadline, cause)
    }

    /// A child of `parent` that carries `value` for `key`; `nil` hides the parent's. Closing it ends nothing.
    public init<K: ContextKey>(_ key: K.Type, _ value: K.Value?, parent: Context = .current) {
        context = parent.makeValue(key, value)
    }

    /// A context with the values of `parent` that does not end with it: never done, no deadline, no cause.
    public init(withoutCancel parent: Context) {
        context = parent.makeWithoutCancel()
    }

    /// A child of `parent` that also ends when one of the signals arrives; see `withSignals`. From here to the close
    /// they do not have their default action.
    public init(signals: [ContextSignal], parent: Context = .current) {
        context = parent.makeNotified(signals)
    }

    /// Takes over a context that C code made and whose `belay_close` is now this owner's.
    ///
    /// **Only for a handle that you own**: what a `belay_with_…` function or ``take()`` returned, and nobody else will
    /// close. To close what a scope or another owner has lent takes from under them what they still use: the item of a
    /// ``RequestData`` goes back to its pool, and may be freed, while the scope's body has it. For one more owner there
    /// is ``init(retaining:)``.
    @unsafe
    public init(adopting handle: belay_ctx) {
        context = Context(handle)
    }

    /// One more owner of a context that somebody else owns, so that it stays open for this one too. The last of them to
    /// close cancels it.
    ///
    /// - Throws: ``ContextError/unavailable(_:)`` if it was closed, or never was.
    public init(retaining context: Context) throws(ContextError) {
        let status = belay_retain(context.handle)
        guard status == BELAY_OK else { throw ContextError(status, of: context.handle) }
        self.context = context
    }

    /// Cancels the context if it is live, and gives it up. When this returns everything derived from it reads as done,
    /// and the inline callbacks that this sets off have run. A value that nobody can see any more is released before
    /// this returns, or by the thread that is ending one of its contexts at the same moment.
    public consuming func close() {}  // deinit

    /// Makes the context ready for its next use, at less than the price of a new one: ``context`` is a new handle from
    /// then on, and the old one and its copies read as done.
    ///
    /// Its own deadline and that deadline's cause are taken away (``Context/setTimeout(_:)`` gives it a new one); the
    /// parent stays. A timer of the old life that is just about to fire finds nothing.
    ///
    /// - Throws: ``ContextError/unavailable(_:)`` if anybody else has a hold on it: children, other owners, callbacks,
    ///   waiters; or if it is of a kind that cannot be reset. If it has ended, its error. The owner then still has the
    ///   old one, to be closed as ever.
    public mutating func reset() throws(ContextError) {
        let fresh = belay_reset(context.handle)
        guard fresh.bits != 0 else { throw .lastFailure(of: context) }
        context = Context(fresh)
    }

    /// Gives up ownership without closing, for C code that calls `belay_close`. `{0}` for a context that could not be
    /// made.
    public consuming func take() -> belay_ctx {
        let handle = context.whyUnmade == nil ? context.handle : belay_ctx()
        discard self
        return handle
    }

    deinit { context.close() }
}
