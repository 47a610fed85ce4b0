// SPDX-License-Identifier: Apache-2.0
import Belay
import CBelay
import Testing

extension BelayTests {
    @Suite("owners and C")
    struct Owners {
        private enum Tag: ContextKey { typealias Value = Probe }

        @Test func closeEndsTheContext() async {
            await expectNoLeak {
                let owner = OwnedContext(parent: .background)
                let ctx = owner.context
                #expect(!ctx.isDone)
                owner.close()
                #expect(ctx.error?.isUnavailable == true)
            }
        }

        @Test func theOwnersEndClosesTheContext() async {
            await expectNoLeak {
                var ctx = Context.background
                do {
                    let owner = OwnedContext(parent: .background)
                    ctx = owner.context
                    #expect(!ctx.isDone)
                }
                #expect(ctx.isDone)
            }
        }

        @Test func aClassMayOwnOne() async {
            final class Connection {
                let life = OwnedContext(timeout: .seconds(1000), parent: .background)
            }
            await expectNoLeak {
                var connection: Connection? = Connection()
                let ctx = connection!.life.context
                let child = OwnedContext(parent: ctx)
                #expect(!child.context.isDone)
                connection = nil
                #expect(ctx.isDone)
                #expect(child.context.isDone)
            }
        }

        @Test func allFormsDerive() async {
            await expectNoLeak {
                let deaths = Counter()
                let cause = ContextCause(code: 1, message: "one")
                do {
                    #expect(OwnedContext(timeout: .zero, cause: cause).context.isDone == true)
                    let timed = OwnedContext(timeout: .seconds(10))
                    #expect(timed.context.remaining != nil)
                    let suspending = OwnedContext(deadline: .now + .seconds(10))
                    #expect(suspending.context.remaining != nil)
                    let continuous = OwnedContext(deadline: ContinuousClock.now + .seconds(10))
                    #expect(continuous.context.remaining != nil)
                    let late = OwnedContext(deadline: .now, cause: cause)
                    #expect(late.context.error == .deadlineExceeded(cause))
                    let value = OwnedContext(Tag.self, Probe(deaths))
                    #expect(value.context[Tag.self] != nil)
                    let hidden = OwnedContext(Tag.self, nil, parent: value.context)
                    #expect(hidden.context[Tag.self] == nil)
                    let free = OwnedContext(withoutCancel: late.context)
                    #expect(!free.context.isDone)
                    withCancel { #expect(OwnedContext().context != $0) }
                }
                #expect(deaths.value == 1)
            }
        }

        @Test func anOwnerUnderAClosedContextIsDone() {
            let closed = withCancel { $0 }
            let owner = OwnedContext(parent: closed)
            #expect(owner.context.error?.isUnavailable == true)
            owner.close()
        }

        @Test func theLastOfSeveralOwnersCloses() async throws {
            try await expectNoLeak {
                let one = OwnedContext(parent: .background)
                let two = try OwnedContext(retaining: one.context)
                let ctx = one.context
                #expect(two.context == ctx)
                one.close()
                #expect(!ctx.isDone)
                two.close()
                #expect(ctx.isDone)
                #expect(throws: ContextError.self) { _ = try OwnedContext(retaining: ctx) }
            }
        }

        @Test func aHandleFromCIsAContext() async {
            await expectNoLeak {
                let handle = belay_with_timeout(belay_background(), 1_000_000_000_000)
                let ctx = Context(handle)
                #expect(!ctx.isDone)
                #expect(ctx.remaining != nil)
                #expect(belay_cancel_cause(handle, 77, "from C") == BELAY_OK)
                #expect(ctx.error == .cancelled(ContextCause(code: 77, message: "from C")))
                #expect(belay_close(handle) == BELAY_OK)
                #expect(ctx.error?.isUnavailable == true)
            }
        }

        @Test func anOwnerAdoptsAndGivesAway() async {
            await expectNoLeak {
                let adopted = OwnedContext(adopting: belay_with_cancel(belay_background()))
                let ctx = adopted.context
                #expect(!ctx.isDone)
                let handle = adopted.take()
                #expect(!ctx.isDone)
                #expect(belay_close(handle) == BELAY_OK)
                #expect(ctx.isDone)
            }
        }

        @Test func cSeesWhatSwiftDid() {
            withTimeout(.zero) { #expect(belay_err($0.handle) == BELAY_DEADLINE_EXCEEDED) }
            withCancel { ctx in
                let child = belay_with_cancel(ctx.handle)
                ctx.cancel(code: 12, message: "twelve")
                var cause = belay_cause()
                #expect(belay_cause_of(child, &cause))
                #expect(cause.code == 12)
                #expect(belay_close(child) == BELAY_OK)
            }
        }
    }
}
