// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// What is remembered of a sampled context's birth, by the index of its cell: sixteen bytes in a chunk that is mapped
/// when the first context of its range is sampled. The entry belongs to the context whose state word has the mark,
/// from its birth until its cell is recycled.
///
/// | field | written by |
/// |---|---|
/// | place: the site's number | birth, before the state word is published; 0 by the recycler |
/// | place: marks | whoever holds a reference |
/// | weight, bornAt | birth |
struct Birth: ~Copyable {
    let place: Atomic<UInt32>
    let weight: Atomic<UInt32>
    let bornAt: Atomic<Int64>

    private static let siteMask: UInt32 = 0xFFFF
    /// It is a sample at all: site 0 is a site, too.
    private static let isTaken: UInt32 = 1 << 16
    /// Something was derived from it.
    private static let hasChild: UInt32 = 1 << 17
    /// Its handle is stale; its close is what ended it.
    private static let isClosed: UInt32 = 1 << 18
    private static let endedByClose: UInt32 = 1 << 19

    private static let perChunk = 4096
    private static let chunks = (1 << Int(Handle.indexBits)) / perChunk

    static func makeTable() -> UnsafeMutableRawPointer? { belaycore_map(chunks * 8) }

    private static func chunk(_ number: Int) -> UnsafeMutablePointer<Atomic<UInt>>? {
        guard
            let table = UnsafeMutableRawPointer(bitPattern: Sampler.pointer.pointee.samples.load(ordering: .acquiring))
        else { return nil }
        return table.assumingMemoryBound(to: Atomic<UInt>.self) + number
    }

    /// The entry of a cell; nil if nothing near it was ever sampled.
    static func of(_ index: UInt32) -> UnsafeMutablePointer<Birth>? {
        guard let chunk = chunk(Int(index) / perChunk) else { return nil }
        // Acquire: a chunk is all zeroes before it is found.
        return UnsafeMutablePointer<Birth>(bitPattern: chunk.pointee.load(ordering: .acquiring))
            .map { $0 + Int(index) % perChunk }
    }

    /// When the context in this cell was derived, on CLOCK_MONOTONIC, if that is known: of samples only.
    static func instant(of index: UInt32) -> Int64? {
        guard let birth = of(index), birth.pointee.place.load(ordering: .acquiring) & isTaken != 0 else { return nil }
        return birth.pointee.bornAt.get()
    }

    private static func make(_ index: UInt32) -> UnsafeMutablePointer<Birth>? {
        if let found = of(index) { return found }
        guard let chunk = chunk(Int(index) / perChunk) else { return nil }
        let bytes = perChunk * MemoryLayout<Birth>.size
        guard let memory = belaycore_map(bytes) else { return nil }
        let (exchanged, _) = chunk.pointee.compareExchange(
            expected: 0, desired: UInt(bitPattern: memory), ordering: .acquiringAndReleasing)
        if !exchanged { belaycore_unmap(memory, bytes) }
        return of(index)
    }

    // MARK: a life

    @inline(never) static func take(_ cell: NodePointer, index: UInt32, kind: UInt64, every: UInt32) -> Bool {
        guard let sample = make(index) else { return false }
        let number = withUnsafeTemporaryAllocation(of: UInt64.self, capacity: Site.mostFrames) { frames in
            let found = frames.withMemoryRebound(to: UnsafeMutableRawPointer?.self) {
                Int(belaycore_stack($0.baseAddress, Int32(Site.mostFrames)))
            }
            // Return addresses: the call is before them.
            for i in 0..<found { frames[i] &-= 1 }
            return Site.find(UnsafeMutableBufferPointer(rebasing: frames[0..<found]), kind: kind)
        }
        let site = Site.at(Int(number))
        sample.pointee.weight.set(every)
        sample.pointee.bornAt.set(Clock.now)
        sample.pointee.place.store(number | isTaken, ordering: .releasing)
        site.add(UInt64(every), to: .derived)
        noteBirth(cell, kind, site, UInt64(every))
        return true
    }

    /// What only the audit wants to know. The newborn keeps all that stands above it.
    private static func noteBirth(_ cell: NodePointer, _ kind: UInt64, _ site: Site, _ weight: UInt64) {
        if kind == Kind.scope {
            let clock = cell.pointee.clock.get()
            let asksForOne = cell.pointee.deadline.get() != Clock.never
            if asksForOne && clock != 0 && clock != cell.index { site.add(weight, to: .covered) }
            if asksForOne && isInGroup(of: cell.pointee.parent.get()) { site.add(weight, to: .inGroup) }
        } else if kind == Kind.value {
            site.raise(.depth, to: UInt64(valuesAbove(cell)))
        }
    }

    /// Whether a task of a group runs here whose context is this one.
    private static func isInGroup(of parent: UInt32) -> Bool {
        var running = Running.Walk()
        while let task = running.next() {
            if task.isWork && Handle(Group.at(task.pointee.link.get()).context).index == parent { return true }
        }
        return false
    }

    /// The values in a chain, itself included, up to some dozen.
    private static func valuesAbove(_ value: NodePointer) -> Int {
        var count = 1
        var nearest = node(value.pointee.parent.get()).pointee.values.get()
        while nearest != 0 && count < 64 {
            let current = node(nearest).asValue
            if current.pointee.key.get() != Foreign.key { count += 1 }
            nearest = node(current.pointee.parent.get()).pointee.values.get()
        }
        return count
    }

    static func noteChild(of index: UInt32) {
        of(index)?.pointee.place.bitwiseOr(hasChild, ordering: .relaxed)
    }

    /// A close has won that others may have references besides, and has ended nothing yet.
    @inline(never) static func noteClose(of node: NodePointer) {
        guard let sample = of(node.index) else { return }
        let end = node.knownEnd
        let marks = end.reason == .closed ? isClosed | endedByClose : isClosed
        let old = sample.pointee.place.bitwiseOr(marks, ordering: .relaxed).oldValue
        guard old & isTaken != 0, old & isClosed == 0 else { return }
        let weight = UInt64(sample.pointee.weight.get())
        site(old).add(weight, to: .kept)
        noteDelay(since: end, at: site(old), weight)
    }

    /// A context is closed now that ended so.
    private static func noteDelay(since end: (reason: Reason, instant: Int64), at site: Site, _ weight: UInt64) {
        if end.reason == .closed || end.instant == Clock.never { return }
        let delay = Clock.now.subtractingReportingOverflow(end.instant)
        if delay.overflow || delay.partialValue <= Audit.late { return }
        site.add(weight, to: .late)
        site.raise(.latest, to: UInt64(delay.partialValue))
    }

    /// The cell of a sampled context is about to be recycled: nobody else has a hold on it.
    @inline(never) static func noteRecycling(of node: NodePointer) {
        guard let sample = of(node.index) else { return }
        let place = sample.pointee.place.exchange(0, ordering: .relaxed)
        guard place & isTaken != 0 else { return }
        let weight = UInt64(sample.pointee.weight.get())
        let site = site(place)
        let end = node.knownEnd
        let reason = place & endedByClose != 0 ? .closed : end.reason
        site.reason(reason).pointee.wrappingAdd(weight, ordering: .relaxed)
        if node.state.shape == Kind.scope && node.pointee.listen.get() == 0 && place & hasChild == 0 {
            site.add(weight, to: .plain)
        }
        if place & isClosed == 0 { noteDelay(since: end, at: site, weight) }
        site.add(weight, to: .gone)
        if place & isClosed != 0 { site.remove(weight, from: .kept) }
    }

    private static func site(_ place: UInt32) -> Site { Site.at(Int(place & siteMask)) }

    // MARK: what lives

    /// The number of the site of a context, 0 if it was not sampled.
    static func siteNumber(of index: UInt32) -> Int {
        let place = of(index)?.pointee.place.load(ordering: .acquiring) ?? 0
        return place & isTaken != 0 ? Int(place & siteMask) : 0
    }

    /// An open context that was sampled.
    struct Open {
        let node: NodePointer
        /// Of its site.
        let number: UInt32
        let weight: UInt64
        let bornAt: Int64
    }

    /// Calls `body` with all that are open. They come and go meanwhile: what a body reads of a node may be another's.
    static func forEachOpen(_ body: (Open) -> Void) {
        let end = Region.contexts.pointee.limit.load(ordering: .acquiring)
        var index = Root.firstFree
        while index < end {
            guard let sample = of(index) else {
                index = (index / UInt32(perChunk) + 1) * UInt32(perChunk)
                continue
            }
            let place = sample.pointee.place.load(ordering: .acquiring)
            if place & (isTaken | isClosed) == isTaken && BelayCore.node(index).state.has(State.sampled) {
                body(
                    Open(
                        node: BelayCore.node(index), number: place & siteMask,
                        weight: UInt64(sample.pointee.weight.get()), bornAt: sample.pointee.bornAt.get()))
            }
            index += 1
        }
    }
}

extension UnsafeMutablePointer where Pointee == Node {
    /// How and when this context ended, as far as its own words and those above tell; `closed` if it has not. Writes
    /// nothing and asks nobody. The node, or whoever looks at it, keeps all that stands above.
    var knownEnd: (reason: Reason, instant: Int64) {
        let state = state
        let shape = state.shape
        if state.isDone { return (Reason(state.verdict), notedEnd(state)) }
        if shape == Kind.lite {
            let deadline = pointee.deadline.get()
            let isPast = state.has(State.timed) && Clock.hasPassed(deadline, in: state.runtime)
            return isPast ? (.deadline, state.runtime == 0 ? deadline : Clock.never) : (.closed, Clock.never)
        }
        guard shape == Kind.scope else { return (.closed, Clock.never) }
        if state.has(State.timed), let clock = clockInEffect {
            let deadline = clock.pointee.deadline.get()
            if Clock.hasPassed(deadline, in: state.runtime) {
                return (clock == self ? .deadline : .parentDeadline, state.runtime == 0 ? deadline : Clock.never)
            }
        }
        var above = pointee.scope.get()
        for _ in 0..<State.longestRun where above != 0 {
            let scope = BelayCore.node(above)
            let end = scope.state
            if end.isDone { return (Reason(end.verdict.inherited), scope.notedEnd(end)) }
            above = scope.pointee.scope.get()
        }
        return (.closed, Clock.never)
    }

    /// When it ended, of what is done: by its own words, or those of the scope that it ended with; `Clock.never` if these
    /// do not tell.
    private func notedEnd(_ state: State) -> Int64 {
        if !state.verdict.isInherited { return ownEnd(state) }
        let origin = state.shape == Kind.scope ? pointee.origin.get() : 0
        // In a cell that has become another's this word may be part of a pointer: as in `cause`.
        guard origin != 0, origin < Region.contexts.pointee.limit.load(ordering: .acquiring) else { return Clock.never }
        let source = BelayCore.node(origin)
        return source.ownEnd(source.state)
    }

    private func ownEnd(_ state: State) -> Int64 {
        if state.runtime != 0 { return Clock.never }
        switch Reason(state.verdict) {
        case .deadline: return pointee.deadline.get()
        case .canceled, .cause:
            let at = state.shape == Kind.scope ? pointee.endedAt.get() : 0
            return at != 0 ? at : Clock.never
        default: return Clock.never
        }
    }
}
