// SPDX-License-Identifier: Apache-2.0

extension Writer {
    /// Somebody's bytes, up to a NUL, for between two quotes: what is not UTF-8 becomes U+FFFD; what cannot stand in a string
    /// of JSON is escaped as there. Control characters are replaced by blanks if `isPlain`.
    @inline(never) mutating func put(escaped text: UnsafeRawBufferPointer, isPlain: Bool) {
        var i = 0
        while i < text.count && text[i] != 0 {
            let length = Writer.characterLength(UnsafeRawBufferPointer(rebasing: text[i...]))
            if length == 0 {
                put("\u{FFFD}")
            } else if text[i] == UInt8(ascii: "\"") || text[i] == UInt8(ascii: "\\") {
                put(byte: UInt8(ascii: "\\"))
                put(byte: text[i])
            } else if text[i] >= 0x20 && text[i] != 0x7F {
                put(bytes: UnsafeRawBufferPointer(rebasing: text[i..<i + length]))
            } else if isPlain {
                put(" ")
            } else {
                put("\\u")
                put(hex: UInt64(text[i]), digits: 4)
            }
            i += max(length, 1)
        }
    }

    /// How many bytes the character has that the text begins with; 0 if that is none. Nothing behind a NUL is looked at.
    @inline(never) private static func characterLength(_ text: UnsafeRawBufferPointer) -> Int {
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
            guard offset < text.count, least...most ~= text[offset] else { return 0 }
            least = 0x80
            most = 0xBF
        }
        return length
    }
}
