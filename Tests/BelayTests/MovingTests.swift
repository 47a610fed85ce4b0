// SPDX-License-Identifier: Apache-2.0
import Belay
import Testing

extension BelayTests {
    @Suite("moving")
    struct Moving {
        @Test func aDeadlineMoves() async throws {
            try await expectNoLeak {
                try withTimeout(.seconds(1000)) { ctx in
                    let child = OwnedContext(parent: ctx)
                    let earlier = SuspendingClock.now + .seconds(100)
                    try ctx.setDeadline(earlier)
                    #expect(ctx.deadline == earlier)
                    #expect(child.context.deadline == earlier)
                    try ctx.setTimeout(.seconds(5000))
                    #expect(ctx.remaining! > .seconds(4000))
                    try ctx.setDeadline(ContinuousClock.now + .seconds(50))
                    #expect(ctx.remaining! <= .seconds(50) && ctx.remaining! > .seconds(10))
                    try ctx.setTimeout(nil)
                    #expect(ctx.deadline == nil)
                    try ctx.setDeadline(.now + .seconds(60))  // the runtime's own clock
                    #expect(ctx.remaining! <= .seconds(60))
                    try ctx.setTimeout(.seconds(Int64.max))
                    #expect(child.context.remaining == nil)
                    try ctx.setTimeout(.zero)
                    #expect(ctx.error?.isDeadline == true)
                    #expect(child.context.error?.isDeadline == true)
                }
            }
        }

        @Test func notPastTheParents() async throws {
            try await expectNoLeak {
                try withTimeout(.seconds(10)) { parent in
                    try withTimeout(.seconds(5)) { ctx in
                        try ctx.setTimeout(.seconds(5000))
                        #expect(ctx.deadline == parent.deadline)
                    }
                }
            }
        }

        @Test func signsOfLifeKeepItAlive() async throws {
            try await expectNoLeak {
                try await withTimeout(.seconds(1000)) { ctx in
                    for _ in 0..<5 {
                        try ctx.setTimeout(.seconds(1000))
                        try await ctx.sleep(for: .milliseconds(1))
                    }
                    try ctx.setTimeout(.milliseconds(2))
                    #expect(await ctx.done().isDeadline)
                }
            }
        }

        @Test func whatHasEndedDoesNotMove() async {
            await expectNoLeak {
                let cause = ContextCause(code: 3, message: "three")
                withCancel { ctx in
                    ctx.cancel(cause)
                    #expect(throws: ContextError.cancelled(cause)) { try ctx.setTimeout(.seconds(1)) }
                }
                withTimeout(.zero, cause: cause) { ctx in
                    #expect(ctx.isDone)
                    #expect(throws: ContextError.deadlineExceeded(cause)) { try ctx.setTimeout(nil) }
                }
                let closed = withCancel { $0 }
                for ctx in [Context.background, closed] {
                    do throws(ContextError) {
                        try ctx.setTimeout(.seconds(1))
                        Issue.record("moved")
                    } catch {
                        #expect(error.isUnavailable)
                    }
                }
            }
        }

        @Test func anOwnerIsReset() async throws {
            try await expectNoLeak {
                var owner = OwnedContext(timeout: .seconds(1000), parent: .background)
                for _ in 0..<3 {
                    let old = owner.context
                    try owner.reset()
                    #expect(owner.context != old)
                    #expect(old.error?.isUnavailable == true)
                    #expect(owner.context.error == nil && owner.context.deadline == nil)
                    try owner.context.setTimeout(.seconds(1000))
                }
                owner.close()
            }
        }

        @Test func whatOthersHoldIsNotReset() async {
            await expectNoLeak {
                var owner = OwnedContext(parent: .background)
                let before = owner.context
                do {
                    let child = OwnedContext(parent: owner.context)
                    do throws(ContextError) {
                        try owner.reset()
                        Issue.record("reset under a child")
                    } catch {
                        #expect(error.isUnavailable)
                    }
                    #expect(owner.context == before && !child.context.isDone)
                }
                owner.context.cancel(code: 5, message: "five")
                do throws(ContextError) {
                    try owner.reset()
                    Issue.record("reset after the end")
                } catch {
                    #expect(error == .cancelled(ContextCause(code: 5, message: "five")))
                }
            }
        }
    }
}
