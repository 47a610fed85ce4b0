// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform

/// An ELF file of 64 bits, as far as it tells which function an address is in, where its sections are, and its build
/// id. Everything in it is looked at with its bounds: the file may be cut short, replaced, or no ELF file at all, and
/// then it knows nothing.
struct Image {
    struct Symbol {
        /// In the file, without a NUL.
        let name: UnsafeRawBufferPointer
        /// Of the function, from which the address is `distance` away; in the file's own addresses.
        let address: UInt64
        let distance: UInt64
    }

    private var file: UnsafeRawPointer?
    private var size = 0
    private var isOpen = false

    mutating func open(_ path: UnsafePointer<CChar>) {
        if isOpen { return }
        isOpen = true
        var bytes = 0
        guard let memory = belaycore_map_file(path, &bytes) else { return }
        file = UnsafeRawPointer(memory)
        size = bytes
        // Class 64, in this machine's byte order: the only one that can be mapped as code here.
        if get(0, as: UInt32.self) != 0x464C_457F || get(4, as: UInt8.self) != 2 { close() }
    }

    mutating func close() {
        if let file { belaycore_unmap(UnsafeMutableRawPointer(mutating: file), size) }
        file = nil
        size = 0
    }

    /// What stands at an offset of the file; 0 beyond its end.
    @inline(never) func get<T: FixedWidthInteger>(_ offset: UInt64, as type: T.Type) -> T {
        guard let file, size >= MemoryLayout<T>.size, offset <= UInt64(size - MemoryLayout<T>.size) else { return 0 }
        return file.loadUnaligned(fromByteOffset: Int(offset), as: T.self)
    }

    /// What stands from one offset to another; empty where that is not in the file.
    @inline(never) func bytes(_ start: UInt64, _ end: UInt64) -> UnsafeRawBufferPointer {
        guard let file, start < end, end <= UInt64(size) else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        return UnsafeRawBufferPointer(start: file + Int(start), count: Int(end - start))
    }

    struct Section {
        let name: UInt32
        let type: UInt32
        let flags: UInt64
        let offset: UInt64
        let size: UInt64
        let link: UInt32
    }

    private var sectionCount: UInt64 { UInt64(get(60, as: UInt16.self)) }

    @inline(never) private func section(_ number: UInt64) -> Section {
        let at = get(40, as: UInt64.self) &+ number &* UInt64(get(58, as: UInt16.self))
        return Section(
            name: get(at, as: UInt32.self), type: get(at &+ 4, as: UInt32.self), flags: get(at &+ 8, as: UInt64.self),
            offset: get(at &+ 24, as: UInt64.self), size: get(at &+ 32, as: UInt64.self),
            link: get(at &+ 40, as: UInt32.self))
    }

    /// A section by its name, with the NUL that ends it; nil if there is none, or if it is compressed or not wholly in
    /// the file.
    @inline(never) func section(_ name: StaticString) -> ByteReader? {
        let names = section(UInt64(get(62, as: UInt16.self)))
        for number in 0..<sectionCount {
            let found = section(number)
            let start = names.offset &+ UInt64(found.name)
            let content = bytes(found.offset, found.offset &+ found.size)
            if bytes(start, start &+ UInt64(name.utf8CodeUnitCount)).begins(name), found.flags & 0x800 == 0,
                let at = content.baseAddress
            {
                return ByteReader(at: at, end: at + content.count)
            }
        }
        return nil
    }

    /// Where in the file's own addresses an offset of the file is loaded.
    func address(ofOffset offset: UInt64) -> UInt64? {
        let table = get(32, as: UInt64.self)
        let entrySize = UInt64(get(54, as: UInt16.self))
        for number in 0..<UInt64(get(56, as: UInt16.self)) {
            let at = table &+ number &* entrySize
            let start = get(at &+ 8, as: UInt64.self)
            let isLoaded = get(at, as: UInt32.self) == 1
            if isLoaded && offset >= start && offset - start < get(at &+ 32, as: UInt64.self) {
                return offset - start &+ get(at &+ 16, as: UInt64.self)
            }
        }
        return nil
    }

    /// The function at an offset of the file: by the table of all symbols, or where that was stripped by that of the
    /// exported ones. Where several names stand for one place a global one is better than a local one.
    func symbol(atOffset offset: UInt64) -> Symbol? {
        guard let address = address(ofOffset: offset) else { return nil }
        return symbol(address, tables: 2) ?? symbol(address, tables: 11)
    }

    private func symbol(_ address: UInt64, tables type: UInt32) -> Symbol? {
        var best: Symbol?
        var isGlobal = false
        for number in 0..<sectionCount {
            let symbols = section(number)
            guard symbols.type == type, symbols.offset < UInt64(size) else { continue }
            let names = section(UInt64(symbols.link))
            let end = symbols.offset + min(symbols.size, UInt64(size) - symbols.offset)
            var at = symbols.offset
            while at + 24 <= end {
                defer { at += 24 }
                let info = get(at + 4, as: UInt8.self)
                let start = get(at + 8, as: UInt64.self)
                // A function, defined here, that the address is in.
                guard info & 15 == 2, get(at + 6, as: UInt16.self) != 0, start <= address,
                    address - start < max(get(at + 16, as: UInt64.self), 1)
                else { continue }
                if best == nil || (!isGlobal && info >> 4 == 1), let name = name(names, get(at, as: UInt32.self)) {
                    best = Symbol(name: name, address: start, distance: address - start)
                    isGlobal = info >> 4 == 1
                }
            }
        }
        return best
    }

    private func name(_ names: Section, _ offset: UInt32) -> UnsafeRawBufferPointer? {
        guard names.offset < UInt64(size), UInt64(offset) < names.size else { return nil }
        let start = names.offset + UInt64(offset)
        var end = start
        while end < UInt64(size) && get(end, as: UInt8.self) != 0 { end += 1 }
        return end >= UInt64(size) || end == start ? nil : bytes(start, end).forPeople
    }

    /// The bytes of the note that the linker leaves; empty if there is none.
    func buildID() -> UnsafeRawBufferPointer {
        for number in 0..<sectionCount {
            let note = section(number)
            // A note of "GNU" of type 3.
            guard note.type == 7, get(note.offset, as: UInt32.self) == 4, get(note.offset &+ 8, as: UInt32.self) == 3,
                get(note.offset &+ 12, as: UInt32.self) == 0x0055_4E47
            else { continue }
            let length = UInt64(get(note.offset &+ 4, as: UInt32.self))
            return bytes(note.offset &+ 16, note.offset &+ 16 &+ min(length, 64))
        }
        return bytes(0, 0)
    }
}

extension UnsafeRawBufferPointer {
    /// Whether the text stands at this place.
    @inline(never) func begins(_ text: StaticString, at start: Int = 0) -> Bool {
        if count - start < text.utf8CodeUnitCount { return false }
        for i in 0..<text.utf8CodeUnitCount where self[start + i] != text.utf8Start[i] { return false }
        return true
    }

    /// A symbol's name as in the source: without what gcc adds to a function's copies ("work.isra.0"); and of our own
    /// functions, which Swift has mangled ("$e9BelayCore12belay_cancel…"), that of belay.h.
    fileprivate var forPeople: UnsafeRawBufferPointer {
        if begins("9BelayCore", at: 2) {
            var position = 12
            var length = 0
            while position < count && self[position] >= 48 && self[position] <= 57 && length < count {
                length = length * 10 + Int(self[position] - 48)
                position += 1
            }
            let isOurs = begins("belay_", at: position) && length <= count - position
            return isOurs ? UnsafeRawBufferPointer(rebasing: self[position..<position + length]) : self
        }
        for position in 1..<Swift.max(count, 1) where self[position] == 46 {
            if begins(".isra.", at: position) || begins(".constprop.", at: position)
                || begins(".part.", at: position) || begins(".cold", at: position)
            {
                return UnsafeRawBufferPointer(rebasing: self[0..<position])
            }
        }
        return self
    }
}
