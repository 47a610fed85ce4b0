// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// The one thread that sleeps until the earliest timer of all shards, then fires it. Started by the first timer.
///
/// No wake-up is lost. The driver *publishes* until when it sleeps, then looks at every shard's `wake` once more; a thread
/// that adds a timer writes its shard's `wake`, then looks at what is published. All four are sequentially
/// consistent, so one of the two sees the other: the driver stays up, or it is woken through `signal`, whose value it
/// took before it published. While it is up, `sleepsUntil` is the past, and nobody needs to wake it.
struct Driver: ~Copyable {
    private let started: Atomic<UInt32>
    private let signal: Atomic<UInt32>
    private let sleepsUntil: Atomic<Int64>
    let wakeups: Atomic<UInt64>

    /// Makes sure that the driver runs. BELAY_ESYSTEM if its thread cannot be started.
    @inline(__always) static func start() -> belay_status {
        if Globals.pointer.pointee.driver.started.load(ordering: .acquiring) != 0 { return BELAY_OK }
        return startSlowly()
    }

    @inline(never) private static func startSlowly() -> belay_status {
        let globals = Globals.pointer
        globals.pointee.setupLock.lock()
        defer { globals.pointee.setupLock.unlock() }
        if globals.pointee.driver.started.get() != 0 { return BELAY_OK }
        // The wheel reaches both regions by their addresses, so both must have one.
        guard Region.records.pointee.open(), Region.tasks.pointee.open() else { return BELAY_ENOMEM }
        Shard.prepareAll()
        if belaycore_start_thread({ _ in Driver.run() }, nil, "belay-driver") != 0 { return BELAY_ESYSTEM }
        globals.pointee.driver.started.store(1, ordering: .releasing)
        return BELAY_OK
    }

    /// Tells the driver of something due at `instant`, after it was put where the driver looks.
    @inline(__always) static func hasten(_ instant: Int64) {
        if instant < Globals.pointer.pointee.driver.sleepsUntil.load(ordering: .sequentiallyConsistent) { wakeUp() }
    }

    @inline(never) private static func wakeUp() {
        let globals = Globals.pointer
        globals.pointee.driver.signal.wrappingAdd(1, ordering: .releasing)
        belaycore_futex_wake(globals.pointee.driver.signal.address, 1)
    }

    private static func run() {
        belaycore_sleep_precisely()
        let globals = Globals.pointer
        while true {
            fireAll()
            let signal = globals.pointee.driver.signal.load(ordering: .acquiring)
            let next = nextWake()
            globals.pointee.driver.sleepsUntil.store(next, ordering: .sequentiallyConsistent)
            if nextWake() >= next && Clock.now < next {
                belaycore_futex_wait(globals.pointee.driver.signal.address, signal, next)
                globals.pointee.driver.wakeups.wrappingAdd(1, ordering: .relaxed)
            }
            globals.pointee.driver.sleepsUntil.store(.min, ordering: .sequentiallyConsistent)
        }
    }

    private static func fireAll() {
        let now = Clock.now
        for number in 0..<Shard.count where Shard.at(number).pointee.wake.get() <= now { Shard.fire(number, now: now) }
        Executor.watch(now: now)
    }

    private static func nextWake() -> Int64 {
        var next = Executor.nextWatch
        for number in 0..<Shard.count {
            next = min(next, Shard.at(number).pointee.wake.load(ordering: .sequentiallyConsistent))
        }
        return next
    }
}
