// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// A group's tasks. Each is a task cell from its start to its return, and has one of the group's references.
enum Work {
    typealias Function = @convention(c) (belay_ctx, UnsafeMutableRawPointer?) -> Int64

    /// `group_go` and `group_try_go`.
    @inline(never) static func start(
        _ bits: belay_group, _ function: Function?, _ argument: UnsafeMutableRawPointer?, mayBlock: Bool
    ) -> belay_status {
        let handle = Handle(bits: bits.bits)
        guard let group = Group.pin(handle) else { return Group.diagnose(handle) }
        guard let function else {
            group.release()
            return BELAY_EINVAL
        }
        switch group.admit(mayBlock: mayBlock) {
        case .admitted: return queue(group, function, argument)
        case .inPlace:
            // The caller's own task stands still meanwhile: no more of them run than before.
            group.accept(function(group.context, argument))
            group.release()
            return BELAY_OK
        case .refused(let status):
            group.release()
            return status
        }
    }

    /// The caller's reference becomes the task's.
    private static func queue(
        _ group: GroupPointer, _ function: Function, _ argument: UnsafeMutableRawPointer?
    ) -> belay_status {
        // What stands in a task is a function of one argument; `run` knows better.
        let plain = unsafeBitCast(function, to: Registration.Function.self)
        guard let (index, generation) = Task.make(plain, UInt64(UInt(bitPattern: argument))) else {
            group.leave()
            return BELAY_ENOMEM
        }
        let task = Task.at(index)
        task.pointee.link.set(group.index)
        task.pointee.state.store(
            Task.word(generation, Kind.work, Task.mark(group.runtime) | Task.queued), ordering: .releasing)
        Executor.submit(task)
        return BELAY_OK
    }

    /// By the executor.
    static func run(_ task: UnsafeMutablePointer<Task>) {
        task.pointee.change(Task.queued, to: Task.running)
        let group = Group.at(task.pointee.link.get())
        Running.inside(task) {
            let function = UnsafeRawPointer(bitPattern: UInt(task.pointee.function.get())).unsafelyUnwrapped
            // Still inside: an error ends the context, and what is called back for that may ask the group something.
            group.accept(unsafeBitCast(function, to: Function.self)(group.context, task.argument))
        }
        task.free()
        group.leave()
    }
}

extension UnsafeMutablePointer where Pointee == Task {
    @inline(__always) var isWork: Bool { pointee.state.get() >> Handle.kindShift & 15 == Kind.work }
}

/// Whether a task may start.
enum Admission {
    /// It counts as running from now on.
    case admitted
    /// The caller is one of the group's tasks, and is to run it itself.
    case inPlace
    case refused(belay_status)
}

extension UnsafeMutablePointer where Pointee == Group {
    func admit(mayBlock: Bool) -> Admission {
        pointee.lock.lock()
        defer { pointee.lock.unlock() }
        while pointee.running.get() >= pointee.limit.get() {
            if !mayBlock { return .refused(BELAY_EBUSY) }
            // Nothing that runs could ever make room.
            if pointee.limit.get() == 0 { return .refused(BELAY_EDEADLK) }
            if isCallersOwn { return .inPlace }
            if isFreed { return .refused(BELAY_ESTALE) }
            // The thread that would run the others' tasks.
            if Runtime.at(runtime).pointee.loop.isMine { return .refused(BELAY_EDEADLK) }
            sleepUntilRoom()
        }
        if isFreed { return .refused(BELAY_ESTALE) }
        pointee.running.set(pointee.running.get() + 1)
        return .admitted
    }

    /// Under the lock, which is given up meanwhile.
    private func sleepUntilRoom() {
        pointee.starters.set(pointee.starters.get() + 1)
        let seen = pointee.room.get()
        pointee.lock.unlock()
        belaycore_futex_wait(pointee.room.address, seen, Clock.never)
        pointee.lock.lock()
        pointee.starters.set(pointee.starters.get() - 1)
    }

    /// A task has returned, or will not start after all. Its reference goes under the lock, with its count: so after a
    /// wait the owner's free is the last, and closes the context before it returns.
    func leave() {
        pointee.lock.lock()
        let running = pointee.running.get() - 1
        pointee.running.set(running)
        let isLast = dropReference()
        let hasStarters = pointee.starters.get() != 0
        let hasWaiters = running == 0 && pointee.waiters.get() != 0
        if hasStarters { pointee.room.set(pointee.room.get() &+ 1) }
        if hasWaiters { pointee.idle.set(pointee.idle.get() &+ 1) }
        pointee.lock.unlockForGood()
        // From here on the cell may be another group's. A wake-up too many does no harm there.
        // One place, one starter. Should another call take the place first, the next task to return wakes again.
        if hasStarters { belaycore_futex_wake(pointee.room.address, 1) }
        if hasWaiters { belaycore_futex_wake(pointee.idle.address, .max) }
        if isLast { recycle() }
    }

    func setLimit(_ limit: UInt32) -> belay_status {
        pointee.lock.lock()
        let isBusy = pointee.running.get() != 0
        if !isBusy { pointee.limit.set(limit) }
        wakeStartersAndUnlock()
        return isBusy ? BELAY_EBUSY : BELAY_OK
    }

    /// The group was freed: whoever sleeps until there is room need not.
    func turnStartersAway() {
        pointee.lock.lock()
        wakeStartersAndUnlock()
    }

    private func wakeStartersAndUnlock() {
        let hasStarters = pointee.starters.get() != 0
        if hasStarters { pointee.room.set(pointee.room.get() &+ 1) }
        pointee.lock.unlock()
        if hasStarters { belaycore_futex_wake(pointee.room.address, .max) }
    }
}

@_cdecl("belay_group_go") @implementation
public func belay_group_go(
    _ group: belay_group, _ function: (@convention(c) (belay_ctx, UnsafeMutableRawPointer?) -> Int64)?,
    _ argument: UnsafeMutableRawPointer?
) -> belay_status {
    Work.start(group, function, argument, mayBlock: true)
}

@_cdecl("belay_group_try_go") @implementation
public func belay_group_try_go(
    _ group: belay_group, _ function: (@convention(c) (belay_ctx, UnsafeMutableRawPointer?) -> Int64)?,
    _ argument: UnsafeMutableRawPointer?
) -> belay_status {
    Work.start(group, function, argument, mayBlock: false)
}
