// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// Finds a context's value for a key in constant time at any depth.
///
/// Each value node has the root of a trie over the keys of its whole chain, in cells of sixteen slots: four bits of the
/// key's hash a level. A child's trie is its parent's with one path copied, so the cells are shared, and a node owns
/// just those on its own key's path (they go with it; the others belong to ancestors, which it keeps alive). A hit or a
/// miss looks at one cell up to about a dozen keys and at two up to some hundred. The only value of a chain needs none.
///
/// A slot is 0, or the index of a value node, or `deeper` and the index of a cell. The hash is one-to-one on 64 bits, so
/// different keys part within sixteen levels.
enum KeyTrie {
    private static let deeper: UInt32 = 1 << 31
    private static let topShift: UInt64 = 60

    @inline(__always) private static func hash(_ key: UInt64) -> UInt64 { key &* 0x9E37_79B9_7F4A_7C15 }

    @inline(__always) private static func slot(_ cell: UInt32, _ hash: UInt64, _ shift: UInt64)
        -> UnsafeMutablePointer<Atomic<UInt32>>
    {
        Region.records.pointee.cell(cell, as: Atomic<UInt32>.self) + Int(hash >> shift & 15)
    }

    @inline(__always) private static func valueNode(_ index: UInt32) -> ValuePointer { node(index).asValue }

    /// The value for `key` in the chain that ends at the value node `nearest` (0: none). Safe to call on a chain that is
    /// being recycled: the answer then means nothing, and the caller finds out by looking at its handle again.
    @inline(__always) static func find(_ key: UInt64, from nearest: UInt32) -> UInt64 {
        findNode(key, from: nearest)?.pointee.value.get() ?? 0
    }

    /// The value node itself; nil for a miss.
    @inline(__always) static func findNode(_ key: UInt64, from nearest: UInt32) -> ValuePointer? {
        if nearest == 0 { return nil }
        let node = valueNode(nearest)
        // The nearest is most often asked for, and the only one has no trie.
        if node.pointee.key.get() == key { return node }
        var cell = node.pointee.trie.get()
        let hash = hash(key)
        var shift = topShift
        while cell != 0 && cell < Region.records.pointee.limit.load(ordering: .acquiring) {
            let entry = slot(cell, hash, shift).pointee.get()
            if entry & deeper == 0 {
                if entry == 0 || entry >= Region.contexts.pointee.limit.get() { return nil }
                let found = valueNode(entry)
                return found.pointee.key.get() == key ? found : nil
            }
            cell = entry & ~deeper
            if shift == 0 { return nil }
            shift &-= 4
        }
        return nil
    }

    /// The trie of a new value node, whose key is set, under the chain that ends at `above`: its root, or 0 if it needs
    /// none. Nil when there is no memory.
    static func extend(_ above: UInt32, with leaf: UInt32) -> UInt32? {
        if above == 0 { return 0 }
        guard let thread = Thread.current else { return nil }
        let parent = valueNode(above)
        let key = valueNode(leaf).pointee.key.get()
        let hash = hash(key)
        let old = parent.pointee.trie.get()
        if old == 0 && parent.pointee.key.get() == key { return 0 }
        let root = thread.takeRecord()
        if root == 0 { return nil }
        if old != 0 {
            copy(old, to: root)
        } else {
            slot(root, self.hash(parent.pointee.key.get()), topShift).pointee.set(above)
        }
        var cell = root
        var shift = topShift
        while true {
            let place = slot(cell, hash, shift)
            let entry = place.pointee.get()
            if entry == 0 || (entry & deeper == 0 && valueNode(entry).pointee.key.get() == key) {
                place.pointee.set(leaf)
                return root
            }
            let next = thread.takeRecord()
            if next == 0 {
                // What hangs here is not ours to free.
                place.pointee.set(0)
                free(root, key: key)
                return nil
            }
            shift &-= 4
            if entry & deeper != 0 {
                copy(entry & ~deeper, to: next)
            } else {
                // Two keys share the way so far: the other one moves a level down.
                slot(next, self.hash(valueNode(entry).pointee.key.get()), shift).pointee.set(entry)
            }
            place.pointee.set(next | deeper)
            cell = next
        }
    }

    /// Frees the cells of a value node: all that lie on the way of its own key.
    static func free(_ root: UInt32, key: UInt64) {
        var cell = root
        var shift = topShift
        let hash = hash(key)
        while cell != 0 {
            let entry = slot(cell, hash, shift).pointee.get()
            freeRecord(cell)
            cell = entry & deeper != 0 ? entry & ~deeper : 0
            shift &-= 4
        }
    }

    private static func copy(_ from: UInt32, to: UInt32) {
        for position in 0..<RecordWords.count {
            RecordWords.word(to, position).pointee.set(RecordWords.word(from, position).pointee.get())
        }
    }
}

extension UnsafeMutablePointer where Pointee == ValueNode {
    /// The node goes: its trie cells, and its value, whose drop function runs here, or which goes back to its pool.
    func dropValue() {
        let key = pointee.key.get()
        KeyTrie.free(pointee.trie.get(), key: key)
        if RequestData.isPoolKey(key) { return RequestData.giveBack(pointee.value.get(), key: key) }
        guard let drop = UnsafeRawPointer(bitPattern: UInt(pointee.drop.get())) else { return }
        let call = unsafeBitCast(drop, to: (@convention(c) (UnsafeMutableRawPointer?) -> Void).self)
        call(UnsafeMutableRawPointer(bitPattern: UInt(pointee.value.get())))
    }
}

@_cdecl("belay_value") @implementation @_optimize(speed)
public func belay_value(_ ctx: belay_ctx, _ key: UnsafePointer<belay_key>?) -> UnsafeMutableRawPointer? {
    guard let found = Handle(ctx).find(), let key else { return nil }
    if Globals.pointer.pointee.haveForeignValues.get() != 0 {
        return UnsafeMutableRawPointer(bitPattern: UInt(ForeignValues.find(UInt64(UInt(bitPattern: key)), Handle(ctx))))
    }
    let value = KeyTrie.find(UInt64(UInt(bitPattern: key)), from: found.node.pointee.values.get())
    // LoadLoad: had the chain been recycled under us, the generation would have moved on before.
    atomicMemoryFence(ordering: .acquiring)
    guard Handle(ctx).matches(found.node.pointee.state.get()) else { return nil }
    return UnsafeMutableRawPointer(bitPattern: UInt(value))
}
