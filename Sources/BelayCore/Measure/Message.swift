// SPDX-License-Identifier: Apache-2.0

/// A protocol buffers message in the making, in memory of its own, because its length comes before it. What does not
/// fit is left out with its field; none of ours is near that.
struct Message: ~Copyable {
    private let buffer: UnsafeMutableBufferPointer<UInt8>
    private var used = 0

    init(_ buffer: UnsafeMutableBufferPointer<UInt8>) { self.buffer = buffer }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[0..<used]) }

    mutating func clear() { used = 0 }

    @inline(never) private mutating func varint(_ value: UInt64) {
        var rest = value
        while rest > 127 {
            buffer[used] = UInt8(truncatingIfNeeded: rest) | 128
            used += 1
            rest >>= 7
        }
        buffer[used] = UInt8(truncatingIfNeeded: rest)
        used += 1
    }

    /// A number; 0 is what a field that is left out means.
    @inline(never) mutating func number(_ field: UInt64, _ value: UInt64) {
        if value == 0 || used + 24 > buffer.count { return }
        varint(field << 3)
        varint(value)
    }

    /// One of the numbers of a repeated field.
    @inline(never) mutating func element(_ field: UInt64, _ value: UInt64) {
        if used + 24 > buffer.count { return }
        varint(field << 3)
        varint(value)
    }

    @inline(never) mutating func message(_ field: UInt64, _ inner: borrowing Message) { bytes(field, inner.bytes) }

    @inline(never) mutating func bytes(_ field: UInt64, _ bytes: UnsafeRawBufferPointer) {
        if used + 24 + bytes.count > buffer.count { return }
        varint(field << 3 | 2)
        varint(UInt64(bytes.count))
        for byte in bytes {
            buffer[used] = byte
            used += 1
        }
    }
}
