// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

// The straight ways to start and stop a timer that runs once, of the default runtime. Whatever is not as usual is left to
// the general ways, in `TimerTask`; both leave the same words behind.

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
    guard handle.kind == Kind.timer,
        handle.wideIndex < UInt64(Region.tasks.pointee.limit.load(ordering: .acquiring)), let thread = Thread.known,
        thread.pointee.tasks.hasRoom
    else { return TimerTask.stop(handle) }
    let task = Region.tasks.pointee.cell(handle.wideIndex, as: Task.self)
    // What stands there while such a timer is pending.
    let pending = handle.bits & ~Handle.indexMask | Task.pending
    // The next generation; 0 if there is none, so that the cell is to be retired.
    let gone = (handle.bits | ~Handle.generationMask) &+ 1
    // Acquire: the shard was set before the timer became pending.
    guard task.pointee.state.load(ordering: .acquiring) == pending, task.pointee.link.get() == 0, gone != 0 else {
        return TimerTask.stop(handle)
    }
    let number = UInt32(task.pointee.entry.shard.get())
    guard number < Shard.count else { return TimerTask.stop(handle) }
    let shard = Shard.at(number)
    guard shard.pointee.lock.tryLockInPlace() else { return TimerTask.stop(handle) }
    // It may have fired before the lock was ours; or it is never due, and in no wheel. It cannot have gone to another shard:
    // that takes a period.
    guard task.pointee.state.load(ordering: .acquiring) == pending, task.pointee.entry.isInWheel else {
        shard.pointee.lock.unlockInPlace()
        return TimerTask.stop(handle)
    }
    Shard.wheel(number).remove(task.entry)
    thread.count(.timerStopped)
    // No swap: nobody else changes the word of a pending timer (`Task` says why). Release: whoever finds a later life of the
    // cell finds this one over (acquire in `Task.find`); there is no waiter to be woken.
    task.pointee.state.store(gone, ordering: .releasing)
    thread.pointee.tasks.pushFirst(UInt32(truncatingIfNeeded: handle.wideIndex), task)
    thread.pointee.tasks.countGiven()
    return shard.pointee.lock.releaseInPlace() ? wakeNext(shard) : BELAY_STOP_PREVENTED
}

/// The end of a stop that somebody waits for the shard's lock after.
@inline(never) private func wakeNext(_ shard: UnsafeMutablePointer<Shard>) -> belay_status {
    shard.pointee.lock.wakeOne()
    return BELAY_STOP_PREVENTED
}

extension UnsafeMutablePointer where Pointee == Task {
    /// The wheel's entry of a task.
    @inline(__always) fileprivate var entry: UnsafeMutablePointer<WheelEntry> {
        (UnsafeMutableRawPointer(self) + Int(WheelSpace.offset)).assumingMemoryBound(to: WheelEntry.self)
    }
}
