// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// The driving of a runtime by its host: the host calls `poll` when `next` has come or the descriptor is readable. No
/// thread of ours takes part.
///
/// No wake-up is lost. A poll publishes in the driver's `sleepsUntil` what the host will sleep for, then looks at
/// timers and queue once more. Whoever adds something earlier looks at what is published after the addition, and rings
/// the bell; both sides are sequentially consistent. The first to ring says so by publishing the past, so that the
/// others need not.
struct Loop: ~Copyable {
    /// The record of the thread inside `poll` or inside the runtime's free, which runs what a poll would; 0 is none.
    /// With `awaited` a free sleeps until it changes; with `asked` there is something to publish that it may have
    /// missed.
    private let inside: Atomic<UInt>
    /// Guards the descriptors: they are made, used by others than the poll, and closed under it. So nobody writes to
    /// one that has been closed meanwhile, and is somebody else's.
    private let lock: Lock
    /// Descriptors + 1, 0 until somebody asks for the first: the one for the host, and inside it the bell, and the
    /// alarm where the clock is real.
    private let set: Atomic<UInt32>
    private let bell: Atomic<UInt32>
    private let alarm: Atomic<UInt32>

    /// Somebody added something that the host does not know of.
    borrowing func ring() {
        if bell.load(ordering: .sequentiallyConsistent) == 0 { return }
        lock.lock()
        let kept = bell.get()
        if kept != 0 { belaycore_bell_ring(Int32(kept) - 1) }
        lock.unlock()
    }

    /// Whether the calling thread is inside `poll`, or the runtime's free.
    var isMine: Bool {
        borrowing get {
            let mine = Thread.known.map { UInt(bitPattern: $0) } ?? 0
            return mine != 0 && inside.get() & ~Loop.marks == mine
        }
    }

    // MARK: one at a time

    /// Records stand at multiples of 64.
    private static let awaited: UInt = 1
    private static let asked: UInt = 2
    private static let marks = awaited | asked

    /// Whether the thread, with its record, is alone inside from now on.
    private borrowing func enter(_ thread: UnsafeMutablePointer<Thread>) -> Bool {
        let me = UInt(bitPattern: thread)
        return inside.compareExchange(expected: 0, desired: me, ordering: .acquiringAndReleasing).exchanged
    }

    /// The same for the runtime's free, which waits for a poll under way; false if `end` comes first.
    borrowing func enter(until end: Int64) -> Bool {
        guard let thread = Thread.current else { return false }
        while !enter(thread) {
            let current = inside.load(ordering: .relaxed)
            if current == 0 { continue }
            if Clock.now >= end { return false }
            // The mark goes in before the sleep; whoever leaves takes it out with the same swap.
            let marked = current | Loop.awaited
            let (exchanged, _) = inside.compareExchange(expected: current, desired: marked, ordering: .relaxed)
            if exchanged { belaycore_futex_wait(inside.address, UInt32(truncatingIfNeeded: marked), end) }
        }
        return true
    }

    /// Release: the next one inside finds what this one did. Acquire: what was to be published comes before the mark.
    /// True if `publishAnew` is to follow.
    @discardableResult borrowing func leave() -> Bool {
        let found = inside.exchange(0, ordering: .acquiringAndReleasing)
        if found & Loop.awaited != 0 { belaycore_futex_wake(inside.address, .max) }
        return found & Loop.asked != 0
    }

    /// Asks whoever is inside to publish anew once he has left; false if there is nobody.
    private borrowing func askForMore() -> Bool {
        let current = inside.load(ordering: .relaxed)
        if current == 0 { return false }
        return inside.compareExchange(expected: current, desired: current | Loop.asked, ordering: .releasing).exchanged
    }

    /// Publishes what there is by now, or has whoever is inside do so. For whatever runtime has the number: that may be
    /// another by now than the caller has been inside for, and somebody may have asked for it.
    private static func publishAnew(_ number: UInt32, _ thread: UnsafeMutablePointer<Thread>) {
        let runtime = Runtime.at(number)
        var isDone = false
        while !isDone {
            if runtime.pointee.loop.enter(thread) {
                // A free waits for us, if it has not been inside.
                if runtime.pointee.phase == Runtime.open && runtime.pointee.isManual {
                    runtime.pointee.loop.publish(number)
                }
                isDone = !runtime.pointee.loop.leave()
            } else {
                isDone = runtime.pointee.loop.askForMore()
            }
        }
    }

    /// In the child of a fork: nobody is inside.
    borrowing func startOver() {
        inside.set(0)
        lock.reset()
    }

    // MARK: polling

    /// Runs all that is due by `now` on the calling thread. BELAY_EBUSY if a poll is under way.
    static func poll(_ handle: Handle, _ now: Int64) -> belay_status {
        let number = handle.index
        let runtime = Runtime.at(number)
        guard let thread = Thread.current else { return BELAY_ENOMEM }
        if !runtime.pointee.loop.enter(thread) { return BELAY_EBUSY }
        defer { if runtime.pointee.loop.leave() { publishAnew(number, thread) } }
        // A free that came first has been inside, and the number may be another runtime's by now.
        guard runtime.pointee.isOpen(handle) else { return BELAY_ESTALE }
        runtime.pointee.driver.sleepsUntil.store(.min, ordering: .sequentiallyConsistent)
        runtime.pointee.loop.hush()
        let limit = runtime.pointee.isVirtual ? min(now, Clock.latest) : min(now, Clock.now)
        // Where timers fire at multiples of a tick, as far as the last of those.
        let tick = runtime.pointee.tick.get()
        let last = tick > 0 && limit > 0 ? limit - limit % tick : limit
        repeat {
            runtime.pointee.executor.runQueue()
            runtime.pointee.poller.look()
        } while fireNext(number, by: last)
        if runtime.pointee.isVirtual {
            runtime.pointee.loop.move(runtime, to: limit)
            runtime.pointee.executor.runQueue()
        }
        runtime.pointee.loop.publish(number)
        return BELAY_OK
    }

    /// Fires the earliest timers, if they are due by `limit`. A virtual clock goes from one instant to the next, so
    /// that each callback finds the time that it asked for.
    private static func fireNext(_ number: UInt32, by limit: Int64) -> Bool {
        let runtime = Runtime.at(number)
        let due = Shard.earliest(number)
        if due > limit || due == Clock.never { return false }
        if runtime.pointee.isVirtual { runtime.pointee.loop.move(runtime, to: Driver.rounded(due, number)) }
        let now = runtime.pointee.isVirtual ? runtime.pointee.virtualNow.get() : limit
        for shard in Shard.numbers(of: number) { Shard.fire(shard, now: now) }
        return true
    }

    /// Time goes on, never back. Release: partner of the acquire in `Clock`.
    private borrowing func move(_ runtime: UnsafeMutablePointer<Runtime>, to instant: Int64) {
        if instant > runtime.pointee.virtualNow.get() {
            runtime.pointee.virtualNow.store(instant, ordering: .releasing)
        }
    }

    /// When the host should poll next: at once (its own now), at an instant, or never.
    static func next(_ number: UInt32) -> Int64 {
        if Runtime.at(number).pointee.executor.hasQueue { return Clock.now(in: number) }
        return Driver.rounded(Shard.earliest(number), number)
    }

    /// The host is about to sleep.
    private borrowing func publish(_ number: UInt32) {
        let runtime = Runtime.at(number)
        let next = Loop.next(number)
        if alarm.get() != 0 && !runtime.pointee.isVirtual { belaycore_alarm_set(Int32(alarm.get()) - 1, next) }
        runtime.pointee.driver.sleepsUntil.store(next, ordering: .sequentiallyConsistent)
        // What is due before, as the host is told: rounded. Else it would be called at once, for ever.
        let due = Driver.rounded(Shard.earliest(number), number)
        if runtime.pointee.executor.hasQueue || due < next { ring() }
    }

    // MARK: the descriptor

    /// The descriptor for the host, made if need be; -1 with the last status on failure.
    static func descriptor(_ handle: Handle) -> Int32 {
        let number = handle.index
        let runtime = Runtime.at(number)
        guard let thread = Thread.current else { return Descriptor.fail(BELAY_ENOMEM) }
        runtime.pointee.loop.lock.lock()
        // What is made for a runtime that is open is closed by its free.
        let isOpen = runtime.pointee.isOpen(handle)
        let made = isOpen && runtime.pointee.loop.makeDescriptors(isVirtual: runtime.pointee.isVirtual)
        let set = runtime.pointee.loop.set.get()
        runtime.pointee.loop.lock.unlock()
        if !made { return Descriptor.fail(isOpen ? BELAY_ESYSTEM : BELAY_ESTALE) }
        let foreign = runtime.pointee.poller.descriptor
        if foreign != 0 { adopt(number, foreign) }
        // What came before there was a bell, and an alarm.
        publishAnew(number, thread)
        return Int32(set) - 1
    }

    /// Has the host's descriptor cover one more set, kept as descriptor + 1.
    static func adopt(_ number: UInt32, _ kept: UInt32) {
        let runtime = Runtime.at(number)
        runtime.pointee.loop.lock.lock()
        defer { runtime.pointee.loop.lock.unlock() }
        let set = runtime.pointee.loop.set.get()
        // One that is there already stays there.
        if set != 0 { _ = belaycore_poll_add(Int32(set) - 1, Int32(kept) - 1, 0) }
    }

    /// Under the lock.
    private borrowing func makeDescriptors(isVirtual: Bool) -> Bool {
        if set.get() != 0 { return true }
        let poll = belaycore_poll_new()
        let bell = belaycore_bell_new()
        let alarm = isVirtual ? -1 : belaycore_alarm_new()
        let isWhole =
            poll >= 0 && bell >= 0 && (isVirtual || alarm >= 0) && belaycore_poll_add(poll, bell, 0) == 0
            && (isVirtual || belaycore_poll_add(poll, alarm, 0) == 0)
        if !isWhole {
            if poll >= 0 { belaycore_close(poll) }
            if bell >= 0 { belaycore_close(bell) }
            if alarm >= 0 { belaycore_close(alarm) }
            return false
        }
        if !isVirtual { self.alarm.set(UInt32(alarm) + 1) }
        set.set(UInt32(poll) + 1)
        self.bell.store(UInt32(bell) + 1, ordering: .sequentiallyConsistent)
        return true
    }

    private borrowing func hush() {
        if bell.get() != 0 { belaycore_bell_hush(Int32(bell.get()) - 1) }
        if alarm.get() != 0 { belaycore_bell_hush(Int32(alarm.get()) - 1) }
    }

    /// The runtime has gone.
    borrowing func close() {
        lock.lock()
        defer { lock.unlock() }
        if set.get() != 0 { belaycore_close(Int32(set.get()) - 1) }
        if bell.get() != 0 { belaycore_close(Int32(bell.get()) - 1) }
        if alarm.get() != 0 { belaycore_close(Int32(alarm.get()) - 1) }
        set.set(0)
        bell.set(0)
        alarm.set(0)
    }
}
