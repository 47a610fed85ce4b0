// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// What a merged context keeps of its other parents: records of three pairs each, a scope and its *link*, a
/// registration that ends the merged context where that parent ends.
///
/// A push marks what is linked under the same lock under which it marks children; what is attached below it is pushed
/// to before the call returns (`LinkPushes`), in a loop, because merges of merges may be as long as chains are.
enum Links {
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
                to: scope, ended, target, flags: Task.inline | Task.waker | Task.link)
            link.pointee.set(reg.bits)
            if reg.bits == 0 { return false }
        }
        return true
    }

    // MARK: the end of another parent

    // A link's task while its parent is pushed to. `context` is 0 until the merged context is marked, then its index,
    // which a reference is kept for; with `pushed` if the list of its children was taken through this link. Then
    // `argument`, until then its handle, has those below it that are to be told: the first, and in the upper half the
    // last.
    private static let pushed: UInt64 = 1 << 32

    /// Marks the merged context that a link leads to. Under the lock of a push. False if it is closed.
    static func mark(_ task: UnsafeMutablePointer<Task>, from ended: NodePointer) -> Bool {
        let target = Handle(bits: task.pointee.argument.get())
        guard let found = target.find(), found.node.acquire(generation: target.generation) else { return false }
        found.node.inheritAcross(from: ended)
        task.pointee.context.set(UInt64(target.index))
        return true
    }

    /// Pushes to what is below a merged context that is marked. Under the lock of `LinkPushes`.
    static func push(_ task: UnsafeMutablePointer<Task>) {
        let merged = node(UInt32(truncatingIfNeeded: task.pointee.context.get()))
        var below = Ended()
        guard merged.state.has(State.attached), merged.push(into: &below) != nil else { return }
        task.pointee.context.set(task.pointee.context.get() | pushed)
        task.pointee.argument.set(UInt64(below.last) << 32 | UInt64(below.head))
    }

    /// A merged context that was marked through a link.
    struct Marked {
        /// Kept by a reference.
        let scope: NodePointer
        /// Whether the list of its children was taken through this link, and who of those below is to be told.
        let isPushed: Bool
        let below: Ended
    }

    /// For whoever pushed to the parent, when all links are worked off. Nil if the merged context is closed.
    static func marked(_ task: UnsafeMutablePointer<Task>) -> Marked? {
        let context = task.pointee.context.get()
        if context == 0 { return nil }
        let isPushed = context & pushed != 0
        let bits = isPushed ? task.pointee.argument.get() : 0
        let below = Ended(head: UInt32(truncatingIfNeeded: bits), last: UInt32(bits >> 32))
        return Marked(scope: node(UInt32(truncatingIfNeeded: context)), isPushed: isPushed, below: below)
    }

    /// What a link runs at once for a parent that has ended already when the link is made.
    private static let ended: Registration.Function = { raw in
        let target = Handle(bits: UInt64(UInt(bitPattern: raw)))
        guard let pinned = target.pin() else { return }
        if let source = Links.firstEnded(UInt32(truncatingIfNeeded: pinned.held)) {
            pinned.inheritAcross(from: source)
            pinned.finish()
        }
        pinned.unpin()
    }

    private static func firstEnded(_ head: UInt32) -> NodePointer? {
        var links = Walk(head)
        while let (scope, _) = links.next() {
            if scope.settle().isDone { return scope }
        }
        return nil
    }

    // MARK: the end of the anchor

    /// The anchor goes: nothing below it lives any more. The parents that this lets go may be merged contexts
    /// themselves, whose anchors go inside this call: what they hold is left to the outermost one, so that chains do
    /// not recurse.
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

extension UnsafeMutablePointer where Pointee == Node {
    /// Inherits from a scope that may have another clock: what is below compares its deadlines with our own time.
    fileprivate func inheritAcross(from ended: NodePointer) {
        if !Clock.isShared(ended.state.runtime, state.runtime) {
            _ = pointee.endedAt.compareExchange(expected: 0, desired: Clock.now(in: state.runtime), ordering: .relaxed)
        }
        inherit(from: ended, ended.state)
    }
}
