// SPDX-License-Identifier: Apache-2.0
import CBelay

/// A closure on its way through C, and the tasks that wait for its end.
///
/// C holds one reference from the registration on, and gives it up in exactly one of two ways: the callback runs, or a
/// stop answers «prevented».
final class Callback: Sendable {
    private struct State: Sendable {
        var body: (@Sendable () -> Void)?
        var finished = false
        var waiters: [UnsafeContinuation<Void, Never>] = []
    }

    private let state: Lock<State>

    init(_ body: @escaping @Sendable () -> Void) {
        state = Lock(State(body: body))
    }

    /// Registers with `belay_on_done` or `belay_after_func`.
    static func register(
        _ body: @escaping @Sendable () -> Void, on context: Context,
        with register: (@convention(c) (UnsafeMutableRawPointer?) -> Void, UnsafeMutableRawPointer) -> belay_reg
    ) throws(ContextError) -> Registration {
        let callback = Callback(body)
        let held = Unmanaged.passRetained(callback)
        let handle = register({ Unmanaged<Callback>.fromOpaque($0!).takeRetainedValue().run() }, held.toOpaque())
        guard handle.bits != 0 else {
            held.release()
            throw .lastFailure(of: context)
        }
        return Registration(handle: handle, callback: callback)
    }

    /// C calls this, once.
    private func run() {
        takeBody()?()  // the closure is released here, before anybody hears of the end
        settle()
    }

    /// C will never call: its reference is ours.
    func discard() {
        _ = takeBody()
        settle()
        Unmanaged.passUnretained(self).release()
    }

    /// Waits until the closure has returned, or has been discarded.
    nonisolated(nonsending) func finish() async {
        await withUnsafeContinuation { continuation in
            let finished = state.withLock { state in
                if !state.finished { state.waiters.append(continuation) }
                return state.finished
            }
            if finished { continuation.resume() }
        }
    }

    private func takeBody() -> (@Sendable () -> Void)? {
        state.withLock { state in
            defer { state.body = nil }
            return state.body
        }
    }

    private func settle() {
        let waiters = state.withLock { state in
            state.finished = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }
}
