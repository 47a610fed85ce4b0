// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// A thread's magazines, one word for each pool, and its counters behind them.
struct PoolTable {
    private let base: UnsafeMutableRawPointer

    private static let countersOffset = Int(BELAYCORE_POOLS) * 8
    static let bytes = countersOffset + MemoryLayout<PoolCounters>.size

    @inline(__always) init(_ base: UnsafeMutableRawPointer) { self.base = base }

    /// The calling thread's. (Nobody looks whether there is one: where a thread has none there is one that is empty.)
    @inline(__always) static var own: PoolTable { PoolTable(belaycore_magazines().unsafelyUnwrapped) }

    /// The thread's magazine for a pool; nil if it has none yet.
    @inline(__always) subscript(_ index: UInt32) -> PoolMagazinePointer? {
        PoolMagazinePointer(bitPattern: word(index).pointee.get())
    }

    @inline(__always) func word(_ index: UInt32) -> UnsafeMutablePointer<Atomic<UInt>> {
        base.assumingMemoryBound(to: Atomic<UInt>.self) + Int(index)
    }

    @inline(__always) var counters: UnsafeMutablePointer<PoolCounters> {
        (base + PoolTable.countersOffset).assumingMemoryBound(to: PoolCounters.self)
    }
}

/// What a thread did, ever, in all pools; written by the thread only. Items that it got: from what there was, and those that had to be made.
struct PoolCounters: ~Copyable {
    let hits: Atomic<UInt64>
    let misses: Atomic<UInt64>

    @inline(__always) borrowing func countHit() { hits.set(hits.get() &+ 1) }
    @inline(__always) borrowing func countMiss() { misses.set(misses.get() &+ 1) }
}

extension UnsafeMutablePointer where Pointee == Thread {
    /// The table of any thread; nil if it never used a pool. Acquire: partner of the release in `makePoolMagazine`.
    var poolTable: PoolTable? {
        UnsafeMutableRawPointer(bitPattern: pointee.poolMagazines.load(ordering: .acquiring)).map { PoolTable($0) }
    }

    /// The magazine of any thread for a pool.
    func poolMagazine(_ index: UInt32) -> PoolMagazinePointer? {
        guard let table = poolTable else { return nil }
        // Acquire: partner of the other release there.
        return PoolMagazinePointer(bitPattern: table.word(index).pointee.load(ordering: .acquiring))
    }

    /// The calling thread's magazine for the pool of a handle, made if need be, with a pass if it can have one; nil
    /// when there is no memory. For the general ways.
    @inline(never) func poolMagazine(for handle: Handle) -> PoolMagazinePointer? {
        guard let magazine = PoolTable.own[handle.poolIndex] ?? makePoolMagazine(handle.poolIndex) else { return nil }
        if magazine.pointee.pass.get() != handle.bits { magazine.askForPass(handle) }
        return magazine
    }

    private func makePoolMagazine(_ index: UInt32) -> PoolMagazinePointer? {
        if pointee.poolMagazines.get() == 0 {
            guard let table = belaycore_allocate(PoolTable.bytes) else { return nil }
            belaycore_fill(table, 0, PoolTable.bytes)
            pointee.poolMagazines.store(UInt(bitPattern: table), ordering: .releasing)
            belaycore_set_magazines(table)
        }
        guard let made = belaycore_allocate(PoolMagazine.bytes) else { return nil }
        belaycore_fill(made, 0, PoolMagazine.bytes)
        PoolTable.own.word(index).pointee.store(UInt(bitPattern: made), ordering: .releasing)
        return made.assumingMemoryBound(to: PoolMagazine.self)
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
