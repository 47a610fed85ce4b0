// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// The dear side of handshakes whose other side is to cost nothing: a barrier that every running thread of the process
/// executes. A thread that is not running executes one when it is switched. (membarrier(2), for which the process
/// registers once. The cheap side keeps the compiler from moving its load before its store, by
/// `belaycore_compiler_barrier`.)
enum Barrier {
    // `Globals.barrier`. To ask the system takes some milliseconds where other threads run, and next to nothing where
    // none does.
    static let unknown: UInt32 = 0
    private static let there: UInt32 = 1
    private static let missing: UInt32 = 2
    static let asked: UInt32 = 3

    /// Asks already if it costs next to nothing: at first use, mostly, there is one thread.
    static func prepare() {
        if belaycore_is_single_threaded() != 0 { _ = isThere() }
    }

    /// Whether the system has one. For a caller who can wait.
    static func isThere() -> Bool {
        let known = Globals.pointer.pointee.barrier.get()
        return known == there || known != missing && register()
    }

    /// Whether it is known by now that the system has one. Never waits: a thread of its own does that.
    static func isKnown() -> Bool {
        let barrier = Globals.pointer.pointee.barrier.get()
        if barrier == unknown { askElsewhere() }
        return barrier == there
    }

    private static func askElsewhere() {
        let (isOurs, _) = Globals.pointer.pointee.barrier.compareExchange(
            expected: unknown, desired: asked, ordering: .relaxed)
        if isOurs && belaycore_start_thread({ _ in _ = Barrier.isThere() }, nil, "belay-barrier") != 0 {
            Globals.pointer.pointee.barrier.set(unknown)
        }
    }

    /// Without a lock, because it may sleep. Two threads may both do it, and come to the same result.
    private static func register() -> Bool {
        let isThere = belaycore_register_membarrier() != 0
        Globals.pointer.pointee.barrier.set(isThere ? there : missing)
        return isThere
    }

    /// Waits until the cheap side is out of what it marked as busy: a few instructions, if it runs.
    static func awaitOwner(_ busy: borrowing Atomic<UInt32>) {
        var turns = 0
        while busy.load(ordering: .acquiring) != 0 { pause(&turns) }
    }

    /// Between two looks at what another thread is about to change. It may be a thread of a lower priority, which comes to
    /// run only when we sleep.
    static func pause(_ turns: inout Int) {
        turns &+= 1
        if turns < 100 { belaycore_pause() } else if turns < 200 { belaycore_yield() } else { belaycore_nap() }
    }

    /// For a process that has one.
    static func onAllThreads() {
        if belaycore_barrier_everywhere() == 0 { belaycore_barrier_without_membarrier() }
    }
}
