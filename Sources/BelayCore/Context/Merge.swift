// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

// A merged context hangs on its first parent like an attached child, and on each other one by a *link*: a registration that ends
// it where that parent ends. Its anchor keeps the other parents' scopes, for their causes, and the links, until the last
// context below has gone. Its clock is the earliest of all, wherever that is.
//
// A push marks what is linked under the same lock under which it marks children, so that it reads as done when any cancel
// of that parent returns; what is attached below it is pushed to right after (`Linked`), in a loop, because merges of
// merges may be as long as chains are.

@_cdecl("belay_merge") @implementation
public func belay_merge(_ parents: UnsafePointer<belay_ctx>?, _ n: Int) -> belay_ctx {
    guard let parents, n > 0 else { return Merge.fail(BELAY_EINVAL) }
    for i in 0..<n {
        let handle = Handle(parents[i])
        if handle.kind == Kind.lite && handle.find() != nil { return Merge.fail(BELAY_ELEAF) }
        guard handle.find() != nil || handle.pinAfterSetup() != nil else { return Merge.fail(handle.diagnose()) }
    }
    return withUnsafeTemporaryAllocation(of: UInt32.self, capacity: n) { scopes in
        Merge.run(parents, n, scopes.baseAddress.unsafelyUnwrapped)
    }
}

enum Merge {
    @inline(never) static func fail(_ status: belay_status) -> belay_ctx {
        LastStatus.set(status)
        return belay_ctx()
    }

    /// `scopes` has room for as many.
    fileprivate static func run(_ parents: UnsafePointer<belay_ctx>, _ n: Int, _ scopes: UnsafeMutablePointer<UInt32>)
        -> belay_ctx
    {
        guard let above = Parentage.join(parents[0]) else { return belay_ctx() }
        // Others whose end would not come through the first anyway, each once. Kept by a reference.
        var count = 0
        var sole = 0
        for i in 1..<max(n, 1) {
            let handle = Handle(parents[i])
            guard let pinned = handle.pin() else {
                giveBack(scopes, count)
                return above.leave(handle.diagnose())
            }
            let scope = pinned.scopeIndex(kind: handle.kind)
            if scope != 0 && scope != above.scope && !contains(scopes, count, scope) {
                node(scope).retain()
                scopes[count] = scope
                if count == 0 { sole = i }
                count += 1
            }
            pinned.unpin()
        }
        // One that is left alone is the answer itself, unless the first one's values would be lost.
        let isSole = count == 0 || (count == 1 && above.scope == 0 && above.values == 0)
        if isSole {
            giveBack(scopes, count)
            node(above.parent).unpin()
            let answer = parents[count == 0 ? 0 : sole]
            let status = belay_retain(answer)
            return status == BELAY_OK ? answer : fail(status)
        }
        return hang(above, scopes, count)
    }

    @inline(never) fileprivate static func contains(
        _ scopes: UnsafeMutablePointer<UInt32>, _ count: Int, _ scope: UInt32
    ) -> Bool {
        for i in 0..<count where scopes[i] == scope { return true }
        return false
    }

    private static func giveBack(_ scopes: UnsafeMutablePointer<UInt32>, _ count: Int) {
        for i in 0..<count { node(scopes[i]).unpin() }
    }

    private static func hang(_ above: Parentage, _ scopes: UnsafeMutablePointer<UInt32>, _ count: Int) -> belay_ctx {
        // Before the others, and before the merged context is attached to it, which would not look up any more.
        if above.scope != 0 { _ = node(above.scope).settle() }
        // Settled by what had ended above them before, and attached: one of their clocks may be the one that counts, and who
        // settles the merged context by it does not look up from there.
        for i in 0..<count {
            _ = node(scopes[i]).settle()
            let attached = node(scopes[i]).attach()
            if attached != BELAY_OK {
                giveBack(scopes, count)
                return above.leave(attached)
            }
        }
        guard let record = Links.make(scopes, count) else {
            giveBack(scopes, count)
            return above.leave(BELAY_ENOMEM)
        }
        let clock = earliestClock(above, scopes, count)
        let anchor = Anchor.make(
            above, holding: UInt64(record), marks: Anchor.merged, drop: { Links.free(UInt32(UInt(bitPattern: $0))) })
        if anchor.bits == 0 { return belay_ctx() }
        node(Handle(anchor).index).asValue.pointee.key.set(key)
        let merged = Anchor.hang(anchor, clock: clock, Limit(), marks: 0, as: .createdMerge)
        if merged.bits == 0 { return merged }
        // The first parent's end is pushed to it like the others', so that the first to end is the first to be heard of; of
        // those that have ended already it is the first that counts. Nobody else knows the context yet.
        let scope = node(Handle(merged).index)
        var attached = scope.attach()
        // The first parent's deadline too: the clock that counts now may be moved to later.
        if attached == BELAY_OK && !scope.settle().isDone && above.scope != 0 {
            attached = node(above.scope).clockInEffect.map { Shard.arm($0) } ?? BELAY_OK
        }
        if attached != BELAY_OK { LastStatus.set(attached) }
        if attached == BELAY_OK && Links.register(record, merged) { return merged }
        let status = belay_last_status()
        _ = belay_close(merged)
        return fail(status)
    }

    /// The clock that counts. One that shows another time does not: its deadline comes as its context's end.
    private static func earliestClock(_ above: Parentage, _ scopes: UnsafeMutablePointer<UInt32>, _ count: Int)
        -> UInt32
    {
        var clock = above.clock
        var earliest = clock == 0 ? Clock.never : node(clock).latestBelow
        for i in 0..<count where Clock.isShared(node(scopes[i]).state.runtime, State(above.runtime).runtime) {
            // One that has ended tells why by its link. Its clock may have gone on, and say something else.
            guard !node(scopes[i]).state.isDone, let other = node(scopes[i]).clockInEffect else { continue }
            let deadline = other.pointee.deadline.get()
            if deadline < earliest {
                earliest = deadline
                clock = other.index
            }
        }
        return clock
    }

    // MARK: deadlines that were moved

    /// In the place of a key: the anchor is a merged context's. Another number than `Foreign.key`.
    private static let key: UInt64 = 2

    /// The earliest deadline of a scope and of all above, on whatever way. The caller keeps the scope.
    static func earliestDeadline(above scope: NodePointer) -> Int64 {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: Ways.most) { starts in
            var ways = Ways(starts.baseAddress.unsafelyUnwrapped, from: scope)
            return ways.earliestDeadline()
        }
    }

    fileprivate static func isKey(_ key: UInt64) -> Bool { key == Merge.key }

    // MARK: the end of another parent

    /// Marks the merged context that a link leads to. Under the lock of a push, which sees to the rest by `task.context`:
    /// the index of the context, kept by a reference, or 0 if it is closed; then it is false.
    static func mark(_ task: UnsafeMutablePointer<Task>, from ended: NodePointer) -> Bool {
        let target = Handle(bits: task.pointee.argument.get())
        guard let found = target.find(), found.node.acquire(generation: target.generation) else { return false }
        found.node.inheritAcross(from: ended)
        task.pointee.context.set(UInt64(target.index))
        return true
    }

    /// The same for a parent that has ended already when the link is made.
    static let ended: Registration.Function = { raw in
        let target = Handle(bits: UInt64(UInt(bitPattern: raw)))
        guard let pinned = target.pin() else { return }
        if let source = Links.firstEnded(UInt32(truncatingIfNeeded: pinned.held)) {
            pinned.inheritAcross(from: source)
            pinned.finish()
        }
        pinned.unpin()
    }
}

extension UnsafeMutablePointer where Pointee == Node {
    /// Inherits from a scope that may have another clock: what is below compares its deadlines with our own time.
    fileprivate func inheritAcross(from ended: NodePointer) {
        if !Clock.isShared(ended.state.runtime, state.runtime) {
            _ = pointee.endedAt.compareExchange(expected: 0, desired: Clock.now(in: state.runtime), ordering: .relaxed)
        }
        inherit(from: ended, ended.state)
    }

    fileprivate var isMerged: Bool {
        state.has(State.anchored) && Merge.isKey(node(pointee.parent.get()).asValue.pointee.key.get())
    }
}

/// The ways up from a scope: its own, and those from the other parents of merged contexts on them.
private struct Ways {
    /// From how many parents one looks up. Of those beyond only their own deadlines count.
    static let most = 256

    /// Where they start, each once; there is room for `most`.
    private let starts: UnsafeMutablePointer<UInt32>
    private var count = 1
    private let runtime: UInt32
    private var earliest = Clock.never

    init(_ starts: UnsafeMutablePointer<UInt32>, from scope: NodePointer) {
        self.starts = starts
        starts[0] = scope.index
        runtime = scope.state.runtime
    }

    @inline(never) mutating func earliestDeadline() -> Int64 {
        var next = 0
        while next < count {
            var index = starts[next]
            next += 1
            while index != 0 {
                let current = node(index)
                look(at: current.pointee.clock.get())
                look(at: index)
                if current.isMerged { branch(Links.Walk(UInt32(truncatingIfNeeded: current.held))) }
                index = current.pointee.scope.get()
            }
        }
        return earliest
    }

    private mutating func branch(_ links: Links.Walk) {
        var links = links
        while let (other, _) = links.next() {
            if Merge.contains(starts, count, other.index) { continue }
            if count < Ways.most {
                starts[count] = other.index
                count += 1
            } else if let clock = other.clockInEffect {
                look(at: clock.index)
            }
        }
    }

    @inline(never) private mutating func look(at clock: UInt32) {
        if clock == 0 || !Clock.isShared(node(clock).state.runtime, runtime) { return }
        earliest = min(earliest, node(clock).pointee.deadline.get())
    }
}

/// What a merged context keeps of its other parents: records of three pairs each, a scope and its link.
private enum Links {
    private static let perRecord = 3

    /// Takes over the references on the scopes; nil when there is no memory.
    static func make(_ scopes: UnsafeMutablePointer<UInt32>, _ count: Int) -> UInt32? {
        guard let thread = Thread.current else { return nil }
        var head: UInt32 = 0
        var done = 0
        while done < count {
            let record = thread.takeRecord()
            if record == 0 {
                freeRecords(head)
                return nil
            }
            RecordWords.word(record, 0).pointee.set(UInt64(head))
            for pair in 0..<min(perRecord, count - done) {
                RecordWords.word(record, 1 + pair * 2).pointee.set(UInt64(scopes[done + pair]))
            }
            done += perRecord
            head = record
        }
        return head
    }

    private static func freeRecords(_ head: UInt32) {
        var record = head
        while record != 0 {
            let next = UInt32(RecordWords.word(record, 0).pointee.get())
            freeRecord(record)
            record = next
        }
    }

    /// The scopes, each with the word of its link.
    struct Walk {
        private var record: UInt32
        private var pair = 0

        init(_ head: UInt32) { record = head }

        @inline(never) mutating func next() -> (scope: NodePointer, link: UnsafeMutablePointer<Atomic<UInt64>>)? {
            while record != 0 {
                if pair == perRecord {
                    record = UInt32(RecordWords.word(record, 0).pointee.get())
                    pair = 0
                    continue
                }
                let scope = UInt32(RecordWords.word(record, 1 + pair * 2).pointee.get())
                let link = RecordWords.word(record, 2 + pair * 2)
                pair += 1
                if scope != 0 { return (node(scope), link) }
            }
            return nil
        }
    }

    /// Links the context to each scope. False when there is no memory; what was linked goes with the anchor.
    static func register(_ head: UInt32, _ merged: belay_ctx) -> Bool {
        let target = UnsafeMutableRawPointer(bitPattern: UInt(merged.bits))
        var links = Walk(head)
        while let (scope, link) = links.next() {
            let reg = Registration.add(
                to: scope, Merge.ended, target, flags: Task.inline | Task.waker | Task.link)
            link.pointee.set(reg.bits)
            if reg.bits == 0 { return false }
        }
        return true
    }

    static func firstEnded(_ head: UInt32) -> NodePointer? {
        var links = Walk(head)
        while let (scope, _) = links.next() {
            if scope.settle().isDone { return scope }
        }
        return nil
    }

    /// The anchor goes: nothing below it lives any more. The parents that this lets go may be merged contexts themselves,
    /// whose anchors go inside this call: what they hold is left to the outermost one, so that chains do not recurse.
    static func free(_ head: UInt32) {
        guard let thread = Thread.current else { return letGo(head) }
        append(head, to: thread)
        if thread.pointee.isLettingGo { return }
        thread.pointee.isLettingGo = true
        while thread.pointee.links != 0 {
            let record = thread.pointee.links
            thread.pointee.links = UInt32(RecordWords.word(record, 0).pointee.get())
            RecordWords.word(record, 0).pointee.set(0)
            letGo(record)
        }
        thread.pointee.isLettingGo = false
    }

    /// Puts a chain of records before those that the thread has yet to let go.
    private static func append(_ head: UInt32, to thread: UnsafeMutablePointer<Thread>) {
        var last = head
        while true {
            let next = UInt32(RecordWords.word(last, 0).pointee.get())
            if next == 0 { break }
            last = next
        }
        RecordWords.word(last, 0).pointee.set(UInt64(thread.pointee.links))
        thread.pointee.links = head
    }

    private static func letGo(_ head: UInt32) {
        var links = Walk(head)
        while let (scope, link) = links.next() {
            _ = belay_stop(belay_reg(bits: link.pointee.get()))
            scope.unpin()
        }
        freeRecords(head)
    }
}
