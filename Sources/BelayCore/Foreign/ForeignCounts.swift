// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// How many foreign parents there are, by path.
struct ForeignCounts: ~Copyable {
    private let inner: Atomic<UInt32>
    private let callback: Atomic<UInt32>
    private let descriptor: Atomic<UInt32>
    private let polled: Atomic<UInt32>

    /// One more, or (-1) one less.
    borrowing func change(_ path: Foreign.Path, by change: Int32) {
        let change = UInt32(bitPattern: change)
        switch path {
        case .inner: inner.wrappingAdd(change, ordering: .relaxed)
        case .callback: callback.wrappingAdd(change, ordering: .relaxed)
        case .descriptor: descriptor.wrappingAdd(change, ordering: .relaxed)
        case .polled:
            polled.wrappingAdd(change, ordering: .relaxed)
            if change == 1 { Sampler.pointer.pointee.polledEver.wrappingAdd(1, ordering: .relaxed) }
        }
    }

    borrowing func count(_ path: Foreign.Path) -> UInt64 {
        switch path {
        case .inner: UInt64(inner.get())
        case .callback: UInt64(callback.get())
        case .descriptor: UInt64(descriptor.get())
        case .polled: UInt64(polled.get())
        }
    }

    /// In the child of a fork: all of them were the parent process's.
    borrowing func startOver() {
        inner.set(0)
        callback.set(0)
        descriptor.set(0)
        polled.set(0)
    }
}
