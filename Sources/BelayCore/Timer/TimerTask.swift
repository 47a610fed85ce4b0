// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// Timers of their own: a task with its entry in a wheel. The context is kept as a handle, without a reference: a
/// handle cannot dangle, so a periodic timer can ask before each run whether it is to be the last. What nearly every
/// start, stop and reset does is in `TimerStraight.swift`; here is the rest, and the general way to all of it.
enum TimerTask {
    @inline(never) static func add(
        _ ctx: belay_ctx, _ delay: Int64, period: Int64, _ function: Registration.Function?,
        _ argument: UnsafeMutableRawPointer?, flags: UInt64 = 0
    ) -> belay_timer {
        let handle = Handle(ctx)
        guard let function else { return fail(BELAY_EINVAL) }
        let found = handle.find()
        guard found != nil || handle.pinAfterSetup() != nil else { return fail(handle.diagnose()) }
        let runtime = found?.state.runtime ?? 0
        let status = Driver.start(runtime)
        if status != BELAY_OK { return fail(status) }
        guard let thread = Thread.current else { return fail(BELAY_ENOMEM) }
        let record = period == 0 ? 0 : thread.takeRecord()
        if period != 0 && record == 0 { return fail(BELAY_ENOMEM) }
        guard let (index, generation) = Task.make(function, UInt64(UInt(bitPattern: argument))) else {
            freeRecord(record)
            return fail(BELAY_ENOMEM)
        }
        if record != 0 { RecordWords.word(record, 0).pointee.set(UInt64(bitPattern: period)) }
        let task = Task.at(index)
        task.pointee.link.set(record)
        task.pointee.context.set(ctx.bits)
        let expiry = Clock.after(max(delay, 0), in: runtime)
        let number = Shard.mine(in: runtime)
        let shard = Shard.at(number)
        shard.pointee.lock.lockInPlace()
        // The number may be another runtime's by now, unless the context is still there.
        guard number < Shard.count || Shard.isOpen(number) && handle.find() != nil else {
            shard.pointee.lock.unlockInPlace()
            freeRecord(record)
            task.pointee.state.store(Task.word(generation, Kind.timer, Task.stopped), ordering: .releasing)
            task.free()
            return fail(BELAY_ESTALE)
        }
        setShard(number, of: task)
        task.pointee.state.store(
            Task.word(generation, Kind.timer, Task.mark(runtime) | flags | Task.pending), ordering: .releasing)
        let hasten = place(index, at: expiry, in: number)
        shard.pointee.lock.unlockInPlace()
        if hasten { Driver.hasten(expiry, runtime) }
        return belay_timer(bits: Handle(generation: generation, kind: Kind.timer, index: index).bits)
    }

    @inline(never) private static func fail(_ status: belay_status) -> belay_timer {
        LastStatus.set(status)
        return belay_timer()
    }

    /// Under the shard's lock: into the wheel, unless it is never due. In a runtime that may be freed it is there all
    /// the same, so that it is found.
    @inline(__always) private static func place(_ index: UInt32, at expiry: Int64, in number: UInt32) -> Bool {
        if expiry != Clock.never || number >= Shard.count {
            return Shard.add(index | WheelSpace.second, at: expiry, to: number)
        }
        Task.at(index).pointee.entry.expiry.set(expiry)
        return false
    }

    /// The shard that a timer is in, or goes to. Set before the timer becomes pending (release), read after it was seen
    /// pending (acquire): a stop never comes with another shard's lock.
    ///
    /// Acquire, once more: LoadLoad. In a later life of the cell there may stand another number by now; whoever has
    /// read that finds the timer gone when he looks again under the lock. Partner of the fences where cells are taken.
    @inline(__always) private static func shard(of task: UnsafeMutablePointer<Task>) -> UInt32 {
        UInt32(task.pointee.entry.shard.load(ordering: .acquiring))
    }

    @inline(__always) private static func setShard(_ number: UInt32, of task: UnsafeMutablePointer<Task>) {
        task.pointee.entry.shard.set(UInt16(truncatingIfNeeded: number))
    }

    private static func period(_ task: UnsafeMutablePointer<Task>) -> Int64 {
        let record = task.pointee.link.get()
        return record == 0 ? 0 : Int64(bitPattern: RecordWords.word(record, 0).pointee.get())
    }

    private static func free(_ task: UnsafeMutablePointer<Task>) {
        freeRecord(task.pointee.link.get())
        task.freeInPlace()
    }

    // MARK: its time has come

    /// By the driver, for a task that it has claimed.
    static func fire(_ index: UInt32, with batch: inout Executor.Batch) {
        let task = Task.at(index)
        if task.pointee.state.get() & Task.waker != 0 { run(task) } else { batch.add(task) }
    }

    static func run(_ task: UnsafeMutablePointer<Task>) {
        guard task.pointee.change(Task.queued, to: Task.running) else { return free(task) }
        // Asked before the run, so that the last run is one that could see the end.
        let isLast = period(task) == 0 || Handle(bits: task.pointee.context.get()).status() != BELAY_OK
        task.call()
        if isLast || !rearm(task) { free(task) }
    }

    /// Puts a periodic timer back for its next time that is not past. False if it was stopped meanwhile.
    private static func rearm(_ task: UnsafeMutablePointer<Task>) -> Bool {
        let period = period(task)
        let last = task.pointee.entry.expiry.get()
        let runtime = task.pointee.runtime
        let missed = max(0, (Clock.now(in: runtime) &- last) / period)
        let (due, overflow) = last.addingReportingOverflow(period &* (missed &+ 1))
        let expiry = overflow ? Clock.never : due
        let number = Shard.mine(in: runtime)
        let shard = Shard.at(number)
        shard.pointee.lock.lockInPlace()
        setShard(number, of: task)
        var hasten = false
        // The flag and the phase are in one word: a stop either dismisses the run or finds the timer pending.
        var old = task.pointee.state.load(ordering: .acquiring)
        var again = false
        while !again && old & Task.dismissed == 0 && Shard.isOpen(number) {
            let (exchanged, found) = task.pointee.state.compareExchange(
                expected: old, desired: old & ~Task.phaseMask | Task.pending, ordering: .acquiringAndReleasing)
            again = exchanged
            old = found
        }
        if again { hasten = place(task.index, at: expiry, in: number) }
        shard.pointee.lock.unlockInPlace()
        if hasten { Driver.hasten(expiry, runtime) }
        return again
    }

    // MARK: stop and reset

    /// Locks the timer's shard, whose number it answers, while the timer is pending; nil if it is not, or no more.
    @inline(never) private static func lockPending(_ task: UnsafeMutablePointer<Task>, _ handle: Handle) -> UInt32? {
        while true {
            let state = task.pointee.state.load(ordering: .acquiring)
            guard handle.matches(state), state & Task.phaseMask == Task.pending else { return nil }
            let number = shard(of: task)
            let shard = Shard.at(number)
            shard.pointee.lock.lockInPlace()
            // It may have fired, and come back to another shard, before the lock was ours.
            let now = task.pointee.state.load(ordering: .acquiring)
            let isPending = handle.matches(now) && now & Task.phaseMask == Task.pending
            if isPending && self.shard(of: task) == number { return number }
            shard.pointee.lock.unlock()
            if !isPending { return nil }
        }
    }

    /// Under that lock.
    private static func leaveWheel(_ task: UnsafeMutablePointer<Task>, of number: UInt32) {
        if task.pointee.entry.isInWheel { Shard.remove(task.index | WheelSpace.second, from: number) }
    }

    @inline(never) static func stop(_ handle: Handle) -> belay_status {
        guard let task = Task.find(handle, kind: Kind.timer)?.task else {
            return Task.diagnose(handle, kind: Kind.timer)
        }
        while true {
            if let number = lockPending(task, handle) {
                leaveWheel(task, of: number)
                let generation = handle.generation &+ 1
                // No swap: nobody else changes the word of a pending timer (`Task` says why). Release: whoever finds a
                // later life of the cell finds this one over (acquire in `Task.find`); there is no waiter to be woken.
                task.pointee.state.store(generation << Handle.generationShift, ordering: .releasing)
                Shard.at(number).pointee.lock.unlock()
                freeRecord(task.pointee.link.get())
                task.giveCell(generation: generation)
                return BELAY_STOP_PREVENTED
            }
            if let answer = stopRunning(task, handle) { return answer }
        }
    }

    /// Stops a timer that is not pending; nil if it is pending again.
    @inline(never) private static func stopRunning(_ task: UnsafeMutablePointer<Task>, _ handle: Handle)
        -> belay_status?
    {
        var state = task.pointee.state.load(ordering: .acquiring)
        while handle.matches(state) {
            var next = state
            switch state & Task.phaseMask {
            case Task.pending: return nil
            case Task.queued: next = state & ~Task.phaseMask | Task.stopped
            case Task.running: next = state | Task.dismissed
            default: return BELAY_STOP_GONE
            }
            let (exchanged, found) = task.pointee.state.compareExchange(
                expected: state, desired: next, ordering: .acquiringAndReleasing)
            if exchanged {
                return next & Task.phaseMask == Task.running ? BELAY_STOP_RUNNING : BELAY_STOP_PREVENTED
            }
            state = found
        }
        return BELAY_STOP_GONE
    }

    @inline(never) static func reset(_ handle: Handle, _ delay: Int64) -> belay_status {
        guard let task = Task.find(handle, kind: Kind.timer)?.task else {
            return Task.diagnose(handle, kind: Kind.timer)
        }
        guard let number = lockPending(task, handle) else {
            let state = task.pointee.state.load(ordering: .acquiring)
            return handle.matches(state) && state & Task.phaseMask != Task.stopped
                ? BELAY_STOP_RUNNING : BELAY_STOP_GONE
        }
        let runtime = Shard.runtime(of: number)
        let expiry = Clock.after(max(delay, 0), in: runtime)
        leaveWheel(task, of: number)
        let hasten = place(task.index, at: expiry, in: number)
        Shard.at(number).pointee.lock.unlock()
        if hasten { Driver.hasten(expiry, runtime) }
        return BELAY_OK
    }
}

@_cdecl("belay_timer_every") @implementation
public func belay_timer_every(
    _ ctx: belay_ctx, _ period: belay_duration, _ function: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?,
    _ argument: UnsafeMutableRawPointer?
) -> belay_timer {
    guard period > 0, period != Clock.never else {
        LastStatus.set(BELAY_EINVAL)
        return belay_timer()
    }
    return TimerTask.add(ctx, period, period: period, function, argument)
}
