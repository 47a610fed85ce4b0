// SPDX-License-Identifier: Apache-2.0
import CBelay

// Time left, as text. Rounded up: who reads it must not give up before the time that was promised, and who wrote it
// holds its own deadline anyway.

extension Int64 {
    /// This, which is not negative, in units of `length`; rounded up.
    fileprivate func roundedUp(to length: Int64) -> Int64 { self / length + (self % length == 0 ? 0 : 1) }
}

/// The header `grpc-timeout` of gRPC over HTTP/2: a positive number of at most eight digits, and the letter of a unit.
private enum GrpcTimeout {
    static let most: Int64 = 99_999_999

    static func nanoseconds(of unit: UInt8) -> Int64? {
        switch unit {
        case UInt8(ascii: "n"): 1
        case UInt8(ascii: "u"): 1_000
        case UInt8(ascii: "m"): 1_000_000
        case UInt8(ascii: "S"): 1_000_000_000
        case UInt8(ascii: "M"): 60_000_000_000
        case UInt8(ascii: "H"): 3_600_000_000_000
        default: nil
        }
    }

    /// The finest unit in which `left` has no more than eight digits. In hours every Int64 has.
    static func unit(for left: Int64) -> UInt8 {
        if left <= most { return UInt8(ascii: "n") }
        if left <= most * 1_000 { return UInt8(ascii: "u") }
        if left <= most * 1_000_000 { return UInt8(ascii: "m") }
        if left <= most * 1_000_000_000 { return UInt8(ascii: "S") }
        if left <= most * 60_000_000_000 { return UInt8(ascii: "M") }
        return UInt8(ascii: "H")
    }
}

@_cdecl("belay_grpc_timeout_format") @implementation
public func belay_grpc_timeout_format(
    _ left: belay_duration, _ text: UnsafeMutablePointer<CChar>?, _ size: Int
) -> Int {
    guard var writer = Writer(text, size) else { return refuseText(text, size) }
    if left != Clock.never {
        let left = max(left, 1)  // zero is not positive
        let unit = GrpcTimeout.unit(for: left)
        writer.put(decimal: left.roundedUp(to: GrpcTimeout.nanoseconds(of: unit) ?? 1))
        writer.put(byte: unit)
    }
    return writer.finish()
}

@_cdecl("belay_grpc_timeout_parse") @implementation
public func belay_grpc_timeout_parse(
    _ text: UnsafePointer<CChar>?, _ length: Int, _ left: UnsafeMutablePointer<belay_duration>?
) -> belay_status {
    guard let left, let text = WireText(text, length), 2...9 ~= text.count,
        let unit = GrpcTimeout.nanoseconds(of: text[text.count - 1]),
        let number = text.number(0..<text.count - 1)
    else { return BELAY_EINVAL }
    let (product, overflow) = number.multipliedReportingOverflow(by: unit)
    left.pointee = overflow ? Clock.never : product
    return BELAY_OK
}

@_cdecl("belay_timeout_ms_format") @implementation
public func belay_timeout_ms_format(
    _ left: belay_duration, _ text: UnsafeMutablePointer<CChar>?, _ size: Int
) -> Int {
    guard var writer = Writer(text, size) else { return refuseText(text, size) }
    if left != Clock.never { writer.put(decimal: max(left, 0).roundedUp(to: 1_000_000)) }
    return writer.finish()
}

@_cdecl("belay_timeout_ms_parse") @implementation
public func belay_timeout_ms_parse(
    _ text: UnsafePointer<CChar>?, _ length: Int, _ left: UnsafeMutablePointer<belay_duration>?
) -> belay_status {
    guard let left, let text = WireText(text, length), let number = text.number(0..<text.count) else {
        return BELAY_EINVAL
    }
    let (product, overflow) = number.multipliedReportingOverflow(by: 1_000_000)
    left.pointee = overflow ? Clock.never : product
    return BELAY_OK
}
