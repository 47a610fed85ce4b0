// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// The end of a runtime's executor: its last tasks are over, and its threads have gone.
extension Executor {
    /// Waits until no task is outstanding, and turns away what comes later if `closing`. False if `end` comes first;
    /// then it can be called again.
    @inline(never) borrowing func drain(_ number: UInt32, isManual: Bool, closing: Bool = false, until end: Int64)
        -> Bool
    {
        while true {
            if isManual { runQueue() }
            lock.lock()
            // Acquire, of the release in `arrived`.
            let left = outstanding.load(ordering: .acquiring)
            if left == 0 && closing { closed.set(1) }
            lock.unlock()
            if left == 0 { return true }
            let now = Clock.now
            if now >= end { return false }
            // Tasks may wait for each other, and there may be no driver that would look after the queue, nor can one be
            // started any more.
            if !isManual { look(number) }
            belaycore_futex_wait(outstanding.address, left, min(end, now + Executor.watchInterval))
        }
    }

    /// The same, and waits for the threads to end.
    borrowing func close(_ number: UInt32, isManual: Bool, until end: Int64) -> Bool {
        if !drain(number, isManual: isManual, closing: true, until: end) { return false }
        signal.wrappingAdd(1, ordering: .releasing)
        belaycore_futex_wake(signal.address, .max)
        while true {
            lock.lock()
            let left = threads.get()
            lock.unlock()
            if left == 0 { return true }
            if Clock.now >= end { return false }
            belaycore_futex_wait(threads.address, left, end)
        }
    }
}
