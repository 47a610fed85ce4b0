// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import BelayCore

/// The lock that is unlocked by a plain store: one at a time, and nobody sleeps for good. (That a sleeper is not late either
/// shows in no run, since it looks again after a millisecond: Tests/models/locks.py is for that.)
@Suite struct LockTests {
    private final class Counted: @unchecked Sendable {
        let lock = Lock()
        var count = 0
    }

    @Test(arguments: [1, 2, 4, 8, 16]) func oneAtATimeHoldsIt(threads: Int) {
        let counted = Counted()
        onThreads(threads) { number in
            for turn in 0..<20_000 {
                counted.lock.lock()
                let seen = counted.count
                // Whoever holds it at such a moment makes the others fall asleep.
                if (turn &+ number) % 997 == 0 { sched_yield() }
                counted.count = seen + 1
                // Both ways to unlock go together, also with the same sleepers.
                if (turn &+ number) % 3 == 0 { counted.lock.unlockForGood() } else { counted.lock.unlock() }
            }
        }
        #expect(counted.count == threads * 20_000)
    }
}
