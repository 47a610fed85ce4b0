// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// A pool of request data: items of one size, each of which is made once and used again and again. The record stands in
/// static storage, never moves, and is used again by a later pool, so a stale handle always leads to readable memory.
///
/// Where an item can be:
///
/// ```
///            get                       put                  magazine full             depot full
///   made ───────────▶ in use ─────────────────▶ magazine ─────────────────▶ depot ─────────────────▶ released
///                       ▲                       │  ▲    ◀─────────────────  │  │
///                       └─────── get ───────────┘  └──── magazine empty ────┘  └── trim, free ───▶ released
/// ```
///
/// The state word:
///
/// | bits | name | 0 → 1 by | 1 → 0 by |
/// |---|---|---|---|
/// | 63–32 | generation | — | +1 by the one call of free that wins, under the lock |
/// | 31–28 | kind | birth | 0 by that free: no handle matches from then on |
/// | 26 | checked | birth, if the pool was made with BELAY_POOL_CHECKED | the next birth |
/// | 25 | fenced | birth, if the system has no barrier for all threads | the next birth |
/// | 24 | stealing | a thief, under the lock | that thief, before it unlocks |
/// | 7–0 | index | birth | the free that wins |
///
/// While the word is the handle, bit for bit, threads can have a pass for the straight ways of get and put. In every other
/// case the general ways look closer. (Index 0 is nobody's, and no thread has a magazine for it.) What the word has to do
/// with magazines is told in `PoolHandshake.swift`.
struct Pool: ~Copyable {
    // But for the state this line is written at birth only, before the state is.
    let state: Atomic<UInt64>
    /// The hooks, 0 for none, and what they get. For items that are left as they are there is `leaves` in place of one.
    let reset: Atomic<UInt64>
    let owner: Atomic<UInt64>
    let itemBytes: Atomic<UInt64>
    /// How many items a magazine's chain holds.
    let room: Atomic<UInt32>
    /// In the list of free records.
    let nextFree: Atomic<UInt32>
    let make: Atomic<UInt64>
    let drop: Atomic<UInt64>
    /// The most items in existence; `.max` where there is no limit.
    let cap: Atomic<UInt64>
    // The line that is written when an item is made or released.
    /// Items in existence, in use or free, those included that are being made or dropped.
    let items: Atomic<UInt64>
    /// Why the record cannot be used for another pool: the pool is open (1), items exist (1 each), somebody looks for
    /// an item (1 each). Counted up only by whoever knows that it is not 0; whoever brings it to 0 gives the record back,
    /// and acquires what the others released with their decrement.
    let references: Atomic<UInt64>
    /// From an item's block to the item, the block's size, and where a checked item's shadow is.
    let lead: Atomic<UInt64>
    let blockBytes: Atomic<UInt64>
    let shadow: Atomic<UInt64>
    let alignment: Atomic<UInt64>
    /// One thief at a time; held for as long as owners are kept out of their magazines.
    let lock: Lock
    let flags: Atomic<UInt32>
    /// Items in the depot: exact while the pool is at rest.
    let deposited: Atomic<UInt64>

    static let leaves: UInt64 = 1
    static let stealing: UInt64 = 1 << 24
    static let fenced: UInt64 = 1 << 25
    static let checked: UInt64 = 1 << 26

    static let count = UInt32(BELAYCORE_POOLS)
    /// Generations that handles have: the top bit says in a key that it is a pool's.
    static let lastGeneration: UInt64 = 0x7FFF_FFFF
    /// Where the copy of the name stands, and the depot.
    static let nameOffset = 256
    static let nameBytes = 64
    static let depotOffset = 512

    @inline(__always) static func at(_ index: UInt32) -> PoolPointer {
        belaycore_pool(index).unsafelyUnwrapped.assumingMemoryBound(to: Pool.self)
    }
}

typealias PoolPointer = UnsafeMutablePointer<Pool>

extension Handle {
    /// The pool, if there is one: whoever uses it looks whether the state word is the handle's.
    @inline(__always) var poolIndex: UInt32 { UInt32(truncatingIfNeeded: bits) & (Pool.count - 1) }

    /// Why this is not the handle of an open pool; `BELAY_OK` if it is.
    @inline(never) func poolStatus() -> belay_status {
        if Globals.pointer.pointee.forked { return BELAY_EFORK }
        guard kind == Kind.pool, index != 0, index < Pool.count, generation != 0 else { return BELAY_EINVAL }
        let state = Pool.at(index).pointee.state.load(ordering: .acquiring)
        if matches(state) { return BELAY_OK }
        // The generation that a free record carries has not been given out yet.
        return generation < state >> Handle.generationShift ? BELAY_ESTALE : BELAY_EINVAL
    }
}

extension UnsafeMutablePointer where Pointee == Pool {
    @inline(__always) var isChecked: Bool { pointee.flags.get() & UInt32(BELAY_POOL_CHECKED) != 0 }

    var name: UnsafeMutablePointer<CChar> {
        (UnsafeMutableRawPointer(self) + Pool.nameOffset).assumingMemoryBound(to: CChar.self)
    }

    /// One more item may come into existence, and now counts as one; false at the cap.
    func reserveItem() -> Bool {
        let cap = pointee.cap.get()
        var old = pointee.items.get()
        while old < cap {
            let (exchanged, found) = pointee.items.compareExchange(expected: old, desired: old &+ 1, ordering: .relaxed)
            if exchanged { return true }
            old = found
        }
        return false
    }

    /// Gives up a reference; the last one makes the record free for another pool.
    func unreference() {
        // Release: what we wrote comes before the record's next life. Acquire: we may be who starts it.
        if pointee.references.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue != 0 { return }
        if pointee.state.get() >> Handle.generationShift > Pool.lastGeneration { return }
        let globals = Globals.pointer
        globals.pointee.poolLock.lock()
        pointee.nextFree.set(globals.pointee.freePool.get())
        globals.pointee.freePool.set(index)
        globals.pointee.poolLock.unlock()
    }

    @inline(__always) var index: UInt32 {
        let offset = UInt(bitPattern: self) &- UInt(bitPattern: Pool.at(0))
        return UInt32(truncatingIfNeeded: offset / UInt(BELAYCORE_POOL_BYTES))
    }
}

extension Pool {
    /// No handle of before matches.
    borrowing func makeStale() {
        let old = state.get()
        if old >> Handle.kindShift & 15 != Kind.pool { return }
        let next = (old >> Handle.generationShift) + 1
        state.set(next << Handle.generationShift)
    }

    /// In the child of a fork, whose pools are stale: their items are lost. No hook runs: what they would let go of
    /// is the parent process's.
    static func startOver() {
        for index in 1..<count {
            let pool = at(index)
            let generation = pool.pointee.state.get() >> Handle.generationShift
            UnsafeMutableRawPointer(pool).initializeMemory(
                as: UInt8.self, repeating: 0, count: Int(BELAYCORE_POOL_BYTES))
            pool.pointee.state.set(generation << Handle.generationShift)
            Thread.forEach { thread in
                guard let magazine = thread.poolMagazine(index) else { return }
                magazine.startOver()
            }
        }
        Globals.pointer.pointee.forgetPools()
    }
}
