// SPDX-License-Identifier: Apache-2.0
import CBelay

/// An executor of Swift's, as C sees it.
final class ExecutorStarter: Sendable {
    private let start: @Sendable (@escaping @Sendable () -> Void) -> Void

    /// - Parameter start: Arranges for a closure to be called once, soon.
    init(start: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void) { self.start = start }

    /// Good for as long as this object lives.
    var asExecutor: belay_executor {
        belay_executor(
            submit: { own, run, task in
                guard let own, let run else { return }
                let call = Call(run: run, task: task)
                Unmanaged<ExecutorStarter>.fromOpaque(own).takeUnretainedValue().start { call.run(call.task) }
            }, self: Unmanaged.passUnretained(self).toOpaque())
    }

    /// What C asks for: may be called on any thread, once.
    private struct Call: @unchecked Sendable {
        let run: @convention(c) (UnsafeMutableRawPointer?) -> Void
        let task: UnsafeMutableRawPointer?
    }
}
