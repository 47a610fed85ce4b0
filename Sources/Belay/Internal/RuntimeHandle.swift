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
///
/// Callbacks that run on a host's executor may want the very thread that this is. So there nothing waits here: all that
/// is under the runtime has ended when this returns, and another thread waits, and keeps the executor meanwhile.
func endRuntime(_ handle: belay_runtime, keeping executor: ExecutorStarter? = nil) {
    let status = belay_runtime_free(handle, executor == nil ? forever : 0)
    guard status == BELAY_EDEADLK || status == BELAY_TIMEOUT else { return }
    let isUnderWay = OwnPool.run {
        withExtendedLifetime(executor) { _ = belay_runtime_free(handle, forever) }
    }
    // No thread to wait on: callbacks may still come to the executor, which must not go.
    if !isUnderWay, let executor { _ = Unmanaged.passRetained(executor) }
}
