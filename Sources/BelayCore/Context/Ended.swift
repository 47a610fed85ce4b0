// SPDX-License-Identifier: Apache-2.0

/// Scopes that have ended and have listeners to be told. Each is kept by a reference, and its runtime expects
/// something.
struct Ended {
    private(set) var head: UInt32 = 0
    private(set) var last: UInt32 = 0

    init() {}
    init(head: UInt32, last: UInt32) { (self.head, self.last) = (head, last) }

    mutating func add(_ index: UInt32) {
        if head == 0 { last = index }
        Listen.at(index).pointee.older.set(head)
        head = index
    }

    /// A scope that was pushed to, and that leaves its parent's list with this: not before all below it reads as done,
    /// because who pushes to the parent and does not find it there does not wait for it.
    mutating func add(leaving scope: NodePointer) {
        scope.detach()
        // Only now: the links here are those of the list that it has just left.
        scope.retain()
        add(scope.pointee.listen.get())
    }

    /// A merged context whose link was worked off, and who listens below it. Its reference is given up.
    private mutating func add(_ merged: Links.Marked) {
        if merged.isPushed { add(leaving: merged.scope) }
        if merged.below.head != 0 {
            Listen.at(merged.below.last).pointee.older.set(head)
            head = merged.below.head
        }
        merged.scope.release()
    }

    /// Tells them, with no lock held: first all who sleep, then the executor; inline callbacks, which may take their
    /// time, come last. Those below merged contexts join them on the way.
    mutating func deliver() {
        if head == 0 { return }
        var outbox = Registration.Outbox()
        while head != 0 {
            let listen = Listen.at(head)
            let ended = node(listen.pointee.node.get())
            head = listen.pointee.older.get()
            listen.pointee.wakeSleepers()
            let descriptor = listen.pointee.descriptor.get()
            if descriptor != 0 { Descriptor.fill(descriptor) }
            if ended.state.has(State.armed) { Shard.disarm(listen) }
            var callback = listen.pointee.callbacks.get()
            while callback != 0 {
                let task = Task.at(callback)
                callback = task.pointee.entry.next.get()
                if task.pointee.state.get() & Task.link != 0 {
                    let merged = Links.marked(task)
                    Registration.retire(task)
                    if let merged { add(merged) }
                } else {
                    Registration.dispatch(task, to: &outbox)
                }
            }
            // Its callbacks are counted by now.
            Executor.arrived(ended.state.runtime)
            ended.release()
        }
        outbox.send()
    }
}
