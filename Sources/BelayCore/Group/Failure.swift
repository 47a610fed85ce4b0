// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

// The first error of a group. A task that returns BELAY_CANCELED or BELAY_DEADLINE_EXCEEDED because the context has
// ended only repeats what is known: such an *echo* counts as long as there is no error, and never hides one, whichever
// came first.

extension UnsafeMutablePointer where Pointee == Group {
    /// What a task returned.
    @inline(__always) func accept(_ result: Int64) {
        if result != 0 { fail(result, message: nil) }
    }

    @inline(never) func fail(_ code: Int64, message: UnsafePointer<CChar>?) {
        let isEcho =
            (code == Int64(BELAY_CANCELED.rawValue) || code == Int64(BELAY_DEADLINE_EXCEEDED.rawValue))
            && belay_is_done(context)
        let failure = isEcho ? Group.echo : Group.error
        // Without memory for its text the error has none.
        var record = isEcho || message == nil ? 0 : CauseRecord.make(code: code, message: message)
        pointee.lock.lock()
        if pointee.failure.get() < failure {
            pointee.failure.set(failure)
            pointee.code.set(code)
            pointee.cause.set(record)
            record = 0
        }
        pointee.lock.unlock()
        freeRecord(record)
        if !isEcho { cancelContext() }
    }

    /// Ends the context, with the first error as its cause if there is one. Whoever comes second says the same, so that
    /// the error and the cause agree.
    func cancelContext() {
        guard !belay_is_done(context) else { return }
        guard var error = firstError, error.isReal else {
            _ = belay_cancel(context)
            return
        }
        withUnsafePointer(to: &error.cause.message) { message in
            let text = UnsafeRawPointer(message).assumingMemoryBound(to: CChar.self)
            _ = belay_cancel_cause(context, error.cause.code, text)
        }
    }

    /// What `belay_group_wait` reports; nil if every task succeeded so far.
    var firstError: (cause: belay_cause, isReal: Bool)? {
        pointee.lock.lock()
        let failure = pointee.failure.get()
        let code = pointee.code.get()
        // Set once, with the error; so it stays.
        let record = failure == Group.error ? pointee.cause.get() : 0
        pointee.lock.unlock()
        if failure == Group.none { return nil }
        var cause = belay_cause()
        if failure == Group.echo {
            // The context has ended, and knows why, also if it was closed since.
            let end = scope.settle()
            cause = end.isDone ? scope.cause(end) : belay_cause(BELAY_CANCELED)
            cause.isSignal = false
        } else if record != 0 {
            cause = CauseRecord.read(record)
        } else {
            cause.code = code
            cause.setMessage { text in
                text.put("a task returned #", code)
                if let end = belay_cause.endReturned(code) { text.put(end) }
            }
        }
        return (cause, failure == Group.error)
    }
}

extension belay_cause {
    /// What is said of a task that returned how a context of its own ended: BELAY_CANCELED, BELAY_DEADLINE_EXCEEDED.
    fileprivate static func endReturned(_ code: Int64) -> StaticString? {
        switch code {
        case Int64(BELAY_CANCELED.rawValue): " (context canceled)"
        case Int64(BELAY_DEADLINE_EXCEEDED.rawValue): " (deadline exceeded)"
        default: nil
        }
    }
}

@_cdecl("belay_group_fail") @implementation
public func belay_group_fail(_ group: belay_group, _ code: Int64, _ message: UnsafePointer<CChar>?) -> belay_status {
    let handle = Handle(bits: group.bits)
    guard let pinned = Group.pin(handle) else { return Group.diagnose(handle) }
    defer { pinned.release() }
    if code == 0 { return BELAY_EINVAL }
    pinned.fail(code, message: message)
    return BELAY_OK
}
