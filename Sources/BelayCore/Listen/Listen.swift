// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// What only listeners need, apart from the node: made for the first of them, one cache line, in the records region.
///
/// | field | guarded by |
/// |---|---|
/// | owners, children, callbacks, descriptor, stripes (to set) | this record's lock |
/// | older, younger | the parent's lock; once the parent's list is taken, the lock of the scope that took it |
/// | entry (the timer) | the lock of the shard it is in |
/// | sleep | nothing: see `Wait` |
///
/// Locks are taken from ancestors down, at most two at a time.
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
        Region.records.pointee.cell(index, as: Listen.self)
    }

    var isTaken: Bool { children.get() & Listen.taken != 0 }
    /// Whose push took the lists.
    var pusher: UInt32 { children.get() & ~Listen.taken }
}

extension UnsafeMutablePointer where Pointee == Node {
    /// The listen record; the node has one and is kept alive by the caller.
    @inline(__always) var listen: UnsafeMutablePointer<Listen> { Listen.at(pointee.listen.load(ordering: .acquiring)) }

    /// The index of the listen record, made if need be; nil when there is no memory. The caller holds a reference; before
    /// it lets go of that, the references word says that there is a record.
    func ensureListen() -> UInt32? {
        guard let index = findOrMakeListen() else { return nil }
        if pointee.references.get() & References.extended == 0 {
            pointee.references.bitwiseOr(References.extended, ordering: .acquiringAndReleasing)
        }
        return index
    }

    private func findOrMakeListen() -> UInt32? {
        let present = pointee.listen.load(ordering: .acquiring)
        if present != 0 { return present }
        guard let thread = Thread.current else { return nil }
        let index = thread.takeRecord()
        if index == 0 { return nil }
        Listen.at(index).pointee.node.set(self.index)
        // Release: the record is whole before anyone finds it.
        let (exchanged, found) = pointee.listen.compareExchange(
            expected: 0, desired: index, ordering: .acquiringAndReleasing)
        if exchanged { return index }
        thread.giveRecord(index)
        return found
    }
}

/// The node is being recycled: nobody listens, nothing is linked.
func freeListen(_ index: UInt32) {
    let listen = Listen.at(index)
    let descriptor = listen.pointee.descriptor.get()
    if descriptor != 0 { Descriptor.close(descriptor) }
    freeStripes(StripeUnit(bits: listen.pointee.stripes.get()))
    freeRecord(index)
}
