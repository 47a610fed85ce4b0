// SPDX-License-Identifier: Apache-2.0
import CBelay

/// The table of measurements: what each is called, here and for Prometheus, and what it means. `Totals.value` knows how
/// much it is. Names are for good; a new one goes where it belongs, for nobody counts on an index.
enum Metric: Int {
    case live, liveScope, liveValue, liveDetached, liveLite
    case createdCancel, createdTimeout, createdValue, createdData, createdDetached, createdLite, createdMerge
    case createdCustom, createdInner
    case endedCanceled, endedDeadline, endedParent, endedClosed
    case attached, reset
    case customInner, customCallback, customDescriptor, customPolled
    case timersPending, timersArmed, timersFired, timersStopped
    // One for each of `Lateness.buckets`, in their order; then the sum.
    case late62us, late125us, late250us, late500us, late1ms, late2ms, late4ms, late8ms
    case late16ms, late32ms, late64ms, late128ms, late256ms, late512ms, late1024ms, lateAny, lateSum
    case driverWakeups, executorThreads, executorQueue, executorTaken
    case tasksLive, tasksCreated, groupsLive, groupsCreated
    case signalWatchers, signalArrivals
    case poolLive, poolIdle, poolHits, poolMisses
    case records, arena, limit, threads, runtimes

    static let count = Metric.runtimes.rawValue + 1

    enum Flow {
        /// Only goes up.
        case counter
        /// Says how it is now.
        case gauge
    }

    /// What Prometheus shows under one name: measurements that a label tells apart, and that make sense added up.
    struct Family {
        let name: StaticString
        let label: StaticString
        let flow: Flow
        let help: StaticString
    }

    struct Row {
        let name: StaticString
        let unit: StaticString
        /// The label's value in the family; empty where it is alone.
        let label: StaticString
        let description: StaticString
    }

    var row: Row {
        switch self {
        case .live: Row("/ctx/live:contexts", "contexts", "", "contexts that are open or kept alive by a child")
        case .liveScope:
            Row(
                "/ctx/live/scope:contexts", "contexts", "scope",
                "of these, those that can end by themselves, but lite ones")
        case .liveValue:
            Row("/ctx/live/value:contexts", "contexts", "value", "of these, those with a value or with data")
        case .liveDetached:
            Row("/ctx/live/detached:contexts", "contexts", "detached", "of these, those without cancel, and inner ones")
        case .liveLite: Row("/ctx/live/lite:contexts", "contexts", "lite", "of these, lite ones")
        case .createdCancel:
            Row(
                "/ctx/created/cancel:contexts", "contexts", "cancel",
                "made by belay_with_cancel, for groups and signals too")
        case .createdTimeout:
            Row(
                "/ctx/created/timeout:contexts", "contexts", "timeout",
                "made by belay_with_timeout and belay_with_deadline")
        case .createdValue: Row("/ctx/created/value:contexts", "contexts", "value", "made by belay_with_value")
        case .createdData: Row("/ctx/created/data:contexts", "contexts", "data", "made by belay_with_data")
        case .createdDetached:
            Row("/ctx/created/detached:contexts", "contexts", "detached", "made by belay_without_cancel")
        case .createdLite: Row("/ctx/created/lite:contexts", "contexts", "lite", "made by belay_lite")
        case .createdMerge:
            Row(
                "/ctx/created/merge:contexts", "contexts", "merge",
                "made by belay_merge, but where a parent was the answer")
        case .createdCustom: Row("/ctx/created/custom:contexts", "contexts", "custom", "made by belay_custom")
        case .createdInner:
            Row(
                "/ctx/created/inner:contexts", "contexts", "inner",
                "inside merged contexts, foreign parents and runtimes")
        case .endedCanceled: Row("/ctx/ended/canceled:contexts", "contexts", "canceled", "ended by a cancel")
        case .endedDeadline: Row("/ctx/ended/deadline:contexts", "contexts", "deadline", "ended by their own deadline")
        case .endedParent:
            Row("/ctx/ended/parent:contexts", "contexts", "parent", "ended with a parent, and known to have")
        case .endedClosed:
            Row("/ctx/ended/closed:contexts", "contexts", "closed", "closed before anything else ended them")
        case .attached: Row("/ctx/attached:contexts", "contexts", "", "contexts that joined the tree, for a listener")
        case .reset: Row("/ctx/reset:contexts", "contexts", "", "contexts that belay_reset made ready for another use")
        case .customInner:
            Row("/custom/inner:contexts", "contexts", "inner", "foreign parents that end as their inner context")
        case .customCallback:
            Row("/custom/callback:contexts", "contexts", "callback", "foreign parents that call when they end")
        case .customDescriptor:
            Row(
                "/custom/descriptor:contexts", "contexts", "descriptor",
                "foreign parents with a descriptor that is watched")
        case .customPolled:
            Row("/custom/polled:contexts", "contexts", "polled", "foreign parents that have to be asked")
        case .timersPending: Row("/timers/pending:timers", "timers", "", "timers and deadlines that are in a wheel now")
        case .timersArmed:
            Row(
                "/timers/armed:timers", "timers", "",
                "times that a timer or a deadline was put into a wheel, to move it too")
        case .timersFired:
            Row("/timers/fired:timers", "timers", "", "times that one was taken out because its time had come")
        case .timersStopped:
            Row("/timers/stopped:timers", "timers", "", "times that one was taken out before its time, to move it too")
        case .late62us: Row("/timers/lateness/le-62500ns:timers", "timers", "0.0000625", "fired at most 1/16 ms late")
        case .late125us: Row("/timers/lateness/le-125us:timers", "timers", "0.000125", "fired at most 1/8 ms late")
        case .late250us: Row("/timers/lateness/le-250us:timers", "timers", "0.00025", "fired at most 1/4 ms late")
        case .late500us: Row("/timers/lateness/le-500us:timers", "timers", "0.0005", "fired at most 1/2 ms late")
        case .late1ms: Row("/timers/lateness/le-1ms:timers", "timers", "0.001", "fired at most 1 ms late")
        case .late2ms: Row("/timers/lateness/le-2ms:timers", "timers", "0.002", "fired at most 2 ms late")
        case .late4ms: Row("/timers/lateness/le-4ms:timers", "timers", "0.004", "fired at most 4 ms late")
        case .late8ms: Row("/timers/lateness/le-8ms:timers", "timers", "0.008", "fired at most 8 ms late")
        case .late16ms: Row("/timers/lateness/le-16ms:timers", "timers", "0.016", "fired at most 16 ms late")
        case .late32ms: Row("/timers/lateness/le-32ms:timers", "timers", "0.032", "fired at most 32 ms late")
        case .late64ms: Row("/timers/lateness/le-64ms:timers", "timers", "0.064", "fired at most 64 ms late")
        case .late128ms: Row("/timers/lateness/le-128ms:timers", "timers", "0.128", "fired at most 128 ms late")
        case .late256ms: Row("/timers/lateness/le-256ms:timers", "timers", "0.256", "fired at most 256 ms late")
        case .late512ms: Row("/timers/lateness/le-512ms:timers", "timers", "0.512", "fired at most 512 ms late")
        case .late1024ms: Row("/timers/lateness/le-1024ms:timers", "timers", "1.024", "fired at most 1.024 s late")
        case .lateAny: Row("/timers/lateness/le-inf:timers", "timers", "+Inf", "fired at all")
        case .lateSum: Row("/timers/lateness/sum:nanoseconds", "nanoseconds", "", "how late they were, all together")
        case .driverWakeups:
            Row("/driver/wakeups:wakeups", "wakeups", "", "times that a driver thread woke from its sleep")
        case .executorThreads: Row("/executor/threads:threads", "threads", "", "threads of the built-in pools now")
        case .executorQueue:
            Row(
                "/executor/queue:tasks", "tasks", "", "callbacks and tasks that wait for a thread of the built-in pools"
            )
        case .executorTaken:
            Row("/executor/taken:tasks", "tasks", "", "callbacks and tasks that these threads have taken up")
        case .tasksLive:
            Row("/task/live:tasks", "tasks", "", "callbacks, timers and tasks that are pending or run, and groups")
        case .tasksCreated: Row("/task/created:tasks", "tasks", "", "callbacks, timers, tasks and groups, ever")
        case .groupsLive: Row("/group/live:groups", "groups", "", "groups that are open or have tasks")
        case .groupsCreated: Row("/group/created:groups", "groups", "", "groups, ever")
        case .signalWatchers:
            Row("/signal/watchers:contexts", "contexts", "", "open contexts of belay_notify_signals")
        case .signalArrivals:
            Row("/signal/arrivals:signals", "signals", "", "signals that arrived while one was watched for")
        case .poolLive: Row("/pool/live:items", "items", "", "items of all pools in use, or being made or dropped")
        case .poolIdle: Row("/pool/idle:items", "items", "", "items of all pools that are free")
        case .poolHits: Row("/pool/hits:gets", "gets", "hit", "gets that found a free item")
        case .poolMisses: Row("/pool/misses:gets", "gets", "miss", "gets for which an item was made")
        case .records:
            Row("/memory/records:records", "records", "", "what listeners, causes and values take, 64 bytes each")
        case .arena: Row("/memory/arena:bytes", "bytes", "", "memory taken from the system for contexts and their like")
        case .limit: Row("/memory/limit:bytes", "bytes", "", "what belay_memory_limit allows; 0 for any")
        case .threads:
            Row("/memory/threads:threads", "threads", "", "records of threads; those of past ones are used again")
        case .runtimes: Row("/runtime/live:runtimes", "runtimes", "", "runtimes that are open, the default one too")
        }
    }

    var family: Family {
        switch self {
        case .live: Family("belay_contexts", "", .gauge, "Contexts that are open or kept alive by a child.")
        case .liveScope, .liveValue, .liveDetached, .liveLite:
            Family("belay_contexts_by_shape", "shape", .gauge, "The same by what they can do.")
        case .createdCancel, .createdTimeout, .createdValue, .createdData, .createdDetached, .createdLite,
            .createdMerge, .createdCustom, .createdInner:
            Family("belay_contexts_created_total", "kind", .counter, "Contexts made, by the way they were derived.")
        case .endedCanceled, .endedDeadline, .endedParent, .endedClosed:
            Family("belay_contexts_ended_total", "reason", .counter, "Contexts that ended, by what ended them.")
        case .attached:
            Family("belay_contexts_attached_total", "", .counter, "Contexts that joined the tree, for a listener.")
        case .reset: Family("belay_contexts_reset_total", "", .counter, "Contexts made ready for another use.")
        case .customInner, .customCallback, .customDescriptor, .customPolled:
            Family("belay_foreign_parents", "path", .gauge, "Foreign parents, by how their end is noticed.")
        case .timersPending: Family("belay_timers_pending", "", .gauge, "Timers and deadlines in a wheel.")
        case .timersArmed:
            Family("belay_timers_armed_total", "", .counter, "Times that a timer or deadline went into a wheel.")
        case .timersFired: Family("belay_timers_fired_total", "", .counter, "Times that one's time had come.")
        case .timersStopped: Family("belay_timers_stopped_total", "", .counter, "Times that one was taken out before.")
        case .late62us, .late125us, .late250us, .late500us, .late1ms, .late2ms, .late4ms, .late8ms, .late16ms,
            .late32ms, .late64ms, .late128ms, .late256ms, .late512ms, .late1024ms, .lateAny, .lateSum:
            Family("belay_timer_lateness_seconds", "le", .counter, "How late timers and deadlines fired.")
        case .driverWakeups: Family("belay_driver_wakeups_total", "", .counter, "Times that a driver thread woke.")
        case .executorThreads: Family("belay_executor_threads", "", .gauge, "Threads of the built-in pools.")
        case .executorQueue: Family("belay_executor_queue_tasks", "", .gauge, "Tasks that wait for a thread.")
        case .executorTaken: Family("belay_executor_tasks_total", "", .counter, "Tasks taken up by a thread.")
        case .tasksLive: Family("belay_tasks", "", .gauge, "Callbacks, timers, tasks and groups that there are.")
        case .tasksCreated:
            Family("belay_tasks_created_total", "", .counter, "Callbacks, timers, tasks and groups made.")
        case .groupsLive: Family("belay_groups", "", .gauge, "Groups that are open or have tasks.")
        case .groupsCreated: Family("belay_groups_created_total", "", .counter, "Groups made.")
        case .signalWatchers: Family("belay_signal_contexts", "", .gauge, "Open contexts that watch for signals.")
        case .signalArrivals: Family("belay_signals_total", "", .counter, "Signals that arrived for such contexts.")
        case .poolLive: Family("belay_pool_items_in_use", "", .gauge, "Items of pools that are in use.")
        case .poolIdle: Family("belay_pool_items_free", "", .gauge, "Items of pools that are free.")
        case .poolHits, .poolMisses:
            Family("belay_pool_gets_total", "result", .counter, "Gets from pools, by whether there was a free item.")
        case .records: Family("belay_records", "", .gauge, "Records of listeners, causes and values.")
        case .arena: Family("belay_arena_bytes", "", .gauge, "Memory taken from the system.")
        case .limit: Family("belay_memory_limit_bytes", "", .gauge, "The limit set for it; 0 is none.")
        case .threads: Family("belay_thread_records", "", .gauge, "Records of threads that use or used Belay.")
        case .runtimes: Family("belay_runtimes", "", .gauge, "Runtimes that are open.")
        }
    }

    /// Which bucket of the histogram it is; nil for all others.
    var bucket: Int? {
        let place = rawValue - Metric.late62us.rawValue
        return 0..<Lateness.buckets ~= place ? place : nil
    }

    /// The one of that name.
    static func named(_ name: UnsafePointer<CChar>) -> Metric? {
        for index in 0..<count {
            if let metric = Metric(rawValue: index), metric.row.name.equals(name) { return metric }
        }
        return nil
    }
}

extension Metric.Row {
    init(_ name: StaticString, _ unit: StaticString, _ label: StaticString, _ description: StaticString) {
        self.init(name: name, unit: unit, label: label, description: description)
    }
}

extension Metric.Family {
    init(_ name: StaticString, _ label: StaticString, _ flow: Metric.Flow, _ help: StaticString) {
        self.init(name: name, label: label, flow: flow, help: help)
    }
}

extension StaticString {
    fileprivate func equals(_ other: UnsafePointer<CChar>) -> Bool {
        for i in 0..<utf8CodeUnitCount where UInt8(bitPattern: other[i]) != utf8Start[i] { return false }
        return other[utf8CodeUnitCount] == 0
    }

    /// For C: a constant, with a NUL behind it.
    var cString: UnsafePointer<CChar> { UnsafeRawPointer(utf8Start).assumingMemoryBound(to: CChar.self) }
}
