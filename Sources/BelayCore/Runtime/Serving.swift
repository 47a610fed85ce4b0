// SPDX-License-Identifier: Apache-2.0

/// That the calling thread is at work for a runtime: as one of its crew, or because it runs one of its tasks. And for
/// which it was before, if one runs inside the other. On the stack of whoever is at work.
///
/// It goes further than `Running`: what a task leads to, such as a drop function, may run when its own function is over.
struct Serving {
    private let runtime: UInt32
    private let outer: UInt

    /// Calls `body`, which is at work for the runtime of that number.
    static func inside(_ runtime: UInt32, _ body: () -> Void) {
        guard let thread = Thread.current else { return body() }
        var frame = Serving(runtime: runtime, outer: thread.pointee.serving)
        withUnsafeMutablePointer(to: &frame) { frame in
            thread.pointee.serving = UInt(bitPattern: frame)
            body()
            thread.pointee.serving = frame.pointee.outer
        }
    }

    /// Whether the calling thread is at work for that runtime.
    static func contains(_ runtime: UInt32) -> Bool {
        var next = UnsafePointer<Serving>(bitPattern: Thread.known?.pointee.serving ?? 0)
        while let serving = next {
            if serving.pointee.runtime == runtime { return true }
            next = UnsafePointer(bitPattern: serving.pointee.outer)
        }
        return false
    }
}
