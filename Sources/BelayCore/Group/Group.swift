// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// A group of tasks under one context: one cache line in the tasks region. Its tasks are cells of their own (`Work`).
///
/// The state word says whose handle it is and who keeps the cell:
///
/// | bits | name | set by |
/// |---|---|---|
/// | 63–32 | generation | +1 by the free that wins |
/// | 31–28 | kind | at birth; 0 by that free, in the same swap: no handle matches from then on |
/// | 27–0 | references | the owner's until its free, one for each task, one for each call under way |
///
/// A reference by handle is taken by a compare-and-swap that checks generation and kind, so a stale handle cannot touch
/// a cell that has become something else. Giving one up is a fetch-and-sub; whoever reaches 0 (acquire; partner: the
/// release of all others) closes the context and recycles the cell.
///
/// | field | guarded by |
/// |---|---|
/// | context | nothing: written before the state word publishes the group (release; acquire in `pin`), never after |
/// | limit, running, starters, waiters, waiting, code, cause, failure | the lock |
/// | room, idle | changed under the lock; slept on |
///
/// No wake-up is lost: a sleeper counts itself and reads `room` (`idle`) under the lock under which it has found none;
/// whoever makes room (ends the last task) changes that word under the lock, if there are sleepers, and wakes after it.
/// Under the lock nothing is called that could run user code, sleep, or take another lock.
struct Group: ~Copyable {
    let state: Atomic<UInt64>
    /// The handle of the group's context, whose node the group keeps: the owner may close it, and the group goes on.
    let context: Atomic<UInt64>
    let lock: Lock
    /// How many tasks may be admitted at a time. "Unlimited" is -1, which read as unsigned is more than there can be.
    let limit: Atomic<UInt32>
    /// Tasks that were admitted and have not returned.
    let running: Atomic<UInt32>
    /// Calls that sleep until there is room, and the word they sleep on.
    let starters: Atomic<UInt32>
    let room: Atomic<UInt32>
    /// Calls that sleep until no task runs, and the word they sleep on.
    let waiters: Atomic<UInt32>
    let idle: Atomic<UInt32>
    /// The first of the group's tasks that wait for something themselves: see `Waiting`.
    let waiting: Atomic<UInt32>
    /// The first error, and the record with its text (0 for none); `failure` says what it is worth.
    let code: Atomic<Int64>
    let cause: Atomic<UInt32>
    let failure: Atomic<UInt32>

    static let none: UInt32 = 0
    /// The context had ended, and a task said so. Gives way to an error.
    static let echo: UInt32 = 1
    static let error: UInt32 = 2

    static let referenceMask: UInt64 = (1 << Handle.kindShift) - 1
    /// Well below what the word can count.
    static let mostReferences: UInt64 = 1 << 27

    @inline(__always) static func at(_ index: UInt32) -> GroupPointer {
        Region.tasks.pointee.cell(index, as: Group.self)
    }

    /// The group of a live handle, with a reference taken; nil for every other.
    static func pin(_ handle: Handle) -> GroupPointer? {
        guard handle.kind == Kind.group, handle.index < Region.tasks.pointee.limit.load(ordering: .acquiring) else {
            return nil
        }
        let group = at(handle.index)
        var old = group.pointee.state.load(ordering: .acquiring)
        while handle.matches(old) && old & referenceMask < mostReferences {
            let (exchanged, found) = group.pointee.state.compareExchange(
                expected: old, desired: old + 1, ordering: .acquiringAndReleasing)
            if exchanged { return group }
            old = found
        }
        return nil
    }

    /// Why `pin` answered nil.
    @inline(never) static func diagnose(_ handle: Handle) -> belay_status {
        if Globals.pointer.pointee.forked { return BELAY_EFORK }
        guard handle.kind == Kind.group, handle.index >= Root.firstFree, handle.generation != 0,
            handle.index < Region.tasks.pointee.limit.load(ordering: .acquiring)
        else { return BELAY_EINVAL }
        let state = at(handle.index).pointee.state.load(ordering: .acquiring)
        if handle.matches(state) { return BELAY_ENOMEM }
        return handle.generation < state >> Handle.generationShift ? BELAY_ESTALE : BELAY_EINVAL
    }

    /// A new group with the context, which becomes its own, and a reference on it; {0} when there is no memory.
    static func make(context: belay_ctx, limit: Int32) -> belay_group {
        guard let thread = Thread.current else { return belay_group() }
        let index = thread.pointee.tasks.take(Region.tasks.pointee)
        if index == 0 { return belay_group() }
        let group = at(index)
        let generation = max(group.pointee.state.get() >> Handle.generationShift, 1)
        // StoreStore, as in `Task.make`: the cell may have been a task, at whose words a stop may be looking still.
        atomicMemoryFence(ordering: .releasing)
        group.pointee.context.set(context.bits)
        group.pointee.limit.set(UInt32(bitPattern: limit))
        group.pointee.lock.reset()
        group.pointee.running.set(0)
        group.pointee.starters.set(0)
        group.pointee.room.set(0)
        group.pointee.waiters.set(0)
        group.pointee.idle.set(0)
        group.pointee.waiting.set(0)
        group.pointee.code.set(0)
        group.pointee.cause.set(0)
        group.pointee.failure.set(Group.none)
        thread.count(.groupMade)
        let handle = Handle(generation: generation, kind: Kind.group, index: index)
        // Release: partner of the acquire in `pin`.
        group.pointee.state.store(handle.bits & ~Handle.indexMask | 1, ordering: .releasing)
        return belay_group(bits: handle.bits)
    }
}

typealias GroupPointer = UnsafeMutablePointer<Group>

extension UnsafeMutablePointer where Pointee == Group {
    @inline(__always) var index: UInt32 { Region.tasks.pointee.index(of: self) }
    @inline(__always) var context: belay_ctx { belay_ctx(bits: pointee.context.get()) }
    /// The context's node, which is there also when the context has been closed.
    @inline(__always) var scope: NodePointer { node(Handle(context).index) }
    /// The number of the context's runtime; no other runtime has it before the node has gone.
    @inline(__always) var runtime: UInt32 { scope.state.runtime }

    /// Whether the owner has given the group up. A free that comes after the answer "no" wakes whoever sleeps by then.
    var isFreed: Bool { pointee.state.load(ordering: .acquiring) >> Handle.kindShift & 15 != Kind.group }

    @inline(__always) func release() {
        if dropReference() { recycle() }
    }

    /// True if it was the last, and `recycle` is to be called with no lock held.
    @inline(__always) func dropReference() -> Bool {
        pointee.state.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue & Group.referenceMask == 0
    }

    /// The owner and the last task have gone. Closing the context may run drop functions.
    @inline(never) func recycle() {
        // Whoever dropped its reference under the lock may have yet to unlock it.
        pointee.lock.lock()
        pointee.lock.unlock()
        // First ours, so that the close finds nobody else's in the way.
        scope.unpin()
        _ = belay_close(context)
        freeRecord(pointee.cause.get())
        let generation = pointee.state.get() >> Handle.generationShift
        guard let thread = Thread.current else {
            if generation != 0 { Region.tasks.pointee.giveChain(Chain(head: index, count: 1)) }
            return
        }
        thread.count(.groupGone)
        // Generations that are used up have come round to 0: the cell is retired.
        if generation != 0 { thread.pointee.tasks.give(index, Region.tasks.pointee) }
    }

    /// Whether the calling thread is inside one of this group's tasks.
    var isCallersOwn: Bool {
        @inline(never) get {
            var running = Running.Walk()
            while let task = running.next() {
                if task.isWork && task.pointee.link.get() == index { return true }
            }
            return false
        }
    }
}

@_cdecl("belay_group_new") @implementation
public func belay_group_new(
    _ parent: belay_ctx, _ limit: Int32, _ ctx: UnsafeMutablePointer<belay_ctx>?
) -> belay_group {
    ctx?.pointee = belay_ctx()
    guard limit >= BELAY_UNLIMITED else {
        LastStatus.set(BELAY_EINVAL)
        return belay_group()
    }
    let context = belay_with_cancel(parent)
    // Nobody else has its handle, so it is found.
    guard let scope = Handle(context).pin() else { return belay_group() }
    let group = Group.make(context: context, limit: limit)
    if group.bits == 0 {
        scope.unpin()
        _ = belay_close(context)
        LastStatus.set(BELAY_ENOMEM)
        return group
    }
    ctx?.pointee = context
    return group
}

@_cdecl("belay_group_free") @implementation
public func belay_group_free(_ group: belay_group) -> belay_status {
    let handle = Handle(bits: group.bits)
    guard let pinned = Group.pin(handle) else { return Group.diagnose(handle) }
    defer { pinned.release() }
    var old = pinned.pointee.state.load(ordering: .acquiring)
    while handle.matches(old) {
        let stale = (handle.generation &+ 1) << Handle.generationShift | old & Group.referenceMask
        let (exchanged, found) = pinned.pointee.state.compareExchange(
            expected: old, desired: stale, ordering: .acquiringAndReleasing)
        if exchanged {
            pinned.cancelContext()
            pinned.turnStartersAway()
            // The owner's; ours is given up on the way out.
            pinned.release()
            return BELAY_OK
        }
        old = found
    }
    return BELAY_ESTALE
}

@_cdecl("belay_group_set_limit") @implementation
public func belay_group_set_limit(_ group: belay_group, _ limit: Int32) -> belay_status {
    let handle = Handle(bits: group.bits)
    guard let pinned = Group.pin(handle) else { return Group.diagnose(handle) }
    defer { pinned.release() }
    return limit >= BELAY_UNLIMITED ? pinned.setLimit(UInt32(bitPattern: limit)) : BELAY_EINVAL
}
