// SPDX-License-Identifier: Apache-2.0
import Belay
import Testing

extension BelayTests {
    @Suite("many threads")
    struct Concurrency {
        private enum Tag: ContextKey { typealias Value = Probe }

        /// Derive, ask, look up, listen, cancel and close under a shared parent; then count what is left.
        @Test(arguments: [1, 2, 4, 8, 16])
        func aSharedTree(_ tasks: Int) async throws {
            try await expectNoLeak {
                let (deaths, runs, prevented, registered) = (Counter(), Counter(), Counter(), Counter())
                let rounds = 200
                try await withCancel { root in
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        for number in 0..<tasks {
                            group.addTask {
                                for round in 0..<rounds {
                                    try await root.withValue(Tag.self, Probe(deaths)) { ctx in
                                        try await ctx.withTimeout(.microseconds(round % 7 == 0 ? 20 : 1_000_000_000)) {
                                            ctx in
                                            #expect(ctx[Tag.self] != nil)
                                            let registration = try ctx.onDone { runs.add() }
                                            registered.add()
                                            try ctx.after(.seconds(1000)) {}
                                            if (round + number) % 3 == 0, registration.stop() == .prevented {
                                                prevented.add()
                                            }
                                            if round % 5 == 0 { try? await ctx.sleep(for: .microseconds(10)) }
                                            if round % 2 == 0 { ctx.cancel(code: Int64(round), message: "round") }
                                            if ctx.isDone { #expect(ctx.error != nil) }
                                        }
                                    }
                                }
                            }
                        }
                        try await group.waitForAll()
                    }
                    #expect(!root.isDone)
                }
                await eventually { runs.value + prevented.value == registered.value }
                await eventually { deaths.value == tasks * rounds }
            }
        }

        /// One cancel ends all that many tasks wait for.
        @Test(arguments: [1, 2, 4, 8, 16])
        func oneCancelForAll(_ tasks: Int) async {
            await expectNoLeak {
                for _ in 0..<20 {
                    let ended = Counter()
                    await withCancel { root in
                        await withTaskGroup(of: Void.self) { group in
                            for _ in 0..<tasks {
                                group.addTask {
                                    await root.withTimeout(.seconds(1000)) { ctx in
                                        if await ctx.done() == .cancelled(ContextCause(code: 6, message: "all")) {
                                            ended.add()
                                        }
                                    }
                                }
                            }
                            await Task.yield()
                            root.cancel(code: 6, message: "all")
                        }
                    }
                    #expect(ended.value == tasks)
                }
            }
        }
    }
}
