// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// What magazines trade chains of free items through: a fixed row of words, each 0 or the first item of one chain.
///
/// A push is a compare-and-swap from 0, a pop an exchange with 0. So whoever looks at an item of the depot has taken
/// its chain out before, and owns it; nothing is read that another thread might be taking, and a word that went from
/// one chain to another and back (ABA) means nothing to anybody. The push releases, the pop acquires: the header's
/// words, and what the last user and the reset hook wrote.
///
/// Used only from inside a magazine (`PoolMagazine.enter`) or with the pool's lock held: so a thief who has awaited all
/// owners finds it still.
enum PoolDepot {
    static let slots = 64

    private static func slot(_ pool: PoolPointer, _ position: Int) -> UnsafeMutablePointer<Atomic<UInt>> {
        (UnsafeMutableRawPointer(pool) + Pool.depotOffset).assumingMemoryBound(to: Atomic<UInt>.self)
            + (position & (slots - 1))
    }

    /// False if there is no room. `start` spreads the threads over the row.
    static func push(_ pool: PoolPointer, _ chain: UInt, count: UInt32, start: Int) -> Bool {
        PoolItem.tag(chain).pointee.set(UInt64(count) << 32 | PoolItem.free)
        for position in start..<start + slots {
            let slot = slot(pool, position)
            if slot.pointee.get() == 0
                && slot.pointee.compareExchange(expected: 0, desired: chain, ordering: .releasing).exchanged
            {
                pool.pointee.deposited.wrappingAdd(UInt64(count), ordering: .relaxed)
                return true
            }
        }
        return false
    }

    /// The same; what finds no room goes to `rest`. Threads that come and go may fill the row with short chains: so
    /// then this one is joined with one of them.
    static func push(_ pool: PoolPointer, _ chain: UInt, count: UInt32, start: Int, orTo rest: inout PoolList) {
        var (chain, count, position) = (chain, count, start)
        while !push(pool, chain, count: count, start: position) {
            position += 1
            guard position - start <= slots else { return rest.add(chain) }
            guard let (other, length) = pop(pool, start: position) else { continue }
            if length + count <= pool.pointee.room.get() {
                join(other, chain)
                (chain, count) = (other, length + count)
            } else if !push(pool, other, count: length, start: position) {
                // Another thread has taken its place meanwhile.
                rest.add(other)
            }
        }
    }

    private static func join(_ chain: UInt, _ next: UInt) {
        var last = chain
        while PoolItem.link(last).pointee.get() != 0 { last = PoolItem.link(last).pointee.get() }
        PoolItem.link(last).pointee.set(next)
        PoolItem.tag(next).pointee.set(PoolItem.free)
    }

    /// A chain and its length; nil if there is none.
    static func pop(_ pool: PoolPointer, start: Int) -> (chain: UInt, count: UInt32)? {
        for position in start..<start + slots {
            let slot = slot(pool, position)
            if slot.pointee.get() == 0 { continue }
            let chain = slot.pointee.exchange(0, ordering: .acquiring)
            if chain == 0 { continue }
            let count = PoolItem.tag(chain).pointee.get() >> 32
            pool.pointee.deposited.wrappingSubtract(count, ordering: .relaxed)
            return (chain, UInt32(truncatingIfNeeded: count))
        }
        return nil
    }
}
