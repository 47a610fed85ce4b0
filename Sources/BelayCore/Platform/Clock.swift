// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// CLOCK_MONOTONIC, in nanoseconds; `Int64.max` means never. What belongs to a runtime asks for that runtime's time,
/// which is another where the clock is virtual.
enum Clock {
    static let never = Int64.max
    /// As far as a clock goes that is moved by hand: so that there is something before never.
    static let latest = never - 1

    @inline(__always) static var now: Int64 { belaycore_now() }

    /// How far the coarse clock may be behind: five steps of a kernel that ticks 100 times a second, so that neither a
    /// late tick nor a virtual machine that lost its processor for a moment makes it lie.
    private static let coarseLag: Int64 = 50_000_000

    /// Whether `instant` has passed. Exact, and yet cheap while the instant is far off: the coarse clock is a quarter
    /// of the exact one's cost and never ahead of it, so only its last steps before the instant need the exact one.
    @inline(__always) static func hasPassed(_ instant: Int64) -> Bool {
        if isFarOff(instant) { return false }
        return belaycore_now() >= instant
    }

    /// Whether `instant` is certainly to come; false means nothing.
    @inline(__always) static func isFarOff(_ instant: Int64) -> Bool { belaycore_now_coarse() &+ coarseLag < instant }

    /// `duration` from now. Never early; a sum that overflows is never, or long past if `duration` is negative.
    @inline(__always) static func after(_ duration: Int64) -> Int64 { after(duration, in: 0) }

    // MARK: by runtime

    @inline(never) static func now(in runtime: UInt32) -> Int64 { runtime == 0 ? now : nowElsewhere(runtime) }

    @inline(__always) static func hasPassed(_ instant: Int64, in runtime: UInt32) -> Bool {
        runtime == 0 ? hasPassed(instant) : nowElsewhere(runtime) >= instant
    }

    /// Whether two runtimes have the same time: both the real one.
    static func isShared(_ one: UInt32, _ other: UInt32) -> Bool {
        one == other || !Runtime.at(one).pointee.isVirtual && !Runtime.at(other).pointee.isVirtual
    }

    @inline(__always) static func after(_ duration: Int64, in runtime: UInt32) -> Int64 {
        if duration == never { return never }
        let now = runtime == 0 ? now : nowElsewhere(runtime)
        let (sum, overflow) = now.addingReportingOverflow(duration)
        return overflow ? (duration < 0 ? .min : never) : sum
    }

    /// How long it is to `deadline`: 0 if that has passed.
    @inline(__always) static func left(until deadline: Int64, in runtime: UInt32) -> Int64 {
        if deadline == never { return never }
        let (left, overflow) = deadline.subtractingReportingOverflow(now(in: runtime))
        return overflow ? never : max(left, 0)
    }

    @inline(never) private static func nowElsewhere(_ runtime: UInt32) -> Int64 {
        let runtime = Runtime.at(runtime)
        // Acquire: what was done before the clock was moved is seen by whoever sees the time; partner in `Loop.move`.
        return runtime.pointee.isVirtual ? runtime.pointee.virtualNow.load(ordering: .acquiring) : now
    }
}

@_cdecl("belay_now") @implementation
public func belay_now() -> belay_instant { Clock.now }
