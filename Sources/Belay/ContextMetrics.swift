// SPDX-License-Identifier: Apache-2.0
import CBelay

/// What Belay does and what it costs, in numbers: all measurements of one moment.
///
/// ```swift
/// let metrics = ContextMetrics.read()
/// print(metrics.live, metrics["/ctx/attached:contexts"] ?? 0)
/// ```
///
/// Counting is always on. A reading is exact when nothing else runs, and near otherwise; counters never go back.
public struct ContextMetrics: Sendable {
    /// Something that can be measured.
    public struct Metric: Sendable, Hashable {
        /// Whether it only goes up, or says how it is now.
        public enum Kind: Sendable, Hashable {
            case counter
            case gauge
        }

        /// Such as `/ctx/created/timeout:contexts`. Stays the same in later versions.
        public let name: String
        /// Half a sentence for people, in lower case.
        public let description: String
        public let kind: Kind
        /// What follows the colon in ``name``.
        public let unit: String
    }

    /// All that can be measured. Later versions add some, at any place.
    public static let all: [Metric] = {
        var metrics: [Metric] = []
        var found = belay_metric()
        while belay_metric_at(metrics.count, &found) {
            metrics.append(
                Metric(
                    name: String(cString: found.name), description: String(cString: found.description),
                    kind: found.kind == BELAY_METRIC_COUNTER ? .counter : .gauge, unit: String(cString: found.unit)))
        }
        return metrics
    }()

    private let values: [String: UInt64]

    /// For all of them, in the order of `all`. The names are constants.
    private nonisolated(unsafe) static let blank: [belay_sample] = {
        var samples: [belay_sample] = []
        var found = belay_metric()
        while belay_metric_at(samples.count, &found) {
            samples.append(belay_sample(name: found.name, value: 0, status: BELAY_OK))
        }
        return samples
    }()

    /// Reads all measurements.
    public static func read() -> ContextMetrics {
        var samples = blank
        _ = belay_metrics_read(&samples, samples.count)
        return ContextMetrics(values: Dictionary(uniqueKeysWithValues: zip(all.map(\.name), samples.map(\.value))))
    }

    /// The measurement of that name; nil for one that there is not.
    public subscript(_ name: String) -> UInt64? { values[name] }

    /// Contexts that are open or kept alive by a child.
    public var live: UInt64 { values["/ctx/live:contexts"] ?? 0 }
    /// Contexts that joined the tree because somebody listened.
    public var attached: UInt64 { values["/ctx/attached:contexts"] ?? 0 }

    /// How contexts are derived.
    public enum Derivation: String, Sendable, CaseIterable {
        case cancel, timeout, value, data, detached, lite, merge, custom, inner
    }

    /// What ends contexts.
    public enum End: String, Sendable, CaseIterable {
        case cancelled = "canceled"
        case deadline, parent, closed
    }

    /// Contexts made in that way, ever.
    public func created(_ derivation: Derivation) -> UInt64 {
        values["/ctx/created/\(derivation.rawValue):contexts"] ?? 0
    }
    /// Contexts that ended so, ever.
    public func ended(_ end: End) -> UInt64 { values["/ctx/ended/\(end.rawValue):contexts"] ?? 0 }

    /// All measurements as text for Prometheus, exposition format 0.0.4: the body for `GET /metrics`, with the content
    /// type `text/plain; version=0.0.4`.
    public static var prometheusText: String {
        wireText(capacity: Int(BELAY_PROMETHEUS_SIZE)) { belay_metrics_prometheus($0, $1) } ?? ""
    }
}
