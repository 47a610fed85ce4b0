// SPDX-License-Identifier: Apache-2.0
import CBelay

/// What a context is called in the tree.
enum TreeKind: UInt8 {
    case background, todo, runtime, cancel, timeout, value, data, detached, lite, merge, custom, signals
    /// Nobody's own: it is left out, and what hangs on it hangs on its parent.
    case inner

    var name: StaticString {
        switch self {
        case .background: "background"
        case .todo: "todo"
        case .runtime: "runtime"
        case .cancel: "cancel"
        case .timeout: "timeout"
        case .value: "value"
        case .data: "data"
        case .detached: "detached"
        case .lite: "lite"
        case .merge: "merge"
        case .custom: "custom"
        case .signals: "signals"
        case .inner: "inner"
        }
    }
}

/// What is remembered of one context while the tree is written. In memory of the writing thread's own: plain words, all
/// zeroes where there is no context.
struct TreeEntry {
    /// The generation of its handle; 0 is no context. With the index it names a context for good.
    var life: UInt32
    var parent: UInt32
    var parentLife: UInt32
    var firstChild: UInt32
    var sibling: UInt32
    var kind: TreeKind
    /// The kind in its handle.
    var handleKind: UInt8
    var isClosed: Bool
    /// How it ended, as far as can be told: set by the parent's line before it is written.
    var status: UInt8
    var state: State
    /// The one that counts; `Clock.never` for none.
    var deadline: Int64
    /// Of a key, a pool or a runtime: cut, and NUL-terminated.
    var name: (UInt64, UInt64, UInt64)

    static let nameBytes = 24

    func handle(_ index: UInt32) -> Handle {
        Handle(generation: UInt64(life), kind: UInt64(handleKind), index: index)
    }
}

typealias TreeEntryPointer = UnsafeMutablePointer<TreeEntry>

extension UnsafeMutablePointer where Pointee == TreeEntry {
    /// Notes what `cell` is, which the caller keeps, by itself or by a context below it.
    func note(_ cell: NodePointer, life: UInt32) {
        let state = cell.state
        let shape = cell.index < Root.firstFree ? Kind.root : state.shape
        pointee.life = life
        pointee.parent = cell.pointee.parent.get()
        pointee.handleKind = UInt8(shape)
        pointee.isClosed = Handle(bits: state.word).kind == Kind.none
        pointee.state = state
        pointee.deadline = Clock.never
        pointee.name = (0, 0, 0)
        switch shape {
        case Kind.scope: noteScope(cell, state)
        case Kind.lite: noteLite(cell)
        case Kind.root: noteRoot(cell)
        default: noteValue(cell, state)
        }
        let above = node(pointee.parent)
        if shape != Kind.lite { pointee.parentLife = above.life }
    }

    private func noteScope(_ cell: NodePointer, _ state: State) {
        pointee.deadline = cell.clockInEffect?.pointee.deadline.get() ?? Clock.never
        let hasOwn = cell.pointee.deadline.get() != Clock.never
        pointee.kind = state.has(State.watches) ? .signals : hasOwn ? .timeout : .cancel
        if state.has(State.anchored) {
            let mark = node(pointee.parent).state.word & State.pulls
            pointee.kind = mark == Anchor.merged ? .merge : .custom
        }
    }

    private func noteLite(_ cell: NodePointer) {
        pointee.kind = .lite
        pointee.deadline = cell.asLite.pointee.deadline.get()
        // Which may have gone: then nobody has this life.
        let above = Handle(bits: cell.asLite.pointee.parentHandle.get())
        pointee.parent = above.index
        pointee.parentLife = UInt32(truncatingIfNeeded: above.generation)
    }

    private func noteRoot(_ cell: NodePointer) {
        if cell.index < Root.firstFree {
            pointee.kind = cell.index == Root.background.index ? .background : .todo
            return
        }
        pointee.kind = .runtime
        takeVerdict(cell)
        setName(Runtime.at(pointee.state.runtime).pointee.driverName.text(or: ""), without: "-driver")
    }

    private func noteValue(_ cell: NodePointer, _ state: State) {
        takeVerdict(cell)
        let mark = state.word & State.pulls
        if mark != 0 {
            pointee.kind = mark == Anchor.alone ? .custom : .inner
            return
        }
        guard state.shape == Kind.value else {
            pointee.kind = .detached
            return
        }
        let key = cell.asValue.pointee.key.get()
        pointee.kind = RequestData.isPoolKey(key) ? .data : .value
        if RequestData.isPoolKey(key) {
            setName(RequestData.poolName(key))
        } else {
            // Whoever declared it promised that it lives as long as the contexts that use it.
            setName(UnsafePointer<belay_key>(bitPattern: UInt(key))?.pointee.name)
        }
    }

    /// What has no end of its own ends with its scope, which is kept with it.
    private func takeVerdict(_ cell: NodePointer) {
        let scope = cell.pointee.scope.get()
        let verdict = scope == 0 ? 0 : node(scope).state.verdict.bits
        pointee.state = State(pointee.state.word & ~State.verdictMask | verdict)
        if scope != 0 { pointee.deadline = node(scope).clockInEffect?.pointee.deadline.get() ?? Clock.never }
    }

    private func setName(_ text: UnsafePointer<CChar>?, without suffix: StaticString = "") {
        guard let text else { return }
        withUnsafeMutableBytes(of: &pointee.name) { room in
            var length = 0
            while length < TreeEntry.nameBytes - 1 && text[length] != 0 {
                room[length] = UInt8(bitPattern: text[length])
                length += 1
            }
            let rest = length - suffix.utf8CodeUnitCount
            if rest < 0 { return }
            for i in 0..<suffix.utf8CodeUnitCount where room[rest + i] != suffix.utf8Start[i] { return }
            for i in rest..<length { room[i] = 0 }
        }
    }
}

extension UnsafeMutablePointer where Pointee == Node {
    /// The generation that the handle of this node has or had, whether it was closed or not. The caller keeps the node.
    var life: UInt32 {
        let state = state
        let isClosed = Handle(bits: state.word).kind == Kind.none
        return UInt32(truncatingIfNeeded: isClosed ? state.generation &- 1 : state.generation)
    }
}
