// SPDX-License-Identifier: Apache-2.0
import Belay
import Testing

extension BelayTests {
    @Suite("groups of tasks")
    struct Groups {
        @Test func allTasksRunAndAllResultsCome() async throws {
            try await expectNoLeak {
                let sum = try await withContextGroup(of: Int.self) { group in
                    for number in 1...100 { await group.addTask { _ in number } }
                    var sum = 0
                    while let number = try await group.next() { sum += number }
                    return sum
                }
                #expect(sum == 5050)
            }
        }

        @Test(arguments: [1, 2, 5]) func theLimitHolds(limit: Int) async throws {
            let (now, most, runs) = (Counter(), Shared(0), Counter())
            let results = try await withContextGroup(of: Int.self, limit: limit) { group in
                for number in 0..<50 {
                    await group.addTask { _ in
                        now.add()
                        most.set(max(most.get(), now.value))
                        await Task.yield()
                        runs.add()
                        now.add(-1)
                        return number
                    }
                }
                var results: [Int] = []
                while let number = try await group.next() { results.append(number) }
                return results
            }
            #expect(most.get() <= limit)
            #expect(runs.value == 50)
            #expect(results.sorted() == Array(0..<50))  // also those that addTask has waited for
        }

        @Test func theFirstErrorEndsTheOthersAndIsThrown() async {
            await expectNoLeak {
                await #expect(throws: Mishap(number: 7)) {
                    try await withContextGroup { group in
                        for _ in 0..<5 {
                            await group.addTask { ctx in
                                try await ctx.sleep(for: .seconds(1000))  // its error is an echo
                            }
                        }
                        await group.addTask { _ in throw Mishap(number: 7) }
                        await group.addTask { _ in try await Task.sleep(for: .seconds(1000)) }  // heeds its task alone
                    }
                }
            }
        }

        @Test func theErrorIsTheContextsCause() async {
            let cause = Shared<ContextCause?>(nil)
            await #expect(throws: Mishap.self) {
                try await withContextGroup { group in
                    await group.addTask { ctx in
                        await ctx.done()
                        cause.set(ctx.cause)
                        try ctx.check()
                    }
                    await group.addTask { _ in throw Mishap(number: 3) }
                }
            }
            #expect(cause.get()?.code == 25)
            #expect(cause.get()?.message.contains("3") == true)
        }

        @Test func echoesHideNothing() async {
            await #expect(throws: Mishap(number: 1)) {
                try await withContextGroup { group in
                    await group.addTask { ctx in
                        await ctx.done()
                        throw Mishap(number: 1)  // after the end, and yet an error
                    }
                    await group.addTask { ctx in try await ctx.sleep(for: .seconds(1000)) }
                    group.context.cancel(code: 5, message: "five")
                }
            }
            await #expect(throws: ContextError.cancelled(ContextCause(code: 5, message: "five"))) {
                try await withContextGroup { group in
                    await group.addTask { _ in try await Task.sleep(for: .seconds(1000)) }
                    group.context.cancel(code: 5, message: "five")
                }
            }
            // Nobody minded.
            await #expect(throws: Never.self) {
                try await withContextGroup { group in
                    await group.addTask { ctx in await ctx.done() }
                    group.context.cancel()
                }
            }
        }

        @Test func theBodysErrorEndsTheTasks() async {
            await #expect(throws: Mishap(number: 9)) {
                try await withContextGroup { group in
                    await group.addTask { ctx in try await ctx.sleep(for: .seconds(1000)) }
                    throw Mishap(number: 9)
                }
            }
            await #expect(throws: Mishap(number: 8)) {
                try await withContextGroup(of: Int.self) { group in
                    await group.addTask { _ in throw Mishap(number: 8) }
                    while try await group.next() != nil {}
                    Issue.record("next() does not throw")
                }
            }
            await #expect(throws: Mishap(number: 6)) {
                try await withContextGroup { group in
                    await group.addTask { _ in throw Mishap(number: 6) }
                    try await group.waitForAll()
                    Issue.record("waitForAll() does not throw")
                }
            }
        }

        @Test func theDeadlineAndTheTaskEndIt() async {
            await #expect(throws: ContextError.self) {
                try await withTimeout(.milliseconds(5)) { _ in
                    try await withContextGroup { group in
                        await group.addTask { _ in try await Task.sleep(for: .seconds(1000)) }
                    }
                }
            }
            let task = Task {
                try await withContextGroup { group in
                    await group.addTask { ctx in try await ctx.sleep(for: .seconds(1000)) }
                }
            }
            task.cancel()
            await #expect(throws: ContextError.taskCancelled) { try await task.value }
        }

        @Test func tasksHaveTheGroupsContext() async throws {
            try await withValue(GroupTag.self, 4) { _ in
                try await withContextGroup(of: Void.self) { group in
                    let context = group.context
                    #expect(Context.current == context)
                    await group.addTask { ctx in
                        #expect(ctx == context)
                        #expect(Context.current == context)
                        #expect(ctx[GroupTag.self] == 4)
                    }
                }
            }
        }

        @MainActor @Test func theBodyStaysOnItsActor() async throws {
            var count = 0
            try await withContextGroup { group in
                MainActor.assertIsolated()
                await group.addTask { _ in }
                MainActor.assertIsolated()
                count += 1
            }
            #expect(count == 1)
        }

        @Test func callbacksRunOnTheHostsExecutor() async throws {
            try await expectNoLeak {
                for own in [false, true] {
                    if own {
                        ContextExecutor.use(globalConcurrentExecutor)
                    } else {
                        ContextExecutor.useGlobalConcurrent()
                    }
                    defer { ContextExecutor.useBuiltInPool() }
                    let runs = Counter()
                    let owner = OwnedContext(parent: .background)
                    for _ in 0..<20 { try owner.context.onDone { runs.add() } }
                    try owner.context.after(.milliseconds(1)) { runs.add() }
                    await eventually { runs.value == 1 }
                    owner.close()
                    await eventually { runs.value == 21 }
                }
            }
        }
    }
}

private enum GroupTag: ContextKey { typealias Value = Int }
