// SPDX-License-Identifier: Apache-2.0

/// Which node a thread keeps deriving from: there it should have its `Seat`. Nobody but the thread looks at this.
///
/// A look at every five hundredth birth is enough to tell, and costs next to nothing.
struct Habit {
    /// How many births there are to the next look.
    private var untilLook: Int32 = 0
    /// The node that the thread has been seen at, and how much speaks for a seat there.
    private var wanted: UInt64 = 0
    private var weight: UInt32 = 0

    /// Births from one look to the next: a prime, or it might be the same step of each request that is looked at.
    private static let looksEvery: Int32 = 509
    /// Seen there, or elsewhere: a seat is for a thread that is there at every fourth look or more.
    private static let weightOfHit: UInt32 = 3
    private static let weightOfMiss: UInt32 = 1
    /// Eight looks in a row. The close pays for seats with stripes, with a barrier, some microseconds, and with a look
    /// at each thread's, which should be little beside so many births.
    private static let enough: UInt32 = 8 * weightOfHit
    private static let threadsPerWeight: UInt32 = 100
    /// As many births, at most, before a thread that derives from one node alone has a seat there, if there are few
    /// threads.
    static let patience = UInt32(looksEvery) * (enough / weightOfMiss + enough / weightOfHit + 1)

    /// Counts births, of children of any node: true if it is time for a look.
    @inline(__always) mutating func isTimeToLook() -> Bool {
        untilLook &-= 1
        return untilLook < 0
    }

    /// The look: the thread derives from this node. True if it should have its seat there, and has not.
    mutating func look(at handle: Handle, hasSeatThere: Bool) -> Bool {
        untilLook = Habit.looksEvery - 1
        // Nobody counts on background and todo.
        if handle.index < Root.firstFree { return false }
        if handle.bits != wanted || hasSeatThere {
            if weight != 0 {
                weight -= Habit.weightOfMiss
                return false
            }
            wanted = handle.bits
        }
        weight &+= Habit.weightOfHit
        let threads = Globals.pointer.pointee.threadNumbers.get()
        if weight < max(Habit.enough, threads / Habit.threadsPerWeight) { return false }
        weight = 0
        return true
    }
}

extension UnsafeMutablePointer where Pointee == Thread {
    /// A look at the node that the calling thread derives from, on which it has a reference.
    @inline(never) func look(_ node: NodePointer, _ handle: Handle) {
        guard pointee.habit.look(at: handle, hasSeatThere: pointee.seat.isAt(handle)) else { return }
        pointee.seat.move(to: node, handle)
    }
}
