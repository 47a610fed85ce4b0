// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// Callbacks on the end of a context. A registration stands in the list of its scope's listen record, and does not
/// count as a reference. This keeps the two together:
///
/// 1. A registration is put in the list under the record's lock, if the list has not been taken and the node has not
///    been closed; and it is *pending* from then on until it is taken out, or a push that has taken the list passes it.
///    It never becomes pending again.
/// 2. A scope is not recycled before its list is empty or every registration in it has been passed. A close that needs
///    no push sees `References.heard` and looks at the list under the lock, together with the swap that decides; every
///    other one pushes the end, and whoever pushes keeps the scope until he has passed them all. (A node that is not a
///    scope is told of its close alone; see `add(atCloseOf:)`.)
/// 3. Hence a registration that was pending before somebody took the lock of its scope's record, and is pending after,
///    did not lose its scope meanwhile, and the lock is that scope's. That is how a stop gets there without a
///    reference. The lock can be taken even if the record is another scope's by now, or free (`Listen`).
enum Registration {
    typealias Function = @convention(c) (UnsafeMutableRawPointer?) -> Void

    /// The straight way of `add`: to a scope that has joined the tree, that neither a deadline nor anyone above it can
    /// have ended unnoticed, and that had a registration before. It takes no reference.
    @inline(__always) fileprivate static func addStraight(
        _ ctx: belay_ctx, _ function: Function?, _ argument: UnsafeMutableRawPointer?, flags: UInt64
    ) -> belay_reg {
        let handle = Handle(ctx)
        let telling = State.attached | State.verdictMask | State.pulls | State.timed | State.asks | State.runtimeMask
        guard let function, let found = handle.find(Kind.scope),
            found.state.word & telling == State.attached, found.node.pointee.clock.get() == 0,
            let thread = Thread.known, thread.pointee.tasks.hasCell
        else { return add(ctx, function, argument, flags: flags) }
        let index = thread.pointee.tasks.first
        let task = Task.at(index)
        let generation = task.pointee.state.get() >> Handle.generationShift
        // The record is there: the scope is attached. Or it is none of ours, and the look at the generation says so.
        let listen = found.node.listen
        guard generation != 0, listen.pointee.lock.tryLockInPlace() else {
            return add(ctx, function, argument, flags: flags)
        }
        guard listen.pointee.accepts(for: found.node, generation: handle.generation) else {
            listen.pointee.lock.unlockInPlace()
            return add(ctx, function, argument, flags: flags)
        }
        thread.pointee.tasks.takeFirst(task)
        thread.pointee.tasks.countTaken()
        // StoreStore, as in `Task.make`.
        atomicMemoryFence(ordering: .releasing)
        task.pointee.fill(function, UInt64(UInt(bitPattern: argument)))
        let born = Task.word(generation, Kind.registration, flags | Task.pending)
        let reg = publish(task, index, born, on: handle.index)
        listen.pointee.insert(task, index)
        return listen.pointee.lock.releaseInPlace() ? wakeNext(listen, reg) : reg
    }

    /// The end of a registration that somebody waits for the lock after.
    @inline(never) private static func wakeNext(_ listen: UnsafeMutablePointer<Listen>, _ reg: belay_reg) -> belay_reg {
        listen.pointee.lock.wakeOne()
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
        defer { pinned.release() }
        // What is pinned keeps the scopes above it.
        return add(
            on: pinned.scopeIndex(kind: handle.kind), runtime: pinned.state.runtime, function, argument, flags: flags)
    }

    /// The same for a scope that the caller keeps.
    static func add(to scope: NodePointer, _ function: Function, _ argument: UnsafeMutableRawPointer?, flags: UInt64)
        -> belay_reg
    {
        add(on: scope.index, runtime: scope.state.runtime, function, argument, flags: flags)
    }

    /// A callback on the close of a context that ends nothing by it but leaves (`tellLeaves`). {0} and the last status
    /// if it has been closed, or there is no memory.
    static func add(atCloseOf parent: Handle, _ function: Function, _ argument: UnsafeMutableRawPointer?, flags: UInt64)
        -> belay_reg
    {
        guard let pinned = parent.pin() else { return fail(parent.diagnose()) }
        defer { pinned.release() }
        if pinned.ensureHeard() == nil { return fail(BELAY_ENOMEM) }
        // After the marks: a close that wins from now on finds the record. One that has won may have found none, and
        // tells nobody; so this does its next step for it. (Both change this word, so one of us comes second.)
        if pinned.pointee.references.load(ordering: .acquiring) & References.closing != 0 {
            pinned.makeStale(generation: parent.generation)
            return fail(BELAY_ESTALE)
        }
        return add(
            on: pinned.index, runtime: pinned.state.runtime, function, argument, flags: flags, atClose: true)
    }

    /// On a scope that the caller keeps, 0 for none; or, `atClose`, on a node that has a listen record.
    @inline(never) private static func add(
        on index: UInt32, runtime: UInt32, _ function: Function, _ argument: UnsafeMutableRawPointer?, flags: UInt64,
        atClose: Bool = false
    ) -> belay_reg {
        if index != 0 && !atClose {
            let status = prepare(node(index), isOwnTimer: flags & Task.ownTimer != 0)
            if status != BELAY_OK { return fail(status) }
        }
        guard let (cell, generation) = Task.make(function, UInt64(UInt(bitPattern: argument))) else {
            return fail(BELAY_ENOMEM)
        }
        let task = Task.at(cell)
        let born = Task.word(generation, Kind.registration, Task.mark(runtime) | flags)
        // A context that can never end: nobody needs to find the registration, but stop.
        if index == 0 { return publish(task, cell, born | Task.pending, on: 0) }
        if let reg = insert(task, cell, born, on: node(index)) { return reg }
        let reg = publish(task, cell, born | Task.queued, on: index)
        var outbox = Outbox()
        outbox.add(task)
        outbox.send()
        return reg
    }

    /// Into the list of a scope that the caller keeps; nil if the scope has ended.
    @inline(__always) private static func insert(
        _ task: UnsafeMutablePointer<Task>, _ index: UInt32, _ born: UInt64, on scope: NodePointer
    ) -> belay_reg? {
        // One that was done already may have no record.
        if scope.state.isDone { return nil }
        let listen = scope.listen
        listen.pointee.lock.lockInPlace()
        defer { listen.pointee.lock.unlockInPlace() }
        if listen.pointee.isTaken || scope.state.isDone { return nil }
        // Seen by the push: it takes this lock after the verdict.
        if born & Task.link != 0 {
            scope.pointee.state.bitwiseOr(State.linked, ordering: .acquiringAndReleasing)
        }
        let reg = publish(task, index, born | Task.pending, on: scope.index)
        listen.pointee.insert(task, index)
        return reg
    }

    @inline(never) private static func fail(_ status: belay_status) -> belay_reg {
        LastStatus.set(status)
        return belay_reg()
    }

    /// Sees to it that a scope's end is pushed to it, and that somebody tells it of its deadline. The caller keeps it.
    private static func prepare(_ scope: NodePointer, isOwnTimer: Bool) -> belay_status {
        // Before it is attached: what has passed by now is not for the wheel.
        let state = scope.settle()
        if !state.isDone {
            if scope.ensureHeard() == nil { return BELAY_ENOMEM }
            let status = state.has(State.attached) ? BELAY_OK : scope.attach()
            if status != BELAY_OK { return status }
        }
        return isOwnTimer || scope.state.isDone ? BELAY_OK : Shard.armClock(of: scope)
    }

    // MARK: the end has come

    /// Takes a task of a list that was taken out of *pending*, and sees to it that it runs; or frees it, if a stop came
    /// first.
    static func dispatch(_ task: UnsafeMutablePointer<Task>, to outbox: inout Outbox) {
        if task.pointee.change(Task.pending, to: Task.queued) { outbox.add(task) } else { task.free() }
    }

    /// Takes a link whose work has been done out of *pending*, and frees it, as `dispatch` does.
    static func retire(_ task: UnsafeMutablePointer<Task>) {
        task.pointee.change(Task.pending, to: Task.stopped)
        task.free()
    }

    /// Runs a queued task, unless it was stopped.
    static func run(_ task: UnsafeMutablePointer<Task>) {
        if task.pointee.change(Task.queued, to: Task.running) { task.call() }
        task.free()
    }
}

/// The list of registrations; under the lock.
extension Listen {
    /// Whether a registration may join: for a caller who has no hold on the node whose record this was.
    @inline(__always) fileprivate borrowing func accepts(for node: NodePointer, generation: UInt64) -> Bool {
        // In this order. If the node is in that life still, it was when the list was looked at, so it was the node's
        // list; and a close that is to change that needs this lock.
        if isTaken || node.state.isDone { return false }
        let references = node.pointee.references.load(ordering: .acquiring)
        return references >> Handle.generationShift == generation && references & References.heard != 0
    }

    @inline(__always) fileprivate borrowing func insert(_ task: UnsafeMutablePointer<Task>, _ index: UInt32) {
        let head = callbacks.get()
        task.pointee.entry.next.set(head)
        task.pointee.entry.previous.set(0)
        if head != 0 { Task.at(head).pointee.entry.previous.set(index) }
        callbacks.set(index)
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
