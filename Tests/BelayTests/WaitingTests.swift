// SPDX-License-Identifier: Apache-2.0
import Belay
import CBelay
import Testing

extension BelayTests {
    @Suite("done, sleep and wait")
    struct Waiting {
        @Test func doneAnswersAtOnceWhenDone() async {
            await withTimeout(.zero) { ctx in #expect(await ctx.done().isDeadline) }
            let closed = await withCancel { $0 }
            #expect(await closed.done().isUnavailable)
            #expect(await Context(belay_ctx(bits: 0)).done().isUnavailable)
        }

        @Test func doneSeesACancel() async {
            await expectNoLeak {
                await withCancel { ctx in
                    let cause = ContextCause(code: 3, message: "three")
                    async let reason = ctx.done()
                    await Task.yield()
                    ctx.cancel(cause)
                    #expect(await reason == .cancelled(cause))
                }
            }
        }

        @Test func doneSeesADeadlineAndNotBefore() async {
            await expectNoLeak {
                let start = SuspendingClock.now
                await withTimeout(.milliseconds(20)) { ctx in #expect(await ctx.done().isDeadline) }
                #expect(start.duration(to: .now) >= .milliseconds(20))
            }
        }

        @Test func doneSeesAClose() async {
            let owner = OwnedContext(parent: .background)
            let ctx = owner.context
            let waiter = Task { await ctx.done() }
            try? await Task.sleep(for: .milliseconds(5))
            owner.close()
            let reason = await waiter.value  // cancelled, or stale by the time it asks
            #expect(ctx.isDone)
            #expect(!reason.isDeadline)
        }

        @Test func doneReturnsWhenTheTaskIsCancelled() async {
            await expectNoLeak {
                let owner = OwnedContext(parent: .background)
                let ctx = owner.context
                let waiter = Task { await ctx.done() }
                try? await Task.sleep(for: .milliseconds(5))
                waiter.cancel()
                #expect(await waiter.value == .taskCancelled)
                #expect(!ctx.isDone)
            }
        }

        @Test func doneReturnsAtOnceInACancelledTask() async {
            await expectNoLeak {
                let task = Task {
                    withUnsafeCurrentTask { $0?.cancel() }
                    return await Context.background.done()
                }
                #expect(await task.value == .taskCancelled)
            }
        }

        @Test func theContextsEndCountsInACancelledTask() async {
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                return await withTimeout(.zero) { ctx in await ctx.done() }
            }
            #expect(await task.value.isDeadline)
        }

        @Test func manyTasksWaitForOneContext() async {
            await expectNoLeak {
                await withCancel { ctx in
                    await withTaskGroup(of: ContextError.self) { group in
                        for _ in 0..<200 { group.addTask { await ctx.done() } }
                        for _ in 0..<50 { await Task.yield() }
                        ctx.cancel(code: 1, message: "all")
                        for await reason in group {
                            #expect(reason == .cancelled(ContextCause(code: 1, message: "all")))
                        }
                    }
                }
            }
        }

        @Test func endAndTaskCancellationRace() async {
            await expectNoLeak {
                for _ in 0..<300 {
                    let owner = OwnedContext(parent: .background)
                    let ctx = owner.context
                    let waiter = Task { await ctx.done() }
                    await withTaskGroup(of: Void.self) { group in
                        group.addTask { waiter.cancel() }
                        group.addTask { ctx.cancel(code: 2, message: "two") }
                    }
                    let reason = await waiter.value
                    #expect(reason == .taskCancelled || reason == .cancelled(ContextCause(code: 2, message: "two")))
                }
            }
        }

        @Test func sleepTakesItsTime() async throws {
            try await expectNoLeak {
                let start = SuspendingClock.now
                try await Context.background.sleep(for: .milliseconds(10))
                #expect(start.duration(to: .now) >= .milliseconds(10))
                try await Context.background.sleep(for: .zero)
                try await Context.background.sleep(for: .seconds(-1))
            }
        }

        @Test func sleepEndsWithTheContext() async {
            await expectNoLeak {
                await withTimeout(.milliseconds(5)) { ctx in
                    await #expect(throws: ContextError.self) { try await ctx.sleep(for: .seconds(1000)) }
                    #expect(ctx.error?.isDeadline == true)
                }
                await withCancel { ctx in
                    async let slept: ContextError? = {
                        do throws(ContextError) {
                            try await ctx.sleep(for: .seconds(1000))
                            return nil
                        } catch {
                            return error
                        }
                    }()
                    await Task.yield()
                    ctx.cancel(code: 4, message: "four")
                    #expect(await slept == .cancelled(ContextCause(code: 4, message: "four")))
                }
            }
        }

        @Test func sleepEndsWithTheTask() async {
            await expectNoLeak {
                let task = Task { try await Context.background.sleep(for: .seconds(1000)) }
                await Task.yield()
                task.cancel()
                await #expect(throws: ContextError.taskCancelled) { try await task.value }
            }
        }

        @Test func sleepUnderADoneContextThrowsItsError() async {
            await withTimeout(.zero) { ctx in
                _ = await #expect(throws: ContextError.self) { try await ctx.sleep(for: .zero) }
            }
            let closed = await withCancel { $0 }
            await #expect(throws: ContextError.self) { try await closed.sleep(for: .seconds(1000)) }
        }

        @Test func waitBlocksUntilTheTimeoutOrTheEnd() async {
            await expectNoLeak {
                await onThread {
                    #expect(Context.background.wait(timeout: .zero) == nil)
                    #expect(Context.background.wait(timeout: .seconds(-1)) == nil)
                    let start = SuspendingClock.now
                    #expect(Context.background.wait(timeout: .milliseconds(5)) == nil)
                    #expect(start.duration(to: .now) >= .milliseconds(5))
                    withTimeout(.milliseconds(5)) { ctx in #expect(ctx.wait()?.isDeadline == true) }
                    withTimeout(.milliseconds(5)) { ctx in
                        #expect(ctx.wait(timeout: .seconds(1000))?.isDeadline == true)
                    }
                    #expect(withCancel { $0 }.wait()?.isUnavailable == true)
                }
            }
        }

        @Test func waitSeesACancel() async {
            await withCancel { ctx in
                async let reason = onThread { ctx.wait() }
                await Task.yield()
                ctx.cancel(code: 8, message: "eight")
                #expect(await reason == .cancelled(ContextCause(code: 8, message: "eight")))
            }
        }
    }
}
