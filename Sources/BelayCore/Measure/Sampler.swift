// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// Samples derivations: one in `every`, at random distances, so that a program that derives in a fixed rhythm is not
/// sampled at the same place each time. A sampled context has a bit in its state word, and what is known of its birth
/// stands in the table of samples by the index of its cell; so contexts that are not sampled carry nothing.
///
/// What it costs: while it is off one look at `every` in each birth, and at the bit when a cell is recycled. While it
/// is on each birth counts down in the thread's record, and a sampled one takes its call stack.
struct Sampler: ~Copyable {
    /// One in how many; 0 is off. Read by every derivation, without order: a thread that sees an old value for a while
    /// samples at the old rate. Whoever goes on to the tables reads it once more (`consider`).
    let every: Atomic<UInt32>
    /// Whether the environment was looked at.
    private let isConfigured: Atomic<UInt32>
    /// Guards first-time set-up.
    let lock: Lock
    /// Addresses of the tables; 0 until a rate is first set. Never given back.
    let sites: Atomic<UInt>
    let samples: Atomic<UInt>
    /// When sampling was first switched on.
    let startedAt: Atomic<Int64>
    /// Polled foreign parents, and pools of small items, that there ever were.
    let polledEver: Atomic<UInt64>
    let smallPoolsEver: Atomic<UInt64>

    @inline(__always) static var pointer: UnsafeMutablePointer<Sampler> {
        belaycore_sampler().unsafelyUnwrapped.assumingMemoryBound(to: Sampler.self)
    }

    @inline(__always) static var isOn: Bool { pointer.pointee.every.get() != 0 }

    // MARK: setting it

    /// False when there is no memory for the tables.
    static func set(every: UInt32) -> Bool {
        if every != 0 && !pointer.pointee.open() { return false }
        // Release: whoever sees that it is on finds both tables; partner of the acquire in `consider`.
        pointer.pointee.every.store(every, ordering: .releasing)
        return true
    }

    private borrowing func open() -> Bool {
        lock.lock()
        defer { lock.unlock() }
        if sites.get() != 0 { return true }
        guard let table = Site.makeTable(), let chunks = Birth.makeTable() else { return false }
        startedAt.set(Clock.now)
        samples.store(UInt(bitPattern: chunks), ordering: .releasing)
        // Release: partner of the acquire in `Site.find`.
        sites.store(UInt(bitPattern: table), ordering: .releasing)
        return true
    }

    /// What the environment asks for; once, when the first context is derived, with no lock held.
    @inline(never) static func configure() {
        guard pointer.pointee.isConfigured.exchange(1, ordering: .relaxed) == 0 else { return }
        let rate = Environment.number("BELAY_PROFILE_RATE")
        let audits = Environment.isOn("BELAY_AUDIT")
        if audits { belaycore_watch_exit() }
        switchOn(rate != 0 ? rate : audits ? Audit.usualRate : 0)
    }

    private static func switchOn(_ every: UInt32) {
        if every == 0 { return }
        // The first stack makes libc load its unwinder, which allocates: not in the middle of a derivation.
        withUnsafeTemporaryAllocation(of: UnsafeMutableRawPointer?.self, capacity: 4) {
            _ = belaycore_stack($0.baseAddress, 4)
        }
        _ = set(every: every)
    }

    static func changeRate(_ every: UInt32) -> belay_status {
        if Globals.pointer.pointee.forked { return BELAY_EFORK }
        // The environment first, so that it does not come later and undo this.
        configure()
        switchOn(every)
        if every == 0 { return set(every: 0) ? BELAY_OK : BELAY_ENOMEM }
        return pointer.pointee.sites.get() != 0 ? BELAY_OK : BELAY_ENOMEM
    }

    /// In the child of a fork: what was sampled are the parent process's contexts. The tables are given up.
    static func startOver() {
        let sampler = pointer
        sampler.pointee.lock.reset()
        sampler.pointee.sites.set(0)
        sampler.pointee.samples.set(0)
        sampler.pointee.polledEver.set(0)
        sampler.pointee.smallPoolsEver.set(0)
        let every = sampler.pointee.every.get()
        if every != 0 && !sampler.pointee.open() { sampler.pointee.every.set(0) }
    }

    // MARK: births

    /// For a function of belay.h that ends with the call that derives: no tail call, so that it is on the stack that
    /// the sampler sees, as what was called.
    @inline(__always) static func witness(_ born: belay_ctx) -> belay_ctx {
        belaycore_compiler_barrier()
        return born
    }

    /// The rest of a newborn's state word, with the mark if it is sampled. Its words are written, its handle is not
    /// known to anyone yet.
    @inline(__always) static func mark(_ cell: NodePointer, index: UInt32, kind: UInt64, rest: UInt64) -> UInt64 {
        pointer.pointee.every.get() == 0 ? rest : consider(cell, index: index, kind: kind, rest: rest)
    }

    @inline(never) private static func consider(
        _ cell: NodePointer, index: UInt32, kind: UInt64, rest: UInt64
    ) -> UInt64 {
        let parent =
            kind == Kind.lite ? Handle(bits: cell.asLite.pointee.parentHandle.get()).index : cell.pointee.parent.get()
        if parent >= Root.firstFree && node(parent).state.has(State.sampled) { Birth.noteChild(of: parent) }
        // Acquire: partner of the release in `set`.
        let every = pointer.pointee.every.load(ordering: .acquiring)
        guard every != 0, let thread = Thread.known, thread.pointee.isSampled(every) else { return rest }
        return Birth.take(cell, index: index, kind: kind, every: every) ? rest | State.sampled : rest
    }
}

extension Thread {
    /// Counts a birth down; true for one in `every`, at distances drawn evenly from 1 to 2 × every - 1.
    fileprivate mutating func isSampled(_ every: UInt32) -> Bool {
        if every == 1 { return true }
        if sampleEvery != every || untilSample == 0 { drawSample(every) }
        untilSample &-= 1
        return untilSample == 0
    }

    private mutating func drawSample(_ every: UInt32) {
        if sampleRandom == 0 { sampleRandom = (UInt64(number) &+ 1) &* 0x9E37_79B9_7F4A_7C15 }
        sampleRandom ^= sampleRandom << 13
        sampleRandom ^= sampleRandom >> 7
        sampleRandom ^= sampleRandom << 17
        sampleEvery = every
        untilSample = 1 + (sampleRandom >> 16) % (2 * UInt64(every) - 1)
    }
}

@_cdecl("belay_profile_rate") @implementation
public func belay_profile_rate(_ every: UInt32) -> belay_status { Sampler.changeRate(every) }
