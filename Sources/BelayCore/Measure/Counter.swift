// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// What is counted while contexts work. Each thread has a word for each, behind its record, which it alone writes: a
/// plain load and store, one instruction, on a line that no other thread writes to. Whoever reads adds up those of all
/// threads, also of past ones, whose records stay. So a counter never goes back, and a sum is exact once the threads
/// are at rest.
///
/// What is a difference (what lives) is not counted; it is read as one. Where the compiler is given BELAY_NO_COUNTERS
/// nothing here is kept, and all of it reads 0: that is for measuring what counting costs.
enum Counter: Int {
    /// Contexts by how they were derived; counted by `publish`. These two share a line with `goneScope`: that is what
    /// most derivations and closes touch.
    case createdCancel, createdTimeout
    /// Contexts that have gone, by shape: two words for each kind, from 0 on; the second one for those that had a
    /// verdict. Counted when the cell is recycled: `Counter.gone`.
    case goneNone, goneNoneEnded, goneScope, goneScopeEnded, goneValue, goneValueEnded
    case goneDetached, goneDetachedEnded, goneRoot, goneRootEnded, goneLite, goneLiteEnded
    case createdValue, createdData, createdDetached, createdLite, createdMerge
    /// Foreign parents, by the shape that the wrapper has.
    case createdCustom, createdCustomValue, createdCustomDetached
    /// Nobody's own: what merged contexts, foreign parents and runtimes hang on; and the roots of runtimes.
    case createdInnerScope, createdInnerValue, createdInnerDetached, createdRoot
    /// Verdicts by reason, counted by whoever swaps one in. Closed: by a close that had others to tell. Most closes
    /// have not, and leave no verdict: those are `goneScope` and `goneLite`.
    case endedCanceled, endedDeadline, endedParent, endedClosed
    case attached, reset
    case groupMade, groupGone
    /// Into a wheel; out of it because the time had come; out of it before.
    case timerArmed, timerFired, timerStopped
    /// Look-ups of values, by `KeyTrie.Depth`.
    case valueNearest, valueFirst, valueSecond, valueFurther, valueMissed
    /// How late they fired: nanoseconds, and from here on a word for each of `Lateness.buckets`.
    case latenessSum
    case lateness

    static let count = Counter.lateness.rawValue + Lateness.buckets

    /// Where the words stand behind the record: on lines of their own.
    static let offset = (MemoryLayout<Thread>.size + 63) & ~63
    static let bytes = (count * 8 + 63) & ~63

    @inline(__always) static func gone(_ state: State) -> Int {
        gone(state.shape, isDone: state.isDone)
    }

    @inline(__always) static func gone(_ shape: UInt64, isDone: Bool) -> Int {
        Counter.goneNone.rawValue &+ Int(truncatingIfNeeded: shape) &* 2 &+ (isDone ? 1 : 0)
    }

    /// Counts one, on whatever thread. Without a record, and without memory for one, it is not counted.
    @inline(__always) static func add(_ counter: Counter) { add(at: counter.rawValue) }

    /// The same by its place.
    @inline(__always) static func add(at index: Int) {
        #if !BELAY_NO_COUNTERS
        if let thread = Thread.known { thread.count(index, 1) } else { addFirst(index) }
        #endif
    }

    @inline(never) private static func addFirst(_ index: Int) { Thread.current?.count(index, 1) }

    /// The same on a thread that has its record: one that took a cell.
    @inline(__always) static func addKnown(_ counter: Counter) {
        #if !BELAY_NO_COUNTERS
        Thread.known.unsafelyUnwrapped.count(counter)
        #endif
    }
}

extension UnsafeMutablePointer where Pointee == Thread {
    @inline(__always) func counter(_ index: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        (UnsafeMutableRawPointer(self) + Counter.offset).assumingMemoryBound(to: Atomic<UInt64>.self) + index
    }

    /// By the thread itself.
    @inline(__always) func count(_ counter: Counter) { count(counter.rawValue, 1) }

    @inline(__always) func count(_ index: Int, _ more: UInt64) {
        #if !BELAY_NO_COUNTERS
        let word = counter(index)
        word.pointee.set(word.pointee.get() &+ more)
        #endif
    }

    /// As new: in the child of a fork, or a record that was just made.
    func clearCounters() {
        for index in 0..<Counter.count { counter(index).pointee.set(0) }
    }
}

/// How late timers fire: a histogram whose buckets double, from 1/16 ms on; the last one has no bound.
enum Lateness {
    static let buckets = 16
    private static let first: Int64 = 62_500

    @inline(__always) static func bucket(_ late: Int64) -> Int {
        let parts = (late - 1) / first
        return late <= first ? 0 : min(64 - parts.leadingZeroBitCount, buckets - 1)
    }

    /// A timer that was due at `instant` fires now.
    @inline(__always) static func note(_ instant: Int64, now: Int64, _ thread: UnsafeMutablePointer<Thread>) {
        // A runtime that goes fires what is not due yet.
        let late = max(now &- instant, 0)
        thread.count(Counter.lateness.rawValue + bucket(late), 1)
        thread.count(Counter.latenessSum.rawValue, UInt64(late))
    }
}
