// SPDX-License-Identifier: Apache-2.0
import Belay
import CBelay
import Testing

extension BelayTests {
    @Suite("synchronous scopes")
    struct Scopes {
        @Test func aScopeClosesItsContext() async {
            await expectNoLeak {
                let escaped = withCancel { ctx in
                    #expect(!ctx.isDone)
                    return ctx
                }
                #expect(escaped.isDone)
                #expect(escaped.error?.isUnavailable == true)
                #expect(escaped.cause?.code == Int64(BELAY_ESTALE.rawValue))
                #expect(escaped.remaining == .zero)
            }
        }

        @Test func aScopeClosesItsContextWhenTheBodyThrows() async {
            await expectNoLeak {
                let escaped = Shared(Context.background)
                #expect(throws: Mishap(number: 3)) {
                    try withTimeout(.seconds(100)) { ctx in
                        escaped.set(ctx)
                        throw Mishap(number: 3)
                    }
                }
                #expect(escaped.get().isDone)
            }
        }

        @Test func theErrorKeepsItsType() {
            do throws(ContextError) {
                try withTimeout(.zero) { ctx throws(ContextError) in try ctx.check() }
                Issue.record("a deadline that has passed went unnoticed")
            } catch {
                #expect(error.isDeadline)
            }
        }

        @Test func currentIsBoundForTheBody() {
            withTimeout(.seconds(100)) { outer in
                #expect(Context.current == outer)
                withCancel { inner in
                    #expect(Context.current == inner)
                    #expect(inner.deadline == outer.deadline)
                }
                #expect(Context.current == outer)
            }
            #expect(Context.current == .background)
        }

        @Test func methodsDeriveFromTheirContext() {
            withTimeout(.seconds(100)) { outer in
                Context.background.withCancel { inner in
                    #expect(inner.deadline == nil)
                    #expect(Context.current == inner)
                    outer.withCancel { #expect($0.deadline == outer.deadline) }
                }
            }
        }

        @Test(arguments: [Duration.zero, .nanoseconds(-1), .seconds(-100), .seconds(Int64.min)])
        func aTimeoutThatHasPassedIsDoneAtBirth(_ timeout: Duration) {
            withTimeout(timeout) { ctx in
                #expect(ctx.isDone)
                #expect(ctx.error?.isDeadline == true)
                #expect(ctx.cause?.code == Int64(BELAY_DEADLINE_EXCEEDED.rawValue))
                #expect(ctx.cause?.message.isEmpty == false)
                #expect(ctx.remaining == .zero)
            }
        }

        @Test func deadlinesThatHavePassedAreDoneAtBirth() {
            withDeadline(SuspendingClock.now - .seconds(1)) { #expect($0.error?.isDeadline == true) }
            withDeadline(ContinuousClock.now - .seconds(1)) { #expect($0.error?.isDeadline == true) }
        }

        @Test(arguments: [Duration.seconds(Int64.max), .nanoseconds(Int64.max), .nanoseconds(Int64.max - 1)])
        func aTimeoutBeyondTheClockMeansNever(_ timeout: Duration) {
            withTimeout(timeout) { ctx in
                #expect(!ctx.isDone)
                #expect(ctx.remaining == nil)
                #expect(ctx.deadline == nil)
            }
        }

        @Test func theEarlierDeadlineCounts() {
            withTimeout(.seconds(10)) { outer in
                withTimeout(.seconds(1000)) { #expect($0.deadline == outer.deadline) }
                withTimeout(.seconds(5)) { inner in
                    #expect(inner.deadline! < outer.deadline!)
                    #expect(inner.remaining! <= .seconds(5))
                    #expect(inner.remaining! > .zero)
                }
            }
        }

        @Test func theDeadlinesCauseIsGivenIfTheDeadlineEndsIt() {
            let cause = ContextCause(code: 504, message: "too slow")
            withTimeout(.zero, cause: cause) { #expect($0.error == .deadlineExceeded(cause)) }
            withDeadline(SuspendingClock.now, cause: cause) { #expect($0.error == .deadlineExceeded(cause)) }
            withDeadline(ContinuousClock.now, cause: cause) { #expect($0.error == .deadlineExceeded(cause)) }
        }

        @Test func aCancelThatComesFirstLeavesNoTraceOfTheDeadlinesCause() {
            withTimeout(.seconds(100), cause: ContextCause(code: 504, message: "too slow")) { ctx in
                #expect(ctx.cancel())
                #expect(ctx.cause?.code == Int64(BELAY_CANCELED.rawValue))
            }
        }

        @Test func cancelEndsTheContextAndAllBelow() {
            withCancel { outer in
                outer.withTimeout(.seconds(100)) { middle in
                    middle.withCancel { inner in
                        let cause = ContextCause(code: 499, message: "client hung up")
                        #expect(outer.cancel(cause))
                        for ctx in [outer, middle, inner] { #expect(ctx.error == .cancelled(cause)) }
                        #expect(middle.deadline != nil)
                    }
                }
            }
        }

        @Test func theFirstEndCounts() {
            withCancel { ctx in
                #expect(ctx.cancel(code: 1, message: "first"))
                #expect(ctx.cancel(code: 2, message: "second"))
                #expect(ctx.cause == ContextCause(code: 1, message: "first"))
            }
            withTimeout(.zero) { ctx in
                #expect(ctx.cancel(code: 2, message: "late"))
                #expect(ctx.error?.isDeadline == true)
            }
        }

        @Test func aChildsEndDoesNotEndItsParent() {
            withCancel { outer in
                outer.withCancel { inner in
                    inner.cancel()
                    #expect(inner.isDone)
                }
                #expect(!outer.isDone)
            }
        }

        @Test func aChildOfADoneContextIsDoneAtBirthWithItsCause() {
            withCancel { outer in
                outer.cancel(code: 7, message: "seven")
                outer.withTimeout(.seconds(100)) { inner in
                    #expect(inner.error == .cancelled(ContextCause(code: 7, message: "seven")))
                }
            }
        }

        @Test func aChildOfAClosedContextReadsAsDone() {
            let closed = withCancel { $0 }
            closed.withTimeout(.seconds(100)) { ctx in
                #expect(ctx.isDone)
                #expect(ctx.error?.isUnavailable == true)
            }
        }

        @Test func closingAParentEndsItsChildren() {
            let child = withCancel { ctx in OwnedContext(parent: ctx).context }
            #expect(child.isDone)
            let parent = OwnedContext(parent: .background)
            let kept = OwnedContext(parent: parent.context)
            parent.close()
            #expect(kept.context.isDone)
            #expect(kept.context.error?.cause.code == Int64(BELAY_CANCELED.rawValue))
        }

        @Test func withoutCancelHasNoEnd() {
            withTimeout(.zero) { ended in
                ended.withoutCancel { ctx in
                    #expect(Context.current == ctx)
                    #expect(!ctx.isDone)
                    #expect(ctx.error == nil)
                    #expect(ctx.deadline == nil)
                    #expect(!ctx.cancel())
                    #expect(!ctx.isDone)
                    ctx.withTimeout(.seconds(10)) { #expect(!$0.isDone) }
                }
            }
        }
    }

    @Suite("async scopes")
    struct AsyncScopes {
        final class NotSendable {
            var count = 0
        }

        @Test func aScopeClosesItsContext() async {
            await expectNoLeak {
                let escaped = await withTimeout(.seconds(100)) { ctx in
                    await Task.yield()
                    #expect(Context.current == ctx)
                    #expect(!ctx.isDone)
                    return ctx
                }
                #expect(escaped.error?.isUnavailable == true)
                #expect(Context.current == .background)
            }
        }

        @Test func aScopeClosesItsContextWhenTheBodyThrows() async {
            await expectNoLeak {
                let escaped = Shared(Context.background)
                do throws(Mishap) {
                    try await withCancel { ctx async throws(Mishap) in
                        await Task.yield()
                        escaped.set(ctx)
                        throw Mishap(number: 3)
                    }
                    Issue.record("the error got lost")
                } catch {
                    #expect(error.number == 3)
                }
                #expect(escaped.get().isDone)
            }
        }

        @Test func allFormsRunTheirBody() async {
            let cause = ContextCause(code: 504, message: "too slow")
            await withTimeout(.zero, cause: cause) { ctx in
                await Task.yield()
                #expect(ctx.error == .deadlineExceeded(cause))
            }
            await withDeadline(SuspendingClock.now, cause: cause) { ctx in
                await Task.yield()
                #expect(ctx.error == .deadlineExceeded(cause))
            }
            await withDeadline(ContinuousClock.now, cause: cause) { ctx in
                await Task.yield()
                #expect(ctx.error == .deadlineExceeded(cause))
                await ctx.withoutCancel { ctx in
                    await Task.yield()
                    #expect(!ctx.isDone)
                    #expect(Context.current == ctx)
                }
            }
        }

        @Test func childTasksInheritCurrent() async {
            await withTimeout(.seconds(100)) { ctx in
                async let inherited = Context.current
                #expect(await inherited == ctx)
                #expect(await Task { Context.current }.value == ctx)
                #expect(await Task.detached { Context.current }.value == .background)
            }
        }

        @MainActor @Test func theBodyStaysOnTheCallersActor() async {
            var count = 0
            let own = NotSendable()
            await withTimeout(.seconds(100)) { ctx in
                MainActor.preconditionIsolated()
                await Task.yield()
                MainActor.preconditionIsolated()
                count += 1
                own.count += 1
                await ctx.withCancel { _ in
                    await Task.yield()
                    MainActor.preconditionIsolated()
                    own.count += 1
                }
                try? await ctx.sleep(for: .microseconds(1))
                MainActor.preconditionIsolated()
            }
            #expect(count == 1)
            #expect(own.count == 2)
        }

        @MainActor @Test func aBodyThatInheritsItsActorStaysThere() async throws {
            // Not a closure of the main actor: it runs where it is called, so this sees where that is.
            nonisolated(nonsending) func inherit(_ own: NotSendable) async throws {
                try await withTimeout(.seconds(100)) { ctx in
                    MainActor.preconditionIsolated()
                    own.count += 1
                    try await ctx.sleep(for: .microseconds(1))
                    MainActor.preconditionIsolated()
                    await ctx.withValue(Tag.self, 1) { inner in
                        MainActor.preconditionIsolated()
                        ctx.cancel()
                        await inner.done()
                        MainActor.preconditionIsolated()
                        own.count += 1
                    }
                }
                _ = try? await Context.background.withTaskCancellation { _ in throw CancellationError() }
                MainActor.preconditionIsolated()
            }
            let own = NotSendable()
            _ = try? await inherit(own)
            #expect(own.count == 2)
        }

        private enum Tag: ContextKey { typealias Value = Int }

        @Test func theBodyStaysOnAnActor() async {
            actor Place {
                var count = 0
                func work() async -> Int {
                    await withCancel { ctx in
                        preconditionIsolated()
                        count += 1
                        await Task.yield()
                        preconditionIsolated()
                        ctx.cancel()
                        await ctx.done()
                        preconditionIsolated()
                        count += 1
                    }
                    return count
                }
            }
            #expect(await Place().work() == 2)
        }
    }
}
