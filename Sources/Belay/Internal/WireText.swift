// SPDX-License-Identifier: Apache-2.0
import CBelay

/// What a C writer writes into `capacity` bytes; nil where it has nothing to say.
func wireText(capacity: Int, _ write: (UnsafeMutablePointer<CChar>?, Int) -> Int) -> String? {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: capacity) { bytes in
        let length = bytes.withMemoryRebound(to: CChar.self) { write($0.baseAddress, capacity) }
        guard length >= 0, length < capacity else { return nil }
        return String(decoding: bytes[..<length], as: UTF8.self)
    }
}

extension StringProtocol {
    /// The bytes for a C reader.
    func withWireText<R>(_ read: (UnsafePointer<CChar>?, Int) -> R) -> R {
        var text = String(self)
        return text.withUTF8 { bytes in
            bytes.withMemoryRebound(to: CChar.self) { chars in
                // The empty text may have no address, and C takes that for a mistake of the caller's.
                guard let start = chars.baseAddress else { return "".withCString { read($0, 0) } }
                return read(start, chars.count)
            }
        }
    }
}
