// SPDX-License-Identifier: Apache-2.0
import CBelay

// The runtime counts Int64 nanoseconds of CLOCK_MONOTONIC; Swift has 128-bit durations and two clocks. On Linux
// SuspendingClock is CLOCK_MONOTONIC and ContinuousClock is CLOCK_BOOTTIME, which runs on while the machine sleeps.
// Instants of the two differ by all the sleep since boot, so raw nanoseconds cross in this file only.

/// Never: `BELAY_FOREVER`.
let forever = belay_duration.max

extension Duration {
    /// The nanoseconds of this duration, rounded up, so that nothing happens early. What does not fit is
    /// `BELAY_FOREVER`, or on the negative side `Int64.min`: passed long ago.
    @usableFromInline
    var belayNanoseconds: belay_duration {
        if self >= .nanoseconds(Int64.max) { return .max }
        if self <= .nanoseconds(Int64.min) { return .min }
        let (seconds, attoseconds) = components
        // Both have the sign of the duration. Division truncates, which is up for what is negative.
        let (nanoseconds, rest) = attoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        let (whole, overflowed) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, overflowedToo) = whole.addingReportingOverflow(nanoseconds + (rest > 0 ? 1 : 0))
        return overflowed || overflowedToo ? (seconds < 0 ? .min : .max) : sum
    }
}

extension SuspendingClock.Instant {
    /// The instant that `belay_now()` would call `nanoseconds`.
    init(monotonicNanoseconds nanoseconds: belay_instant) {
        self = SuspendingClock().systemEpoch.advanced(by: .nanoseconds(nanoseconds))
    }

    /// What `belay_now()` calls this instant, rounded up.
    var monotonicNanoseconds: belay_instant {
        SuspendingClock().systemEpoch.duration(to: self).belayNanoseconds
    }
}

extension ContextInstant {
    /// The time from now until this instant, rounded up; negative if it has passed.
    var belayNanosecondsFromNow: belay_duration {
        Self.now.duration(to: self).belayNanoseconds
    }
}
