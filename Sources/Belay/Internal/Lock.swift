// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// A `Mutex` that the thread sanitizer understands.
///
/// A contended `Mutex` locks in the standard library, which is not instrumented: the sanitizer misses the ordering and
/// reports races that are none. A load and a store of an atomic inside the lock tell it. They cost a plain load and
/// store.
struct Lock<Value: Sendable>: ~Copyable, Sendable {
    private let mutex: Mutex<Value>
    private let order = Atomic<Bool>(false)

    init(_ value: Value) { mutex = Mutex(value) }

    borrowing func withLock<R: Sendable>(_ body: (inout Value) -> R) -> R {
        mutex.withLock { value in
            _ = order.load(ordering: .acquiring)
            defer { order.store(true, ordering: .releasing) }
            return body(&value)
        }
    }
}
