// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// Where a runtime's callbacks run: the host's executor if it gave one, a pool of threads, or the host's loop.
///
/// The pool starts with the first task and keeps up to a thread per processor busy, and two where there is but one.
/// Callbacks may block, also on each other, so it must not stop there: while tasks are queued and no thread is free,
/// the driver looks every millisecond whether anything was taken from the queue since, and if not starts one more
/// thread. So whatever number of callbacks block, the next one runs (up to `mostThreads`).
///
/// Threads that find nothing to do for a while end. Under a steady load each is called in its turn, so none does: then
/// as many end as were never needed all at once in that time.
///
/// A runtime that is driven by a loop has no threads: its queue is run by `Loop.poll`.
struct Executor: ~Copyable {
    let lock: Lock
    /// Under the lock: the queue, the threads that sleep, how many of them were called, all threads but the one that
    /// drives, and how many tasks were ever taken from the queue and put into it.
    let head: Atomic<UInt32>
    private let tail: Atomic<UInt32>
    let idle: Atomic<UInt32>
    let called: Atomic<UInt32>
    let threads: Atomic<UInt32>
    let taken: Atomic<UInt64>
    let appended: Atomic<UInt64>
    let takenAtWatch: Atomic<UInt64>
    /// Sleeping threads wait for this to change.
    let signal: Atomic<UInt32>
    /// When the driver is to look after the queue. 0 before the first use means nothing is to be watched.
    let watchAt: Atomic<Int64>
    /// Under the lock: the fewest threads that had nothing to do after others were called, since when that is counted,
    /// and how many of these may still end.
    private let spare: Atomic<UInt32>
    let surplus: Atomic<UInt32>
    private let spareSince: Atomic<Int64>
    /// Threads that the pool keeps busy without being asked for more; 0 until it is known.
    private let width: Atomic<UInt32>
    /// Tasks that were submitted and are not over, and calls that may submit some (`expect`). Counted where the runtime
    /// can be freed.
    let outstanding: Atomic<UInt32>
    /// Under the lock: nobody drives the runtime, and a thread that was called is about to. See `Crew`.
    private let isVacant: Atomic<UInt32>
    /// Under the lock: the runtime has been freed. What comes now belongs to the default one.
    let closed: Atomic<UInt32>
    /// Under the lock: the host's executor, its submit function and what it wants with it.
    private let hostSubmit: Atomic<UInt>
    private let hostSelf: Atomic<UInt>

    private static let idleTime: Int64 = 5_000_000_000

    typealias Submit =
        @convention(c) (
            UnsafeMutableRawPointer?, (@convention(c) (UnsafeMutableRawPointer?) -> Void)?, UnsafeMutableRawPointer?
        ) -> Void

    /// Has a queued task run soon, where the tasks of its runtime run.
    static func submit(_ task: UnsafeMutablePointer<Task>) {
        var batch = Batch()
        batch.add(task)
        batch.submit()
    }

    /// Takes a batch in, unless there is a host's executor to give it to, or the runtime has gone. Function and
    /// argument of the host's belong together, so they are read together.
    borrowing func enter(_ batch: Batch, _ number: UInt32, isManual: Bool)
        -> (host: Submit?, own: UnsafeMutableRawPointer?, isOpen: Bool)
    {
        lock.lock()
        if number != 0 {
            if closed.get() != 0 {
                lock.unlock()
                return (nil, nil, false)
            }
            outstanding.wrappingAdd(batch.count, ordering: .relaxed)
        }
        let submit = UnsafeRawPointer(bitPattern: hostSubmit.get())
        if let submit {
            let own = UnsafeMutableRawPointer(bitPattern: hostSelf.get())
            lock.unlock()
            return (unsafeBitCast(submit, to: Submit?.self), own, true)
        }
        append(batch)
        if isManual {
            lock.unlock()
            Driver.hasten(.min, number)
        } else {
            callThreads(for: batch.count, number)
        }
        return (nil, nil, true)
    }

    borrowing func setHost(_ submit: UInt, _ own: UInt) {
        lock.lock()
        hostSubmit.set(submit)
        hostSelf.set(own)
        lock.unlock()
    }

    /// What an executor is given to call.
    static func run(_ raw: UnsafeMutableRawPointer?) {
        guard let task = raw?.assumingMemoryBound(to: Task.self) else { return }
        let number = task.pointee.runtime
        if number == 0 { return runAny(task) }
        Serving.inside(number) { runAny(task) }
        arrived(number)
    }

    private static func runAny(_ task: UnsafeMutablePointer<Task>) {
        switch task.pointee.state.get() >> Handle.kindShift & 15 {
        case Kind.timer: TimerTask.run(task)
        case Kind.work: Work.run(task)
        default: Registration.run(task)
        }
    }

    /// Tasks of this runtime are about to be submitted, which nobody else finds where they were: its free is to wait
    /// for them too. The caller keeps the number from being another runtime's until he says `arrived`.
    @inline(__always) static func expect(_ number: UInt32) {
        if number != 0 { Runtime.at(number).pointee.executor.outstanding.wrappingAdd(1, ordering: .relaxed) }
    }

    /// They have been submitted, or a task is over.
    @inline(__always) static func arrived(_ number: UInt32) {
        if number != 0 { Runtime.at(number).pointee.executor.arrived() }
    }

    /// Release: whoever waits for the last one sees what it wrote.
    @inline(never) private borrowing func arrived() {
        if outstanding.wrappingSubtract(1, ordering: .releasing).newValue == 0 {
            belaycore_futex_wake(outstanding.address, .max)
        }
    }

    // MARK: the pool

    /// Under the lock: puts the tasks at the end of the queue.
    private borrowing func append(_ batch: Batch) {
        if tail.get() == 0 { head.set(batch.head) } else { Task.at(tail.get()).pointee.entry.next.set(batch.head) }
        tail.set(batch.tail)
        appended.set(appended.get() &+ UInt64(batch.count))
    }

    /// So many tasks have just been queued: sees to it that they are taken, and lets go of the lock.
    private borrowing func callThreads(for count: UInt32, _ number: UInt32) {
        if width.get() == 0 { width.set(max(belaycore_processors(), 2)) }
        let free = idle.get() > called.get() ? min(idle.get() - called.get(), count) : 0
        called.set(called.get() + free)
        spare.set(min(spare.get(), idle.get() - min(called.get(), idle.get())))
        let all = threads.get()
        let missing = all < width.get() ? min(width.get() - all, count - free) : 0
        threads.set(all + missing)
        if missing != 0 { surplus.set(0) }
        let watch = free + missing < count && watchAt.get() == 0
        if watch { beginWatch() }
        if free != 0 { signal.wrappingAdd(1, ordering: .releasing) }
        lock.unlock()
        if free != 0 { belaycore_futex_wake(signal.address, Int32(free)) }
        for _ in 0..<missing { startThread(number) }
        if watch { Executor.hastenWatch(number) }
    }

    /// The thread is counted already. If it cannot be started and there is no other, the work is done here: late and on
    /// the wrong thread is better than never.
    borrowing func startThread(_ number: UInt32) {
        if Crew.start(number, asDriver: false) == 0 { return }
        lock.lock()
        threads.set(threads.get() - 1)
        let alone = threads.get() == 0
        let watch = !alone && head.get() != 0 && watchAt.get() == 0
        if watch { beginWatch() }
        let isAwaited = closed.get() != 0
        lock.unlock()
        // The others may have done all the work by now, and left.
        if isAwaited { belaycore_futex_wake(threads.address, .max) }
        if watch { Executor.hastenWatch(number) }
        while alone, let task = take() { Executor.run(task) }
    }

    private borrowing func take() -> UnsafeMutablePointer<Task>? {
        lock.lock()
        defer { lock.unlock() }
        return takeLocked()
    }

    @inline(never) private borrowing func takeLocked() -> UnsafeMutablePointer<Task>? {
        let index = head.get()
        if index == 0 { return nil }
        let task = Task.at(index)
        let next = task.pointee.entry.next.get()
        head.set(next)
        if next == 0 { tail.set(0) }
        taken.set(taken.get() &+ 1)
        return task
    }

    /// By the driver, which has fired what is due: a task for it to run itself, if a thread is on its way that can take
    /// its place. Then the place is vacant.
    @inline(__always) borrowing func relieve() -> UnsafeMutablePointer<Task>? {
        head.get() == 0 ? nil : relieveSlowly()
    }

    @inline(never) private borrowing func relieveSlowly() -> UnsafeMutablePointer<Task>? {
        lock.lock()
        defer { lock.unlock() }
        guard called.get() != 0, let task = takeLocked() else { return nil }
        // Whoever takes the place is not counted from then on, and we are: so the number of threads stays as it is.
        isVacant.set(1)
        return task
    }

    /// Runs tasks, until the calling thread has something else to do. (All in one place, so that the stack below a task
    /// is the same whoever runs it: a profile tells births apart by their stacks.)
    borrowing func work(_ number: UInt32, first: UnsafeMutablePointer<Task>?, isNamedDriver: Bool) -> Crew.Next {
        var task = first
        while true {
            if let task {
                Executor.run(task)
                // It has made a child process and is there the only thread: nothing of this is its own.
                if Globals.pointer.pointee.forked { return .end }
            }
            lock.lock()
            if isVacant.get() != 0 {
                isVacant.set(0)
                lock.unlock()
                return .drive
            }
            if isNamedDriver {
                lock.unlock()
                return .rename
            }
            task = takeLocked()
            if task != nil {
                // Others may be queued behind it while it blocks.
                let watch = head.get() != 0 && idle.get() <= called.get() && watchAt.get() == 0
                if watch { beginWatch() }
                lock.unlock()
                if watch { Executor.hastenWatch(number) }
                continue
            }
            let now = Clock.now
            if closed.get() != 0 || isTooMuch(at: now) {
                leave()
                return .end
            }
            idle.set(idle.get() + 1)
            let seen = signal.load(ordering: .acquiring)
            lock.unlock()
            let end = now + Executor.idleTime
            belaycore_futex_wait(signal.address, seen, end)
            lock.lock()
            idle.set(idle.get() - 1)
            if called.get() > 0 { called.set(called.get() - 1) }
            if isVacant.get() == 0 && head.get() == 0 && Clock.now >= end {
                leave()
                return .end
            }
            lock.unlock()
        }
    }

    /// Under the lock: whether a thread that has nothing to do is one of those that were not needed.
    private borrowing func isTooMuch(at now: Int64) -> Bool {
        if now - spareSince.get() >= Executor.idleTime {
            surplus.set(min(spare.get(), idle.get()))
            spare.set(.max)
            spareSince.set(now)
        }
        return surplus.get() != 0
    }

    /// The calling thread ends. Under the lock, which it lets go of.
    @inline(never) private borrowing func leave() {
        threads.set(threads.get() - 1)
        if surplus.get() != 0 { surplus.set(surplus.get() - 1) }
        let isAwaited = closed.get() != 0
        lock.unlock()
        if isAwaited { belaycore_futex_wake(threads.address, .max) }
    }

    // MARK: loops

    /// Whether there is something for `runQueue` to do.
    var hasQueue: Bool {
        borrowing get {
            lock.lock()
            defer { lock.unlock() }
            return head.get() != 0
        }
    }

    /// Runs what is queued now and what is queued meanwhile, on the calling thread. True if there was anything.
    @discardableResult
    borrowing func runQueue() -> Bool {
        var ran = false
        while let task = take() {
            Executor.run(task)
            ran = true
        }
        return ran
    }

    // MARK: beginning again

    /// In the child of a fork: no thread is left, and no task.
    borrowing func startOver() {
        lock.reset()
        clear()
        head.set(0)
        tail.set(0)
        appended.set(taken.get())
        idle.set(0)
        threads.set(0)
        outstanding.set(0)
    }

    /// As it was before the first task. `close` has been through.
    borrowing func clear() {
        width.set(0)
        called.set(0)
        spare.set(0)
        surplus.set(0)
        spareSince.set(0)
        watchAt.set(0)
        isVacant.set(0)
        closed.set(0)
    }
}

@_cdecl("belay_set_executor") @implementation
public func belay_set_executor(_ executor: UnsafePointer<belay_executor>?) -> belay_status {
    guard let executor else {
        Runtime.standard.pointee.executor.setHost(0, 0)
        return BELAY_OK
    }
    guard let submit = executor.pointee.submit else { return BELAY_EINVAL }
    Runtime.standard.pointee.executor.setHost(
        UInt(bitPattern: unsafeBitCast(submit, to: UnsafeRawPointer.self)), UInt(bitPattern: executor.pointee.`self`))
    return BELAY_OK
}
