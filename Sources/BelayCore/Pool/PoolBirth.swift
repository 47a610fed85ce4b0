// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// How big an item's block is, and what stands where in it. All in bytes.
private struct ItemLayout {
    /// From the block to the item: the header stands right before the item.
    let lead: Int
    /// From the item to its shadow, which checked pools have behind it.
    let shadow: Int
    let block: Int
    let alignment: Int

    /// Nil if no machine has that much memory.
    init?(size: Int, alignment: Int, isChecked: Bool) {
        // What C calls a size_t is an Int here: beyond its middle it is negative.
        let possible = 1...Int.max / 8
        guard possible.contains(size), possible.contains(alignment) else { return nil }
        self.alignment = max(alignment, PoolItem.headerBytes)
        lead = self.alignment
        shadow = (size + 15) & ~15
        block = lead + shadow + (isChecked ? shadow : 0)
    }
}

extension UnsafePointer where Pointee == belay_pool_desc {
    /// The description as this version knows it; nil if it is none. A program that was compiled with a later header may
    /// give a longer one, if it asks for nothing that we do not know.
    fileprivate func read() -> belay_pool_desc? {
        let known = MemoryLayout<belay_pool_desc>.size
        let given = pointee.size
        guard given >= known else { return nil }
        let bytes = UnsafeRawPointer(self).assumingMemoryBound(to: UInt8.self)
        for position in known..<given where bytes[position] != 0 { return nil }
        var desc = pointee
        // From some size on a cache line: two threads' items then share none, and zeroing is up to twice as quick.
        if desc.alignment == 0 { desc.alignment = desc.item_size < 512 ? PoolItem.headerBytes : 64 }
        guard desc.item_size != 0, desc.alignment & (desc.alignment &- 1) == 0 else { return nil }
        guard desc.flags & ~(BELAY_POOL_CHECKED | BELAY_POOL_AS_LEFT) == 0 else { return nil }
        guard desc.flags & BELAY_POOL_AS_LEFT == 0 || desc.reset == nil else { return nil }
        return desc
    }
}

extension Pool {
    /// A record that no pool has, under the lock; 0 when all are taken.
    private static func takeRecord() -> UInt32 {
        let globals = Globals.pointer
        globals.pointee.poolLock.lock()
        defer { globals.pointee.poolLock.unlock() }
        let free = globals.pointee.freePool.get()
        if free != 0 {
            globals.pointee.freePool.set(at(free).pointee.nextFree.get())
            return free
        }
        let last = globals.pointee.poolCount.get()
        if last + 1 == count { return 0 }
        globals.pointee.poolCount.set(last + 1)
        return last + 1
    }

    fileprivate static func make(_ desc: belay_pool_desc) -> belay_pool? {
        let isChecked = desc.flags & UInt32(BELAY_POOL_CHECKED) != 0
        guard let layout = ItemLayout(size: desc.item_size, alignment: desc.alignment, isChecked: isChecked),
            Setup.run()
        else { return nil }
        let isFenced = !Barrier.isThere()
        let index = takeRecord()
        if index == 0 { return nil }
        let pool = at(index)
        let isLeft = desc.flags & BELAY_POOL_AS_LEFT != 0
        pool.pointee.reset.set(isLeft ? leaves : address(unsafeBitCast(desc.reset, to: UnsafeRawPointer?.self)))
        pool.pointee.make.set(address(unsafeBitCast(desc.`init`, to: UnsafeRawPointer?.self)))
        pool.pointee.drop.set(address(unsafeBitCast(desc.drop, to: UnsafeRawPointer?.self)))
        pool.pointee.owner.set(address(UnsafeRawPointer(desc.`self`)))
        pool.pointee.itemBytes.set(UInt64(desc.item_size))
        // With init or drop an item is more than its bytes.
        if desc.item_size < Audit.smallItem && desc.`init` == nil && desc.drop == nil {
            Sampler.pointer.pointee.smallPoolsEver.wrappingAdd(1, ordering: .relaxed)
        }
        pool.pointee.cap.set(desc.cap == 0 ? .max : UInt64(UInt(bitPattern: desc.cap)))
        pool.pointee.room.set(PoolMagazine.room(itemBytes: layout.block))
        pool.pointee.lead.set(UInt64(layout.lead))
        pool.pointee.shadow.set(UInt64(layout.shadow))
        pool.pointee.blockBytes.set(UInt64(layout.block))
        pool.pointee.alignment.set(UInt64(layout.alignment))
        pool.pointee.flags.set(desc.flags)
        pool.pointee.items.set(0)
        pool.pointee.deposited.set(0)
        pool.pointee.references.set(1)
        pool.setName(desc.name)
        let generation = max(pool.pointee.state.get() >> Handle.generationShift, 1)
        var flags: UInt64 = isChecked ? Pool.checked : 0
        if isFenced { flags |= Pool.fenced }
        // Release: partner of the acquire in each look-up of a handle.
        let handle = Handle(generation: generation, kind: Kind.pool, index: index)
        pool.pointee.state.store(handle.bits | flags, ordering: .releasing)
        return belay_pool(bits: handle.bits)
    }

    private static func address(_ pointer: UnsafeRawPointer?) -> UInt64 { UInt64(UInt(bitPattern: pointer)) }
}

extension UnsafeMutablePointer where Pointee == Pool {
    fileprivate func setName(_ text: UnsafePointer<CChar>?) {
        var length = 0
        if let text {
            while length < Pool.nameBytes - 1 && text[length] != 0 {
                name[length] = text[length]
                length += 1
            }
        }
        name[length] = 0
    }
}

@_cdecl("belay_pool_new") @implementation
public func belay_pool_new(_ desc: UnsafePointer<belay_pool_desc>?) -> belay_pool {
    if Globals.pointer.pointee.forked {
        LastStatus.set(BELAY_EFORK)
        return belay_pool()
    }
    guard let desc = desc?.read() else {
        LastStatus.set(BELAY_EINVAL)
        return belay_pool()
    }
    guard let pool = Pool.make(desc) else {
        LastStatus.set(BELAY_ENOMEM)
        return belay_pool()
    }
    return pool
}
