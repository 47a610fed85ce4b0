// SPDX-License-Identifier: Apache-2.0
import CBelay

/// Threads for this module's own work, whatever executors the program has chosen for its callbacks: work that blocks,
/// and the jobs of virtual clocks, which must not run inside another task.
enum OwnPool {
    private static let made = Lock<ContextRuntime?>(nil)

    /// Made when it is first needed, and kept. If it could not be made its background reads as done; it is tried again
    /// next time.
    static var runtime: ContextRuntime {
        made.withLock { made in
            if let made, !made.background.isDone { return made }
            let fresh = ContextRuntime(name: "belay-s")
            made = fresh
            return fresh
        }
    }

    /// Runs `body` soon, on the default runtime's executor if there is no pool. Answers false, and never runs it, if
    /// there is no thread or no memory for that.
    static func run(_ body: @escaping @Sendable () -> Void) -> Bool {
        run(body, on: runtime.background) || run(body, on: .background)
    }

    /// Runs `body` soon where callbacks of the context's runtime run.
    static func run(_ body: @escaping @Sendable () -> Void, on context: Context) -> Bool {
        let ended = context.makeCancel()
        defer { ended.close() }
        ended.cancel()
        return (try? ended.onDone(body)) != nil
    }
}
