// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// The process-wide state that is neither a region nor a shard. It lives in static C storage, because a Swift global is
/// reached through a once-call each time.
struct Globals: ~Copyable {
    /// Bytes that regions may carve (0: no limit), and have carved.
    private let memoryLimit: Atomic<UInt64>
    private let memoryUsed: Atomic<UInt64>
    /// All thread records, and those without a thread.
    let allThreads: Atomic<UInt>
    let idleThreads: Atomic<UInt>
    let threadNumbers: Atomic<UInt32>
    let threadLock: Lock
    /// Set in the child of a fork.
    private let forkedFlag: Atomic<UInt32>
    /// How many forks lie between the first process and this one: tells what is left of before in memory that is not
    /// ours.
    let forks: Atomic<UInt32>
    /// Guards what is set up once, or seldom: the roots, the fork hook, the shared descriptors, drivers as they are
    /// started, the poller's sets, runtimes as they are freed.
    let setupLock: Lock
    let isSetUp: Atomic<UInt32>
    /// Descriptor + 1 of the one that is always readable, and of the one that never is; 0 until asked for.
    let doneDescriptor: Atomic<UInt32>
    let neverDescriptor: Atomic<UInt32>
    /// Whether any deadline was ever moved: until then a context's own words say when it ends.
    let haveMoved: Atomic<UInt32>
    /// Whether any foreign parent answers for values: until then a chain's own words say what it has.
    let haveForeignValues: Atomic<UInt32>
    let foreign: ForeignCounts
    /// Guards the making and freeing of runtimes.
    let runtimesLock: Lock
    /// Guards what follows: indices of pools that were given out so far, and the first of those that are free again.
    let poolLock: Lock
    let poolCount: Atomic<UInt32>
    let freePool: Atomic<UInt32>
    let linkPushes: LinkPushes
    /// Whether the system has a barrier for all threads. See `Barrier`.
    let barrier: Atomic<UInt32>

    @inline(__always) static var pointer: UnsafeMutablePointer<Globals> {
        belaycore_globals().unsafelyUnwrapped.assumingMemoryBound(to: Globals.self)
    }

    var forked: Bool { @inline(__always) borrowing get { forkedFlag.get() != 0 } }

    /// How many of `cells` more cells the limit allows; they are counted as used.
    borrowing func grantMemory(cells: UInt32) -> UInt32 {
        let limit = memoryLimit.get()
        let size = UInt64(Region.cellBytes)
        var used = memoryUsed.get()
        while true {
            let room = limit == 0 ? .max : (limit > used ? (limit - used) / size : 0)
            let granted = UInt32(min(UInt64(cells), room))
            if granted == 0 { return 0 }
            let (exchanged, found) = memoryUsed.compareExchange(
                expected: used, desired: used + UInt64(granted) * size, ordering: .relaxed)
            if exchanged { return granted }
            used = found
        }
    }

    borrowing func returnMemory(cells: UInt32) {
        memoryUsed.wrappingSubtract(UInt64(cells) * UInt64(Region.cellBytes), ordering: .relaxed)
    }

    borrowing func limitMemory(_ bytes: UInt64) { memoryLimit.set(bytes) }
    borrowing func memoryLimitBytes() -> UInt64 { memoryLimit.get() }
    borrowing func arenaBytes() -> UInt64 { memoryUsed.get() }

    /// In the child of a fork: all records of pools are free again.
    borrowing func forgetPools() {
        poolLock.reset()
        poolCount.set(0)
        freePool.set(0)
    }

    /// The other half of `markForked`, at the end of a restart.
    borrowing func startOver(memoryUsed used: UInt64) {
        setupLock.reset()
        runtimesLock.reset()
        linkPushes.startOver()
        barrier.set(0)
        memoryUsed.set(used)
        foreign.startOver()
        forkedFlag.set(0)
    }

    /// The child of a fork: no lock can be trusted and no thread is left, so no handle is found any more.
    borrowing func markForked() {
        forkedFlag.set(1)
        forks.set(forks.get() &+ 1)
        Region.forEach { _, region in region.pointee.limit.set(0) }
        for index in 1..<Pool.count { Pool.at(index).pointee.makeStale() }
        PoolMagazine.withdrawPasses()
    }
}

@_cdecl("belaycore_forked_child") @implementation
public func belaycore_forked_child() { Globals.pointer.pointee.markForked() }

@_cdecl("belay_memory_limit") @implementation
public func belay_memory_limit(_ bytes: Int) -> belay_status {
    Globals.pointer.pointee.limitMemory(UInt64(UInt(bitPattern: bytes)))
    return BELAY_OK
}
