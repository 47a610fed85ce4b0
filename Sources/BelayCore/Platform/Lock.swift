// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// A mutex of four bytes. All zeroes is unlocked.
///
/// | word | means | who changes it |
/// |---|---|---|
/// | 0 | free | `unlock`, by exchange (release; partner: the acquire in `lock`) |
/// | 1 | held, nobody sleeps | `lock`, by compare-and-swap from 0 |
/// | 2 | held, somebody may sleep | a thread about to sleep, by exchange |
///
/// No wake-up is lost: a sleeper goes to sleep only while the word is 2, and whoever turns a 2 into a 0 wakes one. Held
/// for short, bounded work only, never while user code runs.
struct Lock: ~Copyable {
    private let word: Atomic<UInt32>

    init() { word = Atomic(0) }

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

    /// For who has another way to go where the lock is not free.
    @inline(__always) borrowing func tryLockInPlace() -> Bool {
        word.compareExchange(expected: 0, desired: 1, ordering: .acquiring).exchanged
    }

    /// Unlocks; true if `wakeOne` is to follow.
    @inline(__always) borrowing func releaseInPlace() -> Bool { word.exchange(0, ordering: .releasing) == 2 }

    @inline(never) private borrowing func wait() {
        // The holder is most often about to leave: look a few times before the kernel is asked.
        for _ in 0..<40 {
            belaycore_pause()
            if word.load(ordering: .relaxed) == 0
                && word.compareExchange(expected: 0, desired: 1, ordering: .acquiring).exchanged
            {
                return
            }
        }
        while word.exchange(2, ordering: .acquiring) != 0 {
            belaycore_futex_wait(word.address, 2, .max)
        }
    }

    @inline(never) borrowing func wakeOne() { belaycore_futex_wake(word.address, 1) }
}
