// SPDX-License-Identifier: Apache-2.0
import CBelay

extension Context {
    /// The value that the nearest context carries for `key`: this one or an ancestor. `nil` where there is none, where
    /// the nearest one hides it (a value of `nil`), and for a context that was closed.
    ///
    /// Takes constant time at any depth, hit or miss. May race with the close of this context on another thread: the
    /// answer is then the value or `nil`, and a value that was returned is the caller's to keep.
    @inlinable
    public subscript<K: ContextKey>(_ key: K.Type) -> K.Value? {
        let address = KeyRegistry.record(for: key).address
        guard let pointer = belay_value(handle, address) else { return nil }
        // The pointer is good for as long as this context is open, which another thread may end at any moment. The box
        // itself is never freed (see ValueBox), so: hold it, then look whether the context still answers with it.
        return Unmanaged<ValueBox<K.Value>>.fromOpaque(pointer)._withUnsafeGuaranteedRef { box in
            guard box.tryHold() else { return nil }
            defer { box.letGo() }
            return belay_value(handle, address) == pointer ? box.value : nil
        }
    }

    @inlinable
    func makeValue<K: ContextKey>(_ key: K.Type, _ value: K.Value?) -> Context {
        let record = KeyRegistry.record(for: key)
        guard let value else { return Context(made: belay_with_value(handle, record.address, nil, nil), under: self) }
        let box = record.pool._withUnsafeGuaranteedRef { ValueBox<K.Value>.make(value, of: $0) }
        // From here on the box is the context's. If the call fails it lets go of it before it returns.
        return Context(
            made: belay_with_value(handle, record.address, box.toOpaque()) { pointer in
                Unmanaged<AnyValueBox>.fromOpaque(pointer!)._withUnsafeGuaranteedRef { $0.letGo() }
            }, under: self)
    }
}
