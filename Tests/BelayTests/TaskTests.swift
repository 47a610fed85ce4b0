// SPDX-License-Identifier: Apache-2.0
import Belay
import Testing

extension BelayTests {
    @Suite("tasks and contexts")
    struct Tasks {
        @Test func cancellingTheTaskCancelsTheScopesContext() async {
            await expectNoLeak {
                let task = Task {
                    await withTimeout(.seconds(1000)) { ctx in
                        await ctx.withValue(Tag.self, 1) { inner in
                            let reason = await inner.done()
                            #expect(inner.isDone)
                            #expect(inner.cause == .taskCancelled)
                            return (reason, ctx.error)
                        }
                    }
                }
                try? await Task.sleep(for: .milliseconds(5))
                task.cancel()
                let (reason, error) = await task.value
                #expect(reason == .taskCancelled)
                #expect(error == .taskCancelled)
            }
        }

        @Test func aCancelledTasksScopesAreDoneAtBirth() async {
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                await withCancel { ctx in #expect(ctx.error == .taskCancelled) }
                await withDeadline(SuspendingClock.now + .seconds(100)) { #expect($0.error == .taskCancelled) }
                // What was over before keeps its own end.
                await withTimeout(.zero) { ctx in #expect(ctx.error?.isDeadline == true) }
                // Contexts outside of the scope are not touched, and these two have no end of their own.
                await withValue(Tag.self, 1) { ctx in
                    #expect(!ctx.isDone)
                    await Task.yield()
                }
                await withoutCancel { ctx in
                    #expect(!ctx.isDone)
                    await Task.yield()
                }
            }
            await task.value
        }

        /// In `async` code a body that waits for nothing is watched like any other.
        @Test func bodiesWithoutAwaitSeeTheCancellation() async {
            let parent = Context.background
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                #expect(await withCancel { $0.error } == .taskCancelled)
                #expect(await withTimeout(.seconds(100)) { $0.error } == .taskCancelled)
                #expect(await withDeadline(.now + .seconds(100)) { $0.error } == .taskCancelled)
                #expect(await withDeadline(SuspendingClock.now + .seconds(100)) { $0.error } == .taskCancelled)
                #expect(await withDeadline(ContinuousClock.now + .seconds(100)) { $0.error } == .taskCancelled)
                #expect(await withMerged([parent]) { $0.error } == .taskCancelled)
                #expect(await withSignals([.user1]) { $0.error } == .taskCancelled)
                #expect(await withForeignParent(NeverEnding()) { $0.error } == .taskCancelled)
                #expect(await parent.withCancel { $0.error } == .taskCancelled)
                #expect(await parent.withTimeout(.seconds(100)) { $0.error } == .taskCancelled)
                #expect(await parent.withDeadline(.now + .seconds(100)) { $0.error } == .taskCancelled)
                #expect(await parent.withDeadline(ContinuousClock().now + .seconds(100)) { $0.error } == .taskCancelled)
                #expect(await parent.withMerged(with: [parent]) { $0.error } == .taskCancelled)
                #expect(await parent.withSignals([.user1]) { $0.error } == .taskCancelled)
                // A body of several lines, and one that was stored.
                let seen = await withTimeout(.seconds(100)) { ctx in
                    for _ in 0..<10 where ctx.isDone { return ctx.error }
                    return nil
                }
                #expect(seen == .taskCancelled)
                let stored: @Sendable (Context) -> ContextError? = { $0.error }
                #expect(await withCancel(stored) == .taskCancelled)
            }
            await task.value
        }

        /// Where nothing watches the task both forms do the same, and the synchronous one needs no `await`.
        @Test func scopesWithoutAnEndNeedNoAwait() async {
            let pool = RequestDataPool { 5 }
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                #expect(withValue(Tag.self, 1) { $0.isDone } == false)
                #expect(withoutCancel { $0.isDone } == false)
                #expect(withData(in: pool) { ctx, _ in ctx.isDone } == false)
                #expect(Context.background.withLite { $0.isDone } == false)
            }
            await task.value
        }

        /// Code outside of tasks has the forms that look at none, also where an `async` function has it inside.
        @Test func otherCodeHasTheSynchronousForms() async {
            let task = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                let look = {
                    #expect(withCancel { $0.error } == nil)
                    #expect(withTimeout(.seconds(100)) { $0.error } == nil)
                    #expect(withDeadline(.now + .seconds(100)) { $0.error } == nil)
                    #expect(withDeadline(ContinuousClock.now + .seconds(100)) { $0.error } == nil)
                }
                look()
            }
            await task.value
        }

        @Test func taskCancellationAndDeadlineAreToldApart() async {
            await expectNoLeak {
                for _ in 0..<50 {
                    let task = Task {
                        await withTimeout(.microseconds(300)) { ctx in
                            let reason = await ctx.done()
                            #expect(ctx.error == reason || reason == .taskCancelled)
                            return ctx.error
                        }
                    }
                    try? await Task.sleep(for: .microseconds(250))
                    task.cancel()
                    let error = await task.value
                    #expect(error == .taskCancelled || error?.isDeadline == true)
                }
            }
        }

        @Test func cancellingAfterTheScopeDoesNothing() async {
            let task = Task { () -> Context in
                let escaped = await withCancel { ctx in
                    await Task.yield()
                    return ctx
                }
                withUnsafeCurrentTask { $0?.cancel() }
                return escaped
            }
            #expect(await task.value.error?.isUnavailable == true)
        }

        @Test func theDeadlineCancelsTheWork() async {
            await expectNoLeak {
                await withTimeout(.milliseconds(5)) { ctx in
                    await #expect(throws: ContextError.self) {
                        try await ctx.withTaskCancellation { inner in
                            #expect(inner == ctx)
                            #expect(Context.current == ctx)
                            try await Task.sleep(for: .seconds(1000))  // knows nothing of contexts
                        }
                    }
                    #expect(ctx.error?.isDeadline == true)
                    #expect(!Task.isCancelled)
                }
            }
        }

        @Test func theErrorTellsDeadlineCancelAndTaskApart() async {
            await expectNoLeak {
                let nap: @Sendable (Context) async throws -> Void = { _ in try await Task.sleep(for: .seconds(1000)) }
                let late = ContextCause(code: 504, message: "late")
                await withTimeout(.milliseconds(2), cause: late) { ctx in
                    _ = await #expect(throws: ContextError.deadlineExceeded(late)) {
                        try await ctx.withTaskCancellation(nap)
                    }
                }
                let hangUp = ContextCause(code: 499, message: "client hung up")
                await withCancel { ctx in
                    async let outcome: Void = ctx.withTaskCancellation(nap)
                    await Task.yield()
                    ctx.cancel(hangUp)
                    do {
                        try await outcome
                        Issue.record("the work went on")
                    } catch {
                        #expect(error as? ContextError == .cancelled(hangUp))
                    }
                }
                let task = Task { try await withCancel { ctx in try await ctx.withTaskCancellation(nap) } }
                await Task.yield()
                task.cancel()
                await #expect(throws: ContextError.taskCancelled) { try await task.value }
            }
        }

        @Test func aTaskCancelledUnderALiveContextIsACancellationError() async {
            let task = Task {
                try await Context.background.withTaskCancellation { _ in try await Task.sleep(for: .seconds(1000)) }
            }
            await Task.yield()
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
        }

        @Test func aResultThatWasReachedCounts() async throws {
            try await expectNoLeak {
                let result = try await withTimeout(.milliseconds(2)) { ctx in
                    try await ctx.withTaskCancellation { ctx in
                        await ctx.done()
                        while !Task.isCancelled { await Task.yield() }
                        return 42
                    }
                }
                #expect(result == 42)
            }
        }

        @Test func itWaitsForABodyThatIgnoresItsCancellation() async throws {
            let finished = Counter()
            await withTimeout(.zero) { ctx in
                let result = try? await ctx.withTaskCancellation { _ in
                    #expect(Task.isCancelled)
                    for _ in 0..<100 { await Task.yield() }
                    finished.add()
                    return 1
                }
                #expect(result == 1)
                #expect(finished.value == 1)
            }
        }

        @Test func otherErrorsPass() async {
            await withTimeout(.milliseconds(1)) { ctx in
                _ = await #expect(throws: Mishap(number: 7)) {
                    try await ctx.withTaskCancellation { ctx in
                        await ctx.done()
                        throw Mishap(number: 7)
                    }
                }
            }
            await #expect(throws: CancellationError.self) {
                try await Context.background.withTaskCancellation { _ in throw CancellationError() }
            }
        }

        @Test func aClosedContextCancelsTheBodyAtBirth() async {
            let closed = await withCancel { $0 }
            await #expect(throws: ContextError.self) {
                try await closed.withTaskCancellation { _ in try await Task.sleep(for: .seconds(1000)) }
            }
        }

        @MainActor @Test func theChildLeavesTheActorAndTheCallerStays() async throws {
            let own = Counter()
            try await withCancel { ctx in
                let value = try await ctx.withTaskCancellation { _ in
                    await MainActor.run { own.add() }
                    return 5
                }
                MainActor.preconditionIsolated()
                #expect(value == 5)
            }
            #expect(own.value == 1)
        }

        @Test func endAndReturnRace() async {
            await expectNoLeak {
                for round in 0..<200 {
                    await withTimeout(.microseconds(round)) { ctx in
                        do {
                            let result = try await ctx.withTaskCancellation { _ in
                                try await Task.sleep(for: .microseconds(100))
                                return round
                            }
                            #expect(result == round)
                        } catch {
                            #expect((error as? ContextError)?.isDeadline == true)
                        }
                    }
                }
            }
        }
    }
}

private enum Tag: ContextKey { typealias Value = Int }

private struct NeverEnding: ForeignCancellation {
    var error: ContextError? { nil }
}
