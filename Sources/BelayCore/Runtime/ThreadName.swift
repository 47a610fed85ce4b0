// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// Up to fifteen characters and a NUL: what the kernel keeps of a thread's name.
struct ThreadName: ~Copyable {
    private let low: Atomic<UInt64>
    private let high: Atomic<UInt64>

    /// `name`, cut so that the suffix fits.
    borrowing func set(_ name: UnsafePointer<CChar>?, _ suffix: StaticString) {
        withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { text in
            for i in 0..<16 { text[i] = 0 }
            var length = 0
            let room = 15 - suffix.utf8CodeUnitCount
            if let name {
                while length < room && name[length] != 0 {
                    text[length] = UInt8(bitPattern: name[length])
                    length += 1
                }
            }
            for i in 0..<suffix.utf8CodeUnitCount { text[length + i] = suffix.utf8Start[i] }
            low.set(text.load(fromByteOffset: 0, as: UInt64.self))
            high.set(text.load(fromByteOffset: 8, as: UInt64.self))
        }
    }

    /// The name, or that of the default runtime's threads.
    borrowing func text(or standard: StaticString) -> UnsafePointer<CChar> {
        if low.get() == 0 { return standard.cString }
        return UnsafeRawPointer(low.address).assumingMemoryBound(to: CChar.self)
    }
}
