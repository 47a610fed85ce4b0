// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// Waits for the descriptors of foreign parents: all of them in one epoll set, which one thread sleeps on, started by
/// the first. The set of a runtime that its host drives is looked at by its polls instead. Each descriptor reports
/// once, with its wrapper's handle.
struct Poller: ~Copyable {
    /// Descriptor + 1 of the set; 0 until the first. It stays open for good, so its number is never somebody else's.
    private let set: Atomic<UInt32>

    private static let nothing: UInt64 = 0

    /// The set for a runtime's wrappers, as descriptor + 1, made if need be; 0 when it cannot be made.
    private static func set(for number: UInt32) -> UInt32 {
        let isManual = Runtime.at(number).pointee.isManual
        // Those of all runtimes with threads share one.
        let poller = Runtime.at(isManual ? number : 0)
        let kept = poller.pointee.poller.set.load(ordering: .acquiring)
        if kept != 0 { return kept }
        let globals = Globals.pointer
        globals.pointee.setupLock.lock()
        defer { globals.pointee.setupLock.unlock() }
        return poller.pointee.poller.make(isManual: isManual)
    }

    /// Under the set-up lock.
    private borrowing func make(isManual: Bool) -> UInt32 {
        if set.get() != 0 { return set.get() }
        let made = belaycore_poll_new()
        if made < 0 { return 0 }
        let argument = UnsafeMutableRawPointer(bitPattern: UInt(made))
        let entry: @convention(c) (UnsafeMutableRawPointer?) -> Void = {
            Poller.run(Int32(truncatingIfNeeded: Int(bitPattern: $0)))
        }
        if !isManual && belaycore_start_thread(entry, argument, "belay-poller") != 0 {
            belaycore_close(made)
            return 0
        }
        // Release: whoever finds the number finds the set.
        set.store(UInt32(made) + 1, ordering: .releasing)
        return UInt32(made) + 1
    }

    private static func run(_ set: Int32) {
        while true {
            let bits = belaycore_poll_wait(set, -1, nothing)
            if bits != nothing { Foreign.told(Handle(bits: bits)) }
        }
    }

    /// Has the wrapper end when the descriptor becomes readable. Answers what `forget` needs; 0, and the last status,
    /// on failure.
    static func watch(_ descriptor: Int32, for wrapper: belay_ctx) -> UInt64 {
        let number = Handle(wrapper).runtime
        let isManual = Runtime.at(number).pointee.isManual
        let driven = isManual ? Driver.start(number) : BELAY_OK
        let kept = driven == BELAY_OK ? set(for: number) : 0
        if kept != 0 && belaycore_poll_add_once(Int32(kept) - 1, descriptor, wrapper.bits) == 0 {
            if isManual { Loop.adopt(number, kept) }
            return UInt64(kept) << 32 | UInt64(descriptor)
        }
        LastStatus.set(driven == BELAY_OK ? BELAY_ESYSTEM : driven)
        return 0
    }

    /// The source goes, and its descriptor perhaps with it. Another runtime's wrapper may watch the same one in another
    /// set.
    static func forget(_ watched: UInt64) {
        belaycore_poll_remove(Int32(watched >> 32) - 1, Int32(truncatingIfNeeded: watched))
    }

    /// By a poll of the host's loop: ends what has become readable.
    borrowing func look() {
        let kept = set.load(ordering: .acquiring)
        if kept == 0 { return }
        while true {
            let bits = belaycore_poll_wait(Int32(kept) - 1, 0, Poller.nothing)
            if bits == Poller.nothing { return }
            Foreign.told(Handle(bits: bits))
        }
    }

    /// In the child of a fork: the set is the parent process's.
    borrowing func close() {
        let kept = set.get()
        if kept != 0 { belaycore_close(Int32(kept) - 1) }
        set.set(0)
    }

    var descriptor: UInt32 { borrowing get { set.load(ordering: .acquiring) } }
}
