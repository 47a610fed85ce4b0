// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// A region is address space for cells of 64 bytes of one family. It is reserved once, committed as it grows, and never
/// unmapped or moved; a cell is recycled within its family for ever. So an index always leads to readable memory of
/// the right shape, however stale it is.
///
/// | region | cells | first words |
/// |---|---|---|
/// | contexts | scopes, values, detached, roots, lite contexts | state, references |
/// | tasks | registrations, timers, groups and their tasks | state |
/// | records | causes, key tries, periods of timers, foreign parents, links of merges, watches | no handle ever leads here |
/// | stripes | units of eight stripes | generation and count |
/// | listens | listen records | the lock, which outlives them |
///
/// Cells go between a thread's magazine and the region's depot in chains of `Magazine.capacity`, so the depot's lock is
/// taken once for many cells.
struct Region: ~Copyable {
    /// Address of cell 0; zero until the first use.
    let base: Atomic<UInt>
    /// Cells below this index are committed and carved. Handles from here up are forged. Zero in a forked child, which
    /// makes every handle fail at no cost to the fast path.
    let limit: Atomic<UInt32>
    private let lock: Lock
    /// Below: guarded by `lock`. Cells handed out so far, committed, and reserved.
    let carved: Atomic<UInt32>
    let committed: Atomic<UInt32>
    private let reserved: Atomic<UInt32>
    /// Chains of free cells; the first cell of each links to the next chain.
    private let depot: Atomic<UInt32>

    static let cellBytes = 64

    /// The row of the table above, by the number of its storage.
    enum Family: UInt32 {
        case contexts = 0
        case tasks = 1
        case records = 2
        case stripes = 3
        case listens = 4
    }

    @inline(__always) static var contexts: UnsafeMutablePointer<Region> { of(.contexts) }
    @inline(__always) static var tasks: UnsafeMutablePointer<Region> { of(.tasks) }
    @inline(__always) static var records: UnsafeMutablePointer<Region> { of(.records) }
    @inline(__always) static var stripes: UnsafeMutablePointer<Region> { of(.stripes) }
    @inline(__always) static var listens: UnsafeMutablePointer<Region> { of(.listens) }

    @inline(__always) private static func of(_ family: Family) -> UnsafeMutablePointer<Region> {
        belaycore_region(family.rawValue).unsafelyUnwrapped.assumingMemoryBound(to: Region.self)
    }

    static func forEach(_ body: (Family, UnsafeMutablePointer<Region>) -> Void) {
        var number: UInt32 = 0
        while let family = Family(rawValue: number) {
            body(family, of(family))
            number += 1
        }
    }

    /// The cell of a live or once live index, as whatever it is.
    @inline(__always) borrowing func cell<T: ~Copyable>(_ index: UInt32, as type: T.Type) -> UnsafeMutablePointer<T> {
        cell(UInt64(index), as: type)
    }

    @inline(__always) borrowing func cell<T: ~Copyable>(_ index: UInt64, as type: T.Type) -> UnsafeMutablePointer<T> {
        UnsafeMutableRawPointer(bitPattern: base.get() &+ UInt(index) &* UInt(Region.cellBytes)).unsafelyUnwrapped
            .assumingMemoryBound(to: T.self)
    }

    @inline(__always) borrowing func index<T: ~Copyable>(of cell: UnsafeMutablePointer<T>) -> UInt32 {
        UInt32(truncatingIfNeeded: (UInt(bitPattern: cell) &- base.get()) / UInt(Region.cellBytes))
    }

    /// Base and limit, for a caller that looks at several cells: read once.
    struct Extent {
        let base: UInt
        let limit: UInt32

        @inline(__always) func cell<T: ~Copyable>(_ index: UInt32, as type: T.Type) -> UnsafeMutablePointer<T> {
            UnsafeMutableRawPointer(bitPattern: base &+ UInt(index) &* UInt(Region.cellBytes)).unsafelyUnwrapped
                .assumingMemoryBound(to: T.self)
        }
    }

    var extent: Extent {
        @inline(__always) borrowing get {
            // Acquire: an index below the limit has its base and its memory.
            let limit = limit.load(ordering: .acquiring)
            return Extent(base: base.get(), limit: limit)
        }
    }

    // MARK: chains

    /// A chain of free cells: one that was given back, or `length` fresh ones side by side (fewer when memory runs
    /// out); nil when there is none.
    @inline(never) borrowing func takeChain(length: UInt32 = Magazine.capacity) -> Chain? {
        if Globals.pointer.pointee.forked { return nil }
        lock.lock()
        defer { lock.unlock() }
        let head = depot.get()
        if head != 0 {
            let first = cell(head, as: FreeCell.self)
            depot.set(first.pointee.nextChain.get())
            return Chain(head: head, count: first.pointee.chainCount.get())
        }
        return carve(length)
    }

    /// Gives a chain back.
    @inline(never) borrowing func giveChain(_ chain: Chain) {
        let first = cell(chain.head, as: FreeCell.self)
        first.pointee.chainCount.set(chain.count)
        lock.lock()
        first.pointee.nextChain.set(depot.get())
        depot.set(chain.head)
        lock.unlock()
    }

    /// Makes cells below `Root.firstFree` usable, before anything is carved. False when there is no memory.
    borrowing func open() -> Bool {
        lock.lock()
        defer { lock.unlock() }
        return base.get() != 0 || reserve()
    }

    /// No lock and no free cell: nobody is left who could have either.
    borrowing func forgetHolders() {
        lock.reset()
        depot.set(0)
    }

    /// Lets look-ups in, once the cells below `Root.firstFree` are in place.
    borrowing func admit() { limit.store(Root.firstFree, ordering: .releasing) }

    // MARK: growth (under the lock)

    private borrowing func carve(_ length: UInt32) -> Chain? {
        if base.get() == 0 && !reserve() { return nil }
        let start = carved.get()
        var count = min(length, reserved.get() - start)
        count = Globals.pointer.pointee.grantMemory(cells: count)
        if count == 0 { return nil }
        if start + count > committed.get() && !commit(start + count) {
            Globals.pointer.pointee.returnMemory(cells: count)
            return nil
        }
        for index in start..<start + count {
            let next = index + 1 == start + count ? 0 : index + 1
            cell(index, as: FreeCell.self).pointee.next.set(next)
        }
        carved.set(start + count)
        // Release: whoever finds an index below the limit also finds the base (acquire in `Handle` look-ups).
        limit.store(start + count, ordering: .releasing)
        return Chain(head: start, count: count)
    }

    /// Takes as much address space as indices can reach, or as much as the system grants.
    private borrowing func reserve() -> Bool {
        var cells = UInt(1) << UInt(Handle.indexBits)
        while cells >= 1 << 12 {
            if let address = belaycore_reserve(Int(cells) * Region.cellBytes) {
                reserved.set(UInt32(cells))
                // Index 0 means "none" everywhere, and the first few are kept for the roots.
                carved.set(UInt32(Root.firstFree))
                // Found by way of `limit`, which is raised after it.
                base.set(UInt(bitPattern: address))
                if commit(UInt32(Root.firstFree)) {
                    return true
                }
                base.set(0)
                return false
            }
            cells /= 4
        }
        return false
    }

    /// Doubles what is committed, in steps from 64 KiB (a page, wherever we run) to 4 MiB.
    private borrowing func commit(_ needed: UInt32) -> Bool {
        let now = committed.get()
        let unit: UInt32 = 1 << 10
        let least = min((needed + unit - 1) & ~(unit - 1), reserved.get())
        var target = min(max(now &+ min(max(now, unit), unit << 6), least), reserved.get())
        while true {
            let start = UInt(now) * UInt(Region.cellBytes)
            let bytes = UInt(target - now) * UInt(Region.cellBytes)
            let address = UnsafeMutableRawPointer(bitPattern: base.get() + start)
            if belaycore_commit(address, Int(bytes)) == 0 {
                committed.set(target)
                return true
            }
            if target == least { return false }
            target = least
        }
    }
}

/// A linked run of free cells.
struct Chain {
    var head: UInt32
    var count: UInt32
}

/// What a cell looks like while it is free. The first two words stay as the last user left them: they hold the
/// generation.
struct FreeCell: ~Copyable {
    private let state: Atomic<UInt64>
    private let references: Atomic<UInt64>
    let next: Atomic<UInt32>
    let nextChain: Atomic<UInt32>
    let chainCount: Atomic<UInt32>
}
