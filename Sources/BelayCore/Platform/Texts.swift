// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform

// Tables of texts are one constant each, in which every text has a NUL behind it: they are read-only data, need nothing
// at start-up, and C can have a pointer to any text.

extension StaticString {
    var cString: UnsafePointer<CChar> { UnsafeRawPointer(utf8Start).assumingMemoryBound(to: CChar.self) }

    /// The text that has `number` others before it.
    @inline(never) func part(_ number: Int) -> UnsafePointer<CChar> {
        var text = cString
        for _ in 0..<number { text = text.next }
        return text
    }
}

extension UnsafePointer<CChar> {
    /// What stands behind the NUL of this text.
    var next: UnsafePointer<CChar> { self + belaycore_length(self) + 1 }

    @inline(never) func equals(_ other: UnsafePointer<CChar>) -> Bool {
        var i = 0
        while self[i] == other[i] {
            if self[i] == 0 { return true }
            i += 1
        }
        return false
    }
}
