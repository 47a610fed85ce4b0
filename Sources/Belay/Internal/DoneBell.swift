// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// Lets one task sleep until somebody rings. Rung once or often, before or after the task lies down: the task is
/// resumed exactly once, and not at all if it never slept.
final class DoneBell: Sendable {
    private static let idle: UInt8 = 0
    private static let parked: UInt8 = 1
    private static let rung: UInt8 = 2

    // idle -> parked by the sleeper, who has written the continuation (releasing)
    // idle -> rung, parked -> rung by whoever rings first; the second of these resumes (acquiring)
    private let state = Atomic<UInt8>(idle)
    private nonisolated(unsafe) var sleeper: UnsafeContinuation<Void, Never>?

    /// Wakes the task. Never blocks and runs nobody's code: may be called where a context ends.
    func ring() {
        if state.exchange(Self.rung, ordering: .acquiringAndReleasing) == Self.parked { sleeper!.resume() }
    }

    /// Sleeps until ``ring()``. Called once. Does not look at task cancellation.
    func sleep(isolation: isolated (any Actor)?) async {
        guard state.load(ordering: .acquiring) != Self.rung else { return }
        await withUnsafeContinuation { continuation in
            sleeper = continuation
            let (parked, _) = state.compareExchange(
                expected: Self.idle, desired: Self.parked, successOrdering: .releasing, failureOrdering: .acquiring)
            if !parked { continuation.resume() }
        }
    }

    /// The same, and task cancellation rings.
    func sleepOrTaskCancellation(isolation: isolated (any Actor)?) async {
        await withTaskCancellationHandler {
            await sleep(isolation: isolation)
        } onCancel: {
            ring()
        }
    }

    /// Rings when `context` ends, at once if it has. Answers false if that cannot be arranged: then it never rings.
    func ring(atEndOf context: Context) -> BellRope? {
        let held = Unmanaged.passRetained(self)
        let registration = belay_on_done(
            context.handle, { Unmanaged<DoneBell>.fromOpaque($0!).takeRetainedValue().ring() }, held.toOpaque())
        guard registration.bits != 0 else {
            held.release()
            return nil
        }
        return BellRope(registration: registration, held: held)
    }
}

/// A bell's registration on a context, and the reference that its callback owns.
struct BellRope: Sendable {
    fileprivate let registration: belay_reg
    fileprivate let held: Unmanaged<DoneBell>

    /// Unties the bell. Called once. The reference is ours again only if the callback will never run.
    func untie() {
        if belay_stop(registration) == BELAY_STOP_PREVENTED { held.release() }
    }
}
