// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// Cells of the record family, for whoever already has its thread.
extension UnsafeMutablePointer where Pointee == Thread {
    /// A fresh record cell, as zeroes; 0 when there is no memory.
    func takeRecord() -> UInt32 {
        let index = pointee.records.take(Region.records.pointee)
        if index != 0 { RecordWords.clear(index) }
        return index
    }

    func giveRecord(_ index: UInt32) { pointee.records.give(index, Region.records.pointee) }
}

/// A record cell goes back; 0 is none.
func freeRecord(_ index: UInt32) {
    if index == 0 { return }
    if let thread = Thread.current {
        thread.giveRecord(index)
    } else {
        Region.records.pointee.giveChain(Chain(head: index, count: 1))
    }
}

/// A record cell as eight plain words.
enum RecordWords {
    static let count = 8

    @inline(__always) static func word(_ index: UInt32, _ position: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        Region.records.pointee.cell(index, as: Atomic<UInt64>.self) + position
    }

    @inline(__always) static func clear(_ index: UInt32) {
        for position in 0..<count { word(index, position).pointee.set(0) }
    }
}
