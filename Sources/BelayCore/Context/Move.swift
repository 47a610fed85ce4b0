// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

// Moving a deadline. A scope whose deadline was ever moved carries a mark in its state word, and is settled by its
// deadline under its listen lock, so that a move and the deadline's passing come one after the other. Its descendants
// were born with other deadlines in mind: unattached ones look at the mark on their way up, attached ones are pushed
// to, because such a scope is armed as soon as it is attached.

@_cdecl("belay_set_deadline") @implementation
public func belay_set_deadline(_ ctx: belay_ctx, _ deadline: belay_instant) -> belay_status {
    let handle = Handle(ctx)
    guard handle.find() != nil else { return handle.refusal() }
    guard handle.kind == Kind.scope else { return handle.kind == Kind.lite ? BELAY_ELEAF : BELAY_ENOCANCEL }
    guard let pinned = handle.pin() else { return handle.diagnose() }
    let status = pinned.moveDeadline(deadline)
    pinned.unpin()
    return status
}

@_cdecl("belay_reset") @implementation
public func belay_reset(_ ctx: belay_ctx) -> belay_ctx {
    let handle = Handle(ctx)
    var status = BELAY_EINVAL
    if let found = handle.find(), handle.kind == Kind.scope {
        status = found.node.reset(handle)
        if status == BELAY_OK {
            Counter.add(.reset)
            return belay_ctx(
                bits: Handle(generation: handle.generation + 1, kind: Kind.scope, index: handle.index).bits)
        }
    } else if handle.find() == nil {
        // A root that was never derived from is not found, and is of another kind all the same.
        let absent = handle.absent()
        if absent != BELAY_OK { status = absent }
    }
    LastStatus.set(status)
    return belay_ctx()
}

extension UnsafeMutablePointer where Pointee == Node {
    /// The caller keeps the node.
    fileprivate func moveDeadline(_ instant: Int64) -> belay_status {
        if settle().isDone { return state.verdict.status }
        guard ensureListen() != nil else { return BELAY_ENOMEM }
        if Globals.pointer.pointee.haveMoved.exchange(1, ordering: .sequentiallyConsistent) == 0 { Shard.armOwnOfAll() }
        guard markMoved() else { return state.verdict.status }
        let above = pointee.scope.get()
        let latest = above == 0 ? Clock.never : node(above).deadline
        // Where the parent's deadline is not later it is the one that counts. But an instant that has passed ends this
        // one here and now, and the end by the parent's may be on its way still.
        let next = instant < latest || Clock.hasPassed(instant, in: state.runtime) ? instant : Clock.never
        listen.pointee.lock.lock()
        if pointee.clock.get() == index && Clock.hasPassed(pointee.deadline.get(), in: state.runtime) {
            decide(.deadline)
        }
        let status = state.verdict.status
        if status == BELAY_OK {
            // Sequentially consistent, before the look for `armed`: see `Shard.arm`.
            pointee.deadline.store(next, ordering: .sequentiallyConsistent)
            pointee.clock.store(index, ordering: .releasing)
            if State(pointee.state.load(ordering: .sequentiallyConsistent)).has(State.armed) { Shard.rearm(self) }
        }
        listen.pointee.lock.unlock()
        if status != BELAY_OK {
            finish()
            return status
        }
        // Sequentially consistent, after the deadline: whoever attaches it now looks at that afterwards. Where the
        // deadline of a scope above is the one that counts, listeners have relied on ours so far.
        let now = State(pointee.state.load(ordering: .sequentiallyConsistent))
        if now.has(State.attached), let clock = clockInEffect {
            let armed = Shard.arm(clock)
            if armed != BELAY_OK { return armed }
        }
        // A deadline in the past ends it here and now.
        if settle().isDone { finish() }
        return BELAY_OK
    }

    /// Sets `moved`, and `timed`, while there is no verdict. False if there is one.
    private func markMoved() -> Bool {
        var old = pointee.state.load(ordering: .acquiring)
        while !State(old).isDone {
            let (exchanged, found) = pointee.state.compareExchange(
                expected: old, desired: old | State.moved | State.timed, ordering: .sequentiallyConsistent)
            if exchanged { return true }
            old = found
        }
        return false
    }

    /// Gives a scope that only its owner has a hold on the next generation, and takes its own deadline away. Whoever
    /// has the old handle, or a timer of the old life that is under way, finds nothing.
    fileprivate func reset(_ handle: Handle) -> belay_status {
        let listenIndex = pointee.listen.load(ordering: .acquiring)
        if listenIndex != 0 && Listen.at(listenIndex).pointee.descriptor.get() != 0 { return BELAY_EBUSY }
        // Others know an anchored context by its handle.
        guard handle.generation < UInt64(UInt32.max) - 1, !state.has(State.anchored) else { return BELAY_EBUSY }
        if mayHaveEnded(state) || state.isDone {
            let status = handle.status()
            if status != BELAY_OK { return status }
        }
        let alone = pointee.references.load(ordering: .acquiring)
        guard alone >> Handle.generationShift == handle.generation else { return BELAY_ESTALE }
        let isAlone = alone & (References.countMask | References.striped | References.closing) == 1
        guard isAlone, changeGeneration(alone) else { return BELAY_EBUSY }
        // Nobody can take a reference by the handle now. The driver may have, and an end that needs none may come
        // first.
        if state.has(State.armed) { Shard.disarm(listen) }
        guard let ended = startOver(generation: handle.generation + 1) else { return BELAY_OK }
        // It has ended after all, when the old handle could no longer be brought back: so it is closed, and leaves its
        // parent's list as any other that has ended.
        finish()
        makeStale(generation: handle.generation)
        release()
        return ended.status
    }

    /// Swaps in the state of a new life, without a deadline of its own; or answers how the old one ended.
    private func startOver(generation: UInt64) -> Verdict? {
        // The driver may be about to decide by the old deadline. It does so by a swap of the state that it has seen, or
        // under the lock; so the deadline goes first, and if the lock is in use, under it.
        let lock = pointee.listen.get()
        if lock != 0 { Listen.at(lock).pointee.lock.lock() }
        defer { if lock != 0 { Listen.at(lock).pointee.lock.unlock() } }
        let deadline = pointee.deadline.get()
        pointee.deadline.store(Clock.never, ordering: .sequentiallyConsistent)
        var old = pointee.state.load(ordering: .sequentiallyConsistent)
        while !State(old).isDone {
            let kept = old & (State.attached | State.pulls | State.runtimeMask | State.sampled)
            let timed = aboveClock == 0 ? 0 : State.timed
            let fresh = State.birth(generation: generation, kind: Kind.scope, rest: kept | timed)
            let (exchanged, found) = pointee.state.compareExchange(
                expected: old, desired: fresh, ordering: .sequentiallyConsistent)
            if exchanged {
                pointee.clock.store(aboveClock, ordering: .releasing)
                freeRecord(pointee.timeoutCause.get())
                pointee.timeoutCause.set(0)
                return nil
            }
            old = found
        }
        pointee.deadline.set(deadline)
        return State(old).verdict
    }

    private var aboveClock: UInt32 {
        let above = pointee.scope.get()
        return above == 0 ? 0 : node(above).pointee.clock.get()
    }
}
