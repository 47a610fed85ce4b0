// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// An item of a pool: the user's memory, with a header of two words right before it.
///
/// | word | in use | in a magazine or the depot | in a list that is to be released |
/// |---|---|---|---|
/// | link | — | the next item of its chain, 0 for the last | the same |
/// | tag | the pool's handle; with a mark if it hangs on a context (`RequestData.key`) | `free`; first of a chain in the depot: its length, in the upper half, too | first of a chain: the next chain |
///
/// So one comparison of the tag with a handle says that an item belongs to this very pool, and that nobody has given it
/// back. Two threads that give back the same item at the same instant may both find it in use: that is the user's
/// mistake, and the check finds it most of the time.
///
/// A checked pool keeps a second copy of each item behind it, its *shadow*. While the item is free its content stands
/// there, and the item's own bytes are filled and closed to everybody.
enum PoolItem {
    static let headerBytes = 16
    static let filler: UInt8 = 0xDB
    /// The tag of an item that is not in use: no handle has kind 0.
    static let free: UInt64 = 1

    @inline(__always) static func link(_ item: UInt) -> UnsafeMutablePointer<Atomic<UInt>> {
        UnsafeMutablePointer(bitPattern: item &- 16).unsafelyUnwrapped
    }

    @inline(__always) static func tag(_ item: UInt) -> UnsafeMutablePointer<Atomic<UInt64>> {
        UnsafeMutablePointer(bitPattern: item &- 8).unsafelyUnwrapped
    }

    @inline(__always) static func memory(_ item: UInt) -> UnsafeMutableRawPointer {
        UnsafeMutableRawPointer(bitPattern: item).unsafelyUnwrapped
    }

    typealias Init = @convention(c) (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Bool
    typealias Hook = @convention(c) (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Void
}

extension UnsafeMutablePointer where Pointee == Pool {
    private var hookOwner: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: UInt(pointee.owner.get())) }

    /// Makes an item that is counted in `items` and `references` already; 0 when there is no memory, or `init` failed.
    /// The counts are taken back then.
    func makeItem(_ handle: Handle) -> UInt {
        let lead = Int(pointee.lead.get())
        guard let block = belaycore_allocate_aligned(Int(pointee.alignment.get()), Int(pointee.blockBytes.get())) else {
            forgetItem()
            return 0
        }
        belaycore_fill(block, 0, Int(pointee.blockBytes.get()))
        let item = UInt(bitPattern: block + lead)
        PoolItem.tag(item).pointee.set(handle.bits)
        if let make = UnsafeRawPointer(bitPattern: UInt(pointee.make.get())),
            !unsafeBitCast(make, to: PoolItem.Init.self)(PoolItem.memory(item), hookOwner)
        {
            belaycore_free(block)
            forgetItem()
            return 0
        }
        return item
    }

    /// Whether an item comes back as it was left: BELAY_POOL_AS_LEFT.
    @inline(__always) var leavesItems: Bool { pointee.reset.get() == Pool.leaves }

    /// What comes before anybody else may have the item.
    @inline(__always) func resetItem(_ item: UInt) {
        if leavesItems { return }
        if let reset = UnsafeRawPointer(bitPattern: UInt(pointee.reset.get())) {
            unsafeBitCast(reset, to: PoolItem.Hook.self)(PoolItem.memory(item), hookOwner)
        } else {
            belaycore_fill(PoolItem.memory(item), 0, Int(pointee.itemBytes.get()))
        }
    }

    /// A free item that nobody can find any more goes for good. No lock is held.
    func releaseItem(_ item: UInt) {
        if isChecked { uncover(item) }
        if let drop = UnsafeRawPointer(bitPattern: UInt(pointee.drop.get())) {
            unsafeBitCast(drop, to: PoolItem.Hook.self)(PoolItem.memory(item), hookOwner)
        }
        belaycore_free(PoolItem.memory(item) - Int(pointee.lead.get()))
        forgetItem()
    }

    private func forgetItem() {
        pointee.items.wrappingSubtract(1, ordering: .relaxed)
        unreference()
    }

    /// Releases all items of a list of chains (`PoolList`).
    @inline(never) func release(_ list: PoolList) {
        var chain = list.first
        while chain != 0 {
            var item = chain
            chain = UInt(PoolItem.tag(item).pointee.get())
            while item != 0 {
                let next = PoolItem.link(item).pointee.get()
                releaseItem(item)
                item = next
            }
        }
    }

    // MARK: checked pools

    /// The content goes to the shadow; whoever touches the item now is found out.
    func cover(_ item: UInt) {
        let memory = PoolItem.memory(item)
        let bytes = Int(pointee.itemBytes.get())
        let shadow = memory + Int(pointee.shadow.get())
        belaycore_copy(shadow, memory, bytes)
        belaycore_fill(memory, Int32(PoolItem.filler), bytes)
        belaycore_poison(memory, bytes)
        belaycore_poison(shadow, bytes)
    }

    /// The content comes back. Ends the program if the item was written to meanwhile.
    func uncover(_ item: UInt) {
        let memory = PoolItem.memory(item)
        let bytes = Int(pointee.itemBytes.get())
        let shadow = memory + Int(pointee.shadow.get())
        belaycore_unpoison(memory, bytes)
        belaycore_unpoison(shadow, bytes)
        let found = UnsafePointer<UInt8>(memory.assumingMemoryBound(to: UInt8.self))
        for offset in 0..<bytes where found[offset] != PoolItem.filler {
            reportOverwritten(memory, at: offset, found[offset])
        }
        belaycore_copy(memory, shadow, bytes)
    }

    /// Says so, and ends the program.
    @inline(never) private func reportOverwritten(_ item: UnsafeMutableRawPointer, at offset: Int, _ found: UInt8)
        -> Never
    {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 512) { buffer in
            var writer = Writer(2, buffer)
            writer.put("belay: pool '")
            if name.pointee == 0 { writer.put("(no name)") } else { writer.put(cString: name) }
            writer.put("': item 0x")
            writer.put(hex: UInt64(UInt(bitPattern: item)))
            writer.put(" was written to after it had been given back (byte # is 0x", Int64(offset))
            writer.put(hex: UInt64(found), digits: 2)
            writer.put(", not 0x")
            writer.put(hex: UInt64(PoolItem.filler))
            writer.put(
                """
                ). Somebody kept a pointer to it beyond belay_pool_put, or beyond the close of the last context that \
                could see it. To find the writer, run this under valgrind or build it with -fsanitize=address: both \
                stop at the write itself.

                """)
            _ = writer.close()
        }
        belaycore_abort()
    }
}

/// Chains that are to be released, linked through the tags of their first items.
struct PoolList {
    private(set) var first: UInt = 0

    mutating func add(_ chain: UInt) {
        if chain == 0 { return }
        PoolItem.tag(chain).pointee.set(UInt64(first))
        first = chain
    }
}
