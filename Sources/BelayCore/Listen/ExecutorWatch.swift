// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// The watch: while tasks are queued and no thread is free, the driver comes by every `watchInterval`, and starts one
/// more thread if the queue has not moved.
extension Executor {
    private static let mostThreads: UInt32 = 1024
    static let watchInterval: Int64 = 1_000_000

    /// Under the lock.
    @inline(never) borrowing func beginWatch() {
        takenAtWatch.set(taken.get())
        watchAt.store(Clock.after(Executor.watchInterval), ordering: .sequentiallyConsistent)
    }

    /// When the driver should call `watch`; never, mostly.
    static func nextWatch(_ number: UInt32) -> Int64 {
        let at = Runtime.at(number).pointee.executor.watchAt.load(ordering: .sequentiallyConsistent)
        return at == 0 ? Clock.never : at
    }

    /// Should the driver not start, the pool stays as it is until the next task comes.
    @inline(never) static func hastenWatch(_ number: UInt32) {
        // One that is there goes on to the end, also while its runtime is being freed.
        if Runtime.at(number).pointee.driver.isStarted || Driver.start(number) == BELAY_OK {
            Driver.hasten(nextWatch(number), number)
        } else {
            Runtime.at(number).pointee.executor.watchAt.store(0, ordering: .sequentiallyConsistent)
        }
    }

    /// By the driver: adds a thread if the queue has not moved since the last look, and there is none that was called
    /// and is only slow to come.
    static func watch(_ number: UInt32, now: Int64) {
        if nextWatch(number) > now { return }
        Runtime.at(number).pointee.executor.look(number)
    }

    @inline(never) borrowing func look(_ number: UInt32) {
        lock.lock()
        var start = false
        if head.get() == 0 || idle.get() > called.get() {
            watchAt.set(0)
        } else {
            start = taken.get() == takenAtWatch.get() && idle.get() == 0 && threads.get() < Executor.mostThreads
            if start {
                threads.set(threads.get() + 1)
                surplus.set(0)
            }
            beginWatch()
        }
        lock.unlock()
        if start { startThread(number) }
    }
}
