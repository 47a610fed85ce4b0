// SPDX-License-Identifier: Apache-2.0
import CBelay

/// A signal that a context can end with, such as ``terminate``.
public struct ContextSignal: RawRepresentable, Sendable, Hashable {
    /// The system's number.
    public let rawValue: Int32

    /// The signal with that number. Which ones cannot be watched is found out when one is.
    public init(rawValue: Int32) { self.rawValue = rawValue }

    /// SIGTERM: a supervisor asks the process to end.
    public static let terminate = ContextSignal(rawValue: 15)
    /// SIGINT: somebody pressed Ctrl-C.
    public static let interrupt = ContextSignal(rawValue: 2)
    /// SIGHUP: the terminal has gone; of daemons: read your settings again.
    public static let hangup = ContextSignal(rawValue: 1)
    /// SIGQUIT.
    public static let quit = ContextSignal(rawValue: 3)
    /// SIGUSR1.
    public static let user1 = ContextSignal(rawValue: 10)
    /// SIGUSR2.
    public static let user2 = ContextSignal(rawValue: 12)
    /// SIGALRM.
    public static let alarm = ContextSignal(rawValue: 14)
}

extension ContextSignal: CustomStringConvertible {
    /// Such as `signal 15`.
    public var description: String { "signal \(rawValue)" }
}

/// Runs `body` with a child of ``Context/current`` that also ends when one of the signals arrives.
///
/// The same as `Context.current.withSignals`, which has the contract.
@_disfavoredOverload
@inlinable
public func withSignals<R: ~Copyable, E: Error>(
    _ signals: [ContextSignal],
    _ body: (Context) throws(E) -> R
) throws(E) -> R {
    try Context.current.withSignals(signals, body)
}

/// The `async` form: `Context.current.withSignals`, on the caller's actor. Cancelling the task cancels the child.
@inlinable
public nonisolated(nonsending) func withSignals<R: ~Copyable, E: Error>(
    _ signals: [ContextSignal],
    _ body: nonisolated(nonsending) (Context) async throws(E) -> R
) async throws(E) -> R {
    try await Context.current.withSignals(signals, body)
}

extension Context {
    /// Runs `body` with a child of this context that also ends when one of the signals arrives.
    ///
    /// ```swift
    /// await withSignals([.terminate, .interrupt]) { ctx in
    ///     await server.serve(until: ctx)
    ///     log("\(ctx.cause!)")                 // signal 15 (SIGTERM)
    /// }
    /// ```
    ///
    /// While `body` runs the signals do not have their default action, however many come: the process is not killed.
    /// Signals that came before do not end the child; each that comes later does. The child is ``current`` meanwhile.
    /// Code that is `async` gets the `async` form: see `withCancel`.
    ///
    /// In a test send the signal to the process: `kill(getpid(), SIGTERM)`. `raise` sends it to its own thread, and the
    /// threads that run tasks block signals: there it would never arrive.
    ///
    /// - Parameters:
    ///   - signals: If one of them cannot be watched (SIGKILL, SIGSEGV …) the child reads as done, with
    ///     ``ContextError/unavailable(_:)``.
    ///   - body: Gets the child.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws, and nothing else.
    @_disfavoredOverload
    @inlinable
    public func withSignals<R: ~Copyable, E: Error>(
        _ signals: [ContextSignal],
        _ body: (Context) throws(E) -> R
    ) throws(E) -> R {
        try withScope(of: makeNotified(signals), body)
    }

    /// Runs an `async` body with a child of this context that also ends when one of the signals arrives, on the
    /// caller's actor.
    ///
    /// As the synchronous form, and in addition: when the task is cancelled, so is the child, with the error
    /// ``ContextError/taskCancelled``.
    @inlinable
    public nonisolated(nonsending) func withSignals<R: ~Copyable, E: Error>(
        _ signals: [ContextSignal],
        _ body: nonisolated(nonsending) (Context) async throws(E) -> R
    ) async throws(E) -> R {
        try await withTaskScope(of: makeNotified(signals), isolation: #isolation, body)
    }

    /// The signal that ended this context, or the one above it from which it has its end; nil if it is live or ended
    /// otherwise.
    public var signal: ContextSignal? {
        let number = belay_signal_of(handle)
        return number == 0 ? nil : ContextSignal(rawValue: number)
    }

    @usableFromInline
    func makeNotified(_ signals: [ContextSignal]) -> Context {
        let numbers = signals.map(\.rawValue)
        return Context(
            made: numbers.withUnsafeBufferPointer { belay_notify_signals(handle, $0.baseAddress, $0.count) },
            under: self)
    }
}
