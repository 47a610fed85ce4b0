// SPDX-License-Identifier: Apache-2.0
import CBelay

/// What a family of contexts shares: timers, who drives them, where callbacks run, and how many there may be.
///
/// There is one that you never see, which ``Context/background`` belongs to. Make others to keep parts of a program
/// apart, or to live in an event loop without any thread of Belay's. (For tests there is ``VirtualClock``.) A context
/// belongs to its parent's runtime; contexts of all runtimes mix freely.
///
/// ```swift
/// let database = ContextRuntime(name: "db", maxContexts: 10_000)
/// let life = OwnedContext(timeout: .seconds(30), parent: database.background)
/// ```
///
/// ### The end
/// A runtime ends with ``shutDown()``, or with the last reference to this object, which then **blocks**: all its
/// contexts end («the runtime was freed»), timers that are pending are given up, and what is running is waited
/// for, as long as it takes. If the last reference goes inside one of its own callbacks, that happens on another
/// thread right after. Contexts do not keep their runtime.
///
/// A runtime with an executor of yours does not block there, because what it would wait for may want that very thread:
/// its contexts have ended when the last reference has gone, and callbacks may run on a little. ``shutDown()`` waits.
///
/// One that cannot be made (no memory; 255 are open) has a ``background`` that reads as done.
public final class ContextRuntime: Sendable {
    /// The C handle. Do not free it.
    public let handle: belay_runtime

    /// The root of the runtime's contexts: as ``Context/background``, but it ends with the runtime.
    public let background: Context

    private let executor: ExecutorStarter?

    /// Makes a runtime. Starts no thread: its first timer and its first callback do.
    ///
    /// - Parameters:
    ///   - name: Its threads are called name-driver and name-worker, cut at 15 bytes in all.
    ///   - maxContexts: The most contexts at a time, at least 1; those beyond read as done. `nil` is any number.
    ///   - tick: Timers fire at multiples of this, so that many fire together: later, never earlier. More than zero;
    ///     `nil`: as precisely as the system sleeps.
    ///   - executor: Where callbacks run; `nil` is a pool of its own, and in a manual runtime the ``poll(now:)``.
    ///   - isManual: No thread: your event loop calls ``poll(now:)``.
    public init(
        name: String? = nil, maxContexts: Int? = nil, tick: Duration? = nil, executor: (any TaskExecutor)? = nil,
        isManual: Bool = false
    ) {
        precondition(maxContexts.map { $0 > 0 } ?? true, "a runtime must have room for at least one context")
        precondition(tick.map { $0 > .zero } ?? true, "a tick must be more than zero")
        var options = belay_runtime_options()
        options.max_contexts = maxContexts ?? 0
        options.tick = tick?.belayNanoseconds ?? 0
        options.manual = isManual
        self.executor = executor.map { executor in
            ExecutorStarter { run in _ = _Concurrency.Task(executorPreference: executor) { run() } }
        }
        if let starter = self.executor { options.executor = starter.asExecutor }
        handle = belay_runtime(options, name: name)
        background = makeRoot(of: handle)
    }

    /// Ends the runtime, and waits until its last callback has returned, without blocking this thread. Contexts that
    /// were made under it remain their owners' to close; they read as done. Afterwards this does nothing.
    ///
    /// In a manual runtime without an executor the last callbacks run on a thread of Belay's. Cancelling the task does
    /// not cut it short.
    public nonisolated(nonsending) func shutDown() async {
        await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
            let isUnderWay = OwnPool.run { [self] in
                _ = belay_runtime_free(handle, forever)
                continuation.resume()
            }
            if !isUnderWay { continuation.resume() }
        }
    }

    /// The same as ``shutDown()`` for a thread that may block.
    ///
    /// - Parameter timeout: How long to wait for callbacks that are running, in real time; `nil` is as long as it
    ///   takes.
    /// - Returns: False if `timeout` passed first: then nothing new is accepted, and you call again to go on waiting.
    ///   Also from inside one of its own callbacks, or a poll: then nothing has ended.
    @available(*, noasync, message: "blocks its thread; use 'await shutDown()'")
    @discardableResult
    public func blockingShutDown(timeout: Duration? = nil) -> Bool {
        let status = belay_runtime_free(handle, timeout?.belayNanoseconds ?? forever)
        return status == BELAY_OK || status == BELAY_ESTALE
    }

    deinit { endRuntime(handle, keeping: executor) }
}

/// Driving a manual runtime. These are for one loop; all else may be used on any thread, and what another thread adds
/// makes the descriptor readable.
extension ContextRuntime {
    /// Readable when a poll has something to do: for your epoll or poll set, level-triggered. The runtime
    /// closes it at its end. `nil` if the runtime is not manual or has ended, or if there is no descriptor to be had.
    public var descriptor: Int32? {
        let descriptor = belay_runtime_fd(handle)
        return descriptor < 0 ? nil : descriptor
    }

    /// When to poll next: not later than the first thing due, the present if something is to be run at once. `nil` if
    /// there is nothing.
    public var next: SuspendingClock.Instant? {
        let instant = belay_runtime_next(handle)
        return instant == forever ? nil : SuspendingClock.Instant(monotonicNanoseconds: instant)
    }

    /// Fires all that is due, and runs the callbacks, on this thread.
    ///
    /// - Parameter now: Your loop's idea of the time, which counts as the present where it has not come yet; `nil` is
    ///   what the clock says.
    /// - Throws: ``ContextError/unavailable(_:)`` if a poll is under way (code of the cause: `BELAY_EBUSY`), if the
    ///   runtime is not manual, or has ended.
    public func poll(now: SuspendingClock.Instant? = nil) throws(ContextError) {
        let status = belay_runtime_poll(handle, now?.monotonicNanoseconds ?? forever)
        guard status == BELAY_OK else { throw .unavailable(ContextCause(status)) }
    }
}
