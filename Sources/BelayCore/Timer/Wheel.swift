// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform

/// A hierarchical timing wheel: eight levels of 64 slots over a tick of 2^15 ns, so that every instant from 0 to
/// Int64.max has a slot. A plain data structure: no clock, no lock, no thread. All zeroes is an empty wheel at instant
/// 0, whose slots have one list each.
///
/// A timer stands on the level of the highest of its tick's 6-bit digits that differs from the wheel's, in the slot of
/// that digit. Hence the ground rules, which `check` (WheelCheck.swift) verifies:
///
/// 1. everything on a level is due before everything on the levels above;
/// 2. on a level, slots are due in order, and all occupied ones lie ahead of the wheel's own digit (on level 0: not
///    behind it);
/// 3. so the first timer is in the first occupied slot of the lowest occupied level: two count-zeros away.
///
/// A slot's timers may stand on eight lists, told apart by some bits of their indices. A list is a chain of cache
/// misses once the timers are many; eight that are walked in turns miss at the same time, as each asks for its next
/// entry a turn before it is looked at. An entry knows where its list's head stands, its *place*, and whatever else a
/// removal has to know follows from that.
///
/// Each slot keeps the earliest of its instants. That lets the driver sleep until a timer is due, and not until a
/// slot's border, when only a cascade would be to do.
///
/// Two things break the rules for a while. A timer that was *put off* (`putOff`) stays where it stands, in a slot of
/// its past, until time comes there. And a slot of 100,000 timers is not cascaded at once, while others wait for the
/// lock around this wheel: what is left of it is *unfinished*, and goes first when time goes on.
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
        /// `allLists`; or 0 where a slot has one list only, so that the order of timers that are due together depends
        /// on nothing but the order in which they were added: for virtual clocks. Changed while the wheel is empty.
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
    static let allLists = UInt64(listsPerSlot - 1)

    /// So many neighbours in memory share a list. Where timers are few they share one; several would be short then, and
    /// it would be anybody's guess, the processor's too, whether the next one to be removed stands first or last.
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

    @inline(__always) func place(_ index: UInt32, _ entry: UnsafeMutablePointer<WheelEntry>, _ expiry: Int64) {
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

    /// The list whose head stands at `place` has its first timer. By itself, so that the way past it needs few
    /// registers.
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

    /// The oldest of a list has been removed, and it was the last of several. Timeouts of one length are mostly removed
    /// in the order in which they were added, from neighbour to neighbour in memory, and where they are many the next
    /// one is a cache miss: so the line is asked for some removals ahead. (With 10^6 a quarter less time; of few they
    /// are in the cache.)
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

    @inline(__always) func vacate(_ number: UInt) {
        let level = Wheel.level(of: number)
        let bits = occupied(Int(bitPattern: level))
        bits.pointee &= ~Wheel.digitBit(of: number)
        if bits.pointee == 0 { header.pointee.levels &= ~(1 &<< UInt64(level)) }
    }

    /// Makes an entry that is in this wheel due later than it is, at the cost of one store: whoever puts a timeout off
    /// with each message moves it in the wheel only when it would have passed.
    @inline(__always) func putOff(_ entry: UnsafeMutablePointer<WheelEntry>, to expiry: Int64) {
        entry.pointee.expiry.set(expiry)
    }
}
