// SPDX-License-Identifier: Apache-2.0
import CBelay
import Glibc
import Synchronization
import Testing

@testable import BelayCore

/// Counts that threads keep to themselves, of a parent that they fight over. What is lost or counted twice shows in the number
/// of contexts that live, which must be exact.
extension LiveCountTests {
    @Suite(.serialized) struct SeatTests {
        private func striped() -> belay_ctx {
            let ctx = belay_with_cancel(belay_background())
            _ = Barrier.isThere()  // or it would not be known yet
            node(Handle(ctx).index).addStripes(generation: Handle(ctx).generation)
            return ctx
        }

        /// Comes to the parent so often that the calling thread has a seat there. False if it was closed.
        @discardableResult private func sit(_ ctx: belay_ctx) -> Bool {
            let handle = Handle(ctx)
            guard let thread = Thread.current else { return false }
            for _ in 0..<2 * Habit.patience {
                if isSeated(handle, thread) { return true }
                let child = belay_with_cancel(ctx)
                if child.bits == 0 { return false }
                expect(belay_close(child) == BELAY_OK)
            }
            return false
        }

        private func isSeated(_ handle: Handle, _ thread: UnsafeMutablePointer<BelayCore.Thread>) -> Bool {
            let parent = node(handle.index)
            guard thread.pointee.seat.acquire(parent, handle.index, generation: handle.generation) else { return false }
            // Closed by another thread meanwhile, and counted there: then it is given up there, as by anybody.
            if !thread.pointee.seat.release(parent, handle.index) { parent.release() }
            return true
        }

        private func expectSameLive(_ location: SourceLocation = #_sourceLocation, _ body: () -> Void) {
            let before = metric("/ctx/live:contexts")
            body()
            #expect(metric("/ctx/live:contexts") == before, sourceLocation: location)
        }

        @Test func aThreadThatComesAgainTakesASeat() {
            expectSameLive {
                guard Barrier.isThere(), let thread = Thread.current else { return }
                let ctx = striped()
                expect(!isSeated(Handle(ctx), thread))
                expect(sit(ctx))
                expect(belay_close(ctx) == BELAY_OK)
                expect(!isSeated(Handle(ctx), thread))
            }
        }

        @Test func noThreadWaitsUntilTheSystemIsAsked() {
            expectSameLive {
                guard Barrier.isThere() else { return }
                let ctx = striped()
                Globals.pointer.pointee.barrier.set(Barrier.asked)
                expect(!sit(ctx))
                Globals.pointer.pointee.barrier.set(Barrier.unknown)
                let end = belay_now() + 10_000_000_000
                while !sit(ctx) && belay_now() < end {}
                expect(sit(ctx))
                expect(belay_close(ctx) == BELAY_OK)
            }
        }

        @Test func whatWasCountedThereKeepsTheParent() {
            expectSameLive {
                guard Barrier.isThere() else { return }
                let ctx = striped(), parent = node(Handle(ctx).index)
                expect(sit(ctx))
                let children = (0..<5).map { _ in belay_with_cancel(ctx) }
                expect(belay_close(ctx) == BELAY_OK)
                for child in children {
                    #expect(parent.pointee.references.get() & References.countMask != 0)
                    expect(belay_is_done(child) && belay_close(child) == BELAY_OK)
                }
                #expect(parent.pointee.references.get() & References.countMask == 0)
            }
        }

        @Test func aSeatMovesAndLeavesItsCountBehind() {
            expectSameLive {
                guard Barrier.isThere() else { return }
                let first = striped(), second = striped()
                var children: [belay_ctx] = []
                for _ in 0..<3 {
                    for ctx in [first, second] {
                        expect(sit(ctx))
                        children.append(belay_with_cancel(ctx))
                    }
                }
                for ctx in [first, second] { expect(belay_close(ctx) == BELAY_OK) }
                for ctx in [first, second] {
                    #expect(node(Handle(ctx).index).pointee.references.get() & References.countMask == 3)
                }
                for child in children { expect(belay_close(child) == BELAY_OK) }
            }
        }

        /// A node that closes as it gets stripes has no use for them, and is never collapsed: what is counted on a seat there
        /// would be lost.
        @Test func thereIsNoSeatOnANodeThatIsClosing() {
            expectSameLive {
                let ctx = belay_with_cancel(belay_background()), handle = Handle(ctx), closing = node(handle.index)
                expect(closing.acquire(generation: handle.generation))
                closing.pointee.references.bitwiseOr(References.closing, ordering: .relaxed)  // a close has won
                closing.addStripes(generation: handle.generation)
                wishForASeat(handle)
                Thread.current.map { expect(!isSeated(handle, $0)) }
                closing.pointee.references.bitwiseAnd(~References.closing, ordering: .relaxed)
                closing.release()
                expect(belay_close(ctx) == BELAY_OK)
            }
        }

        /// Nor on one that was closed: no close would ever come to take it away.
        @Test func thereIsNoSeatOnANodeThatWasClosed() {
            expectSameLive {
                let ctx = striped(), handle = Handle(ctx), closed = node(handle.index)
                expect(closed.acquire(generation: handle.generation))
                expect(belay_close(ctx) == BELAY_OK)
                wishForASeat(handle)
                closed.release()
                let other = striped()
                expect(sit(other) || !Barrier.isThere())
                expect(belay_close(other) == BELAY_OK)
            }
        }

        private func wishForASeat(_ handle: Handle) {
            guard let thread = Thread.current else { return expect(false) }
            for _ in 0..<100 { thread.look(node(handle.index), handle) }
        }

        /// A thread that was interrupted in the middle of counting stays there for as long as it does not run, or for good.
        @Test func aCloseWaitsForNobody() {
            expectSameLive {
                guard Barrier.isThere(), let own = Thread.current else { return }
                nonisolated(unsafe) let thread = own
                let ctx = belay_with_cancel(belay_background()), parent = node(Handle(ctx).index)
                expect(sit(ctx))
                thread.pointee.seat.word.set(thread.pointee.seat.word.get() &+ 1)
                onThreads(1) { _ in expect(belay_close(ctx) == BELAY_OK) }
                // The close has found the change, so it is the owner's reference.
                #expect(parent.pointee.references.get() & References.countMask == 1)
                parent.release()
            }
        }

        /// Nobody else need ever come near: one thread that keeps deriving from one context is enough.
        @Test func aThreadAloneTakesASeat() {
            expectSameLive {
                guard Barrier.isThere() else { return }
                let ctx = belay_with_cancel(belay_background()), parent = node(Handle(ctx).index)
                expect(sit(ctx))
                #expect(parent.pointee.references.get() & References.striped != 0)
                expect(belay_close(ctx) == BELAY_OK)
            }
        }

        /// It derives from that one at every third step only, and from one that is new each time at the others.
        @Test func aThreadThatComesAgainAfterOthersTakesASeat() {
            expectSameLive {
                guard Barrier.isThere(), let thread = Thread.current else { return }
                let ctx = belay_with_cancel(belay_background())
                var steps = 0
                while !isSeated(Handle(ctx), thread) && steps < 1_000_000 {
                    let request = belay_with_cancel(ctx), first = belay_with_cancel(request)
                    let second = belay_with_timeout(request, 1_000_000_000)
                    for context in [second, first, request] { expect(belay_close(context) == BELAY_OK) }
                    steps += 1
                }
                expect(steps < 1_000_000)
                expect(belay_close(ctx) == BELAY_OK)
            }
        }

        /// Each of them would have to be closed with a barrier.
        @Test func thereIsNoSeatWhereAThreadComesSeldom() {
            expectSameLive {
                guard let thread = Thread.current else { return }
                let parents = (0..<100).map { _ in belay_with_cancel(belay_background()) }
                for _ in 0..<1000 {
                    for parent in parents { expect(belay_close(belay_with_cancel(parent)) == BELAY_OK) }
                }
                for parent in parents {
                    expect(!isSeated(Handle(parent), thread))
                    expect(belay_close(parent) == BELAY_OK)
                }
            }
        }

        @Test func aSeatOutlivesItsThread() {
            expectSameLive {
                let ctx = striped()
                let children = Guarded<[belay_ctx]>([])
                for _ in 0..<20 {
                    onThreads(2) { _ in
                        sit(ctx)
                        let child = belay_with_cancel(ctx)
                        children.with { $0.append(child) }
                    }
                }
                expect(belay_close(ctx) == BELAY_OK)
                for child in children.with({ $0 }) { expect(belay_close(child) == BELAY_OK) }
            }
        }

        /// Parents are renewed while threads sit on them, and children are closed by any thread.
        @Test(arguments: [1, 2, 3, 4, 8, 16])
        func parentsComeAndGo(threads: Int) {
            expectSameLive {
                let parents = Guarded<[belay_ctx]>((0..<3).map { _ in striped() })
                let children = Guarded<[belay_ctx]>([])
                onThreads(threads) { number in
                    var random = UInt64(number + 1) &* 0x9e37_79b9_7f4a_7c15
                    func choice(_ count: Int) -> Int {
                        random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                        return Int(random >> 33) % count
                    }
                    for _ in 0..<scaled(1500) / threads {
                        let parent = parents.with { $0[choice($0.count)] }
                        switch choice(8) {
                        case 0:
                            let new = striped()
                            let old = parents.with { all in
                                let position = choice(all.count), old = all[position]
                                all[position] = new
                                return old
                            }
                            expect(belay_close(old) == BELAY_OK)
                        case 1, 2: sit(parent)
                        case 3, 4, 5:
                            let child = belay_with_cancel(parent)
                            if child.bits != 0 { children.with { $0.append(child) } }
                        default:
                            let child = children.with { $0.isEmpty ? belay_ctx() : $0.remove(at: choice($0.count)) }
                            if child.bits != 0 { expect(belay_close(child) == BELAY_OK) }
                        }
                    }
                }
                for ctx in parents.with({ $0 }) + children.with({ $0 }) { expect(belay_close(ctx) == BELAY_OK) }
            }
        }
    }
}
