// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// A thread's own stock of one pool's free items: a chain in use and a spare one. Its owner takes and gives without a
/// locked instruction; yet a *thief* (trim, free, a get at the cap) can empty it: see `PoolHandshake.swift`. One cache
/// line, in which is all that the straight ways look at of the pool.
struct PoolMagazine: ~Copyable {
    let busy: Atomic<UInt32>
    let count: Atomic<UInt32>
    /// The handle of the pool whose straight ways may enter. In any other case there is something else: 0, an older pool's
    /// handle, or one with `suspended` turned round. Written under the pool's lock.
    let pass: Atomic<UInt64>
    /// The item that was given last, 0 for none. It stands apart from the chain: a thread that takes and gives one item
    /// at a time then never follows a link.
    let first: Atomic<UInt>
    /// The chain in use, of `count` items, and the spare one.
    let head: Atomic<UInt>
    let spare: Atomic<UInt>
    let spareCount: Atomic<UInt32>
    /// With the pass: 1 where items come back as they were left (BELAY_POOL_AS_LEFT).
    let leaves: Atomic<UInt32>
    static let bytes = 64
    /// A bit of the pool's index.
    static let suspended: UInt64 = 1

    /// How many items a chain holds: about 64 KiB, because what a thread keeps no other thread has.
    static func room(itemBytes: Int) -> UInt32 { UInt32(min(max((1 << 16) / itemBytes, 2), 64)) }
}

typealias PoolMagazinePointer = UnsafeMutablePointer<PoolMagazine>

/// What the owner does inside, and a thief at (D).
extension UnsafeMutablePointer where Pointee == PoolMagazine {
    /// The item that was given last, taken out; 0 if there is none. Does not look at the spare chain.
    @inline(__always) func take() -> UInt {
        let first = pointee.first.get()
        if first != 0 {
            pointee.first.set(0)
            return first
        }
        let item = pointee.head.get()
        if item != 0 {
            pointee.head.set(PoolItem.link(item).pointee.get())
            pointee.count.set(pointee.count.get() &- 1)
        }
        return item
    }

    /// False if there is no room.
    @inline(__always) func give(_ item: UInt, _ pool: PoolPointer) -> Bool {
        let first = pointee.first.get()
        if first != 0 {
            let count = pointee.count.get()
            if count >= pool.pointee.room.get() { return false }
            PoolItem.link(first).pointee.set(pointee.head.get())
            pointee.head.set(first)
            pointee.count.set(count &+ 1)
        }
        pointee.first.set(item)
        return true
    }

    /// How many items are here. For others than the owner near enough.
    var freeItems: UInt64 {
        UInt64(pointee.count.get()) + UInt64(pointee.spareCount.get()) + (pointee.first.get() != 0 ? 1 : 0)
    }

    /// Makes the chain in use hold an item, if there is one to be had without stealing.
    func refill(_ pool: PoolPointer) {
        if pointee.spareCount.get() != 0 {
            load(pointee.spare.get(), pointee.spareCount.get())
            setSpare(0, 0)
        } else if let (chain, count) = PoolDepot.pop(pool, start: depotStart) {
            load(chain, count)
        }
    }

    /// Makes the chain in use empty. What finds no room goes to `rest`.
    func makeRoom(_ pool: PoolPointer, _ rest: inout PoolList) {
        depose(pointee.spare.get(), pointee.spareCount.get(), pool, &rest)
        setSpare(pointee.head.get(), pointee.count.get())
        load(0, 0)
    }

    func empty(into pool: PoolPointer, _ rest: inout PoolList) {
        let first = pointee.first.get()
        if first != 0 {
            PoolItem.link(first).pointee.set(pointee.head.get())
            load(first, pointee.count.get() &+ 1)
            pointee.first.set(0)
        }
        depose(pointee.head.get(), pointee.count.get(), pool, &rest)
        depose(pointee.spare.get(), pointee.spareCount.get(), pool, &rest)
        load(0, 0)
        setSpare(0, 0)
    }

    private func depose(_ chain: UInt, _ count: UInt32, _ pool: PoolPointer, _ rest: inout PoolList) {
        if chain != 0 { PoolDepot.push(pool, chain, count: count, start: depotStart, orTo: &rest) }
    }

    /// In the child of a fork: nothing is here.
    func startOver() {
        pointee.busy.set(0)
        pointee.pass.set(0)
        pointee.first.set(0)
        load(0, 0)
        setSpare(0, 0)
    }

    /// Takes all that the magazine holds.
    func seize(_ list: inout PoolList) {
        list.add(takeFirst())
        list.add(pointee.head.get())
        list.add(pointee.spare.get())
        load(0, 0)
        setSpare(0, 0)
    }

    /// Takes one chain from another magazine into this one, which is empty.
    func rob(_ other: PoolMagazinePointer) {
        let first = other.takeFirst()
        if first != 0 {
            load(first, 1)
        } else if other.pointee.count.get() != 0 {
            load(other.pointee.head.get(), other.pointee.count.get())
            other.load(0, 0)
        } else {
            load(other.pointee.spare.get(), other.pointee.spareCount.get())
            other.setSpare(0, 0)
        }
    }

    /// The first item as a chain of its own; 0 if there is none.
    private func takeFirst() -> UInt {
        let first = pointee.first.get()
        if first != 0 { PoolItem.link(first).pointee.set(0) }
        pointee.first.set(0)
        return first
    }

    private func load(_ chain: UInt, _ count: UInt32) {
        pointee.head.set(chain)
        pointee.count.set(count)
    }

    private func setSpare(_ chain: UInt, _ count: UInt32) {
        pointee.spare.set(chain)
        pointee.spareCount.set(count)
    }

    /// Magazines of different threads stand at different addresses.
    private var depotStart: Int { Int(UInt(bitPattern: self) >> 10 & 63) }
}
