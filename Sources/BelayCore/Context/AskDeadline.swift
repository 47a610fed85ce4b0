// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

@_cdecl("belay_deadline") @implementation
public func belay_deadline(_ ctx: belay_ctx, _ deadline: UnsafeMutablePointer<belay_instant>?) -> Bool {
    guard let deadline, let instant = Handle(ctx).deadline(), instant != Clock.never else { return false }
    deadline.pointee = instant
    return true
}

extension Handle {
    /// The instant of the deadline that counts, `Clock.never` for none; nil if the handle is stale or none.
    @inline(__always) func deadline() -> Int64? {
        guard let found = find() else { return nil }
        if kind == Kind.lite { return found.liteDeadline(self) }
        if isImmortal { return Clock.never }
        if Globals.pointer.pointee.haveMoved.get() != 0 { return movedDeadline() }
        let instant = found.node.clockInEffect?.pointee.deadline.get() ?? Clock.never
        return found.isStill(self) ? instant : nil
    }

    /// `deadline` where deadlines have been moved: one of a scope above may have come before the one that was known at
    /// birth. Looks at every scope above.
    @inline(never) private func movedDeadline() -> Int64? {
        guard let pinned = pin() else { return nil }
        defer { pinned.release() }
        let scope = pinned.scopeIndex(kind: kind)
        return scope == 0 ? Clock.never : Ways.earliestDeadline(above: node(scope))
    }
}

@_cdecl("belay_remaining") @implementation
public func belay_remaining(_ ctx: belay_ctx) -> belay_duration {
    let handle = Handle(ctx)
    if let left = handle.timeLeft() { return left }
    guard handle.status() == BELAY_OK else { return 0 }
    // Not found and yet live: a root, before the first derivation has set it up.
    guard let deadline = handle.deadline() else { return handle.status() == BELAY_OK ? Clock.never : 0 }
    return Clock.left(until: deadline, in: handle.runtime)
}

extension Handle {
    /// The straight way, with one look at the clock: for a scope that has not ended, where no deadline was ever moved.
    /// Nil means nothing.
    @inline(__always) fileprivate func timeLeft() -> Int64? {
        guard let found = find(Kind.scope), found.state.word & (State.verdictMask | State.asks) == 0,
            Globals.pointer.pointee.haveMoved.get() == 0, let clock = found.node.clockInEffect,
            !found.state.has(State.pulls) || !found.node.someScopeAboveHasEnded()
        else { return nil }
        let deadline = clock.pointee.deadline.get()
        return found.isStill(self) ? Clock.left(until: deadline, in: runtime) : nil
    }
}
