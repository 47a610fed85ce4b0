// SPDX-License-Identifier: Apache-2.0
import Belay

// The code under test. It takes its time from its context, and knows nothing of tests.

/// A connection that ends when nothing was heard for 30 seconds.
struct Session: ~Copyable {
    private let life: OwnedContext

    init(parent: Context) {
        let silence = ContextCause(code: 408, message: "nothing was heard for 30 seconds")
        life = OwnedContext(timeout: .seconds(30), cause: silence, parent: parent)
    }

    var context: Context { life.context }

    func heard() { try? life.context.setTimeout(.seconds(30)) }
}

/// Asks a server, and asks again after 1, 2, 4 … seconds for as long as its budget lasts.
func ask(_ server: Server, budget: Duration) async throws -> String {
    try await withTimeout(budget, cause: ContextCause(code: 504, message: "the server never answered")) { ctx in
        var pause = Duration.seconds(1)
        while true {
            if let answer = await server.answer() { return answer }
            try await ctx.sleep(for: pause)
            pause *= 2
        }
    }
}

/// Answers the n-th time it is asked.
actor Server {
    private let patience: Int
    private(set) var attempts = 0

    init(answersAt patience: Int) { self.patience = patience }

    func answer() -> String? {
        attempts += 1
        return attempts < patience ? nil : "hello"
    }
}
