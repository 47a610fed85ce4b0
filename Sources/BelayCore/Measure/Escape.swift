// SPDX-License-Identifier: Apache-2.0

extension Writer {
    /// Somebody's bytes, up to a NUL, for between two quotes: what is not UTF-8 becomes U+FFFD; what cannot stand in a
    /// string of JSON is escaped as there. Control characters are replaced by blanks if `isPlain`.
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

    /// How many bytes the character has that the text begins with; 0 if that is none. Nothing behind a NUL is looked
    /// at.
    @inline(never) private static func characterLength(_ text: UnsafeRawBufferPointer) -> Int {
        guard let first = Utf8First(text[0]) else { return 0 }
        var next = first.second
        for offset in 0..<first.following {
            // A NUL is in neither range: nothing behind it is looked at.
            guard offset + 1 < text.count, next ~= text[offset + 1] else { return 0 }
            next = Utf8First.rest
        }
        return first.following + 1
    }
}
