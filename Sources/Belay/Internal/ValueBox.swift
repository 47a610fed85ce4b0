// SPDX-License-Identifier: Apache-2.0
import Synchronization

// What a context's `void *value` points to.
//
// belay_value() answers with a bare pointer that is good while the context is open. A thread that looks a value up
// through a handle whose context another thread is closing would retain a box that is being freed. So boxes are not
// freed: they go back to the pool of their key, and carry a count of holders.
//
//   holders == 0   in the pool, or on the way into or out of it
//   holders >= 1   the context that was made with the box counts one, from make() to its drop; each look-up counts one
//                  for as long as it copies the value out
//
// A look-up (1) adds itself unless the count is 0, (2) asks the context again. If the context still answers with this
// box it was open at (2). The drop runs after the close, and its decrement releases what (1) acquires: had (1) come
// after that decrement, (2) would have seen the close. So (1) came first, the context's own count was still in, and the
// value stays until the look-up lets go. If the context answers otherwise the box may be anybody's by now; the look-up
// has only kept it from its pool for a moment, and lets go.
//
// Whoever takes the count to 0 destroys the value and puts the box back.

/// A box without its type, for the drop function that C calls, and for the pool.
@usableFromInline
class AnyValueBox: @unchecked Sendable {
    @usableFromInline final let holders = Atomic<Int>(0)
    fileprivate final var next: AnyValueBox?
    private final unowned(unsafe) let pool: ValuePool  // pools are never freed

    @usableFromInline
    init(of pool: ValuePool) { self.pool = pool }

    /// Adds a holder, unless the box is on its way to the pool.
    @inlinable
    final func tryHold() -> Bool {
        var count = holders.load(ordering: .relaxed)
        while count != 0 {
            let (done, seen) = holders.weakCompareExchange(
                expected: count, desired: count &+ 1, successOrdering: .acquiring, failureOrdering: .relaxed)
            if done { return true }
            count = seen
        }
        return false
    }

    /// Removes a holder; the last one empties the box.
    @inlinable
    final func letGo() {
        if holders.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 { retire() }
    }

    @usableFromInline
    final func retire() {
        empty()  // may run a deinit, which may do anything
        pool.put(self)
    }

    @usableFromInline
    func empty() {}
}

/// A box for one value. Written by whoever takes it from the pool and by the last holder, read by holders.
@usableFromInline
final class ValueBox<Value: Sendable>: AnyValueBox, @unchecked Sendable {
    @usableFromInline final var value: Value?

    @inlinable
    override init(of pool: ValuePool) { super.init(of: pool) }

    @inlinable
    override func empty() { value = nil }

    /// A box from the pool of its key, with `value`, and one holder: the context that is about to be made.
    @inlinable
    static func make(_ value: Value, of pool: ValuePool) -> Unmanaged<ValueBox> {
        let box = pool.take().map { unsafeDowncast($0, to: ValueBox.self) } ?? ValueBox(of: pool)
        box.value = value
        box.holders.store(1, ordering: .releasing)
        return .passRetained(box)
    }
}

/// The empty boxes of one key. Grows to the most that were ever in use at the same time, and is never freed.
@usableFromInline
final class ValuePool: Sendable {
    private let free = Lock<AnyValueBox?>(nil)

    /// An empty box, of the type that was put here; `nil` if there is none.
    @usableFromInline
    func take() -> AnyValueBox? {
        free.withLock { first in
            guard let box = first else { return nil }
            first = box.next
            box.next = nil
            return box
        }
    }

    /// Takes back a box that was handed out as an unmanaged reference.
    fileprivate func put(_ box: AnyValueBox) {
        let owned = Unmanaged.passUnretained(box).takeRetainedValue()
        free.withLock { first in
            owned.next = first
            first = owned
        }
    }
}
