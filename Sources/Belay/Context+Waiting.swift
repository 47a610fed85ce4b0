// SPDX-License-Identifier: Apache-2.0
import CBelay

extension Context {
    /// Waits until the context is done, or the task that calls this is cancelled, whichever happens first. Blocks no
    /// thread, and stays on the caller's actor.
    ///
    /// ```swift
    /// switch await ctx.done() {
    /// case .deadlineExceeded: …
    /// case .taskCancelled where !ctx.isDone: …     // only this task was cancelled
    /// default: …
    /// }
    /// ```
    ///
    /// - Returns: The context's ``error``, at once if it is done already. If the task was cancelled and the context is
    ///   live: ``ContextError/taskCancelled``. If it is live and cannot be listened to (no memory; no thread to be
    ///   had): ``ContextError/unavailable(_:)``, at once. On a context that can never end this returns when the task is
    ///   cancelled.
    @discardableResult
    public nonisolated(nonsending) func done() async -> ContextError {
        if let error { return error }
        let bell = DoneBell()
        guard let rope = bell.ring(atEndOf: self) else {
            let failure = ContextError.lastFailure(of: self)
            return error ?? failure
        }
        await bell.sleepOrTaskCancellation(isolation: #isolation)
        rope.untie()
        return error ?? .taskCancelled
    }

    /// Waits until `duration` has passed, never less, unless the context ends or the task is cancelled. Blocks no
    /// thread, and stays on the caller's actor.
    ///
    /// What `Task.sleep(for:)` is to a task, this is to a context: the pause between two attempts, bounded by what is
    /// left of the budget. On the runtime's clock, which stands still while the machine sleeps.
    ///
    /// - Parameter duration: Zero and less do not suspend.
    /// - Throws: The context's ``error`` if it was done before or ends first; ``ContextError/taskCancelled`` if the
    ///   task is cancelled first, or was before a sleep that has to suspend; ``ContextError/unavailable(_:)`` if there
    ///   is no memory.
    public nonisolated(nonsending) func sleep(for duration: Duration) async throws(ContextError) {
        try check()
        try await sleep(until: makeTimeout(duration, nil))
    }

    /// Sleeps until `alarm` ends, and closes it: a child whose deadline is the time to wake up. It ends by that, or
    /// with this context.
    nonisolated(nonsending) func sleep(until alarm: Context) async throws(ContextError) {
        if let why = alarm.whyUnmade { throw error ?? .unavailable(ContextCause(why)) }
        defer { alarm.close() }
        let reason = await alarm.done()
        try check()
        if case .deadlineExceeded = reason { return }
        throw reason
    }

    /// Blocks the calling thread until the context is done or `timeout` has passed.
    ///
    /// For threads of one's own. Not available in `async` code, whose threads must not be blocked: there, ``done()``.
    /// Does not see task cancellation.
    ///
    /// Under a ``VirtualClock`` `timeout` is that clock's, and the wait ends when another thread moves the clock so
    /// far, or ends the context. The thread that moves it must not wait: between two moves that is for ever, and inside
    /// of one, in a callback, the answer is ``ContextError/unavailable(_:)`` at once.
    ///
    /// - Parameter timeout: Zero and less only ask. `nil` waits as long as it takes; on a context that can never end,
    ///   for ever.
    /// - Returns: The context's ``error``; `nil` if `timeout` passed first and the context is live.
    ///   ``ContextError/unavailable(_:)`` at once if there is no memory.
    @available(*, noasync, message: "blocks its thread; use 'await done()'")
    public func wait(timeout: Duration? = nil) -> ContextError? {
        let status = belay_wait(handle, timeout?.belayNanoseconds ?? forever)
        if status == BELAY_TIMEOUT { return nil }
        return ContextError(status, of: handle)
    }
}
