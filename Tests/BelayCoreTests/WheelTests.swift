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
    var wasPutOff: Set<UInt32> = []
    /// What the advance that is under way has taken out already.
    private var fired: Set<UInt32> = []
    private var free: [UInt32]
    var now: Int64 = 0

    init(capacity: Int, listMask: UInt64 = Wheel.allLists) {
        self.capacity = capacity
        storage.initializeMemory(as: UInt8.self, repeating: 0, count: Wheel.byteCount)
        // So far apart that all lists have some.
        let apart = max(1, Int(Wheel.neighbours) * Wheel.listsPerSlot / capacity)
        let bytes = (capacity * apart + 1) * Region.cellBytes
        cells = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
        cells.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        let base = UInt(bitPattern: cells)
        wheel = Wheel(storage: storage, space: WheelSpace(first: base, second: base))
        wheel.header.pointee.listMask = listMask
        free = (1...UInt32(capacity)).reversed().map { $0 * UInt32(apart) }
    }

    deinit {
        storage.deallocate()
        cells.deallocate()
    }

    /// Some entry that is in the wheel.
    var someone: UInt32? { pending.keys.filter { !fired.contains($0) }.min() }

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
        wasPutOff.remove(index)
        free.append(index)
    }

    func putOff(_ index: UInt32, to expiry: Int64) {
        wheel.putOff(wheel.space.entry(index), to: expiry)
        pending[index] = expiry
        wasPutOff.insert(index)
    }

    /// Advances both, and answers how many calls it took. Between calls others have the wheel: `meanwhile`.
    @discardableResult
    func advance(to instant: Int64, most: Int = .max, meanwhile: () -> Void = {}) -> Int {
        now = instant
        var calls = 0
        fired = []
        while true {
            calls += 1
            let advance = wheel.advance(to: instant, most: most)
            var seen = 0
            var index = advance.first
            while index != 0 {
                expect(fired.insert(index).inserted)
                seen += 1
                index = wheel.space.entry(index).pointee.next.get()
            }
            expect(seen == advance.count && seen <= most)
            if advance.isWhole { break }
            meanwhile()
        }
        let due = Set(pending.filter { $0.value <= instant }.keys)
        expect(fired == due)
        for index in fired {
            pending[index] = nil
            wasPutOff.remove(index)
            free.append(index)
        }
        fired = []
        return calls
    }

    func check() {
        let fault = wheel.check(isPutOff: wasPutOff.contains)
        expect(fault == nil, "\(fault.map { "\($0)" } ?? "")")
        guard let earliest = pending.filter({ !fired.contains($0.key) }).values.min() else {
            expect(wheel.wake == .max || wheel.header.pointee.unfinished != 0)
            return
        }
        expect(wheel.earliest <= earliest)
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
        func change() {
            let far = Int64.random(in: 0...spread, using: &random)
            switch UInt8.random(in: 0..<9, using: &random) {
            case 0..<5:
                let expiry =
                    Bool.random(using: &random)
                    ? model.now.addingReportingOverflow(far).partialValue
                    : Int64(bitPattern: random.next())
                model.add(at: expiry)
            case 5..<7:
                if let index = model.someone { model.remove(index) }
            default:
                guard let index = model.someone, let expiry = model.pending[index] else { return }
                let (later, overflow) = expiry.addingReportingOverflow(far)
                model.putOff(index, to: overflow ? .max : later)
            }
        }
        /// Not after each of these, of which there may be many: a check looks at every list there is.
        func changeMeanwhile() {
            change()
            if UInt8.random(in: 0..<8, using: &random) == 0 { model.check() }
        }
        for _ in 0..<1500 {
            switch UInt8.random(in: 0..<12, using: &random) {
            case 0..<9:
                change()
            case 9:
                let (next, overflow) = model.now.addingReportingOverflow(Int64.random(in: 0...spread, using: &random))
                let most = Int.random(in: 1...20, using: &random)
                model.advance(to: overflow ? .max - 1 : next, most: most, meanwhile: changeMeanwhile)
            case 10:
                // What the driver does: sleep until the wheel says so.
                let wake = model.wheel.wake
                if wake != .max { model.advance(to: max(wake, model.now)) }
            default:
                model.advance(to: model.now)
            }
            model.check()
        }
    }

    /// Whoever wants the lock around a wheel does not wait until a slot of many has been cascaded.
    @Test func aCascadeIsDoneInParts() {
        let model = Model(capacity: 10_000)
        // One slot of level 2, the second half of which is not due when the first is.
        let tick: Int64 = 1 << Wheel.tickShift
        for i in 0..<10_000 { model.add(at: (64 * 64 + Int64(i) * 4096 / 10_000) * tick) }
        let calls = model.advance(to: (64 * 64 + 2048) * tick, most: 100)
        #expect(calls >= 100)
        #expect(model.pending.count <= 5000)
        model.check()
    }

    /// A timer that is put off each time is moved once for the whole time, and is never early.
    @Test func whatIsPutOffFiresWhenItIsDue() {
        let model = Model(capacity: 1)
        let index = model.add(at: 1_000_000_000)!
        for i in 1...1000 {
            model.advance(to: Int64(i) * 900_000)
            model.putOff(index, to: 1_000_000_000 + Int64(i) * 900_000)
        }
        var passes = 0
        while !model.pending.isEmpty {
            passes += 1
            model.advance(to: model.wheel.wake)
            model.check()
        }
        #expect(model.now == 1_900_000_000)
        #expect(passes <= 3)
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

    @Test(arguments: [0, 5, 40]) func theFewOfATickAreWaitedForToTheLast(level: Int64) {
        let tick: Int64 = 1 << Wheel.tickShift
        let start = tick << (Int64(Wheel.digitBits) * level / 8)
        let model = Model(capacity: 1001)
        for i in 0..<1000 as Range<Int64> {
            model.add(at: start + 10 * i)
            if i < 8 { #expect(model.wheel.wake == start + 10 * i) }
            if i > 8 { #expect(model.wheel.wake == start + tick - 1) }
        }
        model.add(at: start + 2 * tick)
        #expect(model.wheel.wake == start + tick - 1)
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
