// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

extension Handle {
    @inline(__always) init(_ pool: belay_pool) { bits = pool.bits }

    // MARK: get

    /// An item of the pool; nil and the last status on failure.
    @inline(__always) func getItem() -> UnsafeMutableRawPointer? {
        let table = PoolTable.own
        if let magazine = table[poolIndex], magazine.enter(self) {
            let item = magazine.take()
            if item != 0 {
                table.counters.pointee.countHit()
                magazine.leave()
                PoolItem.tag(item).pointee.set(bits)
                return PoolItem.memory(item)
            }
            magazine.leave()
        }
        return getItemSlowly()
    }

    /// The stock of this thread is used up, or it has no pass: it is new here; the pool is checked, fenced, being
    /// stolen from, or none.
    @inline(never) private func getItemSlowly() -> UnsafeMutableRawPointer? {
        let status = poolStatus()
        if status != BELAY_OK { return failGet(status) }
        let pool = Pool.at(poolIndex)
        guard let magazine = Thread.current?.poolMagazine(for: self) else { return failGet(BELAY_ENOMEM) }
        guard magazine.enterSlowly(pool, self) else { return failGet(poolStatus()) }
        var item = magazine.take()
        if item == 0 {
            magazine.refill(pool)
            item = magazine.take()
        }
        if item != 0 {
            magazine.leave()
            return handOut(item, pool)
        }
        let mayMake = pool.reserveItem()
        // The new item's reference, or one for the time we look elsewhere. The pool is open, so this is not from 0.
        pool.pointee.references.wrappingAdd(1, ordering: .relaxed)
        magazine.leave()
        return mayMake ? makeItem(pool) : stealItem(pool, magazine)
    }

    private func makeItem(_ pool: PoolPointer) -> UnsafeMutableRawPointer? {
        let item = pool.makeItem(self)
        if item == 0 { return failGet(BELAY_ENOMEM) }
        PoolTable.own.counters.pointee.countMiss()
        return PoolItem.memory(item)
    }

    private func stealItem(_ pool: PoolPointer, _ magazine: PoolMagazinePointer) -> UnsafeMutableRawPointer? {
        switch pool.steal(for: magazine, self) {
        case .item(let item):
            pool.unreference()
            return handOut(item, pool)
        case .room: return makeItem(pool)
        case .nothing:
            pool.unreference()
            return failGet(BELAY_ENOMEM)
        case .stale:
            pool.unreference()
            return failGet(poolStatus())
        }
    }

    private func handOut(_ item: UInt, _ pool: PoolPointer) -> UnsafeMutableRawPointer {
        if pool.isChecked { pool.uncover(item) }
        PoolTable.own.counters.pointee.countHit()
        PoolItem.tag(item).pointee.set(bits)
        return PoolItem.memory(item)
    }

    private func failGet(_ status: belay_status) -> UnsafeMutableRawPointer? {
        LastStatus.set(status)
        return nil
    }

    // MARK: put

    /// Gives an item back.
    @inline(__always) func putItem(_ memory: UnsafeMutableRawPointer?) -> belay_status {
        guard let memory else { return refusePut() }
        let item = UInt(bitPattern: memory)
        guard let magazine = PoolTable.own[poolIndex] else { return putItemSlowly(item) }
        if magazine.pointee.leaves.get() == 0 { return putAfterReset(item, magazine) }
        guard magazine.enter(self) else { return putItemSlowly(item) }
        if PoolItem.tag(item).pointee.get() != bits {
            magazine.leave()
            return putItemSlowly(item)
        }
        return stow(item, magazine)
    }

    /// By itself, because a hook is a call, and needs a stack.
    @inline(never) @_optimize(speed) private func putAfterReset(_ item: UInt, _ magazine: PoolMagazinePointer)
        -> belay_status
    {
        guard magazine.pointee.pass.get() == bits, PoolItem.tag(item).pointee.get() == bits else {
            return putItemSlowly(item)
        }
        // Given back from here on: a hook that gives it back once more is told so. It is counted as existing, so the pool's
        // record stays as it is.
        PoolItem.tag(item).pointee.set(PoolItem.free)
        Pool.at(poolIndex).resetItem(item)
        if magazine.enter(self) { return stow(item, magazine) }
        return keepItem(item)
    }

    /// Into the magazine, which the calling thread has entered.
    @inline(__always) private func stow(_ item: UInt, _ magazine: PoolMagazinePointer) -> belay_status {
        PoolItem.tag(item).pointee.set(PoolItem.free)
        let isKept = magazine.give(item, Pool.at(poolIndex))
        magazine.leave()
        return isKept ? BELAY_OK : keepItem(item)
    }

    @inline(never) private func refusePut() -> belay_status {
        let status = poolStatus()
        return status == BELAY_OK ? BELAY_EINVAL : status
    }

    /// The thread has no pass: it is new here; the pool is checked, fenced, being stolen from, freed, or none. Or the
    /// item is not one of its own in use.
    @inline(never) private func putItemSlowly(_ item: UInt) -> belay_status {
        let status = poolStatus()
        let pool = Pool.at(poolIndex)
        if status == BELAY_ESTALE {
            // A pool that was freed takes its items back all the same. Of one that has none left nothing may be read.
            let state = pool.pointee.state.load(ordering: .acquiring)
            let isLast = state >> Handle.kindShift == (generation &+ 1) << (Handle.generationShift - Handle.kindShift)
            if !isLast || pool.pointee.references.load(ordering: .acquiring) == 0 { return status }
        } else if status != BELAY_OK {
            return status
        }
        let tag = PoolItem.tag(item).pointee.get()
        if tag == RequestData.key(self) { return BELAY_EBUSY }
        if tag != bits { return status == BELAY_OK ? BELAY_EINVAL : status }
        // As in `putAfterReset`.
        PoolItem.tag(item).pointee.set(PoolItem.free)
        pool.resetItem(item)
        return keepItem(item)
    }

    /// Puts an item that was reset where the next get finds it, or releases it: the pool was freed, or is full.
    @inline(never) private func keepItem(_ item: UInt) -> belay_status {
        let pool = Pool.at(poolIndex)
        if pool.isChecked { pool.cover(item) }
        guard let magazine = Thread.current?.poolMagazine(for: self), magazine.enterSlowly(pool, self) else {
            pool.releaseItem(item)
            return BELAY_OK
        }
        var rest = PoolList()
        if !magazine.give(item, pool) {
            magazine.makeRoom(pool, &rest)
            _ = magazine.give(item, pool)
        }
        magazine.leave()
        pool.release(rest)
        return BELAY_OK
    }
}

@_cdecl("belay_pool_get") @implementation @_optimize(speed)
public func belay_pool_get(_ pool: belay_pool) -> UnsafeMutableRawPointer? { Handle(pool).getItem() }

@_cdecl("belay_pool_put") @implementation @_optimize(speed)
public func belay_pool_put(_ pool: belay_pool, _ item: UnsafeMutableRawPointer?) -> belay_status {
    Handle(pool).putItem(item)
}
