// SPDX-License-Identifier: Apache-2.0
import Belay
import CBelay
import Dispatch
import Glibc
import Testing

extension BelayTests {
    @Suite("runtimes")
    struct Runtimes {
        @Test func itsContextsEndWithIt() async {
            await expectNoLeak {
                let runtime = ContextRuntime(name: "test")
                let owner = OwnedContext(timeout: .seconds(1000), parent: runtime.background)
                let ends = Counter()
                #expect(throws: Never.self) { try owner.context.onDone { ends.add() } }
                #expect(!owner.context.isDone)
                #expect(runtime.background.cancel() == false)
                await runtime.shutDown()
                #expect(ends.value == 1)
                #expect(owner.context.cause?.message == "the runtime was freed")
                #expect(await runtime.background.withCancel { $0.error }?.isUnavailable == true)
                await runtime.shutDown()
            }
        }

        @Test func itEndsWithItsLastReference() async {
            await expectNoLeak {
                var runtime: ContextRuntime? = ContextRuntime()
                let owner = OwnedContext(parent: runtime!.background)
                let deaths = Counter()
                #expect(throws: Never.self) {
                    try owner.context.after(.seconds(1000)) { [probe = Probe(deaths)] in
                        withExtendedLifetime(probe) {}
                    }
                }
                runtime = nil
                #expect(owner.context.isDone)
                #expect(deaths.value == 1)
            }
        }

        @Test func itsLastReferenceMayGoInItsOwnCallback() async throws {
            try await expectNoLeak {
                let kept = Shared<ContextRuntime?>(ContextRuntime())
                let gone = Counter()
                let root = kept.get()!.background
                try root.after(.zero) {
                    kept.set(nil)
                    gone.add()
                }
                await eventually { gone.value == 1 && root.isDone }
            }
        }

        @Test func deadlinesAndTimersWork() async throws {
            try await expectNoLeak {
                let runtime = ContextRuntime(tick: .milliseconds(2))
                try await runtime.background.withTimeout(.milliseconds(20)) { ctx in
                    let start = SuspendingClock.now
                    #expect(ctx.deadline! <= start + .milliseconds(20))
                    let runs = Counter()
                    try ctx.after(.milliseconds(1)) { runs.add() }
                    try await ctx.sleep(for: .milliseconds(1))
                    #expect(start.duration(to: .now) >= .milliseconds(1))
                    await eventually { runs.value == 1 }
                    #expect(await ctx.done().isDeadline)
                    // The same clock: instants cross without a change.
                    let deadline = SuspendingClock.now + .seconds(100)
                    await runtime.background.withDeadline(deadline) { #expect($0.deadline == deadline) }
                }
            }
        }

        @Test func thereAreNoMoreContextsThanAllowed() async {
            await expectNoLeak {
                let runtime = ContextRuntime(maxContexts: 2)
                runtime.background.withCancel { one in
                    one.withCancel { two in
                        #expect(!two.isDone)
                        two.withCancel { #expect($0.error?.isUnavailable == true) }
                    }
                }
            }
        }

        @Test func callbacksRunOnItsExecutor() async throws {
            try await expectNoLeak {
                let executor = CountingExecutor()
                let runtime = ContextRuntime(executor: executor)
                let runs = Counter()
                try runtime.background.after(.zero) { runs.add() }
                await eventually { runs.value == 1 }
                #expect(executor.jobs.value >= 1)
                await runtime.shutDown()
            }
        }

        /// The executor has one thread, on which the last reference goes: who waits there waits for himself.
        @Test func theLastReferenceMayGoOnItsOwnExecutor() async throws {
            try await expectNoLeak {
                let (loop, runs, released) = (LoopExecutor(), Counter(), Counter())
                let ended = Shared(false)
                let task = Task(executorPreference: loop) {
                    var runtime: ContextRuntime? = ContextRuntime(executor: loop)
                    let owner = OwnedContext(parent: runtime!.background)
                    try owner.context.onDone { runs.add() }
                    runtime = nil
                    ended.set(owner.context.isDone)
                    released.add()
                }
                try await shortly { released.value == 1 && runs.value == 1 }
                #expect(ended.get())
                try await task.value
            }
        }

        /// Nor may who waits for its end be on the executor.
        @Test func itEndsWhereTheDefaultOneHasTheSameExecutor() async throws {
            try await expectNoLeak {
                let (loop, runs, down) = (LoopExecutor(), Counter(), Counter())
                ContextExecutor.use(loop)
                defer { ContextExecutor.useBuiltInPool() }
                let runtime = ContextRuntime(executor: loop)
                let owner = OwnedContext(parent: runtime.background)
                try owner.context.onDone { runs.add() }
                let task = Task {
                    await runtime.shutDown()
                    down.add()
                }
                try await shortly { down.value == 1 }
                #expect(runs.value == 1)
                await task.value
            }
        }

        @Test func aLoopDrivesAManualOne() async throws {
            try await expectNoLeak {
                let runtime = ContextRuntime(isManual: true)
                let descriptor = try #require(runtime.descriptor)
                #expect(runtime.next == nil)
                let runs = Counter()
                let start = SuspendingClock.now
                try runtime.background.after(.milliseconds(5)) { runs.add() }
                #expect(try #require(runtime.next) <= start + .seconds(5))
                await onThread {
                    while runs.value == 0 {
                        var set = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                        #expect(Glibc.poll(&set, 1, 10_000) == 1)
                        try? runtime.poll()
                    }
                    runtime.blockingShutDown()
                }
                #expect(start.duration(to: .now) >= .milliseconds(5))
                #expect(throws: ContextError.self) { try runtime.poll() }
                #expect(runtime.descriptor == nil)
            }
        }

        @Test func limitsOfNothingAreMistakes() async {
            await #expect(processExitsWith: .failure) { _ = ContextRuntime(maxContexts: 0) }
            await #expect(processExitsWith: .failure) { _ = ContextRuntime(tick: .zero) }
        }

        @Test func oneThatDrivesItselfCannotBePolled() {
            let runtime = ContextRuntime()
            let error = #expect(throws: ContextError.self) { try runtime.poll() }
            #expect(error?.cause.code == Int64(BELAY_EINVAL.rawValue))
            #expect(runtime.descriptor == nil)
            #expect(runtime.next == nil)
        }

        @Test func aBlockingEndGivesUpWaiting() async throws {
            try await expectNoLeak {
                let runtime = ContextRuntime()
                let (gate, begun) = (Shared(false), Counter())
                try runtime.background.after(.zero) {
                    begun.add()
                    while !gate.get() { usleep(100) }
                    #expect(!runtime.blockingShutDown())  // from inside
                }
                await eventually { begun.value == 1 }
                await onThread { #expect(!runtime.blockingShutDown(timeout: .milliseconds(1))) }
                gate.set(true)
                await runtime.shutDown()
            }
        }
    }
}

/// Waits until `condition` holds, and no longer than half a minute, for what would otherwise block a thread for ever:
/// then it throws, because nobody should wait for that thread.
private func shortly(_ location: SourceLocation = #_sourceLocation, _ condition: () -> Bool) async throws {
    for _ in 0..<30_000 where !condition() { try? await Task.sleep(for: .milliseconds(1)) }
    try #require(condition(), sourceLocation: location)
}

/// An event loop: one thread.
private final class LoopExecutor: TaskExecutor {
    private let queue = DispatchQueue(label: "loop")

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}

/// Runs jobs on threads of their own, and counts them.
private final class CountingExecutor: TaskExecutor {
    let jobs = Counter()

    func enqueue(_ job: consuming ExecutorJob) {
        jobs.add()
        let job = UnownedJob(job)
        let own = asUnownedTaskExecutor()
        Task { await onThread { job.runSynchronously(on: own) } }
    }
}
