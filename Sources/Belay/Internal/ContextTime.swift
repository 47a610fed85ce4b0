// SPDX-License-Identifier: Apache-2.0
import CBelay

/// The time that a context lives by, which is its runtime's: `CLOCK_MONOTONIC`, or a clock that is moved by hand.
///
/// Instants of Swift's clocks mean nothing to a virtual one. They are taken for what lies between them and the present.
struct ContextTime: Sendable {
    /// `{0}` is the default runtime.
    private let runtime: belay_runtime

    init(of context: Context) { runtime = belay_runtime_of(context.handle) }

    var now: belay_instant { belay_runtime_now(runtime) }

    /// Whether this is the process-wide runtime, whose callbacks may wait.
    var isDefault: Bool { runtime.bits == 0 }

    /// Whether the runtime is still there. One that was freed has the real clock's time, whatever its own was: look at
    /// the time first, then here.
    func isStill(of context: Context) -> Bool { belay_runtime_of(context.handle).bits == runtime.bits }

    /// The instant `delay` from now; never, if that is beyond the clock.
    func instant(after delay: belay_duration) -> belay_instant { now.movedSaturating(by: delay) }

    /// The first instant after now that is `last` plus whole periods, and at least one.
    func nextInstant(after last: belay_instant, every period: belay_duration) -> belay_instant {
        let passed = max(0, now - last) / period
        let (offset, overflowed) = period.multipliedReportingOverflow(by: passed + 1)
        let (next, overflowedToo) = last.addingReportingOverflow(offset)
        return overflowed || overflowedToo ? forever : next
    }

    func instant(_ instant: SuspendingClock.Instant) -> belay_instant {
        let nanoseconds = instant.monotonicNanoseconds
        return nanoseconds.isNever ? forever : nanoseconds.movedSaturating(by: lead)
    }

    func suspendingInstant(_ instant: belay_instant) -> SuspendingClock.Instant {
        SuspendingClock.Instant(monotonicNanoseconds: instant.isNever ? forever : instant.movedSaturating(by: -lead))
    }

    /// How far this clock is ahead of `CLOCK_MONOTONIC`: 0 where it is the same one.
    private var lead: belay_duration {
        if isDefault { return 0 }
        let before = belay_now()
        let here = now
        // A clock that reads as the other does is that one.
        return here >= before && here <= belay_now() ? 0 : here - before
    }
}
