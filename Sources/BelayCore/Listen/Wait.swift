// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

// A thread that waits is its own timer: it sleeps no longer than to the deadline, and then settles the scope by itself.
// So waiting arms nothing and starts no thread. It attaches the scope, for cancels to be pushed to.

extension Listen {
    /// No wake-up is lost: a waiter sets the mark (0 to 2), then looks at the verdict, then sleeps while the word is 2;
    /// a push puts the verdict in, then looks at the mark, and where it is set makes it 1 and wakes. Mark and verdict
    /// are sequentially consistent on both sides, so a waiter that misses the verdict is seen by the push. A 1 stays:
    /// with two waiters, the later one's mark must not put an earlier one to sleep that the push believes awake.
    borrowing func markSleeper() {
        _ = sleep.compareExchange(expected: 0, desired: 2, ordering: .sequentiallyConsistent)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
    }

    borrowing func wakeSleepers() {
        if sleep.load(ordering: .sequentiallyConsistent) == 0 { return }
        sleep.store(1, ordering: .sequentiallyConsistent)
        belaycore_futex_wake(sleep.address, .max)
    }
}

@_cdecl("belay_wait") @implementation
public func belay_wait(_ ctx: belay_ctx, _ timeout: belay_duration) -> belay_status {
    let handle = Handle(ctx)
    let status = handle.status()
    if status != BELAY_OK { return status }
    if timeout <= 0 { return BELAY_TIMEOUT }
    if Wait.isVirtual(handle) { return withUnsafePointer(to: ctx) { WaitVirtual.run($0, 1, timeout, nil) } }
    let end = Clock.after(timeout)
    guard let pinned = handle.pin() ?? handle.pinAfterSetup() else { return handle.diagnose() }
    defer { pinned.unpin() }
    if handle.kind == Kind.lite { return pinned.asLite.wait(until: end) }
    let index = pinned.scopeIndex(kind: handle.kind)
    if index == 0 {
        Wait.sleep(until: end)
        return BELAY_TIMEOUT
    }
    let scope = node(index)
    let attached = scope.attach()
    if attached != BELAY_OK { return attached }
    return Wait.forEnd(of: scope, until: end)
}

enum Wait {
    /// A thread's waker: inline, and the thread is its own timer.
    static let threadFlags = Task.inline | Task.waker | Task.ownTimer

    /// Whether the context's time is a virtual clock's.
    static func isVirtual(_ handle: Handle) -> Bool {
        let runtime = handle.runtime
        return runtime != 0 && Runtime.at(runtime).pointee.isVirtual
    }

    /// Waits for the end of a scope that is attached or done.
    static func forEnd(of scope: NodePointer, until end: Int64) -> belay_status {
        while true {
            let before = scope.settle()
            if before.isDone { return before.verdict.status }
            let listen = scope.listen
            listen.pointee.markSleeper()
            let state = scope.settle()
            if state.isDone { return state.verdict.status }
            if Clock.now >= end { return BELAY_TIMEOUT }
            belaycore_futex_wait(listen.pointee.sleep.address, 2, min(end, scope.deadline))
        }
    }

    /// The callback of a wait on another thread's behalf: `argument` is the word that it sleeps on.
    static let waker: Registration.Function = { raw in
        guard let raw else { return }
        raw.assumingMemoryBound(to: Atomic<UInt32>.self).pointee.store(1, ordering: .sequentiallyConsistent)
        belaycore_futex_wake(raw, .max)
    }

    /// Takes a waker back. When it returns, nobody touches the word any more.
    static func withdraw(_ reg: belay_reg) {
        if belay_stop(reg) == BELAY_STOP_RUNNING { _ = belay_stop_wait(reg, Clock.never) }
    }

    /// Sleeps, with nothing that could end it before.
    static func sleep(until end: Int64) {
        let word = Atomic<UInt32>(0)
        withUnsafePointer(to: word) { word in
            while Clock.now < end { belaycore_futex_wait(UnsafeMutableRawPointer(mutating: word), 0, end) }
        }
    }
}

extension UnsafeMutablePointer where Pointee == Node {
    /// The instant of the deadline that counts for this scope.
    var deadline: Int64 {
        if Globals.pointer.pointee.haveMoved.get() != 0 { return Ways.earliestDeadline(above: self) }
        return clockInEffect?.pointee.deadline.get() ?? Clock.never
    }
}
