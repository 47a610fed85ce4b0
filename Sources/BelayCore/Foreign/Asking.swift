// SPDX-License-Identifier: Apache-2.0

/// A wrapper whose source is being asked on this thread, and the one in the midst of whose answer that came. On the
/// stack of whoever asks.
struct Asking {
    private let wrapper: UInt32
    private let outer: UInt

    /// Calls `body`, which asks the wrapper's source; nil, without a call, where this thread is in the midst of that
    /// already.
    static func once<R>(_ wrapper: UInt32, _ body: () -> R?) -> R? {
        guard let thread = Thread.current else { return body() }
        var next = UnsafePointer<Asking>(bitPattern: thread.pointee.asking)
        while let asking = next {
            if asking.pointee.wrapper == wrapper { return nil }
            next = UnsafePointer(bitPattern: asking.pointee.outer)
        }
        var frame = Asking(wrapper: wrapper, outer: thread.pointee.asking)
        return withUnsafeMutablePointer(to: &frame) { frame in
            thread.pointee.asking = UInt(bitPattern: frame)
            defer { thread.pointee.asking = frame.pointee.outer }
            return body()
        }
    }
}
