// SPDX-License-Identifier: Apache-2.0

/// The head of a unit of a line table (DWARF 2 to 5, section 6.2.4 of its standard): how its program is to be read, and
/// the files that it is about.
struct LineUnit {
    /// All of it.
    let whole: ByteReader
    let program: ByteReader
    let step: UInt64
    let lineBase: UInt64
    let lineRange: UInt64
    let opcodeBase: UInt64
    /// How many numbers follow each operation; and behind that the files.
    let operandCounts: ByteReader
    private let version: UInt64
    /// Of offsets: 4, or 8 in the format of 64 bits.
    private let width: UInt64

    /// The unit that begins where the reader is.
    init(_ reader: ByteReader) {
        var reader = reader
        let start = reader.at
        var length = reader.fixed(4)
        width = length == 0xFFFF_FFFF ? 8 : 4
        if width == 8 { length = reader.fixed(8) }
        var rest = reader
        rest.skip(length)
        whole = ByteReader(at: start, end: rest.at)
        reader = ByteReader(at: reader.at, end: rest.at)
        version = reader.fixed(2)
        if version >= 5 { reader.skip(2) }
        var program = reader
        program.skip(program.fixed(width))
        // One that we do not know has no rows.
        if version < 2 || version > 5 { program.at = program.end }
        self.program = program
        _ = reader.fixed(width)
        step = reader.fixed(1)
        reader.skip(version >= 4 ? 2 : 1)
        lineBase = UInt64(bitPattern: Int64(Int8(bitPattern: reader.byte())))
        lineRange = max(reader.fixed(1), 1)
        opcodeBase = max(reader.fixed(1), 1)
        operandCounts = reader
    }

    // MARK: names of files

    /// A file's name, and the folder that it is in if it says so; and of this the same.
    typealias Path = (base: UnsafeRawBufferPointer, folder: UnsafeRawBufferPointer, name: UnsafeRawBufferPointer)

    func path(_ file: UInt64, _ image: Image) -> Path {
        var reader = operandCounts
        reader.skip(opcodeBase - 1)
        var folders = reader
        _ = entry(&reader, .max, isFile: false, image)
        let (name, folder) = entry(&reader, file, isFile: true, image)
        reader = folders
        let base = entry(&folders, 0, isFile: false, image).name
        if folder == 0 { reader.at = reader.end }
        return (base, entry(&reader, folder, isFile: false, image).name, name)
    }

    /// An entry of the table that begins here, by its number; where there is none the reader is at the table's end.
    @inline(never) private func entry(
        _ reader: inout ByteReader, _ wanted: UInt64, isFile: Bool, _ image: Image
    ) -> (name: UnsafeRawBufferPointer, folder: UInt64) {
        var name = UnsafeRawBufferPointer(start: nil, count: 0)
        var folder: UInt64 = 0
        if version < 5 {
            // Counted from 1: what 0 is stands elsewhere.
            var number: UInt64 = 1
            while true {
                name = reader.text()
                if isFile && !name.isEmpty {
                    folder = reader.number()
                    _ = reader.number()
                    _ = reader.number()
                }
                if name.isEmpty || number == wanted { return (name, folder) }
                number += 1
            }
        }
        let formatCount = reader.byte()
        let formats = reader
        for _ in 0..<2 * Int(formatCount) { _ = reader.number() }
        let count = formatCount == 0 ? 0 : reader.number()
        var number: UInt64 = 0
        while number < count && reader.hasMore {
            var format = formats
            for _ in 0..<formatCount {
                let content = format.number()
                let (text, value) = self.value(&reader, form: format.number(), image)
                if content == 1 { name = text }
                if content == 2 { folder = value }
            }
            if number == wanted { return (name, folder) }
            number += 1
        }
        return (UnsafeRawBufferPointer(start: nil, count: 0), 0)
    }

    /// What stands in a table of DWARF 5, in one of the forms that it may have there.
    private func value(
        _ reader: inout ByteReader, form: UInt64, _ image: Image
    ) -> (text: UnsafeRawBufferPointer, number: UInt64) {
        var number: UInt64 = 0
        switch form {
        case 0x08: return (reader.text(), 0)
        case 0x0E, 0x1F:
            let offset = reader.fixed(width)
            guard var strings = image.section(form == 0x0E ? ".debug_str\0" : ".debug_line_str\0") else { break }
            strings.skip(offset)
            return (strings.text(), 0)
        case 0x0B: number = reader.fixed(1)
        case 0x05: number = reader.fixed(2)
        case 0x06: number = reader.fixed(4)
        case 0x07: number = reader.fixed(8)
        case 0x09: reader.skip(reader.number())
        case 0x0F: number = reader.number()
        case 0x1E: reader.skip(16)
        default: reader.skip(.max)
        }
        return (UnsafeRawBufferPointer(start: nil, count: 0), number)
    }
}
