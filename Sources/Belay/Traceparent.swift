// SPDX-License-Identifier: Apache-2.0
import CBelay

extension Context {
    /// Which trace a request belongs to, and which step of it sent the request: the header `traceparent` of W3C Trace
    /// Context.
    ///
    /// A ``ContextKey`` carries it through the work, and each call that goes out says ``child()``:
    ///
    /// ```swift
    /// enum Trace: ContextKey { typealias Value = Context.Traceparent }
    ///
    /// let trace = headers["traceparent"].flatMap { Context.Traceparent($0) } ?? .random()
    /// try await withValue(Trace.self, trace) { ctx in
    ///     outgoing["traceparent"] = ctx[Trace.self]?.child().description
    /// }
    /// ```
    public struct Traceparent: Sendable, Hashable {
        /// The whole trace's id: 16 bytes, the first of them the most significant. Never zero.
        public let traceID: UInt128
        /// The id of the step that sent the request. Never zero.
        public let parentID: UInt64
        /// What the sender says about the trace.
        public let flags: Flags

        /// What the sender of a `traceparent` says about its trace.
        public struct Flags: OptionSet, Sendable, Hashable {
            public let rawValue: UInt8
            public init(rawValue: UInt8) { self.rawValue = rawValue }

            /// The sender may have recorded this trace.
            public static let sampled = Flags(rawValue: UInt8(BELAY_TRACE_SAMPLED))
            /// The last seven bytes of the trace's id are random.
            public static let random = Flags(rawValue: UInt8(BELAY_TRACE_RANDOM))
        }

        /// A traceparent of these ids, which must not be zero.
        public init(traceID: UInt128, parentID: UInt64, flags: Flags = []) {
            precondition(traceID != 0 && parentID != 0, "an id that is zero is none")
            (self.traceID, self.parentID, self.flags) = (traceID, parentID, flags)
        }

        /// The start of a new trace, with random ids.
        public static func random(flags: Flags = .random) -> Traceparent {
            Traceparent(
                traceID: .random(in: 1 ... .max), parentID: .random(in: 1 ... .max), flags: flags.union(.random))
        }

        /// The same trace for a request of our own: with a new, random ``parentID``.
        public func child() -> Traceparent {
            Traceparent(traceID: traceID, parentID: .random(in: 1 ... .max), flags: flags)
        }
    }
}

extension Context.Traceparent: LosslessStringConvertible {
    /// Reads the header's value. `nil` if it is none: who gets that starts a new trace.
    ///
    /// Version 00 has to be exact: 55 bytes, hex in lower case. Of a later version the same part is read, with
    /// ``Flags/sampled`` as the only flag.
    public init?(_ description: String) {
        var trace = belay_traceparent()
        guard description.withWireText({ belay_traceparent_parse($0, $1, &trace) }) == BELAY_OK else { return nil }
        self = withUnsafeBytes(of: trace) { bytes in
            Self(
                traceID: UInt128(bigEndian: bytes.loadUnaligned(as: UInt128.self)),
                parentID: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)),
                flags: Flags(rawValue: bytes[24]))
        }
    }

    /// The header's value, of version 00, such as `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`. Flags that
    /// have no name here are left out.
    public var description: String {
        var trace = belay_traceparent()
        withUnsafeMutableBytes(of: &trace) { bytes in
            bytes.storeBytes(of: traceID.bigEndian, as: UInt128.self)
            bytes.storeBytes(of: parentID.bigEndian, toByteOffset: 16, as: UInt64.self)
            bytes[24] = flags.rawValue
        }
        return wireText(capacity: Int(BELAY_TRACEPARENT_SIZE)) { belay_traceparent_format(&trace, $0, $1) } ?? ""
    }
}
