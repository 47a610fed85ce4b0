// SPDX-License-Identifier: Apache-2.0
import CBelay

/// Deadlines that move: for idle timeouts, and for work that shows signs of life.
extension Context {
    /// Moves the context's deadline to `deadline`: earlier, later, or never (`nil`).
    ///
    /// ```swift
    /// for try await message in connection { try life.setTimeout(.seconds(30)) … }
    /// ```
    ///
    /// Never past the parent's, which counts where it is not later. Everything derived from this context follows. An
    /// instant in the past ends the context before this returns. When this returns it will not end at the old instant.
    /// The cause given at birth stays the deadline's cause. Of two threads that move it at the same time, one comes
    /// last and counts.
    ///
    /// Once a process has moved a deadline, ``deadline`` and ``remaining`` look at every context above instead of at
    /// one.
    ///
    /// - Throws: The context's ``error`` if it has ended, or its old deadline passes at this moment: then nothing is
    ///   moved. ``ContextError/unavailable(_:)`` for contexts without an end of their own (a root, a value, a
    ///   `withoutCancel` context), for one that was closed, and if there is no memory.
    public func setDeadline(_ deadline: SuspendingClock.Instant?) throws(ContextError) {
        try move(to: deadline.map { ContextTime(of: self).instant($0) } ?? forever)
    }

    /// The same, for an instant of another clock, such as the one that runs on while the machine sleeps: see
    /// `withDeadline` for what that means.
    @_disfavoredOverload
    public func setDeadline(_ deadline: some ContextInstant) throws(ContextError) {
        try move(to: ContextTime(of: self).instant(after: deadline.belayNanosecondsFromNow))
    }

    /// Moves the context's deadline to `timeout` from now: earlier, later, or never (`nil`). Otherwise as
    /// `setDeadline`.
    ///
    /// - Parameter timeout: Zero and less have passed already: the context ends before this returns. What exceeds 292
    ///   years means never. Fractions of a nanosecond are rounded up.
    public func setTimeout(_ timeout: Duration?) throws(ContextError) {
        try move(to: timeout.map { ContextTime(of: self).instant(after: $0.belayNanoseconds) } ?? forever)
    }

    private func move(to instant: belay_instant) throws(ContextError) {
        let status = belay_set_deadline(handle, instant)
        guard status == BELAY_OK else { throw ContextError(status, of: handle) }
    }
}
