// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// What a child takes over from its parent. Making it takes a reference on the parent, which becomes the child's.
struct Parentage {
    let parent: UInt32
    /// The nearest scope above the child; 0 where only roots are.
    let scope: UInt32
    let values: UInt32
    let clock: UInt32
    /// The runtime's number, where the state word has it.
    let runtime: UInt64

    @inline(__always) init(parent: UInt32, scope: UInt32, values: UInt32, clock: UInt32, runtime: UInt64) {
        (self.parent, self.scope, self.values, self.clock, self.runtime) = (parent, scope, values, clock, runtime)
    }

    /// For a caller who has the reference.
    @inline(__always) init(of handle: Handle, _ node: NodePointer, runtime: UInt64) {
        self.init(
            parent: handle.index, scope: handle.kind == Kind.scope ? handle.index : node.pointee.scope.get(),
            values: node.pointee.values.get(), clock: node.pointee.clock.get(), runtime: runtime)
    }

    @inline(__always) static func join(_ ctx: belay_ctx) -> Parentage? {
        let handle = Handle(ctx)
        guard let found = handle.find() else { return joinSlowly(handle) }
        let node = found.node
        if handle.isImmortal { return Parentage(parent: handle.index, scope: 0, values: 0, clock: 0, runtime: 0) }
        if handle.kind == Kind.lite || !node.acquireForChild(handle) { return refuse(handle, node) }
        return Parentage(of: handle, node, runtime: found.state.word & State.runtimeMask)
    }

    @inline(never) private static func refuse(_ handle: Handle, _ node: NodePointer) -> Parentage? {
        if handle.kind != Kind.lite { node.makeStaleIfClosing(generation: handle.generation) }
        LastStatus.set(handle.kind == Kind.lite ? BELAY_ELEAF : handle.diagnose())
        return nil
    }

    /// The handle was not found: perhaps nothing is set up yet.
    @inline(never) private static func joinSlowly(_ handle: Handle) -> Parentage? {
        let isRoot = handle.bits == Root.background.bits || handle.bits == Root.todo.bits
        if isRoot && !Globals.pointer.pointee.forked {
            if Setup.run() { return Parentage(parent: handle.index, scope: 0, values: 0, clock: 0, runtime: 0) }
            LastStatus.set(BELAY_ENOMEM)
        } else {
            LastStatus.set(handle.diagnose())
        }
        return nil
    }

    /// The derivation failed after all.
    @inline(never) func leave(_ status: belay_status) -> belay_ctx {
        node(parent).release()
        LastStatus.set(status)
        return belay_ctx()
    }
}

/// A free node and its next handle's generation, counted by its runtime.
@inline(__always) func takeNode(_ runtime: UInt32) -> (node: NodePointer, index: UInt32, generation: UInt64)? {
    guard let thread = Thread.current, Runtime.admit(runtime) else { return nil }
    let index = thread.pointee.contexts.pop(Region.contexts.pointee)
    if index == 0 {
        Runtime.leave(runtime)
        return nil
    }
    let cell = node(index)
    // A cell that was never used has generation 0, which no handle may have.
    let generation = max(State(cell.pointee.state.get()).generation, 1)
    // StoreStore: what is written next must not be seen by someone who still sees the old generation as current.
    atomicMemoryFence(ordering: .releasing)
    return (cell, index, generation)
}

/// The last step of a birth: from here on the handle is found.
@inline(__always) func publish(
    _ cell: NodePointer, index: UInt32, generation: UInt64, kind: UInt64, rest: UInt64, as birth: Counter
) -> belay_ctx {
    Counter.addKnown(birth)
    let rest = Sampler.mark(cell, index: index, kind: kind, rest: rest)
    return reveal(cell, index: index, shifted: generation << Handle.generationShift, kind: kind, rest: rest)
}

/// The same for a birth that is counted, and not to be sampled; the generation is where the words have it.
@inline(__always) func reveal(_ cell: NodePointer, index: UInt32, shifted: UInt64, kind: UInt64, rest: UInt64)
    -> belay_ctx
{
    // Release: whoever acquires a reference has seen the node whole; partner in `acquire`.
    cell.pointee.references.store(shifted | 1, ordering: .releasing)
    // Release: partner of the acquire in `find`.
    cell.pointee.state.store(State.birth(shifted: shifted, kind: kind, rest: rest), ordering: .releasing)
    return belay_ctx(bits: shifted | kind << Handle.kindShift | UInt64(index))
}
