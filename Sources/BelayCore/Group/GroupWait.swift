// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

@_cdecl("belay_group_wait") @implementation
public func belay_group_wait(
    _ group: belay_group, _ timeout: belay_duration, _ error: UnsafeMutablePointer<belay_cause>?
) -> belay_status {
    let handle = Handle(bits: group.bits)
    guard let pinned = Group.pin(handle) else { return Group.diagnose(handle) }
    defer { pinned.release() }
    if pinned.isCallersOwn { return BELAY_EDEADLK }
    let status = pinned.waitUntilIdle(handle, timeout)
    if status != BELAY_OK { return status }
    pinned.cancelContext()
    guard let failure = pinned.firstError else { return BELAY_OK }
    error?.pointee = failure.cause
    return BELAY_EFAILED
}

extension UnsafeMutablePointer where Pointee == Group {
    fileprivate func waitUntilIdle(_ handle: Handle, _ timeout: Int64) -> belay_status {
        if isIdle { return BELAY_OK }
        if timeout <= 0 { return BELAY_TIMEOUT }
        // The thread that runs the tasks would wait for itself.
        if Runtime.at(runtime).pointee.loop.isMine { return BELAY_EDEADLK }
        if !Waiting.begin(handle) { return BELAY_EDEADLK }
        let status = sleepUntilIdle(until: Clock.after(timeout))
        Waiting.end()
        return status
    }

    /// What the tasks wrote is seen by whoever gets a "yes" under the lock under which the last one left.
    private var isIdle: Bool {
        pointee.lock.lock()
        defer { pointee.lock.unlock() }
        return pointee.running.get() == 0
    }

    private func sleepUntilIdle(until end: Int64) -> belay_status {
        pointee.lock.lock()
        defer { pointee.lock.unlock() }
        let seen = pointee.idle.get()
        pointee.waiters.set(pointee.waiters.get() + 1)
        defer { pointee.waiters.set(pointee.waiters.get() - 1) }
        // A moment with no task is enough, even if there is one again when we wake.
        while pointee.running.get() != 0 && pointee.idle.get() == seen {
            pointee.lock.unlock()
            belaycore_futex_wait(pointee.idle.address, seen, end)
            let isLate = end != Clock.never && Clock.now >= end
            pointee.lock.lock()
            if isLate && pointee.running.get() != 0 && pointee.idle.get() == seen { return BELAY_TIMEOUT }
        }
        return BELAY_OK
    }

    // MARK: rings of waiters

    /// A task that is about to wait, or has waited, joins or leaves its group's list.
    func setWaiting(_ task: UnsafeMutablePointer<Task>, _ isWaiting: Bool) {
        pointee.lock.lock()
        if isWaiting { link(task) } else { unlink(task) }
        pointee.lock.unlock()
    }

    private func link(_ task: UnsafeMutablePointer<Task>) {
        let head = pointee.waiting.get()
        task.pointee.entry.next.set(head)
        task.pointee.entry.previous.set(0)
        if head != 0 { Task.at(head).pointee.entry.previous.set(task.index) }
        pointee.waiting.set(task.index)
    }

    private func unlink(_ task: UnsafeMutablePointer<Task>) {
        let next = task.pointee.entry.next.get()
        let previous = task.pointee.entry.previous.get()
        if next != 0 { Task.at(next).pointee.entry.previous.set(previous) }
        if previous != 0 { Task.at(previous).pointee.entry.next.set(next) } else { pointee.waiting.set(next) }
    }

    /// Adds what each of the group's tasks waits for, under the lock.
    func addWaits(to ring: inout Ring) {
        pointee.lock.lock()
        var index = pointee.waiting.get()
        while index != 0 {
            ring.add(Task.at(index).pointee.waitsFor.load(ordering: .sequentiallyConsistent))
            index = Task.at(index).pointee.entry.next.get()
        }
        pointee.lock.unlock()
    }
}
