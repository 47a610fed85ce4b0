// SPDX-License-Identifier: Apache-2.0
import CBelay

// The table as Prometheus reads it, in the text format 0.0.4: for each family its help and type, then a line for each
// of its measurements. Rows of one family follow each other in the table.

@_cdecl("belay_metrics_prometheus") @implementation
public func belay_metrics_prometheus(_ text: UnsafeMutablePointer<CChar>?, _ size: Int) -> Int {
    guard var writer = Writer(text, size) else { return refuseText(text, size) }
    Totals.reading { totals in
        var rows = MetricRows()
        var last: UnsafePointer<CChar>?
        while let row = rows.next() {
            if row.family.name != last { writer.putHead(row.family) }
            last = row.family.name
            writer.putLine(row, &totals)
        }
    }
    return writer.finish()
}

extension Writer {
    fileprivate mutating func putHead(_ family: MetricFamily) {
        put("# HELP ")
        put(cString: family.name)
        put(" ")
        put(cString: family.help)
        put("\n# TYPE ")
        put(cString: family.name)
        put(" ")
        put(cString: family.type)
        put("\n")
    }

    fileprivate mutating func putLine(_ row: MetricRow, _ totals: inout Totals) {
        let value = totals.value(row.metric)
        put(cString: row.family.name)
        if row.metric == .lateSum {
            // The histogram's last two lines; its unit is seconds.
            put("_sum #.", value / 1_000_000_000)
            var power: UInt64 = 100_000_000
            while power > 0 {
                put(decimal: value / power % 10)
                power /= 10
            }
            put("\n")
            put(cString: row.family.name)
            put("_count #\n", totals.value(.lateAny))
            return
        }
        if row.metric.bucket != nil { put("_bucket") }
        if row.label.pointee != 0 {
            put("{")
            put(cString: row.family.label)
            put("=\"")
            put(cString: row.label)
            put("\"}")
        }
        put(" #\n", value)
    }
}
