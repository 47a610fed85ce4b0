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
        writer.put(byte: hexDigit(byte >> 4))
        writer.put(byte: hexDigit(byte & 15))
    }

    /// Upper-case, as RFC 3986 recommends.
    private static func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x37 + value }
}

/// Passes whole, well-formed characters on, and U+FFFD in place of whatever is none. A NUL is none: it would end the C
/// string that it is written into.
private struct Utf8Filter {
    private var pending: (UInt8, UInt8, UInt8) = (0, 0, 0)
    private var count = 0
    private var missing = 0
    /// What the next byte may be: narrower after some first bytes, so that surrogates, overlong forms and what is
    /// beyond U+10FFFF are refused.
    private var lower: UInt8 = 0x80
    private var upper: UInt8 = 0xbf

    mutating func put(_ byte: UInt8, into writer: inout Writer) {
        if missing > 0 && byte >= lower && byte <= upper {
            (lower, upper) = (0x80, 0xbf)
            missing -= 1
            if missing > 0 { return keep(byte) }
            flush(into: &writer)
            return writer.put(byte: byte)
        }
        finish(into: &writer)
        (lower, upper) = (0x80, 0xbf)
        switch byte {
        case 0x01...0x7f: return writer.put(byte: byte)
        case 0xc2...0xdf: missing = 1
        case 0xe0...0xef:
            missing = 2
            if byte == 0xe0 { lower = 0xa0 }
            if byte == 0xed { upper = 0x9f }
        case 0xf0...0xf4:
            missing = 3
            if byte == 0xf0 { lower = 0x90 }
            if byte == 0xf4 { upper = 0x8f }
        default: return Self.replace(into: &writer)
        }
        keep(byte)
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
                let high = anyHexDigit(self[position + 1]), let low = anyHexDigit(self[position + 2])
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

    private func anyHexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
