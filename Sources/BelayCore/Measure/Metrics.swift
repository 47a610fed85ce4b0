// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// All threads' counters, added up once for a whole reading.
struct Totals {
    private let words: UnsafeMutablePointer<UInt64>
    /// Added up, once too, when the first of them is asked for.
    private lazy var pools = PoolTotals.read()

    // Behind the counters: what the magazines count.
    private static let tasksTaken = Counter.count
    private static let tasksGiven = Counter.count + 1
    private static let recordsTaken = Counter.count + 2
    private static let recordsGiven = Counter.count + 3
    private static let threads = Counter.count + 4
    private static let count = Counter.count + 5

    static func reading<R>(_ body: (inout Totals) -> R) -> R {
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: count) { words in
            words.initialize(repeating: 0)
            var totals = Totals(words: words.baseAddress.unsafelyUnwrapped)
            totals.add()
            return body(&totals)
        }
    }

    private func add() {
        let words = words
        Thread.forEach { thread in
            for index in 0..<Counter.count { words[index] &+= thread.counter(index).pointee.get() }
            words[Totals.tasksTaken] &+= thread.pointee.tasks.taken.get()
            words[Totals.tasksGiven] &+= thread.pointee.tasks.given.get()
            words[Totals.recordsTaken] &+= thread.pointee.records.taken.get() &+ thread.pointee.listens.taken.get()
            words[Totals.recordsGiven] &+= thread.pointee.records.given.get() &+ thread.pointee.listens.given.get()
            words[Totals.threads] &+= 1
        }
    }

    private subscript(_ counter: Counter) -> UInt64 { words[counter.rawValue] }

    /// What lives. Others go on while we add up, so for a moment it may come out below zero.
    private func difference(_ more: UInt64, _ less: UInt64) -> UInt64 { more > less ? more - less : 0 }

    private var scopesBorn: UInt64 {
        self[.createdCancel] &+ self[.createdTimeout] &+ self[.createdMerge] &+ self[.createdCustom]
            &+ self[.createdInnerScope]
    }
    private var valuesBorn: UInt64 {
        self[.createdValue] &+ self[.createdData] &+ self[.createdCustomValue] &+ self[.createdInnerValue]
    }
    private var detachedBorn: UInt64 {
        self[.createdDetached] &+ self[.createdCustomDetached] &+ self[.createdInnerDetached]
    }

    private func gone(_ kind: UInt64) -> UInt64 {
        let first = Counter.goneNone.rawValue + Int(kind) * 2
        return words[first] &+ words[first + 1]
    }

    private var live: UInt64 {
        let born = scopesBorn &+ valuesBorn &+ detachedBorn &+ self[.createdLite] &+ self[.createdRoot]
        return difference(
            born, gone(Kind.scope) &+ gone(Kind.value) &+ gone(Kind.detached) &+ gone(Kind.lite) &+ gone(Kind.root))
    }

    /// The bucket's and all below it.
    private func late(_ bucket: Int) -> UInt64 {
        var sum: UInt64 = 0
        for index in 0...bucket { sum &+= words[Counter.lateness.rawValue + index] }
        return sum
    }

    private func sum(_ value: (UnsafeMutablePointer<Runtime>) -> UInt64) -> UInt64 {
        var sum: UInt64 = 0
        Runtime.forEach { sum &+= value($0) }
        return sum
    }

    mutating func value(_ metric: Metric) -> UInt64 {
        if let bucket = metric.bucket { return late(bucket) }
        if let counter = metric.counter { return self[counter] }
        let globals = Globals.pointer
        return switch metric {
        case .live: live
        case .liveScope: difference(scopesBorn, gone(Kind.scope))
        case .liveValue: difference(valuesBorn, gone(Kind.value))
        case .liveDetached: difference(detachedBorn, gone(Kind.detached))
        case .liveLite: difference(self[.createdLite], gone(Kind.lite))
        case .createdCustom: self[.createdCustom] &+ self[.createdCustomValue] &+ self[.createdCustomDetached]
        case .createdInner:
            self[.createdInnerScope] &+ self[.createdInnerValue] &+ self[.createdInnerDetached] &+ self[.createdRoot]
        case .endedCanceled: self[.endedCanceled] &+ Signals.pointer.pointee.canceled.get()
        case .endedClosed: self[.endedClosed] &+ self[.goneScope] &+ self[.goneLite]
        case .customInner: globals.pointee.foreign.count(.inner)
        case .customCallback: globals.pointee.foreign.count(.callback)
        case .customDescriptor: globals.pointee.foreign.count(.descriptor)
        case .customPolled: globals.pointee.foreign.count(.polled)
        case .timersPending: difference(self[.timerArmed], self[.timerFired] &+ self[.timerStopped])
        case .driverWakeups: sum { $0.pointee.driver.wakeups.get() }
        case .executorThreads: sum { UInt64($0.pointee.executor.threads.get()) }
        case .executorQueue:
            sum { difference($0.pointee.executor.appended.get(), $0.pointee.executor.taken.get()) }
        case .executorTaken: sum { $0.pointee.executor.taken.get() }
        case .tasksLive: difference(words[Totals.tasksTaken], words[Totals.tasksGiven])
        case .tasksCreated: words[Totals.tasksTaken]
        case .groupsLive: difference(self[.groupMade], self[.groupGone])
        case .signalWatchers: UInt64(Signals.pointer.pointee.watchers.get())
        case .signalArrivals: Signals.arrivals
        case .poolLive: pools.live
        case .poolIdle: pools.idle
        case .poolHits: pools.hits
        case .poolMisses: pools.misses
        case .records: difference(words[Totals.recordsTaken], words[Totals.recordsGiven])
        case .arena: globals.pointee.arenaBytes()
        case .limit: globals.pointee.memoryLimitBytes()
        case .threads: words[Totals.threads]
        case .runtimes: sum { $0 == Runtime.standard || $0.pointee.phase == Runtime.open ? 1 : 0 }
        default: 0
        }
    }
}

extension Metric {
    /// The counter that it is as it stands; nil for those that are put together.
    fileprivate var counter: Counter? {
        switch self {
        case .createdCancel: .createdCancel
        case .createdTimeout: .createdTimeout
        case .createdValue: .createdValue
        case .createdData: .createdData
        case .createdDetached: .createdDetached
        case .createdLite: .createdLite
        case .createdMerge: .createdMerge
        case .endedDeadline: .endedDeadline
        case .endedParent: .endedParent
        case .attached: .attached
        case .reset: .reset
        case .valueNearest: .valueNearest
        case .valueFirst: .valueFirst
        case .valueSecond: .valueSecond
        case .valueFurther: .valueFurther
        case .valueMissed: .valueMissed
        case .timersArmed: .timerArmed
        case .timersFired: .timerFired
        case .timersStopped: .timerStopped
        case .lateSum: .latenessSum
        case .groupsCreated: .groupMade
        default: nil
        }
    }
}

@_cdecl("belay_metrics_read") @implementation
public func belay_metrics_read(_ samples: UnsafeMutablePointer<belay_sample>?, _ n: Int) -> belay_status {
    guard let samples else { return n == 0 ? BELAY_OK : BELAY_EINVAL }
    return Totals.reading { totals in
        var status = BELAY_OK
        var rows = MetricRows()
        for i in 0..<max(n, 0) {
            let metric = samples[i].name.flatMap { rows.find($0) }
            samples[i].value = metric.map { totals.value($0) } ?? 0
            samples[i].status = metric == nil ? BELAY_EINVAL : BELAY_OK
            if metric == nil { status = BELAY_EINVAL }
        }
        return status
    }
}

@_cdecl("belay_metric_at") @implementation
public func belay_metric_at(_ index: Int, _ metric: UnsafeMutablePointer<belay_metric>?) -> Bool {
    guard let metric, let row = MetricRows.row(index) else { return false }
    metric.pointee = belay_metric(
        name: row.name, description: row.description,
        kind: row.family.isGauge ? BELAY_METRIC_GAUGE : BELAY_METRIC_COUNTER, unit: row.unit)
    return true
}
