// SPDX-License-Identifier: Apache-2.0
import CBelay

/// New contexts, each owned by the caller, who closes it once.
extension Context {
    @usableFromInline
    func makeCancel() -> Context { Context(made: belay_with_cancel(handle), under: self) }

    @usableFromInline
    func makeTimeout(_ timeout: Duration, _ cause: ContextCause?) -> Context {
        makeTimeout(nanoseconds: timeout.belayNanoseconds, cause)
    }

    @usableFromInline
    func makeDeadline(_ deadline: SuspendingClock.Instant, _ cause: ContextCause?) -> Context {
        let instant = ContextTime(of: self).instant(deadline)
        guard let cause else { return makeDeadline(at: instant) }
        return Context(made: belay_with_deadline_cause(handle, instant, cause.code, cause.message), under: self)
    }

    @usableFromInline
    func makeDeadline(_ deadline: some ContextInstant, _ cause: ContextCause?) -> Context {
        makeTimeout(nanoseconds: deadline.belayNanosecondsFromNow, cause)
    }

    /// By the runtime's clock.
    func makeDeadline(at instant: belay_instant) -> Context {
        Context(made: belay_with_deadline(handle, instant), under: self)
    }

    @usableFromInline
    func makeWithoutCancel() -> Context { Context(made: belay_without_cancel(handle), under: self) }

    private func makeTimeout(nanoseconds: belay_duration, _ cause: ContextCause?) -> Context {
        guard let cause else { return Context(made: belay_with_timeout(handle, nanoseconds), under: self) }
        return Context(made: belay_with_timeout_cause(handle, nanoseconds, cause.code, cause.message), under: self)
    }

    @usableFromInline
    func close() { _ = belay_close(handle) }
}

/// Contexts that could not be made. C answers `{0}` and has a status for the thread; here the handle keeps the status,
/// so that whoever asks the context later is told why. To C it is a handle that is none: it reads as done with
/// `BELAY_EINVAL`, nothing can be derived from it, and closing it does nothing.
extension Context {
    /// Bits 28 to 31 of a handle are its kind, and no kind of C's is this one. Below is the status, above nothing.
    private static let unmadeKind: UInt64 = 15
    private static let kindShift: UInt64 = 28

    /// What a call of C that makes a context answered, just now on this thread.
    @inlinable
    init(made handle: belay_ctx, under parent: Context) {
        self = handle.bits != 0 ? Context(handle) : .unmade(under: [parent])
    }

    /// In place of the `{0}` that the last call of C on this thread answered.
    @usableFromInline
    @inline(never)
    static func unmade(under parents: [Context]) -> Context {
        let status = belay_last_status()
        // A parent that could not be made is no argument, to C: the reason is the parent's.
        if status == BELAY_EINVAL, let parent = parents.first(where: { $0.whyUnmade != nil }) { return parent }
        return Context(belay_ctx(bits: unmadeKind << kindShift | UInt64(status.rawValue)))
    }

    /// Why this context could not be made; `nil` for all others.
    var whyUnmade: belay_status? {
        guard handle.bits >> Self.kindShift == Self.unmadeKind else { return nil }
        return belay_status(rawValue: UInt32(truncatingIfNeeded: handle.bits & ((1 << Self.kindShift) - 1)))
    }
}
