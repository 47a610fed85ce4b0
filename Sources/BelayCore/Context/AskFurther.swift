// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

// What the state word alone does not tell. The handle comes first in each, so that it is where the caller has it
// already.
extension Found {
    /// What `belay_err` answers where the state word alone does not tell, for every kind of context.
    @inline(never) func status(of handle: Handle) -> belay_status {
        if handle.kind == Kind.lite { return liteStatus(handle) }
        return handle.kind == Kind.scope ? scopeStatus(of: handle) : statusByScope(handle)
    }

    // A scope without a verdict is looked at in up to three steps: whether its deadline is far off (`ByNow`), whether
    // the scopes above are live (`Below`), and, where these do not tell, with all that may have a say (`ByAll`).

    @inline(__always) func scopeStatus(of handle: Handle) -> belay_status {
        state.has(State.timed) ? statusByNow(handle) : statusBelow(handle)
    }

    @inline(__always) func isScopeDone(_ handle: Handle) -> UInt32 {
        state.has(State.timed) ? isDoneByNow(handle) : isDoneBelow(handle)
    }

    @inline(never) @_optimize(speed) private func statusByNow(_ handle: Handle) -> belay_status {
        guard isBeforeDeadline else { return statusByAll(handle) }
        if state.has(State.pulls) { return statusBelow(handle) }
        return isStill(handle) ? BELAY_OK : statusByAll(handle)
    }

    @inline(never) @_optimize(speed) private func isDoneByNow(_ handle: Handle) -> UInt32 {
        guard isBeforeDeadline else { return isDoneByAll(handle) }
        if state.has(State.pulls) { return isDoneBelow(handle) }
        return isStill(handle) ? 0 : isDoneByAll(handle)
    }

    @inline(never) @_optimize(speed) private func statusBelow(_ handle: Handle) -> belay_status {
        if haveDeadlinesMoved { return statusByAll(handle) }
        return isLiveBelow && isStill(handle) ? BELAY_OK : handle.settledStatus()
    }

    @inline(never) @_optimize(speed) private func isDoneBelow(_ handle: Handle) -> UInt32 {
        if haveDeadlinesMoved { return isDoneByAll(handle) }
        return isLiveBelow && isStill(handle) ? 0 : handle.isSettledDone()
    }

    @inline(never) private func statusByAll(_ handle: Handle) -> belay_status {
        isLive(handle) ? BELAY_OK : handle.settledStatus()
    }

    @inline(never) private func isDoneByAll(_ handle: Handle) -> UInt32 {
        isLive(handle) ? 0 : handle.isSettledDone()
    }

    /// By the coarse clock alone, where no deadline was ever moved. False means nothing.
    @inline(__always) private var isBeforeDeadline: Bool {
        state.word & (State.asks | State.runtimeMask) == 0 && !haveDeadlinesMoved
            && Clock.isFarOff(BelayCore.node(node.pointee.clock.get()).pointee.deadline.get())
    }

    /// Whether only the scopes above have a say, and all are live, where no deadline was ever moved. If not, there is
    /// something to settle.
    @inline(__always) private var isLiveBelow: Bool { !state.has(State.asks) && !node.lookAbove(forMoved: false) }

    @inline(__always) private var haveDeadlinesMoved: Bool { Globals.pointer.pointee.haveMoved.get() != 0 }

    /// Whether a scope without a verdict has not ended in any way. False means nothing.
    @inline(__always) private func isLive(_ handle: Handle) -> Bool {
        !node.mayHaveEnded(state) && isStill(handle)
    }

    // Values and detached contexts are what their scope is; one without a scope is live.

    /// Whether this is one of those, and its scope is live by what the state words tell. False means nothing.
    @inline(__always) func isSurelyLiveByScope(_ handle: Handle) -> Bool {
        if handle.kind &- Kind.value > Kind.root - Kind.value { return false }
        let index = node.pointee.scope.get()
        if index != 0 {
            let scope = Found(at: index)
            if scope.state.has(State.verdictMask | State.timed | State.asks) { return false }
            if scope.state.has(State.pulls) && (haveDeadlinesMoved || !scope.isLiveBelow) { return false }
        }
        return isStill(handle)
    }

    @inline(never) func isOtherDone(_ handle: Handle) -> UInt32 { status(of: handle) != BELAY_OK ? 1 : 0 }

    @inline(never) @_optimize(speed) func statusByScope(_ handle: Handle) -> belay_status {
        let index = node.pointee.scope.get()
        if index == 0 || Found(at: index).isLiveByNow, isStill(handle) { return BELAY_OK }
        return statusByAllScopes(handle)
    }

    @inline(never) private func statusByAllScopes(_ handle: Handle) -> belay_status {
        if handle.isImmortal { return BELAY_OK }
        let index = node.pointee.scope.get()
        let scope = index == 0 ? State(0) : BelayCore.node(index).state
        if index != 0 && BelayCore.node(index).mayBeDone(scope) { return handle.settledStatus() }
        return isStill(handle) ? scope.verdict.status : handle.absent()
    }

    /// Whether this scope with a deadline is live. False means nothing.
    @inline(__always) private var isLiveByNow: Bool {
        !state.has(State.verdictMask) && state.has(State.timed) && isBeforeDeadline
            && (!state.has(State.pulls) || isLiveBelow)
    }
}
