// SPDX-License-Identifier: Apache-2.0
import Belay

/// A server as people write them, without the network: each request has a budget, which its sub-calls share.
actor Server {
    /// All work hangs on this one, and ends with it.
    private let life = OwnedContext(parent: .background)
    private(set) var isRefusing = false
    private(set) var inFlight = 0
    private var drained: CheckedContinuation<Void, Never>?

    /// Answers one request.
    func answer(_ request: Request) async -> Response {
        guard !isRefusing else {
            return Response(
                status: 503, cause: "shutting down", reached: "nothing", left: .zero, log: "\(request.id) refused",
                audit: "")
        }
        inFlight += 1
        defer {
            inFlight -= 1
            if inFlight == 0 { drained?.resume() }
        }
        return await life.context.withTimeout(request.budget) { ctx in
            if let patience = request.hangsUpAfter {
                _ = try? ctx.after(patience) { ctx.cancel(code: 499, message: "client hung up") }
            }
            return await ctx.withValue(RequestID.self, request.id) { ctx in
                await ctx.withValue(ClientName.self, request.client) { ctx in
                    await work(ctx, request)
                }
            }
        }
    }

    /// Refuses new work, gives the old work `grace` to finish, then cancels it, and returns when all is done.
    func shutDown(grace: Duration) async {
        isRefusing = true
        let all = life.context
        let patience = try? all.after(grace) { all.cancel(code: 15, message: "server shutting down") }
        if inFlight > 0 { await withCheckedContinuation { drained = $0 } }
        patience?.stop()
    }

    private func work(_ ctx: Context, _ request: Request) async -> Response {
        var (status, reached) = (200, "nothing")
        do {
            reached = "cache"
            try await ctx.sleep(for: request.cache)
            reached = "database"
            try await queryDatabase(request)
            reached = "rpc"
            // This client was written by somebody who has never heard of contexts. It heeds its task's cancellation.
            try await ctx.withTaskCancellation { _ in try await Task.sleep(for: request.rpc) }
            reached = "all"
        } catch ContextError.deadlineExceeded {
            status = 504
        } catch {
            status = 499
        }
        let left = ctx.deadline.map { max(.zero, SuspendingClock.now.duration(to: $0)) } ?? .zero
        let cause = ctx.error?.description ?? "ok"
        // The audit record is written although the request may be over, with the request's values.
        let audit = await ctx.withoutCancel { ctx in await writeAudit(ctx, status) }
        let log =
            "\(ctx[RequestID.self] ?? "?") for \(ctx[ClientName.self] ?? "?"): "
            + "\(status), \(cause); reached \(reached); \(Int(left / .milliseconds(1))) ms left"
        return Response(status: status, cause: cause, reached: reached, left: left, log: log, audit: audit)
    }

    /// Gets no context as a parameter: it finds the one of its task. Its own limit only counts if it is the earlier
    /// one.
    private func queryDatabase(_ request: Request) async throws {
        try await withTimeout(.seconds(30), cause: ContextCause(code: 1, message: "database too slow")) { ctx in
            try await ctx.sleep(for: request.database)
        }
    }

    private func writeAudit(_ ctx: Context, _ status: Int) async -> String {
        guard (try? await ctx.sleep(for: .milliseconds(1))) != nil else { return "lost" }
        return "audit: \(ctx[RequestID.self] ?? "?") \(status)"
    }
}
