// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// A picture of the contexts below one, taken while everything goes on.
///
/// There is no list of children, so all cells are looked at, each once. A cell that has a handle is *pinned* by it: with
/// the reference its words are a context's that does not go, and so are those of all that it was derived from, closed ones
/// too. All of these are noted, with a generation each that tells one life of a cell from the next. Whatever changes
/// after a cell was noted is not seen. Then, without looking at any cell again, each entry is linked to the one that it
/// names as its parent, if that is of the life that it means: so there is no circle, and nothing is under a stranger.
///
/// The entries are in fresh pages, given back at the end: as much memory as the contexts take themselves. Nothing is
/// locked, and what is written is written when no reference is held any more but on the top.
struct Tree {
    let entries: TreeEntryPointer
    let count: UInt32
    let top: UInt32

    /// Calls `body` with the tree below a context that the caller keeps. BELAY_ENOMEM.
    static func taking(below top: NodePointer, _ body: (Tree) -> belay_status) -> belay_status {
        // Acquire: an index below the limit has its memory.
        let count = Region.contexts.pointee.limit.load(ordering: .acquiring)
        let bytes = Int(count) * MemoryLayout<TreeEntry>.stride
        guard let memory = belaycore_map(bytes) else { return BELAY_ENOMEM }
        let tree = Tree(
            entries: memory.bindMemory(to: TreeEntry.self, capacity: Int(count)), count: count, top: top.index)
        tree.noteAll()
        tree.linkAll()
        let status = body(tree)
        let error = belaycore_errno()
        belaycore_unmap(memory, bytes)
        belaycore_set_errno(error)
        return status
    }

    @inline(__always) func entry(_ index: UInt32) -> TreeEntryPointer { entries + Int(index) }

    private func noteAll() {
        entry(Root.background.index).note(node(Root.background.index), life: 1)
        entry(Root.todo.index).note(node(Root.todo.index), life: 1)
        for index in Root.firstFree..<max(count, Root.firstFree) {
            let bits = node(index).state.word
            let kind = Handle(bits: bits).kind
            let handle = Handle(generation: bits >> Handle.generationShift, kind: kind, index: index)
            guard handle.isContext, let pinned = handle.pin() else { continue }
            noteUpwards(pinned)
            pinned.release()
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

    /// Calls `body` with each context, its depth below the top, parents first.
    func forEach(_ body: (UInt32, Int) -> Void) {
        var index = top
        var depth = 0
        while true {
            settle(index)
            body(index, depth)
            if entry(index).pointee.firstChild != 0 {
                index = entry(index).pointee.firstChild
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
        let endsWithParent = mine.pointee.kind != .detached && mine.pointee.kind != .runtime
        if status == BELAY_OK && index != top && endsWithParent {
            status = belay_status(rawValue: UInt32(entry(mine.pointee.parent).pointee.status))
        }
        let deadline = mine.pointee.deadline
        if status == BELAY_OK && deadline != Clock.never && Clock.now(in: state.runtime) >= deadline {
            status = BELAY_DEADLINE_EXCEEDED
        }
        mine.pointee.status = UInt8(truncatingIfNeeded: status.rawValue)
    }
}

@_cdecl("belay_tree_write") @implementation
public func belay_tree_write(_ ctx: belay_ctx, _ format: belay_tree_format, _ fd: Int32) -> belay_status {
    guard format == BELAY_TREE_TEXT || format == BELAY_TREE_JSON || format == BELAY_TREE_DOT else {
        return BELAY_EINVAL
    }
    let handle = Handle(ctx)
    guard let pinned = handle.pin() ?? handle.pinAfterSetup() else { return handle.diagnose() }
    defer { pinned.release() }
    return Tree.taking(below: pinned) { tree in
        Writer.write(to: fd) { writer in
            switch format {
            case BELAY_TREE_JSON: TreeJSON.write(tree, &writer)
            case BELAY_TREE_DOT: TreeDot.write(tree, &writer)
            default: TreeText.write(tree, &writer)
            }
        }
    }
}
