// SPDX-License-Identifier: Apache-2.0
import CBelay

/// A foreign source on its way through C, which holds one reference from `belay_custom` to `drop`.
///
/// The source holds what it is given to call, which therefore is not this box but the bell inside: the two do not keep
/// each other alive.
final class ForeignBox: Sendable {
    private let source: any ForeignCancellation
    private let bell = ForeignBell()
    private let way: ForeignListening
    private let inner: Context?
    private let stop: Lock<(@Sendable () -> Void)?>

    init(_ source: any ForeignCancellation) {
        self.source = source
        inner = source.inner
        way = source.listen { [bell] in bell.ring() }
        if case .callback(let stop) = way { self.stop = Lock(stop) } else { stop = Lock(nil) }
    }

    /// The wrapper, owned by the caller.
    func makeContext() -> Context {
        let operations: ForeignOperations =
            switch way {
            case .callback: inner == nil ? .callback : .callbackWithInner
            case .descriptor: inner == nil ? .descriptor : .descriptorWithInner
            case .poll: inner == nil ? .poll : .pollWithInner
            case .inner: .inner
            }
        // If the call fails it drops the box before it returns.
        let wrapper = belay_custom(operations.pointer, Unmanaged.passRetained(self).toOpaque())
        return Context(made: wrapper, under: inner ?? .background)
    }

    fileprivate var innerHandle: belay_ctx { inner?.handle ?? belay_ctx() }

    fileprivate var descriptor: Int32 { if case .descriptor(let descriptor) = way { descriptor } else { -1 } }

    fileprivate func listen(_ function: @escaping ForeignBell.Function, _ argument: UnsafeMutableRawPointer?) {
        bell.tie(function, argument)
    }

    /// Calls the source's callback off, the first time.
    fileprivate func callOff() {
        let stop = stop.withLock { stop in
            defer { stop = nil }
            return stop
        }
        stop?()
    }

    fileprivate func status(_ cause: UnsafeMutablePointer<belay_cause>?) -> belay_status {
        guard let error = source.error else { return BELAY_OK }
        cause?.pointee = belay_cause(error.cause)
        if case .deadlineExceeded = error { return BELAY_DEADLINE_EXCEEDED }
        return BELAY_CANCELED
    }

    /// In the time of the wrapper's runtime.
    fileprivate func deadline() -> belay_instant? {
        source.deadline.map { ContextTime(of: inner ?? .background).instant($0) }
    }
}

/// What a source calls when it has ended: before C wants to hear of it, meanwhile, or after.
private final class ForeignBell: Sendable {
    typealias Function = @convention(c) (UnsafeMutableRawPointer?) -> Void

    private struct State: @unchecked Sendable {
        var isRung = false
        var function: Function?
        var argument: UnsafeMutableRawPointer?
    }

    private let state = Lock(State())

    func ring() {
        let listener = state.withLock { state in
            defer { state = State(isRung: true) }
            return state
        }
        listener.function?(listener.argument)
    }

    func tie(_ function: @escaping Function, _ argument: UnsafeMutableRawPointer?) {
        let listener = State(function: function, argument: argument)
        let isRung = state.withLock { state in
            if !state.isRung { state = listener }
            return state.isRung
        }
        if isRung { function(argument) }
    }
}

/// The tables of functions that C is given, for each way to listen. They live for ever.
private struct ForeignOperations: @unchecked Sendable {  // immutable
    let pointer: UnsafePointer<belay_custom_ops>

    static let poll = make { _ in }
    static let pollWithInner = make(inner: true) { _ in }
    static let callback = make(listens)
    static let callbackWithInner = make(inner: true, listens)
    static let descriptor = make { $0.done_fd = { box($0).descriptor } }
    static let descriptorWithInner = make(inner: true) { $0.done_fd = { box($0).descriptor } }
    static let inner = make(inner: true) { ($0.err, $0.deadline) = (nil, nil) }

    private static func listens(_ operations: inout belay_custom_ops) {
        operations.after_func = { raw, function, argument in
            box(raw).listen(function!, argument)
            return 1
        }
        operations.stop = { raw, _ in box(raw).callOff() }
    }

    private static func make(inner: Bool = false, _ change: (inout belay_custom_ops) -> Void) -> ForeignOperations {
        var operations = belay_custom_ops()
        operations.size = MemoryLayout<belay_custom_ops>.size
        operations.err = { box($0).status($1) }
        operations.deadline = { raw, instant in
            guard let deadline = box(raw).deadline() else { return false }
            instant?.pointee = deadline
            return true
        }
        operations.drop = { raw in
            Unmanaged<ForeignBox>.fromOpaque(raw!).takeRetainedValue().callOff()
        }
        if inner { operations.inner = { box($0).innerHandle } }
        change(&operations)
        let pointer = UnsafeMutablePointer<belay_custom_ops>.allocate(capacity: 1)
        pointer.initialize(to: operations)
        return ForeignOperations(pointer: pointer)
    }
}

private func box(_ raw: UnsafeMutableRawPointer?) -> ForeignBox {
    Unmanaged<ForeignBox>.fromOpaque(raw!).takeUnretainedValue()
}

extension belay_cause {
    /// A cause for C. A long message is cut, between characters.
    fileprivate init(_ cause: ContextCause) {
        self.init()
        code = cause.code
        withUnsafeMutableBytes(of: &message) { room in
            var end = 0
            for scalar in cause.message.unicodeScalars {
                let bytes = UTF8.encode(scalar)!
                if scalar == "\0" || end + bytes.count >= room.count { break }
                for byte in bytes {
                    room[end] = byte
                    end += 1
                }
            }
        }
    }
}
