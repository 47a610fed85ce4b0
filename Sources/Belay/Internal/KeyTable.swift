// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// A hash table from types to records: open-addressed, entries are added and never removed. Any number of readers, one
/// writer at a time; it is the writer who keeps it no more than half full, so that a search ends.
struct KeyTable {
    private typealias Slot = Atomic<UnsafePointer<KeyRecord>?>

    let capacity: Int
    private let slots: UnsafeMutablePointer<Slot>

    /// An empty table, never freed.
    /// - Parameter capacity: A power of two.
    init(capacity: Int) {
        self.capacity = capacity
        slots = .allocate(capacity: capacity)
        for index in 0..<capacity { (slots + index).initialize(to: Slot(nil)) }
    }

    /// The record of `type`. Without a lock it may miss one that is being entered.
    func find(_ type: ObjectIdentifier) -> UnsafePointer<KeyRecord>? {
        var index = home(of: type)
        while let record = slots[index].load(ordering: .acquiring) {  // pairs with insert
            if record.pointee.type == type { return record }
            index = (index + 1) & (capacity - 1)
        }
        return nil
    }

    /// Enters a record that is not there yet.
    func insert(_ record: UnsafePointer<KeyRecord>) {
        var index = home(of: record.pointee.type)
        while slots[index].load(ordering: .relaxed) != nil { index = (index + 1) & (capacity - 1) }
        slots[index].store(record, ordering: .releasing)  // pairs with find
    }

    /// A table of twice the size with the same records.
    func doubled() -> KeyTable {
        let larger = KeyTable(capacity: capacity * 2)
        for index in 0..<capacity {
            if let record = slots[index].load(ordering: .relaxed) { larger.insert(record) }
        }
        return larger
    }

    /// Fibonacci hashing: metadata addresses are aligned, so what varies is in the middle bits.
    private func home(of type: ObjectIdentifier) -> Int {
        let hash = UInt64(UInt(bitPattern: type)) &* 0x9E37_79B9_7F4A_7C15
        return Int(truncatingIfNeeded: hash >> 32) & (capacity - 1)
    }
}
