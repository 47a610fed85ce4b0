// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// Writes what the sampler has counted as a profile for pprof: protocol buffers, uncompressed (profile.proto of
/// github.com/google/pprof).
///
/// Functions are named from the symbol tables of the files that are mapped, and lines are from their line tables. We do
/// not leave that to pprof: Go's has no name for a function that gcc has copied, or has inlined elsewhere too, and no
/// line in main; and a profile that says all of it can be read where the program is not.
struct Profile: ~Copyable {
    private enum Field {
        static let sampleType: UInt64 = 1
        static let sample: UInt64 = 2
        static let mapping: UInt64 = 3
        static let location: UInt64 = 4
        static let function: UInt64 = 5
        static let string: UInt64 = 6
        static let time: UInt64 = 9
        static let duration: UInt64 = 10
        static let periodType: UInt64 = 11
        static let period: UInt64 = 12
        static let usualType: UInt64 = 14
    }

    private static let outputBytes = 16 * 1024
    /// The largest message is a location: a mapping's file name can be as long as a path.
    private static let messageBytes = 8 * 1024
    private static let innerBytes = 512
    private static let bytes = outputBytes + 2 * messageBytes + innerBytes

    private let memory: UnsafeMutableRawPointer
    private var output: Writer
    private var message: Message
    private var inner: Message
    private var outer: Message
    private var stacks: Stacks
    private var addresses: Tally
    private var functions: Tally
    private var strings: UInt64 = 0

    private init?(_ descriptor: Int32) {
        guard let memory = belaycore_map(Profile.bytes) else { return nil }
        guard let stacks = Stacks() else {
            belaycore_unmap(memory, Profile.bytes)
            return nil
        }
        guard let addresses = Tally(slots: 1 << 17) else {
            stacks.free()
            belaycore_unmap(memory, Profile.bytes)
            return nil
        }
        guard let functions = Tally(slots: 1 << 15) else {
            stacks.free()
            addresses.free()
            belaycore_unmap(memory, Profile.bytes)
            return nil
        }
        func part(_ offset: Int, _ count: Int) -> UnsafeMutableBufferPointer<UInt8> {
            UnsafeMutableBufferPointer(start: (memory + offset).assumingMemoryBound(to: UInt8.self), count: count)
        }
        self.memory = memory
        output = Writer(descriptor, part(0, Profile.outputBytes))
        message = Message(part(Profile.outputBytes, Profile.messageBytes))
        outer = Message(part(Profile.outputBytes + Profile.messageBytes, Profile.messageBytes))
        inner = Message(part(Profile.outputBytes + 2 * Profile.messageBytes, Profile.innerBytes))
        self.stacks = stacks
        self.addresses = addresses
        self.functions = functions
    }

    private func free() {
        stacks.free()
        addresses.free()
        functions.free()
        belaycore_unmap(memory, Profile.bytes)
    }

    static func write(_ kind: belay_profile_kind, _ descriptor: Int32) -> belay_status {
        if Globals.pointer.pointee.forked { return BELAY_EFORK }
        guard kind.rawValue >= BELAY_PROFILE_LIVE.rawValue, kind.rawValue <= BELAY_PROFILE_CANCELLATIONS.rawValue,
            descriptor >= 0
        else { return BELAY_EINVAL }
        guard var profile = Profile(descriptor) else { return BELAY_ENOMEM }
        let status = profile.write(kind)
        profile.free()
        return status
    }

    private mutating func write(_ kind: belay_profile_kind) -> belay_status {
        _ = string("")
        header(kind)
        for number in 0..<Site.count { samples(of: Site.at(number), kind) }
        // Without memory for it there are no lines.
        let lines = Lines(addresses)
        for number in 0..<stacks.mappings.count { mapping(number, lines) }
        for number in 0..<addresses.count { location(number, lines) }
        lines?.free()
        return output.close()
    }

    private mutating func header(_ kind: belay_profile_kind) {
        switch kind {
        case BELAY_PROFILE_LIVE:
            valueType(Field.sampleType, "contexts", "count")
            valueType(Field.sampleType, "space", "bytes")
        case BELAY_PROFILE_DERIVATIONS: valueType(Field.sampleType, "derivations", "count")
        default: valueType(Field.sampleType, "ends", "count")
        }
        valueType(Field.periodType, "derivations", "count")
        let usual = kind == BELAY_PROFILE_LIVE ? string("contexts") : 0
        let started = Sampler.pointer.pointee.startedAt.get()
        outer.clear()
        outer.number(Field.period, UInt64(Sampler.pointer.pointee.every.get()))
        outer.number(Field.time, UInt64(belaycore_wall_clock()))
        outer.number(Field.duration, started == 0 ? 0 : UInt64(max(Clock.now - started, 0)))
        outer.number(Field.usualType, usual)
        output.put(bytes: outer.bytes)
    }

    // MARK: samples

    private mutating func samples(of site: Site, _ kind: belay_profile_kind) {
        switch kind {
        case BELAY_PROFILE_LIVE:
            let open = site.open
            if open != 0 { sample(of: site, open, bytes: open &* UInt64(Region.cellBytes), label: nil) }
        case BELAY_PROFILE_DERIVATIONS:
            let derived = site.value(.derived)
            if derived != 0 { sample(of: site, derived, bytes: nil, label: nil) }
        default:
            // Values and detached contexts have no end of their own.
            if site.kind == Kind.value || site.kind == Kind.detached { return }
            for number in 0..<Reason.count {
                guard let reason = Reason(rawValue: number) else { continue }
                let count = site.reason(reason).pointee.get()
                if count != 0 { sample(of: site, count, bytes: nil, label: reason.text) }
            }
        }
    }

    @inline(never) private mutating func sample(of site: Site, _ count: UInt64, bytes: UInt64?, label: StaticString?) {
        var labels: (key: UInt64, value: UInt64)?
        if let label { labels = (string("reason"), string(label)) }
        message.clear()
        for position in stacks.start(of: site)..<max(site.frameCount, 1) where position < site.frameCount {
            if let entry = addresses.entry(site.frame(position)) { message.element(1, entry.pointee.order + 1) }
        }
        message.element(2, count)
        if let bytes { message.element(2, bytes) }
        if let labels {
            inner.clear()
            inner.number(1, labels.key)
            inner.number(2, labels.value)
            message.message(3, inner)
        }
        emit(Field.sample)
    }

    // MARK: what samples refer to

    @inline(never) private mutating func mapping(_ number: Int, _ lines: Lines?) {
        let build = hex(stacks.mappings.buildID(number))
        let mapping = stacks.mappings[number]
        let file = cString(UnsafePointer(mapping.path))
        // The file is open since it was asked for its build id.
        let hasLines = lines?.find(in: mapping) ?? false
        message.clear()
        message.number(1, UInt64(number) + 1)
        message.number(2, mapping.start)
        message.number(3, mapping.end)
        message.number(4, mapping.offset)
        message.number(5, file)
        message.number(6, build)
        message.number(7, 1)
        message.number(8, hasLines ? 1 : 0)
        message.number(9, hasLines ? 1 : 0)
        emit(Field.mapping)
    }

    @inline(never) private mutating func location(_ number: Int, _ lines: Lines?) {
        let address = addresses[number].key
        let mapping = stacks.mappings.find(address)
        var function: UInt64 = 0
        var place: Lines.Place?
        if let mapping, let symbol = stacks.mappings.symbol(address) {
            // Where in Belay a call was is of no use to its caller.
            if !symbol.name.begins("belay_") { place = lines?.place(address) }
            function = self.function(symbol, place, stacks.mappings[mapping].image)
        }
        message.clear()
        message.number(1, UInt64(number) + 1)
        if let mapping { message.number(2, UInt64(mapping) + 1) }
        message.number(3, address)
        if function != 0 {
            inner.clear()
            inner.number(1, function)
            inner.number(2, place?.line ?? 0)
            message.message(4, inner)
        }
        emit(Field.location)
    }

    /// The function's number; written when it is first asked for, and once for each file that lines of it are from:
    /// code of others may be inlined there. 0 if there is no room for more.
    @inline(never) private mutating func function(
        _ symbol: Image.Symbol, _ place: Lines.Place?, _ image: Image
    ) -> UInt64 {
        var key = UInt64(UInt(bitPattern: symbol.name.baseAddress))
        if let place, let unit = place.unit {
            key ^= (UInt64(UInt(bitPattern: unit.at)) << 16 &+ place.file) &* 0x9E37_79B9_7F4A_7C15
        }
        guard let entry = functions.entry(key) else { return 0 }
        let number = entry.pointee.order + 1
        if entry.pointee.value != 0 { return number }
        entry.pointee.value = 1
        let name = string(symbol.name)
        var file: UInt64 = 0
        if let place, let unit = place.unit { file = path(LineUnit(unit).path(place.file, image)) }
        message.clear()
        message.number(1, number)
        message.number(2, name)
        message.number(3, name)
        message.number(4, file)
        emit(Field.function)
        return number
    }

    /// A file's path in one.
    private mutating func path(_ path: LineUnit.Path) -> UInt64 {
        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { text in
            var used = 0
            func add(_ part: UnsafeRawBufferPointer) {
                if part.isEmpty { return }
                // One that begins with a slash is whole.
                if part[0] == 47 { used = 0 }
                if used + part.count + 1 > text.count { return }
                if used > 0 {
                    text[used] = 47
                    used += 1
                }
                for byte in part {
                    text[used] = byte
                    used += 1
                }
            }
            add(path.base)
            add(path.folder)
            add(path.name)
            return string(UnsafeRawBufferPointer(rebasing: text[0..<used]))
        }
    }

    @inline(never) private mutating func valueType(_ field: UInt64, _ type: StaticString, _ unit: StaticString) {
        let type = string(type)
        let unit = string(unit)
        message.clear()
        message.number(1, type)
        message.number(2, unit)
        emit(field)
    }

    // MARK: writing

    /// The message, as a field of the profile.
    @inline(never) private mutating func emit(_ field: UInt64) {
        outer.clear()
        outer.message(field, message)
        output.put(bytes: outer.bytes)
    }

    /// Writes a string; its number in the table.
    @inline(never) private mutating func string(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        outer.clear()
        outer.bytes(Field.string, UnsafeRawBufferPointer(rebasing: bytes[0..<min(bytes.count, 4096)]))
        output.put(bytes: outer.bytes)
        strings += 1
        return strings - 1
    }

    @inline(never) private mutating func string(_ text: StaticString) -> UInt64 {
        string(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    @inline(never) private mutating func cString(_ text: UnsafePointer<CChar>) -> UInt64 {
        var length = 0
        while text[length] != 0 { length += 1 }
        return string(UnsafeRawBufferPointer(start: UnsafeRawPointer(text), count: length))
    }

    /// The bytes as hexadecimal digits; the empty string for none.
    private mutating func hex(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        if bytes.isEmpty { return 0 }
        return withUnsafeTemporaryAllocation(byteCount: 2 * bytes.count, alignment: 1) { text in
            for (position, byte) in bytes.enumerated() {
                text[2 * position] = Hex.digit(byte >> 4)
                text[2 * position + 1] = Hex.digit(byte & 15)
            }
            return string(UnsafeRawBufferPointer(text))
        }
    }
}

@_cdecl("belay_profile_write") @implementation
public func belay_profile_write(_ kind: belay_profile_kind, _ fd: Int32) -> belay_status { Profile.write(kind, fd) }
