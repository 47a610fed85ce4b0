// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// What the story expects, and whether it came.
final class Expectations: Sendable {
    private let held = Atomic<Int>(0)
    private let failed = Atomic<Int>(0)

    var allHeld: Bool { failed.load(ordering: .relaxed) == 0 }
    var summary: String { "\(held.load(ordering: .relaxed)) held, \(failed.load(ordering: .relaxed)) failed" }

    func expect(_ holds: Bool, _ what: String) {
        print(holds ? "  ✓ \(what)" : "  ✗ \(what)")
        if holds {
            held.wrappingAdd(1, ordering: .relaxed)
        } else {
            failed.wrappingAdd(1, ordering: .relaxed)
        }
    }
}
