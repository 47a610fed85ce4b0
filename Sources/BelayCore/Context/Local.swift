// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

// A local context is a lite one in its caller's own memory: a `LiteNode` without cell, handle and counters. Opening it
// is a look at the parent and a few stores, closing it one; the rest is what lite contexts do. It has no use for the
// second word as references: there cancels that are under way count themselves.
//
// The state word says whether there is a local context in that memory, and has the verdict of an open one where `State`
// has it:
//
// | bits | open | refused or closed |
// |---|---|---|
// | 63–32 | the tag: the address, plus the number of forks | the tag |
// | 31–28 | `Kind.lite` | 0 |
// | 22–20 | 0: no shape, counted nowhere | 0 |
// | 15–8 | (19–12: the runtime) | the status that it reads as |
// | 5, 3–0 | timed, verdict | 1: done |
//
// So zeroes, other bytes, a copy elsewhere, and what a parent process left are not taken for an open one.

@_cdecl("belay_local_open") @implementation
public func belay_local_open(
    _ local: UnsafeMutablePointer<belay_local>?, _ parent: belay_ctx, _ timeout: belay_duration
) -> belay_status {
    guard let lite = local?.asLite else { return BELAY_EINVAL }
    let above = Handle(parent)
    guard let found = above.find(), above.kind != Kind.lite else { return lite.openElsewhere(above, timeout) }
    let runtime = found.state.word & State.runtimeMask
    if timeout != Clock.never { return lite.openTimed(above, timeout, runtime) }
    return lite.open(above, Clock.never, runtime)
}

// A whole register, as belay_is_done.
@_cdecl("belay_local_is_done")
public func localIsDone(_ local: UnsafePointer<belay_local>?) -> UInt32 {
    guard let lite = local?.asLite else { return 1 }
    return lite.look(live: 0, under: { lite.isDone(under: $0) }, elsewhere: { lite.isDoneElsewhere() })
}

@_cdecl("belay_local_err") @implementation
public func belay_local_err(_ local: UnsafePointer<belay_local>?) -> belay_status {
    guard let lite = local?.asLite else { return BELAY_EINVAL }
    return lite.localStatus()
}

@_cdecl("belay_local_cause_of") @implementation
public func belay_local_cause_of(
    _ local: UnsafePointer<belay_local>?, _ cause: UnsafeMutablePointer<belay_cause>?
) -> Bool {
    guard let cause else { return false }
    let status = belay_local_err(local)
    if status == BELAY_OK { return false }
    if let lite = local?.asLite, lite.isOpen(lite.asNode.state) {
        cause.pointee = lite.cause()
    } else {
        cause.pointee = belay_cause(status)
    }
    cause.pointee.isSignal = false
    return true
}

@_cdecl("belay_local_remaining") @implementation
public func belay_local_remaining(_ local: UnsafePointer<belay_local>?) -> belay_duration {
    guard let lite = local?.asLite, lite.localStatus() == BELAY_OK else { return 0 }
    var deadline = lite.pointee.deadline.get()
    if let inherited = lite.above.deadline() {
        deadline = min(deadline, inherited)
    } else if lite.localStatus() != BELAY_OK {
        return 0
    }
    return Clock.left(until: deadline, in: lite.asNode.state.runtime)
}

@_cdecl("belay_local_wait") @implementation
public func belay_local_wait(_ local: UnsafeMutablePointer<belay_local>?, _ timeout: belay_duration) -> belay_status {
    guard let lite = local?.asLite else { return BELAY_EINVAL }
    let status = lite.localStatus()
    if status != BELAY_OK { return status }
    if timeout <= 0 { return BELAY_TIMEOUT }
    let runtime = lite.asNode.state.runtime
    if runtime != 0 && Runtime.at(runtime).pointee.isVirtual { return lite.waitVirtually(timeout) }
    return lite.wait(until: Clock.after(timeout))
}

@_cdecl("belay_local_cancel") @implementation
public func belay_local_cancel(_ local: UnsafeMutablePointer<belay_local>?) -> belay_status {
    guard let lite = local?.asLite else { return BELAY_EINVAL }
    return lite.cancelLocal { 0 }
}

@_cdecl("belay_local_cancel_cause") @implementation
public func belay_local_cancel_cause(
    _ local: UnsafeMutablePointer<belay_local>?, _ code: Int64, _ message: UnsafePointer<CChar>?
) -> belay_status {
    guard let lite = local?.asLite else { return BELAY_EINVAL }
    var hasRecord = true
    let status = lite.cancelLocal {
        let record = CauseRecord.make(code: code, message: message)
        hasRecord = record != 0
        return record
    }
    return hasRecord ? status : BELAY_ENOMEM
}

@_cdecl("belay_local_close") @implementation
public func belay_local_close(_ local: UnsafeMutablePointer<belay_local>?) -> belay_status {
    guard let lite = local?.asLite else { return BELAY_EINVAL }
    guard lite.isOpen(lite.asNode.state) else { return lite.absence() }
    // Acquire: partner of the release in `cancelLocal`.
    let isQuiet = lite.pointee.references.load(ordering: .acquiring) == 0
    return isQuiet && lite.asNode.holdsNothing ? lite.close() : lite.closeSlowly()
}

extension UnsafeMutablePointer where Pointee == belay_local {
    @inline(__always) fileprivate var asLite: UnsafeMutablePointer<LiteNode> {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: LiteNode.self)
    }
}

extension UnsafePointer where Pointee == belay_local {
    /// To ask is to settle, which may write; what is open was not declared const.
    @inline(__always) fileprivate var asLite: UnsafeMutablePointer<LiteNode> {
        UnsafeMutablePointer<belay_local>(mutating: self).asLite
    }
}

extension UnsafeMutablePointer where Pointee == LiteNode {
    // MARK: the state word

    @inline(__always) private var tag: UInt64 {
        UInt64(UInt(bitPattern: self) &+ UInt(Globals.pointer.pointee.forks.get())) << Handle.generationShift
    }

    /// Whether that is the word of an open one; of one that has none of these bits.
    @inline(__always) fileprivate func isOpen(_ state: State, without bits: UInt64 = 0) -> Bool {
        (state.word ^ (tag | Kind.lite << Handle.kindShift)) & (~0 << Handle.kindShift | bits) == 0
    }

    private static var statusShift: UInt64 { 8 }

    /// The word of no local context, which reads as `status`.
    @inline(__always) fileprivate func absent(_ status: belay_status) -> UInt64 {
        tag | UInt64(status.rawValue) << Self.statusShift | Verdict.canceled.bits
    }

    /// What is to be said of memory where none is open.
    @inline(never) fileprivate func absence() -> belay_status {
        if Globals.pointer.pointee.forked { return BELAY_EFORK }
        let word = asNode.state.word
        let status = belay_status(rawValue: UInt32(truncatingIfNeeded: word >> Self.statusShift & 255))
        if word == absent(status) { return status }
        // Open, but in a parent process.
        let age = UInt32(truncatingIfNeeded: tag >> Handle.generationShift &- word >> Handle.generationShift)
        let isOld = Handle(bits: word).kind == Kind.lite && age <= Globals.pointer.pointee.forks.get()
        return isOld ? BELAY_ESTALE : BELAY_EINVAL
    }

    // MARK: opening and closing

    /// `rest` is what its state word begins with: the runtime, and whether there is a deadline.
    @inline(__always) fileprivate func open(_ above: Handle, _ deadline: Int64, _ rest: UInt64) -> belay_status {
        pointee.references.set(0)
        pointee.deadline.set(deadline)
        pointee.parentHandle.set(above.bits)
        asNode.clearLast()
        pointee.state.set(tag | Kind.lite << Handle.kindShift | rest)
        return BELAY_OK
    }

    @inline(never) fileprivate func openTimed(_ above: Handle, _ timeout: Int64, _ runtime: UInt64) -> belay_status {
        open(above, Clock.after(timeout, in: State(runtime).runtime), runtime | State.timed)
    }

    /// The parent was not found or is lite: a root that is not set up yet, or a refusal.
    @inline(never) fileprivate func openElsewhere(_ above: Handle, _ timeout: Int64) -> belay_status {
        let status = above.find() != nil ? BELAY_ELEAF : above.absent()
        if status == BELAY_OK { return openTimed(above, timeout, 0) }
        pointee.state.set(absent(status))
        return status
    }

    @inline(__always) fileprivate func close() -> belay_status {
        pointee.state.set(absent(BELAY_ESTALE))
        return BELAY_OK
    }

    /// Gives causes back, once nobody writes any more: whoever was woken by a cancel may close at once, while that call
    /// is still on its way out.
    @inline(never) fileprivate func closeSlowly() -> belay_status {
        var turns = 0
        while pointee.references.load(ordering: .acquiring) != 0 {
            if turns < 40 { belaycore_pause() } else { belaycore_yield() }
            turns += 1
        }
        freeRecord(pointee.cause.get())
        freeRecord(pointee.inheritedCause.get())
        return close()
    }

    // MARK: the rest

    @inline(__always) fileprivate func localStatus() -> belay_status {
        look(live: BELAY_OK, under: { localStatus(under: $0) }, elsewhere: { localStatusElsewhere() })
    }

    /// Where its own state word and its parent's say that it is live, the looks at these two are all. What else there
    /// is to do comes last, so that it is a jump and the looks need no stack.
    @inline(__always) fileprivate func look<Answer>(
        live: Answer, under: (Found) -> Answer, elsewhere: () -> Answer
    ) -> Answer {
        let state = asNode.state
        if !isOpen(state, without: State.verdictMask) { return elsewhere() }
        let above = above
        guard let parent = above.find(Kind.scope) else { return elsewhere() }
        let more = parent.state.word & (State.verdictMask | State.pulls | State.timed | State.asks)
        return more | state.word & State.timed != 0 ? under(parent) : live
    }

    @inline(never) fileprivate func isDone(under parent: Found) -> UInt32 {
        localStatus(under: parent) != BELAY_OK ? 1 : 0
    }
    @inline(never) fileprivate func isDoneElsewhere() -> UInt32 { localStatusElsewhere() != BELAY_OK ? 1 : 0 }

    /// The clock, and scopes above the parent.
    @inline(never) private func localStatus(under parent: Found) -> belay_status {
        let state = asNode.state
        let isPast = state.has(State.timed) && Clock.hasPassed(pointee.deadline.get(), in: state.runtime)
        let isLive = !isPast && !parent.state.isDone && parent.status(of: above) == BELAY_OK
        return isLive ? BELAY_OK : settle().verdict.status
    }

    /// Not open, ended, or under a parent of another kind or none.
    @inline(never) private func localStatusElsewhere() -> belay_status {
        let state = asNode.state
        if !isOpen(state) { return absence() }
        if state.isDone { return state.verdict.status }
        let isPast = state.has(State.timed) && Clock.hasPassed(pointee.deadline.get(), in: state.runtime)
        return !isPast && above.status() == BELAY_OK ? BELAY_OK : settle().verdict.status
    }

    /// `makeRecord` is called unless it has ended already.
    @inline(__always) fileprivate func cancelLocal(_ makeRecord: () -> UInt32) -> belay_status {
        let state = asNode.state
        guard isOpen(state) else { return absence() }
        // Before the verdict, so that whoever sees that sees this too.
        pointee.references.wrappingAdd(1, ordering: .relaxed)
        cancel(cause: state.isDone ? 0 : makeRecord())
        // Release: our last touch; partner of the acquire in the close.
        pointee.references.wrappingSubtract(1, ordering: .releasing)
        return BELAY_OK
    }
}
