// SPDX-License-Identifier: Apache-2.0
import CBelay

/// Regular instants for as long as a context lives: what ``Context/ticks(every:)`` returns.
///
/// Each loop counts from its own start: the first element comes after one period, and the times are the start plus
/// whole periods. Elements that pass while the loop's body runs are skipped, not made up for. The sequence ends when
/// the context does, or when the task is cancelled; ``Context/error`` tells. It has no timer while nobody waits for the
/// next element.
public struct ContextTicks: AsyncSequence, Sendable {
    /// The instant that was planned. It has passed when the element arrives. (Of the real clock, also where the context
    /// lives by a virtual one.)
    public typealias Element = SuspendingClock.Instant
    /// The loop cannot fail: it ends.
    public typealias Failure = Never

    let context: Context
    let period: Duration

    /// Starts to count: the first tick is one period from now.
    public func makeAsyncIterator() -> Iterator {
        Iterator(context: context, period: period.belayNanoseconds, last: ContextTime(of: context).now)
    }

    /// One loop over the ticks. Not `Sendable`: it belongs to its task.
    public struct Iterator: AsyncIteratorProtocol {
        let context: Context
        let period: belay_duration
        var last: belay_instant

        /// Waits for the next tick, without blocking a thread. Stays on the caller's actor.
        ///
        /// - Returns: The planned instant; `nil` once the context is done or the task is cancelled.
        public mutating func next(isolation: isolated (any Actor)? = #isolation) async -> SuspendingClock.Instant? {
            let time = ContextTime(of: context)
            let next = time.nextInstant(after: last, every: period)
            do throws(ContextError) {
                try await context.sleep(until: context.makeDeadline(at: next))
            } catch {
                return nil
            }
            last = next
            return time.suspendingInstant(next)
        }
    }
}
