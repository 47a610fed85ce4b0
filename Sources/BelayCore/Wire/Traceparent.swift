// SPDX-License-Identifier: Apache-2.0
import CBelay

/// The header `traceparent` of W3C Trace Context: version, trace id, parent id and flags, in lower-case hex with a dash
/// between them. `belay_traceparent` is the last three as 25 bytes, in the same order.
private enum TraceparentText {
    static let length = 55
    static let dash = UInt8(ascii: "-")
    /// The flags that level 2 knows. The others are to be sent as zero.
    static let known: UInt8 = 3

    /// Bytes of the struct, before each of which there is a dash.
    static func startsField(_ byte: Int) -> Bool { byte == 0 || byte == 16 || byte == 24 }

    static func isZero(_ bytes: UnsafePointer<UInt8>, _ range: Range<Int>) -> Bool {
        for position in range where bytes[position] != 0 { return false }
        return true
    }

    /// Whether both ids are ones that may be sent.
    static func isValid(_ bytes: UnsafePointer<UInt8>) -> Bool { !isZero(bytes, 0..<16) && !isZero(bytes, 16..<24) }
}

extension WireText {
    /// The byte that two lower-case hex digits stand for.
    fileprivate func hexByte(_ position: Int) -> UInt8? {
        guard let high = Hex.value(self[position]), let low = Hex.value(self[position + 1]) else { return nil }
        return high << 4 | low
    }
}

@_cdecl("belay_traceparent_parse") @implementation
public func belay_traceparent_parse(
    _ text: UnsafePointer<CChar>?, _ length: Int, _ trace: UnsafeMutablePointer<belay_traceparent>?
) -> belay_status {
    guard let trace, let text = WireText(text, length), text.count >= TraceparentText.length,
        let version = text.hexByte(0), version != 0xff
    else { return BELAY_EINVAL }
    // A later version may have more to say, behind a dash.
    guard text.count == TraceparentText.length || (version != 0 && text[55] == TraceparentText.dash) else {
        return BELAY_EINVAL
    }
    var read = belay_traceparent()
    let status = withUnsafeMutableBytes(of: &read) { raw in
        let bytes = raw.baseAddress!.assumingMemoryBound(to: UInt8.self)
        var position = 2
        for byte in 0..<25 {
            if TraceparentText.startsField(byte) {
                guard text[position] == TraceparentText.dash else { return BELAY_EINVAL }
                position += 1
            }
            guard let value = text.hexByte(position) else { return BELAY_EINVAL }
            bytes[byte] = value
            position += 2
        }
        // Of a later version's flags only "sampled" is sure to mean the same.
        if version != 0 { bytes[24] &= 1 }
        return TraceparentText.isValid(bytes) ? BELAY_OK : BELAY_EINVAL
    }
    if status == BELAY_OK { trace.pointee = read }
    return status
}

@_cdecl("belay_traceparent_format") @implementation
public func belay_traceparent_format(
    _ trace: UnsafePointer<belay_traceparent>?, _ text: UnsafeMutablePointer<CChar>?, _ size: Int
) -> Int {
    guard let trace, var writer = Writer(text, size) else { return refuseText(text, size) }
    let bytes = UnsafeRawPointer(trace).assumingMemoryBound(to: UInt8.self)
    guard TraceparentText.isValid(bytes) else { return refuseText(text, size) }
    writer.put(hex: 0, digits: 2)
    for byte in 0..<25 {
        if TraceparentText.startsField(byte) { writer.put(byte: TraceparentText.dash) }
        let value = byte == 24 ? bytes[byte] & TraceparentText.known : bytes[byte]
        writer.put(hex: UInt64(value), digits: 2)
    }
    return writer.finish()
}
