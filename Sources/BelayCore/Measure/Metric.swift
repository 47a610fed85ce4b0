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
    case valueNearest, valueFirst, valueSecond, valueFurther, valueMissed
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

    /// Which bucket of the histogram it is; nil for all others.
    var bucket: Int? {
        let place = rawValue - Metric.late62us.rawValue
        return 0..<Lateness.buckets ~= place ? place : nil
    }

    /// What Prometheus shows under one name, measurements that a label tells apart and that make sense added up: its
    /// type there, its name, the label, and help. Behind it its measurements, in the order of the cases: what each is
    /// called, the label's value, and what it means. What there is none of is empty.
    fileprivate static var texts: StaticString {
        """
        gauge\0belay_contexts\0\0Contexts that are open or kept alive by a child.\0\
        /ctx/live:contexts\0\0contexts that are open or kept alive by a child\0\
        gauge\0belay_contexts_by_shape\0shape\0The same by what they can do.\0\
        /ctx/live/scope:contexts\0scope\0of these, those that can end by themselves, but lite ones\0\
        /ctx/live/value:contexts\0value\0of these, those with a value or with data\0\
        /ctx/live/detached:contexts\0detached\0of these, those without cancel, and inner ones\0\
        /ctx/live/lite:contexts\0lite\0of these, lite ones\0\
        counter\0belay_contexts_created_total\0kind\0Contexts made, by the way they were derived.\0\
        /ctx/created/cancel:contexts\0cancel\0made by belay_with_cancel, for groups and signals too\0\
        /ctx/created/timeout:contexts\0timeout\0made by belay_with_timeout and belay_with_deadline\0\
        /ctx/created/value:contexts\0value\0made by belay_with_value\0\
        /ctx/created/data:contexts\0data\0made by belay_with_data\0\
        /ctx/created/detached:contexts\0detached\0made by belay_without_cancel\0\
        /ctx/created/lite:contexts\0lite\0made by belay_lite\0\
        /ctx/created/merge:contexts\0merge\0made by belay_merge, but where a parent was the answer\0\
        /ctx/created/custom:contexts\0custom\0made by belay_custom\0\
        /ctx/created/inner:contexts\0inner\0inside merged contexts, foreign parents and runtimes\0\
        counter\0belay_contexts_ended_total\0reason\0Contexts that ended, by what ended them.\0\
        /ctx/ended/canceled:contexts\0canceled\0ended by a cancel\0\
        /ctx/ended/deadline:contexts\0deadline\0ended by their own deadline\0\
        /ctx/ended/parent:contexts\0parent\0ended with a parent, and known to have\0\
        /ctx/ended/closed:contexts\0closed\0closed before anything else was seen to end them\0\
        counter\0belay_contexts_attached_total\0\0Contexts that joined the tree, for a listener.\0\
        /ctx/attached:contexts\0\0contexts that joined the tree, for a listener\0\
        counter\0belay_contexts_reset_total\0\0Contexts made ready for another use.\0\
        /ctx/reset:contexts\0\0contexts that belay_reset made ready for another use\0\
        counter\0belay_value_lookups_total\0found\0Values looked up, by how deep they were found.\0\
        /value/found/nearest:lookups\0nearest\0look-ups that found the context's nearest value\0\
        /value/found/level-1:lookups\0level-1\0look-ups that found it on the first level of the index of keys\0\
        /value/found/level-2:lookups\0level-2\0look-ups that found it on the second level\0\
        /value/found/further:lookups\0further\0look-ups that found it further down, or past a foreign parent\0\
        /value/missed:lookups\0no\0look-ups that found nothing\0\
        gauge\0belay_foreign_parents\0path\0Foreign parents, by how their end is noticed.\0\
        /custom/inner:contexts\0inner\0foreign parents that end as their inner context\0\
        /custom/callback:contexts\0callback\0foreign parents that call when they end\0\
        /custom/descriptor:contexts\0descriptor\0foreign parents with a descriptor that is watched\0\
        /custom/polled:contexts\0polled\0foreign parents that have to be asked\0\
        gauge\0belay_timers_pending\0\0Timers and deadlines in a wheel.\0\
        /timers/pending:timers\0\0timers and deadlines that are in a wheel now\0\
        counter\0belay_timers_armed_total\0\0Times that a timer or deadline went into a wheel.\0\
        /timers/armed:timers\0\0times that a timer or a deadline was put into a wheel, to move it too\0\
        counter\0belay_timers_fired_total\0\0Times that one's time had come.\0\
        /timers/fired:timers\0\0times that one was taken out because its time had come\0\
        counter\0belay_timers_stopped_total\0\0Times that one was taken out before.\0\
        /timers/stopped:timers\0\0times that one was taken out before its time, to move it too\0\
        histogram\0belay_timer_lateness_seconds\0le\0How late timers and deadlines fired.\0\
        /timers/lateness/le-62500ns:timers\00.0000625\0fired at most 1/16 ms late\0\
        /timers/lateness/le-125us:timers\00.000125\0fired at most 1/8 ms late\0\
        /timers/lateness/le-250us:timers\00.00025\0fired at most 1/4 ms late\0\
        /timers/lateness/le-500us:timers\00.0005\0fired at most 1/2 ms late\0\
        /timers/lateness/le-1ms:timers\00.001\0fired at most 1 ms late\0\
        /timers/lateness/le-2ms:timers\00.002\0fired at most 2 ms late\0\
        /timers/lateness/le-4ms:timers\00.004\0fired at most 4 ms late\0\
        /timers/lateness/le-8ms:timers\00.008\0fired at most 8 ms late\0\
        /timers/lateness/le-16ms:timers\00.016\0fired at most 16 ms late\0\
        /timers/lateness/le-32ms:timers\00.032\0fired at most 32 ms late\0\
        /timers/lateness/le-64ms:timers\00.064\0fired at most 64 ms late\0\
        /timers/lateness/le-128ms:timers\00.128\0fired at most 128 ms late\0\
        /timers/lateness/le-256ms:timers\00.256\0fired at most 256 ms late\0\
        /timers/lateness/le-512ms:timers\00.512\0fired at most 512 ms late\0\
        /timers/lateness/le-1024ms:timers\01.024\0fired at most 1.024 s late\0\
        /timers/lateness/le-inf:timers\0+Inf\0fired at all\0\
        /timers/lateness/sum:nanoseconds\0\0how late they were, all together\0\
        counter\0belay_driver_wakeups_total\0\0Times that a driver thread woke.\0\
        /driver/wakeups:wakeups\0\0times that a driver thread woke from its sleep\0\
        gauge\0belay_executor_threads\0\0Threads of the built-in pools.\0\
        /executor/threads:threads\0\0threads of the built-in pools now\0\
        gauge\0belay_executor_queue_tasks\0\0Tasks that wait for a thread.\0\
        /executor/queue:tasks\0\0callbacks and tasks that wait for a thread of the built-in pools\0\
        counter\0belay_executor_tasks_total\0\0Tasks taken up by a thread.\0\
        /executor/taken:tasks\0\0callbacks and tasks that these threads have taken up\0\
        gauge\0belay_tasks\0\0Callbacks, timers, tasks and groups that there are.\0\
        /task/live:tasks\0\0callbacks, timers and tasks that are pending or run, and groups\0\
        counter\0belay_tasks_created_total\0\0Callbacks, timers, tasks and groups made.\0\
        /task/created:tasks\0\0callbacks, timers, tasks and groups, ever\0\
        gauge\0belay_groups\0\0Groups that are open or have tasks.\0\
        /group/live:groups\0\0groups that are open or have tasks\0\
        counter\0belay_groups_created_total\0\0Groups made.\0\
        /group/created:groups\0\0groups, ever\0\
        gauge\0belay_signal_contexts\0\0Open contexts that watch for signals.\0\
        /signal/watchers:contexts\0\0open contexts of belay_notify_signals\0\
        counter\0belay_signals_total\0\0Signals that arrived for such contexts.\0\
        /signal/arrivals:signals\0\0signals that arrived while one was watched for\0\
        gauge\0belay_pool_items_in_use\0\0Items of pools that are in use.\0\
        /pool/live:items\0\0items of all pools in use, or being made or dropped\0\
        gauge\0belay_pool_items_free\0\0Items of pools that are free.\0\
        /pool/idle:items\0\0items of all pools that are free\0\
        counter\0belay_pool_gets_total\0result\0Gets from pools, by whether there was a free item.\0\
        /pool/hits:gets\0hit\0gets that found a free item\0\
        /pool/misses:gets\0miss\0gets for which an item was made\0\
        gauge\0belay_records\0\0Records of listeners, causes and values.\0\
        /memory/records:records\0\0what listeners, causes and values take, 64 bytes each\0\
        gauge\0belay_arena_bytes\0\0Memory taken from the system.\0\
        /memory/arena:bytes\0\0memory taken from the system for contexts and their like\0\
        gauge\0belay_memory_limit_bytes\0\0The limit set for it; 0 is none.\0\
        /memory/limit:bytes\0\0what belay_memory_limit allows; 0 for any\0\
        gauge\0belay_thread_records\0\0Records of threads that use or used Belay.\0\
        /memory/threads:threads\0\0records of threads; those of past ones are used again\0\
        gauge\0belay_runtimes\0\0Runtimes that are open.\0\
        /runtime/live:runtimes\0\0runtimes that are open, the default one too\0
        """
    }
}

/// A row of the table. The texts are constants, with a NUL behind each.
struct MetricRow {
    let metric: Metric
    let family: MetricFamily
    let name: UnsafePointer<CChar>
    let label: UnsafePointer<CChar>
    let description: UnsafePointer<CChar>

    /// What follows the colon in its name.
    var unit: UnsafePointer<CChar> {
        var unit = name
        while unit[-1] != CChar(UInt8(ascii: ":")) { unit += 1 }
        return unit
    }
}

struct MetricFamily {
    let type: UnsafePointer<CChar>
    let name: UnsafePointer<CChar>
    let label: UnsafePointer<CChar>
    let help: UnsafePointer<CChar>

    fileprivate init(_ type: UnsafePointer<CChar>) {
        self.type = type
        name = type.next
        label = name.next
        help = label.next
    }

    /// It may go down, too.
    var isGauge: Bool { type.pointee == CChar(UInt8(ascii: "g")) }
}

/// Walks the table.
struct MetricRows {
    private var text = Metric.texts.cString
    private var family = MetricFamily(Metric.texts.cString)
    private var index = 0

    /// Nil after the last one.
    @inline(never) mutating func next() -> MetricRow? {
        guard let metric = Metric(rawValue: index) else { return nil }
        index += 1
        if text.pointee != CChar(UInt8(ascii: "/")) {
            family = MetricFamily(text)
            text = family.help.next
        }
        let label = text.next
        let row = MetricRow(metric: metric, family: family, name: text, label: label, description: label.next)
        text = row.description.next
        return row
    }

    /// The one of that name. Looked for from here on, and then from the beginning: names are most often asked for in
    /// the order of the table.
    mutating func find(_ name: UnsafePointer<CChar>) -> Metric? {
        let start = index
        while let row = next() {
            if row.name.equals(name) { return row.metric }
        }
        self = MetricRows()
        while index < start, let row = next() {
            if row.name.equals(name) { return row.metric }
        }
        return nil
    }

    static func row(_ index: Int) -> MetricRow? {
        var rows = MetricRows()
        while let row = rows.next() {
            if row.metric.rawValue == index { return row }
        }
        return nil
    }
}
