// SPDX-License-Identifier: Apache-2.0
import CBelay

extension belay_runtime {
    /// A new runtime; `{0}` if it could not be made.
    init(_ options: belay_runtime_options, name: String?) {
        var options = options
        options.size = MemoryLayout<belay_runtime_options>.size
        guard let name else {
            self = belay_runtime_new(&options)
            return
        }
        self = name.withCString { text in
            options.name = text
            return belay_runtime_new(&options)
        }
    }
}

/// The root of a runtime that was made just now on this thread; if it could not be, one that says why.
func makeRoot(of runtime: belay_runtime) -> Context {
    Context(made: runtime.bits == 0 ? belay_ctx() : belay_runtime_background(runtime), under: .background)
}

/// Frees a runtime, as a destructor does: waits as long as it takes, and if this is one of its callbacks leaves that to
/// another thread.
func endRuntime(_ handle: belay_runtime, keeping executor: ExecutorStarter? = nil) {
    guard belay_runtime_free(handle, forever) == BELAY_EDEADLK else { return }
    runOnPool(of: .background) {
        withExtendedLifetime(executor) { _ = belay_runtime_free(handle, forever) }
    }
}

/// Runs `body` soon where callbacks of the context's runtime run. Answers false, and never runs it, if there is no
/// thread or no memory for that.
@discardableResult
func runOnPool(of context: Context, _ body: @escaping @Sendable () -> Void) -> Bool {
    let ended = context.makeCancel()
    defer { ended.close() }
    ended.cancel()
    return (try? ended.onDone(body)) != nil
}
