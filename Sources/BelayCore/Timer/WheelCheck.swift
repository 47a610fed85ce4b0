// SPDX-License-Identifier: Apache-2.0
import Synchronization

extension Wheel {
    /// What is wrong with the wheel, nil if nothing is. Visits every timer; for tests, which call it after every step,
    /// and know which entries may have been put off.
    func check(isPutOff: (UInt32) -> Bool = { _ in false }) -> StaticString? {
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
                    if let fault = checkList(level, digit, list, isPutOff) { return fault }
                }
            }
        }
        return nil
    }

    private func checkList(_ level: Int, _ digit: Int, _ list: Int, _ isPutOff: (UInt32) -> Bool) -> StaticString? {
        let number = level * Wheel.slotsPerLevel + digit
        let shift = UInt64(level) * Wheel.digitBits
        let own = header.pointee.tick >> shift
        // The slot itself, in slots of its level from instant 0 on.
        let place = own & ~63 | UInt64(digit)
        let isUnfinished = number == header.pointee.unfinished
        if head(slot(number), list).pointee != 0 {
            if place < own { return "a slot is behind the wheel" }
            if level > 0 && place == own && !isUnfinished { return "a slot should have been cascaded" }
        }
        var previous: UInt32 = 0
        var index = head(slot(number), list).pointee
        while index != 0 {
            let entry = space.entry(index)
            let expiry = entry.pointee.expiry.get()
            let tick = max(Wheel.tick(of: expiry), header.pointee.tick)
            if self.list(index) != list { return "an entry is in another list than its own" }
            if entry.pointee.place.get() != UInt16(Wheel.place(number, list)) { return "an entry's place is wrong" }
            if entry.pointee.previous.get() != previous { return "a link back is wrong" }
            if tick >> shift < place { return "an entry is due before its slot" }
            if expiry < slot(number).pointee.earliest { return "an entry is before its slot's earliest" }
            // What is due after its slot has been put off.
            if tick >> shift > place && !isPutOff(index) { return "an entry is in another slot than its digit's" }
            previous = index
            index = entry.pointee.next.get()
        }
        return nil
    }
}
