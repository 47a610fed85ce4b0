// SPDX-License-Identifier: Apache-2.0

/// A point in time that a deadline can be given as: what a clock shows that runs by itself, and that everybody can
/// read.
///
/// `SuspendingClock.Instant` is the runtime's own clock, and exact. `ContinuousClock.Instant`, and what you make one,
/// is taken for the time from now until then: see <doc:Clocks>. Not for a ``VirtualClock``, of which there are many.
///
/// A bare `.now + .seconds(1)` means `SuspendingClock`.
public protocol ContextInstant: InstantProtocol where Duration == Swift.Duration {
    /// What the clock shows now.
    static var now: Self { get }
}

extension SuspendingClock.Instant: ContextInstant {}

extension ContinuousClock.Instant: ContextInstant {}
