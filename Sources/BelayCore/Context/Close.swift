// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

@_cdecl("belay_close") @implementation
public func belay_close(_ ctx: belay_ctx) -> belay_status {
    let handle = Handle(ctx)
    guard let found = handle.find() else { return handle.absent() }
    if handle.kind == Kind.root { return BELAY_OK }
    let alone = References.word(generation: handle.generation, count: 1)
    let gone = References.word(generation: handle.generation &+ 1, count: 0)
    guard found.node.pointee.references.change(alone, gone) else { return found.node.closeShared(handle) }
    // The only reference was ours, and no other can be taken: the node is ours alone. Nobody is left to be told that it
    // ended, except listeners.
    let state = found.node.state
    if state.has(State.attached) { return found.node.closeAttached(state, handle) }
    found.node.pointee.state.store(state.closed, ordering: .releasing)
    found.node.recycleUpwards()
    return BELAY_OK
}

@_cdecl("belay_release") @implementation
public func belay_release(_ ctx: belay_ctx) -> belay_status { belay_close(ctx) }

@_cdecl("belay_retain") @implementation
public func belay_retain(_ ctx: belay_ctx) -> belay_status {
    let handle = Handle(ctx)
    guard let found = handle.find() else { return handle.absent() }
    if handle.kind == Kind.root { return BELAY_OK }
    guard let pinned = handle.pin() else { return handle.diagnose() }
    guard let index = found.node.ensureListen() else {
        pinned.release()
        return BELAY_ENOMEM
    }
    // The owner and its reference are counted under the lock under which a close looks for owners.
    let listen = Listen.at(index)
    listen.pointee.lock.lock()
    let isOpen = pinned.acquireUnderLock(generation: handle.generation)
    if isOpen { listen.pointee.owners.set(listen.pointee.owners.get() &+ 1) }
    listen.pointee.lock.unlock()
    pinned.release()
    return isOpen ? BELAY_OK : BELAY_ESTALE
}

extension UnsafeMutablePointer where Pointee == Node {
    /// The close of a node that somebody else has references on too: children, callers, other owners.
    @inline(never) fileprivate func closeShared(_ handle: Handle) -> belay_status {
        // Held over the end, so that another close cannot recycle the node under our hands.
        guard acquire(generation: handle.generation) else { return handle.diagnose() }
        let status = closePinned(handle)
        release()
        return status
    }

    private func closePinned(_ handle: Handle) -> belay_status {
        while true {
            let old = pointee.references.load(ordering: .acquiring)
            guard old >> Handle.generationShift == handle.generation else { return handle.diagnose() }
            let index = pointee.listen.load(ordering: .acquiring)
            if index != 0 { return closeUnderLock(Listen.at(index), handle) }
            // There were no other owners when `old` was read: an owner makes the listen record before it is counted. If
            // one comes now, the swap fails.
            if let striped = advanceGeneration(from: old) {
                end(striped: striped)
                return BELAY_OK
            }
        }
    }

    private func closeUnderLock(_ listen: UnsafeMutablePointer<Listen>, _ handle: Handle) -> belay_status {
        listen.pointee.lock.lock()
        let owners = listen.pointee.owners.get()
        if owners != 0 {
            listen.pointee.owners.set(owners &- 1)
            listen.pointee.lock.unlock()
            release()
            return BELAY_OK
        }
        var striped: Bool?
        repeat {
            let old = pointee.references.load(ordering: .acquiring)
            guard old >> Handle.generationShift == handle.generation else { break }
            striped = advanceGeneration(from: old)
        } while striped == nil
        listen.pointee.lock.unlock()
        guard let striped else { return handle.diagnose() }
        end(striped: striped)
        return BELAY_OK
    }

    /// The one close that wins swaps the generation of the references on, so that no more can be taken, and keeps its own
    /// for now. Returns whether the node has stripes; nil if the word has changed.
    private func advanceGeneration(from old: UInt64) -> Bool? {
        let striped = old & References.striped != 0
        let next = old &+ 1 << Handle.generationShift &+ (striped ? References.bias : 0)
        return pointee.references.change(old, next) ? striped : nil
    }

    /// What the winning close does: cancel, make the handle stale, give up the owner's reference.
    private func end(striped: Bool) {
        if state.shape == Kind.scope { cancel(cause: 0) }
        makeStale()
        if striped {
            if collapseStripes() { recycleUpwards() }
        } else {
            release()
        }
    }

    /// Takes kind and generation out of the state word; the verdict stays, for the children.
    private func makeStale() {
        var old = pointee.state.load(ordering: .relaxed)
        while true {
            let (exchanged, found) = pointee.state.compareExchange(
                expected: old, desired: State(old).closed, ordering: .acquiringAndReleasing)
            if exchanged { return }
            old = found
        }
    }

    /// The last reference is gone, but there are listeners to be told. Nobody can take a reference; ours is put back for
    /// the time.
    @inline(never) fileprivate func closeAttached(_ state: State, _ handle: Handle) -> belay_status {
        pointee.references.store(
            References.word(generation: handle.generation &+ 1, count: 1), ordering: .releasing)
        cancel(cause: 0)
        makeStale()
        release()
        return BELAY_OK
    }
}
