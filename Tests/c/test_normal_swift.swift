// SPDX-License-Identifier: Apache-2.0
//
// A program that has the normal Swift runtime links libbelay.a, and both work: objects are counted by the normal
// runtime, contexts by the library.
import CBelay

final class Witness: @unchecked Sendable {
    nonisolated(unsafe) static var live = 0
    let text: String
    init(_ text: String) {
        self.text = text
        Self.live += 1
    }
    deinit { Self.live -= 1 }
}

func check(_ condition: Bool, _ what: String) {
    if !condition { fatalError("not so: \(what)") }
}

func objects() {
    var kept: [Int: Witness] = [:]
    for i in 0..<1000 { kept[i % 100] = Witness("number \(i)") }
    check(Witness.live == 100, "the runtime releases what is replaced")
    check(kept.values.map(\.text).sorted().last == "number 999", "strings, closures and generics work")
    kept = [:]
    check(Witness.live == 0, "the runtime releases all")
}

func contexts() {
    let request = belay_with_timeout(belay_background(), 3_600_000_000_000)
    let witness = Unmanaged.passRetained(Witness("value"))
    let keys = UnsafeMutablePointer<belay_key>.allocate(capacity: 1)
    keys.initialize(to: belay_key(name: nil))
    defer { keys.deallocate() }
    let tagged = belay_with_value(request, keys, witness.toOpaque()) { raw in
        if let raw { Unmanaged<Witness>.fromOpaque(raw).release() }
    }
    check(belay_err(tagged) == BELAY_OK, "a context is live")
    check(belay_value(tagged, keys) == witness.toOpaque(), "the value is found")

    let called = UnsafeMutablePointer<Int>.allocate(capacity: 1)
    called.initialize(to: 0)
    defer { called.deallocate() }
    _ = belay_on_done(tagged, { raw in raw?.assumingMemoryBound(to: Int.self).pointee += 1 }, called)
    check(belay_cancel_cause(request, 7, "enough") == BELAY_OK, "cancel")
    check(called.pointee == 1, "the callback has run, inline")
    check(belay_wait(tagged, Int64.max) == BELAY_CANCELED, "the wait sees it")
    var cause = belay_cause()
    check(belay_cause_of(tagged, &cause) && cause.code == 7, "the cause is inherited")

    check(Witness.live == 1, "the value is alive")
    check(belay_close(tagged) == BELAY_OK && belay_close(request) == BELAY_OK, "close")
    check(Witness.live == 0, "the value is dropped with the last context")
}

@main struct Main {
    static func main() {
        objects()
        contexts()
        objects()
        print("ok")
    }
}
