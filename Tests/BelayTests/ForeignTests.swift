// SPDX-License-Identifier: Apache-2.0
import Belay
import Glibc
import Synchronization
import Testing

extension BelayTests {
    @Suite("foreign parents")
    struct Foreign {
        @Test func aFlagIsAsked() async {
            await expectNoLeak {
                let (deaths, why) = (Counter(), ContextCause(code: 5, message: "flag"))
                do {
                    let flag = Source(deaths)
                    withForeignParent(flag) { ctx in
                        #expect(!ctx.isDone)
                        #expect(Context.current == ctx)
                        flag.end(.cancelled(why))
                        #expect(ctx.error == .cancelled(why))
                        ctx.withCancel { #expect($0.error == .cancelled(why)) }
                    }
                }
                #expect(deaths.value == 1)
            }
        }

        @Test func aFlagEndsTheWaitOfATask() async {
            await expectNoLeak {
                let flag = Source(Counter())
                let why = ContextError.deadlineExceeded(ContextCause(code: 6, message: "source's own"))
                let task = Task { await withForeignParent(flag) { ctx in await ctx.done() } }
                try? await Task.sleep(for: .milliseconds(2))
                flag.end(why)
                #expect(await task.value == why)
            }
        }

        @Test func aCallbackTells() async {
            await expectNoLeak {
                let (deaths, stops) = (Counter(), Counter())
                do {
                    let source = Source(deaths, .callback(stop: { stops.add() }))
                    let owner = OwnedContext(foreign: source)
                    for _ in 0..<100 { owner.context.withTimeout(.seconds(10)) { #expect(!$0.isDone) } }
                    #expect(source.listeners == 1)
                    let rang = Counter()
                    #expect(throws: Never.self) { try owner.context.onDoneInline { rang.add() } }
                    source.end(.cancelled(ContextCause(code: 9, message: "π".repeated(40))))
                    source.call()
                    #expect(rang.value == 1)
                    #expect(owner.context.cause == ContextCause(code: 9, message: "π".repeated(27)))
                    source.call()  // twice does no harm
                    owner.close()
                    #expect(stops.value == 1)
                    source.call()  // nor does too late
                }
                #expect(deaths.value == 1)
            }
        }

        @Test func oneThatHasEndedMakesADoneContext() async {
            await expectNoLeak {
                for way in [ForeignListening.poll, .callback(stop: nil)] {
                    let source = Source(Counter(), way)
                    source.end(.taskCancelled)
                    source.callsAtOnce.store(true, ordering: .relaxed)
                    withForeignParent(source) { #expect($0.error == .taskCancelled) }
                }
            }
        }

        @Test func aDescriptorTells() async {
            await expectNoLeak {
                var ends: [Int32] = [0, 0]
                #expect(pipe(&ends) == 0)
                let source = Source(Counter(), .descriptor(ends[0]))
                let write = ends[1]
                let task = Task { await withForeignParent(source) { ctx in await ctx.done() } }
                await Task.yield()
                source.end(.cancelled(ContextCause(code: 3, message: "pipe")))
                close(write)
                #expect(await task.value == .cancelled(ContextCause(code: 3, message: "pipe")))
                close(ends[0])
            }
        }

        @Test func anInnerContextIsTheFastPath() async {
            await expectNoLeak {
                let deaths = Counter()
                withValue(Tag.self, 3) { carrier in
                    carrier.withTimeout(.seconds(1000)) { inside in
                        do {
                            let source = Source(deaths, .inner, inner: inside)
                            withForeignParent(source) { ctx in
                                #expect(ctx.error == nil)
                                #expect(ctx[Tag.self] == 3)
                                #expect(ctx.deadline == inside.deadline)
                                #expect(ctx.cancel())
                                #expect(!inside.isDone)
                            }
                            withForeignParent(source) { ctx in
                                inside.cancel()
                                #expect(ctx.isDone)
                            }
                        }
                        #expect(deaths.value == 1)
                    }
                }
            }
        }

        @Test func anInnerContextBesideAFlag() async {
            await expectNoLeak {
                withCancel { inside in
                    let source = Source(Counter(), .poll, inner: inside)
                    withForeignParent(source) { ctx in
                        inside.cancel()
                        #expect(ctx.isDone)
                        #expect(source.error == nil)
                    }
                }
            }
        }

        @Test func itsDeadlineCounts() async {
            await expectNoLeak {
                let end = SuspendingClock.now + .milliseconds(5)
                let source = Source(Counter(), deadline: end)
                await withForeignParent(source) { ctx in
                    #expect(ctx.deadline == end)
                    #expect(await ctx.done().isDeadline)
                    #expect(SuspendingClock.now >= end)
                }
            }
        }

        @Test func whatCannotBeMadeReadsAsDoneAndIsReleased() async {
            await expectNoLeak {
                let deaths = Counter()
                let closed = withCancel { $0 }
                withForeignParent(Source(deaths, .inner, inner: closed)) { #expect($0.error?.isUnavailable == true) }
                withForeignParent(Source(deaths, .inner)) { #expect($0.error?.isUnavailable == true) }
                withForeignParent(Source(deaths, .descriptor(-1))) { #expect($0.error?.isUnavailable == true) }
                #expect(deaths.value == 3)
            }
        }

        @Test func itIsKeptUntilTheLastContextHasGone() async {
            await expectNoLeak {
                let deaths = Counter()
                let owner = OwnedContext(foreign: Source(deaths))
                let detached = OwnedContext(withoutCancel: owner.context)
                owner.close()
                #expect(deaths.value == 0)
                detached.close()
                #expect(deaths.value == 1)
            }
        }

        @Test(arguments: [1, 2, 4, 8])
        func endsAndClosesRace(_ threads: Int) async {
            await expectNoLeak {
                let (deaths, rounds) = (Counter(), 50)
                for _ in 0..<rounds {
                    let source = Source(deaths, .callback(stop: {}))
                    let owner = OwnedContext(foreign: source)
                    let ctx = owner.context
                    await withTaskGroup(of: Void.self) { group in
                        for _ in 0..<threads {
                            group.addTask { ctx.withTimeout(.seconds(1)) { _ = $0.isDone } }
                            group.addTask { source.call() }
                        }
                        group.addTask { ctx.cancel() }
                    }
                    #expect(ctx.isDone)
                }
                await eventually { deaths.value == rounds }
            }
        }
    }
}

private enum Tag: ContextKey { typealias Value = Int }

extension String {
    fileprivate func repeated(_ count: Int) -> String { String(repeating: self, count: count) }
}

/// A source of which each way can be tried.
private final class Source: ForeignCancellation {
    private let ended = Shared<ContextError?>(nil)
    private let told = Shared<[@Sendable () -> Void]>([])
    private let deaths: Counter
    private let way: ForeignListening
    let deadline: SuspendingClock.Instant?
    let inner: Context?
    let callsAtOnce = Atomic<Bool>(false)

    init(
        _ deaths: Counter, _ way: ForeignListening = .poll, inner: Context? = nil,
        deadline: SuspendingClock.Instant? = nil
    ) {
        (self.deaths, self.way, self.inner, self.deadline) = (deaths, way, inner, deadline)
    }

    deinit { deaths.add() }

    var error: ContextError? { ended.get() }
    var listeners: Int { told.get().count }

    func listen(_ ended: @escaping @Sendable () -> Void) -> ForeignListening {
        told.set(told.get() + [ended])
        if callsAtOnce.load(ordering: .relaxed) { ended() }
        return way
    }

    func end(_ error: ContextError) { ended.set(error) }
    func call() { for listener in told.get() { listener() } }
}
