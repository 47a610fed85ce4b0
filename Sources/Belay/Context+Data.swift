// SPDX-License-Identifier: Apache-2.0
import CBelay

extension Context {
    /// Runs `body` with a child of this context that carries an item of `pool`, and is otherwise this context: the same
    /// end, deadline and cause.
    ///
    /// The child is ``current`` while `body` runs. All work below finds the item with ``data(in:_:)``. It goes back to
    /// the pool, exactly once, when the last context that can see it has been closed: at the end of the scope, unless a
    /// child lives on. **The child cannot be cancelled by itself**, as with `withValue`.
    ///
    /// Where the pool has no item to give (its cap is reached, no memory) or this context is closed, the child reads as
    /// done, with ``ContextError/unavailable(_:)``, and the body gets an item that is made for this scope alone.
    ///
    /// - Parameters:
    ///   - pool: Where the item comes from.
    ///   - body: Gets the child, and the item on loan.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws, and nothing else.
    @inlinable
    public func withData<Item: ~Copyable & Sendable, R: ~Copyable, E: Error>(
        in pool: RequestDataPool<Item>,
        _ body: (Context, borrowing RequestData<Item>) throws(E) -> R
    ) throws(E) -> R {
        let (context, cell) = makeData(in: pool.handle)
        let data = pool.lend(cell)
        return try withScope(of: context) { (ctx: Context) throws(E) -> R in try body(ctx, data) }
    }

    /// Runs an `async` body with a child of this context that carries an item of `pool`, on the caller's actor.
    ///
    /// As the synchronous form. There is nothing to cancel, so task cancellation does nothing to the child.
    @inlinable
    public nonisolated(nonsending) func withData<Item: ~Copyable & Sendable, R: ~Copyable, E: Error>(
        in pool: RequestDataPool<Item>,
        _ body: nonisolated(nonsending) (Context, borrowing RequestData<Item>) async throws(E) -> R
    ) async throws(E) -> R {
        let (context, cell) = makeData(in: pool.handle)
        let data = pool.lend(cell)
        return try await withScope(of: context, isolation: #isolation) { (ctx: Context) async throws(E) -> R in
            try await body(ctx, data)
        }
    }

    /// Runs `body` with the item of `pool` that the nearest context carries, this one or an ancestor, and returns what
    /// it returns; `nil` where there is none, for a context that was closed, and where there is no memory left to keep
    /// the item meanwhile.
    ///
    /// Nobody else has the item meanwhile: others that see it wait. So it is for short work that does not wait for
    /// anything; do not ask for the same item inside. Finds the item in constant time at any depth. May race with the
    /// close of this context on another thread: the item then goes back after `body`. (Where there is no room for one
    /// more context, because the runtime's `maxContexts` is reached, such a close returns at once, but takes effect
    /// after `body`.)
    @inlinable
    public func data<Item: ~Copyable & Sendable, R: ~Copyable, E: Error>(
        in pool: RequestDataPool<Item>,
        _ body: (inout Item) throws(E) -> sending R
    ) throws(E) -> sending R? {
        guard belay_data(handle, pool.handle) != nil else { return nil }
        // The item is good for as long as a context that can see it is open, and another thread may close this one at
        // any moment: so one of our own keeps it.
        guard let keeper = makeKeeper() else { return nil }
        defer { keeper.close() }
        guard let memory = belay_data(keeper.handle, pool.handle) else { return nil }
        return try memory.assumingMemoryBound(to: DataCell<Item>.self).pointee.access(body)
    }

    /// A context that keeps what can be seen from here until it is closed: a child, which does not keep this context
    /// from ending meanwhile; where there is no room for one, this context with one more owner. `nil` if neither can be
    /// had.
    @usableFromInline
    func makeKeeper() -> Context? {
        let child = makeWithoutCancel()
        if child.whyUnmade == nil { return child }
        return belay_retain(handle) == BELAY_OK ? self : nil
    }

    /// A child with an item, and the item's memory; `nil` if there is none.
    @usableFromInline
    func makeData(in pool: belay_pool) -> (Context, UnsafeMutableRawPointer?) {
        var memory: UnsafeMutableRawPointer?
        let context = Context(made: belay_with_data(handle, pool, &memory), under: self)
        return (context, memory)
    }
}

extension RequestDataPool where Item: ~Copyable {
    /// The item at `memory`, or one that is made for a scope for which the pool had none.
    @inlinable
    func lend(_ memory: UnsafeMutableRawPointer?) -> RequestData<Item> {
        if let memory {
            return RequestData(cell: memory.assumingMemoryBound(to: DataCell<Item>.self), isStandIn: false)
        }
        let cell = UnsafeMutablePointer<DataCell<Item>>.allocate(capacity: 1)
        cell.initialize(to: DataCell(make()))
        return RequestData(cell: cell, isStandIn: true)
    }
}
