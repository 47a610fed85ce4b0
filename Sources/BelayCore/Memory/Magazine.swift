// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// A thread's own stock of free cells of one region: a chain in use and a spare, so that a thread that takes and gives
/// around a chain's end does not go to the depot each time. Last given, first taken: the cell is still in the cache.
struct Magazine: ~Copyable {
    static let capacity: UInt32 = 64

    private var loaded = Chain(head: 0, count: 0)
    private var spare = Chain(head: 0, count: 0)
    /// Cells taken and given by this thread, ever. The difference, summed over all threads, is what lives. Written by
    /// the owner only, so a plain load and store will do. Contexts have counters by kind instead (`Counter`).
    let taken = Atomic<UInt64>(0)
    let given = Atomic<UInt64>(0)

    /// The index of a free cell; 0 when there is no memory.
    @inline(__always) mutating func take(_ region: borrowing Region) -> UInt32 {
        let index = pop(region)
        if index != 0 { countTaken() }
        return index
    }

    @inline(__always) mutating func give(_ index: UInt32, _ region: borrowing Region) {
        push(index, region)
        countGiven()
    }

    @inline(__always) func countTaken() {
        #if !BELAY_NO_COUNTERS
        taken.set(taken.get() &+ 1)
        #endif
    }

    @inline(__always) func countGiven() {
        #if !BELAY_NO_COUNTERS
        given.set(given.get() &+ 1)
        #endif
    }

    /// `take` for what is counted elsewhere.
    @inline(__always) mutating func pop(_ region: borrowing Region) -> UInt32 {
        if loaded.count == 0 && !reload(region) { return 0 }
        let index = loaded.head
        loaded.head = region.cell(index, as: FreeCell.self).pointee.next.get()
        loaded.count &-= 1
        return index
    }

    /// Whether the next cell is at hand, and which it is: for a caller that may yet find that it needs none. Of that
    /// cell's words only those that outlive it may be read before `takeFirst`.
    @inline(__always) var hasCell: Bool { loaded.count != 0 }
    @inline(__always) var first: UInt32 { loaded.head }

    @inline(__always) mutating func takeFirst<T: ~Copyable>(_ cell: UnsafeMutablePointer<T>) {
        let free = UnsafeMutableRawPointer(cell).assumingMemoryBound(to: FreeCell.self)
        loaded.head = free.pointee.next.get()
        loaded.count &-= 1
    }

    /// Whether a cell can be given without going to the depot.
    @inline(__always) var hasRoom: Bool { loaded.count != Magazine.capacity }

    @inline(__always) mutating func push(_ index: UInt32, _ region: borrowing Region) {
        if loaded.count == Magazine.capacity { makeRoom(region) }
        pushFirst(index, region.cell(index, as: FreeCell.self))
    }

    /// `push` where there is room, and the cell is at hand.
    @inline(__always) mutating func pushFirst<T: ~Copyable>(_ index: UInt32, _ cell: UnsafeMutablePointer<T>) {
        let free = UnsafeMutableRawPointer(cell).assumingMemoryBound(to: FreeCell.self)
        free.pointee.next.set(loaded.head)
        loaded.head = index
        loaded.count &+= 1
    }

    @inline(never) private mutating func reload(_ region: borrowing Region) -> Bool {
        if spare.count != 0 {
            loaded = spare
            spare = Chain(head: 0, count: 0)
            return true
        }
        guard let chain = region.takeChain() else { return false }
        loaded = chain
        return true
    }

    @inline(never) private mutating func makeRoom(_ region: borrowing Region) {
        if spare.count != 0 { region.giveChain(spare) }
        spare = loaded
        loaded = Chain(head: 0, count: 0)
    }

    /// As new: the cells are lost, and so is the count of them.
    mutating func forget() {
        loaded = Chain(head: 0, count: 0)
        spare = Chain(head: 0, count: 0)
        taken.set(0)
        given.set(0)
    }

    /// Gives all free cells to the depot: the thread ends.
    mutating func empty(_ region: borrowing Region) {
        if loaded.count != 0 { region.giveChain(loaded) }
        if spare.count != 0 { region.giveChain(spare) }
        loaded = Chain(head: 0, count: 0)
        spare = Chain(head: 0, count: 0)
    }
}
