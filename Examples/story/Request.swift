// SPDX-License-Identifier: Apache-2.0
import Belay

/// Who asks, for log lines deep down in the work.
enum RequestID: ContextKey { typealias Value = String }
enum ClientName: ContextKey { typealias Value = String }

/// A request, and what it will meet.
struct Request: Sendable {
    var id: String
    var client: String
    var budget: Duration = .milliseconds(100)
    /// How long the sub-calls will take: the part of the story that a real server does not know.
    var cache: Duration = .milliseconds(1)
    var database: Duration = .milliseconds(2)
    var rpc: Duration = .milliseconds(2)
    /// When the client loses patience.
    var hangsUpAfter: Duration?
}

/// What became of it, and the log line that it left.
struct Response: Sendable {
    var status: Int
    var cause: String
    var reached: String
    var left: Duration
    var log: String
    var audit: String
}
