// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// Merged contexts that a push has marked through a link, and whose own descendants are still to be.
///
/// The push that finds a link puts it here before it lets its lock go. Then, with no lock held, it works off what is
/// here, its own and that of others; so does whoever found that another push had been quicker, before it returns. So
/// when any cancel returns, all below is done, however many merges there are on the way: what it found taken was taken
/// by a push that had put its links here by the time its lock was free, and these are worked off one after the other,
/// until none is left.
///
/// Whoever works off a link marks and no more. Those who listen below are told by the thread that found the link, as if it
/// had done all by itself: callbacks run where a context is ended, and not on whatever thread came by.
///
/// The lock comes before all listen locks: who has it takes those of the merged contexts and of their parents.
struct LinkPushes: ~Copyable {
    private let lock: Lock
    /// The links that were put here and not yet worked off, and the last of them: tasks, in a chain by `previous`,
    /// which nobody needs any more in a list that has been taken.
    private let unfinished: Atomic<UInt32>
    private let head: Atomic<UInt32>

    /// A link whose merged context has been marked. Under the listen lock of the push that found it.
    borrowing func add(_ task: UnsafeMutablePointer<Task>) {
        unfinished.wrappingAdd(1, ordering: .relaxed)
        var next = head.get()
        while true {
            task.pointee.entry.previous.set(next)
            let (exchanged, found) = head.compareExchange(
                expected: next, desired: task.index, successOrdering: .releasing, failureOrdering: .relaxed)
            if exchanged { return }
            next = found
        }
    }

    /// Pushes to all merged contexts that are here. With no lock held.
    @inline(__always) borrowing func workOff() {
        // Acquire: what was marked by whoever worked off the last one (release) reads as done.
        if unfinished.load(ordering: .acquiring) != 0 { workOffAll() }
    }

    @inline(never) private borrowing func workOffAll() {
        lock.lock()
        while true {
            // Acquire: the partner of the release in `add`.
            var index = head.exchange(0, ordering: .acquiring)
            if index == 0 { break }
            while index != 0 {
                let task = Task.at(index)
                index = task.pointee.entry.previous.get()
                Links.push(task)
                // Then it is its list's again, whose owner waits for us in `workOff`.
                unfinished.wrappingSubtract(1, ordering: .releasing)
            }
        }
        lock.unlock()
    }

    /// In the child of a fork.
    borrowing func startOver() {
        lock.reset()
        unfinished.set(0)
        head.set(0)
    }
}
