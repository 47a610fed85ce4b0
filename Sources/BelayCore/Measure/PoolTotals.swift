// SPDX-License-Identifier: Apache-2.0

/// What `belay_metrics_read` says about all pools together.
struct PoolTotals {
    var live: UInt64 = 0
    var idle: UInt64 = 0
    var hits: UInt64 = 0
    var misses: UInt64 = 0

    @inline(never) static func read() -> PoolTotals {
        var items: UInt64 = 0
        var totals = PoolTotals()
        for index in 0...Globals.pointer.pointee.poolCount.get() {
            let pool = Pool.at(index)
            let existing = pool.pointee.items.get()
            if existing == 0 { continue }
            items = items &+ existing
            totals.idle = totals.idle &+ pool.pointee.deposited.get()
            pool.forEachMagazine { totals.idle = totals.idle &+ $0.freeItems }
        }
        Thread.forEach { thread in
            guard let counters = thread.poolTable?.counters else { return }
            totals.hits = totals.hits &+ counters.pointee.hits.get()
            totals.misses = totals.misses &+ counters.pointee.misses.get()
        }
        // Others go on while we add up, so the difference may for a moment come out below zero.
        totals.live = items > totals.idle ? items - totals.idle : 0
        return totals
    }
}
