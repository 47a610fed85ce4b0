// SPDX-License-Identifier: Apache-2.0
import Synchronization

extension Wheel {
    /// What is wrong with the wheel, nil if nothing is. Visits every timer; for tests, which call it after every step.
    func check() -> StaticString? {
        for level in 0..<Wheel.levels {
            let bits = occupied(level).pointee
            if (bits != 0) != (header.pointee.levels >> UInt64(level) & 1 == 1) { return "a level's bit is wrong" }
            for digit in 0..<Wheel.slotsPerLevel {
                let slot = slot(level * Wheel.slotsPerLevel + digit)
                if (slot.pointee.lists != 0) != (bits >> UInt64(digit) & 1 == 1) { return "a slot's bit is wrong" }
                for list in 0..<Wheel.listsPerSlot {
                    if (head(slot, list).pointee != 0) != (slot.pointee.lists >> UInt64(list) & 1 == 1) {
                        return "a list's bit is wrong"
                    }
                    if let fault = checkList(level, digit, list) { return fault }
                }
            }
        }
        return nil
    }

    private func checkList(_ level: Int, _ digit: Int, _ list: Int) -> StaticString? {
        let number = level * Wheel.slotsPerLevel + digit
        let shift = UInt64(level) * Wheel.digitBits
        let own = header.pointee.tick >> shift
        var previous: UInt32 = 0
        var index = head(slot(number), list).pointee
        while index != 0 {
            let entry = space.entry(index)
            let expiry = entry.pointee.expiry.get()
            let tick = max(Wheel.tick(of: expiry), header.pointee.tick)
            if self.list(index) != list { return "an entry is in another list than its own" }
            if entry.pointee.place.get() != UInt16(Wheel.place(number, list)) { return "an entry's place is wrong" }
            if entry.pointee.previous.get() != previous { return "a link back is wrong" }
            if tick >> shift & 63 != UInt64(digit) { return "an entry is in another slot than its digit's" }
            if (tick >> shift) >> Wheel.digitBits != own >> Wheel.digitBits { return "an entry is too low" }
            if level > 0 && tick >> shift == own { return "an entry is too high" }
            if expiry < slot(number).pointee.earliest || expiry > slot(number).pointee.latest {
                return "an entry is outside its slot's bounds"
            }
            previous = index
            index = entry.pointee.next.get()
        }
        return nil
    }
}
