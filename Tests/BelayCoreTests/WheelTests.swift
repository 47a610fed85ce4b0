// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import BelayCore

/// A wheel on memory of its own, in virtual time, beside the simplest thing that is right: an array of instants.
private final class Model {
    private let storage = UnsafeMutableRawPointer.allocate(byteCount: Wheel.byteCount, alignment: 64)
    private let cells: UnsafeMutableRawPointer
    private let capacity: Int
    let wheel: Wheel
    var pending: [UInt32: Int64] = [:]
    var free: [UInt32]
    var now: Int64 = 0

    init(capacity: Int, listMask: UInt64 = Wheel.allLists) {
        self.capacity = capacity
        storage.initializeMemory(as: UInt8.self, repeating: 0, count: Wheel.byteCount)
        let bytes = (capacity + 1) * Region.cellBytes
        cells = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
        cells.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        let base = UInt(bitPattern: cells)
        wheel = Wheel(storage: storage, space: WheelSpace(first: base, second: base))
        wheel.header.pointee.listMask = listMask
        free = (1...UInt32(capacity)).reversed()
    }

    deinit {
        storage.deallocate()
        cells.deallocate()
    }

    @discardableResult
    func add(at expiry: Int64) -> UInt32? {
        guard let index = free.popLast() else { return nil }
        wheel.add(index, at: expiry)
        pending[index] = expiry
        return index
    }

    func remove(_ index: UInt32) {
        wheel.remove(index)
        pending[index] = nil
        free.append(index)
    }

    /// Advances both, and answers how many calls it took.
    @discardableResult
    func advance(to instant: Int64, most: Int = .max) -> Int {
        now = instant
        var calls = 0
        var fired: Set<UInt32> = []
        while true {
            calls += 1
            let (first, count) = wheel.advance(to: instant, most: most)
            var seen = 0
            var index = first
            while index != 0 {
                expect(fired.insert(index).inserted)
                seen += 1
                index = wheel.space.entry(index).pointee.next.get()
            }
            expect(seen == count)
            if count < most { break }
        }
        let due = Set(pending.filter { $0.value <= instant }.keys)
        expect(fired == due)
        for index in fired {
            pending[index] = nil
            free.append(index)
        }
        return calls
    }

    func check() {
        let fault = wheel.check()
        expect(fault == nil, "\(fault.map { "\($0)" } ?? "")")
        guard let earliest = pending.values.min() else {
            expect(wheel.wake == .max)
            return
        }
        // Never too late: at most to the end of the earliest timer's tick.
        expect(wheel.wake <= max(earliest, now) | ((1 << Wheel.tickShift) - 1))
    }
}

/// xorshift64*: the same sequence for the same seed, everywhere.
struct Random: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed &* 2 + 1 }

    mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_F491_4F6C_DD1D
    }
}

@Suite struct WheelTests {
    @Test func anEntryIsSmall() {
        #expect(MemoryLayout<WheelEntry>.size == 20)
        let last = Wheel.place(Wheel.levels * Wheel.slotsPerLevel - 1, Wheel.listsPerSlot - 1)
        #expect(last < Wheel.byteCount / 4 && last <= Int(UInt16.max))
    }

    @Test(arguments: 0..<24)
    func agreesWithAList(seed: UInt64) {
        var random = Random(seed: seed)
        // One in four with one list a slot, as for virtual clocks.
        let model = Model(capacity: 200, listMask: seed % 4 == 3 ? 0 : Wheel.allLists)
        // How far instants lie apart: from within a tick to the whole range.
        let spread = Int64(1) << Int64.random(in: 4...62, using: &random)
        for _ in 0..<1500 {
            switch UInt8.random(in: 0..<10, using: &random) {
            case 0..<5:
                let far = Int64.random(in: 0...spread, using: &random)
                let expiry =
                    Bool.random(using: &random)
                    ? model.now.addingReportingOverflow(far).partialValue
                    : Int64(bitPattern: random.next())
                model.add(at: expiry)
            case 5..<7:
                if let index = model.pending.keys.min() { model.remove(index) }
            case 7:
                let (next, overflow) = model.now.addingReportingOverflow(Int64.random(in: 0...spread, using: &random))
                model.advance(to: overflow ? .max - 1 : next, most: Int.random(in: 1...20, using: &random))
            case 8:
                // What the driver does: sleep until the wheel says so.
                let wake = model.wheel.wake
                if wake != .max { model.advance(to: max(wake, model.now)) }
            default:
                model.advance(to: model.now)
            }
            model.check()
        }
    }

    @Test func timersThatShareATickFireInOnePass() {
        let model = Model(capacity: 10_000)
        let tick: Int64 = 1 << Wheel.tickShift
        for i in 0..<10_000 { model.add(at: 1_000_000 * tick + Int64(i) % tick) }
        var passes = 0
        while !model.pending.isEmpty {
            passes += 1
            model.advance(to: model.wheel.wake)
        }
        #expect(passes == 1)
    }

    @Test func timersFarApartTakeAWakeUpEach() {
        let model = Model(capacity: 1000)
        var random = Random(seed: 7)
        for i in 0..<1000 {
            model.add(at: Int64(i) * 3_600_000_000_000 + Int64.random(in: 0..<1_000_000, using: &random))
        }
        var passes = 0
        while !model.pending.isEmpty {
            passes += 1
            model.advance(to: model.wheel.wake)
            model.check()
        }
        #expect(passes <= 1000)
    }

    @Test func aLoneTimerIsWaitedForToTheNanosecond() {
        let model = Model(capacity: 1)
        for expiry in [0, 1, 32_767, 32_768, 123_456_789_012_345, Int64.max - 1] as [Int64] where expiry >= model.now {
            model.add(at: expiry)
            #expect(model.wheel.wake == expiry)
            model.advance(to: expiry)
            #expect(model.pending.isEmpty)
        }
    }

    @Test func removingAllLeavesNothing() {
        let model = Model(capacity: 500)
        var random = Random(seed: 3)
        for _ in 0..<500 { model.add(at: Int64.random(in: 0...Int64.max, using: &random)) }
        for index in Array(model.pending.keys) {
            model.remove(index)
            model.check()
        }
        #expect(model.wheel.wake == .max)
    }
}
