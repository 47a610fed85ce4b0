// SPDX-License-Identifier: Apache-2.0
import Belay
import Testing

extension BelayTests {
    @Suite("contexts with several parents")
    struct Merging {
        @Test(arguments: [0, 1, 2])
        func theFirstParentToEndEndsIt(_ which: Int) async {
            await expectNoLeak {
                let why = ContextCause(code: Int64(which), message: "parent \(which)")
                let one = OwnedContext(parent: .background)
                let two = OwnedContext(timeout: .seconds(1000), parent: .background)
                let three = OwnedContext(parent: .background)
                let parents = [one.context, two.context, three.context]
                withMerged(parents) { ctx in
                    #expect(!ctx.isDone)
                    #expect(Context.current == ctx)
                    parents[which].cancel(why)
                    #expect(ctx.error == .cancelled(why))
                }
                for (number, parent) in parents.enumerated() { #expect(parent.isDone == (number == which)) }
                one.close()
                two.close()
                three.close()
            }
        }

        @Test func itHasTheFirstsValuesAndTheEarliestDeadline() async {
            await expectNoLeak {
                await withValue(Tag.self, 7) { first in
                    await withTimeout(.seconds(1000)) { second in
                        await first.withMerged(with: [second]) { ctx in
                            #expect(ctx[Tag.self] == 7)
                            #expect(ctx.deadline == second.deadline)
                            #expect(Context.current == ctx)
                            await Task.yield()
                        }
                        #expect(!first.isDone && !second.isDone)
                    }
                }
            }
        }

        @Test func itsOwnCancelEndsNoParent() async {
            await expectNoLeak {
                withCancel { first in
                    withCancel { second in
                        withMerged([first, second]) { ctx in
                            ctx.cancel()
                            #expect(ctx.isDone)
                        }
                        // Where a single parent counts, too.
                        withMerged([first, .background, first]) { ctx in
                            #expect(ctx != first)
                            ctx.cancel()
                            #expect(ctx.isDone)
                        }
                        let owner = OwnedContext(merging: [second, .background])
                        owner.context.cancel()
                        owner.close()
                        #expect(!first.isDone && !second.isDone)
                        withMerged([first]) { ctx in
                            first.cancel()
                            #expect(ctx.isDone)
                        }
                    }
                }
            }
        }

        @Test func aCancelledTaskEndsItAndNoParent() async {
            await expectNoLeak {
                let owner = OwnedContext(parent: .background)
                let parent = owner.context
                let task = Task { await withMerged([parent, .background]) { ctx in await ctx.done() } }
                await Task.yield()
                task.cancel()
                #expect(await task.value == .taskCancelled)
                #expect(!parent.isDone)
            }
        }

        @Test func whatCannotBeMadeReadsAsDone() {
            let closed = withCancel { $0 }
            withMerged([.background, closed]) { #expect($0.error?.isUnavailable == true) }
            withMerged([]) { #expect($0.error?.isUnavailable == true) }
            #expect(OwnedContext(merging: [closed]).context.isDone)
        }

        @Test func aParentThatIsClosedEndsIt() async {
            await expectNoLeak {
                let first = OwnedContext(parent: .background)
                let second = OwnedContext(parent: .background)
                let owner = OwnedContext(merging: [first.context, second.context])
                first.close()
                #expect(owner.context.isDone)
                second.close()
                owner.close()
            }
        }
    }
}

private enum Tag: ContextKey { typealias Value = Int }
