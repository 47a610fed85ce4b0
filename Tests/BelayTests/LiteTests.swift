// SPDX-License-Identifier: Apache-2.0
import Belay
import CBelay
import Testing

extension BelayTests {
    @Suite("lite contexts")
    struct Lite {
        @Test func aLiteContextIsAskedAndCancelled() async {
            await expectNoLeak {
                let lite = Context.background.lite()
                #expect(!lite.isDone && lite.error == nil && lite.remaining == nil && lite.deadline == nil)
                lite.cancel(ContextCause(code: 4, message: "four"))
                lite.cancel()
                #expect(lite.isDone && lite.error == .cancelled(ContextCause(code: 4, message: "four")))
                #expect(throws: ContextError.self) { try Context(lite.handle).check() }
                lite.close()
            }
        }

        @Test func itIsClosedAtTheEndOfItsLife() async {
            await expectNoLeak {
                var handle = belay_ctx()
                do {
                    let lite = LiteContext(timeout: .seconds(1000))
                    handle = lite.handle
                    #expect(lite.remaining! > .seconds(900))
                    #expect(lite.deadline != nil)
                    #expect(!belay_is_done(handle))
                }
                #expect(belay_err(handle) == BELAY_ESTALE)
            }
        }

        @Test func itsDeadlineAndItsParentEndIt() async {
            await expectNoLeak {
                let late = LiteContext(timeout: .zero)
                #expect(late.error?.isDeadline == true)
                #expect(late.remaining == .zero)
                withCancel { ctx in
                    let below = ctx.lite(timeout: .seconds(1000))
                    ctx.cancel(code: 7, message: "seven")
                    #expect(below.error == .cancelled(ContextCause(code: 7, message: "seven")))
                }
                withTimeout(.seconds(10)) { ctx in
                    let below = LiteContext(timeout: .seconds(1000))  // under the current one
                    #expect(below.remaining! <= .seconds(10))
                }
            }
        }

        @Test func aThreadMayWaitForIt() async {
            await expectNoLeak {
                await onThread {
                    let lite = LiteContext(timeout: .milliseconds(5), parent: .background)
                    #expect(lite.wait(timeout: .zero) == nil)
                    #expect(lite.wait()?.isDeadline == true)
                }
            }
        }

        @Test func underAClosedContextItIsDone() {
            let closed = withCancel { $0 }
            #expect(closed.lite().error?.isUnavailable == true)
            let lite = Context.background.lite()
            #expect(Context(lite.handle).lite().error?.isUnavailable == true)
            #expect(OwnedContext(parent: Context(lite.handle)).context.isDone)  // nothing is derived from it
        }

        @Test func scopesCloseIt() async {
            await expectNoLeak {
                var handle = belay_ctx()
                let answer = withCancel { ctx in
                    ctx.withLite(timeout: .seconds(10)) { lite in
                        handle = lite.handle
                        #expect(Context.current == ctx)
                        #expect(lite.isDone == false)
                        return 42
                    }
                }
                #expect(answer == 42)
                #expect(belay_err(handle) == BELAY_ESTALE)
                #expect(throws: Mishap(number: 3)) {
                    try Context.background.withLite { _ throws(Mishap) in throw Mishap(number: 3) }
                }
                #expect(throws: ContextError.self) {
                    try Context.background.withLite(timeout: .zero) { lite throws(ContextError) in try lite.check() }
                }
            }
        }

        @MainActor @Test func asyncScopesStayOnTheirActorAndEndWithTheTask() async {
            await expectNoLeak {
                let answer = await withCancel { ctx in
                    await ctx.withLite(timeout: .seconds(10)) { lite in
                        await Task.yield()
                        MainActor.assertIsolated()
                        #expect(lite.isDone == false)
                        return 42
                    }
                }
                #expect(answer == 42)
                let started = Counter()
                let task = Task {
                    await withCancel { ctx in
                        await ctx.withLite { lite in
                            started.add()
                            while !lite.isDone { await Task.yield() }
                            return lite.error
                        }
                    }
                }
                await eventually { started.value == 1 }
                task.cancel()
                #expect(await task.value == .taskCancelled)
            }
        }
    }
}
