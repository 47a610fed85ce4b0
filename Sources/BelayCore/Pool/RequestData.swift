// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// Items of pools on contexts: values whose key stands for the pool, and whose drop gives the item back.
enum RequestData {
    /// No address of a belay_key has this bit, and no pool's handle (`Pool.lastGeneration`).
    private static let poolBit: UInt64 = 1 << 63

    @inline(__always) static func key(_ pool: Handle) -> UInt64 { pool.bits | poolBit }
    @inline(__always) static func isPoolKey(_ key: UInt64) -> Bool { key & poolBit != 0 }

    /// The name of the pool whose item hangs on a context that the caller keeps: with the item it keeps the pool's
    /// record.
    static func poolName(_ key: UInt64) -> UnsafePointer<CChar> {
        UnsafePointer(Pool.at(Handle(bits: key & ~poolBit).index).name)
    }

    /// From here on the item is the context's: its tag is not the pool's handle, so `belay_pool_put` refuses it.
    @inline(__always) static func hang(_ item: UnsafeMutableRawPointer, key: UInt64) {
        PoolItem.tag(UInt(bitPattern: item)).pointee.set(key)
    }

    /// Nobody can see the item any more.
    @inline(never) static func giveBack(_ item: UInt64, key: UInt64) {
        let pool = Handle(bits: key & ~poolBit)
        PoolItem.tag(UInt(item)).pointee.set(pool.bits)
        _ = pool.putItem(UnsafeMutableRawPointer(bitPattern: UInt(item)))
    }
}

@_cdecl("belay_with_data") @implementation
public func belay_with_data(
    _ parent: belay_ctx, _ pool: belay_pool, _ data: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> belay_ctx {
    data?.pointee = nil
    // The parent first: where that fails no item is made for nothing.
    guard let above = Parentage.join(parent) else { return belay_ctx() }
    let handle = Handle(pool)
    guard let item = handle.getItem() else { return above.leave(belay_last_status()) }
    let born = deriveValue(
        above, kind: Kind.value, key: RequestData.key(handle), value: UInt64(UInt(bitPattern: item)), drop: 0,
        as: .createdData)
    if born.bits == 0 {
        let status = belay_last_status()
        _ = handle.putItem(item)
        // What failed in a hook is not what failed here.
        LastStatus.set(status)
    } else {
        RequestData.hang(item, key: RequestData.key(handle))
        data?.pointee = item
    }
    return born
}

@_cdecl("belay_data") @implementation
public func belay_data(_ ctx: belay_ctx, _ pool: belay_pool) -> UnsafeMutableRawPointer? {
    let handle = Handle(pool)
    let context = Handle(ctx)
    guard handle.kind == Kind.pool, let found = context.find() else { return noData(context, handle) }
    let key = RequestData.key(handle)
    guard let thread = Thread.known else { return found.data(context, handle) }
    let last = thread.recall(context, key)
    guard last.pointee.isOf(context, key) else { return found.data(context, handle) }
    return UnsafeMutableRawPointer(bitPattern: UInt(last.pointee.answer(thread)))
}

extension Found {
    /// What the thread does not remember; it remembers items only.
    @inline(never) @_optimize(speed)
    fileprivate func data(_ context: Handle, _ pool: Handle) -> UnsafeMutableRawPointer? {
        let values = node.pointee.values.get()
        let key = RequestData.key(pool)
        let (item, depth) = KeyTrie.findAtOnce(key, from: values) ?? KeyTrie.findAtLength(key, from: values)
        guard item != 0, isStill(context) else { return noData(context, pool) }
        Recall.keep(context, key, item, depth)
        depth.count()
        return UnsafeMutableRawPointer(bitPattern: UInt(item))
    }
}

/// That a context carries no item of this pool is an answer. That there is no such context, or no such pool, is a
/// failure.
@inline(never) private func noData(_ ctx: Handle, _ pool: Handle) -> UnsafeMutableRawPointer? {
    let status = pool.poolStatus()
    if status == BELAY_OK && Globals.pointer.pointee.haveForeignValues.get() != 0 {
        // It may stand above a foreign parent that answers for values.
        let (item, _) = ForeignValues.find(RequestData.key(pool), ctx)
        if item != 0 {
            Recall.keep(ctx, RequestData.key(pool), item, .further)
            KeyTrie.Depth.further.count()
            return UnsafeMutableRawPointer(bitPattern: UInt(item))
        }
    }
    if status != BELAY_OK {
        LastStatus.set(status)
    } else if ctx.find() == nil {
        let status = ctx.absent()
        if status != BELAY_OK { LastStatus.set(status) }
    } else {
        KeyTrie.Depth.missed.count()
    }
    return nil
}
