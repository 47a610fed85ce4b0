// SPDX-License-Identifier: Apache-2.0
import CBelay
import Testing

@testable import BelayCore

/// References on a parent that threads fight over. The stripes are forced here, because a machine with few cores seldom
/// gets to them by itself.
extension LiveCountTests {
    @Suite(.serialized) struct StripeTests {
        private func striped() -> (belay_ctx, NodePointer) {
            let ctx = belay_with_cancel(belay_background())
            let parent = node(Handle(ctx).index)
            parent.addStripes(generation: Handle(ctx).generation)
            #expect(parent.pointee.references.get() & References.striped != 0)
            return (ctx, parent)
        }

        @Test(arguments: [1, 2, 4, 8, 16])
        func childrenComeAndGo(threads: Int) {
            expectNoLeak {
                for _ in 0..<20 {
                    let (ctx, _) = striped()
                    onThreads(threads) { _ in
                        for _ in 0..<500 { expect(belay_close(belay_with_cancel(ctx)) == BELAY_OK) }
                    }
                    expect(belay_close(ctx) == BELAY_OK)
                }
            }
        }

        @Test(arguments: [1, 2, 4, 8, 16])
        func theParentIsClosedInTheMidst(threads: Int) {
            expectNoLeak {
                for _ in 0..<50 {
                    let (ctx, _) = striped()
                    onThreads(threads + 1) { number in
                        if number == 0 {
                            expect(belay_close(ctx) == BELAY_OK)
                            return
                        }
                        for _ in 0..<100 {
                            let child = belay_with_cancel(ctx)
                            if child.bits == 0 { expect(belay_last_status() == BELAY_ESTALE) }
                            if child.bits != 0 { expect(belay_close(child) == BELAY_OK) }
                        }
                    }
                }
            }
        }

        @Test func childrenMayOutliveTheirParentAndMoveBetweenThreads() {
            expectNoLeak {
                let (ctx, _) = striped()
                let children = Guarded<[belay_ctx]>([])
                onThreads(8) { _ in
                    for _ in 0..<200 {
                        let child = belay_with_cancel(ctx)
                        children.with { $0.append(child) }
                    }
                }
                expect(belay_close(ctx) == BELAY_OK)
                onThreads(8) { number in
                    let all = children.with { $0 }
                    for position in stride(from: number, to: all.count, by: 8) {
                        expect(belay_is_done(all[position]))
                        expect(belay_close(all[position]) == BELAY_OK)
                    }
                }
            }
        }

        /// Stripes may wrap, the word may not: what is given up on a stripe must have been counted there, however it was taken.
        @Test func theWordStaysAsItIsHoweverOftenAParentIsKept() {
            expectNoLeak {
                let (ctx, parent) = striped()
                let other = belay_with_cancel(belay_background())
                func keep() {
                    expect(belay_retain(ctx) == BELAY_OK && belay_close(ctx) == BELAY_OK)
                    expect(belay_close(belay_merge([other, ctx], 2)) == BELAY_OK)
                    expect(belay_close(belay_with_cancel(ctx)) == BELAY_OK)
                }
                keep()  // There is a listen record now, and it is known as such.
                let before = parent.pointee.references.get()
                for _ in 0..<100 { keep() }
                #expect(parent.pointee.references.get() == before)
                for ctx in [ctx, other] { expect(belay_close(ctx) == BELAY_OK) }
            }
        }

        /// A stale handle may lead to a unit that serves another node by now: nothing may stay counted there.
        @Test func staleHandlesCountNothing() {
            expectNoLeak {
                let stale = Guarded<[belay_ctx]>([])
                onThreads(4) { number in
                    for _ in 0..<200 {
                        let ctx = belay_with_cancel(belay_background())
                        node(Handle(ctx).index).addStripes(generation: Handle(ctx).generation)
                        stale.with { $0.append(ctx) }
                        let others = stale.with { $0.suffix(20) }
                        for other in others {
                            let child = belay_with_cancel(other)
                            if child.bits != 0 { belay_close(child) }
                        }
                        belay_close(ctx)
                    }
                }
            }
        }
    }

}

extension belay_ctx: @retroactive @unchecked Sendable {}
