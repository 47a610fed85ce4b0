// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// Where callbacks run: the host's executor if it gave one, else a pool of threads.
///
/// The pool starts with the first task and keeps up to a thread per processor busy. Callbacks may block, also on each
/// other, so it must not stop there: while tasks are queued and no thread is free, the driver looks every millisecond
/// whether anything was taken from the queue since, and if not starts one more thread. So whatever number of callbacks
/// block, the next one runs (up to `mostThreads`). Threads that find nothing to do for a while end.
struct Executor: ~Copyable {
    private let lock: Lock
    /// Under the lock: the queue, the threads that sleep, how many of them were called, all threads, and how many tasks
    /// were ever taken.
    private let head: Atomic<UInt32>
    private let tail: Atomic<UInt32>
    private let idle: Atomic<UInt32>
    private let called: Atomic<UInt32>
    let threads: Atomic<UInt32>
    private let taken: Atomic<UInt64>
    private let takenAtWatch: Atomic<UInt64>
    /// Sleeping threads wait for this to change.
    private let signal: Atomic<UInt32>
    /// When the driver is to look after the queue. 0 before the first use means nothing is to be watched.
    private let watchAt: Atomic<Int64>
    /// Threads that the pool keeps busy without being asked for more; 0 until it is known.
    private let width: Atomic<UInt32>
    /// Under the lock: the host's executor, its submit function and what it wants with it.
    private let hostSubmit: Atomic<UInt>
    private let hostSelf: Atomic<UInt>

    private static let mostThreads: UInt32 = 1024
    private static let idleTime: Int64 = 5_000_000_000
    private static let watchInterval: Int64 = 1_000_000

    typealias Submit =
        @convention(c) (
            UnsafeMutableRawPointer?, (@convention(c) (UnsafeMutableRawPointer?) -> Void)?, UnsafeMutableRawPointer?
        ) -> Void

    /// Has a queued task run soon.
    static func submit(_ task: UnsafeMutablePointer<Task>) {
        let globals = Globals.pointer
        let (host, own) = globals.pointee.executor.host()
        if let host {
            host(own, { Executor.run($0) }, task)
        } else {
            globals.pointee.executor.enqueue(task)
        }
    }

    /// Function and argument belong together, so they are read together.
    private borrowing func host() -> (Submit?, UnsafeMutableRawPointer?) {
        lock.lock()
        defer { lock.unlock() }
        let submit = UnsafeRawPointer(bitPattern: hostSubmit.get())
        return (unsafeBitCast(submit, to: Submit?.self), UnsafeMutableRawPointer(bitPattern: hostSelf.get()))
    }

    borrowing func setHost(_ submit: UInt, _ own: UInt) {
        lock.lock()
        hostSubmit.set(submit)
        hostSelf.set(own)
        lock.unlock()
    }

    private static func run(_ raw: UnsafeMutableRawPointer?) {
        guard let task = raw?.assumingMemoryBound(to: Task.self) else { return }
        if task.pointee.state.get() >> Handle.kindShift & 15 == Kind.timer {
            TimerTask.run(task)
        } else {
            Registration.run(task)
        }
    }

    // MARK: the pool

    private borrowing func enqueue(_ task: UnsafeMutablePointer<Task>) {
        let index = task.index
        task.pointee.entry.next.set(0)
        if width.get() == 0 { width.set(max(belaycore_processors(), 2)) }
        lock.lock()
        if tail.get() == 0 { head.set(index) } else { Task.at(tail.get()).pointee.entry.next.set(index) }
        tail.set(index)
        let isFree = idle.get() > called.get()
        if isFree { called.set(called.get() + 1) }
        let all = threads.get()
        let start = !isFree && all < width.get()
        if start { threads.set(all + 1) }
        let watch = !isFree && !start && watchAt.get() == 0
        if watch { beginWatch() }
        lock.unlock()
        if isFree {
            signal.wrappingAdd(1, ordering: .releasing)
            belaycore_futex_wake(signal.address, 1)
        }
        if start { startThread() }
        if watch { Executor.hastenWatch() }
    }

    /// The thread is counted already. If it cannot be started and there is no other, the work is done here: late and on the
    /// wrong thread is better than never.
    private borrowing func startThread() {
        if belaycore_start_thread({ _ in Globals.pointer.pointee.executor.work() }, nil, "belay-worker") == 0 { return }
        lock.lock()
        threads.set(threads.get() - 1)
        let alone = threads.get() == 0
        let watch = !alone && head.get() != 0 && watchAt.get() == 0
        if watch { beginWatch() }
        lock.unlock()
        if watch { Executor.hastenWatch() }
        while alone, let task = take() { Executor.run(task) }
    }

    private borrowing func take() -> UnsafeMutablePointer<Task>? {
        lock.lock()
        defer { lock.unlock() }
        return takeLocked()
    }

    private borrowing func takeLocked() -> UnsafeMutablePointer<Task>? {
        let index = head.get()
        if index == 0 { return nil }
        let task = Task.at(index)
        let next = task.pointee.entry.next.get()
        head.set(next)
        if next == 0 { tail.set(0) }
        taken.set(taken.get() &+ 1)
        return task
    }

    private borrowing func work() {
        while true {
            lock.lock()
            if let task = takeLocked() {
                // Others may be queued behind it while it blocks.
                let watch = head.get() != 0 && idle.get() <= called.get() && watchAt.get() == 0
                if watch { beginWatch() }
                lock.unlock()
                if watch { Executor.hastenWatch() }
                Executor.run(task)
                continue
            }
            idle.set(idle.get() + 1)
            let seen = signal.load(ordering: .acquiring)
            lock.unlock()
            let end = Clock.after(Executor.idleTime)
            belaycore_futex_wait(signal.address, seen, end)
            lock.lock()
            idle.set(idle.get() - 1)
            if called.get() > 0 { called.set(called.get() - 1) }
            if head.get() == 0 && Clock.now >= end {
                threads.set(threads.get() - 1)
                lock.unlock()
                return
            }
            lock.unlock()
        }
    }

    // MARK: the watch

    /// Under the lock.
    private borrowing func beginWatch() {
        takenAtWatch.set(taken.get())
        watchAt.store(Clock.after(Executor.watchInterval), ordering: .sequentiallyConsistent)
    }

    /// When the driver should call `watch`; never, mostly.
    static var nextWatch: Int64 {
        let at = Globals.pointer.pointee.executor.watchAt.load(ordering: .sequentiallyConsistent)
        return at == 0 ? Clock.never : at
    }

    /// Should the driver not start, the pool stays as it is until the next task comes.
    private static func hastenWatch() {
        if Driver.start() == BELAY_OK {
            Driver.hasten(nextWatch)
        } else {
            Globals.pointer.pointee.executor.watchAt.store(0, ordering: .sequentiallyConsistent)
        }
    }

    /// By the driver: adds a thread if the queue has not moved since the last look.
    static func watch(now: Int64) {
        if nextWatch > now { return }
        Globals.pointer.pointee.executor.look()
    }

    private borrowing func look() {
        lock.lock()
        var start = false
        if head.get() == 0 || idle.get() > called.get() {
            watchAt.set(0)
        } else {
            start = taken.get() == takenAtWatch.get() && threads.get() < Executor.mostThreads
            if start { threads.set(threads.get() + 1) }
            beginWatch()
        }
        lock.unlock()
        if start { startThread() }
    }
}

@_cdecl("belay_set_executor") @implementation
public func belay_set_executor(_ executor: UnsafePointer<belay_executor>?) -> belay_status {
    guard let executor else {
        Globals.pointer.pointee.executor.setHost(0, 0)
        return BELAY_OK
    }
    guard let submit = executor.pointee.submit else { return BELAY_EINVAL }
    Globals.pointer.pointee.executor.setHost(
        UInt(bitPattern: unsafeBitCast(submit, to: UnsafeRawPointer.self)), UInt(bitPattern: executor.pointee.`self`))
    return BELAY_OK
}
