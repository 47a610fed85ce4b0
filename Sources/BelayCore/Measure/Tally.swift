// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform

/// A table from keys, which are not 0, to numbers, for the time of one report: mapped when it is made, given back with
/// `free`. It remembers the order in which keys came. Full at half of its slots: then new keys are left out.
struct Tally: ~Copyable {
    struct Entry {
        var key: UInt64
        var value: UInt64
        /// The number of the entry's key in the order of their coming, from 0.
        var order: UInt64
    }

    private let entries: UnsafeMutablePointer<Entry>
    private let order: UnsafeMutablePointer<UInt32>
    private let slots: Int
    private(set) var count = 0

    /// `slots` is a power of two. Nil when there is no memory.
    init?(slots: Int) {
        guard let memory = belaycore_map(Tally.bytes(slots)) else { return nil }
        entries = memory.assumingMemoryBound(to: Entry.self)
        order = (memory + slots * MemoryLayout<Entry>.stride).assumingMemoryBound(to: UInt32.self)
        self.slots = slots
    }

    private static func bytes(_ slots: Int) -> Int { slots * (MemoryLayout<Entry>.stride + 4) }

    func free() { belaycore_unmap(entries, Tally.bytes(slots)) }

    /// The entry of a key, added with the value 0 if need be; nil if there is no room.
    @inline(never) mutating func entry(_ key: UInt64) -> UnsafeMutablePointer<Entry>? {
        var place = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 32) & (slots - 1)
        while entries[place].key != 0 {
            if entries[place].key == key { return entries + place }
            place = (place + 1) & (slots - 1)
        }
        if count >= slots / 2 { return nil }
        entries[place] = Entry(key: key, value: 0, order: UInt64(count))
        order[count] = UInt32(place)
        count += 1
        return entries + place
    }

    mutating func add(_ value: UInt64, to key: UInt64) {
        if let entry = entry(key) { entry.pointee.value &+= value }
    }

    /// The entry of the key that came `number`th, from 0.
    subscript(_ number: Int) -> Entry { entries[Int(order[number])] }

    /// The key with the greatest value; nil if there is none.
    func greatest() -> Entry? {
        var best: Entry?
        for number in 0..<count where best == nil || self[number].value > best.unsafelyUnwrapped.value {
            best = self[number]
        }
        return best
    }

    func sum() -> UInt64 {
        var sum: UInt64 = 0
        for number in 0..<count { sum &+= self[number].value }
        return sum
    }
}
