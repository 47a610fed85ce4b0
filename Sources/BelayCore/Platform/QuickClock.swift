// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// The clock for what lasts from now on, at half of what a look at the system's takes: the thread's last look, and how
/// far the processor's time stamp has gone since.
///
/// It is never behind the system's clock, so no timer that is set by it is early; it is ahead by less than a microsecond;
/// and it never goes back, as long as one thread asks. That it holds rests on little:
///
/// - A look is gone by for a tenth of a millisecond (`span`) and then there is a new one. So whatever is wrong with time
///   stamps on a machine, a wrong answer is off by no more than that.
/// - A look is taken as an instant that was *before* the clock was read, and the stamps are taken to be two thousandths
///   slower than they are found to be (`bias`), which is more than what daemons adjust the clock by (from 500 parts in a
///   million less to 500 more) and the error of the measurement together. So what is said is ahead of the clock, a little more from look
///   to look.
/// - Once it is ahead by more than `slack`, the stamps are taken to be two thousandths quicker until the next look: in that
///   time it cannot fall back by more.
/// - Time stamps are gone by only if the processor says that they are even, if a look takes less than a quarter of a
///   microsecond, which it does only where the kernel makes the time from the same stamps, and as long as they and the
///   clock agree from look to look (`Pace`). Where they do not, because somebody makes the clock go much faster (chrony
///   may, by 8 in 100), the answers since the last look were behind by what the clock has gained: 8 microseconds. (What
///   is between 1 and 4 in 1,000 is not noticed, and is a fifth of a microsecond.)
///
/// "Behind" is meant as one thread sees it. A time stamp is not read in order with what other threads write: beside an
/// instant that another thread has just read and handed over, the answer may be a microsecond early. (A fence would take
/// what the stamps save.)
///
/// Its fields are the thread's own. A signal handler on it that asks may come between any two instructions: it finds
/// `span` 0 while they are written, and then leaves them alone. (One that takes a look, which only what must not be called
/// in a handler does, may come between two reads: then one answer is off by no more than the span.)
struct QuickClock: ~Copyable {
    /// Of the last look: the stamp from before it, and the instant that is taken for that stamp's.
    private let stamp = Atomic<UInt64>(0)
    private let instant = Atomic<Int64>(0)
    /// How many stamps from there it is gone by; 0 if it is not.
    private let span = Atomic<UInt64>(0)
    /// What a stamp is taken for, as `Pace` has it.
    private let rate = Atomic<UInt64>(0)
    /// What the clock said at that look, what `span` is or was, and the pace that was known; 0 before the first.
    private let looked = Atomic<Int64>(0)
    private let length = Atomic<UInt64>(0)
    private let pace = Atomic<UInt64>(0)
    private let isLooking = Atomic<UInt32>(0)

    private static let spanNanoseconds: UInt64 = 100_000
    /// One in 512.
    private static let biasShift: UInt64 = 9
    private static let slack: Int64 = 300
    /// More than this ahead is a sign that something is wrong.
    private static let mostAhead: Int64 = 1_000

    init() {}

    /// Nil if it is time for a look.
    @inline(__always) borrowing func now() -> Int64? { span.get() == 0 ? nil : now(at: belaycore_stamp()) }

    @inline(__always) borrowing func now(at stamp: UInt64) -> Int64? {
        let since = stamp &- self.stamp.get()
        if since >= span.get() { return nil }
        return instant.get() &+ Pace.nanoseconds(since, rate.get())
    }

    /// A look at the clock, which the next calls go by.
    borrowing func look() -> Int64 {
        if isLooking.get() != 0 { return Clock.now }
        isLooking.set(1)
        belaycore_compiler_barrier()
        let answer = go(by: Look.take(), Globals.pointer.pointee.pace)
        belaycore_compiler_barrier()
        isLooking.set(0)
        return answer
    }

    /// From here on by this look, if it is good for that. The answer is what the clock says now.
    borrowing func go(by look: Look, _ known: borrowing Pace) -> Int64 {
        span.set(0)
        let pace = known.learn(look)
        let latest = instant.get() &+ Pace.nanoseconds(min(look.stamp &- stamp.get(), length.get()), rate.get())
        let ahead = latest &- look.instant
        if pace == 0 { return ahead > QuickClock.mostAhead ? look.instant : max(latest, look.instant) }
        // What was measured anew since then says nothing about how it was.
        if pace == self.pace.get() {
            let last = Look(stamp: stamp.get(), instant: looked.get(), took: 0)
            if ahead > QuickClock.mostAhead || !Pace.agree(last, look, pace) {
                forget()
                known.disagree()
                return look.instant
            }
        }
        let start = ahead > QuickClock.mostAhead ? look.instant : max(latest, look.instant)
        let bias = pace >> QuickClock.biasShift
        let length = (QuickClock.spanNanoseconds << Pace.shift) / pace
        belaycore_compiler_barrier()
        stamp.set(look.stamp)
        looked.set(look.instant)
        instant.set(start)
        self.pace.set(pace)
        rate.set(ahead > QuickClock.slack ? pace &- bias : pace &+ bias)
        self.length.set(length)
        belaycore_compiler_barrier()
        span.set(length)
        return start
    }

    /// For the record's next thread; and in the child of a fork, where who was looking is not there.
    borrowing func startOver() {
        forget()
        isLooking.set(0)
    }

    /// Begins anew. In the child of a fork, because the clock may be another one there (time_namespaces(7)).
    borrowing func forget() {
        span.set(0)
        belaycore_compiler_barrier()
        pace.set(0)
        instant.set(0)
        length.set(0)
    }
}

/// A look at the clock, and at the stamps: one before, and how many went by until after.
struct Look {
    let stamp: UInt64
    let instant: Int64
    let took: UInt64

    static func take() -> Look {
        let stamp = belaycore_stamp()
        let instant = Clock.now
        return Look(stamp: stamp, instant: instant, took: belaycore_stamp() &- stamp)
    }
}
