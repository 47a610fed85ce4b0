// SPDX-License-Identifier: Apache-2.0

/// What the first byte of a character of UTF-8 says of the others. Refused are the long form of a shorter character,
/// half a UTF-16 pair, and what is beyond U+10FFFF.
struct Utf8First {
    /// How many bytes follow.
    let following: Int
    /// What the second byte may be. Further ones are `rest`.
    let second: ClosedRange<UInt8>

    static let rest: ClosedRange<UInt8> = 0x80...0xBF

    /// Nil if no character begins with the byte.
    @inline(never) init?(_ byte: UInt8) {
        switch byte {
        case 0x00...0x7F: following = 0
        case 0xC2...0xDF: following = 1
        case 0xE0...0xEF: following = 2
        case 0xF0...0xF4: following = 3
        default: return nil
        }
        switch byte {
        case 0xE0: second = 0xA0...0xBF
        case 0xED: second = 0x80...0x9F
        case 0xF0: second = 0x90...0xBF
        case 0xF4: second = 0x80...0x8F
        default: second = Utf8First.rest
        }
    }
}
