// SPDX-License-Identifier: Apache-2.0

/// What a handle names. The kind stands in the handle and in the cell's state word, at the same place, so that one
/// comparison checks generation and kind together.
enum Kind {
    /// A free cell, or a context that is closed and lives on for its children. No handle has this kind.
    static let none: UInt64 = 0
    /// A context that can be cancelled, with or without a deadline.
    static let scope: UInt64 = 1
    /// A context that carries a value; it ends with its scope.
    static let value: UInt64 = 2
    /// A context that never ends but keeps its parent's values.
    static let detached: UInt64 = 3
    /// Background and todo.
    static let root: UInt64 = 4
    /// A leaf that is only asked, waited for, cancelled and closed.
    static let lite: UInt64 = 5
    /// A callback.
    static let registration: UInt64 = 8
    /// A timer.
    static let timer: UInt64 = 9
    /// A group of tasks, and one of its tasks.
    static let group: UInt64 = 10
    static let work: UInt64 = 11
    /// A pool of request data.
    static let pool: UInt64 = 12
    /// A runtime.
    static let runtime: UInt64 = 13
    // 15 is none, and stays so: Swift's contexts that could not be made have it
    // (Sources/Belay/Internal/Derivation.swift).
}

/// 64 bits: generation (32), kind (4), index (28). The state word of a cell has generation and kind at the same place.
///
/// A generation is never used twice: a cell whose generations are used up is retired (64 bytes lost for every
/// 2^32 uses of one cell). So a handle that matches is the handle of this very thing, however old it is.
struct Handle {
    let bits: UInt64

    static let indexBits: UInt64 = 28
    static let indexMask: UInt64 = (1 << indexBits) - 1
    static let kindShift: UInt64 = indexBits
    static let kindMask: UInt64 = 15 << kindShift
    static let generationShift: UInt64 = 32
    static let generationMask: UInt64 = ~0 << generationShift

    @inline(__always) init(bits: UInt64) { self.bits = bits }

    @inline(__always) init(generation: UInt64, kind: UInt64, index: UInt32) {
        bits = generation << Handle.generationShift | kind << Handle.kindShift | UInt64(index)
    }

    @inline(__always) var index: UInt32 { UInt32(truncatingIfNeeded: bits & Handle.indexMask) }
    /// The same without the way over 32 bits, for look-ups.
    @inline(__always) var wideIndex: UInt64 { bits & Handle.indexMask }
    /// The index, if this is a handle of that kind; else a number beyond all indices. So whoever wants one kind only
    /// compares with the region's limit, and knows both.
    @inline(__always) func index(of kind: UInt64) -> UInt64 {
        UInt64(UInt32(truncatingIfNeeded: bits) &- UInt32(truncatingIfNeeded: kind << Handle.kindShift))
    }
    @inline(__always) var kind: UInt64 { bits >> Handle.kindShift & 15 }
    @inline(__always) var generation: UInt64 { bits >> Handle.generationShift }

    /// Whether a cell's state word is that of the thing this handle names.
    @inline(__always) func matches(_ state: UInt64) -> Bool { (state ^ bits) >> Handle.kindShift == 0 }
}
