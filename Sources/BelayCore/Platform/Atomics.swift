// SPDX-License-Identifier: Apache-2.0
import Synchronization

// Every word of every cell is read and written through `Atomic`, because a thread with a stale handle may look at a
// cell that has become something else. `get` and `set` are the plain moves, for words whose order is given by something
// else: a lock, or the state word that publishes them. Whatever is ordered by itself says so with `load`/`store`.

extension Atomic where Value == UInt16 {
    @inline(__always) borrowing func get() -> UInt16 { load(ordering: .relaxed) }
    @inline(__always) borrowing func set(_ value: UInt16) { store(value, ordering: .relaxed) }
}

extension Atomic where Value == UInt32 {
    @inline(__always) borrowing func get() -> UInt32 { load(ordering: .relaxed) }
    @inline(__always) borrowing func set(_ value: UInt32) { store(value, ordering: .relaxed) }
}

extension Atomic where Value == UInt64 {
    @inline(__always) borrowing func get() -> UInt64 { load(ordering: .relaxed) }
    @inline(__always) borrowing func set(_ value: UInt64) { store(value, ordering: .relaxed) }

    /// One attempt to go from `old` to `new`; acquire and release.
    @inline(__always) borrowing func change(_ old: UInt64, _ new: UInt64) -> Bool {
        compareExchange(expected: old, desired: new, ordering: .acquiringAndReleasing).exchanged
    }
}

extension Atomic where Value == Int64 {
    @inline(__always) borrowing func get() -> Int64 { load(ordering: .relaxed) }
    @inline(__always) borrowing func set(_ value: Int64) { store(value, ordering: .relaxed) }
}

extension Atomic where Value == UInt {
    @inline(__always) borrowing func get() -> UInt { load(ordering: .relaxed) }
    @inline(__always) borrowing func set(_ value: UInt) { store(value, ordering: .relaxed) }
}

extension Atomic {
    /// Where the value is, for a futex. All our atomics live in cells or static storage, so it stays there.
    var address: UnsafeMutableRawPointer {
        @inline(__always) borrowing get {
            withUnsafePointer(to: self) { UnsafeMutableRawPointer(mutating: UnsafeRawPointer($0)) }
        }
    }
}
