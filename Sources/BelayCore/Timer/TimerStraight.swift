// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

// The straight ways to start, stop and move a timer that runs once, of the default runtime. Whatever is not as usual is
// left to the general ways, in `TimerTask`; both leave the same words behind.

@_cdecl("belay_timer_after") @implementation @_optimize(speed)
public func belay_timer_after(
    _ ctx: belay_ctx, _ delay: belay_duration, _ function: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?,
    _ argument: UnsafeMutableRawPointer?
) -> belay_timer {
    // First, because it is a call: only the arguments are to be kept across it.
    let (expiry, overflow) = Clock.now.addingReportingOverflow(max(delay, 0))
    guard !overflow, let function, let found = Handle(ctx).find(), found.state.word & State.runtimeMask == 0,
        Runtime.standard.pointee.driver.isStarted, let thread = Thread.known, thread.pointee.tasks.hasCell
    else { return TimerTask.add(ctx, delay, period: 0, function, argument) }
    let index = thread.pointee.tasks.first
    let task = Task.at(index)
    // Where the state word and the handle have it.
    let generation = task.pointee.state.get() & Handle.generationMask
    if generation == 0 { return TimerTask.add(ctx, delay, period: 0, function, argument) }
    thread.pointee.tasks.takeFirst(task)
    thread.pointee.tasks.countTaken()
    thread.count(.timerArmed)
    // StoreStore, as in `Task.make`.
    atomicMemoryFence(ordering: .releasing)
    task.pointee.waitsFor.set(0)
    task.pointee.link.set(0)
    task.pointee.set(function, UInt64(UInt(bitPattern: argument)))
    task.pointee.context.set(ctx.bits)
    let number = thread.pointee.number % Shard.count
    let shard = Shard.at(number)
    task.pointee.entry.shard.set(UInt16(truncatingIfNeeded: number))
    shard.pointee.lock.lockInPlace()
    // Release: whoever sees the timer pending finds its words (acquire in `Task.find`, and in the stop below).
    task.pointee.state.store(generation | Kind.timer << Handle.kindShift | Task.pending, ordering: .releasing)
    Shard.wheel(number).add(index | WheelSpace.second, task.entry, at: expiry)
    let hasten = shard.pointee.lowerWake(to: expiry)
    shard.pointee.lock.unlockInPlace()
    if hasten { Driver.hasten(expiry, 0) }
    return belay_timer(bits: generation | Kind.timer << Handle.kindShift | UInt64(index))
}

@_cdecl("belay_timer_stop") @implementation @_optimize(speed)
public func belay_timer_stop(_ timer: belay_timer) -> belay_status {
    let handle = Handle(bits: timer.bits)
    guard let pending = Pending.lock(handle, toFree: true) else { return TimerTask.stop(handle) }
    let thread = pending.thread
    Shard.wheel(pending.number).removeInPlace(pending.task.entry)
    thread.count(.timerStopped)
    // The next generation; 0 if there is none, and the cell is retired. No swap, as in the general way.
    let gone = (handle.bits | ~Handle.generationMask) &+ 1
    pending.task.pointee.state.store(gone, ordering: .releasing)
    if gone != 0 {
        thread.pointee.tasks.pushFirst(UInt32(truncatingIfNeeded: handle.wideIndex), pending.task)
        thread.pointee.tasks.countGiven()
    }
    return pending.shard.pointee.lock.releaseInPlace() ? wakeNext(pending.shard) : BELAY_STOP_PREVENTED
}

/// The end of a stop that somebody waits for the shard's lock after.
@inline(never) private func wakeNext(_ shard: UnsafeMutablePointer<Shard>) -> belay_status {
    shard.pointee.lock.wakeOne()
    return BELAY_STOP_PREVENTED
}

@_cdecl("belay_timer_reset") @implementation @_optimize(speed)
public func belay_timer_reset(_ timer: belay_timer, _ delay: belay_duration) -> belay_status {
    let (expiry, overflow) = Clock.now.addingReportingOverflow(max(delay, 0))
    let handle = Handle(bits: timer.bits)
    guard !overflow, let pending = Pending.lock(handle, toFree: false) else { return TimerTask.reset(handle, delay) }
    let thread = pending.thread
    let wheel = Shard.wheel(pending.number)
    thread.count(.timerStopped)
    thread.count(.timerArmed)
    var hasten = false
    if expiry >= pending.task.pointee.entry.expiry.get() {
        wheel.putOff(pending.task.entry, to: expiry)
    } else {
        wheel.removeInPlace(pending.task.entry)
        wheel.add(handle.index | WheelSpace.second, pending.task.entry, at: expiry)
        hasten = pending.shard.pointee.lowerWake(to: expiry)
    }
    pending.shard.pointee.lock.unlockInPlace()
    if hasten { Driver.hasten(expiry, 0) }
    return BELAY_OK
}

/// A pending timer, of a kind that goes the straight way, and its shard, which is locked.
private struct Pending {
    let task: UnsafeMutablePointer<Task>
    let number: UInt32
    let shard: UnsafeMutablePointer<Shard>
    /// The calling thread, which has room for the cell if that is wanted.
    let thread: UnsafeMutablePointer<Thread>

    /// Nil if there is anything unusual, also if the lock is not free.
    @inline(__always) static func lock(_ handle: Handle, toFree: Bool) -> Pending? {
        // Acquire: an index below the limit has its base and its memory.
        let index = handle.index(of: Kind.timer)
        guard index < UInt64(Region.tasks.pointee.limit.load(ordering: .acquiring)),
            let thread = Thread.known, !toFree || thread.pointee.tasks.hasRoom
        else { return nil }
        let task = Region.tasks.pointee.cell(index, as: Task.self)
        // What stands there while such a timer is pending.
        let word = handle.bits & ~Handle.indexMask | Task.pending
        // Acquire: record and shard were set before the timer became pending (release, where it is started).
        guard task.pointee.state.load(ordering: .acquiring) == word, task.pointee.link.get() == 0 else { return nil }
        // Acquire: LoadLoad, as in `TimerTask.shard`.
        let number = UInt32(task.pointee.entry.shard.load(ordering: .acquiring))
        guard number < Shard.count else { return nil }
        let shard = Shard.at(number)
        guard shard.pointee.lock.tryLockInPlace() else { return nil }
        // It may have fired before the lock was ours; or it is never due, and in no wheel. It cannot have gone to
        // another shard: that takes a period.
        guard task.pointee.state.load(ordering: .acquiring) == word, task.pointee.entry.isInWheel else {
            shard.pointee.lock.unlockInPlace()
            return nil
        }
        return Pending(task: task, number: number, shard: shard, thread: thread)
    }
}

extension UnsafeMutablePointer where Pointee == Task {
    /// The wheel's entry of a task.
    @inline(__always) fileprivate var entry: UnsafeMutablePointer<WheelEntry> {
        (UnsafeMutableRawPointer(self) + Int(WheelSpace.offset)).assumingMemoryBound(to: WheelEntry.self)
    }
}
