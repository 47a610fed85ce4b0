// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// A wheel behind a lock. Threads are spread over the shards of a runtime by their numbers, so that two that add and
/// remove timers seldom meet. A shard's number is its runtime's, times eight, plus its place there. A timer task knows
/// the shard it is in; a scope's shard follows from its runtime and its listen record.
struct Shard: ~Copyable {
    let lock: Lock
    /// When the driver should look here next: never later than the wheel's own answer. Written under the lock; for the
    /// driver to read without it.
    let wake: Atomic<Int64>

    /// How many shards a runtime has at most, and the default one has.
    static let count = UInt32(BELAYCORE_SHARDS)
    static let bytes = Int(BELAYCORE_SHARD_BYTES)
    /// The wheel's storage follows the shard's own line.
    private static let wheelOffset = 128

    @inline(__always) static func at(_ number: UInt32) -> UnsafeMutablePointer<Shard> {
        storage(number).assumingMemoryBound(to: Shard.self)
    }

    @inline(__always) private static func storage(_ number: UInt32) -> UnsafeMutableRawPointer {
        number < count ? belaycore_shard(number).unsafelyUnwrapped : storageElsewhere(number)
    }

    @inline(never) private static func storageElsewhere(_ number: UInt32) -> UnsafeMutableRawPointer {
        let first = UnsafeMutableRawPointer(bitPattern: Runtime.at(number / count).pointee.shards.get())
            .unsafelyUnwrapped
        return first + Int(number % count) * bytes
    }

    /// The number of the calling thread's shard.
    @inline(__always) static func mine(in runtime: UInt32) -> UInt32 {
        place((Thread.known.map { $0.pointee.number } ?? 0), in: runtime)
    }

    /// Spreads whatever number over the shards of a runtime.
    @inline(__always) private static func place(_ number: UInt32, in runtime: UInt32) -> UInt32 {
        runtime == 0 ? number % count : runtime * count + number % Runtime.at(runtime).pointee.shardCount.get()
    }

    @inline(__always) static func numbers(of runtime: UInt32) -> Range<UInt32> {
        let first = runtime * count
        return first..<first + (runtime == 0 ? count : Runtime.at(runtime).pointee.shardCount.get())
    }

    @inline(__always) static func runtime(of number: UInt32) -> UInt32 { number / count }

    @inline(__always) static func wheel(_ number: UInt32) -> Wheel {
        Wheel(
            storage: storage(number) + wheelOffset,
            space: WheelSpace(first: Region.listens.pointee.base.get(), second: Region.tasks.pointee.base.get()))
    }

    /// Zeroed storage says "look at instant 0"; an empty shard says never. Once, before the first timer.
    static func prepareAll(_ runtime: UInt32) {
        let mask = Runtime.at(runtime).pointee.isVirtual ? 0 : Wheel.allLists
        for number in numbers(of: runtime) {
            at(number).pointee.wake.store(Clock.never, ordering: .relaxed)
            wheel(number).header.pointee.listMask = mask
        }
    }

    /// As new, because the runtime's storage is about to be used again; all but the lock, which somebody who came too
    /// late to stop a timer may have.
    static func clear(_ number: UInt32) {
        at(number).pointee.wake.set(0)
        (storage(number) + wheelOffset).initializeMemory(as: UInt8.self, repeating: 0, count: bytes - wheelOffset)
    }

    /// In the child of a fork: frees the locks of all shards that the runtime may ever have had.
    static func unlockAll(_ runtime: UInt32) {
        for number in runtime * count..<(runtime + 1) * count { at(number).pointee.lock.reset() }
    }

    /// The earliest instant at which a timer of the runtime may be due, to the nanosecond.
    static func earliest(_ runtime: UInt32) -> Int64 {
        if !Runtime.at(runtime).pointee.driver.isStarted { return Clock.never }
        var earliest = Clock.never
        for number in numbers(of: runtime) {
            let shard = at(number)
            shard.pointee.lock.lockInPlace()
            earliest = min(earliest, wheel(number).earliest)
            shard.pointee.lock.unlockInPlace()
        }
        return earliest
    }

    // MARK: under the lock

    /// Whether a timer that is added now will fire: its runtime is not being freed.
    @inline(__always) static func isOpen(_ number: UInt32) -> Bool {
        number < count || Runtime.at(runtime(of: number)).pointee.phase == Runtime.open
    }

    /// Adds an entry to the shard's wheel. True if the driver must be told, with `Driver.hasten`, after the lock is
    /// gone.
    @inline(never) static func add(_ index: UInt32, at expiry: Int64, to number: UInt32) -> Bool {
        wheel(number).add(index, at: expiry)
        Counter.add(.timerArmed)
        return at(number).pointee.lowerWake(to: expiry)
    }

    /// The second half of `add`: what is in the wheel now is due at `expiry`.
    @inline(__always) borrowing func lowerWake(to expiry: Int64) -> Bool {
        if expiry >= wake.get() { return false }
        // Sequentially consistent: see `Driver`.
        wake.store(expiry, ordering: .sequentiallyConsistent)
        return true
    }

    /// Takes an entry that is in the shard's wheel out before its time.
    @inline(never) static func remove(_ index: UInt32, from number: UInt32) {
        let wheel = wheel(number)
        wheel.remove(wheel.space.entry(index))
        Counter.add(.timerStopped)
    }

    // MARK: listen records

    /// Whoever disarms must find the shard before the timer is in it, so the record's index decides. Cells come to a
    /// thread in runs, and so do their shards.
    private static func number(forListen index: UInt32) -> UInt32 {
        let runtime = node(Listen.at(index).pointee.node.get()).state.runtime
        return place(index / Magazine.capacity, in: runtime)
    }

    /// Arms a scope's own timer, for whoever needs to be told of its deadline. The scope is attached and kept alive by
    /// the caller. BELAY_OK also when the scope is done: then its end is made known before this returns.
    static func arm(_ scope: NodePointer) -> belay_status {
        if scope.state.has(State.armed) { return BELAY_OK }
        let runtime = scope.state.runtime
        let status = Driver.start(runtime)
        if status == BELAY_ESTALE {
            // Its runtime was freed: no deadline is pushed any more, but listeners may come all the same.
            if scope.state.isDone { scope.finish() }
            return BELAY_OK
        }
        if status != BELAY_OK { return status }
        let number = number(forListen: scope.pointee.listen.get())
        let shard = at(number)
        shard.pointee.lock.lockInPlace()
        // Under the lock, because whoever ends the scope sees the mark and then comes to disarm it: it finds it there.
        let marked = scope.markArmed()
        var hasten = false
        // After the mark, which is sequentially consistent: a move stores the deadline first and then looks for the
        // mark.
        let deadline = scope.pointee.deadline.load(ordering: .sequentiallyConsistent)
        if marked && deadline != Clock.never && isOpen(number) {
            hasten = add(scope.pointee.listen.get(), at: deadline, to: number)
        }
        shard.pointee.lock.unlockInPlace()
        if hasten { Driver.hasten(deadline, runtime) }
        // A verdict that an asker put in pushes nothing; nobody else may come by to do it.
        if !marked && scope.state.isDone { scope.finish() }
        return BELAY_OK
    }

    /// Arms the deadline that counts for a scope that is attached or done, for a listener.
    static func armClock(of scope: NodePointer) -> belay_status {
        let status = scope.clockInEffect.map { arm($0) } ?? BELAY_OK
        return status == BELAY_OK ? armOwn(scope) : status
    }

    /// A child whose parent's deadline is not later has no timer. Unless deadlines move in this process: then the
    /// parent's may become the later one, and nobody would look for the child.
    static func armOwn(_ scope: NodePointer) -> belay_status {
        // After the swap in `markAttached`; partner of the fence in `armOwnOfAll`, which stands between the same two
        // the other way round: one of us sees what the other wrote.
        guard Globals.pointer.pointee.haveMoved.load(ordering: .sequentiallyConsistent) != 0,
            scope.pointee.deadline.get() != Clock.never,
            scope.state.has(State.attached)
        else { return BELAY_OK }
        return arm(scope)
    }

    /// The same for all that were attached before the first move of a deadline in this process. Once.
    static func armOwnOfAll() {
        // After the exchange of `haveMoved`, before the look at who is attached.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        for index in Root.firstFree..<max(Region.contexts.pointee.limit.load(ordering: .acquiring), Root.firstFree) {
            let scope = node(index)
            let state = scope.state
            guard Handle(bits: state.word).kind == Kind.scope, state.has(State.attached), !state.isDone,
                scope.pointee.deadline.get() != Clock.never, scope.acquire(generation: state.generation)
            else { continue }
            if scope.state.shape == Kind.scope { _ = arm(scope) }
            scope.unpin()
        }
    }

    /// Puts an armed scope's timer where its deadline is now. The caller holds the listen lock.
    static func rearm(_ scope: NodePointer) {
        let listen = scope.pointee.listen.get()
        let number = number(forListen: listen)
        let shard = at(number)
        let deadline = scope.pointee.deadline.get()
        var hasten = false
        shard.pointee.lock.lockInPlace()
        if Listen.at(listen).pointee.entry.isInWheel { remove(listen, from: number) }
        if deadline != Clock.never && !scope.state.isDone && isOpen(number) {
            hasten = add(listen, at: deadline, to: number)
        }
        shard.pointee.lock.unlockInPlace()
        if hasten { Driver.hasten(deadline, runtime(of: number)) }
    }

    /// Takes an ended scope's timer out, wherever it is.
    static func disarm(_ listen: UnsafeMutablePointer<Listen>) {
        let index = Region.listens.pointee.index(of: listen)
        let number = number(forListen: index)
        let shard = at(number)
        shard.pointee.lock.lockInPlace()
        if listen.pointee.entry.isInWheel { remove(index, from: number) }
        shard.pointee.lock.unlockInPlace()
    }

    // MARK: the driver's part

    private static let mostAtOnce = 256

    /// Fires what is due by `now`. The wheel handles a few hundred timers at a time, so that the lock is free in
    /// between.
    static func fire(_ number: UInt32, now: Int64) {
        let shard = at(number)
        var isWhole = false
        while !isWhole {
            shard.pointee.lock.lockInPlace()
            let wheel = wheel(number)
            let advance = wheel.advance(to: now, most: mostAtOnce)
            let count = advance.count
            // Once the lock is gone a scope may be armed anew, which uses its links: so the list is copied.
            let thread = count == 0 ? nil : Thread.current
            let instant = count == 0 ? now : Clock.now(in: runtime(of: number))
            thread?.count(Counter.timerFired.rawValue, UInt64(count))
            withUnsafeTemporaryAllocation(of: UInt32.self, capacity: mostAtOnce) { due in
                var index = advance.first
                for position in 0..<count {
                    if let thread { Lateness.note(wheel.space.entry(index).pointee.expiry.get(), now: instant, thread) }
                    claim(index)
                    due[position] = index
                    index = wheel.space.entry(index).pointee.next.get()
                }
                shard.pointee.wake.store(wheel.wake, ordering: .sequentiallyConsistent)
                shard.pointee.lock.unlockInPlace()
                deliver(UnsafeBufferPointer(start: due.baseAddress, count: count))
            }
            isWhole = advance.isWhole
        }
    }

    /// Under the lock: makes sure that what fires stays what it is until it is delivered.
    private static func claim(_ index: UInt32) {
        if index & WheelSpace.second == 0 {
            node(Listen.at(index).pointee.node.get()).retain()
        } else {
            Task.at(index & ~WheelSpace.second).pointee.claimFromWheel()
        }
    }

    /// Timers first: the end of a scope may run inline callbacks, which take their time.
    private static func deliver(_ due: UnsafeBufferPointer<UInt32>) {
        var batch = Executor.Batch()
        var scopes = 0
        for index in due {
            if index & WheelSpace.second == 0 {
                scopes += 1
            } else {
                TimerTask.fire(index & ~WheelSpace.second, with: &batch)
            }
        }
        batch.submit()
        if scopes == 0 { return }
        for index in due where index & WheelSpace.second == 0 { deliverScope(index) }
    }

    private static func deliverScope(_ index: UInt32) {
        let scope = node(Listen.at(index).pointee.node.get())
        // Not, if the deadline has moved since: then its timer is in the wheel again.
        scope.decideDeadline()
        if scope.state.isDone { scope.finish() }
        scope.unpin()
    }
}

extension UnsafeMutablePointer where Pointee == Node {
    /// Sets `armed` while there is no verdict; true if this call did.
    fileprivate func markArmed() -> Bool {
        var old = pointee.state.load(ordering: .acquiring)
        while !State(old).isDone && old & State.armed == 0 {
            let (exchanged, found) = pointee.state.compareExchange(
                expected: old, desired: old | State.armed, ordering: .sequentiallyConsistent)
            if exchanged { return true }
            old = found
        }
        return false
    }
}
