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
/// An entry is 0, or the index of a value node, or `deeper` and the index of a cell of sixteen. The hash is one-to-one
/// on 64 bits, so different keys part within sixteen levels.
enum KeyTrie {
    private static let deeper: UInt32 = 1 << 31
    private static let topShift: UInt64 = 60

    @inline(__always) static func hash(_ key: UInt64) -> UInt64 { key &* 0x9E37_79B9_7F4A_7C15 }

    @inline(__always) private static func slot(_ cell: UInt32, _ hash: UInt64, _ shift: UInt64)
        -> UnsafeMutablePointer<Atomic<UInt32>>
    {
        Region.records.pointee.cell(cell, as: Atomic<UInt32>.self) + Int(hash >> shift & 15)
    }

    @inline(__always) private static func valueNode(_ index: UInt32) -> ValuePointer { node(index).asValue }

    /// The value node for `key` in the chain that ends at the value node `nearest` (0: none); nil for a miss. Safe to
    /// call on a chain that is being recycled: the answer then means nothing, and the caller finds out by looking at
    /// its handle again.
    @inline(never) static func find(_ key: UInt64, from nearest: UInt32) -> ValuePointer? {
        if nearest == 0 { return nil }
        let node = valueNode(nearest)
        if node.pointee.key.get() == key { return node }
        let cells = Region.records.pointee.extent
        guard var cell = cell(of: node.pointee.trie.get(), cells) else { return nil }
        let hash = hash(key)
        var shift = topShift
        while true {
            let entry = entry(cell, hash >> shift, cells)
            guard let below = self.cell(of: entry, cells) else { return leaf(entry, key) }
            // Only where cells are being recycled.
            if shift == 0 { return nil }
            cell = below
            shift &-= 4
        }
    }

    /// The value (0 for a miss) and how deep it was found, if it takes no more than two levels: without a loop, in
    /// registers that are free at any time. Nil means nothing.
    @inline(__always) static func findAtOnce(_ key: UInt64, from nearest: UInt32) -> (value: UInt64, Depth)? {
        if nearest == 0 { return (0, .missed) }
        let node = valueNode(nearest)
        // The nearest is most often asked for, and the only one has no trie.
        if node.pointee.key.get() == key { return (node.pointee.value.get(), .nearest) }
        let cells = Region.records.pointee.extent
        guard let root = cell(of: node.pointee.trie.get(), cells) else { return (0, .missed) }
        let hash = hash(key)
        let top = entry(root, hash >> topShift, cells)
        guard let below = cell(of: top, cells) else { return answer(leaf(top, key), .first) }
        let second = entry(below, hash >> (topShift - 4), cells)
        return cell(of: second, cells) == nil ? answer(leaf(second, key), .second) : nil
    }

    /// The same for a caller that got nil: a loop, however deep it is.
    @inline(never) static func findAtLength(_ key: UInt64, from nearest: UInt32) -> (value: UInt64, Depth) {
        answer(find(key, from: nearest), .further)
    }

    @inline(__always) private static func answer(_ leaf: ValuePointer?, _ depth: Depth) -> (value: UInt64, Depth) {
        leaf.map { ($0.pointee.value.get(), depth) } ?? (0, .missed)
    }

    /// How deep a look-up found what it looked for: in the context's nearest value, on the first or second level of the
    /// trie, or by a longer way.
    enum Depth: Int {
        case nearest, first, second, further, missed

        @inline(__always) var place: Int { Counter.valueNearest.rawValue + rawValue }
        @inline(__always) func count() { Counter.add(at: place) }
    }

    @inline(__always) private static func entry(_ cell: UInt32, _ hash: UInt64, _ cells: Region.Extent) -> UInt32 {
        cells.cell(cell, as: Atomic<UInt32>.self)[Int(hash & 15)].get()
    }

    /// The cell that an entry leads to, if it leads to one: with the bit taken away all others are beyond the limit.
    @inline(__always) private static func cell(of entry: UInt32, _ cells: Region.Extent) -> UInt32? {
        let cell = entry &- deeper
        return cell < cells.limit ? cell : nil
    }

    @inline(__always) private static func leaf(_ entry: UInt32, _ key: UInt64) -> ValuePointer? {
        if entry == 0 || entry >= Region.contexts.pointee.limit.get() { return nil }
        let node = valueNode(entry)
        return node.pointee.key.get() == key ? node : nil
    }

    /// The trie of a new value node, whose key is set, under the chain that ends at `above`: an entry, 0 if it needs
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
            copy(old & ~deeper, to: root)
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
                return root | deeper
            }
            let next = thread.takeRecord()
            if next == 0 {
                // What hangs here is not ours to free.
                place.pointee.set(0)
                free(root | deeper, key: key)
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
    static func free(_ trie: UInt32, key: UInt64) {
        var entry = trie
        var shift = topShift
        let hash = hash(key)
        while entry & deeper != 0 {
            let cell = entry & ~deeper
            entry = slot(cell, hash, shift).pointee.get()
            freeRecord(cell)
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
    // No key is one that no context has.
    let key = UInt64(UInt(bitPattern: key))
    let handle = Handle(ctx)
    guard let found = handle.find() else { return nil }
    guard let thread = Thread.known else { return found.searchFirst(handle, key) }
    let last = thread.recall(handle, key)
    guard last.pointee.isOf(handle, key) else { return found.search(handle, key, thread, last) }
    return UnsafeMutableRawPointer(bitPattern: UInt(last.pointee.answer(thread)))
}

extension Found {
    /// What the thread does not remember.
    @inline(never) @_optimize(speed)
    fileprivate func search(
        _ handle: Handle, _ key: UInt64, _ thread: UnsafeMutablePointer<Thread>, _ last: UnsafeMutablePointer<Recall>
    ) -> UnsafeMutableRawPointer? {
        guard Globals.pointer.pointee.haveForeignValues.get() == 0,
            let (value, depth) = KeyTrie.findAtOnce(key, from: node.pointee.values.get())
        else { return self.value(handle, key) }
        guard isStill(handle) else { return nil }
        last.pointee.set(handle, key, value, depth)
        thread.count(depth.place, 1)
        return UnsafeMutableRawPointer(bitPattern: UInt(value))
    }

    /// By a thread that has no record yet.
    @inline(never) fileprivate func searchFirst(_ handle: Handle, _ key: UInt64) -> UnsafeMutableRawPointer? {
        guard let thread = Thread.current else { return value(handle, key) }
        return search(handle, key, thread, thread.recall(handle, key))
    }

    /// Where a foreign parent may have to be asked, or there are more keys than one look tells apart.
    @inline(never) fileprivate func value(_ handle: Handle, _ key: UInt64) -> UnsafeMutableRawPointer? {
        if key == 0 { return nil }
        if Globals.pointer.pointee.haveForeignValues.get() != 0 {
            let (value, isSettled) = ForeignValues.find(key, handle)
            let depth: KeyTrie.Depth = value == 0 ? .missed : .further
            if isSettled { Recall.keep(handle, key, value, depth) }
            depth.count()
            return UnsafeMutableRawPointer(bitPattern: UInt(value))
        }
        let (value, depth) = KeyTrie.findAtLength(key, from: node.pointee.values.get())
        guard isStill(handle) else { return nil }
        Recall.keep(handle, key, value, depth)
        depth.count()
        return UnsafeMutableRawPointer(bitPattern: UInt(value))
    }
}
