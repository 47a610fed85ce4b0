// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

@_cdecl("belay_stop_wait") @implementation
public func belay_stop_wait(_ reg: belay_reg, _ timeout: belay_duration) -> belay_status {
    let handle = Handle(bits: reg.bits)
    guard let (task, state) = Task.find(handle, kind: Kind.registration) else {
        return Task.diagnose(handle, kind: Kind.registration)
    }
    return Waiting.afterStop(Registration.stop(task, state), task, handle, timeout)
}

@_cdecl("belay_timer_stop_wait") @implementation
public func belay_timer_stop_wait(_ timer: belay_timer, _ timeout: belay_duration) -> belay_status {
    let handle = Handle(bits: timer.bits)
    guard let (task, _) = Task.find(handle, kind: Kind.timer) else { return Task.diagnose(handle, kind: Kind.timer) }
    return Waiting.afterStop(belay_timer_stop(timer), task, handle, timeout)
}

/// A thread that waits for a task to be over, or for a group, says so in every task that it is itself inside of. So a
/// ring of waiters is found by following the marks: each waiter marks first and looks then, sequentially consistent, so
/// the last one to join the ring sees it whole. A group waits for what its tasks wait for: those that do stand in its
/// list, under its lock, and the same holds: of two that join and then look, the second to get the lock sees the first.
enum Waiting {
    /// The rest of a stop-and-wait: `answer` is what stop said.
    fileprivate static func afterStop(
        _ answer: belay_status, _ task: UnsafeMutablePointer<Task>, _ handle: Handle, _ timeout: Int64
    ) -> belay_status {
        if answer != BELAY_STOP_RUNNING { return answer }
        if Running.contains(task) { return BELAY_STOP_RUNNING }
        if timeout <= 0 { return look(task, handle) }
        if !begin(handle) { return BELAY_EDEADLK }
        let status = sleep(task, handle, until: Clock.after(timeout))
        end()
        return status
    }

    /// The calling thread is about to wait for the thing that `handle` names. False if that would be for ever; else
    /// `end` follows the wait.
    static func begin(_ handle: Handle) -> Bool {
        // A thread that is inside of nothing is in nobody's way.
        if Thread.known?.pointee.running ?? 0 == 0 { return true }
        mark(handle.bits)
        let closes = withUnsafeTemporaryAllocation(of: UInt64.self, capacity: Ring.longest) { things in
            var ring = Ring(things.baseAddress.unsafelyUnwrapped)
            return ring.closes(from: handle.bits)
        }
        if closes { mark(0) }
        return !closes
    }

    static func end() { mark(0) }

    @inline(never) private static func mark(_ handle: UInt64) {
        var running = Running.Walk()
        while let task = running.next() {
            task.pointee.waitsFor.store(handle, ordering: .sequentiallyConsistent)
            if task.isWork { Group.at(task.pointee.link.get()).setWaiting(task, handle != 0) }
        }
    }

    /// Sleeps until the task is over: its generation has moved on. The memory is always there to look at.
    private static func sleep(_ task: UnsafeMutablePointer<Task>, _ handle: Handle, until end: Int64) -> belay_status {
        while true {
            let state = task.pointee.state.load(ordering: .acquiring)
            guard handle.matches(state) else { return BELAY_STOP_GONE }
            // The mark goes in before the sleep; the one who frees the task takes it out with the same swap that moves
            // the generation on, so either the sleep does not begin or it is ended.
            guard task.pointee.state.change(state, state | Task.awaited) else { continue }
            belaycore_futex_wait(task.generationAddress, UInt32(truncatingIfNeeded: handle.generation), end)
            if end != Clock.never && Clock.now >= end {
                return look(task, handle)
            }
        }
    }

    /// Whether the task is over, where there is no time left. Acquire: who hears that it is sees what the function
    /// wrote; partner of the release in `free`.
    private static func look(_ task: UnsafeMutablePointer<Task>, _ handle: Handle) -> belay_status {
        handle.matches(task.pointee.state.load(ordering: .acquiring)) ? BELAY_TIMEOUT : BELAY_STOP_GONE
    }
}

/// A search along the marks of those who wait.
struct Ring {
    /// Of more things than this rings are not looked for; the timeout bounds them.
    static let longest = 256

    /// Handles of things that are waited for, each once; there is room for `longest`.
    private let things: UnsafeMutablePointer<UInt64>
    private var count = 0

    init(_ things: UnsafeMutablePointer<UInt64>) { self.things = things }

    /// Whether what `target` names waits, directly or not, for a task that the calling thread is inside of.
    @inline(never) mutating func closes(from target: UInt64) -> Bool {
        add(target)
        var next = 0
        while next < count {
            let handle = Handle(bits: things[next])
            next += 1
            if let group = Group.pin(handle) {
                let closes = group.isCallersOwn
                if !closes { group.addWaits(to: &self) }
                group.release()
                if closes { return true }
            } else if let (task, _) = Task.find(handle, kind: handle.kind) {
                if Running.contains(task) { return true }
                add(task.pointee.waitsFor.load(ordering: .sequentiallyConsistent))
            }
        }
        return false
    }

    @inline(never) mutating func add(_ thing: UInt64) {
        if thing == 0 || count == Ring.longest { return }
        for i in 0..<count where things[i] == thing { return }
        things[count] = thing
        count += 1
    }
}
