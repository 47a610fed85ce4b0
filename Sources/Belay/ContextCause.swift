// SPDX-License-Identifier: Apache-2.0
import CBelay

/// What brought a context to its end, for people and for programs: a number and a short text.
///
/// Causes cross between Swift and C, so they are plain data. The code is the caller's own: an HTTP status, a signal
/// number, a case of an enumeration. Where nobody gave a cause, `code` is the `belay_status` (1 for a cancel, 2 for a
/// deadline) and `message` its text.
public struct ContextCause: Sendable, Hashable {
    /// The number that was given.
    public var code: Int64

    /// The text that was given. A context keeps 55 bytes of UTF-8: a longer text comes back cut, between characters;
    /// one with a NUL in it ends there.
    public var message: String

    /// A cause to give to ``Context/cancel(_:)`` or to a deadline.
    ///
    /// - Parameters:
    ///   - code: What does not fit into 64 bits with a sign is the nearest number that does.
    ///   - message: What to tell people.
    public init(code: some BinaryInteger, message: String) {
        self.code = Int64(clamping: code)
        self.message = message
    }

    /// The cause that a scope function gives when the task that runs its body is cancelled: the message is
    /// `task cancelled`, the code 1952543595 (the letters `task`). C code can tell it by that number. Whoever cancels
    /// with both makes a ``ContextError/taskCancelled``.
    public static let taskCancelled = ContextCause(code: 0x7461_736B, message: "task cancelled")
}

extension ContextCause: CustomStringConvertible {
    /// The message and the code, such as `client hung up (499)`; the message alone where that has the number in it,
    /// such as `signal 15 (SIGTERM)`.
    public var description: String {
        if message.isEmpty { return "(\(code))" }
        return messageSaysCode ? message : "\(message) (\(code))"
    }

    /// Whether the number stands in the message by itself, and not as a part of another number or a word.
    private var messageSaysCode: Bool {
        let words = message.split { !($0.isLetter || $0.isNumber || "-._".contains($0)) }
        return words.contains { $0 == String(code) }
    }
}

extension ContextCause {
    /// What the C core wrote.
    init(_ cause: belay_cause) {
        code = cause.code
        message = withUnsafeBytes(of: cause.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    /// The cause that stands for a status where nobody gave one.
    init(_ status: belay_status) {
        code = Int64(status.rawValue)
        message =
            switch status {
            // C's text names C's remedy.
            case BELAY_ENOCANCEL:
                "has no end of its own: use the context it was derived from, or withCancel or withTimeout under it"
            default: String(cString: belay_status_string(status))
            }
    }
}
