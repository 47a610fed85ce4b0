// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// Callbacks on the end of a context. While pending a registration keeps its scope's node, and stands in the list of its
/// listen record.
enum Registration {
    typealias Function = @convention(c) (UnsafeMutableRawPointer?) -> Void

    /// The straight way of `add`: to a scope that has joined the tree, and that neither a deadline nor anyone above it can
    /// have ended unnoticed.
    @inline(__always) fileprivate static func addStraight(
        _ ctx: belay_ctx, _ function: Function?, _ argument: UnsafeMutableRawPointer?, flags: UInt64
    ) -> belay_reg {
        let handle = Handle(ctx)
        let telling = State.attached | State.verdictMask | State.pulls | State.timed | State.asks | State.runtimeMask
        guard let function, handle.kind == Kind.scope, let found = handle.find(),
            found.state.word & telling == State.attached, let thread = Thread.known, thread.pointee.tasks.hasCell
        else { return add(ctx, function, argument, flags: flags) }
        let index = thread.pointee.tasks.first
        let task = Task.at(index)
        let generation = task.pointee.state.get() >> Handle.generationShift
        // The reference that is taken here is the registration's.
        guard generation != 0, found.node.pointee.clock.get() == 0,
            found.node.acquireAtOnce(generation: handle.generation)
        else { return add(ctx, function, argument, flags: flags) }
        thread.pointee.tasks.takeFirst(task)
        thread.pointee.tasks.countTaken()
        task.pointee.fill(function, UInt64(UInt(bitPattern: argument)))
        let born = Task.word(generation, Kind.registration, flags | Task.pending)
        let reg = publish(task, index, born, on: handle.index)
        if !found.node.listen.pointee.add(task, to: found.node, isLink: false) { dispatch(task) }
        return reg
    }

    /// The last step of a birth, with the state word: from here on the handle is found.
    @inline(__always) private static func publish(
        _ task: UnsafeMutablePointer<Task>, _ index: UInt32, _ born: UInt64, on scope: UInt32
    ) -> belay_reg {
        task.pointee.link.set(scope)
        task.pointee.context.set(0)
        // Release: partner of the acquire in `Task.find`.
        task.pointee.state.store(born, ordering: .releasing)
        return belay_reg(bits: born & (Handle.generationMask | Handle.kindMask) | UInt64(index))
    }

    /// Registers, or runs at once what is done already. {0} and the last status on failure.
    @inline(never) static func add(
        _ ctx: belay_ctx, _ function: Function?, _ argument: UnsafeMutableRawPointer?, flags: UInt64
    ) -> belay_reg {
        let handle = Handle(ctx)
        if handle.kind == Kind.lite && handle.find() != nil { return fail(BELAY_ELEAF) }
        guard let function else { return fail(BELAY_EINVAL) }
        guard let pinned = handle.pinInPlace() ?? handle.pinAfterSetup() else { return fail(handle.diagnose()) }
        let runtime = pinned.state.runtime
        if handle.kind == Kind.scope {
            // The pin becomes the registration's reference.
            return addGiven(handle.index, runtime: runtime, function, argument, flags: flags)
        }
        let scope = pinned.pointee.scope.get()
        if scope != 0 { node(scope).retain() }
        let reg = addGiven(scope, runtime: runtime, function, argument, flags: flags)
        pinned.release()
        return reg
    }

    /// The same for a scope that the caller keeps.
    static func add(to scope: NodePointer, _ function: Function, _ argument: UnsafeMutableRawPointer?, flags: UInt64)
        -> belay_reg
    {
        scope.retain()
        return addGiven(scope.index, runtime: scope.state.runtime, function, argument, flags: flags)
    }

    /// A callback on the close of a context that ends nothing by it but leaves (`tellLeaves`). {0} and the last status if it
    /// has been closed, or there is no memory.
    static func add(atCloseOf parent: Handle, _ function: Function, _ argument: UnsafeMutableRawPointer?, flags: UInt64)
        -> belay_reg
    {
        guard let pinned = parent.pin() else { return fail(parent.diagnose()) }
        if pinned.ensureListen() == nil {
            pinned.release()
            return fail(BELAY_ENOMEM)
        }
        // The pin becomes the registration's reference.
        return addGiven(pinned.index, runtime: pinned.state.runtime, function, argument, flags: flags, atClose: true)
    }

    /// Takes over a reference on the scope, 0 is none; or, `atClose`, on a node that has a listen record.
    @inline(never) private static func addGiven(
        _ scopeIndex: UInt32, runtime: UInt32, _ function: Function, _ argument: UnsafeMutableRawPointer?,
        flags: UInt64, atClose: Bool = false
    ) -> belay_reg {
        guard let (index, generation) = Task.make(function, UInt64(UInt(bitPattern: argument))) else {
            if scopeIndex != 0 { node(scopeIndex).release() }
            return fail(BELAY_ENOMEM)
        }
        let task = Task.at(index)
        let born = Task.word(generation, Kind.registration, Task.mark(runtime) | flags | Task.pending)
        let reg = publish(task, index, born, on: scopeIndex)
        // A context that can never end: nobody needs to find the registration, but stop.
        if scopeIndex == 0 { return reg }
        let failure = join(node(scopeIndex), task, born, isReady: atClose)
        return failure == BELAY_OK ? reg : fail(failure)
    }

    @inline(never) private static func fail(_ status: belay_status) -> belay_reg {
        LastStatus.set(status)
        return belay_reg()
    }

    /// Puts a pending task into the list of its scope, or dispatches it if the scope is done. `born` is its state word. The
    /// task and its reference are given up on failure.
    private static func join(
        _ scope: NodePointer, _ task: UnsafeMutablePointer<Task>, _ born: UInt64, isReady: Bool
    ) -> belay_status {
        let status = isReady ? BELAY_OK : prepare(scope, isOwnTimer: born & Task.ownTimer != 0)
        if status != BELAY_OK {
            task.free()
            scope.release()
            return status
        }
        // The reference is the task's: once that is in the list, an end may take both away.
        if scope.state.isDone || !scope.listen.pointee.add(task, to: scope, isLink: born & Task.link != 0) {
            dispatch(task)
        }
        return BELAY_OK
    }

    /// Sees to it that a scope's end is pushed to it, and that somebody tells it of its deadline. The caller keeps it.
    private static func prepare(_ scope: NodePointer, isOwnTimer: Bool) -> belay_status {
        // Before it is attached: what has passed by now is not for the wheel.
        let state = scope.settle()
        if !state.isDone && !state.has(State.attached) {
            let status = scope.attach()
            if status != BELAY_OK { return status }
        }
        return isOwnTimer || scope.state.isDone ? BELAY_OK : Shard.armClock(of: scope)
    }

    // MARK: the end has come

    /// Takes a task out of *pending*, and sends it where it belongs; inline ones go to `later` if there is one, to run
    /// when everybody has been told. The registration's reference on its node is given up.
    static func dispatch(_ task: UnsafeMutablePointer<Task>, later: UnsafeMutablePointer<Deferred>? = nil) {
        let scope = node(task.pointee.link.get())
        guard task.pointee.change(Task.pending, to: Task.queued) else {
            // A stop came first. One that is still on its way to the list finds out that we have passed.
            if task.pointee.change(Task.stopping, to: Task.abandoned) { return }
            task.free()
            scope.release()
            return
        }
        let flags = task.pointee.state.get()
        if flags & Task.waker != 0 {
            run(task)
        } else if flags & Task.inline == 0 {
            Executor.submit(task)
        } else if let later {
            later.pointee.add(task)
        } else {
            run(task)
        }
        scope.release()
    }

    /// Takes a link whose work has been done out of *pending*, and frees it, as `dispatch` does.
    static func retire(_ task: UnsafeMutablePointer<Task>) {
        let scope = node(task.pointee.link.get())
        if !task.pointee.change(Task.pending, to: Task.stopped)
            && task.pointee.change(Task.stopping, to: Task.abandoned)
        {
            return
        }
        task.free()
        scope.release()
    }

    /// Runs a queued task, unless it was stopped.
    static func run(_ task: UnsafeMutablePointer<Task>) {
        if task.pointee.change(Task.queued, to: Task.running) { task.call() }
        task.free()
    }

    /// Inline callbacks of scopes that have ended, in the order of their registration within a scope.
    struct Deferred {
        private var head: UInt32 = 0

        /// Lists hold the youngest registration first, so putting each in front turns them round.
        mutating func add(_ task: UnsafeMutablePointer<Task>) {
            task.pointee.entry.next.set(head)
            head = task.index
        }

        mutating func runAll() {
            while head != 0 {
                let task = Task.at(head)
                head = task.pointee.entry.next.get()
                Registration.run(task)
            }
        }
    }

    // MARK: stop

    /// `state` is what the task's word was when its handle matched. This much is the straight way.
    @inline(__always) fileprivate static func stopStraight(_ task: UnsafeMutablePointer<Task>, _ state: UInt64)
        -> belay_status
    {
        guard state & Task.phaseMask == Task.pending,
            task.pointee.state.change(state, state & ~Task.phaseMask | Task.stopping)
        else { return stop(task, state) }
        return withdraw(task)
    }

    /// The same, whatever the phase.
    @inline(never) static func stop(_ task: UnsafeMutablePointer<Task>, _ seen: UInt64) -> belay_status {
        var state = seen
        while state >> Handle.kindShift == seen >> Handle.kindShift {
            let phase = state & Task.phaseMask
            if phase == Task.running { return BELAY_STOP_RUNNING }
            guard phase == Task.pending || phase == Task.queued else { return BELAY_STOP_GONE }
            let next = phase == Task.pending ? Task.stopping : Task.stopped
            let (exchanged, found) = task.pointee.state.compareExchange(
                expected: state, desired: state & ~Task.phaseMask | next, ordering: .acquiringAndReleasing)
            if exchanged {
                return phase == Task.pending ? withdraw(task) : BELAY_STOP_PREVENTED
            }
            state = found
        }
        return BELAY_STOP_GONE
    }

    /// Takes a task in *stopping* out of its list: the answer of that stop. Its reference keeps the scope until then.
    @inline(__always) private static func withdraw(_ task: UnsafeMutablePointer<Task>) -> belay_status {
        let index = task.pointee.link.get()
        if index == 0 {
            task.free()
            return BELAY_STOP_PREVENTED
        }
        let scope = node(index)
        let listen = scope.listen
        listen.pointee.lock.lockInPlace()
        let isTaken = listen.pointee.isTaken
        if !isTaken { listen.pointee.remove(task) }
        listen.pointee.lock.unlockInPlace()
        // Where a push took the list, it frees what it finds stopped; if it has passed, we do.
        if isTaken && task.pointee.change(Task.stopping, to: Task.stopped) { return BELAY_STOP_PREVENTED }
        task.freeUnawaited()
        _ = scope.releaseAtOnce()
        return BELAY_STOP_PREVENTED
    }
}

/// The list of registrations; under the lock.
extension Listen {
    /// False if the scope has ended: nobody would look at the list any more.
    @inline(__always) fileprivate borrowing func add(
        _ task: UnsafeMutablePointer<Task>, to scope: NodePointer, isLink: Bool
    ) -> Bool {
        lock.lockInPlace()
        defer { lock.unlockInPlace() }
        if isTaken || scope.state.isDone { return false }
        // Seen by the push: it takes this lock after the verdict.
        if isLink {
            scope.pointee.state.bitwiseOr(State.linked, ordering: .acquiringAndReleasing)
        }
        let head = callbacks.get()
        task.pointee.entry.next.set(head)
        task.pointee.entry.previous.set(0)
        if head != 0 { Task.at(head).pointee.entry.previous.set(task.index) }
        callbacks.set(task.index)
        return true
    }

    @inline(__always) fileprivate borrowing func remove(_ task: UnsafeMutablePointer<Task>) {
        let next = task.pointee.entry.next.get()
        let previous = task.pointee.entry.previous.get()
        if next != 0 { Task.at(next).pointee.entry.previous.set(previous) }
        if previous != 0 { Task.at(previous).pointee.entry.next.set(next) } else { callbacks.set(next) }
    }
}

@_cdecl("belay_after_func") @implementation @_optimize(speed)
public func belay_after_func(
    _ ctx: belay_ctx, _ function: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?,
    _ argument: UnsafeMutableRawPointer?
) -> belay_reg {
    Registration.addStraight(ctx, function, argument, flags: 0)
}

@_cdecl("belay_on_done") @implementation @_optimize(speed)
public func belay_on_done(
    _ ctx: belay_ctx, _ function: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?,
    _ argument: UnsafeMutableRawPointer?
) -> belay_reg {
    Registration.addStraight(ctx, function, argument, flags: Task.inline)
}

@_cdecl("belay_stop") @implementation @_optimize(speed)
public func belay_stop(_ reg: belay_reg) -> belay_status {
    let handle = Handle(bits: reg.bits)
    guard let (task, state) = Task.find(handle, kind: Kind.registration) else {
        return Task.diagnose(handle, kind: Kind.registration)
    }
    return Registration.stopStraight(task, state)
}
