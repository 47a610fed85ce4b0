// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// The record behind a context: one cache line. All indices are into the contexts region unless they say otherwise; 0
/// is none. What is not atomic by need (see `State`, `References`) is written before the state word publishes the node
/// and does not change after.
struct Node: ~Copyable {
    let state: Atomic<UInt64>
    let references: Atomic<UInt64>
    /// Scopes: the node's own deadline; meaningful where `clock` names the node itself.
    let deadline: Atomic<Int64>
    /// Scopes: when a cancel ended it, 0 until then. Children that nobody pushes to compare their deadlines with it.
    let endedAt: Atomic<Int64>
    /// What this node was derived from, and keeps alive.
    let parent: Atomic<UInt32>
    /// The nearest scope above; 0 where only roots are.
    let scope: Atomic<UInt32>
    /// The nearest value node, itself included.
    let values: Atomic<UInt32>
    /// The scope, itself included, whose deadline is the one that counts.
    let clock: Atomic<UInt32>
    /// The listen record (listens region), from the first listener on.
    let listen: Atomic<UInt32>
    /// Scopes: the scope whose end this one inherited. Kept alive by the chain of parents.
    let origin: Atomic<UInt32>
    /// Scopes: causes (records region): claimed by the first cancel that brings one; given for the deadline at birth.
    /// Last, where a value has its drop function: one look at the last word tells whether there is anything to give
    /// back.
    let cause: Atomic<UInt32>
    let timeoutCause: Atomic<UInt32>
}

/// A value node or a detached one: it has no end of its own, and uses those words for its value. Same line, same places
/// for what both have.
struct ValueNode: ~Copyable {
    let state: Atomic<UInt64>
    let references: Atomic<UInt64>
    /// The address of the belay_key, or what stands for a pool (`RequestData.key`); 0 in a detached node, unless it is
    /// an anchor's mark.
    let key: Atomic<UInt64>
    let value: Atomic<UInt64>
    let parent: Atomic<UInt32>
    let scope: Atomic<UInt32>
    let values: Atomic<UInt32>
    let clock: Atomic<UInt32>
    /// For stripes, and for those who wait for leaves below, which the close tells.
    let listen: Atomic<UInt32>
    /// The key trie that finds this value and all above, an entry (`KeyTrie`); 0 where this is the only one.
    let trie: Atomic<UInt32>
    let drop: Atomic<UInt64>
}

/// `values` and `clock` of a node: what its children inherit, as the one word that they are.
struct Lineage {
    let bits: UInt64

    @inline(__always) init(bits: UInt64) { self.bits = bits }
    @inline(__always) init(values: UInt32, clock: UInt32) { bits = UInt64(values) | UInt64(clock) << 32 }

    @inline(__always) var values: UInt32 { UInt32(truncatingIfNeeded: bits) }
    @inline(__always) var clock: UInt32 { UInt32(truncatingIfNeeded: bits >> 32) }
}

typealias NodePointer = UnsafeMutablePointer<Node>
typealias ValuePointer = UnsafeMutablePointer<ValueNode>

@inline(__always) func node(_ index: UInt32) -> NodePointer {
    Region.contexts.pointee.cell(index, as: Node.self)
}

extension UnsafeMutablePointer where Pointee == Node {
    @inline(__always) var index: UInt32 { Region.contexts.pointee.index(of: self) }

    @inline(__always) var asValue: ValuePointer {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: ValueNode.self)
    }

    /// The state word; acquire: what was written before a verdict or a birth is seen after it.
    @inline(__always) var state: State { State(pointee.state.load(ordering: .acquiring)) }

    /// The cell as eight words, since nodes of all kinds are born and looked at in whole words; from `parent` on, a
    /// word has two fields.
    @inline(__always) func word(_ position: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: Atomic<UInt64>.self) + position
    }

    @inline(__always) private func write(_ position: Int, _ first: UInt32, _ second: UInt32) {
        word(position).pointee.set(UInt64(first) | UInt64(second) << 32)
    }

    /// All that a scope is born with but the words that publish it.
    @inline(__always) func write(
        deadline: Int64, parent: UInt32, scope: UInt32, lineage: Lineage, origin: UInt32 = 0, timeoutCause: UInt32 = 0
    ) {
        pointee.deadline.set(deadline)
        pointee.endedAt.set(0)
        write(4, parent, scope)
        word(5).pointee.set(lineage.bits)
        write(6, 0, origin)
        write(7, 0, timeoutCause)
    }

    @inline(__always) var lineage: Lineage { Lineage(bits: word(5).pointee.get()) }

    /// Whether the last word says that there is nothing to give back: no causes, no drop function.
    @inline(__always) var holdsNothing: Bool { word(7).pointee.get() == 0 }

    /// The scope that decides for this node: itself, or the nearest above; 0 where only roots are.
    @inline(__always) func scopeIndex(kind: UInt64) -> UInt32 {
        kind == Kind.scope ? index : pointee.scope.get()
    }
}

extension UnsafeMutablePointer where Pointee == ValueNode {
    @inline(__always) var asNode: NodePointer {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: Node.self)
    }
}

/// The roots of the default runtime: the first cells of the contexts region. They are never done and never go, and
/// nobody counts on them. Other runtimes have a root each that is a cell like any other.
enum Root {
    static let background = Handle(generation: 1, kind: Kind.root, index: 1)
    static let todo = Handle(generation: 1, kind: Kind.root, index: 2)
    /// Cells from here up are handed out, in every region.
    static let firstFree: UInt32 = 4

    static func install() {
        install(background)
        install(todo)
    }

    private static func install(_ handle: Handle) {
        let cell = node(handle.index)
        cell.pointee.references.set(References.word(generation: handle.generation, count: 1))
        // Release: partner of the acquire in every look-up.
        cell.pointee.state.store(handle.bits & ~Handle.indexMask, ordering: .releasing)
    }
}

@_cdecl("belay_background") @implementation
public func belay_background() -> belay_ctx { belay_ctx(bits: Root.background.bits) }

@_cdecl("belay_todo") @implementation
public func belay_todo() -> belay_ctx { belay_ctx(bits: Root.todo.bits) }
