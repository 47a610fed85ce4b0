// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform

/// Bytes on their way to a descriptor, a few thousand at a time. The first failure ends it: what comes after goes
/// nowhere.
struct Output: ~Copyable {
    private let descriptor: Int32
    private let buffer: UnsafeMutableBufferPointer<UInt8>
    private var used = 0
    private(set) var status = BELAY_OK

    /// `buffer` is the caller's.
    init(_ descriptor: Int32, _ buffer: UnsafeMutableBufferPointer<UInt8>) {
        self.descriptor = descriptor
        self.buffer = buffer
    }

    @inline(never) mutating func byte(_ byte: UInt8) {
        if used == buffer.count { flush() }
        buffer[used] = byte
        used += 1
    }

    @inline(never) mutating func bytes(_ bytes: UnsafeRawBufferPointer) {
        for byte in bytes { self.byte(byte) }
    }

    mutating func flush() {
        var sent = 0
        while sent < used && status == BELAY_OK {
            let more = belaycore_write_some(descriptor, buffer.baseAddress.unsafelyUnwrapped + sent, used - sent)
            if more < 0 { status = BELAY_ESYSTEM } else { sent += more }
        }
        used = 0
    }

    // MARK: text

    @inline(never) mutating func text(_ text: StaticString) {
        bytes(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    @inline(never) mutating func cString(_ text: UnsafePointer<CChar>) {
        var next = text
        while next.pointee != 0 {
            byte(UInt8(bitPattern: next.pointee))
            next += 1
        }
    }

    @inline(never) mutating func number(_ value: UInt64, base: UInt64 = 10) {
        if value >= base { number(value / base, base: base) }
        let digit = UInt8(truncatingIfNeeded: value % base)
        byte(digit < 10 ? 48 + digit : 87 + digit)
    }

    /// A time, in the unit that suits it: "250 ns", "12 ms", "3 s".
    @inline(never) mutating func duration(_ nanoseconds: UInt64) {
        if nanoseconds < 10_000 {
            number(nanoseconds)
            text(" ns")
        } else if nanoseconds < 10_000_000 {
            number(nanoseconds / 1000)
            text(" us")
        } else if nanoseconds < 10_000_000_000 {
            number(nanoseconds / 1_000_000)
            text(" ms")
        } else {
            number(nanoseconds / 1_000_000_000)
            text(" s")
        }
    }
}
