// SPDX-License-Identifier: Apache-2.0
import Belay

enum UserName: ContextKey { typealias Value = String }

func fetch(_ ctx: Context) async throws -> String {
    try ctx.check()  // throws what ended it: deadline, cancel, task
    try await ctx.withTaskCancellation { _ in  // for what knows tasks and no contexts
        try await Task.sleep(for: .milliseconds(5))
    }
    return "hello, \(ctx[UserName.self] ?? "stranger")"
}

let greeting = try await withTimeout(.seconds(1)) { ctx in
    try await ctx.withValue(UserName.self, "ada") { try await fetch($0) }
}
print(greeting)  // hello, ada
