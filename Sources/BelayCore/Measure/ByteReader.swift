// SPDX-License-Identifier: Apache-2.0

/// Reads bytes from their begin to their end, after which all is 0.
struct ByteReader {
    var at: UnsafeRawPointer
    let end: UnsafeRawPointer

    var hasMore: Bool { at < end }

    @inline(never) mutating func skip(_ count: UInt64) { at = count < UInt64(end - at) ? at + Int(count) : end }

    @inline(never) mutating func byte() -> UInt8 {
        if at == end { return 0 }
        defer { at += 1 }
        return at.load(as: UInt8.self)
    }

    /// A number of 1, 2, 4 or 8 bytes.
    @inline(never) mutating func fixed(_ bytes: UInt64) -> UInt64 {
        var value: UInt64 = 0
        for position in 0..<bytes { value |= UInt64(byte()) << (8 * position) }
        return value
    }

    /// LEB128 without a sign.
    @inline(never) mutating func number() -> UInt64 { leb128(signed: false) }

    @inline(never) mutating func leb128(signed: Bool) -> UInt64 {
        var value: UInt64 = 0
        var bits: UInt64 = 0
        while true {
            let byte = byte()
            value |= UInt64(byte & 127) << bits
            bits += 7
            if byte < 128 { return signed && byte & 64 != 0 ? value | ~0 << bits : value }
        }
    }

    /// A text that ends with NUL.
    @inline(never) mutating func text() -> UnsafeRawBufferPointer {
        let start = at
        while at != end {
            if byte() == 0 { return UnsafeRawBufferPointer(start: start, count: at - start - 1) }
        }
        return UnsafeRawBufferPointer(start: nil, count: 0)
    }
}
