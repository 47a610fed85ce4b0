// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// What a thread found when it last looked values up. Who logs, authorises and traces asks one context for the same few
/// keys again and again, and finds them here at once, however deep they are.
///
/// Nothing ever has to be taken out. What a context has for a key is settled when it is born, and no later context has
/// its handle; so an answer is right as long as the handle is live, which whoever asks finds out anyway. (A foreign
/// parent's source may answer otherwise each time: what it was asked is not remembered.) Each thread has its own, behind
/// its counters; one that takes over another's record may use what it finds.
struct Recall: ~Copyable {
    /// 0, which no context has, in a place that is not used yet.
    private let handle: Atomic<UInt64>
    private let key: Atomic<UInt64>
    /// 0 for a miss.
    private let value: Atomic<UInt64>
    /// How deep it was found, as the counter of that.
    private let place: Atomic<UInt64>

    static let offset = Counter.offset + Counter.bytes
    private static let bits: UInt64 = 4
    static let bytes = (1 << Int(bits)) * MemoryLayout<Recall>.stride

    /// The one place where a thread may have it: one and no more, because the way there is most of what it costs.
    @inline(__always) static func position(_ handle: Handle, _ key: UInt64) -> Int {
        Int(truncatingIfNeeded: KeyTrie.hash(handle.bits ^ key) >> (64 - bits))
    }

    @inline(__always) borrowing func isOf(_ handle: Handle, _ key: UInt64) -> Bool {
        self.handle.get() == handle.bits && self.key.get() == key
    }

    /// The value, by a thread that looked it up once more, which is counted.
    @inline(__always) borrowing func answer(_ thread: UnsafeMutablePointer<Thread>) -> UInt64 {
        thread.count(Int(truncatingIfNeeded: place.get()), 1)
        return value.get()
    }

    @inline(__always)
    borrowing func set(_ handle: Handle, _ key: UInt64, _ value: UInt64, _ depth: KeyTrie.Depth) {
        self.handle.set(handle.bits)
        self.key.set(key)
        self.value.set(value)
        place.set(UInt64(truncatingIfNeeded: depth.place))
    }

    /// The same, on whatever thread.
    @inline(never) static func keep(_ handle: Handle, _ key: UInt64, _ value: UInt64, _ depth: KeyTrie.Depth) {
        if let thread = Thread.current { thread.recall(handle, key).pointee.set(handle, key, value, depth) }
    }
}

extension UnsafeMutablePointer where Pointee == Thread {
    /// A record that was just made: what its memory was before must not be taken for an answer.
    func clearRecall() {
        (UnsafeMutableRawPointer(self) + Recall.offset).initializeMemory(
            as: UInt8.self, repeating: 0, count: Recall.bytes)
    }

    /// By the thread itself.
    @inline(__always) func recall(_ handle: Handle, _ key: UInt64) -> UnsafeMutablePointer<Recall> {
        (UnsafeMutableRawPointer(self) + Recall.offset).assumingMemoryBound(to: Recall.self)
            + Recall.position(handle, key)
    }
}
