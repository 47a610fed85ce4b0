// SPDX-License-Identifier: Apache-2.0

/// The percent-code of baggage values: UTF-8, of which some bytes are written as `%` and two hex digits.
enum PercentCode {
    /// Whether a byte stands for itself. The grammar also allows `+`, which some readers take for a blank.
    @inline(__always) static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "%"), UInt8(ascii: "+"), UInt8(ascii: "\""), UInt8(ascii: ","), UInt8(ascii: ";"),
            UInt8(ascii: "\\"):
            false
        default: byte > 0x20 && byte < 0x7f
        }
    }

    @inline(never) static func put(_ byte: UInt8, into writer: inout Writer) {
        if isPlain(byte) { return writer.put(byte: byte) }
        writer.put(byte: UInt8(ascii: "%"))
        // In upper case, as RFC 3986 recommends.
        writer.put(byte: Hex.upperDigit(byte >> 4))
        writer.put(byte: Hex.upperDigit(byte & 15))
    }
}

/// Passes whole, well-formed characters on, and U+FFFD in place of whatever is none. A NUL is none: it would end the C
/// string that it is written into.
private struct Utf8Filter {
    private var pending: (UInt8, UInt8, UInt8) = (0, 0, 0)
    private var count = 0
    private var missing = 0
    /// What the next byte may be.
    private var next = Utf8First.rest

    @inline(never) mutating func put(_ byte: UInt8, into writer: inout Writer) {
        if missing > 0 && next ~= byte {
            next = Utf8First.rest
            missing -= 1
            if missing > 0 { return keep(byte) }
            flush(into: &writer)
            return writer.put(byte: byte)
        }
        finish(into: &writer)
        guard byte != 0, let first = Utf8First(byte) else { return Self.replace(into: &writer) }
        (missing, next) = (first.following, first.second)
        if missing == 0 { writer.put(byte: byte) } else { keep(byte) }
    }

    /// A character that was begun ends here.
    mutating func finish(into writer: inout Writer) {
        if missing > 0 { Self.replace(into: &writer) }
        (count, missing) = (0, 0)
    }

    private mutating func keep(_ byte: UInt8) {
        if count == 0 { pending.0 = byte } else if count == 1 { pending.1 = byte } else { pending.2 = byte }
        count += 1
    }

    private mutating func flush(into writer: inout Writer) {
        if count > 0 { writer.put(byte: pending.0) }
        if count > 1 { writer.put(byte: pending.1) }
        if count > 2 { writer.put(byte: pending.2) }
        count = 0
    }

    private static func replace(into writer: inout Writer) {
        writer.put("\u{FFFD}")
    }
}

extension WireText {
    /// A percent-coded range. A `%` without two hex digits behind it stands for itself.
    func decode(_ range: Range<Int>, into writer: inout Writer) {
        var filter = Utf8Filter()
        var position = range.lowerBound
        while position < range.upperBound {
            if self[position] == UInt8(ascii: "%"), position + 2 < range.upperBound,
                let high = Hex.value(anyCase: self[position + 1]), let low = Hex.value(anyCase: self[position + 2])
            {
                filter.put(high << 4 | low, into: &writer)
                position += 3
            } else {
                filter.put(self[position], into: &writer)
                position += 1
            }
        }
        filter.finish(into: &writer)
    }
}
