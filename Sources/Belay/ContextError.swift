// SPDX-License-Identifier: Apache-2.0
import CBelay

/// Why a context ended.
///
/// A context ends once, and its error never changes: everyone who asks gets the same case and the same cause.
///
/// ```swift
/// do {
///     try await serve(request)
/// } catch ContextError.deadlineExceeded(let cause) {
///     respond(504, cause.message)
/// }
/// ```
public enum ContextError: Error, Sendable, Hashable {
    /// The deadline passed: the context's own, or that of an ancestor that ended it.
    case deadlineExceeded(ContextCause)

    /// Somebody cancelled the context or an ancestor, or closed one.
    case cancelled(ContextCause)

    /// A Swift task was cancelled: the one that runs the body of the scope function that made this context, or of one
    /// further up. ``Context/done()`` and ``Context/sleep(for:)`` also answer this when the task that calls them is
    /// cancelled while the context is live.
    case taskCancelled

    /// There is no such context, or it could not do what was asked of it: it was closed, it could not be made, there is
    /// no memory, this is the child of a `fork`. The cause's code is the `belay_status`.
    case unavailable(ContextCause)

    /// The code and the message that go with the error.
    public var cause: ContextCause {
        switch self {
        case .deadlineExceeded(let cause), .cancelled(let cause), .unavailable(let cause): cause
        case .taskCancelled: .taskCancelled
        }
    }
}

extension ContextError: CustomStringConvertible {
    /// Such as `deadline exceeded`, `cancelled: client hung up (499)`, `task cancelled`.
    public var description: String {
        switch self {
        case .deadlineExceeded(let cause): Self.describe("deadline exceeded", cause, BELAY_DEADLINE_EXCEEDED)
        case .cancelled(let cause): Self.describe("cancelled", cause, BELAY_CANCELED)
        case .taskCancelled: "task cancelled"
        case .unavailable(let cause): "unavailable: \(cause)"
        }
    }

    /// A cause that only repeats the status adds nothing for a reader.
    private static func describe(_ what: String, _ cause: ContextCause, _ status: belay_status) -> String {
        cause == ContextCause(status) ? what : "\(what): \(cause)"
    }
}

extension ContextError {
    /// The error of a context that `belay_err` said is done, with the cause that belongs to it.
    ///
    /// Error and cause are two reads, and the context may be closed between them. The cause of a closed context is
    /// «stale», whatever its end was: then so is the error. But somebody may have cancelled with just that cause, which
    /// he had from a closed context: so the context is asked again.
    init(_ status: belay_status, of handle: belay_ctx) {
        var cause = belay_cause()
        guard status == BELAY_CANCELED || status == BELAY_DEADLINE_EXCEEDED, belay_cause_of(handle, &cause) else {
            let why = status == BELAY_EINVAL ? Context(handle).whyUnmade : nil
            self = .unavailable(ContextCause(why ?? status))
            return
        }
        let why = ContextCause(cause)
        if why == ContextCause(BELAY_ESTALE), belay_err(handle) == BELAY_ESTALE {
            self = .unavailable(why)
        } else if status == BELAY_DEADLINE_EXCEEDED {
            self = .deadlineExceeded(why)
        } else {
            self = why == .taskCancelled ? .taskCancelled : .cancelled(why)
        }
    }

    /// Why the last C call on this thread, with `context`, failed.
    static func lastFailure(of context: Context) -> ContextError {
        ContextError(belay_last_status(), of: context.handle)
    }
}
