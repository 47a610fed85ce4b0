// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// The runtime's measurements, by name.
enum Metric {
    private static func live(_ counts: (UnsafeMutablePointer<Thread>) -> (taken: UInt64, given: UInt64)) -> UInt64 {
        var sum: UInt64 = 0
        Thread.forEach { thread in
            let (taken, given) = counts(thread)
            sum = sum &+ taken &- given
        }
        return sum
    }

    private static func sum(_ value: (UnsafeMutablePointer<Runtime>) -> UInt64) -> UInt64 {
        var sum: UInt64 = 0
        Runtime.forEach { sum &+= value($0) }
        return sum
    }

    static func read(_ name: UnsafePointer<CChar>) -> UInt64? {
        let globals = Globals.pointer
        if name.equals("/ctx/live:contexts") {
            return live { ($0.pointee.contexts.taken.get(), $0.pointee.contexts.given.get()) }
        }
        if name.equals("/task/live:tasks") {
            return live { ($0.pointee.tasks.taken.get(), $0.pointee.tasks.given.get()) }
        }
        if name.equals("/group/live:groups") {
            return live { ($0.pointee.groupsMade.get(), $0.pointee.groupsGone.get()) }
        }
        if name.equals("/signal/watchers:contexts") { return UInt64(Signals.pointer.pointee.watchers.get()) }
        if name.equals("/memory/records:records") {
            return live { ($0.pointee.records.taken.get(), $0.pointee.records.given.get()) }
        }
        if name.equals("/memory/arena:bytes") { return globals.pointee.arenaBytes() }
        if name.equals("/driver/wakeups:wakeups") { return sum { $0.pointee.driver.wakeups.get() } }
        if name.equals("/executor/threads:threads") { return sum { UInt64($0.pointee.executor.threads.get()) } }
        if name.equals("/custom/inner:contexts") { return globals.pointee.foreignCount(.inner) }
        if name.equals("/custom/callback:contexts") { return globals.pointee.foreignCount(.callback) }
        if name.equals("/custom/descriptor:contexts") { return globals.pointee.foreignCount(.descriptor) }
        if name.equals("/custom/polled:contexts") { return globals.pointee.foreignCount(.polled) }
        if name.equals("/pool/live:items") { return PoolCounts.read().live }
        if name.equals("/pool/idle:items") { return PoolCounts.read().idle }
        if name.equals("/pool/hits:gets") { return PoolCounts.read().hits }
        if name.equals("/pool/misses:gets") { return PoolCounts.read().misses }
        return nil
    }
}

extension UnsafePointer where Pointee == CChar {
    fileprivate func equals(_ text: StaticString) -> Bool {
        let bytes = text.utf8Start
        for i in 0..<text.utf8CodeUnitCount where UInt8(bitPattern: self[i]) != bytes[i] { return false }
        return self[text.utf8CodeUnitCount] == 0
    }
}

@_cdecl("belay_metrics_read") @implementation
public func belay_metrics_read(_ samples: UnsafeMutablePointer<belay_sample>?, _ n: Int) -> belay_status {
    guard let samples else { return n == 0 ? BELAY_OK : BELAY_EINVAL }
    var status = BELAY_OK
    for i in 0..<max(n, 0) {
        let value = samples[i].name.flatMap { Metric.read($0) }
        samples[i].value = value ?? 0
        samples[i].status = value == nil ? BELAY_EINVAL : BELAY_OK
        if value == nil { status = BELAY_EINVAL }
    }
    return status
}
