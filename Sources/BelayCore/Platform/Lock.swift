// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// A mutex of four bytes, whose unlock is a plain store. All zeroes is unlocked.
///
/// | byte | means | who changes it |
/// |---|---|---|
/// | held | 1: somebody has it | `lock`, by compare-and-swap from 0 (acquire); `unlock`, by a store of 0 (release, its partner); `unlockForGood`, by an exchange of both bytes (release) |
/// | slept | 1: somebody may sleep | set by a thread about to sleep, and by one that has slept once it has the lock; taken off by whoever unlocks and wakes one |
///
/// The kernel lets a thread sleep only while both bytes are 1. So a sleeper is woken: by an unlock that finds `slept`
/// set; and that takes it off *before* it wakes, so who comes in between does not fall asleep. If the one that is woken
/// is not the last, it sets `slept` again.
///
/// An exchange in `unlock` would be a locked instruction more for each lock taken, half of what a lock costs, to save
/// one case: the processor may look at `slept` while the store to `held` is still on its way out, and a thread may set
/// `slept`, find `held` set, and be asleep before that store arrives. A store takes nanoseconds to arrive, and to fall
/// asleep hundreds. Should it happen all the same, the sleeper is late, not lost: it looks again after a millisecond.
/// (`Tests/models/locks.py` goes through all interleavings.)
///
/// Held for short, bounded work only, never while user code runs.
struct Lock: ~Copyable {
    private let word: Atomic<UInt32>

    init() { word = Atomic(0) }

    private static let heldAndSlept: UInt32 = 1 << 8 | 1
    private static let nap: Int64 = 1_000_000

    /// The lowest byte of the word, and the next; our processors are little-endian.
    private var held: UnsafeMutablePointer<Atomic<UInt8>> {
        @inline(__always) borrowing get { word.address.assumingMemoryBound(to: Atomic<UInt8>.self) }
    }
    private var slept: UnsafeMutablePointer<Atomic<UInt8>> {
        @inline(__always) borrowing get { held + 1 }
    }

    /// Free: in a cell that was something else before, or where whoever held it is not in this process.
    @inline(__always) borrowing func reset() { word.set(0) }

    @inline(never) borrowing func lock() { lockInPlace() }
    @inline(never) borrowing func unlock() { unlockInPlace() }

    // The same for hot paths.

    @inline(__always) borrowing func lockInPlace() {
        if !tryLockInPlace() { wait() }
    }

    @inline(__always) borrowing func unlockInPlace() {
        if releaseInPlace() { wakeOne() }
    }

    /// For a caller that has another way to go where the lock is not free.
    @inline(__always) borrowing func tryLockInPlace() -> Bool {
        held.pointee.compareExchange(expected: 0, desired: 1, ordering: .acquiring).exchanged
    }

    /// Unlocks; true if `wakeOne` is to follow.
    @inline(__always) borrowing func releaseInPlace() -> Bool {
        held.pointee.store(0, ordering: .releasing)
        belaycore_compiler_barrier()
        return slept.pointee.load(ordering: .relaxed) != 0
    }

    /// Unlocks by one exchange, for a caller that has nothing left that keeps the lock where it is: `unlock` looks at it once
    /// more, when another thread may have had it since, and may have made something else of its memory.
    @inline(never) borrowing func unlockForGood() {
        if word.exchange(0, ordering: .releasing) > 1 { wakeNext() }
    }

    @inline(never) private borrowing func wait() {
        // The holder is most often about to leave: look a few times before the kernel is asked.
        for _ in 0..<40 {
            belaycore_pause()
            if held.pointee.load(ordering: .relaxed) == 0 && tryLockInPlace() { return }
        }
        repeat {
            slept.pointee.store(1, ordering: .sequentiallyConsistent)
            if held.pointee.load(ordering: .relaxed) != 0 {
                belaycore_futex_wait(word.address, Lock.heldAndSlept, Clock.after(Lock.nap))
            }
        } while !tryLockInPlace()
        // Others may sleep still, and `slept` may have been taken off for us.
        slept.pointee.store(1, ordering: .relaxed)
    }

    @inline(never) borrowing func wakeOne() {
        slept.pointee.store(0, ordering: .sequentiallyConsistent)
        wakeNext()
    }

    /// If it is not a lock any more, somebody wakes up once too often.
    private borrowing func wakeNext() { belaycore_futex_wake(word.address, 1) }
}
