// SPDX-License-Identifier: Apache-2.0
import Belay

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Tests timeouts of half a minute and more in microseconds: the contexts live by a clock that the test moves.
@main
enum VirtualClockExample {
    static func main() async {
        let began = SuspendingClock.now
        silence()
        await retries()
        await heartbeat()
        print("\nall that took \(SuspendingClock.now - began) of real time")
    }

    /// Without tasks: move the clock, and look.
    private static func silence() {
        print("A session that may be silent for 30 seconds")
        let clock = VirtualClock()
        let session = Session(parent: clock.background)
        clock.advance(by: .seconds(29))
        expect(!session.context.isDone, "29 seconds of silence are fine")
        session.heard()
        clock.advance(by: .seconds(29))
        expect(!session.context.isDone, "it was heard, so 29 more are fine")
        clock.advance(by: .seconds(1) - .nanoseconds(1))
        expect(!session.context.isDone, "a nanosecond before the time it still lives")
        clock.advance(by: .nanoseconds(1))
        expect(session.context.cause?.code == 408, "at the time it ends: \(session.context.cause?.message ?? "-")")
        expect(clock.now.offset == .seconds(59), "the clock shows \(clock.now)")
    }

    /// With tasks: whenever all of them wait the clock jumps to what is due next.
    private static func retries() async {
        print("\nA client that asks again after 1, 2, 4 and 8 seconds")
        let clock = VirtualClock()
        await clock.run { _ in
            let server = Server(answersAt: 5)
            let answer = try? await ask(server, budget: .seconds(30))
            expect(answer == "hello", "the fifth attempt is answered")
            expect(clock.now.offset == .seconds(15), "after \(clock.now)")
        }
        await clock.run { _ in
            let (server, start) = (Server(answersAt: .max), clock.now)
            do {
                _ = try await ask(server, budget: .seconds(30))
                expect(false, "an answer from nobody")
            } catch {
                expect((error as? ContextError)?.cause.code == 504, "30 seconds without one: \(error)")
            }
            expect(await server.attempts == 5, "it had asked five times")
            expect(clock.now - start == .seconds(30), "and gave up to the nanosecond")
        }
    }

    /// Step by step: `await advance` lets all tasks catch up at each instant on the way.
    private static func heartbeat() async {
        print("\nA heartbeat every 10 seconds, for a quarter of an hour")
        let clock = VirtualClock()
        await clock.run { ctx in
            let server = Server(answersAt: .max)
            async let beating: Void = {
                for await _ in ctx.ticks(every: .seconds(10)) { _ = await server.answer() }
            }()
            await clock.advance(by: .zero)
            await clock.advance(by: .seconds(9))
            expect(await server.attempts == 0, "none after 9 seconds")
            await clock.advance(by: .seconds(891))
            expect(await server.attempts == 90, "90 after 15 minutes, none missed")
            ctx.cancel()
            await beating
        }
    }

    private static func expect(_ holds: Bool, _ what: String) {
        print(holds ? "  ✓ \(what)" : "  ✗ \(what)")
        if !holds { exit(1) }
    }
}
