// SPDX-License-Identifier: Apache-2.0
//
// bench-swift: Sources/BelayCore/Timer/Wheel.swift Sources/BelayCore/Timer/WheelEntry.swift
// bench-swift: Sources/BelayCore/Timer/WheelAdvance.swift Sources/BelayCore/Platform/Atomics.swift
//
// Belay's bare wheel, on cells of its own and in the time it is told. Compiled in Embedded Swift together with the
// core's own files that are named above; wheel.c calls it.

/// All that the wheel wants of the core's regions.
enum Region {
    static let cellBytes = 64
}

@_cdecl("bench_wheel_bytes") public func benchWheelBytes() -> Int { Wheel.byteCount }

/// A wheel in `storage`, whose entries stand in `cells`.
@inline(__always) private func wheel(_ storage: UnsafeMutableRawPointer, _ cells: UInt) -> Wheel {
    Wheel(storage: storage, space: WheelSpace(first: cells, second: cells))
}

/// Makes zeroed storage a wheel as timers of real time have it.
@_cdecl("bench_wheel_open")
public func benchWheelOpen(_ storage: UnsafeMutableRawPointer, _ cells: UInt) {
    wheel(storage, cells).header.pointee.listMask = Wheel.allLists
}

@_cdecl("bench_wheel_add")
public func benchWheelAdd(_ storage: UnsafeMutableRawPointer, _ cells: UInt, _ index: UInt32, _ expiry: Int64) {
    wheel(storage, cells).add(index, at: expiry)
}

@_cdecl("bench_wheel_remove")
public func benchWheelRemove(_ storage: UnsafeMutableRawPointer, _ cells: UInt, _ index: UInt32) {
    wheel(storage, cells).remove(index)
}

/// Takes out what is due, and looks at each of them as whoever fires it would. Answers how many.
@_cdecl("bench_wheel_advance")
public func benchWheelAdvance(_ storage: UnsafeMutableRawPointer, _ cells: UInt, _ instant: Int64) -> Int {
    let wheel = wheel(storage, cells)
    var fired = 0
    while true {
        let advance = wheel.advance(to: instant, most: 256)
        var index = advance.first
        while index != 0 {
            fired &+= 1
            index = wheel.space.entry(index).pointee.next.get()
        }
        if advance.isWhole { return fired }
    }
}
