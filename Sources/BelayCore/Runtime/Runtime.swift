// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// What a family of contexts shares beyond memory: a clock, timers, the thread or the loop that drives them, an
/// executor. Number 0 is the default runtime: it is always there and lives in static storage. Others are made on
/// request; their storage is used again but never given back, so that a look at a runtime that has gone is harmless.
///
/// The state word has generation and kind where every handle has them, and the phase below:
///
/// | phase | means | left by |
/// |---|---|---|
/// | 0 | not in use: the handle matches nothing | `belay_runtime_new`, under the runtimes' lock |
/// | open | in use | the one `belay_runtime_free` that swaps `ending` in |
/// | ending | its contexts have ended; timers and callbacks are being run | the free that sees the last of them |
/// | gone | nothing runs any more; contexts that are not closed yet still name it | `belay_runtime_new`, once there is none |
struct Runtime: ~Copyable {
    let state: Atomic<UInt64>
    /// The address of the first shard, and how many there are.
    let shards: Atomic<UInt>
    let shardCount: Atomic<UInt32>
    let mode: Atomic<UInt32>
    /// Virtual clocks: what time it is.
    let virtualNow: Atomic<Int64>
    /// The driver sleeps until multiples of this; 0 for as precisely as it can.
    let tick: Atomic<Int64>
    /// Contexts that name this runtime, and how many there may be. Not counted in the default one.
    let live: Atomic<UInt32>
    let most: Atomic<UInt32>
    /// Calls of free that are under way: the number is not another runtime's before they are over.
    let frees: Atomic<UInt32>
    /// Handles of the context that everything here hangs on, and of the root that stands for it.
    let scope: Atomic<UInt64>
    let root: Atomic<UInt64>
    /// The names of the threads, with their NULs.
    let driverName: ThreadName
    let workerName: ThreadName
    let driver: Driver
    let executor: Executor
    let loop: Loop
    let poller: Poller

    static let open: UInt64 = 1
    static let ending: UInt64 = 2
    static let gone: UInt64 = 3
    static let phaseMask: UInt64 = 3

    static let manual: UInt32 = 1
    static let virtual: UInt32 = 2

    static let most = UInt32(BELAYCORE_RUNTIMES)

    @inline(__always) static func at(_ number: UInt32) -> UnsafeMutablePointer<Runtime> {
        belaycore_runtime(number).unsafelyUnwrapped.assumingMemoryBound(to: Runtime.self)
    }

    /// The default runtime.
    @inline(__always) static var standard: UnsafeMutablePointer<Runtime> { at(0) }

    var isManual: Bool { mode.get() & Runtime.manual != 0 }
    var isVirtual: Bool { mode.get() & Runtime.virtual != 0 }
    /// Acquire: what the free did before is seen.
    var phase: UInt64 { state.load(ordering: .acquiring) & Runtime.phaseMask }
    /// Whether the handle is that of this runtime, and it is not being freed.
    func isOpen(_ handle: Handle) -> Bool {
        let state = state.load(ordering: .acquiring)
        return handle.matches(state) && state & Runtime.phaseMask == Runtime.open
    }

    static func forEach(_ body: (UnsafeMutablePointer<Runtime>) -> Void) {
        for number in 0..<most where belaycore_runtime(number) != nil { body(at(number)) }
    }

    // MARK: contexts that name it

    /// Counts one more context; false if there are as many as there may be.
    @inline(__always) static func admit(_ number: UInt32) -> Bool { number == 0 || at(number).pointee.admitOne() }

    @inline(__always) static func leave(_ number: UInt32) {
        if number != 0 { at(number).pointee.live.wrappingSubtract(1, ordering: .releasing) }
    }

    @inline(never) private borrowing func admitOne() -> Bool {
        let count = live.wrappingAdd(1, ordering: .relaxed).newValue
        if count <= most.get() { return true }
        live.wrappingSubtract(1, ordering: .relaxed)
        return false
    }
}
