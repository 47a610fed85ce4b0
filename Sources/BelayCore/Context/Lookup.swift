// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// A context found by its handle, with the state word that matched.
struct Found {
    let node: NodePointer
    let state: State

    @inline(__always) init(node: NodePointer, state: State) { (self.node, self.state) = (node, state) }

    /// The node at an index, whatever it is.
    @inline(__always) init(at index: UInt32) {
        node = BelayCore.node(index)
        state = node.state
    }

    /// Whether it still is: then what was read of it meanwhile, and of what it keeps alive, was this context's.
    @inline(__always) func isStill(_ handle: Handle) -> Bool {
        // LoadLoad: had a cell been recycled under us, the generation would have moved on before.
        atomicMemoryFence(ordering: .acquiring)
        return handle.matches(node.pointee.state.get())
    }
}

extension Handle {
    @inline(__always) init(_ ctx: belay_ctx) { bits = ctx.bits }

    @inline(__always) var isContext: Bool { kind &- 1 < 5 }
    /// Background or todo, which nobody counts and which never end.
    @inline(__always) var isImmortal: Bool { kind == Kind.root && index < Root.firstFree }

    /// The node of a live handle; nil for every other. Nothing keeps the node: it may be closed and recycled at any
    /// time after. Whoever then reads more of it checks the state word again, or takes a reference first.
    @inline(__always) func find() -> Found? {
        let region = Region.contexts
        // Acquire: an index below the limit has its base and its memory.
        guard wideIndex < UInt64(region.pointee.limit.load(ordering: .acquiring)) else { return nil }
        let cell = region.pointee.cell(wideIndex, as: Node.self)
        let state = cell.state
        // A free or closed cell has no kind, and neither has a handle that matches one. Cells here have no other kinds
        // than those of contexts.
        guard matches(state.word), bits & Handle.kindMask != 0 else { return nil }
        return Found(node: cell, state: state)
    }

    /// `find` for one kind of context.
    @inline(__always) func find(_ kind: UInt64) -> Found? {
        let region = Region.contexts
        let index = index(of: kind)
        // Acquire: as above.
        guard index < UInt64(region.pointee.limit.load(ordering: .acquiring)) else { return nil }
        let cell = region.pointee.cell(index, as: Node.self)
        let state = cell.state
        return matches(state.word) ? Found(node: cell, state: state) : nil
    }

    /// Why `find` answered nil.
    @inline(never) func diagnose() -> belay_status {
        if Globals.pointer.pointee.forked { return BELAY_EFORK }
        guard isContext, index != 0, generation != 0 else { return BELAY_EINVAL }
        guard index < Region.contexts.pointee.limit.load(ordering: .acquiring) else { return BELAY_EINVAL }
        // A generation that this cell has not reached yet was never given out.
        return generation <= node(index).state.generation ? BELAY_ESTALE : BELAY_EINVAL
    }

    /// Takes a reference on the node if the handle is live: it stays what it is until `unpin`. Roots stay anyway.
    @inline(never) func pin() -> NodePointer? { pinInPlace() }

    /// `pin`, for hot paths.
    @inline(__always) func pinInPlace() -> NodePointer? {
        guard let found = find() else { return nil }
        if isImmortal || found.node.acquire(generation: generation) { return found.node }
        found.node.makeStaleIfClosing(generation: generation)
        return nil
    }

    /// The same for a handle that was not found or that `status` called live: a root before the first derivation.
    @inline(never) func pinAfterSetup() -> NodePointer? {
        guard kind == Kind.root, !Globals.pointer.pointee.forked, Setup.run() else { return nil }
        return pin()
    }
}

extension UnsafeMutablePointer where Pointee == Node {
    /// The other half of `pin`: `release`, which is for hot paths.
    @inline(never) func unpin() { release() }
}

/// First-time set-up: the arena for contexts and its roots, the fork hook.
enum Setup {
    @inline(__always) static func isDone() -> Bool {
        Globals.pointer.pointee.isSetUp.load(ordering: .acquiring) != 0
    }

    /// True when the runtime is ready. Cheap only when it is; call it where a look-up failed.
    @inline(never) static func run() -> Bool {
        if isDone() { return true }
        guard runAlone() else { return false }
        Sampler.configure()
        return true
    }

    private static func runAlone() -> Bool {
        let globals = Globals.pointer
        globals.pointee.setupLock.lock()
        defer { globals.pointee.setupLock.unlock() }
        if isDone() { return true }
        guard Region.contexts.pointee.open() else { return false }
        Root.install()
        if belaycore_watch_fork() != 0 { return false }
        Region.contexts.pointee.admit()
        Barrier.prepare()
        // Release: partner of the acquire in `isDone`.
        globals.pointee.isSetUp.store(1, ordering: .releasing)
        return true
    }
}
