// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

// A merged context hangs on its first parent like an attached child, and on each other one by a *link* (Links.swift).
// Its anchor keeps the other parents' scopes, for their causes, and the links, until the last context below has gone.
// Its clock is the earliest of all, wherever that is (Ways.swift, once deadlines move).

@_cdecl("belay_merge") @implementation
public func belay_merge(_ parents: UnsafePointer<belay_ctx>?, _ n: Int) -> belay_ctx {
    guard let parents, n > 0 else { return Merge.fail(BELAY_EINVAL) }
    for i in 0..<n {
        let handle = Handle(parents[i])
        if handle.kind == Kind.lite && handle.find() != nil { return Merge.fail(BELAY_ELEAF) }
        guard handle.find() != nil || handle.pinAfterSetup() != nil else { return Merge.fail(handle.diagnose()) }
    }
    return withUnsafeTemporaryAllocation(of: UInt32.self, capacity: n) { scopes in
        Merge.run(parents, n, scopes.baseAddress.unsafelyUnwrapped)
    }
}

enum Merge {
    @inline(never) static func fail(_ status: belay_status) -> belay_ctx {
        LastStatus.set(status)
        return belay_ctx()
    }

    /// `scopes` has room for as many.
    fileprivate static func run(_ parents: UnsafePointer<belay_ctx>, _ n: Int, _ scopes: UnsafeMutablePointer<UInt32>)
        -> belay_ctx
    {
        guard let above = Parentage.join(parents[0]) else { return belay_ctx() }
        // Others whose end would not come through the first anyway, each once. Kept by a reference.
        var count = 0
        var sole = 0
        var soleHasValues = false
        for i in 1..<max(n, 1) {
            let handle = Handle(parents[i])
            guard let pinned = handle.pin() else {
                giveBack(scopes, count)
                return above.leave(handle.diagnose())
            }
            let scope = pinned.scopeIndex(kind: handle.kind)
            if scope != 0 && scope != above.scope && !contains(scopes, count, scope) {
                node(scope).retain()
                scopes[count] = scope
                if count == 0 {
                    sole = i
                    soleHasValues = pinned.pointee.values.get() != 0
                }
                count += 1
            }
            pinned.unpin()
        }
        // One that is left alone is the answer itself, unless values would be lost, or found that the first one has not.
        let isSole = count == 0 || (count == 1 && above.scope == 0 && above.values == 0 && !soleHasValues)
        if isSole {
            giveBack(scopes, count)
            node(above.parent).unpin()
            let answer = parents[count == 0 ? 0 : sole]
            let status = belay_retain(answer)
            return status == BELAY_OK ? answer : fail(status)
        }
        return hang(above, scopes, count)
    }

    @inline(never) static func contains(
        _ scopes: UnsafeMutablePointer<UInt32>, _ count: Int, _ scope: UInt32
    ) -> Bool {
        for i in 0..<count where scopes[i] == scope { return true }
        return false
    }

    private static func giveBack(_ scopes: UnsafeMutablePointer<UInt32>, _ count: Int) {
        for i in 0..<count { node(scopes[i]).unpin() }
    }

    private static func hang(_ above: Parentage, _ scopes: UnsafeMutablePointer<UInt32>, _ count: Int) -> belay_ctx {
        // Before the others, and before the merged context is attached to it, which would not look up any more.
        if above.scope != 0 { _ = node(above.scope).settle() }
        // Settled by what had ended above them before, and attached: one of their clocks may be the one that counts,
        // and who settles the merged context by it does not look up from there.
        for i in 0..<count {
            _ = node(scopes[i]).settle()
            let attached = node(scopes[i]).attach()
            if attached != BELAY_OK {
                giveBack(scopes, count)
                return above.leave(attached)
            }
        }
        guard let record = Links.make(scopes, count) else {
            giveBack(scopes, count)
            return above.leave(BELAY_ENOMEM)
        }
        let clock = earliestClock(above, scopes, count)
        let anchor = Anchor.make(
            above, holding: UInt64(record), marks: Anchor.merged, drop: { Links.free(UInt32(UInt(bitPattern: $0))) })
        if anchor.bits == 0 { return belay_ctx() }
        node(Handle(anchor).index).asValue.pointee.key.set(key)
        let merged = Anchor.hang(anchor, clock: clock, Limit(), marks: 0, as: .createdMerge)
        if merged.bits == 0 { return merged }
        // The first parent's end is pushed to it like the others', so that the first to end is the first to be heard
        // of; of those that have ended already it is the first that counts. Nobody else knows the context yet.
        let scope = node(Handle(merged).index)
        var attached = scope.attach()
        // The first parent's deadline too: the clock that counts now may be moved to later.
        if attached == BELAY_OK && !scope.settle().isDone && above.scope != 0 {
            attached = node(above.scope).clockInEffect.map { Shard.arm($0) } ?? BELAY_OK
        }
        if attached != BELAY_OK { LastStatus.set(attached) }
        if attached == BELAY_OK && Links.register(record, merged) { return merged }
        let status = belay_last_status()
        _ = belay_close(merged)
        return fail(status)
    }

    /// The clock that counts. One that shows another time does not: its deadline comes as its context's end.
    private static func earliestClock(_ above: Parentage, _ scopes: UnsafeMutablePointer<UInt32>, _ count: Int)
        -> UInt32
    {
        var clock = above.clock
        var earliest = clock == 0 ? Clock.never : node(clock).latestBelow
        for i in 0..<count where Clock.isShared(node(scopes[i]).state.runtime, State(above.runtime).runtime) {
            // One that has ended tells why by its link. Its clock may have gone on, and say something else.
            guard !node(scopes[i]).state.isDone, let other = node(scopes[i]).clockInEffect else { continue }
            let deadline = other.pointee.deadline.get()
            if deadline < earliest {
                earliest = deadline
                clock = other.index
            }
        }
        return clock
    }

    // MARK: its anchor

    /// In the place of a key: the anchor is a merged context's. Another number than `Foreign.key`.
    private static let key: UInt64 = 2

    fileprivate static func isKey(_ key: UInt64) -> Bool { key == Merge.key }
}

extension UnsafeMutablePointer where Pointee == Node {
    var isMerged: Bool {
        state.has(State.anchored) && Merge.isKey(node(pointee.parent.get()).asValue.pointee.key.get())
    }
}
