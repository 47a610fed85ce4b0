// SPDX-License-Identifier: Apache-2.0
import CBelay
import Testing

@testable import BelayCore

/// The audit looks at contexts that others may close meanwhile: what it reads of a cell may be another's.
@Suite struct KnownEndTests {
    @Test func aWordThatIsNoIndexIsNotFollowed() {
        let parent = belay_with_cancel(belay_background())
        let child = belay_with_cancel(parent)
        let cell = node(Handle(child).index)
        #expect(belay_cancel_cause(parent, 1, "one") == BELAY_OK)
        #expect(belay_is_done(child))
        let origin = cell.pointee.origin.get()
        #expect(origin == Handle(parent).index)
        let noticed = cell.knownEnd.instant
        #expect(noticed > 0 && noticed <= belay_now())
        // Part of a pointer; and a scope that seems to have ended with itself.
        for word in [UInt32.max, Region.contexts.pointee.limit.load(ordering: .acquiring), cell.index] {
            cell.pointee.origin.set(word)
            #expect(cell.knownEnd.instant == Clock.never)
        }
        cell.pointee.origin.set(origin)
        #expect(cell.knownEnd.instant == noticed)
        #expect(belay_close(child) == BELAY_OK)
        #expect(belay_close(parent) == BELAY_OK)
    }
}
