// SPDX-License-Identifier: Apache-2.0
import CBelay

/// One member of a baggage list, such as ` key = value;property `: where its parts stand in the text.
struct BaggageMember {
    /// All of it, without the blanks around it.
    var all: Range<Int>
    /// Empty if there is no key with a value: then the member is none.
    var key = 0..<0
    var value = 0..<0
}

extension WireText {
    /// The list member that begins at `start`, which is moved behind the comma that ends it. Nil at the end of the
    /// list.
    func nextMember(_ start: inout Int) -> BaggageMember? {
        if start > count { return nil }
        let end = find(UInt8(ascii: ","), start..<count)
        var member = BaggageMember(all: trim(start..<end))
        let bare = member.all.lowerBound..<find(UInt8(ascii: ";"), member.all)
        let equals = find(UInt8(ascii: "="), bare)
        if equals < bare.upperBound {
            member.key = trim(bare.lowerBound..<equals)
            member.value = trim(equals + 1..<bare.upperBound)
        }
        start = end + 1
        return member
    }

    /// Where `byte` is first in `range`; its end if nowhere.
    private func find(_ byte: UInt8, _ range: Range<Int>) -> Int {
        var position = range.lowerBound
        while position < range.upperBound && self[position] != byte { position += 1 }
        return position
    }

    private func trim(_ range: Range<Int>) -> Range<Int> {
        var (lower, upper) = (range.lowerBound, range.upperBound)
        while lower < upper && isBlank(self[lower]) { lower += 1 }
        while lower < upper && isBlank(self[upper - 1]) { upper -= 1 }
        return lower..<upper
    }

    private func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    /// Whether this may be a key: a token of HTTP.
    var isToken: Bool {
        for position in 0..<count {
            switch self[position] {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "^")...UInt8(ascii: "z"), UInt8(ascii: "#")...UInt8(ascii: "'"), UInt8(ascii: "!"),
                UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "|"),
                UInt8(ascii: "~"):
                continue
            default:
                return false
            }
        }
        return count > 0
    }
}

@_cdecl("belay_baggage_get") @implementation
public func belay_baggage_get(
    _ text: UnsafePointer<CChar>?, _ length: Int, _ key: UnsafePointer<CChar>?, _ value: UnsafeMutablePointer<CChar>?,
    _ size: Int
) -> Int {
    guard let list = WireText(text, length), let key = WireText(cString: key), key.isToken,
        var writer = Writer(value, size)
    else { return refuseText(value, size) }
    var position = 0
    while let member = list.nextMember(&position) {
        guard list.equals(member.key, key) else { continue }
        list.decode(member.value, into: &writer)
        return writer.finish()
    }
    _ = writer.finish()  // the empty text
    return -1
}

/// What a list becomes when a member is set.
private struct BaggageEdit {
    let list: WireText
    let key: WireText
    let value: WireText?
    /// Of what stays of the list.
    private(set) var members = 0
    private(set) var kept = 0

    static let mostMembers = 64
    static let mostBytes = 8192

    init(_ list: WireText, _ key: WireText, _ value: WireText?) {
        (self.list, self.key, self.value) = (list, key, value)
        var position = 0
        while let member = list.nextMember(&position) {
            if !stays(member) { continue }
            kept += member.all.count + (members > 0 ? 1 : 0)
            members += 1
        }
    }

    /// Empty members go, and those with the key.
    private func stays(_ member: BaggageMember) -> Bool { !member.all.isEmpty && !list.equals(member.key, key) }

    var length: Int {
        guard let value else { return kept }
        var length = kept + (members > 0 ? 1 : 0) + key.count + 1
        for position in 0..<value.count { length &+= PercentCode.isPlain(value[position]) ? 1 : 3 }
        return length
    }

    var isWithinLimits: Bool { value == nil || (members < Self.mostMembers && length <= Self.mostBytes) }

    /// Writes over the list itself, which has room for it.
    func apply(to text: UnsafeMutablePointer<CChar>, _ size: Int) {
        guard var writer = Writer(text, size) else { return }
        var position = 0
        // What stays moves to the front: the place to write is never behind the place to read.
        while let member = list.nextMember(&position) {
            if !stays(member) { continue }
            if writer.length > 0 { writer.put(byte: UInt8(ascii: ",")) }
            for byte in member.all { writer.put(byte: list[byte]) }
        }
        if let value {
            if writer.length > 0 { writer.put(byte: UInt8(ascii: ",")) }
            for byte in 0..<key.count { writer.put(byte: key[byte]) }
            writer.put(byte: UInt8(ascii: "="))
            for byte in 0..<value.count { PercentCode.put(value[byte], into: &writer) }
        }
        _ = writer.finish()
    }
}

@_cdecl("belay_baggage_set") @implementation
public func belay_baggage_set(
    _ text: UnsafeMutablePointer<CChar>?, _ size: Int, _ key: UnsafePointer<CChar>?, _ value: UnsafePointer<CChar>?
) -> Int {
    guard let text, let list = WireText(cString: text, limit: size), let key = WireText(cString: key), key.isToken
    else {
        LastStatus.set(BELAY_EINVAL)
        return -1
    }
    let edit = BaggageEdit(list, key, WireText(cString: value))
    guard edit.isWithinLimits else {
        LastStatus.set(BELAY_EINVAL)
        return -1
    }
    if edit.length < size { edit.apply(to: text, size) }
    return edit.length
}
