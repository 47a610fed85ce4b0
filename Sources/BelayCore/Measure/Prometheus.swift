// SPDX-License-Identifier: Apache-2.0
import CBelay

// The table as Prometheus reads it, in the text format 0.0.4: for each family its help and type, then a line for each of
// its measurements. Rows of one family follow each other in the table.

@_cdecl("belay_metrics_prometheus") @implementation
public func belay_metrics_prometheus(_ text: UnsafeMutablePointer<CChar>?, _ size: Int) -> Int {
    guard var writer = WireWriter(text, size) else { return refuseText(text, size) }
    Totals.reading { totals in
        var last: StaticString = ""
        for index in 0..<Metric.count {
            guard let metric = Metric(rawValue: index) else { continue }
            let family = metric.family
            if family.name.utf8Start != last.utf8Start { writer.putHead(family, metric) }
            last = family.name
            writer.putLine(family, metric, totals)
        }
    }
    return writer.finish()
}

extension WireWriter {
    fileprivate mutating func put(_ text: StaticString) {
        for i in 0..<text.utf8CodeUnitCount { put(text.utf8Start[i]) }
    }

    fileprivate mutating func putHead(_ family: Metric.Family, _ metric: Metric) {
        put("# HELP ")
        put(family.name)
        put(" ")
        put(family.help)
        put("\n# TYPE ")
        put(family.name)
        put(metric.bucket != nil ? " histogram\n" : family.flow == .counter ? " counter\n" : " gauge\n")
    }

    fileprivate mutating func putLine(_ family: Metric.Family, _ metric: Metric, _ totals: Totals) {
        let value = totals.value(metric)
        put(family.name)
        if metric == .lateSum {
            // The histogram's last two lines; its unit is seconds.
            put("_sum ")
            put(number: value / 1_000_000_000)
            put(".")
            var power: UInt64 = 100_000_000
            while power > 0 {
                put(0x30 + UInt8(value / power % 10))
                power /= 10
            }
            put("\n")
            put(family.name)
            put("_count ")
            put(number: totals.value(.lateAny))
            put("\n")
            return
        }
        if metric.bucket != nil { put("_bucket") }
        let label = metric.row.label
        if label.utf8CodeUnitCount != 0 {
            put("{")
            put(family.label)
            put("=\"")
            put(label)
            put("\"}")
        }
        put(" ")
        put(number: value)
        put("\n")
    }

    /// Any that a counter may have.
    private mutating func put(number: UInt64) { put(decimal: Int64(min(number, UInt64(Int64.max)))) }
}
