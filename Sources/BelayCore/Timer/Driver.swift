// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// Who sleeps until the earliest timer of a runtime's shards, then fires it: one thread (of the `Crew`), started by the
/// first timer; or the host's loop, which `Loop` speaks to.
///
/// No wake-up is lost. The driver *publishes* until when it sleeps, then looks at every shard's `wake` once more; a
/// thread that adds a timer writes its shard's `wake`, then looks at what is published. All four are sequentially
/// consistent, so one of the two sees the other: the driver stays up, or it is woken through `signal`, whose value it
/// took before it published. While it is up, `sleepsUntil` is the past, and nobody needs to wake it.
struct Driver: ~Copyable {
    private let started: Atomic<UInt32>
    private let signal: Atomic<UInt32>
    let sleepsUntil: Atomic<Int64>
    let wakeups: Atomic<UInt64>
    /// 0 while the thread is to go on, `leave` when it is to end, `left` when it has.
    private let departure: Atomic<UInt32>

    private static let leave: UInt32 = 1
    private static let left: UInt32 = 2

    /// Makes sure that the runtime is driven. BELAY_ESYSTEM if its thread cannot be started; BELAY_ESTALE if the
    /// runtime is being freed.
    @inline(__always) static func start(_ runtime: UInt32) -> belay_status {
        let driver = Runtime.at(runtime)
        if driver.pointee.driver.started.load(ordering: .acquiring) != 0 && runtime == 0 { return BELAY_OK }
        return startSlowly(runtime)
    }

    @inline(never) private static func startSlowly(_ number: UInt32) -> belay_status {
        let runtime = Runtime.at(number)
        if number != 0 && runtime.pointee.phase != Runtime.open { return BELAY_ESTALE }
        if runtime.pointee.driver.started.load(ordering: .acquiring) != 0 { return BELAY_OK }
        let globals = Globals.pointer
        globals.pointee.setupLock.lock()
        defer { globals.pointee.setupLock.unlock() }
        if runtime.pointee.driver.started.get() != 0 { return BELAY_OK }
        if number != 0 && runtime.pointee.phase != Runtime.open { return BELAY_ESTALE }
        // The wheel reaches both regions by their addresses, so both must have one.
        guard Region.listens.pointee.open(), Region.tasks.pointee.open() else { return BELAY_ENOMEM }
        Shard.prepareAll(number)
        if runtime.pointee.isManual {
            // Nobody sleeps before the first poll, which looks at everything.
            runtime.pointee.driver.sleepsUntil.store(Clock.never, ordering: .sequentiallyConsistent)
        } else {
            if Crew.start(number, asDriver: true) != 0 { return BELAY_ESYSTEM }
        }
        runtime.pointee.driver.started.store(1, ordering: .releasing)
        return BELAY_OK
    }

    /// Tells the driver of something due at `instant`, after it was put where the driver looks.
    @inline(__always) static func hasten(_ instant: Int64, _ number: UInt32) {
        let runtime = Runtime.at(number)
        if instant < runtime.pointee.driver.sleepsUntil.load(ordering: .sequentiallyConsistent) { wakeUp(number) }
    }

    var isStarted: Bool { @inline(__always) borrowing get { started.load(ordering: .acquiring) != 0 } }

    @inline(never) static func wakeUp(_ number: UInt32) {
        let runtime = Runtime.at(number)
        if runtime.pointee.isManual {
            runtime.pointee.driver.sleepsUntil.store(.min, ordering: .sequentiallyConsistent)
            return runtime.pointee.loop.ring()
        }
        runtime.pointee.driver.signal.wrappingAdd(1, ordering: .releasing)
        belaycore_futex_wake(runtime.pointee.driver.signal.address, 1)
    }

    /// What whoever wakes the default runtime's driver counts up first. A signal handler does that by itself.
    static var bell: UnsafeMutableRawPointer { Runtime.standard.pointee.driver.signal.address }

    // MARK: the thread

    /// Drives the runtime, until there is a task for the calling thread to run, or nil: then the runtime goes.
    static func drive(_ number: UInt32) -> UnsafeMutablePointer<Task>? {
        let runtime = Runtime.at(number)
        while runtime.pointee.driver.departure.load(ordering: .acquiring) == 0 {
            let now = Clock.now
            fireAll(number, now: now)
            // An inline callback has made a child process, and this is its only thread.
            if Globals.pointer.pointee.forked { return nil }
            Executor.watch(number, now: now)
            if number == 0 { Signals.deliver() }
            if let task = runtime.pointee.executor.relieve() { return task }
            let signal = runtime.pointee.driver.signal.load(ordering: .acquiring)
            // After the signal, whose next value says that one has been asked to leave.
            if runtime.pointee.driver.departure.load(ordering: .acquiring) != 0 { break }
            let next = nextWake(number)
            runtime.pointee.driver.sleepsUntil.store(next, ordering: .sequentiallyConsistent)
            if nextWake(number) >= next && Clock.now < next {
                belaycore_futex_wait(runtime.pointee.driver.signal.address, signal, next)
                runtime.pointee.driver.wakeups.wrappingAdd(1, ordering: .relaxed)
            }
            runtime.pointee.driver.sleepsUntil.store(.min, ordering: .sequentiallyConsistent)
        }
        // Release: the free that sees it finds all that this thread did; it may use the storage again.
        runtime.pointee.driver.departure.store(left, ordering: .releasing)
        belaycore_futex_wake(runtime.pointee.driver.departure.address, .max)
        return nil
    }

    /// Ends the thread and waits until it has gone; false if `end` comes first. For the runtime's free, after which
    /// nothing can start it again.
    static func stop(_ number: UInt32, until end: Int64) -> Bool {
        let driver = Runtime.at(number)
        if driver.pointee.isManual || driver.pointee.driver.started.load(ordering: .acquiring) == 0 { return true }
        _ = driver.pointee.driver.departure.compareExchange(expected: 0, desired: leave, ordering: .releasing)
        wakeUp(number)
        while driver.pointee.driver.departure.load(ordering: .acquiring) != left {
            if Clock.now >= end { return false }
            belaycore_futex_wait(driver.pointee.driver.departure.address, leave, end)
        }
        return true
    }

    /// As it was before the first start.
    borrowing func clear() {
        started.set(0)
        signal.set(0)
        sleepsUntil.set(0)
        departure.set(0)
    }

    // MARK: what is due

    /// Fires what is due by `now`.
    @inline(never) static func fireAll(_ runtime: UInt32, now: Int64) {
        for number in Shard.numbers(of: runtime) where Shard.at(number).pointee.wake.get() <= now {
            Shard.fire(number, now: now)
        }
    }

    /// When there is something to fire or to look after: a multiple of the runtime's tick.
    @inline(never) static func nextWake(_ runtime: UInt32) -> Int64 {
        if runtime == 0 && Signals.areNews { return .min }
        return rounded(min(Executor.nextWatch(runtime), firstTimer(runtime)), runtime)
    }

    /// The next multiple of the runtime's tick.
    static func rounded(_ instant: Int64, _ runtime: UInt32) -> Int64 {
        let tick = Runtime.at(runtime).pointee.tick.get()
        if tick <= 1 || instant <= 0 || instant > Clock.never - tick { return instant }
        return (instant + tick - 1) / tick * tick
    }

    /// When the first timer may be due.
    @inline(never) static func firstTimer(_ runtime: UInt32) -> Int64 {
        var next = Clock.never
        for number in Shard.numbers(of: runtime) {
            next = min(next, Shard.at(number).pointee.wake.load(ordering: .sequentiallyConsistent))
        }
        return next
    }
}
