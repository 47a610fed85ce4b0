// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

// A close decides, cancels, and only then makes the handle stale: so whoever finds the handle live can still take a
// reference, and whoever cannot finds the context ended.

@_cdecl("belay_close") @implementation @_optimize(speed)
public func belay_close(_ ctx: belay_ctx) -> belay_status {
    let handle = Handle(ctx)
    guard let found = handle.find(Kind.scope) else { return closeOther(handle) }
    return found.node.close(handle, as: Kind.scope)
}

/// The same for what is no scope.
@inline(never) @_optimize(speed)
private func closeOther(_ handle: Handle) -> belay_status {
    guard let found = handle.find() else { return handle.absent() }
    if handle.kind == Kind.root { return BELAY_OK }
    return found.node.close(handle, as: handle.kind)
}

extension Handle {
    /// The close of a runtime's root, which `belay_close` leaves alone.
    func closeRoot() {
        if let found = find() { _ = found.node.close(self, as: kind) }
    }
}

@_cdecl("belay_release") @implementation
public func belay_release(_ ctx: belay_ctx) -> belay_status { belay_close(ctx) }

@_cdecl("belay_retain") @implementation
public func belay_retain(_ ctx: belay_ctx) -> belay_status {
    let handle = Handle(ctx)
    guard let found = handle.find() else { return handle.absent() }
    if handle.kind == Kind.root { return BELAY_OK }
    guard let pinned = handle.pin() else { return handle.diagnose() }
    defer { pinned.release() }
    guard let index = found.node.ensureListen() else { return BELAY_ENOMEM }
    if pinned.addOwner(Listen.at(index), handle) { return BELAY_OK }
    // A close has won and may be on its way still. This does its next steps for it, so that "stale" is the answer from
    // now on, for everybody.
    pinned.endWhateverItIs()
    pinned.makeStale(generation: handle.generation)
    return BELAY_ESTALE
}

extension UnsafeMutablePointer where Pointee == Node {
    @inline(__always) fileprivate func close(_ handle: Handle, as kind: UInt64) -> belay_status {
        let alone = References.word(generation: handle.generation, count: 1)
        let gone = References.word(generation: handle.generation &+ 1, count: 0)
        // Sequentially consistent, as the look at the state that follows: see `wasSeenEnded`.
        guard pointee.references.get() == alone,
            pointee.references.compareExchange(expected: alone, desired: gone, ordering: .sequentiallyConsistent)
                .exchanged
        else { return closeSlowly(handle) }
        // Nobody else had a reference, nobody ever listened, and no reference can be taken any more: the node is ours
        // alone, and there is nobody to be told that it ended.
        let state = State(pointee.state.load(ordering: .sequentiallyConsistent))
        pointee.state.store(state.closed(handle.generation), ordering: .releasing)
        // StoreStore: a reader that finds recycled words must find the handle stale.
        atomicMemoryFence(ordering: .releasing)
        // Here, without a call, what `recycle` does for a node that holds nothing but its cell. (A value has more to it
        // than its node knows; and the last generation of all retires the cell.)
        guard kind != Kind.value, holdsNothing, state.word & (State.sampled | State.runtimeMask) == 0,
            gone >> Handle.generationShift != 0, let thread = Thread.known, thread.pointee.contexts.hasRoom
        else { return recycleUpwards() }
        let parent = pointee.parent.get()
        thread.count(Counter.gone(kind, isDone: state.isDone), 1)
        thread.pointee.contexts.pushFirst(handle.index, self)
        return parent < Root.firstFree ? BELAY_OK : node(parent).releaseAtOnce(parent, thread)
    }

    /// One more owner, and its reference, unless a close has won. Owners are counted under the lock under which a close
    /// looks for them.
    fileprivate func addOwner(_ listen: UnsafeMutablePointer<Listen>, _ handle: Handle) -> Bool {
        listen.pointee.lock.lock()
        defer { listen.pointee.lock.unlock() }
        if pointee.references.load(ordering: .acquiring) & References.closing != 0 { return false }
        // The caller is pinned, so one more can be counted without looking.
        retain()
        listen.pointee.owners.set(listen.pointee.owners.get() &+ 1)
        return true
    }

    /// The close of a node that somebody else has references on too (children, callers, owners), or had listeners.
    @inline(never) fileprivate func closeSlowly(_ handle: Handle) -> belay_status {
        if closeWithoutListeners(handle) || closeNeverListened(handle) { return BELAY_OK }
        // Held to the end, so that another close cannot recycle the node under our hands.
        guard acquire(generation: handle.generation) else {
            makeStaleIfClosing(generation: handle.generation)
            return handle.diagnose()
        }
        defer { release() }
        switch decideClose(handle) {
        case .lost:
            // The other one may be on its way: when we return the context has ended all the same.
            endWhateverItIs()
            return BELAY_ESTALE
        case .notLast: release()
        case .won: end(generation: handle.generation)
        }
        return BELAY_OK
    }

    /// The close of a scope that had listeners and has none now: every waiter, child and owner beyond the first keeps a
    /// reference, and there is but one; and no callback is registered. After the swap nobody gets a reference by the
    /// handle. Those who may still find the node are an ancestor's push, in the list of children, and the driver, in the
    /// wheel: it leaves both, and needs no verdict, because nobody is left who could ask for it. False means nothing.
    @inline(__always) private func closeWithoutListeners(_ handle: Handle) -> Bool {
        let one: UInt64 = 1 << Handle.generationShift
        // Set at birth, all of them, and each with a part of its own in an end.
        let particular = State.asks | State.anchored | State.watches | State.sampled
        // Acquire: where it says that there is a listen record, the record is found; partner of the swap in `ensureListen`.
        let alone = pointee.references.load(ordering: .acquiring)
        guard handle.kind == Kind.scope, state.word & particular == 0,
            alone & ~References.heard == References.word(generation: handle.generation, count: 1) | References.extended,
            changeGeneration(alone)
        else { return false }
        let listen = listen
        if listen.pointee.descriptor.get() == 0 {
            if state.has(State.attached) && !hasLeft { detach() }
            if state.has(State.armed) { Shard.disarm(listen) }
        } else {
            // Somebody may poll it: that is to end before it is closed.
            endWhateverItIs()
        }
        // Acquire: partner of the release of whoever had a reference. Whom we might have met in the list or the wheel
        // has counted itself there.
        if pointee.references.load(ordering: .acquiring) == alone &+ one {
            pointee.state.store(state.closed(handle.generation), ordering: .releasing)
            // StoreStore: as in `close`.
            atomicMemoryFence(ordering: .releasing)
            recycleUpwards()
        } else {
            makeStale(generation: handle.generation)
            release()
        }
        return true
    }

    /// Gives a references word that has not changed the next generation. False if it has, or a callback is registered:
    /// under the lock under which one would be, so that either we see it, or it sees the generation.
    func changeGeneration(_ old: UInt64) -> Bool {
        let next = old &+ 1 << Handle.generationShift
        // A list that was taken stays so, and has nobody left in it: whoever took it keeps the node until then.
        if old & References.heard == 0 || listen.pointee.isTaken { return pointee.references.change(old, next) }
        let listen = listen
        listen.pointee.lock.lockInPlace()
        defer { listen.pointee.lock.unlockInPlace() }
        return listen.pointee.callbacks.get() == 0 && pointee.references.change(old, next)
    }

    /// The close of a node without a listen record, so without other owners: the swap that decides checks the
    /// generation too. Nothing keeps the node meanwhile but the owner's reference, which is ours to give up. False
    /// means nothing.
    @inline(__always) private func closeNeverListened(_ handle: Handle) -> Bool {
        while true {
            let old = pointee.references.load(ordering: .acquiring)
            guard old >> Handle.generationShift == handle.generation,
                old & (References.closing | References.extended | References.striped) == 0
            else { return false }
            if pointee.references.change(old, old | References.closing) { break }
        }
        end(generation: handle.generation)
        return true
    }

    /// Whether its own end has been pushed, by a call that is over: then it is in no list of children.
    private var hasLeft: Bool {
        listen.pointee.isTaken && listen.pointee.pusher == pointee.listen.get()
    }

    /// For a node that has a listen record, or that another close has won already (`closeNeverListened`).
    private func decideClose(_ handle: Handle) -> CloseDecision {
        let word = pointee.references.load(ordering: .acquiring)
        let isOurs = word >> Handle.generationShift == handle.generation && word & References.closing == 0
        return isOurs ? decideCloseUnderLock() : .lost
    }

    private func decideCloseUnderLock() -> CloseDecision {
        let listen = listen
        listen.pointee.lock.lock()
        defer { listen.pointee.lock.unlock() }
        let owners = listen.pointee.owners.get()
        if owners != 0 {
            listen.pointee.owners.set(owners &- 1)
            return .notLast
        }
        let old = pointee.references.bitwiseOr(References.closing, ordering: .acquiringAndReleasing).oldValue
        return old & References.closing == 0 ? .won : .lost
    }

    /// What the winning close does: cancel, make the handle stale, give up the owner's reference.
    private func end(generation: UInt64) {
        if state.has(State.sampled) { Birth.noteClose(of: self) }
        endWhateverItIs()
        makeStale(generation: generation)
        if state.shape == Kind.value || state.shape == Kind.detached { tellLeaves() }
        if state.has(State.watches) { Signals.unwatch(self) }
        let one: UInt64 = 1 << Handle.generationShift
        // There were stripes before the close was decided, or there are none.
        if pointee.references.get() & References.striped != 0 {
            pointee.references.wrappingAdd(one, ordering: .acquiringAndReleasing)
            return collapseStripes(generation: generation)
        }
        // The next generation, and the owner's reference.
        let word = pointee.references.wrappingAdd(one &- 1, ordering: .acquiringAndReleasing).newValue
        if word & References.countMask == 0 { recycleUpwards() }
    }

    fileprivate func endWhateverItIs() {
        let shape = state.shape
        if shape == Kind.scope { cancel(cause: 0, as: .endedClosed) }
        if shape == Kind.lite { asLite.cancel(cause: 0, as: .endedClosed) }
    }

    /// Takes kind and generation out of the state word, if they are still there; the verdict stays, for the children.
    func makeStale(generation: UInt64) {
        var old = pointee.state.load(ordering: .relaxed)
        while old >> Handle.generationShift == generation {
            let (exchanged, found) = pointee.state.compareExchange(
                expected: old, desired: State(old).closed(generation), ordering: .acquiringAndReleasing)
            if exchanged { return }
            old = found
        }
    }

    /// For a caller whose handle matched a moment ago but who got no reference. If that is because a close has won that
    /// had nobody to tell, this does its next step for it: so "stale" is the answer from now on, for everybody.
    @inline(never) func makeStaleIfClosing(generation: UInt64) {
        if pointee.references.load(ordering: .acquiring) >> Handle.generationShift != generation {
            makeStale(generation: generation)
        }
    }
}

private enum CloseDecision {
    /// This close ends the context.
    case won
    /// There are other owners: this one only leaves.
    case notLast
    /// Another close came first.
    case lost
}
