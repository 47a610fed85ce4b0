// SPDX-License-Identifier: Apache-2.0
import CBelay

@_cdecl("belay_notify_signals") @implementation
public func belay_notify_signals(
    _ parent: belay_ctx, _ signals: UnsafePointer<Int32>?, _ n: Int
) -> belay_ctx {
    guard let set = SignalSet.make(signals, n) else {
        LastStatus.set(BELAY_EINVAL)
        return belay_ctx()
    }
    let made = belay_with_cancel(parent)
    guard made.bits != 0, let scope = Handle(made).pin() else { return belay_ctx() }
    defer { scope.release() }
    let status = Watch.begin(scope, set)
    if status == BELAY_OK { return made }
    _ = belay_close(made)
    LastStatus.set(status)
    return belay_ctx()
}

extension Watch {
    /// Attached from the beginning: a handler that cancels it must have nothing above to look at.
    fileprivate static func begin(_ scope: NodePointer, _ set: UInt64) -> belay_status {
        var status = Driver.start(0)
        if status != BELAY_OK { return status }
        status = scope.attach()
        if status != BELAY_OK { return status }
        guard let thread = Thread.current else { return BELAY_ENOMEM }
        let record = thread.takeRecord()
        if record == 0 { return BELAY_ENOMEM }
        status = Signals.watch(scope, set, record: record)
        if status != BELAY_OK { freeRecord(record) }
        return status
    }
}

@_cdecl("belay_signal_of") @implementation
public func belay_signal_of(_ ctx: belay_ctx) -> Int32 {
    let handle = Handle(ctx)
    guard handle.status() == BELAY_CANCELED, let cause = handle.causeIfOpen(), cause.isSignal else { return 0 }
    return Int32(truncatingIfNeeded: cause.code)
}
