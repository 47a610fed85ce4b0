// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Glibc
import Synchronization
import Testing

@testable import BelayCore

/// The quick clock, on machines that are made up: what it says is never behind the clock, less than a microsecond ahead
/// of it, and never goes back.
@Suite struct QuickClockTests {
    /// Time goes by as it is told to; clock and stamps go by it, each at a pace of its own.
    private final class Machine {
        var random: Seeded
        let pace: UnsafeMutablePointer<Pace>
        let clocks: UnsafeMutablePointer<QuickClock>
        /// What the clock says, as the kernel adjusts it, and the stamps.
        private(set) var clock = 5_000_000_000.0
        private(set) var stamps = 77_000_000_000.0
        let stampsPerNanosecond: Double
        var adjustment = 0.0
        private(set) var said: [Int64]
        private(set) var quick = 0

        init(threads: Int, stampsPerNanosecond: Double, seed: UInt64) {
            random = Seeded(state: seed)
            self.stampsPerNanosecond = stampsPerNanosecond
            pace = .allocate(capacity: 1)
            UnsafeMutableRawPointer(pace).initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<Pace>.size)
            clocks = .allocate(capacity: threads)
            for i in 0..<threads { (clocks + i).initialize(to: QuickClock()) }
            said = Array(repeating: 0, count: threads)
        }

        deinit {
            clocks.deallocate()
            pace.deallocate()
        }

        var hasGivenUp: Bool { pace.pointee.isUseless }
        var now: Int64 { Int64(clock) }
        var stamp: UInt64 { UInt64(stamps) }

        func pass(_ nanoseconds: Double) {
            clock += nanoseconds * (1 + adjustment)
            stamps += nanoseconds * stampsPerNanosecond
        }

        func jump(stamps by: Double) { stamps += by }

        /// What a thread is told, which takes a look if it must: that takes some time, before and after the clock is read.
        func ask(_ thread: Int, lookTakes: ClosedRange<Double> = 15...60) -> (answer: Int64, clock: Int64) {
            let asked = now
            if let answer = clocks[thread].now(at: stamp) {
                quick += 1
                return (answer, asked)
            }
            let before = stamp
            pass(Double.random(in: lookTakes, using: &random))
            let read = now
            pass(Double.random(in: lookTakes, using: &random))
            return (
                clocks[thread].go(by: Look(stamp: before, instant: read, took: stamp &- before), pace.pointee), read
            )
        }

        func expectRight(_ thread: Int, lookTakes: ClosedRange<Double> = 15...60) {
            let (answer, clock) = ask(thread, lookTakes: lookTakes)
            expect(answer >= clock, "\(clock - answer) ns behind")
            expect(answer < clock + 1_000, "\(answer - clock) ns ahead")
            expect(answer >= said[thread], "\(said[thread] - answer) ns back")
            said[thread] = answer
        }

        /// All threads ask for some 30 milliseconds.
        func askOften(right: Bool, atMost: Int64 = 0) {
            for _ in 0..<20_000 {
                pass(Double.random(in: 100...3_000, using: &random))
                for thread in said.indices {
                    if right { expectRight(thread) } else { said[thread] = expectNear(thread, atMost) }
                }
            }
        }

        private func expectNear(_ thread: Int, _ most: Int64) -> Int64 {
            let (answer, clock) = ask(thread)
            expect(abs(answer - clock) <= most, "\(answer - clock) ns off")
            return answer
        }

        func awaitPace() {
            for _ in 0..<50 {
                expectRight(0)
                pass(1_000_000)
            }
            #expect(!hasGivenUp)
        }
    }

    /// Whether this processor has stamps to go by: on another one there is nothing to be shown.
    private var evenStamps: Bool { belaycore_stamps_evenly() != 0 }

    private struct Seeded: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
            return z ^ z >> 31
        }
    }

    @Test(arguments: [0.6, 1.0, 2.4, 3.1, 5.7], [1, 4])
    func isNeverBehindAndNeverFarAhead(frequency: Double, threads: Int) {
        guard evenStamps else { return }
        for seed in 1...UInt64(scaled(3)) {
            let machine = Machine(threads: threads, stampsPerNanosecond: frequency, seed: seed)
            machine.awaitPace()
            for turn in 0..<100_000 {
                // The clock is made to go quicker or slower, as the daemon of the network's time may.
                if turn % 1_000 == 0 {
                    machine.adjustment = Double.random(in: -0.0005...0.0005, using: &machine.random)
                }
                // Times between calls of all sizes; a look is interrupted now and then.
                machine.pass(pow(10, Double.random(in: 1...5.5, using: &machine.random)))
                let isInterrupted = Int.random(in: 0..<50, using: &machine.random) == 0
                machine.expectRight(
                    Int.random(in: 0..<threads, using: &machine.random),
                    lookTakes: isInterrupted ? 15...90_000 : 15...60)
            }
            #expect(!machine.hasGivenUp)
            #expect(machine.quick > 10_000)
        }
    }

    /// The adjustment that is worst for it all the time: so that what it is ahead by adds up, or is used up.
    @Test(arguments: [-0.0005, 0.0005]) func isRightHoweverLongItIsAskedWithoutPause(adjustment: Double) {
        guard evenStamps else { return }
        let machine = Machine(threads: 1, stampsPerNanosecond: 2.1, seed: 1)
        machine.awaitPace()
        machine.adjustment = adjustment
        for _ in 0..<scaled(300_000) {
            machine.pass(Double.random(in: 10...500, using: &machine.random))
            machine.expectRight(0)
        }
        #expect(!machine.hasGivenUp)
    }

    /// Stamps of another processor, or of another machine that this one was moved to, or after a sleep.
    @Test(arguments: [-3e9, -40_000, -9_000, 9_000, 40_000, 150_000, 3e7, 1e13]) func aJumpDoesLittle(
        nanoseconds: Double
    ) {
        guard evenStamps else { return }
        let machine = Machine(threads: 2, stampsPerNanosecond: 2, seed: 3)
        machine.awaitPace()
        for _ in 0..<3 {
            machine.askOften(right: true)
            machine.jump(stamps: nanoseconds * machine.stampsPerNanosecond)
            // Off by no more than a look is gone by; then the pace is known anew.
            machine.askOften(right: false, atMost: 101_000)
            machine.askOften(right: true)
        }
        #expect(!machine.hasGivenUp)
        #expect(machine.quick > 10_000)
    }

    /// A thread that goes from processor to processor, whose stamps are not alike.
    @Test func stampsThatAreNotEvenAreGivenUp() {
        guard evenStamps else { return }
        let machine = Machine(threads: 1, stampsPerNanosecond: 2, seed: 4)
        machine.awaitPace()
        for turn in 0..<40 {
            machine.jump(stamps: turn % 2 == 0 ? 18_000 : -18_000)
            machine.askOften(right: false, atMost: 101_000)
        }
        #expect(machine.hasGivenUp)
        machine.askOften(right: true)
    }

    /// A clock that somebody corrects by making it go faster or slower, more than they should.
    @Test(arguments: [0.08, 0.01, -0.01, -0.08]) func aClockThatIsMadeToHurryIsNoticed(adjustment: Double) {
        guard evenStamps else { return }
        let machine = Machine(threads: 2, stampsPerNanosecond: 3, seed: 5)
        machine.awaitPace()
        for turn in 0..<4 {
            machine.adjustment = turn % 2 == 0 ? adjustment : 0
            machine.askOften(right: false, atMost: 9_000)
            machine.askOften(right: true)
        }
        #expect(!machine.hasGivenUp)
        #expect(machine.quick > 10_000)
    }

    @Test func whatIsForgottenIsNotGoneBy() {
        guard evenStamps else { return }
        let machine = Machine(threads: 1, stampsPerNanosecond: 3, seed: 6)
        machine.awaitPace()
        machine.askOften(right: true)
        machine.clocks[0].forget()
        #expect(machine.clocks[0].now(at: machine.stamp) == nil)
        machine.askOften(right: true)
    }

    /// A kernel that does not make the time from the stamps takes longer; then each call is one look, and no two stamps.
    @Test func looksThatAreSlowAreGivenUp() {
        let machine = Machine(threads: 1, stampsPerNanosecond: 2, seed: 5)
        for _ in 0..<200 {
            machine.expectRight(0, lookTakes: 400...900)
            machine.pass(1_000)
        }
        #expect(machine.hasGivenUp)
        #expect(machine.quick == 0)
    }

    /// Looks that are far apart are slow because the caches are cold: no reason to give up.
    @Test func looksThatAreSlowAndRareAreNot() {
        guard evenStamps else { return }
        let machine = Machine(threads: 1, stampsPerNanosecond: 2, seed: 7)
        for _ in 0..<500 {
            machine.expectRight(0, lookTakes: 400...900)
            machine.pass(1_000_000)
        }
        #expect(!machine.hasGivenUp)
        machine.awaitPace()
        machine.askOften(right: true)
        #expect(machine.quick > 10_000)
    }

    /// Time stamps as this processor has them, beside its clock.
    @Test(arguments: [1, 2, 4]) func isRightOnThisMachine(threads: Int) {
        onThreads(threads) { _ in
            _ = BelayCore.Thread.current
            awaitPace()
            var last = Int64.min
            for _ in 0..<scaled(300_000) {
                let before = Clock.now
                let start = Clock.start(of: 1)
                let after = Clock.now
                expect(start >= before, "\(before - start) ns behind")
                expect(start < after + 1_000, "\(start - after) ns ahead")
                expect(start >= last, "\(last - start) ns back")
                last = start
            }
        }
    }

    /// A handler that asks, in the middle of a look of its own thread's: neither may find what the other has half written.
    @Test func aSignalHandlerMayAskMeanwhile() {
        let before = signal(SIGUSR2) { _ in
            let before = Clock.now
            let start = Clock.start(of: 1)
            if start < before || start > Clock.now + 1_000 { Handler.wrong.add(1, ordering: .relaxed) }
            Handler.asked.add(1, ordering: .relaxed)
        }
        onThreads(2) { number in
            if number == 1 {
                // While the other thread is there: it goes when it has been told to for the last time.
                while Handler.target.load(ordering: .acquiring) == 0 { sched_yield() }
                while Handler.asked.load(ordering: .relaxed) < scaled(30_000) {
                    let asked = Handler.asked.load(ordering: .relaxed)
                    pthread_kill(pthread_t(Handler.target.load(ordering: .relaxed)), SIGUSR2)
                    while Handler.asked.load(ordering: .relaxed) == asked { sched_yield() }
                }
                return Handler.target.store(0, ordering: .releasing)
            }
            guard let clock = BelayCore.Thread.current else { return }
            awaitPace()
            // The thread that tests run on may have it blocked, and so this one.
            var signals = sigset_t()
            sigemptyset(&signals)
            sigaddset(&signals, SIGUSR2)
            pthread_sigmask(SIG_UNBLOCK, &signals, nil)
            Handler.target.store(UInt(pthread_self()), ordering: .releasing)
            while Handler.target.load(ordering: .acquiring) != 0 {
                let before = Clock.now
                let start = clock.pointee.clock.look()
                expect(start >= before, "\(before - start) ns behind")
                // What it leaves behind is what the next call goes by.
                if let next = clock.pointee.clock.now() { expect(next >= before && next < Clock.now + 1_000) }
            }
        }
        signal(SIGUSR2, before)
        // With a checking tool in between, looks may be too slow for it by themselves.
        let quickest = (0..<100).map { _ in Look.take().took }.min() ?? 0
        #expect(!Globals.pointer.pointee.pace.isUseless || !evenStamps || quickest > 400)
        #expect(Handler.wrong.load(ordering: .relaxed) == 0)
    }

    /// Looks until the process knows the pace, if it is one that is gone by.
    private func awaitPace() {
        let end = Clock.now + 100_000_000
        while Clock.now < end && !Globals.pointer.pointee.pace.isKnown { _ = Clock.start(of: 1) }
    }

    private enum Handler {
        static let wrong = Atomic(0)
        static let asked = Atomic(0)
        static let target = Atomic<UInt>(0)
    }
}
