// SPDX-License-Identifier: Apache-2.0
import CBelay
import Glibc
import Testing

@testable import BelayCore

/// Suites that count what lives in the process stand in this one, so that they run one after the other.
@Suite(.serialized) enum LiveCountTests {}

/// Runs `body`, and expects it to leave no more cells in use than there were. Other test targets of the process may have
/// contexts of their own meanwhile, so the count is given time to come down: a leak never does.
func expectNoLeak(_ location: SourceLocation = #_sourceLocation, _ body: () -> Void) {
    let names: [StaticString] = ["/ctx/live:contexts", "/task/live:tasks", "/memory/records:records"]
    let before = names.map(metric)
    body()
    for (name, start) in zip(names, before) {
        for _ in 0..<20_000 {
            if metric(name) <= start { break }
            usleep(1000)
        }
        #expect(metric(name) <= start, "\(name)", sourceLocation: location)
    }
}

/// A count of rounds, scaled by BELAY_TEST_SCALE as those of the C tests are.
func scaled(_ count: Int) -> Int {
    let scale = getenv("BELAY_TEST_SCALE").flatMap { Double(String(cString: $0)) } ?? 1
    return max(Int(Double(count) * scale), 1)
}

/// `#expect` for inner loops: under the thread sanitizer the macro would take most of a test's time.
@inline(__always) func expect(
    _ holds: Bool, _ comment: @autoclosure () -> Comment? = nil, _ location: SourceLocation = #_sourceLocation
) {
    if !holds { Issue.record(comment(), sourceLocation: location) }
}

/// Runs `body` on `count` threads of its own at once, and waits for all.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    final class Start: Sendable {
        let number: Int
        let body: @Sendable (Int) -> Void
        init(_ number: Int, _ body: @escaping @Sendable (Int) -> Void) {
            self.number = number
            self.body = body
        }
    }
    var threads: [pthread_t] = []
    for number in 0..<count {
        var thread = pthread_t()
        let start = Unmanaged.passRetained(Start(number, body))
        let error = pthread_create(
            &thread, nil,
            { raw in
                let start = Unmanaged<Start>.fromOpaque(raw!).takeRetainedValue()
                start.body(start.number)
                return nil
            }, start.toOpaque())
        #expect(error == 0)
        threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
}

/// A value behind the core's own lock: the thread sanitizer sees through that one, and not through the library's `Mutex`.
final class Guarded<Value>: @unchecked Sendable {
    private let lock = Lock()
    private var value: Value

    init(_ value: Value) { self.value = value }

    func with<R>(_ body: (inout Value) -> R) -> R {
        lock.lock()
        defer { lock.unlock() }
        return body(&value)
    }
}

func metric(_ name: StaticString) -> UInt64 {
    name.withUTF8Buffer { bytes in
        bytes.withMemoryRebound(to: CChar.self) { chars in
            var sample = belay_sample(name: chars.baseAddress, value: 0, status: BELAY_OK)
            _ = belay_metrics_read(&sample, 1)
            return sample.value
        }
    }
}
