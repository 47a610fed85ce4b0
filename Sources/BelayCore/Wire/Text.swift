// SPDX-License-Identifier: Apache-2.0

// Headers are bytes of ASCII with a length; what is written ends with a NUL. Whoever calls owns the memory, and may
// give any bytes: nothing is read past `length`, nothing is written past `size`.

/// Bytes that were received.
struct WireText {
    let bytes: UnsafePointer<UInt8>
    let count: Int

    /// Nil for NULL, and for a length that no object has.
    init?(_ text: UnsafePointer<CChar>?, _ length: Int) {
        guard let text, length >= 0 else { return nil }
        bytes = UnsafeRawPointer(text).assumingMemoryBound(to: UInt8.self)
        count = length
    }

    /// A C string. Nil for NULL, and where there is no NUL in the first `limit` bytes.
    init?(cString text: UnsafePointer<CChar>?, limit: Int = .max) {
        guard let text else { return nil }
        var length = 0
        while length < limit && text[length] != 0 { length += 1 }
        guard length < limit else { return nil }
        self.init(text, length)
    }

    @inline(__always) subscript(_ position: Int) -> UInt8 { bytes[position] }

    /// The number that a range of digits stands for; `Int64.max` for a larger one. Nil if there is anything else in it,
    /// or nothing.
    func number(_ range: Range<Int>) -> Int64? {
        if range.isEmpty { return nil }
        var sum: Int64 = 0
        for position in range {
            let digit = Int64(self[position]) - 0x30
            guard 0...9 ~= digit else { return nil }
            let (product, overflow) = sum.multipliedReportingOverflow(by: 10)
            let (next, overflowToo) = product.addingReportingOverflow(digit)
            sum = overflow || overflowToo ? .max : next
        }
        return sum
    }

    /// Whether a range holds exactly these bytes.
    @inline(never) func equals(_ range: Range<Int>, _ other: WireText) -> Bool {
        guard range.count == other.count else { return false }
        for i in 0..<other.count where self[range.lowerBound + i] != other[i] { return false }
        return true
    }
}
