// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// A thread's own stock of one pool's free items: a chain in use and a spare one. Its owner takes and gives without a
/// locked instruction; yet a *thief* (trim, free, a get at the cap) can empty it. One cache line.
///
/// ### Why an owner and a thief are never in a magazine together
///
/// It is Dekker's handshake, with its cost on one side.
///
/// | owner | thief, with the pool's lock held |
/// |---|---|
/// | (1) `busy` := 1 | (A) the state word := stealing, or stale |
/// | (2) compiler barrier | (B) barrier on all threads |
/// | (3) reads the state word | (C) reads `busy` until it is 0 (acquire), in each magazine |
/// | (4) if it is as expected, works | (D) works |
/// | (5) `busy` := 0 (release) | (E) takes *stealing* off (release), unlocks |
///
/// The barrier (B) makes every thread execute a full barrier at some point between (B)'s begin and end (`Barrier`). Call
/// that point of the owner P. If the owner's load (3) comes after P, it sees (A), and the owner leaves without having
/// touched anything. If (3) comes before P then so does (1), because the compiler kept their order and P keeps the
/// processor's: so (1) is visible to (C), and the thief waits for (5). There is no third case. (5) releases and (C)
/// acquires: the thief sees what the owner did. (E) releases and (3) acquires: so does the owner see what the thief did, in its next turn that gets as far as (4).
///
/// A magazine that a thread makes during all this is found or not needed: its table entry is written before (1) with
/// release, so what holds of (1) holds of it.
///
/// Where the system has no such barrier (B) is a fence, every state word says *fenced*, and so each owner fails at (3),
/// goes the slow way, and executes a fence at (2): the textbook's handshake, with one locked instruction.
///
/// An owner that finds *stealing* waits for the lock, which the thief gives up soon: it waits for owners in (4) alone,
/// and those run no user code, take no lock and wait for nobody. A thief holds no item between (D) and (E) that others
/// should find. So a get that finds nothing anywhere has looked everywhere.
struct PoolMagazine: ~Copyable {
    let busy: Atomic<UInt32>
    let count: Atomic<UInt32>
    /// The item that was given last, 0 for none. It stands apart from the chain: a thread that takes and gives one item
    /// at a time then never follows a link.
    let first: Atomic<UInt>
    /// The chain in use, of `count` items, and the spare one.
    let head: Atomic<UInt>
    let spare: Atomic<UInt>
    let spareCount: Atomic<UInt32>
    static let bytes = 64

    /// How many items a chain holds: about 64 KiB, because what a thread keeps no other thread has.
    static func room(itemBytes: Int) -> UInt32 { UInt32(min(max((1 << 16) / itemBytes, 2), 64)) }

    /// The calling thread's magazine for a pool; nil if it has none yet.
    @inline(__always) static func own(_ index: UInt32) -> PoolMagazinePointer? {
        at(belaycore_magazines().unsafelyUnwrapped, index).pointee.get().magazine
    }

    private static let countersOffset = Int(BELAYCORE_POOLS) * 8
    fileprivate static let tableBytes = countersOffset + MemoryLayout<PoolCounters>.size

    /// Counters stand behind the table.
    @inline(__always) fileprivate static func counters(_ table: UnsafeMutableRawPointer)
        -> UnsafeMutablePointer<PoolCounters>
    {
        (table + countersOffset).assumingMemoryBound(to: PoolCounters.self)
    }

    @inline(__always) fileprivate static func at(_ table: UnsafeMutableRawPointer, _ index: UInt32)
        -> UnsafeMutablePointer<Atomic<UInt>>
    {
        table.assumingMemoryBound(to: Atomic<UInt>.self) + Int(index)
    }
}

/// What a thread did, ever, in all pools; written by the thread only. Items got, and those of them that had to be made.
struct PoolCounters: ~Copyable {
    let gets: Atomic<UInt64>
    let misses: Atomic<UInt64>

    /// The calling thread's, which has a magazine already.
    @inline(__always) static var own: UnsafeMutablePointer<PoolCounters> {
        PoolMagazine.counters(belaycore_magazines().unsafelyUnwrapped)
    }

    @inline(__always) borrowing func countGet() { gets.set(gets.get() &+ 1) }
    @inline(__always) borrowing func countMiss() { misses.set(misses.get() &+ 1) }
}

typealias PoolMagazinePointer = UnsafeMutablePointer<PoolMagazine>

extension UInt {
    @inline(__always) fileprivate var magazine: PoolMagazinePointer? { PoolMagazinePointer(bitPattern: self) }
}

extension UnsafeMutablePointer where Pointee == Thread {
    /// The magazine of any thread for a pool. Acquire: partners of the releases in `makePoolMagazine`.
    func poolMagazine(_ index: UInt32) -> PoolMagazinePointer? {
        guard let table = UnsafeMutableRawPointer(bitPattern: pointee.poolMagazines.load(ordering: .acquiring)) else {
            return nil
        }
        return PoolMagazine.at(table, index).pointee.load(ordering: .acquiring).magazine
    }

    /// The counters of any thread; nil if it never used a pool.
    var poolCounters: UnsafeMutablePointer<PoolCounters>? {
        UnsafeMutableRawPointer(bitPattern: pointee.poolMagazines.load(ordering: .acquiring)).map {
            PoolMagazine.counters($0)
        }
    }

    /// The calling thread's magazine for a pool, made if need be; nil when there is no memory.
    @inline(never) func makePoolMagazine(_ index: UInt32) -> PoolMagazinePointer? {
        if let magazine = PoolMagazine.own(index) { return magazine }
        if pointee.poolMagazines.get() == 0 {
            guard let table = belaycore_allocate(PoolMagazine.tableBytes) else { return nil }
            belaycore_fill(table, 0, PoolMagazine.tableBytes)
            pointee.poolMagazines.store(UInt(bitPattern: table), ordering: .releasing)
            belaycore_set_magazines(table)
        }
        guard let made = belaycore_allocate(PoolMagazine.bytes) else { return nil }
        belaycore_fill(made, 0, PoolMagazine.bytes)
        PoolMagazine.at(belaycore_magazines().unsafelyUnwrapped, index).pointee
            .store(UInt(bitPattern: made), ordering: .releasing)
        return PoolMagazine.own(index)
    }

    /// The thread ends: what its magazines hold goes to the depots, and what has no room there is released.
    func emptyPoolMagazines() {
        for index in 0...Globals.pointer.pointee.poolCount.get() {
            guard let magazine = poolMagazine(index), magazine.freeItems != 0 else { continue }
            let pool = Pool.at(index)
            var rest = PoolList()
            // If the pool was freed, whoever freed it has emptied the magazine, or is about to.
            guard magazine.enterAny(pool) else { continue }
            magazine.empty(into: pool, &rest)
            magazine.leave()
            // The items keep the pool's record.
            pool.release(rest)
        }
    }
}

extension UnsafeMutablePointer where Pointee == PoolMagazine {
    // MARK: the owner's side of the handshake

    /// Steps (1) to (3). Having said true, the caller does (4) and calls `leave`.
    @inline(__always) func enter(_ pool: PoolPointer, expecting handle: Handle) -> Bool {
        pointee.busy.set(1)
        belaycore_compiler_barrier()
        if pool.pointee.state.load(ordering: .acquiring) == handle.bits { return true }
        leave()
        return false
    }

    @inline(__always) func leave() { pointee.busy.store(0, ordering: .releasing) }

    /// The same with a fence, whatever flags the pool has. Waits for thieves. False if the handle is not the pool's.
    func enterSlowly(_ pool: PoolPointer, _ handle: Handle) -> Bool {
        while true {
            let state = beginSlowly(pool)
            if !handle.matches(state) { break }
            if state & Pool.stealing == 0 { return true }
            awaitThief(pool)
        }
        leave()
        return false
    }

    /// The same for whatever pool has the record now; false if it is none.
    fileprivate func enterAny(_ pool: PoolPointer) -> Bool {
        while true {
            let state = beginSlowly(pool)
            if state >> Handle.kindShift & 15 != Kind.pool { break }
            if state & Pool.stealing == 0 { return true }
            awaitThief(pool)
        }
        leave()
        return false
    }

    private func beginSlowly(_ pool: PoolPointer) -> UInt64 {
        pointee.busy.set(1)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        return pool.pointee.state.load(ordering: .acquiring)
    }

    private func awaitThief(_ pool: PoolPointer) {
        leave()
        pool.pointee.lock.lock()
        pool.pointee.lock.unlock()
    }

    /// Step (C) for one magazine.
    func awaitOwner() { Barrier.awaitOwner(pointee.busy) }

    // MARK: items, for the owner inside and for a thief at (D)

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

    fileprivate func empty(into pool: PoolPointer, _ rest: inout PoolList) {
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
