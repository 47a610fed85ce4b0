// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// Done descriptors: event counters that are filled to the brim at the end. A read takes one of 2^64, so that they stay
/// readable whoever reads. Kept as descriptor + 1, because 0 is "none" in all our memory.
enum Descriptor {
    static func fill(_ kept: UInt32) { belaycore_event_fill(Int32(kept) - 1) }
    static func close(_ kept: UInt32) { belaycore_close(Int32(kept) - 1) }

    /// The process's one descriptor for contexts that are done already, and the one for those that never will be.
    static func shared(done: Bool) -> Int32 {
        let globals = Globals.pointer
        globals.pointee.setupLock.lock()
        defer { globals.pointee.setupLock.unlock() }
        let kept = done ? globals.pointee.doneDescriptor.get() : globals.pointee.neverDescriptor.get()
        if kept != 0 { return Int32(kept) - 1 }
        let made = belaycore_event_new()
        if made < 0 { return fail(BELAY_ESYSTEM) }
        if done {
            belaycore_event_fill(made)
            globals.pointee.doneDescriptor.set(UInt32(made) + 1)
        } else {
            globals.pointee.neverDescriptor.set(UInt32(made) + 1)
        }
        return made
    }

    static func fail(_ status: belay_status) -> Int32 {
        LastStatus.set(status)
        return -1
    }

    /// The descriptor that was made for a scope before it ended, if one was. Under the lock: whoever makes it may have
    /// looked before the end, and have it only in a moment.
    static func existing(_ scope: NodePointer) -> Int32? {
        guard scope.state.has(State.attached) else { return nil }
        let listen = scope.listen
        listen.pointee.lock.lock()
        defer { listen.pointee.lock.unlock() }
        let kept = listen.pointee.descriptor.get()
        return kept == 0 ? nil : Int32(kept) - 1
    }

    /// The descriptor of an attached scope, made if need be; nil if the scope has ended without one.
    static func own(_ scope: NodePointer) -> Int32? {
        let listen = scope.listen
        listen.pointee.lock.lock()
        defer { listen.pointee.lock.unlock() }
        let kept = listen.pointee.descriptor.get()
        if kept != 0 { return Int32(kept) - 1 }
        // The push fills what it finds when it takes the lists, under this lock, after the verdict.
        if listen.pointee.isTaken || scope.state.isDone { return nil }
        let made = belaycore_event_new()
        if made < 0 { return -1 }
        listen.pointee.descriptor.set(UInt32(made) + 1)
        return made
    }
}

@_cdecl("belay_done_fd") @implementation
public func belay_done_fd(_ ctx: belay_ctx) -> Int32 {
    let handle = Handle(ctx)
    if handle.kind == Kind.lite && handle.find() != nil { return Descriptor.fail(BELAY_ELEAF) }
    let status = handle.status()
    let isDone = status == BELAY_CANCELED || status == BELAY_DEADLINE_EXCEEDED
    if status != BELAY_OK && !isDone { return Descriptor.fail(status) }
    guard let pinned = handle.pin() ?? handle.pinAfterSetup() else { return Descriptor.fail(handle.diagnose()) }
    defer { pinned.unpin() }
    let index = pinned.scopeIndex(kind: handle.kind)
    if index == 0 { return Descriptor.shared(done: false) }
    let scope = node(index)
    if isDone { return Descriptor.existing(scope) ?? Descriptor.shared(done: true) }
    let attached = scope.attach()
    if attached != BELAY_OK { return Descriptor.fail(attached) }
    // The same one each time, also if the end comes meanwhile.
    guard !scope.settle().isDone, let descriptor = Descriptor.own(scope) else {
        return Descriptor.existing(scope) ?? Descriptor.shared(done: true)
    }
    if descriptor < 0 { return Descriptor.fail(BELAY_ESYSTEM) }
    let armed = Shard.armClock(of: scope)
    return armed == BELAY_OK ? descriptor : Descriptor.fail(armed)
}
