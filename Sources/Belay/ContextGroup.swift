// SPDX-License-Identifier: Apache-2.0
import CBelay

/// Runs `body` with a group of child tasks under one context, as the standard library's task groups, and better about
/// errors: the first real one ends the context, and with it the other tasks, and is thrown.
///
/// The same as `Context.current.withGroup`, which has the contract.
public nonisolated(nonsending) func withContextGroup<ChildResult: Sendable, R: ~Copyable>(
    of childResult: ChildResult.Type = ChildResult.self,
    limit: Int? = nil,
    _ body: nonisolated(nonsending) (inout ContextGroup<ChildResult>) async throws -> R
) async throws -> R {
    try await Context.current.withGroup(of: childResult, limit: limit, body)
}

extension Context {
    /// Runs `body` with a group of child tasks under a child of this context, on the caller's actor.
    ///
    /// ```swift
    /// try await ctx.withGroup(of: Page.self, limit: 8) { group in
    ///     for url in urls { await group.addTask { ctx in try await fetch(url, ctx) } }
    ///     while let page = try await group.next() { show(page) }
    /// }
    /// ```
    ///
    /// Structured: this returns when `body` has and every task has. The first real error, of a task or of `body`, ends
    /// the group's context at once, with itself as the cause: tasks that ask their context stop. Task cancellation
    /// follows, for tasks that heed nothing else, as soon as `body` waits for the group or has returned; so it does
    /// when the context ends in another way.
    ///
    /// A `CancellationError`, ``ContextError/taskCancelled``, or the context's own ``error``, thrown when the context
    /// has ended, is no error but an *echo* of that end. It never hides a real error, be it earlier or later. Another
    /// context's error, such as a deadline that a task set itself, is a real one.
    ///
    /// When the calling task is cancelled, so is the context. Tasks may see their own cancellation a moment before:
    /// what they throw then is an echo, too.
    ///
    /// - Parameters:
    ///   - childResult: What the tasks return.
    ///   - limit: How many tasks may run at a time; `nil` is no limit. At least 1.
    ///   - body: Gets the group. ``current`` is the group's context, in `body` and in the tasks.
    /// - Returns: What `body` returns.
    /// - Throws: The first real error; if there were only echoes, the context's ``error``.
    public nonisolated(nonsending) func withGroup<ChildResult: Sendable, R: ~Copyable>(
        of childResult: ChildResult.Type = ChildResult.self,
        limit: Int? = nil,
        _ body: nonisolated(nonsending) (inout ContextGroup<ChildResult>) async throws -> R
    ) async throws -> R {
        precondition(limit.map { $0 > 0 } ?? true, "a group must admit at least one task")
        let outcome = await withTaskScope(of: makeCancel(), isolation: #isolation) { context in
            await Self.run(body, under: context, limit: limit, isolation: #isolation)
        }
        return try outcome.get()
    }

    private static func run<ChildResult: Sendable, R: ~Copyable>(
        _ body: nonisolated(nonsending) (inout ContextGroup<ChildResult>) async throws -> R,
        under context: Context, limit: Int?, isolation: isolated (any Actor)?
    ) async -> Result<R, any Error> {
        let failure = GroupFailure(of: context)
        var outcome: Result<R, any Error>?
        await withTaskGroup(of: GroupEvent<ChildResult>.self, isolation: isolation) { tasks in
            _ = isolation
            var group = ContextGroup<ChildResult>(tasks, failure, limit)
            do { outcome = .success(try await body(&group)) } catch { failure.note(error) }
            await group.finish(isolation: isolation)
        }
        if let error = failure.error { return .failure(error) }
        return outcome.take()!
    }
}

/// A group of child tasks under one context: see `withContextGroup`.
///
/// Lives as long as the body that it was given to. It cannot be copied: pass it on as `inout`.
public struct ContextGroup<ChildResult: Sendable>: ~Copyable {
    /// What all tasks of the group work under. Cancelling it calls them off.
    public let context: Context

    private var tasks: TaskGroup<GroupEvent<ChildResult>>
    private let failure: GroupFailure
    private let limit: Int
    private var running = 0
    /// Results of tasks that `addTask` has waited for, oldest first.
    private var ready = Queue<ChildResult>()
    private let bell = DoneBell()
    private let rope: BellRope?

    fileprivate init(_ tasks: TaskGroup<GroupEvent<ChildResult>>, _ failure: GroupFailure, _ limit: Int?) {
        self.tasks = tasks
        self.failure = failure
        self.limit = limit ?? .max
        context = failure.context
        rope = bell.ring(atEndOf: context)
        // One child more, which tells the body of the context's end in between its tasks.
        if rope == nil { bell.ring() }
        self.tasks.addTask { [bell] in
            await bell.sleep(isolation: nil)
            return .ended
        }
    }

    /// Starts a task, which gets the group's context. While as many run as the limit allows this suspends until one has
    /// returned.
    ///
    /// The task runs also when the context has ended: it asks.
    ///
    /// - Parameters:
    ///   - priority: `nil` is the priority of the task that calls this.
    ///   - operation: Gets the group's context, which is ``Context/current`` meanwhile.
    public nonisolated(nonsending) mutating func addTask(
        priority: TaskPriority? = nil,
        _ operation: sending @escaping @isolated(any) (Context) async throws -> ChildResult
    ) async {
        while running >= limit, let result = await nextOutcome(isolation: #isolation) {
            if case .success(let value) = result { ready.append(value) }
        }
        running += 1
        let failure = failure
        tasks.addTask(priority: priority) {
            do {
                return .returned(.success(try await operation(failure.context)))
            } catch {
                failure.note(error)
                return .returned(.failure(error))
            }
        }
    }

    /// True if no task runs, and every result has been taken.
    public var isEmpty: Bool { running == 0 && ready.isEmpty }

    /// The result of a task that has returned, in the order in which they do; nil when there is none left.
    ///
    /// - Throws: The group's first error, once a task has failed.
    public nonisolated(nonsending) mutating func next() async throws -> ChildResult? {
        if let error = failure.realError { throw error }
        if let result = ready.removeFirst() { return result }
        while let result = await nextOutcome(isolation: #isolation) {
            if case .success(let value) = result { return value }
            if let error = failure.realError { throw error }
        }
        if let error = failure.error { throw error }
        return nil
    }

    /// Waits until every task has returned, and throws the results away.
    ///
    /// - Throws: The group's first error.
    public nonisolated(nonsending) mutating func waitForAll() async throws {
        while await nextOutcome(isolation: #isolation) != nil {}
        ready.removeAll()
        if let error = failure.error { throw error }
    }

    /// What the next task to return came to; nil when none runs.
    private mutating func nextOutcome(isolation: isolated (any Actor)?) async -> Result<ChildResult, any Error>? {
        while running > 0 {
            switch await tasks.next(isolation: isolation) {
            case .returned(let result):
                running -= 1
                if case .failure = result, context.isDone { tasks.cancelAll() }
                return result
            case .ended: tasks.cancelAll()
            case nil: return nil
            }
        }
        return nil
    }

    /// The body is over.
    fileprivate mutating func finish(isolation: isolated (any Actor)?) async {
        while await nextOutcome(isolation: isolation) != nil {}
        rope?.untie()
        bell.ring()
        while await tasks.next(isolation: isolation) != nil {}
    }
}

private enum GroupEvent<ChildResult: Sendable>: Sendable {
    case returned(Result<ChildResult, any Error>)
    /// The context has ended.
    case ended
}

/// The first error of a group.
private final class GroupFailure: Sendable {
    private struct Noted: Sendable {
        var error: (any Error)?
        var hasEcho = false
    }

    let context: Context
    private let noted = Lock(Noted())

    init(of context: Context) { self.context = context }

    /// Notes an error, and ends the context with the first real one.
    func note(_ error: any Error) {
        let isEcho = isEcho(error)
        // Swift cancels the tasks of a group before it tells the scope, which cancels the context.
        if isEcho && !context.isDone { context.cancel(.taskCancelled) }
        let isFirst = noted.withLock { noted in
            if isEcho { noted.hasEcho = true }
            if isEcho || noted.error != nil { return false }
            noted.error = error
            return true
        }
        if isFirst { context.cancel(ContextCause(failure: error)) }
    }

    /// The first error that is no echo.
    var realError: (any Error)? { noted.withLock { $0.error } }

    /// That, or where there were only echoes why the context ended.
    var error: (any Error)? {
        let noted = noted.withLock { $0 }
        if noted.error != nil || !noted.hasEcho { return noted.error }
        return context.error ?? CancellationError()
    }

    /// Whether the error only says that the group's work is not wanted any more. Called on the task that threw it.
    private func isEcho(_ error: any Error) -> Bool {
        let end = context.error
        guard end != nil || Task.isCancelled else { return false }
        if error is CancellationError { return true }
        guard let error = error as? ContextError else { return false }
        return error == .taskCancelled || error == end
    }
}

extension ContextCause {
    /// The cause of a context whose group's task threw: the error's own cause, if it is a ``ContextError``; else the
    /// number of `BELAY_EFAILED` and the error's description.
    init(failure error: any Error) {
        if let error = error as? ContextError {
            self = error.cause
        } else {
            self.init(code: BELAY_EFAILED.rawValue, message: String(describing: error))
        }
    }
}
