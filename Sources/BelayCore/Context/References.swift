// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

extension UnsafeMutablePointer where Pointee == Node {
    /// Takes a reference if the node still has this generation. After `true` the node stays what it is.
    @inline(__always) func acquire(generation: UInt64) -> Bool {
        acquireAtOnce(generation: generation) || acquireSlowly(generation: generation)
    }

    /// The same by a handle of the node's, for a child: on the calling thread's seat, if that is here.
    @inline(__always) func acquireForChild(_ handle: Handle) -> Bool {
        guard let thread = Thread.known else { return acquire(generation: handle.generation) }
        guard thread.pointee.seat.acquire(self, handle) || acquire(generation: handle.generation) else { return false }
        if thread.pointee.habit.isTimeToLook() { thread.look(self, handle) }
        return true
    }

    /// `acquire` where nothing stands in the way: no stripes, nobody else at the word. False means nothing.
    @inline(__always) func acquireAtOnce(generation: UInt64) -> Bool {
        let old = pointee.references.get()
        // Acquire: what the last owner wrote before it let go is ours to see (release in `release`).
        return old >> Handle.generationShift == generation && old & References.unusual == 0
            && pointee.references.change(old, old &+ 1)
    }

    @inline(never) func acquireSlowly(generation: UInt64) -> Bool {
        while true {
            let old = pointee.references.get()
            guard old >> Handle.generationShift == generation, old & References.countMask != 0 else { return false }
            if old & References.striped != 0 {
                if acquireOnStripe(generation: generation) { return true }
            } else if old & References.countMask > References.most {
                return false
            }
            if pointee.references.change(old, old &+ 1) {
                // We are here because threads meet at the word. Where that happens again and again it gets stripes;
                // once is nothing. Without memory for them it stays as it is.
                if Thread.meets() { addStripes(generation: generation) }
                return true
            }
        }
    }

    /// One more reference, for whoever knows that the node is alive and stays so for the moment.
    @inline(__always) func retain() {
        // Where it will be given up: those may wrap, but the word would run over in the end.
        if pointee.references.get() & References.striped != 0 && retainOnStripe() { return }
        pointee.references.wrappingAdd(1, ordering: .relaxed)
    }

    /// Gives up a reference. The last one recycles the node, then gives up its parent's, and so on up: a loop, because
    /// a chain may be a million long.
    @inline(__always) func release() {
        if index < Root.firstFree { return }
        if pointee.references.get() & References.striped != 0 && releaseOnStripe() { return }
        // Release: what we wrote is seen by whoever recycles. Acquire: we may be the one.
        let count = pointee.references.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue
        if count & References.countMask == 0 { recycleUpwards() }
    }

    /// The node's last reference has gone: recycle it, and every ancestor that this frees. Always BELAY_OK, so that a
    /// close can end in it.
    @inline(never) @discardableResult func recycleUpwards() -> belay_status {
        var current = self
        while true {
            let parent = node(current.recycle())
            if parent.index < Root.firstFree { return BELAY_OK }
            if parent.pointee.references.get() & References.striped != 0 && parent.releaseOnStripe() { return BELAY_OK }
            let count = parent.pointee.references.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue
            if count & References.countMask != 0 { return BELAY_OK }
            current = parent
        }
    }

    /// `release` for a node that is known to be counted, by its index and the caller's thread. Always BELAY_OK.
    @inline(__always) func releaseAtOnce(_ index: UInt32, _ thread: UnsafeMutablePointer<Thread>) -> belay_status {
        if thread.pointee.seat.release(self, index, of: Kind.scope) { return BELAY_OK }
        if pointee.references.get() & References.striped != 0 { return releaseSlowly() }
        // Release and acquire as above.
        let count = pointee.references.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue
        return count & References.countMask == 0 ? recycleUpwards() : BELAY_OK
    }

    @inline(never) @_optimize(speed) private func releaseSlowly() -> belay_status {
        release()
        return BELAY_OK
    }

    /// Gives back all that the node holds, and the node. Runs a value's drop function. Returns the parent's index,
    /// whose reference is now the caller's to give up.
    @inline(__always) private func recycle() -> UInt32 {
        let parent = pointee.parent.get()
        let state = State(pointee.state.get())
        let shape = state.shape
        if state.has(State.sampled) { Birth.noteRecycling(of: self) }
        if shape == Kind.scope {
            freeRecord(pointee.cause.get())
            freeRecord(pointee.timeoutCause.get())
        } else if shape == Kind.value || shape == Kind.detached {
            asValue.dropValue()
        } else if shape == Kind.lite {
            freeRecord(asLite.pointee.cause.get())
            freeRecord(asLite.pointee.inheritedCause.get())
        }
        let listen = pointee.listen.get()
        if listen != 0 { freeListen(listen) }
        giveCell(generation: state.generation, runtime: state.runtime, counting: Counter.gone(state))
        return parent
    }

    /// The cell goes back to the magazine, unless its generations are used up. `gone` is what that is counted as; nil
    /// for a cell that no context came of.
    @inline(__always) func giveCell(generation: UInt64, runtime: UInt32, counting gone: Int? = nil) {
        Runtime.leave(runtime)
        let thread = Thread.current
        if let gone { thread?.count(gone, 1) }
        if generation == 0 { return }
        if let thread {
            thread.pointee.contexts.push(index, Region.contexts.pointee)
        } else {
            Region.contexts.pointee.giveChain(Chain(head: index, count: 1))
        }
    }
}
