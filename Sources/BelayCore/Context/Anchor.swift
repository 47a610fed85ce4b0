// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// A node between a context and its parent that holds something for as long as any context below it lives: what a merge
/// keeps of its other parents, what a foreign parent needs. It is a value node or a detached one whose drop function is
/// ours, and it ends with its scope.
enum Anchor {
    /// In an anchor's state word, where scopes have `pulls`: what hangs on it is a merged context; a foreign parent's
    /// wrapper; or nothing, for it is the wrapper itself. For people who look at the tree.
    static let merged: UInt64 = 1 << State.pullsShift
    static let custom: UInt64 = 2 << State.pullsShift
    static let alone: UInt64 = 3 << State.pullsShift

    typealias Drop = @convention(c) (UnsafeMutableRawPointer?) -> Void

    /// Takes `above` over. `drop` runs with `held` when the last context below has gone, or now if this fails. With a
    /// key the anchor begins a chain of values of its own.
    ///
    /// `marks` says whose it is: one of the marks below.
    static func make(
        _ above: Parentage, holding held: UInt64, key: UInt64 = 0, marks: UInt64, drop: Drop
    ) -> belay_ctx {
        let cut = Parentage(
            parent: above.parent, scope: above.scope, values: key == 0 ? above.values : 0, clock: above.clock,
            runtime: above.runtime)
        let address = UInt64(UInt(bitPattern: unsafeBitCast(drop, to: UnsafeRawPointer.self)))
        let kind = key == 0 ? Kind.detached : Kind.value
        let birth: Counter =
            switch (marks == alone, key == 0) {
            case (true, true): .createdCustomDetached
            case (true, false): .createdCustomValue
            case (false, true): .createdInnerDetached
            case (false, false): .createdInnerValue
            }
        let anchor = deriveValue(cut, kind: kind, key: key, value: held, drop: address, marks: marks, as: birth)
        if anchor.bits == 0 {
            let status = belay_last_status()
            drop(UnsafeMutableRawPointer(bitPattern: UInt(held)))
            // What failed in there is not what failed here.
            LastStatus.set(status)
        }
        return anchor
    }

    /// A scope under an anchor, which it keeps from now on. `clock` is the scope whose deadline counts; 0 for none.
    static func hang(_ anchor: belay_ctx, clock: UInt32, _ limit: Limit, marks: UInt64, as birth: Counter)
        -> belay_ctx
    {
        guard let joined = Parentage.join(anchor) else { return belay_ctx() }
        let above = Parentage(
            parent: joined.parent, scope: joined.scope, values: joined.values, clock: clock, runtime: joined.runtime)
        let scope = deriveScope(above, limit, marks: marks | State.anchored, as: birth)
        _ = belay_close(anchor)
        return scope
    }
}

extension UnsafeMutablePointer where Pointee == Node {
    /// What the anchor of this scope, which has one, holds.
    var held: UInt64 { node(pointee.parent.get()).asValue.pointee.value.get() }
}
