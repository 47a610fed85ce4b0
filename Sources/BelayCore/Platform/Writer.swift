// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform

/// Bytes on their way through a buffer into a descriptor, or into a caller's buffer. What a caller's buffer has no room
/// for is counted all the same, so that the caller learns what it takes. The first failure of a descriptor ends it:
/// what comes after goes nowhere, and nobody needs to look until the end.
struct Writer {
    private let buffer: UnsafeMutablePointer<UInt8>?
    private let size: Int
    /// -1 for none.
    private let descriptor: Int32
    private var used = 0
    /// How much had no room.
    private var lost = 0
    /// Why the descriptor failed, as errno; 0 while it has not.
    private var error: Int32 = 0

    // MARK: into a descriptor

    /// `buffer` is the caller's.
    init(_ descriptor: Int32, _ buffer: UnsafeMutableBufferPointer<UInt8>) {
        self.descriptor = descriptor
        self.buffer = buffer.baseAddress
        size = buffer.count
    }

    /// The rest. BELAY_ESYSTEM, and errno, if not all could be written.
    @inline(never) mutating func close() -> belay_status {
        flush()
        if error == 0 { return BELAY_OK }
        belaycore_set_errno(error)
        return BELAY_ESYSTEM
    }

    private mutating func flush() {
        var sent = 0
        while sent < used && error == 0 {
            let done = belaycore_write(descriptor, buffer.unsafelyUnwrapped + sent, used - sent)
            if done > 0 {
                sent += done
            } else if done == 0 {
                error = EIO
            } else if done == -Int(EAGAIN) {
                error = belaycore_await_room(descriptor)
            } else if done != -Int(EINTR) {
                error = Int32(-done)
            }
        }
        used = 0
    }

    // MARK: into a caller's buffer

    /// Nil where there is no buffer of that size. The last byte is kept for the NUL.
    init?(_ text: UnsafeMutablePointer<CChar>?, _ size: Int) {
        guard size >= 0, text != nil || size == 0 else { return nil }
        buffer =
            size == 0 ? nil : UnsafeMutableRawPointer(text.unsafelyUnwrapped).assumingMemoryBound(to: UInt8.self)
        self.size = max(size - 1, 0)
        descriptor = -1
    }

    /// How much was put.
    var length: Int { used + lost }

    /// The NUL: behind the text, or in place of one that does not fit, because half a text is worse than none. Answers
    /// the length.
    func finish() -> Int {
        buffer?[lost == 0 ? used : 0] = 0
        return length
    }

    // MARK: bytes

    @inline(never) mutating func put(byte: UInt8) {
        if used == size {
            if descriptor < 0 {
                lost += 1
                return
            }
            flush()
        }
        buffer.unsafelyUnwrapped[used] = byte
        used += 1
    }

    @inline(never) mutating func put(bytes: UnsafeRawBufferPointer) {
        for byte in bytes { put(byte: byte) }
    }

    // MARK: text

    @inline(never) mutating func put(_ text: StaticString) {
        for i in 0..<text.utf8CodeUnitCount { put(byte: text.utf8Start[i]) }
    }

    /// The text, with the numbers in place of its first two `#`.
    @inline(never) mutating func put(_ text: StaticString, _ first: Int64, _ second: Int64 = 0) {
        var number = first
        for i in 0..<text.utf8CodeUnitCount {
            if text.utf8Start[i] == UInt8(ascii: "#") {
                put(decimal: number)
                number = second
            } else {
                put(byte: text.utf8Start[i])
            }
        }
    }

    @inline(__always) mutating func put(_ text: StaticString, _ first: UInt64, _ second: UInt64 = 0) {
        put(text, Int64(clamping: first), Int64(clamping: second))
    }

    @inline(never) mutating func put(cString text: UnsafePointer<CChar>) {
        put(bytes: UnsafeRawBufferPointer(start: text, count: belaycore_length(text)))
    }

    // MARK: numbers

    mutating func put(decimal number: Int64) {
        if number < 0 { put(byte: UInt8(ascii: "-")) }
        put(decimal: number.magnitude)
    }

    @inline(never) mutating func put(decimal number: UInt64) {
        if number >= 10 { put(decimal: number / 10) }
        put(byte: UInt8(ascii: "0") + UInt8(truncatingIfNeeded: number % 10))
    }

    /// That many digits; as many as it takes for 0.
    @inline(never) mutating func put(hex number: UInt64, digits: Int = 0) {
        if digits > 1 || number >= 16 { put(hex: number >> 4, digits: digits - 1) }
        put(byte: Hex.digit(UInt8(truncatingIfNeeded: number & 15)))
    }
}

/// The answer of a writer that was asked for nonsense. An empty text is left, if there is room for one.
@inline(never) func refuseText(_ text: UnsafeMutablePointer<CChar>?, _ size: Int) -> Int {
    if size > 0 { text?[0] = 0 }
    LastStatus.set(BELAY_EINVAL)
    return -1
}
