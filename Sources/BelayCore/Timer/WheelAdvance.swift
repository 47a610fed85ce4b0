// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform

/// A wheel as time goes on: until when nothing is to be done, and what has become due by then.
extension Wheel {
    /// So many timers of a slot can be looked at to know when to wake.
    private static let few = 8

    /// The first occupied slot in order of time.
    @inline(__always) private var first: (level: Int, digit: Int)? {
        let levels = header.pointee.levels
        if levels == 0 { return nil }
        let level = levels.trailingZeroBitCount
        return (level, occupied(level).pointee.trailingZeroBitCount)
    }

    /// When the next `advance` should be: never before a timer is due unless one was removed or put off, and at the
    /// latest a tick after it. Timers that share a tick are waited for together, so that one pass fires them all; a few
    /// are waited for to the nanosecond. `Int64.max` when there is none, `Int64.min` when a cascade is unfinished.
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

    /// Never later than the first timer, and earlier only if one was removed or put off; `Int64.max` when there is
    /// none.
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

    /// Moves on to `instant` and takes out what is due by then. It handles about `most` timers, takes no more than
    /// that, and is to be called again, with an instant that is not earlier, until the answer is whole.
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
            // All that stands there is due later than the slot's first tick, or just then: with the wheel moved on to
            // that tick it goes lower. On level 0, all of it is due, but for the last slot's.
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

    /// Takes what is due out of a slot of level 0, as long as there is something `left`. If that is everything, the
    /// earliest of what stays is known.
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

    /// Takes what is due out of a slot of another level, to whose beginning time has come, and places the rest anew:
    /// lower, or wherever it has been put off to, but not there again. As long as there is something `left`.
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

    /// Visits the timers of a slot's `lists` in turns, one of each, until `body` answers false. What it is called with
    /// has been left behind by then: it may be removed, or placed elsewhere. Answers which lists have timers that were
    /// not visited. If `taking`, those are all that is left on the lists, and `body` has the others.
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
