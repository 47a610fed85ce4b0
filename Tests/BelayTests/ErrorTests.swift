// SPDX-License-Identifier: Apache-2.0
import CBelay
import Testing

@testable import Belay

private enum Name: ContextKey { typealias Value = String }

extension BelayTests {
    @Suite("errors and causes")
    struct Errors {
        @Test func messagesAreCutBetweenCharacters() {
            withCancel { ctx in
                ctx.cancel(code: 1, message: String(repeating: "é", count: 40))
                #expect(ctx.cause?.message == String(repeating: "é", count: 27))
            }
            withCancel { ctx in
                ctx.cancel(code: 1, message: String(repeating: "x", count: 55))
                #expect(ctx.cause?.message.utf8.count == 55)
            }
            withCancel { ctx in
                ctx.cancel(code: 1, message: String(repeating: "x", count: 56))
                #expect(ctx.cause?.message.utf8.count == 55)
            }
        }

        @Test func messagesEndAtANul() {
            withCancel { ctx in
                ctx.cancel(code: 1, message: "one\0two")
                #expect(ctx.cause?.message == "one")
            }
        }

        @Test(arguments: [Int64.min, -1, 0, 1, 17, .max])
        func anyCodeIsKept(_ code: Int64) {
            withCancel { ctx in
                ctx.cancel(code: code, message: "")
                #expect(ctx.error == .cancelled(ContextCause(code: code, message: "")))
            }
        }

        @Test func aCancelWithoutACauseHasTheStatusAndItsText() {
            withCancel { ctx in
                ctx.cancel()
                #expect(ctx.cause?.code == Int64(BELAY_CANCELED.rawValue))
                #expect(ctx.cause?.message == String(cString: belay_status_string(BELAY_CANCELED)))
                #expect("\(ctx.error!)" == "cancelled")
            }
        }

        @Test func theTasksCauseIsToldByAllOfIt() {
            withCancel { ctx in
                ctx.cancel(.taskCancelled)
                #expect(ctx.error == .taskCancelled)
                #expect(ctx.cause == .taskCancelled)
                #expect(ctx.cause?.message == "task cancelled")
            }
            // That number alone may be somebody's own.
            let mine = ContextCause(code: ContextCause.taskCancelled.code, message: "mine")
            withCancel { ctx in
                ctx.cancel(mine)
                #expect(ctx.error == .cancelled(mine))
            }
            // A deadline that carries that code is a deadline all the same.
            withTimeout(.zero, cause: .taskCancelled) { #expect($0.error == .deadlineExceeded(.taskCancelled)) }
        }

        /// The cause of a closed context, handed on, is a cause like any other.
        @Test func aCancelWithTheCauseOfAClosedContextIsACancel() {
            let closed = withCancel { $0 }
            let stale = ContextCause(BELAY_ESTALE)
            #expect(closed.cause == stale)
            withCancel { ctx in
                ctx.cancel(closed.cause!)
                #expect(ctx.error == .cancelled(stale))
                ctx.withCancel { #expect($0.error == .cancelled(stale)) }
            }
            withTimeout(.zero, cause: stale) { #expect($0.error == .deadlineExceeded(stale)) }
            #expect(closed.error == .unavailable(stale))
        }

        @Test func aCodeIsAnyNumber() {
            let (small, large): (Int, UInt64) = (404, .max)
            withCancel { ctx in
                ctx.cancel(code: small, message: "gone")
                #expect(ctx.cause == ContextCause(code: 404, message: "gone"))
            }
            #expect(ContextCause(code: large, message: "").code == .max)
            #expect(ContextCause(code: Int32(-7), message: "").code == -7)
        }

        @Test func errorsDescribeThemselves() {
            let cause = ContextCause(code: 499, message: "client hung up")
            #expect("\(ContextError.cancelled(cause))" == "cancelled: client hung up (499)")
            #expect("\(ContextError.deadlineExceeded(cause))" == "deadline exceeded: client hung up (499)")
            #expect("\(ContextError.taskCancelled)" == "task cancelled")
            #expect("\(ContextError.unavailable(cause))" == "unavailable: client hung up (499)")
            #expect("\(ContextCause(code: 3, message: ""))" == "(3)")
            withTimeout(.zero) { #expect("\($0.error!)" == "deadline exceeded") }
            // Numbers that are statuses too are left out only with the statuses' own texts.
            let (one, two) = (ContextCause(code: 1, message: "hung up"), ContextCause(code: 2, message: "too slow"))
            #expect("\(ContextError.cancelled(one))" == "cancelled: hung up (1)")
            #expect("\(ContextError.deadlineExceeded(two))" == "deadline exceeded: too slow (2)")
        }

        @Test func noErrorNamesAFunctionOfC() {
            for status: UInt32 in 0..<64 {
                #expect(!ContextCause(belay_status(rawValue: status)).message.contains("belay_"))
            }
            Context.background.withValue(Name.self, "ada") { ctx in
                let error = #expect(throws: ContextError.self) { try ctx.setTimeout(.seconds(1)) }
                #expect(error?.cause.code == Int64(BELAY_ENOCANCEL.rawValue))
                #expect(error?.cause.message.contains("withTimeout") == true)
            }
        }

        @Test func aNumberThatTheMessageSaysIsNotRepeated() {
            let signal = ContextCause(code: 2, message: "signal 2 (SIGINT)")
            #expect("\(signal)" == "signal 2 (SIGINT)")
            #expect("\(ContextError.cancelled(signal))" == "cancelled: signal 2 (SIGINT)")
            #expect("\(ContextCause(code: -5, message: "error -5: broken pipe"))" == "error -5: broken pipe")
            #expect("\(ContextCause(code: 504, message: "504"))" == "504")
            for other in ["signal 12 (SIGUSR2)", "shard2 is full", "2.5 seconds", "-2", "HTTP/1.2", "a-2"] {
                #expect("\(ContextCause(code: 2, message: other))" == "\(other) (2)")
            }
        }

        @Test func errorAndCauseAgreeWhileAnotherThreadCloses() async {
            for _ in 0..<500 {
                let owner = OwnedContext(parent: .background)
                let ctx = owner.context
                async let reader = onThread {
                    var seen: Set<ContextError> = []
                    while true {
                        guard let error = ctx.error else { continue }
                        seen.insert(error)
                        if error.isUnavailable { return seen }
                    }
                }
                ctx.cancel(code: 5, message: "five")
                owner.close()
                for error in await reader {
                    switch error {
                    case .cancelled(let cause): #expect(cause == ContextCause(code: 5, message: "five"))
                    case .unavailable(let cause): #expect(cause.code == Int64(BELAY_ESTALE.rawValue))
                    default: Issue.record("\(error)")
                    }
                }
            }
        }
    }
}
