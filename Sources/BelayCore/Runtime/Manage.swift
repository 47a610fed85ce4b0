// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

// Making and freeing runtimes, and the calls that a runtime's handle is for.

@_cdecl("belay_runtime_new") @implementation
public func belay_runtime_new(_ options: UnsafePointer<belay_runtime_options>?) -> belay_runtime {
    var wanted = belay_runtime_options()
    if let options, !wanted.copy(options) { return Manage.fail(BELAY_EINVAL) }
    if wanted.tick < 0 || wanted.start < 0 { return Manage.fail(BELAY_EINVAL) }
    if Globals.pointer.pointee.forked { return Manage.fail(BELAY_EFORK) }
    guard Setup.run() else { return Manage.fail(BELAY_ENOMEM) }
    let lock = Globals.pointer
    lock.pointee.runtimesLock.lock()
    defer { lock.pointee.runtimesLock.unlock() }
    guard let number = Manage.freeNumber(shards: wanted.isManual ? 1 : Shard.count) else {
        return Manage.fail(BELAY_ENOMEM)
    }
    let runtime = Runtime.at(number)
    runtime.pointee.setUp(wanted)
    guard Manage.plant(number) else { return Manage.fail(BELAY_ENOMEM) }
    // A size_t, which Swift takes for an Int.
    let most = UInt32(min(UInt(bitPattern: wanted.max_contexts), UInt(UInt32.max) - 2))
    runtime.pointee.most.set(most == 0 ? .max : most + 2)
    let generation = max(runtime.pointee.state.get() >> Handle.generationShift, 1)
    let handle = Handle(generation: generation, kind: Kind.runtime, index: number)
    // Release: whoever finds the handle finds the runtime whole.
    runtime.pointee.state.store(
        handle.bits & ~Handle.indexMask | Runtime.open, ordering: .releasing)
    return belay_runtime(bits: handle.bits)
}

@_cdecl("belay_runtime_background") @implementation
public func belay_runtime_background(_ runtime: belay_runtime) -> belay_ctx {
    let handle = Handle(bits: runtime.bits)
    let status = handle.runtimeStatus(phase: Runtime.open)
    if status != BELAY_OK {
        LastStatus.set(status)
        return belay_ctx()
    }
    return belay_ctx(bits: Runtime.at(handle.index).pointee.root.get())
}

@_cdecl("belay_runtime_now") @implementation
public func belay_runtime_now(_ runtime: belay_runtime) -> belay_instant {
    let handle = Handle(bits: runtime.bits)
    // In any phase: what the free of a runtime calls back goes by its clock still.
    return Clock.now(in: handle.runtimeStatus(phase: nil) == BELAY_OK ? handle.index : 0)
}

@_cdecl("belay_runtime_of") @implementation
public func belay_runtime_of(_ ctx: belay_ctx) -> belay_runtime {
    let handle = Handle(ctx)
    let number = handle.runtime
    if number == 0 { return belay_runtime() }
    let state = Runtime.at(number).pointee.state.load(ordering: .acquiring)
    // LoadLoad: a runtime's number serves again only when no context names it any more. So the state was that of this
    // context's runtime if the context is still there.
    atomicMemoryFence(ordering: .acquiring)
    guard state & Runtime.phaseMask == Runtime.open, handle.find() != nil else { return belay_runtime() }
    let generation = state >> Handle.generationShift
    return belay_runtime(bits: Handle(generation: generation, kind: Kind.runtime, index: number).bits)
}

@_cdecl("belay_runtime_next") @implementation
public func belay_runtime_next(_ runtime: belay_runtime) -> belay_instant {
    let handle = Handle(bits: runtime.bits)
    return handle.manualStatus() == BELAY_OK ? Loop.next(handle.index) : Clock.never
}

@_cdecl("belay_runtime_poll") @implementation
public func belay_runtime_poll(_ runtime: belay_runtime, _ now: belay_instant) -> belay_status {
    let handle = Handle(bits: runtime.bits)
    let status = handle.manualStatus()
    return status == BELAY_OK ? Loop.poll(handle, now) : status
}

@_cdecl("belay_runtime_fd") @implementation
public func belay_runtime_fd(_ runtime: belay_runtime) -> Int32 {
    let handle = Handle(bits: runtime.bits)
    let status = handle.manualStatus()
    return status == BELAY_OK ? Loop.descriptor(handle) : Descriptor.fail(status)
}

@_cdecl("belay_runtime_free") @implementation
public func belay_runtime_free(_ runtime: belay_runtime, _ timeout: belay_duration) -> belay_status {
    let handle = Handle(bits: runtime.bits)
    let status = handle.runtimeStatus(phase: nil)
    if status != BELAY_OK { return status }
    var running = Running.Walk()
    while let task = running.next() {
        if task.pointee.runtime == handle.index { return BELAY_EDEADLK }
    }
    // Or between two of them: what a callback leads to may run when it is over, such as a drop function.
    if Serving.contains(handle.index) { return BELAY_EDEADLK }
    if Runtime.at(handle.index).pointee.loop.isMine { return BELAY_EDEADLK }
    return Manage.free(handle, until: Clock.after(timeout))
}

extension Handle {
    /// BELAY_OK for the handle of a runtime that is in this phase; in any, if nil.
    fileprivate func runtimeStatus(phase: UInt64?) -> belay_status {
        if Globals.pointer.pointee.forked { return BELAY_EFORK }
        guard kind == Kind.runtime, index != 0, index < Runtime.most, belaycore_runtime(index) != nil else {
            return BELAY_EINVAL
        }
        // Acquire: partner of the release in `belay_runtime_new`.
        let state = Runtime.at(index).pointee.state.load(ordering: .acquiring)
        guard matches(state) else { return generation <= state >> Handle.generationShift ? BELAY_ESTALE : BELAY_EINVAL }
        return phase == nil || state & Runtime.phaseMask == phase ? BELAY_OK : BELAY_ESTALE
    }

    /// BELAY_OK for an open runtime that its host drives.
    fileprivate func manualStatus() -> belay_status {
        let status = runtimeStatus(phase: Runtime.open)
        if status != BELAY_OK { return status }
        guard Runtime.at(index).pointee.isManual else { return BELAY_EINVAL }
        return Driver.start(index)
    }

    /// The number of a context's runtime; the default one's for what is not found.
    var runtime: UInt32 { find()?.state.runtime ?? 0 }
}

extension belay_runtime_options {
    fileprivate var isManual: Bool { manual || virtual_clock }

    /// Copies what the caller's idea of the struct has. False if it has more than we know, and uses it.
    fileprivate mutating func copy(_ options: UnsafePointer<belay_runtime_options>) -> Bool {
        let given = options.pointee.size
        let known = MemoryLayout<belay_runtime_options>.size
        guard given >= MemoryLayout<Int>.size else { return false }
        let bytes = UnsafeRawPointer(options)
        for i in 0..<max(given - known, 0) where bytes.load(fromByteOffset: known + i, as: UInt8.self) != 0 {
            return false
        }
        withUnsafeMutableBytes(of: &self) { room in
            for i in 0..<min(given, known) { room[i] = bytes.load(fromByteOffset: i, as: UInt8.self) }
        }
        return true
    }
}

extension Runtime {
    /// Under the runtimes' lock, before anyone knows of it.
    fileprivate borrowing func setUp(_ wanted: belay_runtime_options) {
        mode.set((wanted.isManual ? Runtime.manual : 0) | (wanted.virtual_clock ? Runtime.virtual : 0))
        virtualNow.set(wanted.start == 0 ? 1_000_000_000 : min(wanted.start, Clock.latest))
        tick.set(wanted.tick)
        most.set(.max)
        driverName.set(wanted.name, wanted.name == nil ? "belay-driver" : "-driver")
        workerName.set(wanted.name, wanted.name == nil ? "belay-worker" : "-worker")
        let submit = wanted.executor.submit
        executor.setHost(
            UInt(bitPattern: unsafeBitCast(submit, to: UnsafeRawPointer?.self)),
            submit == nil ? 0 : UInt(bitPattern: wanted.executor.`self`))
    }
}

private enum Manage {
    static func fail(_ status: belay_status) -> belay_runtime {
        LastStatus.set(status)
        return belay_runtime()
    }

    /// A number with storage that is as new: one that no context names any more, or a fresh one.
    static func freeNumber(shards: UInt32) -> UInt32? {
        for number in 1..<Runtime.most {
            if belaycore_runtime(number) == nil {
                let runtimeBytes = Int(BELAYCORE_RUNTIME_BYTES)
                guard let memory = belaycore_map(runtimeBytes + Int(Shard.count) * Shard.bytes) else { return nil }
                // Pages that are never touched cost nothing, so that there is room for all shards in any case.
                memory.assumingMemoryBound(to: Runtime.self).pointee.shards.set(
                    UInt(bitPattern: memory) + UInt(runtimeBytes))
                memory.assumingMemoryBound(to: Runtime.self).pointee.shardCount.set(shards)
                belaycore_set_runtime(number, memory)
                return number
            }
            let runtime = Runtime.at(number)
            let phase = runtime.pointee.phase
            // Acquire: what the last context did with the runtime is over. No free is under way: see there.
            guard phase != Runtime.open, phase != Runtime.ending, runtime.pointee.live.load(ordering: .acquiring) == 0,
                runtime.pointee.frees.load(ordering: .sequentiallyConsistent) == 0
            else { continue }
            for shard in Shard.numbers(of: number) { Shard.clear(shard) }
            runtime.pointee.shardCount.set(shards)
            runtime.pointee.driver.clear()
            runtime.pointee.executor.clear()
            return number
        }
        return nil
    }

    /// Makes the scope that all contexts of the runtime are under, and the root that stands for it: derivations hang on
    /// the root, which cannot be cancelled, and end with the scope, which nobody else knows.
    static func plant(_ number: UInt32) -> Bool {
        let bits = UInt64(number) << State.runtimeShift
        let above = Parentage(parent: Root.background.index, scope: 0, values: 0, clock: 0, runtime: bits)
        let scope = deriveScope(above, Limit(), as: .createdInnerScope)
        guard let under = Parentage.join(scope) else { return false }
        let root = deriveValue(under, kind: Kind.root, key: 0, value: 0, drop: 0, as: .createdRoot)
        if root.bits == 0 {
            _ = belay_close(scope)
            return false
        }
        Runtime.at(number).pointee.scope.set(scope.bits)
        Runtime.at(number).pointee.root.set(root.bits)
        return true
    }

    /// Each step may be repeated, by a later call or another thread, until all are done.
    static func free(_ handle: Handle, until end: Int64) -> belay_status {
        let number = handle.index
        let runtime = Runtime.at(number)
        // Another free may be quicker, and the number be another runtime's while we are at work on it. So each counts
        // itself and then looks at the handle; who looks for a number does so after the handle went stale. All of these
        // are sequentially consistent: a free that still finds its handle is counted by whoever looks for a number.
        runtime.pointee.frees.wrappingAdd(1, ordering: .sequentiallyConsistent)
        defer { runtime.pointee.frees.wrappingSubtract(1, ordering: .sequentiallyConsistent) }
        guard handle.matches(runtime.pointee.state.load(ordering: .sequentiallyConsistent)) else { return BELAY_ESTALE }
        let mark = handle.bits & ~Handle.indexMask
        _ = runtime.pointee.state.change(mark | Runtime.open, mark | Runtime.ending)
        // From here on nothing is added to the shards: whoever adds looks at the phase under the shard's lock.
        let scope = belay_ctx(bits: runtime.pointee.scope.get())
        var reason = belay_cause(BELAY_CANCELED)
        reason.setMessage(
            ("the runtime was freed" as StaticString).cString)
        // What this call takes out of lists and wheels another free does not find there any more, so that waits for us.
        Executor.expect(number)
        withUnsafePointer(to: reason.message) { text in
            _ = belay_cancel_cause(
                scope, Int64(BELAY_CANCELED.rawValue), UnsafeRawPointer(text).assumingMemoryBound(to: CChar.self))
        }
        Executor.arrived(number)
        Handle(bits: runtime.pointee.root.get()).closeRoot()
        Globals.pointer.pointee.setupLock.lock()
        let started = runtime.pointee.driver.isStarted
        Globals.pointer.pointee.setupLock.unlock()
        // What a poll under way is about to run has yet to run; and what it would run next is run here.
        let isManual = runtime.pointee.isManual
        if isManual && !runtime.pointee.loop.enter(until: end) { return BELAY_TIMEOUT }
        defer { if isManual { runtime.pointee.loop.leave() } }
        // Timers that are still there run now, once, so that nobody waits for what hangs on them in vain.
        Executor.expect(number)
        if started { for shard in Shard.numbers(of: number) { Shard.fire(shard, now: Clock.never) } }
        Executor.arrived(number)
        // The driver goes when the callbacks are over: until then it sees to it that those get threads that wait for
        // others. It may have handed out one more as it went.
        guard runtime.pointee.executor.drain(number, isManual: isManual, until: end), Driver.stop(number, until: end),
            runtime.pointee.executor.close(number, isManual: isManual, until: end)
        else { return BELAY_TIMEOUT }
        Globals.pointer.pointee.runtimesLock.lock()
        defer { Globals.pointer.pointee.runtimesLock.unlock() }
        guard runtime.pointee.state.get() == mark | Runtime.ending else { return BELAY_OK }
        runtime.pointee.loop.close()
        _ = belay_close(scope)
        let gone = (handle.generation + 1) << Handle.generationShift | Runtime.gone
        runtime.pointee.state.store(gone, ordering: .sequentiallyConsistent)
        return BELAY_OK
    }
}
