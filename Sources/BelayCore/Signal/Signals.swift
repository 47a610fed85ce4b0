// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// Contexts that end with a signal, or with a cancel that comes from a signal handler.
///
/// A handler takes no lock and touches no node. It draws a *ticket*, notes it as its signal's last one, counts the news
/// up and wakes the driver (signals.c). A **watch** is the driver's note on a context: which signals, and which ticket
/// was the last at its birth. A signal whose last ticket is younger ends the context. So none is missed, however many
/// come in a row, and none that came before.
///
/// | word | who changes it | ordering |
/// |---|---|---|
/// | tickets, last | handlers | before news (seq. consistent); read by the driver after it |
/// | news | handlers, and cancels of a watching context | seq. consistent; then the driver is woken |
/// | handled | the driver: the news that it has looked after | its own |
/// | head, leaving, users, watchers | under the lock | |
/// | inFlight | up and down by cancels that may run in a handler | seq. consistent: see `unwatch` |
///
/// No arrival is lost: the driver takes its wake-up word, looks at the news, and sleeps while the word is what it was;
/// a handler counts the news up and then the word.
///
/// A watch has a reference on its node until the context is closed, so that the driver needs none of its own to look.
/// No user code runs under the lock, and no lock is taken under it.
struct Signals: ~Copyable {
    private let lock: Lock
    /// The watches of open contexts, and those that wait for cancels in flight to pass.
    private let head: Atomic<UInt32>
    private let leaving: Atomic<UInt32>
    let watchers: Atomic<UInt32>
    private let inFlight: Atomic<UInt32>
    private let handled: Atomic<UInt64>
    /// How many contexts these cancels ended. Not by thread: the handler may have interrupted its thread's counting.
    let canceled: Atomic<UInt64>

    @inline(__always) static var pointer: UnsafeMutablePointer<Signals> {
        belaycore_signal_state().unsafelyUnwrapped.assumingMemoryBound(to: Signals.self)
    }

    /// How many open contexts watch a signal: behind the rest in our storage.
    private static func users(of number: Int) -> UnsafeMutablePointer<Atomic<UInt32>> {
        (UnsafeMutableRawPointer(pointer) + MemoryLayout<Signals>.stride).assumingMemoryBound(to: Atomic<UInt32>.self)
            + number
    }

    @inline(__always) private static func word(_ index: Int32) -> UnsafeMutablePointer<Atomic<UInt64>> {
        belaycore_signal_word(index).unsafelyUnwrapped.assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    static func lastTicket(of number: Int) -> UInt64 {
        word(BELAYCORE_SIGNAL_LAST + Int32(number)).pointee.load(ordering: .acquiring)
    }

    /// How many signals have arrived for us.
    static var arrivals: UInt64 { word(BELAYCORE_SIGNAL_TICKETS).pointee.load(ordering: .relaxed) }

    /// Whether the driver has something to look at. Sequentially consistent, after it has taken its wake-up word.
    static var areNews: Bool {
        word(BELAYCORE_SIGNAL_NEWS).pointee.load(ordering: .sequentiallyConsistent) != pointer.pointee.handled.get()
    }

    /// In the child of a fork: nobody watches. The dispositions were put back at the fork.
    static func startOver() {
        UnsafeMutableRawPointer(pointer).initializeMemory(
            as: UInt8.self, repeating: 0, count: Int(BELAYCORE_SIGNAL_BYTES))
    }

    // MARK: watching

    /// Has `scope` watch the signals of the set; the caller keeps it, and has attached it. Takes `record`, on success.
    static func watch(_ scope: NodePointer, _ set: UInt64, record: UInt32) -> belay_status {
        let signals = pointer
        signals.pointee.lock.lock()
        defer { signals.pointee.lock.unlock() }
        belaycore_signal_set_bell(Driver.bell)
        if belaycore_signal_watch_fork() != 0 { return BELAY_ENOMEM }
        // Before the handlers are installed: what they see is ours.
        let ticket = word(BELAYCORE_SIGNAL_TICKETS).pointee.load(ordering: .sequentiallyConsistent)
        var number = 0
        var installed: UInt64 = 0
        for signal in SignalSet(set) {
            number = signal
            if users(of: signal).pointee.get() == 0 && belaycore_signal_install(Int32(signal)) != 0 { break }
            users(of: signal).pointee.set(users(of: signal).pointee.get() + 1)
            installed |= SignalSet.bit(signal)
            number = 0
        }
        if number != 0 {
            // The system keeps this one for itself.
            forget(installed)
            return BELAY_EINVAL
        }
        let watch = Watch.at(record)
        watch.pointee.node.set(scope.index)
        watch.pointee.signals.set(set)
        watch.pointee.birth.set(ticket)
        watch.pointee.next.set(signals.pointee.head.get())
        signals.pointee.head.set(record)
        signals.pointee.watchers.set(signals.pointee.watchers.get() + 1)
        scope.retain()
        scope.pointee.state.bitwiseOr(State.watches, ordering: .sequentiallyConsistent)
        return BELAY_OK
    }

    /// Under the lock: the last to watch a signal puts back what was there before.
    private static func forget(_ set: UInt64) {
        for signal in SignalSet(set) {
            let left = users(of: signal).pointee.get() - 1
            users(of: signal).pointee.set(left)
            if left == 0 { belaycore_signal_restore(Int32(signal)) }
        }
    }

    /// A watching context is being closed: its handle is stale already. The caller keeps the node.
    static func unwatch(_ scope: NodePointer) {
        let signals = pointer
        let index = scope.index
        signals.pointee.lock.lock()
        var record = signals.pointee.head.get()
        var before: UInt32 = 0
        while record != 0 && Watch.at(record).pointee.node.get() != index {
            before = record
            record = Watch.at(record).pointee.next.get()
        }
        if record == 0 { return signals.pointee.lock.unlock() }
        let watch = Watch.at(record)
        let next = watch.pointee.next.get()
        if before == 0 { signals.pointee.head.set(next) } else { Watch.at(before).pointee.next.set(next) }
        signals.pointee.watchers.set(signals.pointee.watchers.get() - 1)
        forget(watch.pointee.signals.get())
        let isFree = noneInFlight
        if !isFree {
            watch.pointee.next.set(signals.pointee.leaving.get())
            signals.pointee.leaving.set(record)
        }
        signals.pointee.lock.unlock()
        if isFree {
            freeRecord(record)
            scope.unpin()
        }
    }

    /// Whether no cancel is under way that found a handle which is stale by now. StoreLoad: the handle went stale
    /// before; a cancel counts itself before it looks at the handle (same fence there). One of the two sees the other.
    private static var noneInFlight: Bool {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        return pointer.pointee.inFlight.load(ordering: .sequentiallyConsistent) == 0
    }

    // MARK: the cancel that may run in a handler

    /// `belay_cancel` for a watching context. Async-signal-safe: it reads and swaps words, and leaves the pushing to
    /// the driver. The node stays what it is without a reference, because a watch gives its own up only when no such
    /// cancel is in flight.
    static func cancel(_ handle: Handle) -> belay_status {
        let signals = pointer
        signals.pointee.inFlight.wrappingAdd(1, ordering: .sequentiallyConsistent)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        let status = handle.find().map { decide(handle, $0) } ?? handle.refusal()
        signals.pointee.inFlight.wrappingSubtract(1, ordering: .sequentiallyConsistent)
        // Last, so that the driver finds a watch that waits for us free to go.
        belaycore_signal_ring()
        return status
    }

    private static func decide(_ handle: Handle, _ found: Found) -> belay_status {
        let cell = found.node
        var word = found.state.word
        while handle.matches(word) {
            // A deadline that has passed is an end, also if nobody has asked yet.
            if State(word).isDone || cell.mayHaveEnded(State(word)) { return BELAY_OK }
            // Before the verdict (release by its swap): unattached children compare their deadlines with it.
            let time = Clock.now(in: found.state.runtime)
            _ = cell.pointee.endedAt.compareExchange(expected: 0, desired: time, ordering: .relaxed)
            let (exchanged, now) = cell.pointee.state.compareExchange(
                expected: word, desired: word | Verdict.canceled.bits, ordering: .sequentiallyConsistent)
            if exchanged {
                pointer.pointee.canceled.wrappingAdd(1, ordering: .relaxed)
                return BELAY_OK
            }
            word = now
        }
        return handle.refusal()
    }

    // MARK: the driver's part

    static func deliver() {
        let news = word(BELAYCORE_SIGNAL_NEWS).pointee.load(ordering: .sequentiallyConsistent)
        if news == pointer.pointee.handled.get() { return }
        while tellSome() {}
        reclaim()
        pointer.pointee.handled.set(news)
    }

    private static let mostAtOnce = 64

    /// Ends, or pushes the end of, contexts that have not been told yet; true if there may be more.
    private static func tellSome() -> Bool {
        withUnsafeTemporaryAllocation(of: Due.self, capacity: mostAtOnce) { due in
            let count = claim(due.baseAddress.unsafelyUnwrapped)
            for i in 0..<count { due[i].tell() }
            return count == mostAtOnce
        }
    }

    private static func claim(_ due: UnsafeMutablePointer<Due>) -> Int {
        let signals = pointer
        signals.pointee.lock.lock()
        defer { signals.pointee.lock.unlock() }
        var count = 0
        var record = signals.pointee.head.get()
        while record != 0 && count < mostAtOnce {
            let watch = Watch.at(record)
            record = watch.pointee.next.get()
            if watch.pointee.told.get() != 0 { continue }
            let scope = node(watch.pointee.node.get())
            let signal = watch.pointee.arrived
            let isOver = signal != 0 || scope.state.isDone
            guard isOver || scope.mayHaveEnded(scope.state) else { continue }
            if isOver { watch.pointee.told.set(1) }
            // Until it has been told; the watch may go meanwhile.
            scope.retain()
            due[count] = Due(scope: scope, signal: signal)
            count += 1
        }
        return count
    }

    /// Watches whose contexts are closed, and that a cancel in flight has kept.
    private static func reclaim() {
        let signals = pointer
        signals.pointee.lock.lock()
        var record = noneInFlight ? signals.pointee.leaving.get() : 0
        if record != 0 { signals.pointee.leaving.set(0) }
        signals.pointee.lock.unlock()
        while record != 0 {
            let watch = Watch.at(record)
            let next = watch.pointee.next.get()
            let scope = node(watch.pointee.node.get())
            freeRecord(record)
            scope.unpin()
            record = next
        }
    }

    private struct Due {
        let scope: NodePointer
        /// 0: it has ended, or been cancelled, in another way.
        let signal: Int

        func tell() {
            if signal != 0 {
                scope.cancel(cause: CauseRecord.make(copying: belay_cause(signal: signal)))
            } else if scope.settle().isDone {
                scope.finish()
            }
            scope.unpin()
        }
    }
}

/// One context's watch, in the records region. All but `told` is written before it joins the list; under the lock.
struct Watch: ~Copyable {
    let signals: Atomic<UInt64>
    /// The last ticket that was drawn before it.
    let birth: Atomic<UInt64>
    let node: Atomic<UInt32>
    let next: Atomic<UInt32>
    /// 1 once the driver has seen to it that its end is known to all.
    let told: Atomic<UInt32>

    static func at(_ record: UInt32) -> UnsafeMutablePointer<Watch> {
        Region.records.pointee.cell(record, as: Watch.self)
    }

    /// The signal that ends it: of those that have come since its birth the one whose last arrival is oldest. 0: none.
    var arrived: Int {
        borrowing get {
            var first = UInt64.max
            var number = 0
            for signal in SignalSet(signals.get()) {
                let ticket = Signals.lastTicket(of: signal)
                if ticket > birth.get() && ticket < first {
                    first = ticket
                    number = signal
                }
            }
            return number
        }
    }
}
