// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// The ways up from a scope: its own, and those from the other parents of merged contexts on them.
struct Ways {
    /// The earliest deadline of a scope and of all above, on whatever way. The caller keeps the scope.
    static func earliestDeadline(above scope: NodePointer) -> Int64 {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: most) { starts in
            var ways = Ways(starts.baseAddress.unsafelyUnwrapped, from: scope)
            return ways.earliestDeadline()
        }
    }

    /// From how many parents one looks up. Of those beyond only their own deadlines count.
    private static let most = 256

    /// Where they start, each once; there is room for `most`.
    private let starts: UnsafeMutablePointer<UInt32>
    private var count = 1
    private let runtime: UInt32
    private var earliest = Clock.never

    private init(_ starts: UnsafeMutablePointer<UInt32>, from scope: NodePointer) {
        self.starts = starts
        starts[0] = scope.index
        runtime = scope.state.runtime
    }

    @inline(never) private mutating func earliestDeadline() -> Int64 {
        var next = 0
        while next < count {
            var index = starts[next]
            next += 1
            while index != 0 {
                let current = node(index)
                look(at: current.pointee.clock.get())
                look(at: index)
                if current.isMerged { branch(Links.Walk(UInt32(truncatingIfNeeded: current.held))) }
                index = current.pointee.scope.get()
            }
        }
        return earliest
    }

    private mutating func branch(_ links: Links.Walk) {
        var links = links
        while let (other, _) = links.next() {
            if Merge.contains(starts, count, other.index) { continue }
            if count < Ways.most {
                starts[count] = other.index
                count += 1
            } else if let clock = other.clockInEffect {
                look(at: clock.index)
            }
        }
    }

    @inline(never) private mutating func look(at clock: UInt32) {
        if clock == 0 || !Clock.isShared(node(clock).state.runtime, runtime) { return }
        earliest = min(earliest, node(clock).pointee.deadline.get())
    }
}
