// SPDX-License-Identifier: Apache-2.0
import CBelay

/// The values of foreign parents, which their sources answer for.
enum ForeignValues {
    /// The value for a key that the chain of `handle` does not have, or not before a foreign parent that answers for
    /// values.
    @inline(never) static func find(_ key: UInt64, _ handle: Handle) -> UInt64 {
        guard let pinned = handle.pin() else { return 0 }
        defer { pinned.unpin() }
        var nearest = pinned.pointee.values.get()
        while true {
            if let found = KeyTrie.find(key, from: nearest) { return found.pointee.value.get() }
            guard let source = KeyTrie.find(Foreign.key, from: nearest) else { return 0 }
            nearest = node(source.pointee.parent.get()).pointee.values.get()
            // Its owner knows nothing of our pools.
            if RequestData.isPoolKey(key) { continue }
            let record = UInt32(truncatingIfNeeded: source.pointee.value.get())
            let asked = UnsafePointer<belay_key>(bitPattern: UInt(key))
            let answer = Foreign.operations(record).pointee.value?(Foreign.me(record), asked)
            if let answer { return UInt64(UInt(bitPattern: answer)) }
        }
    }
}
