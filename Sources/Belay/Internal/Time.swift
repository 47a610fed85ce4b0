// SPDX-License-Identifier: Apache-2.0
import CBelay

// The runtime counts Int64 nanoseconds of CLOCK_MONOTONIC; Swift has 128-bit durations and two clocks. On Linux
// SuspendingClock is CLOCK_MONOTONIC and ContinuousClock is CLOCK_BOOTTIME, which runs on while the machine sleeps.
// Instants of the two differ by all the sleep since boot, so raw nanoseconds cross in this file only.

/// Never: `BELAY_FOREVER`.
let forever = belay_duration.max

extension belay_instant {
    var isNever: Bool { self == forever }

    /// This instant and so much later. What does not fit is never, or on the negative side passed long ago.
    func movedSaturating(by duration: belay_duration) -> belay_instant {
        let (moved, overflowed) = addingReportingOverflow(duration)
        return overflowed ? (duration < 0 ? .min : forever) : moved
    }
}

extension InstantProtocol where Duration == Swift.Duration {
    /// The time from this instant until the other one, rounded up. (Durations trap where they do not fit.)
    fileprivate func belayNanoseconds(until other: Self) -> belay_duration {
        if other >= advanced(by: .nanoseconds(belay_duration.max)) { return .max }
        if other <= advanced(by: .nanoseconds(belay_duration.min)) { return .min }
        return duration(to: other).belayNanoseconds
    }
}

extension Duration {
    /// The sum; where it does not fit the longest duration there is, or the most negative one.
    func addingSaturating(_ other: Duration) -> Duration {
        let (sum, overflowed) = attoseconds.addingReportingOverflow(other.attoseconds)
        return Duration(attoseconds: overflowed ? (other < .zero ? .min : .max) : sum)
    }

    /// The difference, likewise.
    func subtractingSaturating(_ other: Duration) -> Duration {
        let (difference, overflowed) = attoseconds.subtractingReportingOverflow(other.attoseconds)
        return Duration(attoseconds: overflowed ? (other < .zero ? .max : .min) : difference)
    }

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
        SuspendingClock().systemEpoch.belayNanoseconds(until: self)
    }
}

extension ContextInstant {
    /// The time from now until this instant, rounded up; negative if it has passed.
    var belayNanosecondsFromNow: belay_duration {
        Self.now.belayNanoseconds(until: self)
    }
}
