// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform

/// Text on its way into a descriptor, some kilobytes at a time. After a failure nothing more is written, and nobody needs
/// to look until the end.
struct Writer {
    private let descriptor: Int32
    private let buffer: UnsafeMutablePointer<UInt8>
    private var used = 0
    /// Why it failed, as errno; 0 while it has not.
    private(set) var error: Int32 = 0

    private static let size = 8192

    /// BELAY_ESYSTEM, and errno, if not all that `body` puts could be written.
    static func write(to descriptor: Int32, _ body: (inout Writer) -> Void) -> belay_status {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: size) { buffer in
            var writer = Writer(descriptor: descriptor, buffer: buffer.baseAddress.unsafelyUnwrapped)
            body(&writer)
            writer.flush()
            if writer.error == 0 { return BELAY_OK }
            belaycore_set_errno(writer.error)
            return BELAY_ESYSTEM
        }
    }

    private init(descriptor: Int32, buffer: UnsafeMutablePointer<UInt8>) {
        self.descriptor = descriptor
        self.buffer = buffer
    }

    private mutating func flush() {
        if used != 0 && error == 0 { error = belaycore_write(descriptor, buffer, used) }
        used = 0
    }

    @inline(__always) mutating func put(byte: UInt8) {
        if used == Writer.size { flush() }
        buffer[used] = byte
        used += 1
    }

    mutating func put(_ text: StaticString) {
        for i in 0..<text.utf8CodeUnitCount { put(byte: text.utf8Start[i]) }
    }

    mutating func put(_ number: UInt64) {
        var power: UInt64 = 1
        while number / power >= 10 { power *= 10 }
        while power > 0 {
            put(byte: 0x30 + UInt8(number / power % 10))
            power /= 10
        }
    }

    mutating func put(_ number: Int64) {
        if number < 0 { put("-") }
        put(number.magnitude)
    }

    /// Nanoseconds as seconds and milliseconds, rounded down.
    mutating func put(seconds nanoseconds: Int64) {
        put(nanoseconds / 1_000_000_000)
        put(".")
        let thousandths = nanoseconds / 1_000_000 % 1000
        if thousandths < 100 { put("0") }
        if thousandths < 10 { put("0") }
        put(thousandths)
    }

    /// 0x and sixteen digits.
    mutating func put(hex number: UInt64) {
        put("0x")
        for place in 0..<16 { put(digit: UInt8(number >> UInt64(60 - place * 4) & 15)) }
    }

    private mutating func put(digit: UInt8) { put(byte: digit < 10 ? 0x30 + digit : 0x57 + digit) }

    /// Somebody's bytes, up to a NUL, for between two quotes: what is not UTF-8 becomes U+FFFD; what cannot stand in a string
    /// of JSON is escaped as there. Control characters are replaced by blanks if `isPlain`.
    mutating func put(escaped text: UnsafePointer<UInt8>, limit: Int, isPlain: Bool = false) {
        var i = 0
        while i < limit && text[i] != 0 {
            let length = Writer.characterLength(text + i, limit - i)
            if length == 0 {
                put("\u{FFFD}")
            } else if text[i] == 0x22 || text[i] == 0x5C {
                put(byte: 0x5C)
                put(byte: text[i])
            } else if text[i] < 0x20 || text[i] == 0x7F {
                if isPlain { put(" ") } else { putControl(text[i]) }
            } else {
                for offset in 0..<length { put(byte: text[i + offset]) }
            }
            i += max(length, 1)
        }
    }

    private mutating func putControl(_ byte: UInt8) {
        put("\\u00")
        put(digit: byte >> 4)
        put(digit: byte & 15)
    }

    /// How many bytes the character has that begins here; 0 if none does. At most `left` bytes are looked at, and none
    /// behind a NUL.
    private static func characterLength(_ text: UnsafePointer<UInt8>, _ left: Int) -> Int {
        let first = text[0]
        if first < 0x80 { return 1 }
        // Neither the long form of a shorter character, nor half a UTF-16 pair, nor anything beyond U+10FFFF.
        var least: UInt8 = 0x80
        var most: UInt8 = 0xBF
        let length: Int
        switch first {
        case 0xC2...0xDF: length = 2
        case 0xE0...0xEF:
            length = 3
            if first == 0xE0 { least = 0xA0 }
            if first == 0xED { most = 0x9F }
        case 0xF0...0xF4:
            length = 4
            if first == 0xF0 { least = 0x90 }
            if first == 0xF4 { most = 0x8F }
        default: return 0
        }
        for offset in 1..<length {
            // A NUL is below `least`: nothing behind it is looked at.
            guard offset < left, least...most ~= text[offset] else { return 0 }
            least = 0x80
            most = 0xBF
        }
        return length
    }
}
