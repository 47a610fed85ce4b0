// SPDX-License-Identifier: Apache-2.0
import CBelay
import Glibc
import Synchronization
import Testing

@testable import Belay

extension BelayTests {
    @Suite("virtual clocks")
    struct VirtualClocks {
        @Test func timeStandsStill() {
            let clock = VirtualClock()
            #expect(clock.now == VirtualClock.Instant())
            clock.background.withTimeout(.seconds(30)) { ctx in
                #expect(ctx.remaining == .seconds(30))
                #expect(clock.deadline(of: ctx) == VirtualClock.Instant(offset: .seconds(30)))
                clock.advance(by: .seconds(30) - .nanoseconds(1))
                #expect(!ctx.isDone)
                #expect(ctx.remaining == .nanoseconds(1))
                clock.advance(by: .nanoseconds(1))
                #expect(ctx.error?.isDeadline == true)
            }
            #expect(clock.now.offset == .seconds(30))
            clock.advance(to: VirtualClock.Instant())  // never back
            #expect(clock.now.description == "30.0 seconds")
        }

        @Test func callbacksAndTimersRunWithinTheAdvance() throws {
            let clock = VirtualClock()
            let times = Shared<[Duration]>([])
            let note: @Sendable () -> Void = { times.set(times.get() + [clock.now.offset]) }
            try clock.background.withTimeout(.seconds(10)) { ctx in
                try ctx.onDone(note)
                try ctx.after(.seconds(4), note)
                try ctx.every(.seconds(3), note)
                #expect(clock.next! <= VirtualClock.Instant(offset: .seconds(3)))
                clock.advance(by: .seconds(3600))
            }
            #expect(times.get() == [3, 4, 6, 9, 10].map { .seconds($0) })
            #expect(clock.next == nil)
        }

        @Test func timersAreMovedAndStopped() throws {
            let clock = VirtualClock()
            let runs = Counter()
            let idle = try clock.background.after(.seconds(30)) { runs.add() }
            for _ in 0..<10 {
                clock.advance(by: .seconds(29))
                #expect(idle.reset(.seconds(30)))
            }
            #expect(runs.value == 0)
            clock.advance(by: .seconds(30))
            #expect(runs.value == 1)
            let ticker = try clock.background.every(.seconds(1)) { runs.add() }
            clock.advance(by: .seconds(5))
            #expect(ticker.stop() == .prevented)
            clock.advance(by: .seconds(5))
            #expect(runs.value == 6)
        }

        @Test func deadlinesMoveByTheSameClock() throws {
            let clock = VirtualClock()
            let owner = OwnedContext(timeout: .seconds(30), parent: clock.background)
            for _ in 0..<10 {
                clock.advance(by: .seconds(29))
                try owner.context.setTimeout(.seconds(30))
            }
            #expect(clock.deadline(of: owner.context)?.offset == .seconds(320))
            clock.advance(by: .seconds(30))
            #expect(owner.context.error?.isDeadline == true)
        }

        @Test func realInstantsAreTheTimeFromNow() {
            let clock = VirtualClock()
            clock.advance(by: .seconds(1_000_000_000))
            clock.background.withDeadline(SuspendingClock.now + .seconds(1000)) { ctx in
                #expect(ctx.remaining! <= .seconds(1000))
                #expect(ctx.remaining! > .seconds(900))
                #expect(ctx.deadline! > .now + .seconds(900))
                #expect(ctx.deadline! <= .now + .seconds(1000))
            }
            clock.background.withDeadline(ContinuousClock.now + .seconds(1000)) { ctx in
                #expect(ctx.remaining! > .seconds(900))
            }
            withTimeout(.seconds(1)) { #expect(clock.deadline(of: $0) == nil) }
            #expect(clock.deadline(of: clock.background) == nil)
        }

        @Test func aBlockingWaitIsInVirtualTime() async {
            let clock = VirtualClock()
            let owner = OwnedContext(timeout: .seconds(30), parent: clock.background)
            let ctx = owner.context
            async let error = onThread { ctx.wait() }
            await Task.yield()
            await clock.advance(by: .seconds(30))
            #expect(await error?.isDeadline == true)
        }

        @Test func contextsEndWithTheClock() {
            var clock: VirtualClock? = VirtualClock()
            let owner = OwnedContext(timeout: .seconds(30), parent: clock!.background)
            clock = nil
            #expect(owner.context.isDone)
        }

        @Test func instantsLongPastHavePassed() {
            let clock = VirtualClock()
            let epoch = SuspendingClock().systemEpoch
            for past in [Duration.seconds(9_300_000_000), Duration(attoseconds: .max)] {
                clock.background.withDeadline(epoch.advanced(by: .zero - past)) {
                    #expect($0.error?.isDeadline == true)
                }
            }
            clock.background.withDeadline(epoch.advanced(by: .seconds(9_300_000_000))) { #expect($0.deadline == nil) }
            // Ahead of the real clock, and behind it.
            for move in [Duration.zero, .seconds(9_000_000_000)] {
                clock.advance(by: move)
                let time = ContextTime(of: clock.background)
                #expect(time.instant(SuspendingClock.Instant(monotonicNanoseconds: .min)) < 0)
                #expect(time.suspendingInstant(.min) < .now)
                #expect(time.suspendingInstant(.max).monotonicNanoseconds == .max)
            }
        }

        @Test func theEndsOfTimeAreNotBeyondTheClock() async {
            let (least, most) = (Duration(attoseconds: .min), Duration(attoseconds: .max))
            let end = VirtualClock.Instant(offset: most)
            #expect(end.advanced(by: most) == end)
            #expect(VirtualClock.Instant(offset: least).duration(to: end) == most)
            for move in [most, least, .nanoseconds(Int64.max), .nanoseconds(Int64.max - 1)] {
                let (clock, waiting) = (VirtualClock(), VirtualClock())
                let never = OwnedContext(timeout: most, parent: clock.background)
                let second = OwnedContext(timeout: .seconds(1), parent: clock.background)
                await onThread {
                    clock.advance(by: .nanoseconds(1))
                    clock.advance(by: move)
                }
                #expect(!never.context.isDone)
                #expect(second.context.isDone == (move > .zero))
                #expect(clock.now.offset >= .nanoseconds(1))
                await waiting.advance(by: move)
                await waiting.advance(to: VirtualClock.Instant(offset: move))
                #expect(waiting.now.offset >= .zero)
            }
        }

        @Test func aTimerDoesNotRunEarlyWhenTheClockGoes() async throws {
            try await expectNoLeak {
                let (runs, deaths) = (Counter(), Counter())
                var clock: VirtualClock? = VirtualClock()
                let owner = OwnedContext(withoutCancel: clock!.background)
                try owner.context.after(.seconds(1000)) { [probe = Probe(deaths)] in
                    withExtendedLifetime(probe) { runs.add() }
                }
                try owner.context.every(.seconds(1000)) { [probe = Probe(deaths)] in
                    withExtendedLifetime(probe) { runs.add() }
                }
                clock = nil
                await eventually { deaths.value == 2 }
                #expect(runs.value == 0)
                #expect(!owner.context.isDone)
            }
        }

        // MARK: tasks

        @Test func severalTasksMayMoveAClock() async throws {
            try await expectNoLeak {
                let (clock, runs) = (VirtualClock(), Counter())
                for number in 0..<500 {
                    try clock.background.after(.milliseconds(number)) {
                        runs.add()
                        usleep(10)
                    }
                }
                await withTaskGroup(of: Void.self) { group in
                    for _ in 0..<4 {
                        group.addTask { for _ in 0..<500 { await clock.advance(by: .milliseconds(1)) } }
                    }
                }
                #expect(runs.value == 500)
                #expect(clock.now.offset >= .milliseconds(500))
            }
        }

        @Test func aRunMayBeginWhileATaskMovesTheClock() async throws {
            try await expectNoLeak {
                for _ in 0..<100 {
                    let clock = VirtualClock()
                    for number in 0..<50 { try clock.background.after(.milliseconds(number)) { usleep(10) } }
                    async let moved: Void = { await clock.advance(by: .milliseconds(60)) }()
                    async let slept = clock.run { ctx in (try? await ctx.sleep(for: .milliseconds(10))) != nil }
                    await moved
                    #expect(await slept)
                    #expect(clock.now.offset >= .milliseconds(60))
                }
            }
        }

        /// A clock takes one runtime of 255, and all of them together one; what could not be made does no harm.
        @Test func thereAreAsManyClocksAsRuntimes() async throws {
            try await expectNoLeak {
                let clocks = (0..<256).map { _ in VirtualClock() }
                let made = clocks.filter { !$0.background.isDone }
                #expect(made.count > 200)  // there may be runtimes of others
                let unmade = try #require(clocks.last { $0.background.isDone })
                #expect(unmade.background.error?.isUnavailable == true)
                let seen = await unmade.run { ctx in
                    #expect(Context.current == ctx)
                    await unmade.advance(by: .seconds(1))
                    return ctx.error
                }
                #expect(seen?.isUnavailable == true)
                await unmade.advance(by: .seconds(1))
                await onThread { unmade.advance(by: .seconds(1)) }
                #expect(unmade.now == VirtualClock.Instant())
                #expect(unmade.next == nil)
                await withTimeout(.seconds(1)) { #expect(unmade.deadline(of: $0) == nil) }
                await #expect(throws: ContextError.self) { try await unmade.sleep(for: .seconds(1)) }
            }
        }

        @Test func aRunJumpsWhereverAllWait() async throws {
            try await expectNoLeak {
                let clock = VirtualClock()
                let real = SuspendingClock.now
                try await clock.run { ctx in
                    #expect(Context.current == ctx)
                    try await ctx.sleep(for: .seconds(3600))
                    #expect(clock.now.offset == .seconds(3600))
                    try await clock.sleep(for: .seconds(60))
                    #expect(clock.now.offset == .seconds(3660))
                    await ctx.withTimeout(.seconds(30)) { ctx in #expect(await ctx.done().isDeadline) }
                    #expect(clock.now.offset == .seconds(3690))
                    await #expect(throws: ContextError.self) {
                        try await ctx.withTimeout(.seconds(5)) { ctx in
                            try await ctx.withTaskCancellation { ctx in
                                try await clock.sleep(for: .seconds(1000))
                            }
                        }
                    }
                    #expect(clock.now.offset == .seconds(3695))
                }
                #expect(real.duration(to: .now) < .seconds(1000))
            }
        }

        @Test func ticksComeAtTheirTimes() async {
            await expectNoLeak {
                let clock = VirtualClock()
                await clock.run { ctx in
                    await ctx.withTimeout(.seconds(100)) { ctx in
                        var times: [Duration] = []
                        for await tick in ctx.ticks(every: .seconds(30)) {
                            #expect(tick <= .now)
                            times.append(clock.now.offset)
                        }
                        #expect(times == [30, 60, 90].map { .seconds($0) })
                    }
                }
            }
        }

        @Test func childTasksRunInAnOrderThatIsAlwaysTheSame() async {
            await expectNoLeak {
                var orders: Set<[Int]> = []
                for _ in 0..<20 {
                    let clock = VirtualClock()
                    let order = Shared<[Int]>([])
                    await clock.run { ctx in
                        await withTaskGroup(of: Void.self) { group in
                            for number in 0..<10 {
                                group.addTask {
                                    for step in 1...3 {
                                        try? await ctx.sleep(for: .milliseconds(1 + (number * 7 + step) % 5))
                                        order.set(order.get() + [number])
                                    }
                                }
                            }
                        }
                    }
                    orders.insert(order.get())
                }
                #expect(orders.first?.count == 30)
                #expect(orders.count == 1)
            }
        }

        @Test func anAdvanceInARunLetsTasksCatchUpAtEachInstant() async {
            await expectNoLeak {
                let clock = VirtualClock()
                await clock.run { ctx in
                    let counts = Counter()
                    async let ticking: Void = {
                        for await _ in ctx.ticks(every: .seconds(10)) { counts.add() }
                    }()
                    await clock.advance(by: .zero)
                    await clock.advance(by: .seconds(9))
                    #expect(counts.value == 0)
                    await clock.advance(by: .seconds(1))
                    #expect(counts.value == 1)
                    await clock.advance(to: VirtualClock.Instant(offset: .seconds(1000)))
                    #expect(counts.value == 100)
                    #expect(clock.now.offset == .seconds(1000))
                    ctx.cancel()
                    await ticking
                }
            }
        }

        @Test func actorsTakePart() async throws {
            let clock = VirtualClock()
            let retrier = Retrier()
            let attempts = try await clock.run { ctx in try await retrier.run(under: ctx) }
            #expect(attempts == 4)
            #expect(clock.now.offset == .seconds(1 + 2 + 4))
        }

        @Test func groupsTakePart() async throws {
            let clock = VirtualClock()
            try await clock.run { ctx in
                let slowest = try await ctx.withGroup(of: Int.self, limit: 2) { group in
                    for seconds in 1...5 {
                        await group.addTask { ctx in
                            try await ctx.sleep(for: .seconds(seconds))
                            return seconds
                        }
                    }
                    var last = 0
                    while let seconds = try await group.next() { last = seconds }
                    return last
                }
                #expect(slowest == 5)
            }
            #expect(clock.now.offset == .seconds(9))  // 1 3 5 and 2 4, two at a time
        }

        @Test func whatRunsElsewhereIsHeard() async {
            let clock = VirtualClock()
            await clock.run { ctx in
                // Not a child: it runs elsewhere, and starts its timer whenever it likes.
                let task = Task { (try? await ctx.sleep(for: .seconds(30))) != nil }
                #expect(await task.value)
            }
            #expect(clock.now.offset == .seconds(30))
        }

        @Test func errorsAndCancellationPass() async {
            await expectNoLeak {
                let clock = VirtualClock()
                await #expect(throws: Mishap(number: 1)) {
                    try await clock.run { _ throws(Mishap) in throw Mishap(number: 1) }
                }
                let task = Task { await clock.run { ctx in await ctx.withoutCancel { _ in await ctx.done() } } }
                await Task.yield()
                task.cancel()
                #expect(await task.value == .taskCancelled)
            }
        }

        @Test func severalRunsShareAClock() async {
            let clock = VirtualClock()
            await withTaskGroup(of: Bool.self) { group in
                for number in 1...8 {
                    group.addTask {
                        await clock.run { ctx in (try? await ctx.sleep(for: .seconds(number))) != nil }
                    }
                }
                for await slept in group { #expect(slept) }
            }
            #expect(clock.now.offset >= .seconds(8))
        }
    }
}

private actor Retrier {
    /// Gives up after the fourth attempt; the pauses double.
    func run(under ctx: Context) async throws -> Int {
        var pause = Duration.seconds(1)
        for _ in 1...3 {
            try await ctx.sleep(for: pause)
            pause *= 2
        }
        return 4
    }
}
