// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

// Whoever needs items that stand in other threads' magazines. The handshake is told in `PoolHandshake.swift`.

/// What a get at the cap found.
enum Stolen {
    case item(UInt)
    /// An item may be made after all: somebody released one. It is counted.
    case room
    case nothing
    /// The pool was freed meanwhile.
    case stale
}

extension UnsafeMutablePointer where Pointee == Pool {
    /// All free items, with all owners kept out.
    private func seizeAll() -> PoolList {
        var list = PoolList()
        forEachMagazine { $0.seize(&list) }
        while let (chain, _) = PoolDepot.pop(self, start: 0) { list.add(chain) }
        return list
    }

    /// For a get at the cap whose own magazine is empty: a chain of the depot's or of another thread's moves to it.
    @inline(never) func steal(for magazine: PoolMagazinePointer, _ handle: Handle) -> Stolen {
        pointee.lock.lock()
        defer { pointee.lock.unlock() }
        guard handle.matches(pointee.state.get()) else { return .stale }
        beginTheft()
        defer { endTheft() }
        // Another thief may have put something into the depot.
        magazine.refill(self)
        forEachMagazine { other in
            if magazine.pointee.count.get() == 0 { magazine.rob(other) }
        }
        let item = magazine.take()
        if item != 0 { return .item(item) }
        return reserveItem() ? .room : .nothing
    }

    /// Releases all free items.
    @inline(never) fileprivate func trim(_ handle: Handle) -> belay_status {
        pointee.lock.lock()
        guard handle.matches(pointee.state.get()) else {
            pointee.lock.unlock()
            return handle.poolStatus()
        }
        pointee.references.wrappingAdd(1, ordering: .relaxed)
        beginTheft()
        let list = seizeAll()
        endTheft()
        pointee.lock.unlock()
        release(list)
        unreference()
        return BELAY_OK
    }

    /// Makes the handle stale and releases all free items. Those in use are released by whoever gives them back.
    @inline(never) fileprivate func close(_ handle: Handle) -> belay_status {
        pointee.lock.lock()
        let state = pointee.state.get()
        guard handle.matches(state) else {
            pointee.lock.unlock()
            return handle.poolStatus()
        }
        let flags = state & (Pool.fenced | Pool.checked)
        keepOut((handle.generation &+ 1) << Handle.generationShift | flags)
        let list = seizeAll()
        pointee.lock.unlock()
        release(list)
        unreference()
        return BELAY_OK
    }
}

@_cdecl("belay_pool_trim") @implementation
public func belay_pool_trim(_ pool: belay_pool) -> belay_status {
    let handle = Handle(bits: pool.bits)
    let status = handle.poolStatus()
    return status == BELAY_OK ? Pool.at(handle.index).trim(handle) : status
}

@_cdecl("belay_pool_free") @implementation
public func belay_pool_free(_ pool: belay_pool) -> belay_status {
    let handle = Handle(bits: pool.bits)
    let status = handle.poolStatus()
    return status == BELAY_OK ? Pool.at(handle.index).close(handle) : status
}
