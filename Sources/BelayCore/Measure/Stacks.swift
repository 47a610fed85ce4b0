// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform

/// Where in a sampled stack the program's own part begins. The innermost frames are ours; the last of them to be shown
/// is the function of belay.h that was called. With everything stripped that cannot be told, and all is shown.
struct Stacks: ~Copyable {
    let mappings: Mappings
    /// What is known of addresses: a number of `Frame`'s.
    private var known: Tally

    private enum Frame: UInt64 {
        case ours = 1
        case inside, other
    }

    /// Of ours on a stack; without optimisation there are fourteen.
    private static let deepest = 20

    init?() {
        guard let mappings = Mappings() else { return nil }
        guard let known = Tally(slots: 1 << 14) else {
            mappings.free()
            return nil
        }
        self.mappings = mappings
        self.known = known
    }

    func free() {
        mappings.free()
        known.free()
    }

    /// The number of the frame that is the call into Belay; the caller's own, where that left no frame. What walks the
    /// stack for us may be on it too, before all of ours (a sanitizer's, for one).
    mutating func start(of site: Site) -> Int {
        var start = 0
        var isOurs = false
        var isFound = false
        for position in 0..<min(site.frameCount, Stacks.deepest) {
            switch look(site.frame(position)) {
            case .ours: (start, isFound, isOurs) = (position, true, true)
            case .inside: isOurs = true
            case .other: if isOurs { return isFound ? start : position }
            }
        }
        return start
    }

    private mutating func look(_ address: UInt64) -> Frame {
        let entry = known.entry(address)
        if let entry, let frame = Frame(rawValue: entry.pointee.value) { return frame }
        let frame = Stacks.frame(mappings.symbol(address)?.name)
        entry?.pointee.value = frame.rawValue
        return frame
    }

    private static func frame(_ name: UnsafeRawBufferPointer?) -> Frame {
        guard let name else { return .inside }
        // Swift's names, which may be ours as well as the program's.
        if name[0] == 36 || name.begins("belaycore_") { return .inside }
        return name.begins("belay_") ? .ours : .other
    }
}
