// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// A place of a thread's own to count on one node with stripes, the one that it keeps coming back to: without a locked
/// instruction, on a line that no other thread writes to. Only the node's close looks at it, once.
///
/// ### Why the close finds every count
///
/// It is the handshake of `PoolMagazine`, which has the proof; the node's generation in its references word is what says
/// that it is open. (Tests/models/seats.py goes through all its interleavings.)
///
/// | owner | the close that won |
/// |---|---|
/// | (1) `busy` := 1 | (A) the generation := the next |
/// | (2) compiler barrier | (B) barrier on all threads |
/// | (3) reads the generation | (C) reads `busy` until it is 0 (acquire), in each seat on the node |
/// | (4) if it is the handle's, counts | (D) adds up these seats, and takes them away |
/// | (5) `busy` := 0 (release) | |
///
/// So an owner either counts before (D), or counts elsewhere. Owners that are busy on other nodes are not waited for: one of
/// this node's that read the old generation had set `place` before (1), so (C) sees that, or that it has left since, which
/// says that its count is on a stripe (release).
///
/// (B) to (D) are done only where somebody ever took a seat on the node, which `Stripe.isSeated` says. To take one is rare, and has a fence: (a) `place` := the node; (b) `isSeated` := 1;
/// (c) fence; (d) reads the generation. The close reads `isSeated` after (A) and a fence. If it reads 0 then (d) comes after
/// (A), and the owner leaves the seat, on which it has counted nothing. If it reads 1, what holds of a count holds of (a).
///
/// A seat is its thread record's, so it outlives the node and the thread. Who takes over the record takes over the seat, with
/// what was counted there. It can be taken for another node once this one's close has been to (D), or when its owner has
/// moved its count to a stripe, by (1) to (5).
struct Seat: ~Copyable {
    /// The handle of the node, but for the kind; 0 for none. The owner sets it; the close takes it away.
    private let place = Atomic<UInt64>(0)
    /// Whether its owner is at (2) to (4). Tests hold it there.
    let busy = Atomic<UInt32>(0)
    /// Signed, and may wrap: only the sum over all means anything.
    private let count = Atomic<UInt32>(0)
    /// Where the thread counted on stripes last, and how often in a row.
    private let wanted = Atomic<UInt64>(0)
    private let wishes = Atomic<UInt32>(0)

    /// How often, at least, a thread counts on a node's stripes before it takes a seat there: the close pays for seats with
    /// a barrier, some microseconds, and with a look at each thread's, which should be little beside that.
    static let patience: UInt32 = 1000

    init() {}

    /// Takes a reference on the node that this is the handle of. False means nothing.
    @inline(__always) borrowing func acquire(_ node: NodePointer, _ index: UInt32, generation: UInt64) -> Bool {
        place.get() == Seat.place(index, generation) && add(1, to: node, generation)
    }

    /// Gives up the caller's reference on the node. False means nothing.
    @inline(__always) borrowing func release(_ node: NodePointer, _ index: UInt32) -> Bool {
        let place = place.get()
        // The node is in the life that the reference is for, and (3) says whether that is the seat's.
        return UInt32(truncatingIfNeeded: place) == index && add(-1, to: node, place >> Handle.generationShift)
    }

    /// Steps (1) to (5).
    @inline(__always) private borrowing func add(_ change: Int32, to node: NodePointer, _ generation: UInt64) -> Bool {
        whileOpen(node, generation) { count.set(count.get() &+ UInt32(bitPattern: change)) }
    }

    @inline(__always) private borrowing func whileOpen(_ node: NodePointer, _ generation: UInt64, _ body: () -> Void)
        -> Bool
    {
        busy.set(1)
        belaycore_compiler_barrier()
        // Acquire: as in every taking of a reference.
        let isOpen = node.pointee.references.load(ordering: .acquiring) >> Handle.generationShift == generation
        if isOpen { body() }
        busy.store(0, ordering: .releasing)
        return isOpen
    }

    private static func place(_ index: UInt32, _ generation: UInt64) -> UInt64 {
        generation << Handle.generationShift | UInt64(index)
    }

    /// The thread has counted on this node's stripes, and has a reference there. The seat is for where that happens again and
    /// again.
    borrowing func wish(_ node: NodePointer, _ stripes: StripeUnit, generation: UInt64) {
        let place = Seat.place(node.index, generation)
        wishes.set(wanted.get() == place ? wishes.get() &+ 1 : 1)
        wanted.set(place)
        guard wishes.get() >= max(Seat.patience, Globals.pointer.pointee.threadNumbers.get()) else { return }
        wishes.set(0)
        if Barrier.isKnown() && leave() { take(node, stripes, place) }
    }

    /// Steps (a) to (d).
    private borrowing func take(_ node: NodePointer, _ stripes: StripeUnit, _ place: UInt64) {
        count.set(0)
        self.place.store(place, ordering: .releasing)
        Stripe.at(stripes.first).pointee.isSeated.store(1, ordering: .releasing)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        let word = node.pointee.references.get()
        // A node that gets its stripes as it closes is never collapsed, and does not say that it has them.
        if word >> Handle.generationShift != place >> Handle.generationShift || word & References.striped == 0 {
            _ = self.place.change(place, 0)
        }
    }

    /// What was counted goes to the node's stripes. False if the node is being closed, and (D) is yet to come.
    private borrowing func leave() -> Bool {
        // Acquire: partner of the release in `vacate`.
        let old = Handle(bits: place.load(ordering: .acquiring))
        if old.bits == 0 { return true }
        let node = node(old.index)
        var hasLeft = false
        _ = whileOpen(node, old.generation) {
            // The close waits for us before it touches the stripes, for `place` is still the node, so this does not fail.
            guard let stripes = node.stripes,
                stripes.mine.pointee.add(Int32(bitPattern: count.get()), generation: stripes.generation)
            else { return }
            // Release: partner of the acquire in `vacate`, which then does not wait.
            place.store(0, ordering: .releasing)
            hasLeft = true
        }
        return hasLeft
    }

    /// Steps (C) and (D): what was counted on the node; the seat is free.
    borrowing func vacate(_ index: UInt32, generation: UInt64) -> Int32 {
        let place = Seat.place(index, generation)
        guard self.place.load(ordering: .acquiring) == place else { return 0 }
        Barrier.awaitOwner(busy)
        let counted = Int32(bitPattern: count.get())
        // Unless the owner has left meanwhile: with its count, or at (d), having counted nothing.
        return self.place.change(place, 0) ? counted : 0
    }

    /// In the child of a fork.
    borrowing func startOver() {
        place.set(0)
        busy.set(0)
        wanted.set(0)
    }
}
