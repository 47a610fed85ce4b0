// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// Stopping a registration: it is taken out of its scope's list under the lock, or marked for whoever comes across it.
/// `Registration` says why the lock can be taken without a reference.
extension Registration {
    /// `state` is what the task's word was when its handle matched. This much is the straight way.
    @inline(__always) fileprivate static func stopStraight(_ task: UnsafeMutablePointer<Task>, _ state: UInt64)
        -> belay_status
    {
        guard state & Task.phaseMask == Task.pending, let scope = task.pointee.scope(ifStill: state), scope != 0,
            let thread = Thread.known, thread.pointee.tasks.hasRoom, Task.next(after: state) != 0
        else { return stop(task, state) }
        let listen = node(scope).listen
        guard listen.pointee.lock.tryLockInPlace() else { return stop(task, state) }
        guard listen.pointee.has(task, state) else {
            listen.pointee.lock.unlockInPlace()
            return stop(task, state)
        }
        listen.pointee.remove(task)
        task.pointee.becomeFree(after: state)
        thread.pointee.tasks.pushFirst(task.index, task)
        thread.pointee.tasks.countGiven()
        if listen.pointee.lock.releaseInPlace() { listen.pointee.lock.wakeOne() }
        return BELAY_STOP_PREVENTED
    }

    /// The same, whatever the phase.
    @inline(never) static func stop(_ task: UnsafeMutablePointer<Task>, _ seen: UInt64) -> belay_status {
        var state = seen
        while state >> Handle.kindShift == seen >> Handle.kindShift {
            let phase = state & Task.phaseMask
            if phase == Task.running { return BELAY_STOP_RUNNING }
            guard phase == Task.pending || phase == Task.queued else { return BELAY_STOP_GONE }
            guard let scope = task.pointee.scope(ifStill: state) else {
                state = task.pointee.state.load(ordering: .acquiring)
                continue
            }
            if phase == Task.pending && scope != 0 && withdraw(task, state, from: node(scope)) {
                return BELAY_STOP_PREVENTED
            }
            // In no list; or a push has taken the list, and may have come by.
            let (exchanged, found) = task.pointee.state.compareExchange(
                expected: state, desired: state & ~Task.phaseMask | Task.stopped, ordering: .acquiringAndReleasing)
            if exchanged {
                // What is in a list or queue is freed by whoever takes it from there.
                if phase == Task.pending && scope == 0 { task.free() }
                return BELAY_STOP_PREVENTED
            }
            state = found
        }
        return BELAY_STOP_GONE
    }

    /// Takes a task that was pending with this word out of its scope's list, and frees it. False if it is in no list
    /// any more.
    private static func withdraw(_ task: UnsafeMutablePointer<Task>, _ state: UInt64, from scope: NodePointer) -> Bool {
        let listen = scope.listen
        listen.pointee.lock.lock()
        let isThere = listen.pointee.has(task, state)
        if isThere {
            listen.pointee.remove(task)
            task.pointee.becomeFree(after: state)
        }
        listen.pointee.lock.unlock()
        if isThere { task.giveCell(generation: (state >> Handle.generationShift) &+ 1) }
        return isThere
    }
}

extension Task {
    /// The node of a registration; nil if its word has changed. In another life of the cell there stands something
    /// else, which may be no node's index at all.
    @inline(__always) fileprivate func scope(ifStill word: UInt64) -> UInt32? {
        // Acquire: LoadLoad; partner of the fences where cells are taken.
        let scope = link.load(ordering: .acquiring)
        return state.load(ordering: .acquiring) == word ? scope : nil
    }

    /// The word of a free task, after one with this word; 0 if there is no generation left, and the cell is retired.
    @inline(__always) fileprivate static func next(after word: UInt64) -> UInt64 {
        (word | ~Handle.generationMask) &+ 1
    }

    /// For a registration that will not run: only what runs is waited for, and nobody else changes it any more, so a
    /// store is enough. Release: whoever finds the handle stale has the stop before it.
    @inline(__always) fileprivate func becomeFree(after word: UInt64) {
        state.store(Task.next(after: word), ordering: .releasing)
    }
}

/// The list of registrations; under the lock.
extension Listen {
    /// Whether the task that was pending with this word is in this list; see `Registration` for why the word decides.
    @inline(__always) fileprivate borrowing func has(_ task: UnsafeMutablePointer<Task>, _ word: UInt64) -> Bool {
        // In this order, as in `accepts`.
        !isTaken && task.pointee.state.load(ordering: .acquiring) == word
    }

    @inline(__always) fileprivate borrowing func remove(_ task: UnsafeMutablePointer<Task>) {
        let next = task.pointee.entry.next.get()
        let previous = task.pointee.entry.previous.get()
        if next != 0 { Task.at(next).pointee.entry.previous.set(previous) }
        if previous != 0 { Task.at(previous).pointee.entry.next.set(next) } else { callbacks.set(next) }
    }
}

@_cdecl("belay_stop") @implementation @_optimize(speed)
public func belay_stop(_ reg: belay_reg) -> belay_status {
    let handle = Handle(bits: reg.bits)
    guard let (task, state) = Task.find(handle, kind: Kind.registration) else {
        return Task.diagnose(handle, kind: Kind.registration)
    }
    return Registration.stopStraight(task, state)
}
