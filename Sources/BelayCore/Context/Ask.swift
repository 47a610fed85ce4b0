// SPDX-License-Identifier: Apache-2.0
import CBelay

extension Handle {
    /// What `belay_err` answers. Where the state word alone decides, the one look at it is all.
    @inline(__always) func status() -> belay_status {
        guard let found = find(Kind.scope) else { return statusOfOther() }
        if found.state.isSurelyLive { return BELAY_OK }
        return found.state.isDone ? found.state.verdict.status : found.scopeStatus(of: self)
    }

    /// The same for what is no scope, or was not found.
    @inline(never) @_optimize(speed) private func statusOfOther() -> belay_status {
        guard let found = find() else { return absent() }
        return found.isSurelyLiveByScope(self) ? BELAY_OK : found.status(of: self)
    }

    /// Whether it is a context that has not ended. `status` for a caller who needs no reason.
    @inline(__always) func isLive() -> Bool {
        guard let found = find(Kind.scope) else { return isDoneElsewhere() == 0 }
        return found.state.isSurelyLive || !found.state.isDone && found.scopeStatus(of: self) == BELAY_OK
    }

    // `status` for a question that is answered by yes or no.
    @inline(never) @_optimize(speed) fileprivate func isDoneElsewhere() -> UInt32 {
        guard let found = find(Kind.lite) else { return isOtherDone() }
        return found.isSurelyLiveLite(self) ? 0 : found.isLiteDone(self)
    }

    @inline(never) @_optimize(speed) private func isOtherDone() -> UInt32 {
        guard let found = find() else { return isAbsentDone() }
        return found.isSurelyLiveByScope(self) ? 0 : found.isOtherDone(self)
    }

    @inline(never) private func isAbsentDone() -> UInt32 { absent() != BELAY_OK ? 1 : 0 }

    /// `status` with a reference in hand, for the one time in a context's life that something is to be settled.
    @inline(never) func settledStatus() -> belay_status {
        guard let pinned = pin() else { return absent() }
        let scope = pinned.scopeIndex(kind: kind)
        let status = scope == 0 ? BELAY_OK : node(scope).settle().verdict.status
        pinned.release()
        return status
    }

    @inline(never) func isSettledDone() -> UInt32 { settledStatus() != BELAY_OK ? 1 : 0 }

    /// The answer for a handle that was not found.
    @inline(never) func absent() -> belay_status {
        let isRoot = bits == Root.background.bits || bits == Root.todo.bits
        if isRoot && !Globals.pointer.pointee.forked { return BELAY_OK }
        return diagnose()
    }
}

// C reads a bool from the low byte of the register, which this writes whole. Swift would leave the rest of a Bool's as
// it is, so C's entry would be a function around this one that tidies up: a sixth of the instructions.
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
