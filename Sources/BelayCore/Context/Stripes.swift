// SPDX-License-Identifier: Apache-2.0
import Synchronization

// A parent that many threads derive from would make its references word the hottest line of the process. When threads
// are seen to fight over it, the node gets a unit of eight *stripes*, a line each, and a thread counts on its own. (One
// that keeps coming back counts on its *seat*, and the stripes are for those who have none there: see `Seat`.)
//
// A stripe's word is the unit's generation (32 bits) and a signed count (32 bits): a child may be released on another
// thread than it was derived on, so only the sum over the stripes and the word in the node means anything. Nobody needs
// the sum while the node is open, because its owner holds it; and a bias in the node's own word keeps that from
// reaching 0. The close *collapses* the unit: it swaps each stripe for the next generation, which turns later givers to
// the node's own word, adds what it found there, and takes the bias away. (Per-CPU references with a kill switch are a
// known technique; the unit's own generation is what makes them safe to reach through a stale handle: units are used
// again, but a generation of a unit serves one node only, once.)

struct Stripe: ~Copyable {
    let word: Atomic<UInt64>
    /// In a unit's first: whether a thread ever took a seat on the node (`Seat`).
    let isSeated: Atomic<UInt32>

    static let perUnit: UInt32 = 8

    @inline(__always) static func at(_ index: UInt32) -> UnsafeMutablePointer<Stripe> {
        Region.stripes.pointee.cell(index, as: Stripe.self)
    }

    /// The unit whose first stripe this is: nothing counted, in that generation.
    static func setAll(of first: UInt32, generation: UInt64) {
        at(first).pointee.isSeated.set(0)
        // Release: partner of the acquire of whoever counts here, which is a compare-and-swap that checks the
        // generation.
        for offset in 0..<perUnit { at(first + offset).pointee.word.store(generation << 32, ordering: .releasing) }
    }

    /// Adds to the stripe's count while it is of this generation.
    @inline(__always) borrowing func add(_ delta: Int32, generation: UInt64) -> Bool {
        var old = word.get()
        while old >> 32 == generation {
            let count = Int32(truncatingIfNeeded: old) &+ delta
            let (exchanged, found) = word.compareExchange(
                expected: old, desired: generation << 32 | UInt64(UInt32(bitPattern: count)),
                ordering: .acquiringAndReleasing)
            if exchanged { return true }
            old = found
        }
        return false
    }
}

/// A unit's first index and generation in one word, so that both are read at once. 0 is none.
struct StripeUnit {
    let bits: UInt64
    var first: UInt32 { UInt32(truncatingIfNeeded: bits) }
    var generation: UInt64 { bits >> 32 }

    @inline(__always) var mine: UnsafeMutablePointer<Stripe> {
        Stripe.at(first &+ (Thread.known.map { $0.pointee.number } ?? 0) % Stripe.perUnit)
    }
}

extension UnsafeMutablePointer where Pointee == Node {
    /// For a caller that has no reference on the node: it may be anybody's.
    var stripes: StripeUnit? {
        let index = pointee.listen.load(ordering: .acquiring)
        guard index != 0 else { return nil }
        let unit = StripeUnit(bits: Listen.at(index).pointee.stripes.load(ordering: .acquiring))
        let limit = Region.stripes.pointee.limit.load(ordering: .acquiring)
        return unit.bits == 0 || limit < Stripe.perUnit || unit.first > limit - Stripe.perUnit ? nil : unit
    }

    /// `acquire` for a node with stripes, by a caller who has nothing but a handle of that generation. False if the
    /// unit is not in use; then the node's own word counts.
    @inline(never) func acquireOnStripe(generation: UInt64) -> Bool {
        if let thread = Thread.known, thread.pointee.seat.acquire(self, index, generation: generation) { return true }
        guard let stripes else { return false }
        // The unit was read through a listen record that may by now be anything. If the node is still of this
        // generation it was the right one, and adding to it succeeds only while it is.
        guard pointee.references.load(ordering: .acquiring) >> Handle.generationShift == generation else {
            return false
        }
        return stripes.mine.pointee.add(1, generation: stripes.generation)
    }

    /// Gives up a reference on a stripe; false if the unit is not in use, and the node's own word counts.
    @inline(never) func releaseOnStripe() -> Bool {
        if let thread = Thread.known, thread.pointee.seat.release(self, index) { return true }
        guard let stripes else { return false }
        return stripes.mine.pointee.add(-1, generation: stripes.generation)
    }

    /// `retain` for a node with stripes; false if the unit is not in use, and the node's own word counts.
    @inline(never) func retainOnStripe() -> Bool {
        guard let stripes else { return false }
        return stripes.mine.pointee.add(1, generation: stripes.generation)
    }

    /// Gives the node stripes. The caller holds a reference and has seen the node open with this generation. Does
    /// nothing when there is no memory, or the node has been closed.
    @inline(never) func addStripes(generation: UInt64) {
        guard let index = ensureListen() else { return }
        let listen = Listen.at(index)
        listen.pointee.lock.lock()
        defer { listen.pointee.lock.unlock() }
        if listen.pointee.stripes.get() != 0 { return }
        guard let chain = Region.stripes.pointee.takeChain(length: Stripe.perUnit) else { return }
        guard chain.count == Stripe.perUnit else { return Region.stripes.pointee.giveChain(chain) }
        // The words hold a generation that is no node's, so they cannot be counted on until they are set below.
        let next = (Stripe.at(chain.head).pointee.word.get() >> 32) &+ 1
        listen.pointee.stripes.store(next << 32 | UInt64(chain.head), ordering: .releasing)
        while true {
            let old = pointee.references.get()
            // Being closed: the unit goes when the node does. (The generation alone would do: the close learns in the
            // step that takes it whether there are stripes. With `closing` there it is only too late for them to be of
            // use.)
            guard old >> Handle.generationShift == generation, old & References.closing == 0 else {
                // Used up all the same: somebody may have read it, and be on his way to a stripe still when another
                // node has the unit.
                return Stripe.setAll(of: chain.head, generation: next &+ 1)
            }
            if pointee.references.change(old, (old | References.striped) &+ References.bias) { break }
        }
        // From here on a close collapses the unit, under our lock. Until a stripe is set, the node's own word counts.
        Stripe.setAll(of: chain.head, generation: next)
    }

    /// The close of a node with stripes: sums them into the node's own word, and takes away the bias and the owner's
    /// reference. The caller has another one.
    func collapseStripes(generation: UInt64) {
        guard let stripes else { return }
        let listen = Listen.at(pointee.listen.get())
        listen.pointee.lock.lock()
        // Stripes and seats may wrap one by one; their sum, the true count, does not.
        var sum = vacateSeats(stripes, generation: generation)
        for offset in 0..<Stripe.perUnit {
            let old = Stripe.at(stripes.first + offset).pointee.word.exchange(
                (stripes.generation &+ 1) << 32, ordering: .acquiringAndReleasing)
            sum &+= Int32(truncatingIfNeeded: old)
        }
        listen.pointee.lock.unlock()
        let change = UInt64(bitPattern: Int64(sum)) &- References.bias &- 1
        pointee.references.wrappingAdd(change, ordering: .acquiringAndReleasing)
    }

    /// Steps (B) to (D) of `Seat`, if anybody ever had one on this node, whose generation the caller has just changed.
    /// Under the listen lock.
    private func vacateSeats(_ stripes: StripeUnit, generation: UInt64) -> Int32 {
        if Stripe.at(stripes.first).pointee.isSeated.get() == 0 { return 0 }
        Barrier.onAllThreads()
        let index = index
        var sum: Int32 = 0
        Thread.forEach { sum &+= $0.pointee.seat.vacate(index, generation: generation) }
        return sum
    }
}

/// The unit goes back. One whose generations are used up is retired.
func freeStripes(_ unit: StripeUnit) {
    if unit.bits == 0 || unit.generation >= UInt64(UInt32.max) - 2 { return }
    Region.stripes.pointee.giveChain(Chain(head: unit.first, count: Stripe.perUnit))
}
