// SPDX-License-Identifier: Apache-2.0
import CBelay
import Glibc
import Synchronization
import Testing

@testable import Belay

/// All suites stand in this one, so that they run one after the other: some count the contexts of the whole process.
@Suite(.serialized, .timeLimit(.minutes(5)))
enum BelayTests {}

/// Counts from any thread.
final class Counter: Sendable {
    private let count = Atomic<Int>(0)

    var value: Int { count.load(ordering: .acquiring) }
    func add(_ n: Int = 1) { count.wrappingAdd(n, ordering: .acquiringAndReleasing) }
}

/// Adds itself to a counter when it dies.
final class Probe: Sendable {
    private let deaths: Counter
    init(_ deaths: Counter) { self.deaths = deaths }
    deinit { deaths.add() }
}

/// A value that threads hand to each other.
final class Shared<Value: Sendable>: Sendable {
    private let value: Lock<Value>
    init(_ value: Value) { self.value = Lock(value) }

    func get() -> Value { value.withLock { $0 } }
    func set(_ new: Value) { value.withLock { $0 = new } }
}

/// What a process-wide measurement says now.
func measure(_ name: String) -> Int {
    name.withCString { name in
        var sample = belay_sample(name: name, value: 0, status: BELAY_OK)
        #expect(belay_metrics_read(&sample, 1) == BELAY_OK)
        return Int(sample.value)
    }
}

/// Runs `body`, and expects that it leaves no context and no task behind.
///
/// Other test targets of the same process may have contexts of their own at the same time: the count may fall below the
/// start, and takes until they are done to come down. A limit of time is there only so that a leak fails and does not
/// hang.
func expectNoLeak(
    _ location: SourceLocation = #_sourceLocation, isolation: isolated (any Actor)? = #isolation,
    _ body: () async throws -> Void
) async rethrows {
    _ = OwnPool.runtime  // made by whoever needs it first, and kept
    let (contexts, tasks) = (measure("/ctx/live:contexts"), measure("/task/live:tasks"))
    try await body()
    // Each is to come down once: it may go up again for a moment, for what other threads still do for themselves.
    var (contextsLeft, tasksLeft) = (Int.max, Int.max)
    for _ in 0..<30_000 {
        contextsLeft = min(contextsLeft, measure("/ctx/live:contexts"))
        tasksLeft = min(tasksLeft, measure("/task/live:tasks"))
        if contextsLeft <= contexts && tasksLeft <= tasks { break }
        try? await Task.sleep(for: .milliseconds(1))
    }
    #expect(contextsLeft <= contexts, sourceLocation: location)
    #expect(tasksLeft <= tasks, sourceLocation: location)
}

/// Waits until `condition` holds. The suite's limit of time ends a wait in vain.
func eventually(
    _ location: SourceLocation = #_sourceLocation, isolation: isolated (any Actor)? = #isolation,
    _ condition: () -> Bool
) async {
    while !condition() {
        if Task.isCancelled {
            Issue.record("waited in vain", sourceLocation: location)
            return
        }
        try? await Task.sleep(for: .microseconds(200))
    }
}

/// Runs `body` on a thread of its own, which may block or spin: Dispatch has only as many as there are processors, and
/// tasks run on those too.
func onThread<R: Sendable>(_ body: @escaping @Sendable () -> R) async -> R {
    await withCheckedContinuation { continuation in
        let start = Unmanaged.passRetained(ThreadStart { continuation.resume(returning: body()) })
        var thread = pthread_t()
        let error = pthread_create(
            &thread, nil,
            { raw in
                Unmanaged<ThreadStart>.fromOpaque(raw!).takeRetainedValue().body()
                return nil
            }, start.toOpaque())
        precondition(error == 0, "no thread to be had")
        pthread_detach(thread)
    }
}

private final class ThreadStart: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// Any error but a context's.
struct Mishap: Error, Equatable {
    var number = 0
}

extension ContextError {
    var isDeadline: Bool { if case .deadlineExceeded = self { true } else { false } }
    var isUnavailable: Bool { if case .unavailable = self { true } else { false } }
}
