// SPDX-License-Identifier: Apache-2.0
import Synchronization

// Settling a scope brings its verdict up to date with what nobody pushed to it: the unattached scopes above, and
// deadlines that have passed. It marks and does no more: no user code runs, nothing is woken. What has listeners is
// pushed to by the canceller or by the armed timer.

extension UnsafeMutablePointer where Pointee == Node {
    /// The state, with a verdict if the scope has ended in whatever way. The caller keeps the node alive.
    func settle() -> State {
        let state = state
        if state.isDone || !state.has(State.pulls | State.timed | State.asks) { return state }
        if state.has(State.pulls) {
            let above = node(pointee.scope.get())
            // At most `longestRun` deep.
            let end = above.settle()
            if end.isDone {
                inherit(from: above, end)
                return self.state
            }
        }
        if state.has(State.asks) { askSource() }
        if state.has(State.timed), let clock = clockInEffect,
            Clock.hasPassed(clock.pointee.deadline.get(), in: state.runtime)
        {
            clock.decideDeadline()
            let end = clock.state
            if clock != self && end.isDone { inherit(from: clock, end) }
        }
        if ownHasPassed(state) { decideDeadline() }
        return self.state
    }

    /// Whether this scope's own deadline has passed, though another was the earlier one at its birth: that one may have
    /// moved.
    @inline(__always) private func ownHasPassed(_ state: State) -> Bool {
        state.has(State.timed) && Globals.pointer.pointee.haveMoved.get() != 0
            && Clock.hasPassed(pointee.deadline.get(), in: state.runtime)
    }

    /// Whether there is no verdict yet but `settle` might find one.
    @inline(__always) func mayBeDone(_ state: State) -> Bool {
        !state.isDone && state.has(State.pulls | State.timed | State.asks) && mayHaveEnded(state)
    }

    /// Whether `settle` might find an end. For callers without a reference: it writes nothing, and a wrong "no" is
    /// found out by looking at the handle again.
    @inline(__always) func mayHaveEnded(_ state: State) -> Bool {
        if state.has(State.timed), let clock = clockInEffect,
            Clock.hasPassed(clock.pointee.deadline.get(), in: state.runtime)
        {
            return true
        }
        return ownHasPassed(state) || state.has(State.asks) || state.has(State.pulls) && someScopeAboveHasEnded()
    }

    /// The same of the unattached scopes above alone.
    @inline(never) func someScopeAboveHasEnded() -> Bool { lookAbove(forMoved: true) }

    /// The walk of `someScopeAboveHasEnded`. Once a deadline was moved, one of theirs may come before those known at
    /// our birth.
    @inline(__always) func lookAbove(forMoved: Bool) -> Bool {
        var current = self
        for _ in 0...State.longestRun {
            current = node(current.pointee.scope.get())
            // Relaxed: the fence comes when the caller looks at the handle again.
            let state = State(current.pointee.state.get())
            // Only its source knows.
            if state.has(State.verdictMask | State.asks) || forMoved && current.ownHasPassed(state) { return true }
            if !state.has(State.pulls) { return false }
        }
        return true
    }

    /// Swaps the verdict in if there is none yet, and counts the end. True if it was this call that did.
    @discardableResult
    func decide(_ verdict: Verdict, as reason: Counter? = nil) -> Bool {
        if !swapIn(verdict) { return false }
        Counter.add(reason ?? verdict.reason)
        return true
    }

    /// The swap alone.
    @inline(__always) func swapIn(_ verdict: Verdict) -> Bool {
        var old = pointee.state.load(ordering: .acquiring)
        while !State(old).isDone {
            let (exchanged, found) = pointee.state.compareExchange(
                expected: old, desired: old | verdict.bits, ordering: .sequentiallyConsistent)
            if exchanged { return true }
            old = found
        }
        return false
    }

    /// Puts the verdict of this scope's own deadline in, if that has passed. A move of the deadline at the same moment
    /// either changes the state word, and the swap fails, or (once there was a first move) holds the listen lock.
    func decideDeadline() {
        while true {
            let state = state
            if state.isDone { return }
            if state.has(State.moved) {
                listen.pointee.lock.lock()
                if Clock.hasPassed(pointee.deadline.get(), in: state.runtime) { decide(.deadline) }
                listen.pointee.lock.unlock()
                return
            }
            guard Clock.hasPassed(pointee.deadline.get(), in: state.runtime) else { return }
            let swapped = pointee.state.compareExchange(
                expected: state.word, desired: state.word | Verdict.deadline.bits, ordering: .sequentiallyConsistent)
            if swapped.exchanged { return Counter.add(.endedDeadline) }
        }
    }

    /// The scope, itself included, whose deadline is the one that counts. One that was moved to "never" leaves it to
    /// the scopes above.
    @inline(__always) var clockInEffect: NodePointer? {
        let clock = pointee.clock.get()
        if clock == 0 { return nil }
        let owner = node(clock)
        return owner.pointee.deadline.get() != Clock.never ? owner : owner.clockAbove
    }

    /// How late a scope below this clock may end: by its deadline, or where that was moved to "never" by one above.
    @inline(__always) var latestBelow: Int64 {
        let deadline = pointee.deadline.get()
        return deadline != Clock.never ? deadline : clockAbove?.pointee.deadline.get() ?? Clock.never
    }

    @inline(never) private var clockAbove: NodePointer? {
        var current = self
        // Bounded only so that a walk over cells that are being recycled ends.
        for _ in 0..<(1 << 24) {
            let above = current.pointee.scope.get()
            let clock = above == 0 ? 0 : node(above).pointee.clock.get()
            if clock == 0 { return nil }
            current = node(clock)
            if current.pointee.deadline.get() != Clock.never { return current }
        }
        return nil
    }

    /// Ends this scope as the scope above it ended, unless its own deadline came first. `end` is that scope's state,
    /// with its verdict. Several threads may do this at once, and see different scopes above: the one that puts its
    /// origin in first decides for all, so that error and cause agree.
    func inherit(from above: NodePointer, _ end: State) {
        let source = end.verdict.isInherited ? above.pointee.origin.get() : above.index
        var instant = node(source).endInstant
        if !Clock.isShared(node(source).state.runtime, state.runtime) {
            // It ended by another clock, through a merged context, which noted its own time; each below it passes that
            // on.
            let isMerged = !Clock.isShared(above.state.runtime, state.runtime)
            instant = isMerged ? pointee.endedAt.get() : above.pointee.endedAt.get()
            _ = pointee.endedAt.compareExchange(expected: 0, desired: instant, ordering: .relaxed)
        }
        let own = pointee.deadline.get()
        // At the same instant the parent's is the one that counts, where it was no later at our birth.
        if own != Clock.never && (own < instant || own == instant && pointee.clock.get() == index) {
            decideDeadline()
            if state.isDone { return }
        }
        let (exchanged, found) = pointee.origin.compareExchange(
            expected: 0, desired: source, ordering: .acquiringAndReleasing)
        decide(node(exchanged ? source : found).state.verdict.inherited)
    }

    /// When this scope, which is done, ended, by itself or with one above.
    var inheritedEndInstant: Int64 {
        if !state.verdict.isInherited { return endInstant }
        let source = node(pointee.origin.get())
        return Clock.isShared(source.state.runtime, state.runtime) ? source.endInstant : pointee.endedAt.get()
    }

    /// When this scope, which has a verdict of its own, ended. A cancel of a scope that had no children does not note
    /// the time; a child born in that instant inherits.
    private var endInstant: Int64 {
        let noted = pointee.endedAt.get()
        // A foreign parent's deadline is known by when we heard of it.
        if state.verdict == .deadline { return noted == 0 ? pointee.deadline.get() : noted }
        return noted == 0 ? .min : noted
    }
}
