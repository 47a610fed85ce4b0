// SPDX-License-Identifier: Apache-2.0

/// Hexadecimal digits.
enum Hex {
    /// The digit of a value below 16, in lower case.
    @inline(__always) static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") - 10 + value
    }

    @inline(__always) static func upperDigit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "A") - 10 + value
    }

    /// What a digit in lower case stands for; nil if it is none.
    @inline(__always) static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }

    /// The same in either case.
    static func value(anyCase digit: UInt8) -> UInt8? { value(digit < UInt8(ascii: "A") ? digit : digit | 0x20) }
}
