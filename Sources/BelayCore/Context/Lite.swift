// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// A lite context: a leaf for hot paths. Making one writes a cell, asking it reads two, closing it is one
/// compare-and-swap.
///
/// It keeps its parent as a *handle*, not as a reference. A handle cannot dangle, so that is safe: a parent that
/// closes, or whose cell serves somebody else by now, does not match any more, and reads as done. The price: with the
/// parent gone its cause is gone too (a lite that was not asked before says "canceled"), and there are no values.
///
/// Same line and same first words as `Node`, so that look-up, references, close and retain are the same code. A local
/// context (Local.swift) is the same record in its caller's memory.
struct LiteNode: ~Copyable {
    let state: Atomic<UInt64>
    let references: Atomic<UInt64>
    let deadline: Atomic<Int64>
    let parentHandle: Atomic<UInt64>
    /// Background, which nobody counts: there is nobody to release.
    let parent: Atomic<UInt32>
    let scope: Atomic<UInt32>
    let values: Atomic<UInt32>
    let clock: Atomic<UInt32>
    let listen: Atomic<UInt32>
    /// What waiters sleep on; see `Listen.markSleeper`.
    let sleep: Atomic<UInt32>
    /// Why it was cancelled, claimed by the first cancel that brings a cause; at the place where `Node` has it.
    let cause: Atomic<UInt32>
    /// A copy of its parent's cause; at the place of `timeoutCause`.
    let inheritedCause: Atomic<UInt32>
}

extension UnsafeMutablePointer where Pointee == Node {
    @inline(__always) var asLite: UnsafeMutablePointer<LiteNode> {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: LiteNode.self)
    }

    /// No listener, no sleeper, no causes. In whole words, as `holdsNothing` looks at them: a load that spans two
    /// stores which are still under way has to wait for them.
    @inline(__always) func clearLast() {
        word(6).pointee.set(0)
        word(7).pointee.set(0)
    }

    /// All that a lite context is born with but the words that publish it.
    @inline(__always) func writeLite(parent: UInt64, deadline: Int64) {
        asLite.pointee.deadline.set(deadline)
        asLite.pointee.parentHandle.set(parent)
        word(4).pointee.set(UInt64(Root.background.index))
        word(5).pointee.set(0)
        clearLast()
    }
}

@_cdecl("belay_lite") @implementation @_optimize(speed)
public func belay_lite(_ parent: belay_ctx, _ timeout: belay_duration) -> belay_ctx {
    if Sampler.isOn { return Sampler.witness(liteContext(parent, timeout)) }
    return timeout == Clock.never
        ? liteStraight(parent, timeout, deadline: Clock.never) : liteWithDeadline(parent, timeout)
}

/// By itself, because the look at the clock is a call, and needs a stack.
@inline(never) @_optimize(speed)
private func liteWithDeadline(_ parent: belay_ctx, _ timeout: belay_duration) -> belay_ctx {
    let (deadline, overflow) = Clock.now.addingReportingOverflow(timeout)
    return overflow ? liteContext(parent, timeout) : liteStraight(parent, timeout, deadline: deadline)
}

/// The straight way, as that of scopes: see DeriveScope.swift.
@inline(__always) private func liteStraight(_ parent: belay_ctx, _ timeout: Int64, deadline: Int64) -> belay_ctx {
    guard let found = Handle(parent).find(Kind.scope) else {
        return liteUnderOther(parent, timeout, deadline: deadline)
    }
    return liteStraight(parent, found, timeout, deadline: deadline)
}

/// The straight way under what is no scope.
@inline(never) @_optimize(speed)
private func liteUnderOther(_ parent: belay_ctx, _ timeout: Int64, deadline: Int64) -> belay_ctx {
    guard let found = Handle(parent).find(), Handle(parent).kind != Kind.lite else {
        return liteContext(parent, timeout)
    }
    return liteStraight(parent, found, timeout, deadline: deadline)
}

/// Its second half.
@inline(__always)
private func liteStraight(_ parent: belay_ctx, _ found: Found, _ timeout: Int64, deadline: Int64) -> belay_ctx {
    guard let thread = Thread.known, thread.pointee.contexts.hasCell, found.state.word & State.runtimeMask == 0 else {
        return liteContext(parent, timeout)
    }
    let index = thread.pointee.contexts.first
    let cell = node(index)
    let generation = cell.pointee.state.get() & Handle.generationMask
    if generation == 0 { return liteContext(parent, timeout) }
    thread.pointee.contexts.takeFirst(cell)
    thread.count(.createdLite)
    // StoreStore: what is written next must not be seen by someone who still sees the old generation as current.
    atomicMemoryFence(ordering: .releasing)
    cell.writeLite(parent: parent.bits, deadline: deadline)
    let rest = deadline == Clock.never ? 0 : State.timed
    return reveal(cell, index: index, shifted: generation, kind: Kind.lite, rest: rest)
}

/// The general way.
@inline(never) private func liteContext(_ parent: belay_ctx, _ timeout: belay_duration) -> belay_ctx {
    let above = Handle(parent)
    let found = above.find()
    guard found != nil || above.pinAfterSetup() != nil, above.kind != Kind.lite else {
        LastStatus.set(above.kind == Kind.lite && found != nil ? BELAY_ELEAF : above.diagnose())
        return belay_ctx()
    }
    let runtime = found?.state.runtime ?? 0
    guard let (cell, index, generation) = takeNode(runtime) else {
        LastStatus.set(BELAY_ENOMEM)
        return belay_ctx()
    }
    let deadline = Clock.after(timeout, in: runtime)
    cell.writeLite(parent: parent.bits, deadline: deadline)
    let rest = (deadline == Clock.never ? 0 : State.timed) | UInt64(runtime) << State.runtimeShift
    return publish(cell, index: index, generation: generation, kind: Kind.lite, rest: rest, as: .createdLite)
}

extension Handle {
    /// `belay_cancel` for a lite context. `cause` is owned by this call.
    @inline(never) func cancelLite(cause: UInt32) -> belay_status {
        guard let pinned = pin() else {
            freeRecord(cause)
            return diagnose()
        }
        pinned.asLite.cancel(cause: cause)
        pinned.unpin()
        return BELAY_OK
    }
}

extension Found {
    /// Whether its own word and that of the scope it hangs on say that it has not ended; false means nothing. By
    /// itself, because it calls nothing, and so needs no stack.
    @inline(__always) func isSurelyLiveLite(_ handle: Handle) -> Bool {
        if state.isDone || state.has(State.timed) { return false }
        guard let above = node.asLite.above.find(Kind.scope), above.state.isSurelyLive else { return false }
        // As in `liteStatus`: it was this context's parent if the handle still matches.
        atomicMemoryFence(ordering: .acquiring)
        let now = node.state
        return handle.matches(now.word) && !now.isDone
    }

    @inline(never) @_optimize(speed) func isLiteDone(_ handle: Handle) -> UInt32 {
        liteStatus(handle) != BELAY_OK ? 1 : 0
    }

    /// What `belay_err` answers for a lite context.
    @inline(__always) func liteStatus(_ handle: Handle) -> belay_status {
        if state.isDone { return state.verdict.status }
        let lite = node.asLite
        let isPast = state.has(State.timed) && Clock.hasPassed(lite.pointee.deadline.get(), in: state.runtime)
        if isPast || !lite.above.isLive() { return settledLiteStatus(handle) }
        // LoadLoad: what was read was this context's if the handle still matches.
        atomicMemoryFence(ordering: .acquiring)
        // Acquire: this look may be the one that finds a verdict; partner of the release in `swapIn`.
        let now = node.state
        return handle.matches(now.word) ? now.verdict.status : handle.absent()
    }

    @inline(never) private func settledLiteStatus(_ handle: Handle) -> belay_status {
        guard let pinned = handle.pin() else { return handle.absent() }
        let status = pinned.asLite.settle().verdict.status
        pinned.unpin()
        return status
    }

    /// The earlier of its own deadline and its parent's; nil if the handle does not match any more.
    func liteDeadline(_ handle: Handle) -> Int64? {
        let own = node.asLite.pointee.deadline.get()
        let above = Handle(bits: node.asLite.pointee.parentHandle.get())
        atomicMemoryFence(ordering: .acquiring)
        guard handle.matches(node.pointee.state.get()), above.kind != Kind.lite else { return nil }
        return min(own, above.deadline() ?? Clock.never)
    }
}

extension UnsafeMutablePointer where Pointee == LiteNode {
    @inline(__always) var asNode: NodePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: Node.self) }
    @inline(__always) var above: Handle { Handle(bits: pointee.parentHandle.get()) }

    /// As `Node.decide`; the end of a local, which has no shape, is not counted, as its birth was not.
    private func decide(_ verdict: Verdict, as reason: Counter? = nil) {
        if asNode.swapIn(verdict) && asNode.state.shape != Kind.none { Counter.add(reason ?? verdict.reason) }
    }

    /// Takes a verdict from its own deadline or its parent, whichever came first. The caller keeps the node.
    func settle() -> State {
        let state = asNode.state
        if state.isDone { return state }
        let isPast = state.has(State.timed) && Clock.hasPassed(pointee.deadline.get(), in: state.runtime)
        let status = above.status()
        if status == BELAY_OK {
            if isPast { decide(.deadline) }
            return asNode.state
        }
        guard let parent = above.pin() else {
            // Closed: nobody knows any more when. A deadline that has passed is at least a reason of its own; but what
            // a local had for a clock may be that of another runtime by now, which counts only what has a shape.
            let knowsClock = state.runtime == 0 || state.shape != Kind.none
            decide(isPast && knowsClock ? .deadline : .inheritedCanceled)
            return asNode.state
        }
        let scope = node(parent.scopeIndex(kind: above.kind))
        let end = scope.state
        if isPast && pointee.deadline.get() <= scope.inheritedEndInstant {
            decide(.deadline)
        } else {
            inheritCause(scope.cause(end), end.verdict)
            decide(end.verdict.inherited)
        }
        parent.unpin()
        return asNode.state
    }

    /// Keeps a copy of the parent's cause, if it says more than the status does.
    private func inheritCause(_ cause: belay_cause, _ verdict: Verdict) {
        if cause.says(verdict.status) { return }
        let record = CauseRecord.make(copying: cause)
        if record == 0 { return }
        // The parent's end is final, so whoever comes second brings the same.
        let (exchanged, _) = pointee.inheritedCause.compareExchange(
            expected: 0, desired: record, ordering: .acquiringAndReleasing)
        if !exchanged { freeRecord(record) }
    }

    /// `record` is owned by this call.
    func cancel(cause record: UInt32, as reason: Counter = .endedCanceled) {
        if settle().isDone {
            freeRecord(record)
        } else {
            decide(record == 0 ? .canceled : asNode.claim(cause: record), as: reason)
        }
        wakeSleepers()
    }

    func cause() -> belay_cause {
        let verdict = asNode.state.verdict
        let record =
            verdict.isInherited
            ? pointee.inheritedCause.get()
            : verdict == .canceledWithCause ? pointee.cause.get() : 0
        return record != 0 ? CauseRecord.read(record) : belay_cause(verdict.status)
    }

    // MARK: waiting

    /// Waits for its end: its own cancel wakes the sleeper directly, its parent's end by a callback on the parent, and
    /// one on its close where that is not an end.
    func wait(until end: Int64) -> belay_status {
        let parent = belay_ctx(bits: above.bits)
        let address = pointee.sleep.address
        let reg = Registration.add(parent, Wait.waker, address, flags: Wait.threadFlags)
        if reg.bits == 0 && above.status() == BELAY_OK { return belay_last_status() }
        defer { Wait.withdraw(reg) }
        let endsNothing = above.kind == Kind.value || above.kind == Kind.detached
        let closing =
            endsNothing
            ? Registration.add(atCloseOf: above, Wait.waker, address, flags: Wait.threadFlags) : belay_reg()
        if endsNothing && closing.bits == 0 && above.status() == BELAY_OK { return belay_last_status() }
        defer { if endsNothing { Wait.withdraw(closing) } }
        while true {
            _ = pointee.sleep.compareExchange(expected: 0, desired: 2, ordering: .sequentiallyConsistent)
            atomicMemoryFence(ordering: .sequentiallyConsistent)
            let state = settle()
            if state.isDone { return state.verdict.status }
            if Clock.now >= end { return BELAY_TIMEOUT }
            let deadline = min(pointee.deadline.get(), above.deadline() ?? Clock.never)
            belaycore_futex_wait(address, 2, min(end, deadline))
        }
    }

    private func wakeSleepers() {
        if pointee.sleep.load(ordering: .sequentiallyConsistent) == 0 { return }
        pointee.sleep.store(1, ordering: .sequentiallyConsistent)
        belaycore_futex_wake(pointee.sleep.address, .max)
    }
}
