// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

extension Handle {
    /// What `belay_err` answers. Where the state word alone decides, the one look at it is all.
    @inline(__always) func status() -> belay_status {
        guard let found = find(Kind.scope) else { return statusOfOther() }
        if found.state.isDone { return found.state.verdict.status }
        return found.state.has(State.pulls | State.timed | State.asks) ? found.scopeStatus(of: self) : BELAY_OK
    }

    /// The same for what is no scope, or was not found.
    @inline(never) private func statusOfOther() -> belay_status {
        guard let found = find() else { return absent() }
        return found.status(of: self)
    }

    /// Whether it is a context that has not ended. `status` for a caller who needs no reason.
    @inline(__always) func isLive() -> Bool {
        guard let found = find(Kind.scope) else { return isDoneElsewhere() == 0 }
        return found.state.isSurelyLive || !found.state.isDone && found.status(of: self) == BELAY_OK
    }

    // `status` for a question that is answered by yes or no.
    @inline(never) @_optimize(speed) fileprivate func isDoneElsewhere() -> UInt32 {
        guard let found = find(Kind.lite) else { return status() != BELAY_OK ? 1 : 0 }
        return found.liteStatus(self) != BELAY_OK ? 1 : 0
    }

    /// The same with a reference in hand, for the one time in a context's life that something is to be settled.
    @inline(never) fileprivate func settledStatus() -> belay_status {
        guard let pinned = pin() else { return absent() }
        let scope = pinned.scopeIndex(kind: kind)
        let status = scope == 0 ? BELAY_OK : node(scope).settle().verdict.status
        pinned.release()
        return status
    }

    /// The answer for a handle that was not found.
    @inline(never) func absent() -> belay_status {
        let isRoot = bits == Root.background.bits || bits == Root.todo.bits
        if isRoot && !Globals.pointer.pointee.forked { return BELAY_OK }
        return diagnose()
    }
}

// What the state word alone does not tell. The handle comes first in each, so that it is where the caller has it already.
extension Found {
    /// The clock and the scopes above, of a scope without a verdict; other kinds of context.
    @inline(never) func status(of handle: Handle) -> belay_status {
        if handle.kind == Kind.lite { return liteStatus(handle) }
        return handle.kind == Kind.scope ? scopeStatus(of: handle) : scopesStatus(handle)
    }

    // A scope without a verdict is looked at in up to three steps: whether its deadline is far off (`ByNow`), whether the
    // scopes above are live (`Below`), and, where these do not tell, with everything that may have a say (`Settled`).

    @inline(__always) fileprivate func scopeStatus(of handle: Handle) -> belay_status {
        state.has(State.timed) ? statusByNow(handle) : statusBelow(handle)
    }

    @inline(__always) fileprivate func isScopeDone(_ handle: Handle) -> UInt32 {
        state.has(State.timed) ? isDoneByNow(handle) : isDoneBelow(handle)
    }

    @inline(never) @_optimize(speed) private func statusByNow(_ handle: Handle) -> belay_status {
        guard isBeforeDeadline else { return statusSettled(handle) }
        if state.has(State.pulls) { return statusBelow(handle) }
        return isStill(handle) ? BELAY_OK : statusSettled(handle)
    }

    @inline(never) @_optimize(speed) private func isDoneByNow(_ handle: Handle) -> UInt32 {
        guard isBeforeDeadline else { return isDoneSettled(handle) }
        if state.has(State.pulls) { return isDoneBelow(handle) }
        return isStill(handle) ? 0 : isDoneSettled(handle)
    }

    @inline(never) @_optimize(speed) private func statusBelow(_ handle: Handle) -> belay_status {
        isLiveBelow(handle) ? BELAY_OK : statusSettled(handle)
    }

    @inline(never) @_optimize(speed) private func isDoneBelow(_ handle: Handle) -> UInt32 {
        isLiveBelow(handle) ? 0 : isDoneSettled(handle)
    }

    @inline(never) private func statusSettled(_ handle: Handle) -> belay_status {
        isLive(handle) ? BELAY_OK : handle.settledStatus()
    }

    @inline(never) private func isDoneSettled(_ handle: Handle) -> UInt32 {
        !isLive(handle) && handle.settledStatus() != BELAY_OK ? 1 : 0
    }

    /// By the coarse clock alone, where no deadline was ever moved. False means nothing.
    @inline(__always) private var isBeforeDeadline: Bool {
        state.word & (State.asks | State.runtimeMask) == 0 && Globals.pointer.pointee.haveMoved.get() == 0
            && Clock.isFarOff(BelayCore.node(node.pointee.clock.get()).pointee.deadline.get())
    }

    /// Whether only the scopes above have a say, and all are live. False means nothing.
    @inline(__always) private func isLiveBelow(_ handle: Handle) -> Bool {
        !state.has(State.asks) && Globals.pointer.pointee.haveMoved.get() == 0 && !node.lookAbove(forMoved: false)
            && isStill(handle)
    }

    /// Whether a scope without a verdict has not ended in any way. False means nothing.
    @inline(__always) private func isLive(_ handle: Handle) -> Bool {
        !node.mayHaveEnded(state) && isStill(handle)
    }

    /// Values and detached contexts are what their scope is; one without a scope is live.
    @inline(never) private func scopesStatus(_ handle: Handle) -> belay_status {
        if handle.isImmortal { return BELAY_OK }
        let index = node.pointee.scope.get()
        let scope = index == 0 ? State(0) : BelayCore.node(index).state
        if index != 0 && BelayCore.node(index).mayBeDone(scope) { return handle.settledStatus() }
        return isStill(handle) ? scope.verdict.status : handle.absent()
    }
}

// C reads a bool from the low byte of the register, which this writes whole. Swift would leave the rest of a Bool's as it
// is, so C's entry would be a function around this one that tidies up: a sixth of the instructions.
@_cdecl("belay_is_done") @_optimize(speed)
public func contextIsDone(_ ctx: belay_ctx) -> UInt32 {
    let handle = Handle(ctx)
    // What `status` begins with, once more: written like this it calls nothing, so it needs no stack.
    guard let found = handle.find(Kind.scope) else { return handle.isDoneElsewhere() }
    if found.state.isSurelyLive { return 0 }
    return found.state.isDone ? 1 : found.isScopeDone(handle)
}

@_cdecl("belay_err") @implementation @_optimize(speed)
public func belay_err(_ ctx: belay_ctx) -> belay_status { Handle(ctx).status() }

@_cdecl("belay_cause_of") @implementation
public func belay_cause_of(_ ctx: belay_ctx, _ cause: UnsafeMutablePointer<belay_cause>?) -> Bool {
    guard let cause else { return false }
    let handle = Handle(ctx)
    let status = handle.status()
    if status == BELAY_OK { return false }
    cause.pointee = handle.causeIfOpen() ?? belay_cause(handle.diagnose())
    cause.pointee.isSignal = false
    return true
}

extension Handle {
    /// The cause of a done context; nil if the handle is stale or none.
    func causeIfOpen() -> belay_cause? {
        guard let found = find() else { return nil }
        let cause: belay_cause
        if kind == Kind.lite {
            cause = found.node.asLite.cause()
        } else {
            let scope = node(found.node.scopeIndex(kind: kind))
            cause = scope.cause(scope.state)
        }
        // LoadLoad: what was copied was this context's if the handle still matches.
        atomicMemoryFence(ordering: .acquiring)
        return matches(found.node.pointee.state.get()) ? cause : nil
    }
}

@_cdecl("belay_deadline") @implementation
public func belay_deadline(_ ctx: belay_ctx, _ deadline: UnsafeMutablePointer<belay_instant>?) -> Bool {
    guard let deadline, let instant = Handle(ctx).deadline(), instant != Clock.never else { return false }
    deadline.pointee = instant
    return true
}

extension Handle {
    /// The same when deadlines have been moved: one of a scope above may have come before the one that was known at
    /// birth. Looks at every scope above.
    @inline(never) private func movedDeadline() -> Int64? {
        guard let pinned = pin() else { return nil }
        defer { pinned.release() }
        let scope = pinned.scopeIndex(kind: kind)
        return scope == 0 ? Clock.never : Merge.earliestDeadline(above: node(scope))
    }

    /// The instant of the deadline that counts, `Clock.never` for none; nil if the handle is stale or none.
    @inline(__always) func deadline() -> Int64? {
        guard let found = find() else { return nil }
        if kind == Kind.lite { return found.liteDeadline(self) }
        if isImmortal { return Clock.never }
        if Globals.pointer.pointee.haveMoved.get() != 0 { return movedDeadline() }
        let instant = found.node.clockInEffect?.pointee.deadline.get() ?? Clock.never
        atomicMemoryFence(ordering: .acquiring)
        return matches(found.node.pointee.state.get()) ? instant : nil
    }
}

@_cdecl("belay_remaining") @implementation
public func belay_remaining(_ ctx: belay_ctx) -> belay_duration {
    let handle = Handle(ctx)
    if let left = handle.timeLeft() { return left }
    guard handle.status() == BELAY_OK else { return 0 }
    // Not found and yet live: a root, before the first derivation has set it up.
    guard let deadline = handle.deadline() else { return handle.status() == BELAY_OK ? Clock.never : 0 }
    if deadline == Clock.never { return Clock.never }
    return handle.timeLeft(to: deadline)
}

extension Handle {
    /// The straight way, with one look at the clock: for a scope that has not ended, where no deadline was ever moved. Nil
    /// means nothing.
    @inline(__always) fileprivate func timeLeft() -> Int64? {
        guard let found = find(Kind.scope), found.state.word & (State.verdictMask | State.asks) == 0,
            Globals.pointer.pointee.haveMoved.get() == 0, let clock = found.node.clockInEffect,
            !found.state.has(State.pulls) || !found.node.someScopeAboveHasEnded()
        else { return nil }
        let deadline = clock.pointee.deadline.get()
        // LoadLoad: what was read of other words was this context's if the handle still matches.
        atomicMemoryFence(ordering: .acquiring)
        return matches(found.node.pointee.state.get()) ? timeLeft(to: deadline) : nil
    }

    @inline(__always) fileprivate func timeLeft(to deadline: Int64) -> Int64 {
        let (left, overflow) = deadline.subtractingReportingOverflow(Clock.now(in: runtime))
        return overflow ? Clock.never : max(left, 0)
    }
}
