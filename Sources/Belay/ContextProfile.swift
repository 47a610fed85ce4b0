// SPDX-License-Identifier: Apache-2.0
import CBelay

/// Where contexts come from, by call stack, for `go tool pprof`; and an audit of how they are used.
///
/// ```swift
/// try ContextProfile.sample(oneIn: 1000)
/// // … later, in a handler for administrators:
/// try ContextProfile.write(.live, to: file)
/// ```
///
/// The environment does the same without a change to the program: `BELAY_PROFILE_RATE=1000`, `BELAY_AUDIT=1`.
public enum ContextProfile {
    /// What a profile counts.
    public enum Kind: Sendable {
        /// Contexts that are open, by the stack that derived them: what leaks.
        case live
        /// All derivations since sampling began.
        case derivations
        /// Contexts that were closed, by the stack that derived them and, as the label "reason", how they had ended.
        case cancellations
    }

    /// Remembers one derivation in `rate` from now on, of each thread; 0 for none. Contexts that are open already are
    /// not sampled.
    ///
    /// - Throws: ``ContextError/unavailable(_:)`` if there is no memory for the samples, and in the child of a fork.
    public static func sample(oneIn rate: UInt32) throws(ContextError) {
        try check(belay_profile_rate(rate))
    }

    /// Writes a profile in pprof's format to a descriptor, which stays open. Blocks as long as writing does.
    ///
    /// - Throws: ``ContextError/unavailable(_:)`` for a bad descriptor, where a write fails, where there is no memory,
    ///   and in the child of a fork.
    public static func write(_ kind: Kind, to descriptor: Int32) throws(ContextError) {
        let kind =
            switch kind {
            case .live: BELAY_PROFILE_LIVE
            case .derivations: BELAY_PROFILE_DERIVATIONS
            case .cancellations: BELAY_PROFILE_CANCELLATIONS
            }
        try check(belay_profile_write(kind, descriptor))
    }

    /// Writes what could be done better, as text, to a descriptor, which stays open. Blocks as long as writing does.
    /// See docs/audit.md.
    ///
    /// - Throws: As ``write(_:to:)``.
    public static func audit(to descriptor: Int32) throws(ContextError) {
        try check(belay_audit_write(descriptor))
    }

    private static func check(_ status: belay_status) throws(ContextError) {
        if status != BELAY_OK { throw ContextError.unavailable(ContextCause(status)) }
    }
}
