// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// A piece of the user's code that runs once, or again and again: a registration, a timer, or *work*, a group's task.
/// One cache line in the tasks region.
///
/// The state word: generation (63–32), kind (31–28), the runtime's number (15–8), flags, and the phase in the low bits.
///
/// | phase | means | who leaves it |
/// |---|---|---|
/// | pending | a registration waits for its context's end; a timer for its time | the push or the driver, to queued; stop, to free, or to stopped if the push has taken its list |
/// | queued | it is to run soon | whoever runs it, to running; stop, to stopped |
/// | running | the user's function runs | whoever runs it: to pending (periodic timers) or free |
/// | stopped | it will not run; the cell is still in a list or queue | whoever takes it from there: to free |
/// | 0 | free: the generation has moved on | a new birth |
///
/// Work is born queued, and nobody stops it. A registration leaves *pending* under the lock of the list it is in, or,
/// once that was taken, by compare-and-swap. A timer leaves it only under its shard's lock, where it also leaves the
/// wheel. No flag of a pending task changes: `dismissed` goes into running timers, which never become pending again,
/// and `awaited` into what runs. So a stop that has the lock needs no swap. The step to free is release: who waits for
/// it (`Waiting.look`) acquires it, and sees what the callback wrote.
struct Task: ~Copyable {
    let state: Atomic<UInt64>
    /// While running: the handle of the task whose end it waits for, 0 for none. Finds rings of waiters.
    let waitsFor: Atomic<UInt64>
    /// Timers: the wheel's entry. Its `next` also links registrations of one context, the executor's queue, and those
    /// of a group's tasks that wait for something.
    let entry: WheelEntry
    /// Registrations: the node. Timers: the record that holds the period, 0 if it runs once. Work: the group.
    let link: Atomic<UInt32>
    let function: Atomic<UInt64>
    /// What the function is called with; of a merge's link, see `Links`.
    let argument: Atomic<UInt64>
    /// Timers: the context's handle; of a merge's link, see `Links`.
    let context: Atomic<UInt64>

    static let phaseMask: UInt64 = 7
    static let pending: UInt64 = 1
    static let queued: UInt64 = 2
    static let running: UInt64 = 3
    static let stopped: UInt64 = 4
    /// Somebody sleeps until this task is free.
    static let awaited: UInt64 = 1 << 3
    /// Runs where the context ends, not on the executor.
    static let inline: UInt64 = 1 << 4
    /// One of ours, and short: runs inline, before all others.
    static let waker: UInt64 = 1 << 5
    /// A periodic timer that was stopped while it ran.
    static let dismissed: UInt64 = 1 << 6
    /// With `waker`: the end is not for a thread that waits but for a context that was merged.
    static let link: UInt64 = 1 << 7
    /// With `waker`: the thread that waits is its own timer, so none is armed for it.
    static let ownTimer: UInt64 = 1 << 16

    /// The runtime's number, in a state word and out of one.
    static func mark(_ runtime: UInt32) -> UInt64 { UInt64(runtime) << 8 }
    @inline(__always) static func runtime(_ state: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: state >> 8) & 255 }
    @inline(__always) var runtime: UInt32 { Task.runtime(state.get()) }

    /// For a task that is queued and whose runtime has gone.
    func moveToStandard() { state.bitwiseAnd(~Task.mark(255), ordering: .relaxed) }

    @inline(__always) static func at(_ index: UInt32) -> UnsafeMutablePointer<Task> {
        Region.tasks.pointee.cell(index, as: Task.self)
    }

    /// The task that a handle of this kind names; nil if it is stale or none.
    @inline(__always) static func find(_ handle: Handle, kind: UInt64) -> (
        task: UnsafeMutablePointer<Task>, state: UInt64
    )? {
        let index = handle.index(of: kind)
        // Acquire: an index below the limit has its base and its memory.
        guard index < UInt64(Region.tasks.pointee.limit.load(ordering: .acquiring)) else { return nil }
        let task = Region.tasks.pointee.cell(index, as: Task.self)
        let state = task.pointee.state.load(ordering: .acquiring)
        return handle.matches(state) ? (task, state) : nil
    }

    /// What to answer for a handle that `find` did not find: it is over, or it never was.
    @inline(never) static func diagnose(_ handle: Handle, kind: UInt64) -> belay_status {
        if Globals.pointer.pointee.forked { return BELAY_EFORK }
        guard handle.kind == kind, handle.index >= Root.firstFree, handle.generation != 0,
            handle.index < Region.tasks.pointee.limit.load(ordering: .acquiring)
        else { return BELAY_EINVAL }
        let current = at(handle.index).pointee.state.get() >> Handle.generationShift
        return handle.generation <= current ? BELAY_STOP_GONE : BELAY_EINVAL
    }

    /// A free cell with function and argument set, and the generation of its next handle; nil when there is no memory.
    @inline(__always) static func make(
        _ function: @convention(c) (UnsafeMutableRawPointer?) -> Void, _ argument: UInt64
    )
        -> (index: UInt32, generation: UInt64)?
    {
        guard let thread = Thread.current else { return nil }
        let index = thread.pointee.tasks.take(Region.tasks.pointee)
        if index == 0 { return nil }
        let task = at(index)
        let generation = max(task.pointee.state.get() >> Handle.generationShift, 1)
        // StoreStore: a stop that reads what is written next as its registration's must find the registration gone.
        atomicMemoryFence(ordering: .releasing)
        task.pointee.fill(function, argument)
        return (index, generation)
    }

    /// What a registration or work is born with, and most timers.
    @inline(__always) func fill(_ function: @convention(c) (UnsafeMutableRawPointer?) -> Void, _ argument: UInt64) {
        waitsFor.set(0)
        entry.place.set(0)
        set(function, argument)
    }

    @inline(__always) func set(
        _ function: @convention(c) (UnsafeMutableRawPointer?) -> Void, _ argument: UInt64
    ) {
        self.function.set(UInt64(UInt(bitPattern: unsafeBitCast(function, to: UnsafeRawPointer.self))))
        self.argument.set(argument)
    }

    @inline(__always) static func word(_ generation: UInt64, _ kind: UInt64, _ rest: UInt64) -> UInt64 {
        generation << Handle.generationShift | kind << Handle.kindShift | rest
    }

    /// From one phase to another by compare-and-swap, leaving the flags; false if it is in another phase.
    @discardableResult
    func change(_ from: UInt64, to next: UInt64) -> Bool {
        var old = state.load(ordering: .acquiring)
        while old & Task.phaseMask == from {
            let (exchanged, found) = state.compareExchange(
                expected: old, desired: old & ~Task.phaseMask | next, ordering: .acquiringAndReleasing)
            if exchanged { return true }
            old = found
        }
        return false
    }

    /// Under the shard's lock: the timer's time has come.
    func claimFromWheel() { change(Task.pending, to: Task.queued) }
}

extension UnsafeMutablePointer where Pointee == Task {
    @inline(__always) var index: UInt32 { Region.tasks.pointee.index(of: self) }

    /// The task is over: its handle is stale from now on, and whoever waits for it goes on.
    @inline(never) func free() { freeInPlace() }

    /// `free`, for hot paths.
    @inline(__always) func freeInPlace() {
        let old = pointee.state.get()
        let generation = (old >> Handle.generationShift) &+ 1
        let last = pointee.state.exchange(generation << Handle.generationShift, ordering: .acquiringAndReleasing)
        if last & Task.awaited != 0 { belaycore_futex_wake(generationAddress, .max) }
        giveCell(generation: generation)
    }

    /// The second half of `free`: the state word has the next generation.
    @inline(__always) func giveCell(generation: UInt64) {
        if generation > UInt64(UInt32.max) { return }
        if let thread = Thread.current {
            thread.pointee.tasks.give(index, Region.tasks.pointee)
        } else {
            Region.tasks.pointee.giveChain(Chain(head: index, count: 1))
        }
    }

    /// The upper half of the state word: it changes when the task is over, and only then.
    var generationAddress: UnsafeMutableRawPointer { pointee.state.address + 4 }

    /// Runs the user's function. The task is in phase running.
    func call() {
        Running.inside(self) {
            let function = UnsafeRawPointer(bitPattern: UInt(pointee.function.get())).unsafelyUnwrapped
            unsafeBitCast(function, to: (@convention(c) (UnsafeMutableRawPointer?) -> Void).self)(argument)
        }
    }

    var argument: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: UInt(pointee.argument.get())) }
}

/// A task that runs on this thread, and the one inside whose function it was started. On the stack of whoever runs it.
struct Running {
    let task: UnsafeMutablePointer<Task>
    var outer: UInt

    /// Calls `body`, which runs the task's function.
    @inline(__always) static func inside<R>(_ task: UnsafeMutablePointer<Task>, _ body: () -> R) -> R {
        var frame = Running(task: task, outer: 0)
        return withUnsafeMutablePointer(to: &frame) { frame in
            let thread = Thread.current
            frame.pointee.outer = thread?.pointee.running ?? 0
            thread?.pointee.running = UInt(bitPattern: frame)
            let result = body()
            thread?.pointee.running = frame.pointee.outer
            return result
        }
    }

    /// The tasks that run on the calling thread, from the innermost out.
    struct Walk {
        private var frame = UnsafePointer<Running>(bitPattern: Thread.known?.pointee.running ?? 0)

        mutating func next() -> UnsafeMutablePointer<Task>? {
            guard let inner = frame else { return nil }
            frame = UnsafePointer(bitPattern: inner.pointee.outer)
            return inner.pointee.task
        }
    }

    /// Whether this task runs on the calling thread.
    @inline(never) static func contains(_ task: UnsafeMutablePointer<Task>) -> Bool {
        var running = Walk()
        while let inner = running.next() {
            if inner == task { return true }
        }
        return false
    }
}
