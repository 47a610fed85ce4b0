// SPDX-License-Identifier: Apache-2.0
import Belay

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Sends requests to the server, tells what happens, and ticks off what should.
@main
struct Story {
    private let server = Server()
    private let expectations = Expectations()

    static func main() async {
        let story = Story()
        await story.fast()
        await story.slowDatabase()
        await story.slowRPC()
        await story.manyAtOnce()
        await story.hangUp()
        await story.shutdown()
        print("\n\(story.expectations.summary)")
        if !story.expectations.allHeld { exit(1) }
    }

    private func fast() async {
        print("A fast request: three sub-calls share a budget of 100 ms.")
        let answer = await ask(Request(id: "r-1", client: "alice"))
        expect(answer.status == 200 && answer.reached == "all", "it is answered")
        expect(answer.left > .zero, "there is time left")
        expect(answer.log.hasPrefix("r-1 for alice:"), "the log line has the request's id and client")
    }

    private func slowDatabase() async {
        print("\nA request whose database takes a minute.")
        let start = SuspendingClock.now
        let answer = await ask(Request(id: "r-2", client: "bob", database: .seconds(60)))
        expect(answer.status == 504 && answer.cause == "deadline exceeded", "its deadline ends it")
        expect(answer.reached == "database", "it had reached the database")
        expect(start.duration(to: .now) >= .milliseconds(100), "it was given its 100 ms")
        expect(answer.audit == "audit: r-2 504", "the audit record was written all the same")
    }

    private func slowRPC() async {
        print("\nA request whose RPC takes a minute, with a client that knows tasks and no contexts.")
        let answer = await ask(Request(id: "r-3", client: "carol", rpc: .seconds(60)))
        expect(answer.status == 504 && answer.reached == "rpc", "the deadline cancels the RPC's task")
        expect(answer.cause == "deadline exceeded", "and the error tells the deadline, not just a cancelled task")
    }

    private func manyAtOnce() async {
        print("\nFifty requests at once, every other one too slow.")
        let statuses = await withTaskGroup(of: Int.self) { group in
            for number in 0..<50 {
                var request = Request(id: "m-\(number)", client: "dave")
                if number % 2 == 1 {
                    request.database = .seconds(60)
                } else {
                    request.budget = .seconds(10)
                }
                group.addTask { [server] in await server.answer(request).status }
            }
            return await group.reduce(into: [:]) { $0[$1, default: 0] += 1 }
        }
        expect(statuses == [200: 25, 504: 25], "25 are answered, 25 run out of time")
    }

    private func hangUp() async {
        print("\nA client that hangs up in the middle.")
        let answer = await ask(
            Request(
                id: "r-4", client: "erin", budget: .seconds(60), database: .seconds(60),
                hangsUpAfter: .milliseconds(20)))
        expect(answer.status == 499 && answer.reached == "database", "the work stops")
        expect(answer.cause == "cancelled: client hung up (499)", "and knows why")
        expect(answer.left > .seconds(1), "long before its deadline")
    }

    private func shutdown() async {
        print("\nA shutdown in the middle of work, with 2 s of grace.")
        async let quick = ask(
            Request(id: "r-5", client: "frank", budget: .seconds(60), database: .milliseconds(60)))
        async let endless = ask(
            Request(id: "r-6", client: "grace", budget: .seconds(60), database: .seconds(60)))
        while await server.inFlight < 2 { await Task.yield() }
        async let drained: Void = server.shutDown(grace: .seconds(2))
        while await !server.isRefusing { await Task.yield() }
        let refused = await ask(Request(id: "r-7", client: "heidi"))
        expect(refused.status == 503, "new work is refused")
        await drained
        let (finished, cut) = await (quick, endless)
        expect(finished.status == 200, "work that needs a little longer finishes")
        expect(
            cut.status == 499 && cut.cause == "cancelled: server shutting down (15)",
            "the rest is cancelled, and knows why")
        expect(await server.inFlight == 0, "nothing is left behind")
    }

    private func ask(_ request: Request) async -> Response {
        let answer = await server.answer(request)
        print("  \(answer.log)")
        return answer
    }

    private func expect(_ holds: Bool, _ what: String) { expectations.expect(holds, what) }
}
