// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// What stands in the memory of a pool's item: the item, and a lock, because all that see the context may use it.
@usableFromInline
struct DataCell<Item: ~Copyable & Sendable>: ~Copyable {
    @usableFromInline let item: Mutex<Item>
    /// For the thread sanitizer; see `Lock`.
    @usableFromInline let order = Atomic<Bool>(false)

    @inlinable
    init(_ item: consuming sending Item) { self.item = Mutex(item) }

    @inlinable
    borrowing func access<R: ~Copyable, E: Error>(
        _ body: (inout Item) throws(E) -> sending R
    ) throws(E) -> sending R {
        try item.withLock { (item: inout sending Item) throws(E) -> sending R in
            _ = order.load(ordering: .acquiring)
            defer { order.store(true, ordering: .releasing) }
            return try body(&item)
        }
    }
}

/// The hooks of a pool without its item's type, for C. Each item keeps them, so that they outlive the pool's owner.
class AnyPoolHooks: @unchecked Sendable {  // immutable
    func make(at memory: UnsafeMutableRawPointer) {}
    func reset(at memory: UnsafeMutableRawPointer) {}
    func drop(at memory: UnsafeMutableRawPointer) {}

    fileprivate final func makePool(_ desc: belay_pool_desc, cap: Int?, name: String, checked: Bool) -> belay_pool {
        var desc = desc
        desc.size = MemoryLayout<belay_pool_desc>.size
        desc.cap = cap ?? 0
        desc.flags = checked ? UInt32(BELAY_POOL_CHECKED) : 0
        desc.`self` = Unmanaged.passUnretained(self).toOpaque()
        desc.`init` = { memory, hooks in
            Unmanaged<AnyPoolHooks>.fromOpaque(hooks!).retain()._withUnsafeGuaranteedRef { $0.make(at: memory!) }
            return true
        }
        desc.reset = { memory, hooks in
            Unmanaged<AnyPoolHooks>.fromOpaque(hooks!)._withUnsafeGuaranteedRef { $0.reset(at: memory!) }
        }
        desc.drop = { memory, hooks in
            Unmanaged<AnyPoolHooks>.fromOpaque(hooks!).takeRetainedValue().drop(at: memory!)
        }
        return name.withCString { text in
            desc.name = text
            return belay_pool_new(&desc)
        }
    }
}

final class PoolHooks<Item: ~Copyable & Sendable>: AnyPoolHooks, @unchecked Sendable {
    private let make: @Sendable () -> Item
    private let reset: @Sendable (inout Item) -> Void

    init(make: @escaping @Sendable () -> Item, reset: @escaping @Sendable (inout Item) -> Void) {
        self.make = make
        self.reset = reset
    }

    func makePool(cap: Int?, name: String, checked: Bool) -> belay_pool {
        var desc = belay_pool_desc()
        desc.item_size = max(MemoryLayout<DataCell<Item>>.size, 1)
        desc.alignment = MemoryLayout<DataCell<Item>>.alignment
        return makePool(desc, cap: cap, name: name, checked: checked)
    }

    override func make(at memory: UnsafeMutableRawPointer) {
        memory.bindMemory(to: DataCell<Item>.self, capacity: 1).initialize(to: DataCell(make()))
    }

    override func reset(at memory: UnsafeMutableRawPointer) {
        memory.assumingMemoryBound(to: DataCell<Item>.self).pointee.access { reset(&$0) }
    }

    override func drop(at memory: UnsafeMutableRawPointer) {
        memory.assumingMemoryBound(to: DataCell<Item>.self).deinitialize(count: 1)
    }
}
