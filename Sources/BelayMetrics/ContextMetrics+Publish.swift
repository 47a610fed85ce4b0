// SPDX-License-Identifier: Apache-2.0
#if Metrics
public import Belay
public import CoreMetrics

extension ContextMetrics {
    /// Hands the measurements to the program's metrics system, through swift-metrics: counters as counters, gauges as
    /// gauges, under their own names without the unit, such as `belay.ctx.created.timeout`.
    ///
    /// Keep one publisher, and call ``publish()`` every so often, for instance before each export:
    ///
    /// ```swift
    /// let publisher = ContextMetrics.Publisher()
    /// while !ctx.isDone {
    ///     publisher.publish()
    ///     try await ctx.sleep(for: .seconds(10))
    /// }
    /// ```
    ///
    /// Not to be called on two threads at a time: it remembers what it has handed over.
    public final class Publisher {
        private let counters: [(name: String, counter: CoreMetrics.Counter)]
        private let gauges: [(name: String, gauge: CoreMetrics.Gauge)]
        private var last: [String: UInt64] = [:]

        /// With the metrics system's own factory, unless one is given.
        public init(factory: (any MetricsFactory)? = nil) {
            let factory = factory ?? MetricsSystem.factory
            let all = ContextMetrics.all
            counters = all.filter { $0.kind == .counter }.map {
                ($0.name, CoreMetrics.Counter(label: Self.label($0), dimensions: [], factory: factory))
            }
            gauges = all.filter { $0.kind == .gauge }.map {
                ($0.name, CoreMetrics.Gauge(label: Self.label($0), dimensions: [], factory: factory))
            }
        }

        /// Reads all measurements, records the gauges, and adds to the counters what came since the last call.
        public func publish() {
            let metrics = ContextMetrics.read()
            for (name, counter) in counters {
                let now = metrics[name] ?? 0
                let before = last.updateValue(now, forKey: name) ?? 0
                if now > before { counter.increment(by: Int64(clamping: now - before)) }
            }
            for (name, gauge) in gauges { gauge.record(metrics[name] ?? 0) }
        }

        private static func label(_ metric: Metric) -> String {
            "belay" + metric.name.prefix { $0 != ":" }.map { $0 == "/" ? "." : String($0) }.joined()
        }
    }
}
#endif
