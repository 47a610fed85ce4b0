// SPDX-License-Identifier: Apache-2.0
import CBelay

/// A clock that stands still until a test moves it, and the contexts that live by it.
///
/// Code that takes its time from contexts is tested as it is: give it a context under ``background``. A timeout of 30
/// seconds is then tested in microseconds, and nothing is left to chance.
///
/// ```swift
/// let clock = VirtualClock()
/// let session = Session(parent: clock.background)      // ends when nothing was heard for 30 seconds
/// clock.advance(by: .seconds(29))
/// #expect(!session.isOver)
/// clock.advance(by: .seconds(1))
/// #expect(session.isOver)
/// ```
///
/// All of Belay goes by it: deadlines, timers, ticks, `sleep` and `done()`, blocking waits (which want another thread
/// to move it: see ``Context/wait(timeout:)``). Callbacks run inside `advance(by:)`, which goes from one due instant to
/// the next, so that each finds the time that it asked for; ties in no particular order. For `async` code see
/// ``run(_:)``. Being a `Clock` of Swift's it can also be handed to code that takes one.
///
/// Its instants are a type of their own: they mean nothing to other clocks. Instants of the real clocks that reach a
/// context under it are taken for the time from now until then, which passes while a test runs: for exact tests use
/// durations.
///
/// When the last reference goes all contexts under it end, and timers that are pending are given up; that waits for
/// callbacks of its contexts that run meanwhile. Each clock takes one of the 255 runtimes that exist at a time, and all
/// of them together one more. One that could not be made has a ``background`` that reads as done, and never moves;
/// ``run(_:)`` runs its body all the same, with a context that reads as done.
public final class VirtualClock: Clock, Sendable {
    /// A point of the clock's time: how long after its start.
    public struct Instant: InstantProtocol, Hashable, Sendable {
        /// How long after the clock's start.
        public var offset: Duration

        /// The instant `offset` after the clock's start.
        public init(offset: Duration = .zero) { self.offset = offset }

        /// The instant `duration` later. What is beyond the longest duration there is counts as that.
        public func advanced(by duration: Duration) -> Instant { Instant(offset: offset.addingSaturating(duration)) }

        /// The time from this instant until the other one; negative if that is earlier.
        public func duration(to other: Instant) -> Duration { other.offset.subtractingSaturating(offset) }

        /// The time from the second instant until the first.
        public static func - (one: Instant, other: Instant) -> Duration { other.duration(to: one) }

        /// True if the first instant is earlier. Instants of different clocks have nothing to do with each other.
        public static func < (one: Instant, other: Instant) -> Bool { one.offset < other.offset }
    }

    /// The C handle of the runtime that the clock belongs to. Do not free it.
    public let handle: belay_runtime

    /// The root of the contexts that live by this clock: as ``Context/background``, but it ends with the clock.
    public let background: Context

    private let executor: VirtualExecutor

    /// A clock that stands at its start.
    public init() {
        let pool = OwnPool.runtime
        guard pool.background.whyUnmade == nil else {
            (handle, background) = (belay_runtime(), pool.background)
            executor = VirtualExecutor(driving: handle, on: pool)
            return
        }
        var options = belay_runtime_options()
        options.virtual_clock = true
        options.start = Self.start
        handle = belay_runtime(options, name: nil)
        background = makeRoot(of: handle)
        executor = VirtualExecutor(driving: handle, on: pool)
    }

    deinit { endRuntime(handle) }

    /// What the clock shows.
    public var now: Instant { handle.bits == 0 ? Instant() : Instant(belay_runtime_now(handle)) }

    /// One nanosecond.
    public var minimumResolution: Duration { .nanoseconds(1) }

    /// When something is due next: not later than the first timer or deadline that somebody listens to. `nil` if there
    /// is nothing.
    public var next: Instant? {
        let next = belay_runtime_next(handle)
        return next == forever ? nil : Instant(next)
    }

    /// The instant at which a context that lives by this clock ends at the latest; `nil` where there is none, and for a
    /// context of another clock.
    public func deadline(of context: Context) -> Instant? {
        var deadline: belay_instant = 0
        guard handle.bits != 0, belay_runtime_of(context.handle).bits == handle.bits,
            belay_deadline(context.handle, &deadline)
        else { return nil }
        return Instant(deadline)
    }

    // MARK: moving it

    /// Moves the clock on, and runs what is due by then, on this thread: all has run when this returns. Tasks that it
    /// wakes have not; for those there is the `async` form, in ``run(_:)``.
    ///
    /// Not from inside a callback that it runs, and not on two threads at once, or while tasks move it: that traps.
    ///
    /// - Parameter duration: Zero runs what is due now. A clock never goes back.
    @available(
        *, noasync,
        message: "use 'await advance(by:)', which lets tasks catch up; at the top level of main.swift, in a function"
    )
    public func advance(by duration: Duration) { advance(to: now.advanced(by: duration)) }

    /// The same, to an instant.
    @available(
        *, noasync,
        message: "use 'await advance(to:)', which lets tasks catch up; at the top level of main.swift, in a function"
    )
    public func advance(to instant: Instant) { executor.poll(until: instant.nanoseconds) }

    /// Moves the clock on, and at each instant at which something is due lets the tasks of ``run(_:)`` go on until all
    /// of them wait again: all that there was to do by then is done when this returns. Tasks that run elsewhere are
    /// not waited for. Callbacks run on a thread of Belay's.
    ///
    /// Any number of tasks may do this at the same time, in `run` and outside of it: the earliest instant comes first.
    /// Each counts from what the clock shows when it asks.
    ///
    /// - Parameter duration: Zero lets the tasks catch up, and moves nothing.
    public func advance(by duration: Duration) async { await advance(to: now.advanced(by: duration)) }

    /// The same, to an instant.
    public func advance(to instant: Instant) async { await executor.advance(to: instant.nanoseconds) }

    /// Waits until the clock shows `deadline`. Part of `Clock`; the same as ``Context/sleep(for:)`` on ``background``.
    ///
    /// - Throws: `CancellationError` if the task is cancelled; ``ContextError`` if the clock has ended.
    public func sleep(until deadline: Instant, tolerance: Duration? = nil) async throws {
        do throws(ContextError) {
            try await background.sleep(until: background.makeDeadline(at: deadline.nanoseconds))
        } catch {
            if case .taskCancelled = error { throw CancellationError() }
            throw error
        }
    }

    // MARK: tasks

    /// Runs `async` code in virtual time: whenever all its tasks wait the clock jumps to the next instant at which
    /// something is due. Nobody has to move it.
    ///
    /// ```swift
    /// let clock = VirtualClock()
    /// await clock.run { ctx in
    ///     await #expect(throws: ContextError.self) { try await fetch(ctx) }     // gives up after 30 seconds
    ///     #expect(clock.now.offset == .seconds(30))
    /// }
    /// ```
    ///
    /// The body and its child tasks (`async let`, task groups, groups of Belay's), and the actors that they call, run
    /// one after the other on one executor, in an order that is always the same. Inside, `await clock.advance(by:)`
    /// goes step by step. What runs elsewhere — `Task { }`, the main actor, a real socket — is not known to be at
    /// work: the clock may jump meanwhile.
    ///
    /// - Parameter body: Gets a context under ``background``, which is ``Context/current`` meanwhile, and ends with the
    ///   body, or when the calling task is cancelled. Leaves the caller's actor.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws, and nothing else.
    public nonisolated(nonsending) func run<R: Sendable, E: Error>(
        _ body: sending @escaping (Context) async throws(E) -> R
    ) async throws(E) -> R {
        nonisolated(unsafe) let body = body  // sent to us, and called once
        executor.begin()
        defer { executor.end() }
        let outcome = await withTaskScope(of: background.makeCancel(), isolation: #isolation) { ctx in
            await executor.run(body, ctx)
        }
        return try outcome.get()
    }
}

extension VirtualClock.Instant: CustomStringConvertible {
    /// The offset, such as `30.0 seconds`.
    public var description: String { offset.description }
}

extension VirtualClock {
    /// Where the C clock starts. Not at 0, so that there is a past.
    fileprivate static let start: belay_instant = 1_000_000_000
}

extension VirtualClock.Instant {
    fileprivate init(_ nanoseconds: belay_instant) {
        offset = .nanoseconds(nanoseconds) - .nanoseconds(VirtualClock.start)
    }

    /// What is beyond the C clock counts as its end, or as passed long ago.
    fileprivate var nanoseconds: belay_instant {
        offset.addingSaturating(.nanoseconds(VirtualClock.start)).belayNanoseconds
    }
}
