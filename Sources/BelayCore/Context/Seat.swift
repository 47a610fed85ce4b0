// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// A place of a thread's own to count on one node, the one that it keeps coming back to: without a locked instruction,
/// on a line that no other thread writes to. Only the node's close looks at it, once.
///
/// ### Why the close finds every count
///
/// The node's generation in its references word is what says that it is open. (Tests/models/seats.py goes through all
/// interleavings.)
///
/// | owner | the close that won |
/// |---|---|
/// | (1) `word` := what it was, and the change | (A) the generation := the next |
/// | (2) compiler barrier | (B) barrier on all threads |
/// | (3) reads the generation: if it is the handle's, that was it | (C) adds `look` to `word`, in each seat on the node |
/// | (4) if not, swaps (1) back; if that fails the change was counted | (D) adds up what was there, and takes the seats away |
///
/// The barrier makes every thread execute a full barrier, at a point P. If the owner's load (3) comes before P then so
/// does (1), because the compiler kept their order and P keeps the processor's: (C) finds the change, and nothing more
/// is asked of the owner. If (3) comes after P it finds (A), and the owner goes to (4). Only it and (C), which comes
/// but once, write `word`. If the swap succeeds then (C) came before (1), or comes after the swap: either way it finds
/// a word without the change, which the owner counts elsewhere. If it fails (C) came between, and has found the change.
/// So nobody waits.
///
/// To take a seat, to leave it and (B) to (D) are done under the node's listen lock. Whoever takes one looks at the
/// generation there; who leaves moves its count to a stripe, which the close takes away under the same lock. So the
/// close finds every count on a seat or on a stripe, once. Where nobody ever took a seat (`Stripe.isSeated`) there is
/// no barrier.
///
/// Which node a seat is at is a matter of `Habit`. It is its thread record's, so it outlives the node and the thread.
/// Who takes over the record takes over the seat, with what was counted there.
struct Seat: ~Copyable {
    /// The handle of the node; 0 for none. Set by the owner, taken away by it or by the close.
    private let place = Atomic<UInt64>(0)
    /// The count, in its lower half: signed, and it means something only in the sum over all. The upper half changes
    /// with (C). Tests write it, to be between (1) and (3).
    let word = Atomic<UInt64>(0)
    private static let look: UInt64 = 1 << 32

    init() {}

    /// Takes a reference on the node that this is the handle of. False means nothing.
    @inline(__always) borrowing func acquire(_ node: NodePointer, _ handle: Handle) -> Bool {
        place.get() == handle.bits && add(1, to: node, handle.generation)
    }

    /// The same for a caller that does not know the kind.
    borrowing func acquire(_ node: NodePointer, _ index: UInt32, generation: UInt64) -> Bool {
        isPlaced(at: index, generation) && add(1, to: node, generation)
    }

    /// Gives up the caller's reference on the node. False means nothing.
    @inline(__always) borrowing func release(_ node: NodePointer, _ index: UInt32, of kind: UInt64) -> Bool {
        let place = place.get()
        let here = index | UInt32(truncatingIfNeeded: kind << Handle.kindShift)
        // The node is in the life that the reference is for, and (3) says whether that is the seat's.
        return UInt32(truncatingIfNeeded: place) == here && add(-1, to: node, place >> Handle.generationShift)
    }

    borrowing func release(_ node: NodePointer, _ index: UInt32) -> Bool {
        release(node, index, of: Handle(bits: place.get()).kind)
    }

    private borrowing func isPlaced(at index: UInt32, _ generation: UInt64) -> Bool {
        // Acquire: partner of the release in `take`.
        let handle = Handle(bits: place.load(ordering: .acquiring))
        return handle.index == index && handle.generation == generation
    }

    /// Steps (1) to (4).
    @inline(__always) private borrowing func add(_ change: Int64, to node: NodePointer, _ generation: UInt64) -> Bool {
        let old = word.get()
        let new = old &+ UInt64(bitPattern: change)
        // Release: if (C) finds it, what the thread did with the node before comes before what the close does with it.
        word.store(new, ordering: .releasing)
        belaycore_compiler_barrier()
        return Seat.isOpen(node, generation) || !word.change(new, old)
    }

    @inline(__always) private static func isOpen(_ node: NodePointer, _ generation: UInt64) -> Bool {
        // Acquire: as in every taking of a reference.
        node.pointee.references.load(ordering: .acquiring) >> Handle.generationShift == generation
    }

    /// Whether the node with this handle is the one.
    borrowing func isAt(_ handle: Handle) -> Bool { place.get() == handle.bits }

    /// Takes the seat at this node, on which the caller has a reference, if nothing stands in the way.
    borrowing func move(to node: NodePointer, _ handle: Handle) {
        if Barrier.isKnown() && leave() { take(node, handle) }
    }

    private borrowing func take(_ node: NodePointer, _ handle: Handle) {
        if node.pointee.references.get() & References.striped == 0 { node.addStripes(generation: handle.generation) }
        guard let stripes = node.stripes else { return }
        node.listen.pointee.lock.lock()
        // A node that gets its stripes as it closes is never collapsed, and does not say that it has them.
        if Seat.isOpen(node, handle.generation) && node.pointee.references.get() & References.striped != 0 {
            word.set(0)
            place.store(handle.bits, ordering: .releasing)
            Stripe.at(stripes.first).pointee.isSeated.set(1)
        }
        node.listen.pointee.lock.unlock()
    }

    /// What was counted goes to the node's stripes. False if that is being closed, and (D) is yet to come.
    private borrowing func leave() -> Bool {
        // Acquire: partner of the release in `vacate`.
        let old = Handle(bits: place.load(ordering: .acquiring))
        if old.bits == 0 { return true }
        // No reference is taken, which might turn out to be the last, and have drop functions run here. As long as the
        // seat is at the node, the node is as it was, and its close waits for this lock. If not, the record may be any
        // node's.
        let node = node(old.index)
        let listen = Listen.at(node.pointee.listen.load(ordering: .acquiring))
        listen.pointee.lock.lock()
        defer { listen.pointee.lock.unlock() }
        if !isAt(old) { return true }
        // While this succeeds the close has yet to come here.
        guard let stripes = node.stripes,
            stripes.mine.pointee.add(Seat.count(word.get()), generation: stripes.generation)
        else { return false }
        place.set(0)
        return true
    }

    private static func count(_ word: UInt64) -> Int32 { Int32(truncatingIfNeeded: word) }

    /// Steps (C) and (D): what was counted on the node; the seat is free. Under the lock, as are all who take seats
    /// there.
    borrowing func vacate(_ index: UInt32, generation: UInt64) -> Int32 {
        guard isPlaced(at: index, generation) else { return 0 }
        let counted = word.wrappingAdd(Seat.look, ordering: .acquiringAndReleasing).oldValue
        // Release: partner of the acquire in `leave`. What the owner takes next comes after our look.
        place.store(0, ordering: .releasing)
        return Seat.count(counted)
    }

    /// In the child of a fork.
    borrowing func startOver() {
        place.set(0)
        word.set(0)
    }
}
