// SPDX-License-Identifier: Apache-2.0
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
