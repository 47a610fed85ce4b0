// SPDX-License-Identifier: Apache-2.0
import Belay
import CBelay
import Testing

extension BelayTests {
    @Suite("roots and identity")
    struct Roots {
        @Test func backgroundIsNeverDone() throws {
            for root in [Context.background, .todo] {
                #expect(!root.isDone)
                #expect(root.error == nil)
                #expect(root.cause == nil)
                #expect(root.remaining == nil)
                #expect(root.deadline == nil)
                try root.check()
            }
        }

        @Test func rootsCannotBeCancelled() {
            #expect(!Context.background.cancel())
            #expect(!Context.todo.cancel(code: 1, message: "no"))
            #expect(!Context.background.isDone)
        }

        @Test func rootsDifferInIdentityOnly() {
            #expect(Context.background == .background)
            #expect(Context.background != .todo)
            #expect(Set([Context.background, .todo, .background]).count == 2)
        }

        @Test func currentIsBackgroundWhereNobodyBoundOne() async {
            #expect(Context.current == .background)
            await Task.detached { #expect(Context.current == .background) }.value
        }

        @Test func derivationsAreDistinct() {
            withCancel { one in
                withCancel { two in
                    #expect(one != two)
                    #expect(Set([one, two, one]).count == 2)
                }
            }
        }

        @Test func noContextReadsAsDone() {
            let none = Context(belay_ctx(bits: 0))
            #expect(none.isDone)
            #expect(none.error?.isUnavailable == true)
            #expect(none.cause?.code == Int64(BELAY_EINVAL.rawValue))
            #expect(none.remaining == .zero)
            #expect(none.deadline == nil)
            #expect(throws: ContextError.self) { try none.check() }
            none.cancel()
        }

        @Test func descriptionsSayTheState() {
            #expect("\(Context.background)".hasSuffix(": live"))
            withTimeout(.seconds(3600)) { #expect("\($0)".hasSuffix(" left")) }
            withTimeout(.zero) { #expect("\($0)".hasSuffix("done, deadline exceeded")) }
        }

        @Test func aContextIsAHandle() {
            #expect(MemoryLayout<Context>.size == 8)
            #expect(MemoryLayout<OwnedContext>.size == 8)
        }
    }
}
