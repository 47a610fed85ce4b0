// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// How long a time stamp of the processor is: measured, between two looks at the clock. A pace is in nanoseconds, with
/// `shift` bits behind the point. In `Globals`; see `QuickClock` for what it is for.
struct Pace: ~Copyable {
    private let phase: Atomic<UInt32>
    private let failures: Atomic<UInt32>
    private let disagreements: Atomic<UInt32>
    private let lastFailure: Atomic<Int64>
    /// The first of the two looks. Belongs to whoever has made the phase `busy`.
    private let firstStamp: Atomic<UInt64>
    private let firstInstant: Atomic<Int64>
    private let found: Atomic<UInt64>

    // Phases. Storage starts as zeroes.
    private static let unknown: UInt32 = 0
    private static let busy: UInt32 = 1
    private static let begun: UInt32 = 2
    private static let known: UInt32 = 3
    private static let useless: UInt32 = 4

    static let shift: UInt64 = 32
    /// What a look may take: in stamps as long as these have no length yet, and then in nanoseconds. A longer one was
    /// interrupted, or is a call of the kernel, which then has its reasons not to go by the stamps.
    private static let mostStamps: UInt64 = 1_500
    private static let mostNanoseconds: Int64 = 250
    private static let failuresInARow: UInt32 = 100
    /// As close together as they must be to count: what is further apart may be slow because the caches are cold.
    private static let inARow: Int64 = 20_000
    /// How often the pace is measured anew. Stamps that are not even need it again and again.
    private static let mostDisagreements: UInt32 = 16
    /// How far apart the two looks are: so far that what they take is nothing, and so near that the product fits.
    private static let leastApart: Int64 = 10_000_000
    private static let mostApart: Int64 = 2_000_000_000
    /// Processors of half a gigahertz to ten.
    private static let least: UInt64 = (1 << shift) / 10
    private static let most: UInt64 = (1 << shift) * 2
    /// Looks further apart say nothing about each other: the machine may have slept, with the stamps going on or beginning
    /// anew. (Nor are stamps gone by for so long.)
    private static let comparable: Int64 = 100_000_000

    @inline(__always) static func nanoseconds(_ stamps: UInt64, _ pace: UInt64) -> Int64 {
        Int64(truncatingIfNeeded: (stamps &* pace) >> shift)
    }

    var isKnown: Bool { borrowing get { phase.get() == Pace.known } }
    var isUseless: Bool { borrowing get { phase.get() == Pace.useless } }

    /// For good: from now on everybody looks at the clock each time.
    private borrowing func giveUp() { phase.set(Pace.useless) }

    /// The pace is not, or no longer, what it was taken for.
    borrowing func disagree() {
        guard phase.compareExchange(expected: Pace.known, desired: Pace.unknown, ordering: .relaxed).exchanged
        else { return }
        let count = disagreements.get() &+ 1
        disagreements.set(count)
        if count > Pace.mostDisagreements { giveUp() }
    }

    /// In the child of a fork: whoever was about to measure is not there.
    borrowing func startOver() {
        if phase.get() == Pace.busy { phase.set(Pace.unknown) }
    }

    /// The pace, if this look is one to go by; else 0.
    borrowing func learn(_ look: Look) -> UInt64 {
        // Acquire: the pace is there (release below).
        let phase = phase.load(ordering: .acquiring)
        if phase == Pace.known {
            let pace = found.get()
            let isQuick = look.took <= Pace.mostStamps << 3 && Pace.nanoseconds(look.took, pace) <= Pace.mostNanoseconds
            note(isQuick, look.instant)
            return isQuick ? pace : 0
        }
        note(look.took <= Pace.mostStamps, look.instant)
        if look.took <= Pace.mostStamps { measure(look, phase) }
        return 0
    }

    /// A look that is always slow is not to be made twice as slow for ever.
    private borrowing func note(_ isQuick: Bool, _ instant: Int64) {
        if isQuick {
            if failures.get() != 0 { failures.set(0) }
        } else {
            failures.set(instant &- lastFailure.get() < Pace.inARow ? failures.get() &+ 1 : 0)
            lastFailure.set(instant)
            if failures.get() >= Pace.failuresInARow { giveUp() }
        }
    }

    private borrowing func measure(_ look: Look, _ before: UInt32) {
        guard before == Pace.unknown || before == Pace.begun,
            phase.compareExchange(expected: before, desired: Pace.busy, ordering: .acquiring).exchanged
        else { return }
        if before == Pace.unknown {
            let isWanted = belaycore_stamps_evenly() != 0 && !Environment.isOn("BELAY_EXACT_CLOCK")
            begin(look, isWanted ? Pace.begun : Pace.useless)
            return
        }
        let apart = look.instant &- firstInstant.get()
        if apart < Pace.leastApart {
            phase.store(Pace.begun, ordering: .releasing)
        } else if apart > Pace.mostApart {
            begin(look, Pace.begun)
        } else {
            let pace = (UInt64(apart) << Pace.shift) / max(look.stamp &- firstStamp.get(), 1)
            found.set(pace)
            // Release: partner of the acquire in `learn`.
            phase.store(pace >= Pace.least && pace <= Pace.most ? Pace.known : Pace.useless, ordering: .releasing)
        }
    }

    private borrowing func begin(_ look: Look, _ next: UInt32) {
        firstStamp.set(look.stamp)
        firstInstant.set(look.instant)
        phase.store(next, ordering: .releasing)
    }

    /// Whether stamps and clock have gone the same way between two looks: to 1 in 1,000, and what the looks took. Another
    /// processor's stamps do not, if they were not set alike; nor does a clock that is made to go much faster.
    static func agree(_ one: Look, _ other: Look, _ pace: UInt64) -> Bool {
        let apart = other.instant &- one.instant
        let stamps = other.stamp &- one.stamp
        if apart > comparable || stamps > UInt64(comparable) << 4 { return true }
        return (nanoseconds(stamps, pace) &- apart).magnitude <= UInt64(max(apart, 0)) >> 10 + 400
    }
}
