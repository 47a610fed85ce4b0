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

    @inline(__always) static func join(_ ctx: belay_ctx) -> Parentage? {
        let handle = Handle(ctx)
        guard let found = handle.find() else { return joinSlowly(handle) }
        let node = found.node
        if handle.isImmortal { return Parentage(parent: handle.index, scope: 0, values: 0, clock: 0, runtime: 0) }
        if handle.kind == Kind.lite || !node.acquire(generation: handle.generation) { return refuse(handle, node) }
        let scope = handle.kind == Kind.scope ? handle.index : node.pointee.scope.get()
        return Parentage(
            parent: handle.index, scope: scope, values: node.pointee.values.get(), clock: node.pointee.clock.get(),
            runtime: found.state.word & State.runtimeMask)
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

/// When a scope is to end at the latest.
enum Limit {
    case none
    case at(Int64)
    case after(Int64)

    @inline(__always) func instant(in runtime: UInt32) -> Int64 {
        switch self {
        case .none: Clock.never
        case .at(let instant): instant
        case .after(let timeout): Clock.after(timeout, in: runtime)
        }
    }

    /// What a scope with such a limit is counted as.
    @inline(__always) var birth: Counter {
        if case .none = self { .createdCancel } else { .createdTimeout }
    }

    /// Whether that `instant` has passed at birth.
    @inline(__always) func isPast(_ instant: Int64, in runtime: UInt32) -> Bool {
        switch self {
        case .none: false
        case .at: Clock.hasPassed(instant, in: runtime)
        case .after(let timeout): timeout <= 0
        }
    }
}

/// A scope under `parent`. `timeoutCause` is owned by this call.
@inline(__always) private func deriveScope(_ parent: belay_ctx, _ limit: Limit, timeoutCause: UInt32 = 0) -> belay_ctx {
    guard let above = Parentage.join(parent) else {
        freeRecord(timeoutCause)
        return belay_ctx()
    }
    return deriveScope(above, limit, timeoutCause: timeoutCause)
}

@inline(__always) func deriveScope(
    _ above: Parentage, _ limit: Limit, timeoutCause: UInt32 = 0, marks: UInt64 = 0, as birth: Counter? = nil
) -> belay_ctx {
    let runtime = State(above.runtime).runtime
    guard let (cell, index, generation) = takeNode(runtime) else {
        freeRecord(timeoutCause)
        return above.leave(BELAY_ENOMEM)
    }
    let deadline = limit.instant(in: runtime)
    var rest = above.runtime | marks
    var clock = above.clock
    if deadline < (clock == 0 ? Clock.never : node(clock).latestBelow) { clock = index }
    var origin: UInt32 = 0
    if above.scope != 0 {
        let scope = node(above.scope)
        var state = scope.state
        if state.has(State.pulls) && state.run >= State.longestRun && !state.isDone {
            // Keep the unattached run short: it is what asking has to look through.
            if scope.attach() != BELAY_OK {
                cell.giveCell(generation: generation, runtime: runtime)
                freeRecord(timeoutCause)
                return above.leave(BELAY_ENOMEM)
            }
            state = scope.state
        }
        if state.isDone {
            rest |= state.verdict.inherited.bits
            Counter.addKnown(.endedParent)
            origin = state.verdict.isInherited ? scope.pointee.origin.get() : above.scope
        }
        // Under one that is done there is nothing to look through.
        let run = state.has(State.pulls) && !state.isDone ? state.run + 1 : 1
        rest |= State.pulls | run << State.runShift
    }
    if clock != 0 { rest |= State.timed }
    if clock == index && limit.isPast(deadline, in: runtime) && rest & State.verdictMask == 0 {
        // Done at birth; by its own deadline, unless the parent had ended before, which nobody may have noticed yet.
        let end = above.scope == 0 ? State(0) : node(above.scope).settle()
        rest |= (end.isDone ? end.verdict.inherited : .deadline).bits
        Counter.addKnown(end.isDone ? .endedParent : .endedDeadline)
        if end.isDone { origin = end.verdict.isInherited ? node(above.scope).pointee.origin.get() : above.scope }
    }
    cell.pointee.deadline.set(deadline)
    cell.pointee.endedAt.set(0)
    cell.pointee.parent.set(above.parent)
    cell.pointee.scope.set(above.scope)
    cell.pointee.values.set(above.values)
    cell.pointee.clock.set(clock)
    cell.pointee.listen.set(0)
    cell.pointee.cause.set(0)
    cell.pointee.timeoutCause.set(timeoutCause)
    cell.pointee.origin.set(origin)
    return publish(cell, index: index, generation: generation, kind: Kind.scope, rest: rest, as: birth ?? limit.birth)
}

/// The last step of a birth: from here on the handle is found.
@inline(__always) func publish(
    _ cell: NodePointer, index: UInt32, generation: UInt64, kind: UInt64, rest: UInt64, as birth: Counter
) -> belay_ctx {
    Counter.addKnown(birth)
    let rest = Sampler.mark(cell, index: index, kind: kind, rest: rest)
    // Release: whoever acquires a reference has seen the node whole; partner in `acquire`.
    cell.pointee.references.store(References.word(generation: generation, count: 1), ordering: .releasing)
    // Release: partner of the acquire in `find`.
    cell.pointee.state.store(
        State.birth(generation: generation, kind: kind, rest: rest), ordering: .releasing)
    return belay_ctx(bits: Handle(generation: generation, kind: kind, index: index).bits)
}

@_cdecl("belay_with_cancel") @implementation
public func belay_with_cancel(_ parent: belay_ctx) -> belay_ctx { deriveScope(parent, .none) }

@_cdecl("belay_with_deadline") @implementation
public func belay_with_deadline(_ parent: belay_ctx, _ deadline: belay_instant) -> belay_ctx {
    deriveScope(parent, .at(deadline))
}

@_cdecl("belay_with_timeout") @implementation
public func belay_with_timeout(_ parent: belay_ctx, _ timeout: belay_duration) -> belay_ctx {
    deriveScope(parent, .after(timeout))
}

@_cdecl("belay_with_deadline_cause") @implementation
public func belay_with_deadline_cause(
    _ parent: belay_ctx, _ deadline: belay_instant, _ code: Int64, _ message: UnsafePointer<CChar>?
) -> belay_ctx {
    deriveScope(parent, .at(deadline), code, message)
}

@_cdecl("belay_with_timeout_cause") @implementation
public func belay_with_timeout_cause(
    _ parent: belay_ctx, _ timeout: belay_duration, _ code: Int64, _ message: UnsafePointer<CChar>?
) -> belay_ctx {
    deriveScope(parent, .after(timeout), code, message)
}

private func deriveScope(_ parent: belay_ctx, _ limit: Limit, _ code: Int64, _ message: UnsafePointer<CChar>?)
    -> belay_ctx
{
    let cause = CauseRecord.make(code: code, message: message)
    if cause == 0 {
        LastStatus.set(Globals.pointer.pointee.forked ? BELAY_EFORK : BELAY_ENOMEM)
        return belay_ctx()
    }
    return deriveScope(parent, limit, timeoutCause: cause)
}

/// A node without an end of its own.
@inline(__always) func deriveValue(
    _ above: Parentage, kind: UInt64, key: UInt64, value: UInt64, drop: UInt64, marks: UInt64 = 0, as birth: Counter
) -> belay_ctx {
    let runtime = State(above.runtime).runtime
    guard let (cell, index, generation) = takeNode(runtime) else { return above.leave(BELAY_ENOMEM) }
    let values = kind == Kind.value ? index : above.values
    let born = cell.asValue
    born.pointee.key.set(key)
    born.pointee.value.set(value)
    born.pointee.parent.set(above.parent)
    born.pointee.scope.set(above.scope)
    born.pointee.values.set(values)
    born.pointee.clock.set(above.clock)
    born.pointee.listen.set(0)
    born.pointee.drop.set(drop)
    born.pointee.trie.set(0)
    if kind == Kind.value {
        guard let trie = KeyTrie.extend(above.values, with: index) else {
            cell.giveCell(generation: generation, runtime: runtime)
            return above.leave(BELAY_ENOMEM)
        }
        born.pointee.trie.set(trie)
    }
    return publish(cell, index: index, generation: generation, kind: kind, rest: above.runtime | marks, as: birth)
}

@_cdecl("belay_with_value") @implementation
public func belay_with_value(
    _ parent: belay_ctx, _ key: UnsafePointer<belay_key>?, _ value: UnsafeMutableRawPointer?,
    _ drop: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?
) -> belay_ctx {
    var born = belay_ctx()
    if let key {
        if let above = Parentage.join(parent) {
            born = deriveValue(
                above, kind: Kind.value, key: UInt64(UInt(bitPattern: key)), value: UInt64(UInt(bitPattern: value)),
                drop: UInt64(UInt(bitPattern: unsafeBitCast(drop, to: UnsafeRawPointer?.self))), as: .createdValue)
        }
    } else {
        LastStatus.set(BELAY_EINVAL)
    }
    // The value is ours in every case, so that code that checks nothing leaks nothing.
    if born.bits == 0 { drop?(value) }
    return born
}

@_cdecl("belay_without_cancel") @implementation
public func belay_without_cancel(_ parent: belay_ctx) -> belay_ctx {
    guard let above = Parentage.join(parent) else { return belay_ctx() }
    let cut = Parentage(parent: above.parent, scope: 0, values: above.values, clock: 0, runtime: above.runtime)
    return deriveValue(cut, kind: Kind.detached, key: 0, value: 0, drop: 0, as: .createdDetached)
}
