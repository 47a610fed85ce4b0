// SPDX-License-Identifier: Apache-2.0
import CBelay

/// The values of foreign parents, which their sources answer for.
enum ForeignValues {
    /// The value for a key that the chain of `handle` does not have, or not before a foreign parent that answers for
    /// values; and whether that is settled: no source was asked, which may answer otherwise the next time.
    @inline(never) static func find(_ key: UInt64, _ handle: Handle) -> (value: UInt64, isSettled: Bool) {
        guard let pinned = handle.pin() else { return (0, false) }
        defer { pinned.unpin() }
        var isSettled = true
        var nearest = pinned.pointee.values.get()
        while true {
            if let found = KeyTrie.find(key, from: nearest) { return (found.pointee.value.get(), isSettled) }
            guard let source = KeyTrie.find(Foreign.key, from: nearest) else { return (0, isSettled) }
            nearest = node(source.pointee.parent.get()).pointee.values.get()
            // Its owner knows nothing of our pools.
            if RequestData.isPoolKey(key) { continue }
            isSettled = false
            let record = UInt32(truncatingIfNeeded: source.pointee.value.get())
            let asked = UnsafePointer<belay_key>(bitPattern: UInt(key))
            let answer = Foreign.operations(record).pointee.value?(Foreign.me(record), asked)
            if let answer { return (UInt64(UInt(bitPattern: answer)), false) }
        }
    }
}
