// SPDX-License-Identifier: Apache-2.0
import CBelay

/// Where the default runtime runs what it calls by itself: ``Context/onDone(_:)``, timers, and the callbacks and groups
/// of C code in the same process. By default that is a small elastic pool of its own. A ``ContextRuntime`` has an
/// executor of its own, which its initialiser takes.
///
/// Tasks that are queued when it is changed stay where they are.
public enum ContextExecutor {
    /// Runs callbacks on the global concurrent executor of Swift concurrency.
    ///
    /// That has a thread per processor and no more: a callback that blocks takes one away from everybody, and callbacks
    /// that wait for each other may stop it altogether. The pool grows instead.
    public static func useGlobalConcurrent() {
        install { run in
            _Concurrency.Task.detached { run() }
        }
    }

    /// Runs callbacks on an executor of yours, such as an event loop's.
    ///
    /// - Parameter executor: Is kept for ever.
    public static func use(_ executor: any TaskExecutor) {
        install { run in
            _Concurrency.Task(executorPreference: executor) { run() }
        }
    }

    /// Gives callbacks to the runtime's own pool again.
    public static func useBuiltInPool() { _ = belay_set_executor(nil) }

    /// The C side may call as long as the process lives, so what it calls is never released.
    private static func install(_ start: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void) {
        var executor = Unmanaged.passRetained(ExecutorStarter(start: start)).takeUnretainedValue().asExecutor
        _ = belay_set_executor(&executor)
    }
}
