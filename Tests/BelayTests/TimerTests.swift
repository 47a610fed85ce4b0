// SPDX-License-Identifier: Apache-2.0
import Belay
import CBelay
import Dispatch
import Testing

extension BelayTests {
    @Suite("timers and ticks")
    struct Timers {
        @Test(arguments: [Duration.zero, .seconds(-1), .milliseconds(10)])
        func afterRunsOnceAndNotEarly(_ delay: Duration) async throws {
            try await expectNoLeak {
                let (runs, deaths) = (Counter(), Counter())
                let start = SuspendingClock.now
                let timer = try Context.background.after(delay) { [probe = Probe(deaths)] in
                    #expect(start.duration(to: .now) >= delay)
                    withExtendedLifetime(probe) { runs.add() }
                }
                await eventually { deaths.value == 1 }
                #expect(runs.value == 1)
                #expect(timer.stop() == .gone)
                #expect(!timer.reset(.zero))
            }
        }

        @Test func aStoppedTimerNeverRunsAndIsReleased() async throws {
            try await expectNoLeak {
                let (runs, deaths) = (Counter(), Counter())
                for ctx in [Context.background, .todo] {
                    let one = try ctx.after(.seconds(1000)) { [probe = Probe(deaths)] in
                        withExtendedLifetime(probe) { runs.add() }
                    }
                    let two = try ctx.every(.seconds(1000)) { [probe = Probe(deaths)] in
                        withExtendedLifetime(probe) { runs.add() }
                    }
                    #expect(one.stop() == .prevented)
                    #expect(one.stop() == .gone)
                    #expect(two.stop() == .prevented)
                    #expect(two.stop() == .gone)
                }
                #expect(deaths.value == 4)
                #expect(runs.value == 0)
            }
        }

        @Test func theContextsEndStopsAndReleasesThem() async throws {
            try await expectNoLeak {
                let (runs, deaths) = (Counter(), Counter())
                let body = { @Sendable (_ probe: Probe) -> @Sendable () -> Void in
                    { withExtendedLifetime(probe) { runs.add() } }
                }
                try await withCancel { ctx in
                    let timer = try ctx.after(.seconds(1000), body(Probe(deaths)))
                    try ctx.every(.seconds(1000), body(Probe(deaths)))
                    ctx.cancel()
                    #expect(deaths.value == 2)
                    #expect(timer.stop() == .gone)
                    // On a context that has ended a timer is over at once.
                    try ctx.after(.zero, body(Probe(deaths)))
                    try ctx.every(.nanoseconds(1), body(Probe(deaths)))
                    #expect(deaths.value == 4)
                }
                try? await Task.sleep(for: .milliseconds(5))
                #expect(runs.value == 0)
            }
        }

        @Test func aDeadlineStopsThem() async throws {
            try await expectNoLeak {
                let deaths = Counter()
                try await withTimeout(.milliseconds(5)) { ctx in
                    try ctx.after(.seconds(1000)) { [probe = Probe(deaths)] in withExtendedLifetime(probe) {} }
                    await eventually { deaths.value == 1 }
                    #expect(ctx.error?.isDeadline == true)
                }
            }
        }

        @Test func aTimerOnAClosedContextThrows() {
            let closed = withCancel { $0 }
            #expect(throws: ContextError.self) { try closed.after(.zero) {} }
            #expect(throws: ContextError.self) { try closed.every(.seconds(1)) {} }
        }

        @Test func everyRepeatsWithoutDriftAndNeverEarly() async throws {
            try await expectNoLeak {
                let times = Shared<[Duration]>([])
                let period = Duration.milliseconds(3)
                let start = SuspendingClock.now
                let timer = try Context.background.every(period) {
                    times.set(times.get() + [start.duration(to: .now)])
                }
                await eventually { times.get().count >= 5 }
                timer.stop()
                for (number, time) in times.get().enumerated() { #expect(time >= period * (number + 1)) }
            }
        }

        @Test func everyRunsOneAtATimeAndSkips() async throws {
            try await expectNoLeak {
                let (runs, inside) = (Counter(), Counter())
                let gate = DispatchSemaphore(value: 0)
                let timer = try Context.background.every(.microseconds(100)) {
                    inside.add()
                    #expect(inside.value == 1)
                    if runs.value == 0 { gate.wait() }
                    runs.add()
                    inside.add(-1)
                }
                await eventually { inside.value == 1 }
                try? await Task.sleep(for: .milliseconds(5))
                #expect(runs.value == 0)
                gate.signal()
                await eventually { runs.value >= 3 }
                timer.stop()
                await eventually { inside.value == 0 }
            }
        }

        @Test func aTimerMayStopItself() async throws {
            try await expectNoLeak {
                let own = Shared<ContextTimer?>(nil)
                let answers = Shared<[StopOutcome]>([])
                let deaths = Counter()
                let timer = try Context.background.every(.milliseconds(1)) { [probe = Probe(deaths)] in
                    guard let timer = own.get() else { return }
                    withExtendedLifetime(probe) { answers.set(answers.get() + [timer.stop()]) }
                    own.set(nil)
                }
                own.set(timer)
                await eventually { deaths.value == 1 }
                #expect(answers.get() == [.running])
                #expect(timer.stop() == .gone)
            }
        }

        @Test func stopDuringARunIsTheLast() async throws {
            try await expectNoLeak {
                let (begun, runs) = (Counter(), Counter())
                let gate = DispatchSemaphore(value: 0)
                let timer = try Context.background.every(.milliseconds(1)) {
                    begun.add()
                    gate.wait()
                    runs.add()
                }
                await eventually { begun.value == 1 }
                #expect(timer.stop() == .running)
                #expect(timer.stop() == .gone)
                gate.signal()
                await eventually { runs.value == 1 }
                try? await Task.sleep(for: .milliseconds(5))
                #expect(begun.value == 1)
            }
        }

        @Test func resetMovesATimer() async throws {
            try await expectNoLeak {
                let runs = Counter()
                let never = try Context.background.after(.seconds(Int64.max)) { runs.add() }
                let start = SuspendingClock.now
                #expect(never.reset(.milliseconds(3)))
                await eventually { runs.value == 1 }
                #expect(start.duration(to: .now) >= .milliseconds(3))
                #expect(!never.reset(.milliseconds(3)))

                let repeating = try Context.background.every(.milliseconds(2)) { runs.add() }
                #expect(repeating.reset(.seconds(1000)))
                try? await Task.sleep(for: .milliseconds(10))
                #expect(runs.value == 1)
                #expect(repeating.reset(.zero))
                await eventually { runs.value >= 4 }
                repeating.stop()
            }
        }

        @Test(arguments: [1, 2, 4, 8, 16])
        func stopResetAndEndRace(_ threads: Int) async throws {
            try await expectNoLeak {
                let deaths = Counter()
                for round in 0..<100 {
                    let owner = OwnedContext(parent: .background)
                    let ctx = owner.context
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        for number in 0..<threads {
                            let probe = Probe(deaths)
                            let body: @Sendable () -> Void = { withExtendedLifetime(probe) {} }
                            let timer =
                                try number % 2 == 0
                                ? ctx.after(.microseconds(round), body) : ctx.every(.microseconds(round + 1), body)
                            group.addTask { timer.reset(.microseconds(50)) }
                            group.addTask { if number % 3 == 0 { timer.stop() } }
                        }
                        group.addTask { ctx.cancel() }
                        try await group.waitForAll()
                    }
                }
                await eventually { deaths.value == 100 * threads }
            }
        }

        @Test func ticksComeUntilTheContextEnds() async {
            await expectNoLeak {
                let start = SuspendingClock.now
                await withTimeout(.milliseconds(30)) { ctx in
                    var count = 0
                    for await tick in ctx.ticks(every: .milliseconds(2)) {
                        count += 1
                        #expect(tick >= start + .milliseconds(2) * count)
                        #expect(tick <= .now)
                    }
                    #expect(ctx.error?.isDeadline == true)
                }
                #expect(start.duration(to: .now) >= .milliseconds(30))
            }
        }

        @Test func ticksEndWithTheTask() async {
            await expectNoLeak {
                let ticks = Counter()
                let task = Task {
                    for await _ in Context.background.ticks(every: .milliseconds(1)) { ticks.add() }
                    return Context.background.isDone
                }
                await eventually { ticks.value >= 3 }
                task.cancel()
                #expect(await task.value == false)
            }
        }

        @Test func ticksUnderADoneContextAreNone() async {
            await withTimeout(.zero) { ctx in
                for await _ in ctx.ticks(every: .nanoseconds(1)) { Issue.record("a tick after the end") }
            }
        }
    }
}
