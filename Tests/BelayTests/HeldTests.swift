// SPDX-License-Identifier: Apache-2.0
import CBelay
import Testing

@testable import Belay

extension BelayTests {
    /// C holds a reference on what it will call back. It must come back in every way that there is.
    @Suite("what C holds")
    struct Held {
        @Test func aBellThatIsUntied() async {
            weak var bell: DoneBell?
            let owner = OwnedContext(parent: .background)
            do {
                let own = DoneBell()
                bell = own
                let rope = own.ring(atEndOf: owner.context)
                #expect(rope != nil)
                rope?.untie()
            }
            #expect(bell == nil)
            owner.close()
        }

        @Test func aBellThatHasRung() async {
            weak var bell: DoneBell?
            let owner = OwnedContext(parent: .background)
            do {
                let own = DoneBell()
                bell = own
                let rope = own.ring(atEndOf: owner.context)
                owner.context.cancel()
                await own.sleep(isolation: #isolation)
                own.ring()
                rope?.untie()
            }
            #expect(bell == nil)
            owner.close()
        }

        @Test func aBellOnADoneContext() {
            weak var bell: DoneBell?
            withTimeout(.zero) { ctx in
                let own = DoneBell()
                bell = own
                own.ring(atEndOf: ctx)?.untie()
            }
            #expect(bell == nil)
        }

        @Test func aBellOnAClosedContext() {
            weak var bell: DoneBell?
            do {
                let own = DoneBell()
                bell = own
                #expect(own.ring(atEndOf: withCancel { $0 }) == nil)
            }
            #expect(bell == nil)
        }

        @Test func aCallbackThatIsStopped() throws {
            weak var callback: Callback?
            try withCancel { ctx in
                let registration = try ctx.onDone {}
                callback = registration.callback
                #expect(callback != nil)
                registration.stop()
                registration.stop()
            }
            #expect(callback == nil)
        }

        @Test func aCallbackThatHasRun() async throws {
            weak var pooled: Callback?
            weak var inline: Callback?
            try await withCancel { ctx in
                pooled = try ctx.onDone {}.callback
                inline = try ctx.onDoneInline {}.callback
                #expect(pooled != nil)
                #expect(inline != nil)
            }
            #expect(inline == nil)
            await eventually { pooled == nil }
        }

        @Test func aTimerThatIsStopped() throws {
            weak var once: TimerCore?
            weak var often: TimerCore?
            do {
                let timers = try [
                    Context.background.after(.seconds(1000)) {}, Context.background.every(.seconds(1000)) {},
                ]
                (once, often) = (timers[0].core, timers[1].core)
                for timer in timers { timer.stop() }
            }
            #expect(once == nil)
            #expect(often == nil)
        }

        @Test func aTimerThatHasRun() async throws {
            weak var core: TimerCore?
            core = try Context.background.after(.milliseconds(1)) {}.core
            await eventually { core == nil }
        }

        @Test func aTimerWhoseContextHasEnded() throws {
            weak var once: TimerCore?
            weak var often: TimerCore?
            weak var late: TimerCore?
            try withCancel { ctx in
                once = try ctx.after(.seconds(1000)) {}.core
                often = try ctx.every(.seconds(1000)) {}.core
                #expect(once != nil)
                ctx.cancel()
                #expect(once == nil)
                #expect(often == nil)
                late = try ctx.after(.zero) {}.core
                #expect(late == nil)
            }
        }

        @Test func aBoxGoesBackToItsPool() {
            enum Key: ContextKey { typealias Value = Int }
            let pool = KeyRegistry.record(for: Key.self).pool.takeUnretainedValue()
            #expect(pool.take() == nil)
            withValue(Key.self, 1) { _ in
                withValue(Key.self, 2) { ctx in
                    #expect(ctx[Key.self] == 2)
                    #expect(pool.take() == nil)
                }
            }
            for round in 0..<100 { withValue(Key.self, round) { #expect($0[Key.self] == round) } }
            // Two at the same time at most: two boxes, however many values there were.
            #expect(pool.take() != nil)
            #expect(pool.take() != nil)
            #expect(pool.take() == nil)
        }

        @Test func aLookUpKeepsItsHandsOffAnEmptyBox() {
            let pool = ValuePool()
            let box = ValueBox.make("full", of: pool).takeUnretainedValue()
            #expect(box.tryHold())
            box.letGo()
            #expect(box.value == "full")
            box.letGo()
            #expect(box.value == nil)
            #expect(!box.tryHold())
            #expect(pool.take() === box)
        }
    }
}
