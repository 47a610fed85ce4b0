// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import Belay

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

        /// Swift cancels the tasks before it tells the scope. Here the second one's handler holds the canceller up in
        /// between, until what the first one threw has ended the context.
        @Test func aTaskThatIsCancelledFirstThrowsAnEcho() async {
            await expectNoLeak {
                let started = Counter()
                let task = Task {
                    try await withContextGroup(of: Void.self) { group in
                        await group.addTask { _ in
                            started.add()
                            while !Task.isCancelled { await Task.yield() }
                            throw CancellationError()
                        }
                        await group.addTask { ctx in
                            await withTaskCancellationHandler {
                                started.add()
                                await ctx.done()
                            } onCancel: {
                                for _ in 0..<10_000 where !ctx.isDone { usleep(1000) }
                            }
                        }
                        try await group.waitForAll()
                    }
                }
                await eventually { started.value == 2 }
                await onThread { task.cancel() }
                await #expect(throws: ContextError.taskCancelled) { try await task.value }
            }
        }

        /// The same where nobody holds anybody up.
        @Test func cancellingTheCallerIsNoErrorOfATask() async {
            await expectNoLeak {
                for _ in 0..<300 {
                    let started = Counter()
                    let task = Task {
                        try await withContextGroup(of: Void.self) { group in
                            await group.addTask { _ in
                                started.add()
                                try await Task.sleep(for: .seconds(1000))
                            }
                            try await group.waitForAll()
                        }
                    }
                    await eventually { started.value == 1 }
                    task.cancel()
                    await #expect(throws: ContextError.taskCancelled) { try await task.value }
                }
            }
        }

        @Test func anotherContextsErrorIsNoEcho() async {
            let budget = ContextCause(code: 7, message: "the database's budget")
            await #expect(throws: ContextError.deadlineExceeded(budget)) {
                try await withContextGroup(of: Void.self) { group in
                    await group.addTask { ctx in
                        try await Context.background.withTimeout(.zero, cause: budget) { own in
                            await ctx.done()  // by now the group has an end of its own
                            try own.check()
                        }
                    }
                    await group.addTask { ctx in try await ctx.sleep(for: .seconds(1000)) }
                    group.context.cancel(code: 499, message: "client hung up")
                }
            }
        }

        @Test func theContextsOwnErrorIsAnEcho() async {
            let cause = ContextCause(code: 9, message: "nine")
            await withTimeout(.zero, cause: cause) { _ in
                await #expect(throws: Mishap(number: 2)) {
                    try await withContextGroup(of: Void.self) { group in
                        await group.addTask { ctx in try ctx.check() }
                        try? await group.waitForAll()
                        await group.addTask { _ in throw Mishap(number: 2) }
                    }
                }
                await #expect(throws: ContextError.deadlineExceeded(cause)) {
                    try await withContextGroup(of: Void.self) { group in
                        await group.addTask { ctx in try ctx.check() }
                    }
                }
            }
        }

        @Test func aGroupTellsWhetherItIsEmpty() async throws {
            let result = try await withContextGroup(of: Int.self, limit: 1) { group in
                let isEmpty = group.isEmpty
                #expect(isEmpty)
                for number in 0..<3 { await group.addTask(priority: .high) { _ in number } }
                var numbers: [Int] = []
                while !group.isEmpty { numbers.append(try await group.next()!) }
                #expect(numbers == [0, 1, 2])
                let last = try await group.next()
                #expect(last == nil)
                return Uncopied(number: numbers.count)
            }
            #expect(result.number == 3)
        }

        @Test func aQueueKeepsTheOrderAndNothingElse() async {
            let deaths = Counter()
            var (queue, twin) = (Queue<(Int, Probe)>(), [Int]())
            var taken = 0
            for number in 0..<2000 {
                queue.append((number, Probe(deaths)))
                twin.append(number)
                for _ in 0..<[0, 1, 3, 0][number % 4] {
                    let (first, expected) = (queue.removeFirst()?.0, twin.isEmpty ? nil : twin.removeFirst())
                    #expect(first == expected)
                    if first != nil { taken += 1 }
                    #expect(deaths.value == taken)
                    #expect(queue.isEmpty == twin.isEmpty)
                }
            }
            queue.removeAll()
            #expect(deaths.value == 2000)
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

private struct Uncopied: ~Copyable {
    var number: Int
}

private enum GroupTag: ContextKey { typealias Value = Int }
