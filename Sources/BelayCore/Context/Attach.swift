// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

extension UnsafeMutablePointer where Pointee == Node {
    /// Joins the tree, so that ends are pushed to this scope from now on. The scopes above join first, from the top of
    /// the unattached run down. BELAY_OK also if the scope turns out to be done; BELAY_ENOMEM; BELAY_ESYSTEM if the
    /// driver or the poller cannot be started. The caller keeps the node.
    @inline(never) func attach() -> belay_status {
        let marks = State.moved | State.attached
        while true {
            let state = state
            if state.isDone || state.has(State.attached) { return BELAY_OK }
            let top = topOfRun()
            // Before it counts as attached: if this fails, whoever listens next tries again.
            if top.state.has(State.asks) {
                let status = Foreign.startPolling(top)
                if status != BELAY_OK { return status }
            }
            guard top.attachHere() else { return BELAY_ENOMEM }
            // A deadline that was moved may come before those that its descendants know of: it must be pushed. So must
            // the one above, where it was moved to never: it is this scope that its descendants believe to be armed.
            // (One that was done before it was attached has nobody to tell, and those above may not be attached.)
            if top.state.word & marks == marks, let clock = top.clockInEffect {
                let status = Shard.arm(clock)
                if status != BELAY_OK { return status }
            }
            let status = Shard.armOwn(top)
            if status != BELAY_OK { return status }
        }
    }

    /// The highest scope of the unattached run that this one ends.
    private func topOfRun() -> NodePointer {
        var top = self
        while true {
            let above = top.pointee.scope.get()
            if above == 0 { return top }
            let state = node(above).state
            if state.isDone || state.has(State.attached) { return top }
            top = node(above)
        }
    }

    /// Joins the list of the scope above, which is attached, done, or none. False when there is no memory.
    private func attachHere() -> Bool {
        guard let mine = ensureListen() else { return false }
        let above = pointee.scope.get()
        if above == 0 {
            _ = markAttached()
            return true
        }
        if !node(above).state.has(State.attached) {
            // Done, and so it stays: there is no list to join.
            _ = settle()
            return true
        }
        let parent = node(above).listen
        parent.pointee.lock.lockInPlace()
        // The scope above swaps its verdict in before it takes its lock to take the list. So either its verdict is seen
        // here, or this scope is in the list when that happens.
        if node(above).state.isDone {
            parent.pointee.lock.unlockInPlace()
            _ = settle()
            return true
        }
        if markAttached() { parent.pointee.link(mine) }
        parent.pointee.lock.unlockInPlace()
        return true
    }

    /// Sets `attached` and clears `pulls` in one swap, while there is no verdict. (Sequentially consistent for the sake
    /// of `Shard.armOwn`.)
    private func markAttached() -> Bool {
        var old = pointee.state.load(ordering: .acquiring)
        while !State(old).isDone && old & State.attached == 0 {
            let (exchanged, found) = pointee.state.compareExchange(
                expected: old, desired: (old | State.attached) & ~State.pulls, ordering: .sequentiallyConsistent)
            if exchanged {
                Counter.add(.attached)
                return true
            }
            old = found
        }
        return false
    }

    /// Leaves the parent's list: this scope has ended. When it returns, nobody else holds on to the listen record.
    func detach() {
        let above = pointee.scope.get()
        if above == 0 { return }
        let parent = node(above).listen
        parent.pointee.lock.lockInPlace()
        if !parent.pointee.isTaken {
            parent.pointee.unlink(pointee.listen.get())
            parent.pointee.lock.unlockInPlace()
            return
        }
        let pusher = Listen.at(parent.pointee.pusher)
        parent.pointee.lock.unlockInPlace()
        // The list was taken by a push that started there or above. It may be looking at us: let it finish.
        if pusher != parent {
            pusher.pointee.lock.lockInPlace()
            pusher.pointee.lock.unlockInPlace()
        }
    }
}

/// The list of attached children; under the lock.
extension Listen {
    borrowing func link(_ child: UInt32) {
        let head = children.get()
        Listen.at(child).pointee.older.set(head)
        Listen.at(child).pointee.younger.set(Listen.atHead)
        if head != 0 { Listen.at(head).pointee.younger.set(child) }
        children.set(child)
    }

    borrowing func unlink(_ child: UInt32) {
        let older = Listen.at(child).pointee.older.get()
        let younger = Listen.at(child).pointee.younger.get()
        if younger == 0 { return }
        if younger == Listen.atHead { children.set(older) } else { Listen.at(younger).pointee.older.set(older) }
        if older != 0 { Listen.at(older).pointee.younger.set(younger) }
        Listen.at(child).pointee.younger.set(0)
    }
}
