// SPDX-License-Identifier: Apache-2.0
import CBelay

/// Items that requests need while they are served, made once and used by one request after another.
///
/// ```swift
/// struct Scratch: ~Copyable {
///     var bytes: [UInt8] = []
///     var queries = 0
/// }
///
/// let scratch = RequestDataPool(cap: 1000) { Scratch() } reset: { item in
///     item.bytes.removeAll(keepingCapacity: true)
///     item.queries = 0
/// }
///
/// await withData(in: scratch) { ctx, data in
///     data.with { $0.bytes.append(contentsOf: head) }
///     await answer()                                     // far below: ctx.data(in: scratch) { $0.queries += 1 }
/// }
/// ```
///
/// An item belongs to one context at a time. It is found by all work below, and goes back to the pool when the last
/// context that can see it has been closed: then it is reset, and the next request gets it. In between nobody has it.
///
/// For what is dear to make: buffers, parsers, encoders. **Not for small values**: a struct of some hundred bytes
/// without storage of its own is cheaper on the stack, or as a value of a ``ContextKey``. Taking and giving back an
/// item costs 0.6 of what `malloc` and `free` do, and a lock around each use of the item comes on top.
///
/// A pool lives as long as somebody keeps it; items that are in use then live on until they come back. Most are
/// globals. At most 255 pools exist at a time: those beyond have no items, and `withData` behaves as at the cap.
public final class RequestDataPool<Item: ~Copyable & Sendable>: Sendable {
    /// The C handle, for `belay_pool_trim` and measurements. Its items are not for C to use.
    public let handle: belay_pool
    @usableFromInline let make: @Sendable () -> Item
    /// Kept here while the pool is open, and by each item.
    private let hooks: AnyPoolHooks

    /// A pool without items.
    ///
    /// - Parameters:
    ///   - cap: The most items in existence at a time, at least 1; `nil` is no limit. Beyond it a scope gets a context
    ///     that reads as done, with ``ContextError/unavailable(_:)``.
    ///   - name: For people.
    ///   - checked: Finds who writes to an item that has gone back, through a pointer that escaped; for tests of code
    ///     that uses unsafe pointers. See `BELAY_POOL_CHECKED`.
    ///   - make: A new item. On whatever thread.
    ///   - reset: Makes an item that came back fit for the next request; when it is not given, the item is replaced by
    ///     a new one. On the thread that closes the last context.
    public init(
        cap: Int? = nil, name: String = String(describing: Item.self), checked: Bool = false,
        make: @escaping @Sendable () -> Item, reset: (@Sendable (inout Item) -> Void)? = nil
    ) {
        precondition(cap.map { $0 > 0 } ?? true, "a pool must have room for at least one item")
        self.make = make
        let hooks = PoolHooks(make: make, reset: reset ?? { $0 = make() })
        self.hooks = hooks
        handle = hooks.makePool(cap: cap, name: name, checked: checked)
    }

    /// Releases the items that are free, those that other threads keep included. For a quiet moment.
    public func trim() { _ = belay_pool_trim(handle) }

    deinit { _ = belay_pool_free(handle) }  // the hooks go after this
}

/// The item of one scope, lent to its body.
public struct RequestData<Item: ~Copyable & Sendable>: ~Copyable {
    @usableFromInline let cell: UnsafeMutablePointer<DataCell<Item>>
    /// The pool had none: this one is the scope's own.
    @usableFromInline let isStandIn: Bool

    @inlinable
    init(cell: UnsafeMutablePointer<DataCell<Item>>, isStandIn: Bool) {
        self.cell = cell
        self.isStandIn = isStandIn
    }

    /// Runs `body` with the item, which nobody else has meanwhile: others that see the context wait.
    ///
    /// For short work that does not wait for anything. Do not ask for the same item inside.
    @inlinable
    public borrowing func with<R: ~Copyable, E: Error>(
        _ body: (inout Item) throws(E) -> sending R
    ) throws(E) -> sending R {
        try cell.pointee.access(body)
    }

    deinit {
        guard isStandIn else { return }
        cell.deinitialize(count: 1)
        cell.deallocate()
    }
}
