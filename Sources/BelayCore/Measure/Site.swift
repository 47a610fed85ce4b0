// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// A place that derives contexts: a call stack and a kind, with all that is counted for it. 512 bytes in a table that
/// is mapped once, never moved, and finds a stack by its hash. Counts are weights: a context that was sampled at one
/// in 64 counts 64 times.
///
/// The table is full after `most` sites; what is derived elsewhere counts for site 0, which has no stack.
///
/// Look-up takes no lock: a site is whole before its number is put into its slot (release; acquire in `find`), and
/// neither changes after. A new one is added under the sampler's lock, with another look before.
struct Site {
    let words: UnsafeMutablePointer<Atomic<UInt64>>

    static let most = 4096
    static let mostFrames = 32
    private static let bytes = 512
    private static let slots = 8192
    /// Behind the slots: how many sites there are.
    private static let countOffset = slots * 4
    private static let sitesOffset = slots * 4 + 4096

    /// Where the words of a site are.
    enum Word: Int {
        case hash, shape
        /// Contexts derived; recycled; closed but kept by what was derived from them.
        case derived, gone, kept
        /// Ended contexts by `Reason`, from here on.
        case reasons
        /// Closed without anyone having listened or derived from them.
        case plain = 12
        /// Born with a deadline that is not earlier than the parent's; by a task under its group's own context.
        case covered, inGroup
        /// Closed long after their end, and the longest that took.
        case late, latest
        /// The most values in a chain.
        case depth
        case frames = 32
    }

    static func makeTable() -> UnsafeMutableRawPointer? {
        guard let table = belaycore_map(sitesOffset + most * bytes) else { return nil }
        (table + countOffset).assumingMemoryBound(to: Atomic<UInt32>.self).pointee.set(1)
        return table
    }

    private static var table: UnsafeMutableRawPointer? {
        UnsafeMutableRawPointer(bitPattern: Sampler.pointer.pointee.sites.load(ordering: .acquiring))
    }

    static var count: Int {
        guard let table else { return 0 }
        return Int(
            (table + countOffset).assumingMemoryBound(to: Atomic<UInt32>.self).pointee.load(ordering: .acquiring))
    }

    /// There is a table, and this is below `count`.
    static func at(_ number: Int) -> Site {
        let site = table.unsafelyUnwrapped + sitesOffset + number * bytes
        return Site(words: site.assumingMemoryBound(to: Atomic<UInt64>.self))
    }

    // MARK: its words

    @inline(__always) func word(_ word: Word) -> UnsafeMutablePointer<Atomic<UInt64>> { words + word.rawValue }
    @inline(__always) func value(_ word: Word) -> UInt64 { words[word.rawValue].get() }

    func reason(_ reason: Reason) -> UnsafeMutablePointer<Atomic<UInt64>> {
        words + Word.reasons.rawValue + reason.rawValue
    }

    func add(_ weight: UInt64, to word: Word) { self.word(word).pointee.wrappingAdd(weight, ordering: .relaxed) }
    func remove(_ weight: UInt64, from word: Word) {
        self.word(word).pointee.wrappingSubtract(weight, ordering: .relaxed)
    }

    func raise(_ word: Word, to value: UInt64) {
        var old = self.value(word)
        while old < value {
            let (exchanged, found) = self.word(word).pointee.compareExchange(
                expected: old, desired: value, ordering: .relaxed)
            if exchanged { return }
            old = found
        }
    }

    /// Contexts that are open. Counts are read one after the other while others change them: never below zero.
    var open: UInt64 {
        let closed = value(.gone) &+ value(.kept)
        let derived = value(.derived)
        return derived > closed ? derived - closed : 0
    }

    var frameCount: Int { Int(value(.shape) & 0xFFFF_FFFF) }
    var kind: UInt64 { value(.shape) >> 32 }
    /// The address of a call, innermost first.
    func frame(_ position: Int) -> UInt64 { words[Word.frames.rawValue + position].get() }

    // MARK: finding one

    /// The number of the site with this stack; 0 if the table is full.
    static func find(_ stack: UnsafeMutableBufferPointer<UInt64>, kind: UInt64) -> UInt32 {
        guard let table else { return 0 }
        var hash = kind &* 0x9E37_79B9_7F4A_7C15
        for address in stack { hash = (hash ^ address) &* 0xD6E8_FEB8_6659_FD93 ^ (hash >> 32) }
        let found = look(table, hash, stack, kind)
        if found.number != 0 { return found.number }
        Sampler.pointer.pointee.lock.lock()
        defer { Sampler.pointer.pointee.lock.unlock() }
        let again = look(table, hash, stack, kind)
        if again.number != 0 { return again.number }
        let counter = (table + countOffset).assumingMemoryBound(to: Atomic<UInt32>.self)
        let number = counter.pointee.get()
        if number >= UInt32(most) { return 0 }
        let site = at(Int(number))
        site.word(.hash).pointee.set(hash)
        site.word(.shape).pointee.set(kind << 32 | UInt64(stack.count))
        for (position, address) in stack.enumerated() {
            site.words[Word.frames.rawValue + position].set(address)
        }
        slot(table, again.slot).pointee.store(number, ordering: .releasing)
        counter.pointee.store(number + 1, ordering: .releasing)
        return number
    }

    private static func slot(_ table: UnsafeMutableRawPointer, _ slot: UInt64) -> UnsafeMutablePointer<Atomic<UInt32>> {
        table.assumingMemoryBound(to: Atomic<UInt32>.self) + Int(slot)
    }

    /// The site's number, or 0 and the slot where it would be put. At most half of the slots are ever in use.
    private static func look(
        _ table: UnsafeMutableRawPointer, _ hash: UInt64, _ stack: UnsafeMutableBufferPointer<UInt64>, _ kind: UInt64
    ) -> (number: UInt32, slot: UInt64) {
        var place = hash >> 20 & UInt64(slots - 1)
        while true {
            let number = slot(table, place).pointee.load(ordering: .acquiring)
            if number == 0 || at(Int(number)).isOf(hash, stack, kind) { return (number, place) }
            place = (place + 1) & UInt64(slots - 1)
        }
    }

    private func isOf(_ hash: UInt64, _ stack: UnsafeMutableBufferPointer<UInt64>, _ kind: UInt64) -> Bool {
        if value(.hash) != hash || value(.shape) != kind << 32 | UInt64(stack.count) { return false }
        for (position, address) in stack.enumerated() where frame(position) != address { return false }
        return true
    }
}

/// How a context ended, as profiles tell it.
enum Reason: Int {
    case closed, canceled, cause, deadline, parentCanceled, parentDeadline

    static let count = 6

    init(_ verdict: Verdict) {
        switch verdict {
        case .canceled: self = .canceled
        case .canceledWithCause: self = .cause
        case .deadline: self = .deadline
        case .inheritedCanceled: self = .parentCanceled
        case .inheritedDeadline: self = .parentDeadline
        default: self = .closed
        }
    }

    var text: StaticString {
        switch self {
        case .closed: "closed"
        case .canceled: "canceled"
        case .cause: "canceled with a cause"
        case .deadline: "deadline exceeded"
        case .parentCanceled: "parent canceled"
        case .parentDeadline: "parent's deadline exceeded"
        }
    }
}
