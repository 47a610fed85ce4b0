// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import BelayCore

/// The lock that is unlocked by a plain store: one at a time, and nobody sleeps for good.
@Suite struct LockTests {
    @Test(arguments: [1, 2, 4, 8, 16]) func oneAtATimeHoldsIt(threads: Int) {
        let count = Guarded(0)
        onThreads(threads) { number in
            for turn in 0..<20_000 {
                count.with { value in
                    let seen = value
                    // Whoever holds it at such a moment makes the others fall asleep.
                    if (turn &+ number) % 997 == 0 { sched_yield() }
                    value = seen + 1
                }
            }
        }
        #expect(count.with { $0 } == threads * 20_000)
    }

    /// Threads that pass it on, each asleep until it is its turn: all of them have to be woken.
    @Test(arguments: [2, 5, 16]) func whoSleepsIsWoken(threads: Int) {
        let turns = Guarded([Int](repeating: 0, count: threads))
        onThreads(threads) { number in
            for _ in 0..<20 {
                turns.with {
                    $0[number] += 1
                    usleep(50)
                }
            }
        }
        #expect(turns.with { $0 } == [Int](repeating: 20, count: threads))
    }
}
