// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

// Why an owner and a thief are never in a magazine together. It is Dekker's handshake, with its cost on one side.
//
// | owner | thief, with the pool's lock held |
// |---|---|
// | (1) `busy` := 1 | (A) the state word := stealing, or stale; each magazine's `pass` := no handle |
// | (2) compiler barrier | (B) barrier on all threads |
// | (3) reads its `pass` | (C) reads `busy` until it is 0 (acquire), in each magazine |
// | (4) if it is the handle, works | (D) works |
// | (5) `busy` := 0 (release) | (E) gives the passes back (release), takes *stealing* off (release), unlocks |
//
// The barrier (B) makes every thread execute a full barrier at some point between (B)'s begin and end (`Barrier`). Call
// that point of the owner P. If the owner's load (3) comes after P, it sees (A), and the owner leaves without having
// touched anything. If (3) comes before P then so does (1), because the compiler kept their order and P keeps the
// processor's: so (1) is visible to (C), and the thief waits for (5). There is no third case. (5) releases and (C)
// acquires: the thief sees what the owner did. (E) releases and (3) acquires: so does the owner see what the thief did,
// in its next turn that gets as far as (4).
//
// A pass is given under the pool's lock, and only while the state word is the handle: so never between (A) and (E), and
// a magazine that the thief did not find at (A) has none. Whoever has none goes the general way. There (2) is a fence and
// (3) reads the state word: the textbook's handshake, with one locked instruction, and the same proof. (The magazine's
// entry in its table is written before (1) with release, so what holds of (1) holds of it.) Where the system has no
// barrier for all threads (B) is a fence, every state word says *fenced*, and nobody gets a pass.
//
// An owner that finds *stealing* waits for the lock, which the thief gives up soon: it waits for owners in (4) alone,
// and those run no user code, take no lock and wait for nobody. A thief holds no item between (D) and (E) that others
// should find. So a get that finds nothing anywhere has looked everywhere.

extension UnsafeMutablePointer where Pointee == PoolMagazine {
    // MARK: the owner's side

    /// Steps (1) to (3). Having said true, the caller does (4) and calls `leave`.
    @inline(__always) func enter(_ handle: Handle) -> Bool {
        pointee.busy.set(1)
        belaycore_compiler_barrier()
        if pointee.pass.load(ordering: .acquiring) == handle.bits { return true }
        leave()
        return false
    }

    @inline(__always) func leave() { pointee.busy.store(0, ordering: .releasing) }

    /// The same with a fence, with or without a pass. Waits for thieves. False if the handle is not the pool's.
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
    func enterAny(_ pool: PoolPointer) -> Bool {
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

    /// The magazine's owner, who is not inside, would like to go the straight ways.
    func askForPass(_ handle: Handle) {
        let pool = Pool.at(handle.poolIndex)
        // Checked, fenced, or none.
        if pool.pointee.state.get() != handle.bits { return }
        pool.pointee.lock.lock()
        if pool.pointee.state.get() == handle.bits {
            pointee.leaves.set(pool.leavesItems ? 1 : 0)
            pointee.pass.set(handle.bits)
        }
        pool.pointee.lock.unlock()
    }

    // MARK: the thief's side, for one magazine

    /// Step (A). What stands there then is nobody's handle, and if somebody made it up it would lead to another
    /// magazine.
    func suspendPass() {
        let pass = pointee.pass.get()
        if pass != 0 { pointee.pass.set(pass ^ PoolMagazine.suspended) }
    }

    func withdrawPass() { pointee.pass.set(0) }

    /// Step (C).
    func awaitOwner() { Barrier.awaitOwner(pointee.busy) }

    /// Step (E).
    func restorePass() {
        let pass = pointee.pass.get()
        if pass != 0 { pointee.pass.store(pass ^ PoolMagazine.suspended, ordering: .releasing) }
    }
}

/// The thief's side, for a pool, whose lock it holds.
extension UnsafeMutablePointer where Pointee == Pool {
    /// Steps (A) to (C): keeps all owners out, until `endTheft`.
    func beginTheft() {
        pointee.state.bitwiseOr(Pool.stealing, ordering: .sequentiallyConsistent)
        forEachMagazine { $0.suspendPass() }
        awaitOwners()
    }

    func endTheft() {
        forEachMagazine { $0.restorePass() }
        pointee.state.bitwiseAnd(~Pool.stealing, ordering: .releasing)
    }

    /// Steps (A) to (C) for good: no owner comes in any more by a handle that this state word makes stale.
    func keepOut(_ stale: UInt64) {
        pointee.state.store(stale, ordering: .sequentiallyConsistent)
        forEachMagazine { $0.withdrawPass() }
        awaitOwners()
    }

    private func awaitOwners() {
        if pointee.state.get() & Pool.fenced != 0 {
            atomicMemoryFence(ordering: .sequentiallyConsistent)
        } else {
            Barrier.onAllThreads()
        }
        forEachMagazine { $0.awaitOwner() }
    }

    @inline(__always) func forEachMagazine(_ body: (PoolMagazinePointer) -> Void) {
        let index = index
        Thread.forEach { thread in
            if let magazine = thread.poolMagazine(index) { body(magazine) }
        }
    }
}

extension PoolMagazine {
    /// In the child of a fork, whose only thread is the calling one: pools are stale, so it goes no straight way.
    static func withdrawPasses() {
        for index in 0..<Pool.count { PoolTable.own[index]?.withdrawPass() }
    }
}
