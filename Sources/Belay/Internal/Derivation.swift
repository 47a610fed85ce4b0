// SPDX-License-Identifier: Apache-2.0
import CBelay

/// New contexts, each owned by the caller, who closes it once. What could not be made is the handle `{0}`.
extension Context {
    @usableFromInline
    func makeCancel() -> Context { Context(belay_with_cancel(handle)) }

    @usableFromInline
    func makeTimeout(_ timeout: Duration, _ cause: ContextCause?) -> Context {
        makeTimeout(nanoseconds: timeout.belayNanoseconds, cause)
    }

    @usableFromInline
    func makeDeadline(_ deadline: SuspendingClock.Instant, _ cause: ContextCause?) -> Context {
        let instant = ContextTime(of: self).instant(deadline)
        guard let cause else { return Context(belay_with_deadline(handle, instant)) }
        return Context(belay_with_deadline_cause(handle, instant, cause.code, cause.message))
    }

    @usableFromInline
    func makeDeadline(_ deadline: ContinuousClock.Instant, _ cause: ContextCause?) -> Context {
        makeTimeout(nanoseconds: deadline.belayNanosecondsFromNow, cause)
    }

    @usableFromInline
    func makeWithoutCancel() -> Context { Context(belay_without_cancel(handle)) }

    private func makeTimeout(nanoseconds: belay_duration, _ cause: ContextCause?) -> Context {
        guard let cause else { return Context(belay_with_timeout(handle, nanoseconds)) }
        return Context(belay_with_timeout_cause(handle, nanoseconds, cause.code, cause.message))
    }

    @usableFromInline
    func close() { _ = belay_close(handle) }
}
