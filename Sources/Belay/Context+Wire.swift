// SPDX-License-Identifier: Apache-2.0
import CBelay

/// The time left as text, for another machine, where instants mean nothing.
extension Context {
    /// The time left as the header `grpc-timeout` of gRPC, such as `100000u`; `nil` where there is no deadline, and so
    /// no header.
    ///
    /// Rounded up, by at most a hundred-thousandth of the time. For a context that is done it is `1n`, because gRPC
    /// wants a positive number; better than to send it is not to call at all.
    public var grpcTimeout: String? {
        nonEmpty(wireText(capacity: Int(BELAY_GRPC_TIMEOUT_SIZE)) { belay_grpc_timeout_format(left, $0, $1) })
    }

    /// The time left as milliseconds in decimal, for a header of your own; `nil` where there is no deadline. Rounded
    /// up; `0` for a context that is done.
    public var timeoutMilliseconds: String? {
        nonEmpty(wireText(capacity: Int(BELAY_TIMEOUT_MS_SIZE)) { belay_timeout_ms_format(left, $0, $1) })
    }

    private var left: belay_duration { belay_remaining(handle) }

    private func nonEmpty(_ text: String?) -> String? { text == "" ? nil : text }
}

extension Duration {
    /// What a `grpc-timeout` says, to derive a context with; `nil` if it is none: more than eight digits, no unit, a
    /// sign, a blank.
    ///
    /// ```swift
    /// let budget = headers["grpc-timeout"].flatMap { Duration(grpcTimeout: $0) } ?? .seconds(30)
    /// try await withTimeout(budget) { … }
    /// ```
    ///
    /// What exceeds 292 years is `.nanoseconds(Int64.max)`, which as a timeout means never. Zero, which gRPC forbids
    /// and some of its clients send, is zero.
    public init?(grpcTimeout text: some StringProtocol) {
        self.init(text, read: belay_grpc_timeout_parse)
    }

    /// What a header with plain milliseconds says: digits, and nothing else. `nil` if it is none.
    public init?(timeoutMilliseconds text: some StringProtocol) {
        self.init(text, read: belay_timeout_ms_parse)
    }

    private init?(
        _ text: some StringProtocol,
        read: (UnsafePointer<CChar>?, Int, UnsafeMutablePointer<belay_duration>?) -> belay_status
    ) {
        var nanoseconds: belay_duration = 0
        guard text.withWireText({ read($0, $1, &nanoseconds) }) == BELAY_OK else { return nil }
        self = .nanoseconds(nanoseconds)
    }
}
