// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// What only listeners need, apart from the node: made for the first of them, one cache line, in a region of its own.
///
/// The lock outlives the record: it is a lock in the record's next life too, and never set to anything. So whoever has
/// read a node's record may take its lock without keeping the node, and see then whether it still is that node's.
///
/// | field | guarded by |
/// |---|---|
/// | owners, children, callbacks, descriptor, stripes (to set) | this record's lock |
/// | older, younger | the parent's lock; once the parent's list is taken, the lock of the scope that took it |
/// | entry (the timer) | the lock of the shard it is in |
/// | sleep | nothing: see `Wait` |
///
/// Locks are taken from ancestors down, parents of merged contexts included, and after the one of `LinkPushes`. A push
/// has two at a time, and for a moment that of a merged context.
struct Listen: ~Copyable {
    let lock: Lock
    /// What waiters sleep on: 2 while one may sleep, 1 once they were woken.
    let sleep: Atomic<UInt32>
    /// The node this belongs to.
    let node: Atomic<UInt32>
    /// Owners beyond the first.
    let owners: Atomic<UInt32>
    let entry: WheelEntry
    /// Neighbours in the parent's list of attached children: the next, and the one before. `younger` is `atHead` in the
    /// first, 0 when the node is in no list.
    let older: Atomic<UInt32>
    let younger: Atomic<UInt32>
    /// The first attached child; once the end was pushed, `taken` with the record of the scope that pushed it.
    let children: Atomic<UInt32>
    /// The first registration.
    let callbacks: Atomic<UInt32>
    /// The done descriptor + 1.
    let descriptor: Atomic<UInt32>
    let stripes: Atomic<UInt64>

    static let atHead: UInt32 = 1 << 31
    static let taken: UInt32 = 1 << 31

    @inline(__always) static func at(_ index: UInt32) -> UnsafeMutablePointer<Listen> {
        Region.listens.pointee.cell(index, as: Listen.self)
    }

    /// Acquire: for those who have the lock but no hold on the node. What they look at next, the node's generation or a
    /// task's phase, is then at least as new as this (release in `clear`).
    var isTaken: Bool { children.load(ordering: .acquiring) & Listen.taken != 0 }
    /// Whose push took the lists.
    var pusher: UInt32 { children.get() & ~Listen.taken }
}

extension UnsafeMutablePointer where Pointee == Node {
    /// The listen record; the node has one and is kept alive by the caller.
    @inline(__always) var listen: UnsafeMutablePointer<Listen> { Listen.at(pointee.listen.load(ordering: .acquiring)) }

    /// The index of the listen record, made if need be; nil when there is no memory. The caller holds a reference;
    /// before it lets go of that, the references word says that there is a record, and perhaps more.
    @inline(__always) func ensureListen(marks: UInt64 = References.extended) -> UInt32? {
        let present = pointee.listen.load(ordering: .acquiring)
        let index = present == 0 ? makeListen() : present
        if index == 0 { return nil }
        if pointee.references.get() & marks != marks {
            pointee.references.bitwiseOr(marks, ordering: .acquiringAndReleasing)
        }
        return index
    }

    /// The same for somebody who is about to register a callback.
    @inline(__always) func ensureHeard() -> UInt32? { ensureListen(marks: References.extended | References.heard) }

    /// The index of the record, which somebody else may have made meanwhile; 0 when there is no memory.
    @inline(never) private func makeListen() -> UInt32 {
        guard let thread = Thread.current else { return 0 }
        let index = thread.pointee.listens.take(Region.listens.pointee)
        if index == 0 { return 0 }
        Listen.at(index).clear(for: self.index)
        // Release: the record is whole before anyone finds it.
        let (exchanged, found) = pointee.listen.compareExchange(
            expected: 0, desired: index, ordering: .acquiringAndReleasing)
        if exchanged { return index }
        thread.pointee.listens.give(index, Region.listens.pointee)
        return found
    }
}

extension UnsafeMutablePointer where Pointee == Listen {
    /// As new, for this node; all but the lock, which somebody who came too late may have.
    fileprivate func clear(for node: UInt32) {
        // First, and with release: whoever finds it in the state of a new record finds the old one's node gone.
        pointee.children.store(0, ordering: .releasing)
        pointee.sleep.set(0)
        pointee.node.set(node)
        pointee.owners.set(0)
        pointee.entry.place.set(0)
        pointee.older.set(0)
        pointee.younger.set(0)
        pointee.callbacks.set(0)
        pointee.descriptor.set(0)
        pointee.stripes.set(0)
    }
}

/// The node is being recycled: nobody listens, nothing is linked.
func freeListen(_ index: UInt32) {
    let listen = Listen.at(index)
    let descriptor = listen.pointee.descriptor.get()
    if descriptor != 0 { Descriptor.close(descriptor) }
    freeStripes(StripeUnit(bits: listen.pointee.stripes.get()))
    if let thread = Thread.current {
        thread.pointee.listens.give(index, Region.listens.pointee)
    } else {
        Region.listens.pointee.giveChain(Chain(head: index, count: 1))
    }
}
