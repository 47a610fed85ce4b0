// SPDX-License-Identifier: Apache-2.0
import Belay
import Testing

// The code of the tutorial (Sources/Belay/Belay.docc/Belay.md), with as little around it as makes it run.

private struct Row: Sendable {}
private struct Request: Sendable { var path = "/" }

private struct Page: Sendable {
    var rows = 0
    mutating func add(_ row: Row) { rows += 1 }
}

private struct Cache: Sendable {
    func get(_ path: String) -> Page? { path == "/cached" ? Page() : nil }
}

private struct Database: Sendable {
    func query(_ path: String) async throws -> [Row] {
        if path == "/slow" { try await Task.sleep(for: .seconds(1000)) }
        return [Row(), Row()]
    }
}

private let (cache, database) = (Cache(), Database())

private enum RequestID: ContextKey { typealias Value = String }

private func answer(_ request: Request) async throws -> Page {
    try await withTimeout(.milliseconds(100)) { ctx in
        let cached = try await lookUpCache(request)
        let rows = try await queryDatabase(request)
        return try await render(cached, rows)
    }
}

private func render(_ cached: Page?, _ rows: [Row]) async throws -> Page {
    var page = cached ?? Page()
    for row in rows {
        try Context.current.check()
        page.add(row)
    }
    return page
}

private func lookUpCache(_ request: Request) async throws -> Page? {
    for attempt in 1...3 {
        if let page = cache.get(request.path) { return page }
        try await Context.current.sleep(for: .milliseconds(5 * attempt))
    }
    return nil
}

private func queryDatabase(_ request: Request) async throws -> [Row] {
    try await withTimeout(.milliseconds(50)) { ctx in
        try await ctx.withTaskCancellation { _ in try await database.query(request.path) }
    }
}

extension BelayTests {
    @Suite("the tutorial")
    struct Tutorial {
        @Test func aRequestThatRunsOutOfTime() async throws {
            do {
                _ = try await answer(Request(path: "/slow"))
                Issue.record("a query that takes its time was answered")
            } catch ContextError.deadlineExceeded {
            }
        }

        @Test func aRequestThatIsAnswered() async throws {
            // Not through answer(_:), whose 100 ms a busy machine may exceed.
            let rows = try await database.query("/")
            #expect(try await render(cache.get("/cached"), rows).rows == 2)
        }

        @Test func aClientThatHangsUp() async {
            do {
                try await withCancel { ctx in
                    ctx.cancel(code: 499, message: "client hung up")
                    _ = try await answer(Request())
                }
                Issue.record("an answer for nobody")
            } catch ContextError.cancelled(let cause) {
                #expect("\(cause)" == "client hung up (499)")
            } catch {
                Issue.record("\(error)")
            }
        }

        @Test func valuesReachFarBelow() async throws {
            func log() -> String { Context.current[RequestID.self] ?? "-" }
            #expect(log() == "-")
            await withValue(RequestID.self, "r-42") { _ in
                await withCancel { _ in
                    await Task.yield()
                    #expect(log() == "r-42")
                }
            }
        }

        @Test func scratchSpaceReachesFarBelow() async throws {
            let scratch = RequestDataPool {
                [Int]()
            } reset: {
                $0.removeAll()
            }
            func answer() async { Context.current.data(in: scratch) { $0.append(1) } }
            for _ in 0..<2 {
                await withData(in: scratch) { ctx, data in
                    await answer()
                    #expect(data.with { $0 } == [1])
                }
            }
        }

        @Test func aConnectionOwnsItsContext() throws {
            final class Connection {
                let life = OwnedContext(parent: .background)
            }
            let closed = Counter()
            do {
                let connection = Connection()
                let ctx = connection.life.context
                let registration = try ctx.onDoneInline { closed.add() }
                try ctx.after(.seconds(1000)) { closed.add() }
                #expect(registration.stop() == .prevented)
                try ctx.onDoneInline { closed.add() }
                #expect(closed.value == 0)
            }
            #expect(closed.value == 1)
        }
    }
}
