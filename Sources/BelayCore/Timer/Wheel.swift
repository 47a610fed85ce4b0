// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// What a wheel knows of a timer. It stands inside a larger cell (a listen record, a timer task). Guarded by whatever
/// guards the wheel.
struct WheelEntry: ~Copyable {
    let expiry: Atomic<Int64>
    let next: Atomic<UInt32>
    /// The entry before, 0 in the first of a slot.
    let previous: Atomic<UInt32>
    /// Where its list's head stands, in words of four bytes from the wheel's beginning; 0 while in no wheel.
    let place: Atomic<UInt16>
    /// The number of the wheel, for whoever has several; the wheel does not look at it.
    let shard: Atomic<UInt16>

    var isInWheel: Bool { place.get() != 0 }
}

/// Where entries live: an index with the top bit clear is in the first array of cells, one with it set in the second.
/// The entry stands at `offset` in its cell.
struct WheelSpace {
    let first: UInt
    let second: UInt
    static let second: UInt32 = 1 << 31
    static let offset: UInt = 16

    @inline(__always) func entry(_ index: UInt32) -> UnsafeMutablePointer<WheelEntry> {
        let base = index & WheelSpace.second == 0 ? first : second
        let cell = base &+ UInt(index & ~WheelSpace.second) &* UInt(Region.cellBytes)
        return UnsafeMutableRawPointer(bitPattern: cell &+ WheelSpace.offset).unsafelyUnwrapped
            .assumingMemoryBound(to: WheelEntry.self)
    }
}

/// A hierarchical timing wheel: eight levels of 64 slots over a tick of 2^15 ns, so that every instant from 0 to Int64.max
/// has a slot. A plain data structure: no clock, no lock, no thread. All zeroes is an empty wheel at instant 0, whose slots
/// have one list each.
///
/// A timer stands on the level of the highest of its tick's 6-bit digits that differs from the wheel's, in the slot of
/// that digit. Hence the ground rules, which `check` (WheelCheck.swift) verifies:
///
/// 1. everything on a level is due before everything on the levels above;
/// 2. on a level, slots are due in order, and all occupied ones lie ahead of the wheel's own digit (on level 0: not
///    behind it);
/// 3. so the first timer is in the first occupied slot of the lowest occupied level: two count-zeros away.
///
/// A slot's timers may stand on eight lists, told apart by some bits of their indices. A list is a chain of cache misses
/// once the timers are many; eight that are walked in turns miss at the same time, as each asks for its next entry a turn
/// before it is looked at. An entry knows where its list's head stands, its *place*, and whatever else a removal has to know
/// follows from that.
///
/// Each slot keeps the earliest of its instants. That lets the driver sleep until a timer is due, and not until a slot's
/// border, when only a cascade would be to do.
///
/// Two things break the rules for a while. A timer that was *put off* (`putOff`) stays where it stands, in a slot of its past,
/// until time comes there. And a slot of 100,000 timers is not cascaded at once, while others wait for the lock around this
/// wheel: what is left of it is *unfinished*, and goes first when time goes on.
struct Wheel {
    static let tickShift: Int64 = 15
    static let digitBits: UInt64 = 6
    static let levels = 8
    static let slotsPerLevel = 64
    /// Slots are cache lines, so they begin with one. The storage does, too.
    private static let slotsOffset = 128
    static let byteCount = slotsOffset + levels * slotsPerLevel * MemoryLayout<Slot>.stride
    static let alignment = 64

    struct Header {
        /// How far the wheel has come, in ticks.
        var tick: UInt64
        /// A bit for each level that has an occupied slot, and for each level a bit for each such slot.
        var levels: UInt64
        var occupied: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
        /// `allLists`; or 0 where a slot has one list only, so that the order of timers that are due together depends on
        /// nothing but the order in which they were added: for virtual clocks. Changed while the wheel is empty.
        var listMask: UInt64
        /// The slot that was left half way through a cascade; 0 for none, since level 0 has none.
        var unfinished: Int

        static let occupiedOffset = 16
    }

    /// One cache line.
    struct Slot {
        /// Of its instants; exact until something is removed or put off, then too early.
        var earliest: Int64
        /// A bit for each list that has a timer.
        var lists: UInt64
        /// The first timer of each list, 0 for none.
        private var heads: (UInt64, UInt64, UInt64, UInt64)
        private var rest: (UInt64, UInt64)

        static let headsOffset = 16
    }

    static let listsPerSlot = 8
    /// So many timers of a slot can be looked at to know when to wake.
    private static let few = 8
    static let allLists = UInt64(listsPerSlot - 1)

    /// So many neighbours in memory share a list. Where timers are few they share one; several would be short then, and it
    /// would be anybody's guess, the processor's too, whether the next one to be removed stands first or last.
    static let neighbours: UInt32 = 1024

    @inline(__always) func list(_ index: UInt32) -> Int {
        Int(truncatingIfNeeded: UInt64(index / Wheel.neighbours) & header.pointee.listMask)
    }

    let header: UnsafeMutablePointer<Header>
    let space: WheelSpace

    /// A view of `byteCount` bytes of storage.
    @inline(__always) init(storage: UnsafeMutableRawPointer, space: WheelSpace) {
        header = storage.assumingMemoryBound(to: Header.self)
        self.space = space
    }

    @inline(__always) func slot(_ index: Int) -> UnsafeMutablePointer<Slot> {
        (UnsafeMutableRawPointer(header) + (index &* MemoryLayout<Slot>.stride &+ Wheel.slotsOffset))
            .assumingMemoryBound(to: Slot.self)
    }

    @inline(__always) func occupied(_ level: Int) -> UnsafeMutablePointer<UInt64> {
        (UnsafeMutableRawPointer(header) + Header.occupiedOffset).assumingMemoryBound(to: UInt64.self) + level
    }

    @inline(__always) static func tick(of instant: Int64) -> UInt64 { UInt64(max(instant, 0)) >> UInt64(tickShift) }

    // MARK: places

    // In words of four bytes from the wheel's beginning; at least `firstHead`, and less than 2^16.

    private static let wordsPerSlot = MemoryLayout<Slot>.stride / 4
    private static let firstHead = (slotsOffset + Slot.headsOffset) / 4

    @inline(__always) static func place(_ slot: Int, _ list: Int) -> Int { slot &* wordsPerSlot &+ list &+ firstHead }

    @inline(__always) private func head(_ place: Int) -> UnsafeMutablePointer<UInt32> {
        UnsafeMutableRawPointer(header).assumingMemoryBound(to: UInt32.self) + place
    }

    @inline(__always) private static func slot(of place: Int) -> UInt {
        UInt(bitPattern: place &- firstHead) / UInt(wordsPerSlot)
    }

    @inline(__always) private static func listBit(of place: Int) -> UInt64 {
        1 << (UInt64(truncatingIfNeeded: place &- firstHead) % UInt64(wordsPerSlot))
    }

    @inline(__always) private static func level(of slot: UInt) -> UInt { slot / UInt(slotsPerLevel) }
    @inline(__always) private static func digitBit(of slot: UInt) -> UInt64 { 1 << UInt64(slot % UInt(slotsPerLevel)) }

    // MARK: add and remove

    /// Adds an entry that is in no wheel. Instants that have passed are due at the next `advance`.
    @inline(__always) func add(_ index: UInt32, at expiry: Int64) { add(index, space.entry(index), at: expiry) }

    /// The same where the entry is at hand.
    @inline(__always) func add(_ index: UInt32, _ entry: UnsafeMutablePointer<WheelEntry>, at expiry: Int64) {
        entry.pointee.expiry.set(expiry)
        place(index, entry, expiry)
    }

    @inline(__always) private func place(_ index: UInt32, _ entry: UnsafeMutablePointer<WheelEntry>, _ expiry: Int64) {
        let now = header.pointee.tick
        // Signed: what lies before instant 0 lies before now.
        let tick = UInt64(bitPattern: max(expiry >> Wheel.tickShift, Int64(bitPattern: now)))
        // The highest digit that differs; equal ticks are level 0.
        let highest = 63 ^ UInt64(truncatingIfNeeded: ((tick ^ now) | 1).leadingZeroBitCount)
        // Divided by `digitBits`: exact below 64, and without the detour over eight bits that the compiler takes.
        let level = (highest &* 43) >> 8
        let digit = tick &>> (level &* Wheel.digitBits) & 63
        let number = Int(truncatingIfNeeded: level << Wheel.digitBits | digit)
        let slot = slot(number)
        let place = Wheel.place(number, list(index))
        let next = head(place).pointee
        entry.pointee.next.set(next)
        entry.pointee.previous.set(0)
        entry.pointee.place.set(UInt16(truncatingIfNeeded: place))
        head(place).pointee = index
        if next == 0 { return occupy(place, expiry) }
        space.entry(next).pointee.previous.set(index)
        if expiry < slot.pointee.earliest { slot.pointee.earliest = expiry }
    }

    /// The list whose head stands at `place` has its first timer. By itself, so that the way past it needs few registers.
    @inline(never) private func occupy(_ place: Int, _ expiry: Int64) {
        let number = Wheel.slot(of: place)
        let slot = slot(Int(bitPattern: number))
        if slot.pointee.lists == 0 {
            let level = Wheel.level(of: number)
            occupied(Int(bitPattern: level)).pointee |= Wheel.digitBit(of: number)
            header.pointee.levels |= 1 &<< UInt64(level)
            slot.pointee.earliest = expiry
        }
        slot.pointee.lists |= Wheel.listBit(of: place)
        slot.pointee.earliest = min(slot.pointee.earliest, expiry)
    }

    @inline(__always) func head(_ slot: UnsafeMutablePointer<Slot>, _ list: Int) -> UnsafeMutablePointer<UInt32> {
        (UnsafeMutableRawPointer(slot) + Slot.headsOffset).assumingMemoryBound(to: UInt32.self) + list
    }

    /// Removes an entry that is in this wheel.
    @inline(__always) func remove(_ index: UInt32) { removeInPlace(space.entry(index)) }

    @inline(never) func remove(_ entry: UnsafeMutablePointer<WheelEntry>) { removeInPlace(entry) }

    /// The same for hot paths.
    @inline(__always) func removeInPlace(_ entry: UnsafeMutablePointer<WheelEntry>) {
        let next = entry.pointee.next.get()
        let previous = entry.pointee.previous.get()
        if next != 0 { space.entry(next).pointee.previous.set(previous) }
        if previous != 0 {
            let before = space.entry(previous)
            before.pointee.next.set(next)
            if next == 0 { askAhead(from: entry, to: before) }
        } else {
            let place = Int(entry.pointee.place.get())
            head(place).pointee = next
            if next == 0 { vacate(place: place) }
        }
        entry.pointee.place.set(0)
    }

    /// The oldest of a list has been removed, and it was the last of several. Timeouts of one length are mostly removed in the
    /// order in which they were added, from neighbour to neighbour in memory, and where they are many the next one is a
    /// cache miss: so the line is asked for some removals ahead. (With 10^6 a quarter less time; of few they are in the cache.)
    @inline(__always) private func askAhead(
        from entry: UnsafeMutablePointer<WheelEntry>, to next: UnsafeMutablePointer<WheelEntry>
    ) {
        let step = UInt(bitPattern: next) &- UInt(bitPattern: entry)
        belaycore_prefetch(UnsafeMutableRawPointer(bitPattern: UInt(bitPattern: entry) &+ 12 &* step))
    }

    /// The list whose head stands at `place` has become empty.
    @inline(__always) private func vacate(place: Int) {
        let number = Wheel.slot(of: place)
        let slot = slot(Int(bitPattern: number))
        slot.pointee.lists &= ~Wheel.listBit(of: place)
        if slot.pointee.lists == 0 { vacate(number) }
    }

    @inline(__always) private func vacate(_ number: UInt) {
        let level = Wheel.level(of: number)
        let bits = occupied(Int(bitPattern: level))
        bits.pointee &= ~Wheel.digitBit(of: number)
        if bits.pointee == 0 { header.pointee.levels &= ~(1 &<< UInt64(level)) }
    }

    /// Makes an entry that is in this wheel due later than it is, at the cost of one store: whoever puts a timeout off with
    /// each message moves it in the wheel only when it would have passed.
    @inline(__always) func putOff(_ entry: UnsafeMutablePointer<WheelEntry>, to expiry: Int64) {
        entry.pointee.expiry.set(expiry)
    }

    // MARK: time

    /// The first occupied slot in order of time.
    @inline(__always) private var first: (level: Int, digit: Int)? {
        let levels = header.pointee.levels
        if levels == 0 { return nil }
        let level = levels.trailingZeroBitCount
        return (level, occupied(level).pointee.trailingZeroBitCount)
    }

    /// When the next `advance` should be: never before a timer is due unless one was removed or put off, and at the latest a
    /// tick after it. Timers that share a tick are waited for together, so that one pass fires them all; a few are waited for
    /// to the nanosecond. `Int64.max` when there is none, `Int64.min` when a cascade is unfinished.
    var wake: Int64 {
        if header.pointee.unfinished != 0 { return .min }
        guard let (level, digit) = first else { return .max }
        let slot = slot(level * Wheel.slotsPerLevel + digit)
        return min(latestOfFew(slot), slot.pointee.earliest | ((1 << Wheel.tickShift) - 1))
    }

    /// The latest of a slot's timers, if they are few; `Int64.max` if not.
    private func latestOfFew(_ slot: UnsafeMutablePointer<Slot>) -> Int64 {
        var latest = Int64.min
        var count = 0
        walk(slot, slot.pointee.lists, taking: false) { _, entry in
            latest = max(latest, entry.pointee.expiry.get())
            count &+= 1
            return count <= Wheel.few
        }
        return count > Wheel.few ? .max : latest
    }

    /// Never later than the first timer, and earlier only if one was removed or put off; `Int64.max` when there is none.
    var earliest: Int64 {
        guard let (level, digit) = first else { return .max }
        let earliest = slot(level * Wheel.slotsPerLevel + digit).pointee.earliest
        let unfinished = header.pointee.unfinished
        return unfinished == 0 ? earliest : min(earliest, slot(unfinished).pointee.earliest)
    }

    /// What an `advance` took out: a list through `next`, 0 at its end; and whether there is more to do.
    struct Advance {
        var first: UInt32 = 0
        var count = 0
        var isWhole = true
    }

    /// Moves on to `instant` and takes out what is due by then. It handles about `most` timers, takes no more than that, and is to
    /// be called again, with an instant that is not earlier, until the answer is whole.
    func advance(to instant: Int64, most: Int) -> Advance {
        let target = Wheel.tick(of: instant)
        var answer = Advance()
        var left = most
        if header.pointee.unfinished != 0 { lower(header.pointee.unfinished, by: instant, &left, into: &answer) }
        while answer.isWhole, let (level, digit) = first {
            let shift = UInt64(level) &* Wheel.digitBits
            let start = (header.pointee.tick >> shift & ~63 | UInt64(digit)) << shift
            if start > target { break }
            if left <= 0 {
                answer.isWhole = false
                break
            }
            // All that stands there is due later than the slot's first tick, or just then: with the wheel moved on to that
            // tick it goes lower. On level 0, all of it is due, but for the last slot's.
            header.pointee.tick = max(header.pointee.tick, start)
            let number = level &* Wheel.slotsPerLevel &+ digit
            if level != 0 {
                lower(number, by: instant, &left, into: &answer)
            } else {
                takeDue(number, by: instant, &left, into: &answer)
                if start == target { break }
            }
        }
        if answer.isWhole { header.pointee.tick = max(header.pointee.tick, target) }
        return answer
    }

    /// Takes what is due out of a slot of level 0, as long as there is something `left`. If that is everything, the earliest of
    /// what stays is known.
    private func takeDue(_ number: Int, by instant: Int64, _ left: inout Int, into answer: inout Advance) {
        let slot = slot(number)
        var earliest = Int64.max
        walk(slot, slot.pointee.lists, taking: false) { index, entry in
            let expiry = entry.pointee.expiry.get()
            if expiry <= instant {
                if left <= 0 {
                    answer.isWhole = false
                    return false
                }
                left &-= 1
                remove(entry)
                answer.take(index, entry)
            } else if Wheel.tick(of: expiry) > header.pointee.tick {
                // Put off.
                remove(entry)
                place(index, entry, expiry)
            } else {
                earliest = min(earliest, expiry)
            }
            return true
        }
        if answer.isWhole && slot.pointee.lists != 0 { slot.pointee.earliest = earliest }
    }

    /// Takes what is due out of a slot of another level, to whose beginning time has come, and places the rest anew: lower, or
    /// wherever it has been put off to, but not there again. As long as there is something `left`.
    private func lower(_ number: Int, by instant: Int64, _ left: inout Int, into answer: inout Advance) {
        let slot = slot(number)
        let lists = slot.pointee.lists
        // So that what stands there need not be taken off the lists one by one.
        slot.pointee.lists = 0
        let rest = walk(slot, lists, taking: true) { index, entry in
            let expiry = entry.pointee.expiry.get()
            if expiry <= instant { answer.take(index, entry) } else { place(index, entry, expiry) }
            left &-= 1
            return left > 0
        }
        slot.pointee.lists = rest
        answer.isWhole = rest == 0
        header.pointee.unfinished = rest == 0 ? 0 : number
        if rest == 0 && lists != 0 { vacate(UInt(bitPattern: number)) }
    }

    /// Visits the timers of a slot's `lists` in turns, one of each, until `body` answers false. What it is called with has
    /// been left behind by then: it may be removed, or placed elsewhere. Answers which lists have timers that were not visited.
    /// If `taking`, those are all that is left on the lists, and `body` has the others.
    @discardableResult
    @inline(__always) private func walk(
        _ slot: UnsafeMutablePointer<Slot>, _ lists: UInt64, taking: Bool,
        _ body: (UInt32, UnsafeMutablePointer<WheelEntry>) -> Bool
    ) -> UInt64 {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: Wheel.listsPerSlot) { cursors in
            for list in 0..<Wheel.listsPerSlot { cursors[list] = head(slot, list).pointee }
            var open = lists
            visits: while open != 0 {
                var turn = open
                while turn != 0 {
                    let list = turn.trailingZeroBitCount
                    turn &= turn &- 1
                    let index = cursors[list]
                    let entry = space.entry(index)
                    let next = entry.pointee.next.get()
                    cursors[list] = next
                    if next == 0 { open &= ~(1 << UInt64(list)) } else { belaycore_prefetch(space.entry(next)) }
                    if !body(index, entry) { break visits }
                }
            }
            if taking {
                for list in 0..<Wheel.listsPerSlot {
                    let index = cursors[list]
                    head(slot, list).pointee = index
                    if index != 0 { space.entry(index).pointee.previous.set(0) }
                }
            }
            return open
        }
    }
}

extension Wheel.Advance {
    /// Takes an entry that is on no list any more.
    @inline(__always) fileprivate mutating func take(_ index: UInt32, _ entry: UnsafeMutablePointer<WheelEntry>) {
        entry.pointee.place.set(0)
        entry.pointee.next.set(first)
        first = index
        count &+= 1
    }
}
