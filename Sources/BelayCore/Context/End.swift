// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

extension UnsafeMutablePointer where Pointee == Node {
    /// Cancels the scope if it is live. `cause` is a record that this call owns, or 0. When it returns, every
    /// descendant reads as done. The caller keeps the node alive.
    func cancel(cause record: UInt32, as reason: Counter = .endedCanceled) {
        if settle().isDone {
            freeRecord(record)
        } else {
            let verdict = record == 0 ? .canceled : claim(cause: record)
            // Before the verdict (release by its swap): unattached children compare their deadlines with it.
            _ = pointee.endedAt.compareExchange(expected: 0, desired: Clock.now(in: state.runtime), ordering: .relaxed)
            decide(verdict, as: reason)
        }
        finish()
    }

    /// The verdict of a cancel that brings a cause. The first one puts it in; whoever loses helps the winner to its
    /// verdict.
    @inline(never) func claim(cause record: UInt32) -> Verdict {
        let (exchanged, _) = pointee.cause.compareExchange(
            expected: 0, desired: record, ordering: .acquiringAndReleasing)
        if !exchanged { freeRecord(record) }
        return .canceledWithCause
    }

    /// Makes an end that has its verdict known to all: descendants, waiters, descriptors, callbacks. Harmless to
    /// repeat; when any call returns, every descendant reads as done.
    func finish() {
        if !state.has(State.attached) { return }
        var ended = Ended()
        let merges = push(into: &ended)
        if merges != MergesBelow.none { Globals.pointer.pointee.linkPushes.workOff() }
        if merges != nil { ended.add(leaving: self) }
        ended.deliver()
    }

    /// The close of a context that carries a value, or is detached, ends nothing but the leaves below: they know it by
    /// its handle, which is stale by now. Those who wait for one are told.
    func tellLeaves() {
        let index = pointee.listen.load(ordering: .acquiring)
        if index == 0 { return }
        let listen = Listen.at(index)
        listen.pointee.lock.lock()
        listen.pointee.children.set(Listen.taken | index)
        listen.pointee.lock.unlock()
        var ended = Ended()
        retain()
        Executor.expect(state.runtime)
        ended.add(index)
        ended.deliver()
    }

    /// Marks every attached descendant as done and takes its listeners' lists, under this scope's lock from beginning
    /// to end. So a second caller, who waits for the lock, may rely on it; and a descendant that is closed meanwhile
    /// waits in `detach`, so it is not recycled under our hands. Breadth first over the `older` links: no recursion,
    /// and never more than two locks. Nil if it was done before. Else the caller, who has the scope attached, is the
    /// one to tell all that were added to `ended`, and to add the scope itself, once no merged context below is left.
    func push(into ended: inout Ended) -> MergesBelow? {
        let top = listen
        let topIndex = pointee.listen.get()
        // Before the lists are taken: a free of the runtime that finds them so waits for us.
        Executor.expect(state.runtime)
        top.pointee.lock.lockInPlace()
        if top.pointee.isTaken {
            let pusher = Listen.at(top.pointee.pusher)
            top.pointee.lock.unlockInPlace()
            if pusher != top {
                pusher.pointee.lock.lockInPlace()
                pusher.pointee.lock.unlockInPlace()
            }
            Executor.arrived(state.runtime)
            return nil
        }
        var merges = MergesBelow.none
        var queue = Queue()
        queue.append(childrenOf: self, top.pointee.children.get())
        top.pointee.children.set(Listen.taken | topIndex)
        if state.has(State.linked) { markLinked(&merges) }
        while let index = queue.next() {
            let listen = Listen.at(index)
            let child = node(listen.pointee.node.get())
            listen.pointee.lock.lockInPlace()
            if !listen.pointee.isTaken {
                queue.append(childrenOf: child, listen.pointee.children.get())
                listen.pointee.children.set(Listen.taken | topIndex)
                if child.state.has(State.linked) { child.markLinked(&merges) }
                if child.hasListeners {
                    child.retain()
                    Executor.expect(child.state.runtime)
                    ended.add(index)
                }
            } else {
                merges = .perhaps
            }
            listen.pointee.lock.unlockInPlace()
        }
        top.pointee.lock.unlockInPlace()
        return merges
    }

    /// Marks the merged contexts that hang on this scope, which has its verdict. Under its listen lock.
    @inline(never) private func markLinked(_ merges: inout MergesBelow) {
        var callback = listen.pointee.callbacks.get()
        while callback != 0 {
            let task = Task.at(callback)
            if task.pointee.state.get() & Task.link != 0 && Links.mark(task, from: self) {
                Globals.pointer.pointee.linkPushes.add(task)
                merges = .perhaps
            }
            callback = task.pointee.entry.next.get()
        }
    }

    /// Whether `deliver` has something to do. Under the listen lock, after the verdict: no callback or descriptor can
    /// join any more. A waiter may: it sets its mark, then looks at the verdict; here the verdict is there before the
    /// mark is looked at. One of the two sees the other.
    private var hasListeners: Bool {
        listen.pointee.callbacks.get() != 0 || listen.pointee.descriptor.get() != 0
            || listen.pointee.sleep.load(ordering: .sequentiallyConsistent) != 0 || state.has(State.armed)
    }
}

/// Whether a push found links, or lists that another push had taken, which may have found some: then there may be
/// merged contexts below that are still to be pushed to. Where it found neither, what other threads push is no concern
/// of its.
enum MergesBelow { case none, perhaps }

/// Attached scopes whose end is to be pushed to their children, first in, first out.
private struct Queue {
    private var head: UInt32 = 0
    private var tail: UInt32 = 0

    /// Marks each child of `parent`, which has its verdict, and puts it at the end.
    mutating func append(childrenOf parent: NodePointer, _ first: UInt32) {
        var index = first
        let end = parent.state
        while index != 0 {
            let listen = Listen.at(index)
            let next = listen.pointee.older.get()
            node(listen.pointee.node.get()).inherit(from: parent, end)
            listen.pointee.younger.set(0)
            listen.pointee.older.set(0)
            if tail == 0 { head = index } else { Listen.at(tail).pointee.older.set(index) }
            tail = index
            index = next
        }
    }

    mutating func next() -> UInt32? {
        if head == 0 { return nil }
        let index = head
        head = Listen.at(index).pointee.older.get()
        if head == 0 { tail = 0 }
        return index
    }
}

@_cdecl("belay_cancel") @implementation
public func belay_cancel(_ ctx: belay_ctx) -> belay_status {
    let handle = Handle(ctx)
    guard let found = handle.find() else { return handle.refusal() }
    if handle.kind != Kind.scope { return handle.kind == Kind.lite ? handle.cancelLite(cause: 0) : BELAY_ENOCANCEL }
    let state = found.state
    if !state.has(State.attached) {
        if state.isDone { return BELAY_OK }
        // Nobody listens, no audit asks when it ended, and there are no children whose deadlines it could be compared
        // with: if it is live, one swap is all. It checks the generation, and that nobody began to listen. A child that
        // comes meanwhile is younger than the end.
        let count = found.node.pointee.references.get() & (References.striped | References.countMask)
        if count == 1 && state.word & (State.asks | State.sampled) == 0 && !found.node.mayBeDone(state)
            && found.node.pointee.state.compareExchange(
                expected: state.word, desired: state.word | Verdict.canceled.bits, ordering: .sequentiallyConsistent
            ).exchanged
        {
            if found.node.wasSeenEnded(handle) { Counter.add(.endedCanceled) }
            return BELAY_OK
        }
    }
    // Attached at birth. Perhaps we are in a signal handler.
    if state.has(State.watches) { return Signals.cancel(handle) }
    return handle.cancelPinned(cause: 0)
}

@_cdecl("belay_cancel_cause") @implementation
public func belay_cancel_cause(_ ctx: belay_ctx, _ code: Int64, _ message: UnsafePointer<CChar>?) -> belay_status {
    let handle = Handle(ctx)
    guard let found = handle.find() else { return handle.refusal() }
    let isLite = handle.kind == Kind.lite
    if handle.kind != Kind.scope && !isLite { return BELAY_ENOCANCEL }
    if found.state.isDone { return isLite ? BELAY_OK : handle.cancelPinned(cause: 0) }
    let record = CauseRecord.make(code: code, message: message)
    let status = isLite ? handle.cancelLite(cause: record) : handle.cancelPinned(cause: record)
    return status == BELAY_OK && record == 0 ? BELAY_ENOMEM : status
}

extension UnsafeMutablePointer where Pointee == Node {
    /// Whether a close, which may be under way, sees the verdict that was just swapped in without a reference; else it
    /// counts the end as its own.
    @inline(__always) fileprivate func wasSeenEnded(_ handle: Handle) -> Bool {
        // After the swap; a close changes this word first and looks at the state then. All four are sequentially
        // consistent, so one of us sees what the other did.
        if pointee.references.load(ordering: .sequentiallyConsistent) >> Handle.generationShift == handle.generation {
            return true
        }
        return closeSawEnd(handle)
    }

    /// The word that the close leaves says what it saw. That is a matter of a few instructions, unless its thread does not
    /// run; as with a lock.
    @inline(never) private func closeSawEnd(_ handle: Handle) -> Bool {
        var turns = 0
        while state.generation == handle.generation {
            Barrier.pause(&turns)
        }
        let state = state
        // In another life of the cell by now: then it most likely saw it.
        return Handle(bits: state.word).kind != Kind.none || state.isDone
    }
}

extension Handle {
    @inline(never) fileprivate func cancelPinned(cause: UInt32) -> belay_status {
        guard let pinned = pinInPlace() else {
            freeRecord(cause)
            return diagnose()
        }
        pinned.cancel(cause: cause)
        pinned.release()
        return BELAY_OK
    }

    /// Why a handle that was not found cannot be cancelled.
    @inline(never) func refusal() -> belay_status {
        let status = absent()
        return status == BELAY_OK ? BELAY_ENOCANCEL : status
    }
}
