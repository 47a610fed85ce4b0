// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

@_cdecl("belay_wait_any") @implementation
public func belay_wait_any(
    _ ctxs: UnsafePointer<belay_ctx>?, _ n: Int, _ timeout: belay_duration, _ index: UnsafeMutablePointer<Int>?
) -> belay_status {
    guard let ctxs, n > 0 else { return BELAY_EINVAL }
    if let done = WaitAny.firstDone(ctxs, n, index) { return done }
    if timeout <= 0 { return BELAY_TIMEOUT }
    for i in 0..<n where Wait.isVirtual(Handle(ctxs[i])) { return WaitVirtual.run(ctxs, n, timeout, index) }
    let end = Clock.after(timeout)
    return withUnsafeTemporaryAllocation(of: belay_reg.self, capacity: n) { registrations in
        WaitAny.run(ctxs, n, end, registrations.baseAddress.unsafelyUnwrapped, index)
    }
}

/// A wait for the first of several: a callback on each that wakes this thread.
enum WaitAny {
    static func firstDone(_ ctxs: UnsafePointer<belay_ctx>, _ n: Int, _ index: UnsafeMutablePointer<Int>?)
        -> belay_status?
    {
        for i in 0..<n {
            let status = Handle(ctxs[i]).status()
            if status != BELAY_OK {
                index?.pointee = i
                return status
            }
        }
        return nil
    }

    static func run(
        _ ctxs: UnsafePointer<belay_ctx>, _ n: Int, _ end: Int64, _ registrations: UnsafeMutablePointer<belay_reg>,
        _ index: UnsafeMutablePointer<Int>?
    ) -> belay_status {
        let word = Atomic<UInt32>(0)
        return withUnsafePointer(to: word) { word in
            let address = UnsafeMutableRawPointer(mutating: word)
            var registered = 0
            var answer: belay_status?
            while registered < n && answer == nil {
                let reg = Registration.add(ctxs[registered], Wait.waker, address, flags: Wait.threadFlags)
                if reg.bits == 0 {
                    answer = failure(ctxs, n, index)
                } else {
                    registrations[registered] = reg
                    registered += 1
                }
            }
            while answer == nil {
                answer = firstDone(ctxs, n, index)
                if answer != nil { break }
                if Clock.now >= end {
                    answer = BELAY_TIMEOUT
                } else {
                    belaycore_futex_wait(address, 0, min(end, firstDeadline(ctxs, n)))
                }
            }
            // The callbacks point into this frame: each must be over before it goes.
            for i in 0..<registered { Wait.withdraw(registrations[i]) }
            return answer ?? BELAY_TIMEOUT
        }
    }

    /// A registration failed: because its context was closed just now, or for want of memory.
    static func failure(_ ctxs: UnsafePointer<belay_ctx>, _ n: Int, _ index: UnsafeMutablePointer<Int>?)
        -> belay_status
    {
        let status = belay_last_status()
        return firstDone(ctxs, n, index) ?? status
    }

    /// The thread is its own timer: no deadline of these contexts is armed for it.
    private static func firstDeadline(_ ctxs: UnsafePointer<belay_ctx>, _ n: Int) -> Int64 {
        var first = Clock.never
        for i in 0..<n { first = min(first, Handle(ctxs[i]).deadline() ?? Clock.never) }
        return first
    }
}
