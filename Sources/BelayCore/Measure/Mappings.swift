// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform

/// The code that is mapped into the process, as /proc/self/maps tells: where it is, and of which file. In memory of
/// its own for the time of one report; `free` gives it back.
struct Mappings: ~Copyable {
    struct Mapping {
        let start: UInt64
        let end: UInt64
        let offset: UInt64
        /// In the text, with a NUL.
        let path: UnsafeMutablePointer<CChar>
        var image: Image

        /// How far from its file's own addresses one is that is in the mapping. The image is open.
        func bias(of address: UInt64) -> UInt64? {
            image.address(ofOffset: address - start + offset).map { address &- $0 }
        }
    }

    private static let most = 256
    private static let room = 1 << 20
    private static let bytes = room + most * MemoryLayout<Mapping>.stride

    private let memory: UnsafeMutableRawPointer
    private let mappings: UnsafeMutablePointer<Mapping>
    private(set) var count = 0

    init?() {
        guard let memory = belaycore_map(Mappings.bytes) else { return nil }
        self.memory = memory
        mappings = (memory + Mappings.room).assumingMemoryBound(to: Mapping.self)
        let path = ("/proc/self/maps" as StaticString).cString
        let length = belaycore_read_file(path, memory, Mappings.room - 1)
        let text = memory.assumingMemoryBound(to: CChar.self)
        var line = 0
        while line < length && count < Mappings.most {
            var end = line
            while end < length && text[end] != 10 { end += 1 }
            text[end] = 0
            add(text + line)
            line = end + 1
        }
    }

    func free() {
        for number in 0..<count { mappings[number].image.close() }
        belaycore_unmap(memory, Mappings.bytes)
    }

    subscript(_ number: Int) -> Mapping { mappings[number] }

    /// "5604a000-5604b000 r-xp 00001000 fe:01 1234   /usr/bin/program"; only what is executable and has a file.
    private mutating func add(_ line: UnsafeMutablePointer<CChar>) {
        var next = line
        let start = Mappings.hex(&next)
        next += 1
        let end = Mappings.hex(&next)
        guard end > start, next.pointee == 32, next[3] == 120 else { return }
        next += 6
        let offset = Mappings.hex(&next)
        for _ in 0..<2 {
            next += 1
            while next.pointee != 32 && next.pointee != 0 { next += 1 }
        }
        while next.pointee == 32 { next += 1 }
        guard next.pointee == 47 else { return }
        mappings[count] = Mapping(start: start, end: end, offset: offset, path: next, image: Image())
        count += 1
    }

    private static func hex(_ next: inout UnsafeMutablePointer<CChar>) -> UInt64 {
        var value: UInt64 = 0
        while let digit = Hex.value(UInt8(bitPattern: next.pointee)) {
            value = value << 4 | UInt64(digit)
            next += 1
        }
        return value
    }

    /// The number of the mapping that an address is in, from 0.
    @inline(never) func find(_ address: UInt64) -> Int? {
        for number in 0..<count where mappings[number].start <= address && address < mappings[number].end {
            return number
        }
        return nil
    }

    /// The function that an address is in.
    @inline(never) func symbol(_ address: UInt64) -> Image.Symbol? {
        guard let number = find(address) else { return nil }
        let mapping = mappings[number]
        mappings[number].image.open(mapping.path)
        return mappings[number].image.symbol(atOffset: address - mapping.start + mapping.offset)
    }

    /// The build id of a mapping's file; empty if it has none.
    func buildID(_ number: Int) -> UnsafeRawBufferPointer {
        mappings[number].image.open(mappings[number].path)
        return mappings[number].image.buildID()
    }
}
