// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// A picture of the contexts below one, taken while everything goes on.
///
/// There is no list of children, so all cells are looked at, each once. A cell that has a handle is *pinned* by it:
/// with the reference its words are a context's that does not go, and so are those of all that it was derived from,
/// closed ones too. All of these are noted, with a generation each that tells one life of a cell from the next.
/// Whatever changes after a cell was noted is not seen. Then, without looking at any cell again, each entry is linked
/// to the one that it names as its parent, if that is of the life that it means: so there is no circle, and nothing is
/// under a stranger.
///
/// The entries are in fresh pages, given back at the end: as much memory as the contexts take themselves. Nothing is
/// locked, and what is written is written when no reference is held any more but on the top.
struct Tree {
    private let entries: TreeEntryPointer
    private let count: UInt32
    private let top: UInt32
    /// Behind the entries: what is on its way to the descriptor.
    private let buffer: UnsafeMutableBufferPointer<UInt8>
    private static let bufferBytes = 8192

    /// The tree below a context that the caller keeps. Nil when there is no memory.
    init?(below top: NodePointer) {
        // Acquire: an index below the limit has its memory.
        count = Region.contexts.pointee.limit.load(ordering: .acquiring)
        let bytes = Int(count) * MemoryLayout<TreeEntry>.stride
        guard let memory = belaycore_map(bytes + Tree.bufferBytes) else { return nil }
        entries = memory.assumingMemoryBound(to: TreeEntry.self)
        buffer = UnsafeMutableBufferPointer(
            start: (memory + bytes).assumingMemoryBound(to: UInt8.self), count: Tree.bufferBytes)
        self.top = top.index
        noteAll()
        linkAll()
    }

    func free() { belaycore_unmap(entries, Int(count) * MemoryLayout<TreeEntry>.stride + Tree.bufferBytes) }

    @inline(__always) private func entry(_ index: UInt32) -> TreeEntryPointer { entries + Int(index) }

    private func noteAll() {
        entry(Root.background.index).note(node(Root.background.index), life: 1)
        entry(Root.todo.index).note(node(Root.todo.index), life: 1)
        for index in Root.firstFree..<max(count, Root.firstFree) {
            let bits = node(index).state.word
            let kind = Handle(bits: bits).kind
            let handle = Handle(generation: bits >> Handle.generationShift, kind: kind, index: index)
            guard handle.isContext, let pinned = handle.pin() else { continue }
            noteUpwards(pinned)
            pinned.unpin()
        }
    }

    private func noteUpwards(_ pinned: NodePointer) {
        var current = pinned
        // A cell beyond the end was made after we began, and put under a younger one in an old cell.
        while current.index >= Root.firstFree && current.index < count {
            let life = current.life
            if entry(current.index).pointee.life == life { return }
            entry(current.index).note(current, life: life)
            current = node(current.pointee.parent.get())
        }
    }

    private func linkAll() {
        // A runtime's root hangs on a scope that nobody knows.
        for index in Root.firstFree..<max(count, Root.firstFree) where entry(index).pointee.kind == .runtime {
            if let above = parent(of: index) { entry(above).pointee.kind = .inner }
        }
        // From the end, so that children come in the order of their cells.
        var index = count
        while index > Root.firstFree {
            index -= 1
            let mine = entry(index)
            if mine.pointee.life == 0 || mine.pointee.kind == .inner || index == top { continue }
            guard let above = visibleParent(of: index) else { continue }
            mine.pointee.parent = above
            mine.pointee.sibling = entry(above).pointee.firstChild
            entry(above).pointee.firstChild = index
        }
    }

    private func parent(of index: UInt32) -> UInt32? {
        let above = entry(index).pointee.parent
        guard above != 0, above < count, entry(above).pointee.life == entry(index).pointee.parentLife else {
            return nil
        }
        return above
    }

    private func visibleParent(of index: UInt32) -> UInt32? {
        var current = index
        while let above = parent(of: current) {
            if entry(above).pointee.kind != .inner { return above }
            current = above
        }
        // A lite context does not keep its parent. It has ended, but is still there.
        return entry(index).pointee.kind == .lite ? orphan(index) : nil
    }

    private func orphan(_ index: UInt32) -> UInt32 {
        let state = entry(index).pointee.state
        if !state.isDone { entry(index).pointee.state = State(state.word | Verdict.inheritedCanceled.bits) }
        return Root.background.index
    }

    func write(_ format: belay_tree_format, to descriptor: Int32) -> belay_status {
        var writer = Writer(descriptor, buffer)
        switch format {
        case BELAY_TREE_JSON: writer.put("{\"now\":#,\"contexts\":[", Clock.now)
        case BELAY_TREE_DOT: writer.put("digraph belay {\n  node [shape=box, fontname=\"sans-serif\"];\n")
        default: break
        }
        writeItems(format, &writer)
        switch format {
        case BELAY_TREE_JSON: writer.put("\n]}\n")
        case BELAY_TREE_DOT: writer.put("}\n")
        default: break
        }
        return writer.close()
    }

    /// Each context, parents first.
    private func writeItems(_ format: belay_tree_format, _ writer: inout Writer) {
        var index = top
        var depth = 0
        // Where a context was made is known of samples only. (Without memory for the names nothing is said of it.)
        var stacks = Site.count > 1 ? Stacks() : nil
        defer { stacks?.free() }
        while true {
            settle(index)
            let mine = entry(index)
            let above = mine.pointee.parent
            let parent = index == top ? nil : entry(above).pointee.handle(above)
            let item = TreeItem(entry: mine, index: index, depth: depth, parent: parent)
            switch format {
            case BELAY_TREE_JSON: item.writeJSON(&writer, &stacks)
            case BELAY_TREE_DOT: item.writeDot(&writer, &stacks)
            default: item.writeText(&writer, &stacks)
            }
            if mine.pointee.firstChild != 0 {
                index = mine.pointee.firstChild
                depth += 1
                continue
            }
            while index != top && entry(index).pointee.sibling == 0 {
                index = entry(index).pointee.parent
                depth -= 1
            }
            if index == top { return }
            index = entry(index).pointee.sibling
        }
    }

    /// How it ended, also if nobody has noticed yet. Its parent has been settled.
    private func settle(_ index: UInt32) {
        let mine = entry(index)
        let state = mine.pointee.state
        var status = state.verdict.status
        if status == BELAY_OK && index == top {
            status = endAboveTop()
        } else if status == BELAY_OK && endsWithParent(index) {
            status = belay_status(rawValue: UInt32(entry(mine.pointee.parent).pointee.status))
        }
        if status == BELAY_OK { status = ownEnd(index) }
        mine.pointee.status = UInt8(truncatingIfNeeded: status.rawValue)
    }

    /// The verdict of a context, or that its deadline has passed.
    private func ownEnd(_ index: UInt32) -> belay_status {
        let mine = entry(index)
        let state = mine.pointee.state
        if state.isDone { return state.verdict.status }
        let deadline = mine.pointee.deadline
        let isPast = deadline != Clock.never && Clock.now(in: state.runtime) >= deadline
        return isPast ? BELAY_DEADLINE_EXCEEDED : BELAY_OK
    }

    /// How the top ended with something above it, which is not shown, and may have told nobody. Nothing is made to end by
    /// this.
    private func endAboveTop() -> belay_status {
        var index = top
        while endsWithParent(index) {
            guard let above = parent(of: index) else {
                // What a lite context hung on has gone.
                return entry(index).pointee.kind == .lite ? BELAY_CANCELED : BELAY_OK
            }
            let end = ownEnd(above)
            if end != BELAY_OK { return end }
            index = above
        }
        return BELAY_OK
    }

    private func endsWithParent(_ index: UInt32) -> Bool {
        entry(index).pointee.kind != .detached && entry(index).pointee.kind != .runtime
    }
}

@_cdecl("belay_tree_write") @implementation
public func belay_tree_write(_ ctx: belay_ctx, _ format: belay_tree_format, _ fd: Int32) -> belay_status {
    guard fd >= 0, format == BELAY_TREE_TEXT || format == BELAY_TREE_JSON || format == BELAY_TREE_DOT else {
        return BELAY_EINVAL
    }
    let handle = Handle(ctx)
    guard let pinned = handle.pin() ?? handle.pinAfterSetup() else { return handle.diagnose() }
    defer { pinned.unpin() }
    guard let tree = Tree(below: pinned) else { return BELAY_ENOMEM }
    defer { tree.free() }
    return tree.write(format, to: fd)
}
