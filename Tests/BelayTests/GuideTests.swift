// SPDX-License-Identifier: Apache-2.0
import Belay
import CBelay
import Glibc
import Testing

// The Swift code of the guide, which docs/ copies from here, with as little around it as makes it run.

private func load(_ what: String, _ ctx: Context) async throws -> String {
    try ctx.check()
    return what
}

private func pageBefore() async throws -> [String] {
    let profile = try await withTimeout(.seconds(1)) { try await load("profile", $0) }
    let orders = try await withTimeout(.seconds(1)) { try await load("orders", $0) }
    return [profile, orders]
}

private func pageAfter() async throws -> [String] {
    try await withTimeout(.seconds(1)) { ctx in
        [try await load("profile", ctx), try await load("orders", ctx)]
    }
}

private struct Identity: Sendable { var trace, user, tenant: String }

private enum Who: ContextKey { typealias Value = Identity }

private func greet(_ identity: Identity) -> String {
    withValue(Who.self, identity) { ctx in
        let who = ctx[Who.self]
        return "hello, \(who?.user ?? "stranger") of \(who?.tenant ?? "nowhere")"
    }
}

private struct Reporter: ~Copyable {
    private let life = OwnedContext(parent: .background)  // ends with the reporter

    func report() -> Bool { !life.context.isDone }
}

private func fetchAll(_ urls: [String]) async throws -> [String] {
    try await withTimeout(.seconds(1)) { ctx in
        try await ctx.withGroup(of: String.self, limit: 8) { group in
            for url in urls { await group.addTask { ctx in try await load(url, ctx) } }
            var pages: [String] = []
            while let page = try await group.next() { pages.append(page) }
            return pages
        }
    }
}

private func serveUntilSignalled(_ serve: @Sendable (Context) async -> Void) async {
    await withSignals([.terminate, .interrupt]) { ctx in
        await serve(ctx)  // until ctx ends
    }
}

private func watch(_ session: Context, _ cleanUp: @escaping @Sendable () -> Void) throws -> Registration {
    try session.onDone(cleanUp)  // no task waits
}

private func sum(_ rows: [Int], _ batch: Context) throws -> Int {
    var sum = 0
    for row in rows {
        let item = batch.lite()
        try item.check()
        sum += row
    }
    return sum
}

private func keepAlive(_ connection: Context) throws {
    try connection.setTimeout(.seconds(60))  // a sign of life
}

private struct Job: ForeignCancellation {
    let ctx: Context  // the framework's job has one inside

    var inner: Context? { ctx }
    var error: ContextError? { ctx.error }
    func listen(_ ended: @escaping @Sendable () -> Void) -> ForeignListening { .inner }
}

private func work(for job: Job) async throws -> String {
    try await withForeignParent(job) { ctx in try await load("work", ctx) }
}

private struct Scratch: ~Copyable {
    var bytes: [UInt8] = []
}

private let scratches = RequestDataPool {
    Scratch()
} reset: {
    $0.bytes.removeAll(keepingCapacity: true)
}

private func serve(_ head: [UInt8], _ server: Context) -> Int {
    server.withData(in: scratches) { ctx, data in
        data.with { $0.bytes.append(contentsOf: head) }
        return ctx.data(in: scratches) { $0.bytes.count } ?? 0  // far below, with nothing but the context
    }
}

private func serveBoth(_ request: Context, _ connection: Context) async throws -> String {
    try await withMerged([request, connection]) { ctx in try await load("answer", ctx) }
}

private func aMinutePasses() -> Bool {
    let clock = VirtualClock()
    let session = OwnedContext(timeout: .seconds(30), parent: clock.background)
    clock.advance(by: .seconds(29))
    let lived = !session.context.isDone
    clock.advance(by: .seconds(1))
    return lived && session.context.isDone
}

private func headers(_ ctx: Context) -> [String: String] {
    ctx.grpcTimeout.map { ["grpc-timeout": $0] } ?? [:]
}

private func answer(_ headers: [String: String]) async throws -> String {
    let left = headers["grpc-timeout"].flatMap { Duration(grpcTimeout: $0) }
    return try await withTimeout(left ?? .seconds(30)) { ctx in try await load("answer", ctx) }
}

extension BelayTests {
    @Suite("the guide")
    struct Guide {
        @Test func deadlinesAndValues() async throws {
            try await expectNoLeak {
                let (one, other) = (try await pageBefore(), try await pageAfter())
                #expect(one == other)
                #expect(greet(Identity(trace: "1", user: "ada", tenant: "7")) == "hello, ada of 7")
                let reporter = Reporter()
                let wanted = reporter.report()
                #expect(wanted)
            }
        }

        @Test func groupsAndLeaves() async throws {
            try await expectNoLeak {
                let pages = try await fetchAll(["a", "b", "c"])
                #expect(pages.sorted() == ["a", "b", "c"])
                let total = try await withCancel { ctx in try sum([1, 2, 3], ctx) }
                #expect(total == 6)
            }
        }

        @Test func otherParents() async throws {
            try await expectNoLeak {
                let end = OwnedContext(parent: .background)
                let worked = try await work(for: Job(ctx: end.context))
                #expect(worked == "work")
                let answered = try await serveBoth(.background, end.context)
                #expect(answered == "answer")
            }
        }

        @Test func dataClocksAndHeaders() async throws {
            try await expectNoLeak {
                let (first, second) = (serve([1, 2, 3], .background), serve([4], .background))
                #expect((first, second) == (3, 1))
                #expect(aMinutePasses())
                let sent = await withTimeout(.seconds(2)) { headers($0) }
                let answered = try await answer(sent)
                #expect(answered == "answer")
            }
        }

        @Test func endsOfSessions() async throws {
            try await expectNoLeak {
                let cleaned = Counter()
                try await withTimeout(.seconds(1)) { ctx in
                    _ = try watch(ctx) { cleaned.add() }
                    try keepAlive(ctx)
                    #expect(ctx.remaining.map { $0 > .seconds(1) } == true)
                }
                await eventually { cleaned.value == 1 }
                await serveUntilSignalled { ctx in
                    kill(getpid(), SIGINT)
                    await ctx.done()
                }
            }
        }
    }
}
