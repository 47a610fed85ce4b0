// SPDX-License-Identifier: Apache-2.0
import Belay
import CBelay
import Dispatch
import Testing

extension BelayTests {
    @Suite("callbacks")
    struct Callbacks {
        @Test func onDoneRunsOnceAfterTheEnd() async throws {
            try await expectNoLeak {
                let (runs, deaths) = (Counter(), Counter())
                try await withCancel { ctx in
                    try ctx.onDone { [probe = Probe(deaths)] in
                        #expect(ctx.isDone)
                        #expect(ctx.error != nil)
                        withExtendedLifetime(probe) { runs.add() }
                    }
                    #expect(runs.value == 0)
                    ctx.cancel()
                    ctx.cancel()
                    await eventually { runs.value == 1 && deaths.value == 1 }
                }
                #expect(runs.value == 1)
            }
        }

        @Test func onDoneInlineRunsInsideTheCancel() throws {
            try withCancel { ctx in
                let runs = Counter()
                try ctx.onDoneInline { runs.add() }
                #expect(runs.value == 0)
                ctx.cancel()
                #expect(runs.value == 1)
            }
        }

        @Test func callbacksOnADoneContextRunAllTheSame() async throws {
            try await withTimeout(.zero) { ctx in
                let (inline, pooled) = (Counter(), Counter())
                let registration = try ctx.onDoneInline { inline.add() }
                #expect(inline.value == 1)
                #expect(registration.stop() == .gone)
                try ctx.onDone { pooled.add() }
                await eventually { pooled.value == 1 }
            }
        }

        @Test func theScopesEndRunsThem() async throws {
            let runs = Counter()
            try await withCancel { ctx in
                try ctx.onDoneInline { runs.add() }
                try ctx.onDone { runs.add() }
            }
            #expect(runs.value >= 1)
            await eventually { runs.value == 2 }
        }

        @Test func aDeadlineRunsThem() async throws {
            let runs = Counter()
            try await withTimeout(.milliseconds(5)) { ctx in
                try ctx.onDoneInline { runs.add() }
                try ctx.onDone { runs.add() }
                await eventually { runs.value == 2 }
                #expect(ctx.error?.isDeadline == true)
            }
        }

        @Test func aStoppedCallbackNeverRunsAndIsReleased() async throws {
            try await expectNoLeak {
                let (runs, deaths) = (Counter(), Counter())
                try await withCancel { ctx in
                    let one = try ctx.onDone { [probe = Probe(deaths)] in withExtendedLifetime(probe) { runs.add() } }
                    let two = try ctx.onDoneInline { [probe = Probe(deaths)] in
                        withExtendedLifetime(probe) { runs.add() }
                    }
                    #expect(deaths.value == 0)
                    #expect(one.stop() == .prevented)
                    #expect(two.stop() == .prevented)
                    #expect(deaths.value == 2)
                    #expect(one.stop() == .gone)
                    #expect(two.stop() == .gone)
                }
                try? await Task.sleep(for: .milliseconds(5))
                #expect(runs.value == 0)
            }
        }

        @Test func droppingARegistrationStopsNothing() throws {
            let runs = Counter()
            try withCancel { ctx in
                do { _ = try ctx.onDoneInline { runs.add() } }
                ctx.cancel()
                #expect(runs.value == 1)
            }
        }

        @Test func aCallbackMayStopItself() async throws {
            for inline in [true, false] {
                let answers = Shared<[StopOutcome]>([])
                let own = Shared<Registration?>(nil)
                let owner = OwnedContext(parent: .background)
                let body: @Sendable () -> Void = {
                    guard let registration = own.get() else { return }
                    answers.set([registration.stop(), registration.blockingStopAndWait()])
                    own.set(nil)
                }
                own.set(try inline ? owner.context.onDoneInline(body) : owner.context.onDone(body))
                owner.context.cancel()
                await eventually { !answers.get().isEmpty }
                #expect(answers.get() == [.running, .running])
            }
        }

        @Test func stopAndWaitWaitsForTheRun() async throws {
            try await expectNoLeak {
                try await withCancel { ctx in
                    let (begun, wrote) = (Counter(), Counter())
                    let gate = DispatchSemaphore(value: 0)
                    let registration = try ctx.onDone {
                        begun.add()
                        gate.wait()
                        wrote.add()
                    }
                    ctx.cancel()
                    await eventually { begun.value == 1 }
                    #expect(registration.stop() == .running)
                    #expect(await onThread { registration.blockingStopAndWait(timeout: .milliseconds(1)) } == .running)
                    async let pending = registration.stopAndWait()
                    async let blocked = onThread { registration.blockingStopAndWait() }
                    gate.signal()
                    #expect(await pending == .gone)
                    #expect(wrote.value == 1)
                    #expect(await blocked == .gone)
                    #expect(await registration.stopAndWait() == .gone)
                }
            }
        }

        @Test func stopAndWaitPreventsWhatHasNotBegun() async throws {
            let runs = Counter()
            try await withCancel { ctx in
                let one = try ctx.onDone { runs.add() }
                let two = try ctx.onDone { runs.add() }
                #expect(await one.stopAndWait() == .prevented)
                #expect(await onThread { two.blockingStopAndWait() } == .prevented)
                ctx.cancel()
            }
            #expect(runs.value == 0)
        }

        @Test func aClosedContextThrows() {
            let deaths = Counter()
            let closed = withCancel { $0 }
            for ctx in [closed, Context(belay_ctx(bits: 0))] {
                #expect(throws: ContextError.self) {
                    try ctx.onDone { [probe = Probe(deaths)] in withExtendedLifetime(probe) {} }
                }
                #expect(throws: ContextError.self) {
                    try ctx.onDoneInline { [probe = Probe(deaths)] in withExtendedLifetime(probe) {} }
                }
            }
            #expect(deaths.value == 4)
        }

        @Test func onAContextWithoutEndTheyWaitUntilStopped() async throws {
            try await expectNoLeak {
                let deaths = Counter()
                let registration = try Context.background.onDone { [probe = Probe(deaths)] in
                    withExtendedLifetime(probe) {}
                }
                #expect(deaths.value == 0)
                #expect(registration.stop() == .prevented)
                #expect(deaths.value == 1)
            }
        }

        @Test func callbacksMayUseTheAPI() async throws {
            let done = Counter()
            try await withCancel { ctx in
                for inline in [true, false] {
                    let body: @Sendable () -> Void = {
                        withTimeout(.seconds(10)) { inner in
                            #expect(Context.current == inner)
                            inner.cancel()
                        }
                        ctx.cancel()
                        _ = try? ctx.onDoneInline { done.add() }
                    }
                    _ = try inline ? ctx.onDoneInline(body) : ctx.onDone(body)
                }
                ctx.cancel()
                await eventually { done.value == 2 }
            }
        }

        @Test(arguments: [1, 2, 4, 8, 16])
        func stopRacesWithTheEnd(_ threads: Int) async throws {
            try await expectNoLeak {
                let (runs, prevented, deaths) = (Counter(), Counter(), Counter())
                let rounds = 200
                for _ in 0..<rounds {
                    let owner = OwnedContext(parent: .background)
                    let registrations = try (0..<threads).map { number in
                        let body: @Sendable () -> Void = { [probe = Probe(deaths)] in
                            withExtendedLifetime(probe) { runs.add() }
                        }
                        return try number % 2 == 0 ? owner.context.onDone(body) : owner.context.onDoneInline(body)
                    }
                    let ctx = owner.context
                    await withTaskGroup(of: Void.self) { group in
                        for registration in registrations {
                            for _ in 0..<2 {
                                group.addTask { if registration.stop() == .prevented { prevented.add() } }
                            }
                        }
                        group.addTask { ctx.cancel() }
                    }
                }
                await eventually { runs.value + prevented.value == rounds * threads }
                await eventually { deaths.value == rounds * threads }
            }
        }
    }
}
