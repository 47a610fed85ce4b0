// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

// Scopes: contexts that can be cancelled, with or without a deadline. There are two ways to one. The *straight* way is
// what nearly every derivation takes: it calls nothing, so it needs no stack and few registers, and whatever is not as
// usual (the first use of a thread, an empty magazine, a parent that has ended, another runtime …) turns off to the
// general way, which can do everything.

@_cdecl("belay_with_cancel") @implementation @_optimize(speed)
public func belay_with_cancel(_ parent: belay_ctx) -> belay_ctx {
    deriveStraight(parent, Limit(), deadline: Clock.never, as: .createdCancel)
}

@_cdecl("belay_with_timeout") @implementation @_optimize(speed)
public func belay_with_timeout(_ parent: belay_ctx, _ timeout: belay_duration) -> belay_ctx {
    let limit = Limit(after: timeout)
    let (deadline, overflow) = Clock.now.addingReportingOverflow(timeout)
    // Done at birth, or never.
    if overflow || timeout <= 0 { return deriveScope(parent, limit) }
    return deriveStraight(parent, limit, deadline: deadline, as: .createdTimeout)
}

@_cdecl("belay_with_deadline") @implementation @_optimize(speed)
public func belay_with_deadline(_ parent: belay_ctx, _ deadline: belay_instant) -> belay_ctx {
    let limit = Limit(at: deadline)
    return Clock.isFarOff(deadline)
        ? deriveStraight(parent, limit, deadline: deadline, as: .createdTimeout) : deriveScope(parent, limit)
}

@_cdecl("belay_with_deadline_cause") @implementation
public func belay_with_deadline_cause(
    _ parent: belay_ctx, _ deadline: belay_instant, _ code: Int64, _ message: UnsafePointer<CChar>?
) -> belay_ctx {
    Sampler.witness(deriveScope(parent, Limit(at: deadline), code, message))
}

@_cdecl("belay_with_timeout_cause") @implementation
public func belay_with_timeout_cause(
    _ parent: belay_ctx, _ timeout: belay_duration, _ code: Int64, _ message: UnsafePointer<CChar>?
) -> belay_ctx {
    Sampler.witness(deriveScope(parent, Limit(after: timeout), code, message))
}

/// When a scope is to end at the latest.
struct Limit {
    private enum Form { case none, instant, duration }
    private let form: Form
    private let value: Int64

    @inline(__always) init() { (form, value) = (.none, Clock.never) }
    @inline(__always) init(at instant: Int64) { (form, value) = (.instant, instant) }
    @inline(__always) init(after duration: Int64) { (form, value) = (.duration, duration) }

    func instant(in runtime: UInt32) -> Int64 { form == .duration ? Clock.after(value, in: runtime) : value }

    /// What a scope with such a limit is counted as.
    var birth: Counter { form == .none ? .createdCancel : .createdTimeout }

    /// Whether that `instant` has passed at birth.
    func isPast(_ instant: Int64, in runtime: UInt32) -> Bool {
        switch form {
        case .none: false
        case .instant: Clock.hasPassed(instant, in: runtime)
        case .duration: value <= 0
        }
    }
}

/// The straight way, for a `deadline` that has not passed, under a scope. `limit` is the same for the general way. What
/// turns off does so by a jump, with what it needs in registers.
@inline(__always) private func deriveStraight(_ parent: belay_ctx, _ limit: Limit, deadline: Int64, as birth: Counter)
    -> belay_ctx
{
    let handle = Handle(parent)
    if Sampler.isOn { return Sampler.witness(deriveScope(parent, limit)) }
    guard let found = handle.find(Kind.scope) else { return deriveUnderRoot(parent, limit, deadline: deadline) }
    guard let thread = Thread.known, thread.pointee.contexts.hasCell, found.state.isPlain else {
        return deriveScope(parent, limit)
    }
    guard
        thread.pointee.seat.acquire(found.node, handle)
            || found.node.acquireAtOnce(generation: handle.generation)
    else { return deriveWhereThreadsMeet(handle, found.node, thread, limit, deadline: deadline) }
    return deriveStraight(
        handle, found.node, under: handle.index, found.state.pullsBelow, thread, limit, deadline: deadline, as: birth)
}

/// The straight way from where it crosses other threads: the parent has stripes, or somebody was quicker at its word.
@inline(never) @_optimize(speed)
private func deriveWhereThreadsMeet(
    _ handle: Handle, _ parent: NodePointer, _ thread: UnsafeMutablePointer<Thread>, _ limit: Limit, deadline: Int64
) -> belay_ctx {
    guard parent.acquireSlowly(generation: handle.generation) else {
        return deriveScope(belay_ctx(bits: handle.bits), limit)
    }
    let above = parent.state
    guard above.isPlain else { return deriveJoined(handle, limit) }
    return deriveStraight(
        handle, parent, under: handle.index, above.pullsBelow, thread, limit, deadline: deadline, as: limit.birth)
}

/// The straight way under background and todo: of the default runtime only these have the kind. Nobody counts on them.
@inline(never) @_optimize(speed)
private func deriveUnderRoot(_ parent: belay_ctx, _ limit: Limit, deadline: Int64) -> belay_ctx {
    let handle = Handle(parent)
    guard let found = handle.find(Kind.root), let thread = Thread.known, thread.pointee.contexts.hasCell,
        found.state.word & State.runtimeMask == 0
    else { return deriveUnderOther(parent, limit, deadline: deadline) }
    return deriveStraight(
        handle, found.node, under: 0, 0, thread, limit, deadline: deadline, as: limit.birth)
}

/// The straight way under a context that ends with another.
@inline(never) @_optimize(speed)
private func deriveUnderOther(_ parent: belay_ctx, _ limit: Limit, deadline: Int64) -> belay_ctx {
    let handle = Handle(parent)
    guard let found = handle.find(), let thread = Thread.known, thread.pointee.contexts.hasCell,
        handle.kind != Kind.lite, handle.kind != Kind.root, found.state.word & State.runtimeMask == 0,
        found.node.acquire(generation: handle.generation)
    else { return deriveScope(parent, limit) }
    let scope = found.node.pointee.scope.get()
    var pulls: UInt64 = 0
    if scope != 0 {
        let above = node(scope).state
        guard above.isPlain else { return deriveJoined(handle, limit) }
        pulls = above.pullsBelow
    }
    return deriveStraight(
        handle, found.node, under: scope, pulls, thread, limit, deadline: deadline, as: limit.birth)
}

/// The second half of the straight way, with a reference on the parent. `scope` is the nearest, 0 if there is none, and
/// `pulls` what a child of it has of its state, which is plain.
@inline(__always) private func deriveStraight(
    _ handle: Handle, _ parent: NodePointer, under scope: UInt32, _ pulls: UInt64,
    _ thread: UnsafeMutablePointer<Thread>, _ limit: Limit, deadline: Int64, as birth: Counter
) -> belay_ctx {
    if thread.pointee.habit.isTimeToLook() { return deriveLooking(handle, limit) }
    let lineage = parent.lineage
    let index = thread.pointee.contexts.first
    let cell = node(index)
    // Where the state word and the handle have it.
    let generation = cell.pointee.state.get() & Handle.generationMask
    var clock = lineage.clock
    var latest = Clock.never
    if clock != 0 && deadline != Clock.never { latest = node(clock).pointee.deadline.get() }
    // A deadline that was moved to "never" leaves it to the scopes above.
    let wasMoved = clock != 0 && deadline != Clock.never && latest == Clock.never
    if generation == 0 || wasMoved { return deriveJoined(handle, limit) }
    if deadline < latest { clock = index }
    thread.pointee.contexts.takeFirst(cell)
    thread.count(birth)
    // StoreStore: what is written next must not be seen by someone who still sees the old generation as current.
    atomicMemoryFence(ordering: .releasing)
    cell.write(
        deadline: deadline, parent: handle.index, scope: scope,
        lineage: Lineage(values: lineage.values, clock: clock))
    let rest = (clock == 0 ? 0 : State.timed) | pulls
    return reveal(cell, index: index, shifted: generation, kind: Kind.scope, rest: rest)
}

/// The same once in a while: to find what a thread derives from again and again.
@inline(never) private func deriveLooking(_ parent: Handle, _ limit: Limit) -> belay_ctx {
    Thread.known?.look(node(parent.index), parent)
    return deriveJoined(parent, limit)
}

/// The general way where the straight one has taken the reference on the parent.
@inline(never) private func deriveJoined(_ parent: Handle, _ limit: Limit) -> belay_ctx {
    deriveScope(Parentage(of: parent, node(parent.index), runtime: 0), limit)
}

/// The general way to a scope under `parent`. `timeoutCause` is owned by this call.
@inline(never) private func deriveScope(_ parent: belay_ctx, _ limit: Limit, timeoutCause: UInt32 = 0) -> belay_ctx {
    guard let above = Parentage.join(parent) else {
        freeRecord(timeoutCause)
        return belay_ctx()
    }
    return deriveScope(above, limit, timeoutCause: timeoutCause)
}

/// The same under a parent that was joined, as what it is counted if not by its limit.
@inline(never) func deriveScope(
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
        if state.hasLongestRun && !state.isDone {
            // Keep the unattached run short: it is what asking has to look through.
            let attached = scope.attach()
            if attached != BELAY_OK {
                cell.giveCell(generation: generation, runtime: runtime)
                freeRecord(timeoutCause)
                return above.leave(attached)
            }
            state = scope.state
        }
        if state.isDone {
            rest |= state.verdict.inherited.bits
            Counter.addKnown(.endedParent)
            origin = state.verdict.isInherited ? scope.pointee.origin.get() : above.scope
        }
        // Under one that is done there is nothing to look through.
        rest |= state.isDone ? State(0).pullsBelow : state.pullsBelow
    }
    if clock != 0 { rest |= State.timed }
    if clock == index && limit.isPast(deadline, in: runtime) && rest & State.verdictMask == 0 {
        // Done at birth; by its own deadline, unless the parent had ended before, which nobody may have noticed yet.
        let end = above.scope == 0 ? State(0) : node(above.scope).settle()
        rest |= (end.isDone ? end.verdict.inherited : .deadline).bits
        Counter.addKnown(end.isDone ? .endedParent : .endedDeadline)
        if end.isDone { origin = end.verdict.isInherited ? node(above.scope).pointee.origin.get() : above.scope }
    }
    cell.write(
        deadline: deadline, parent: above.parent, scope: above.scope,
        lineage: Lineage(values: above.values, clock: clock), origin: origin, timeoutCause: timeoutCause)
    return publish(cell, index: index, generation: generation, kind: Kind.scope, rest: rest, as: birth ?? limit.birth)
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
