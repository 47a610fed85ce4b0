// SPDX-License-Identifier: Apache-2.0
import CBelay

// Headers are bytes of ASCII with a length; what is written ends with a NUL. Whoever calls owns the memory, and may give
// any bytes: nothing is read past `length`, nothing is written past `size`.

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
    func equals(_ range: Range<Int>, _ other: WireText) -> Bool {
        guard range.count == other.count else { return false }
        for i in 0..<other.count where self[range.lowerBound + i] != other[i] { return false }
        return true
    }
}

/// Text on its way into a caller's buffer. It is counted also where it does not fit.
struct WireWriter {
    private let text: UnsafeMutablePointer<UInt8>?
    private let size: Int
    private(set) var length = 0

    /// Nil where there is no buffer of that size.
    init?(_ text: UnsafeMutablePointer<CChar>?, _ size: Int) {
        guard size >= 0, text != nil || size == 0 else { return nil }
        self.text = text.map { UnsafeMutableRawPointer($0).assumingMemoryBound(to: UInt8.self) }
        self.size = size
    }

    /// Keeps room for the NUL.
    @inline(__always) mutating func put(_ byte: UInt8) {
        if length &+ 1 < size { text?[length] = byte }
        length &+= 1
    }

    /// A number that is not negative.
    mutating func put(decimal number: Int64) {
        var power: Int64 = 1
        while number / power >= 10 { power *= 10 }
        while power > 0 {
            put(0x30 + UInt8(number / power % 10))
            power /= 10
        }
    }

    mutating func put(hex byte: UInt8) {
        put(hexDigit(byte >> 4))
        put(hexDigit(byte & 15))
    }

    private func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }

    /// The NUL: behind the text, or in place of one that does not fit, because half a header is worse than none.
    /// Answers the length.
    func finish() -> Int {
        if size > 0 { text?[length < size ? length : 0] = 0 }
        return length
    }
}

/// The answer of a writer that was asked for nonsense. An empty text is left, if there is room for one.
@inline(never) func refuseText(_ text: UnsafeMutablePointer<CChar>?, _ size: Int) -> Int {
    if size > 0 { text?[0] = 0 }
    LastStatus.set(BELAY_EINVAL)
    return -1
}
