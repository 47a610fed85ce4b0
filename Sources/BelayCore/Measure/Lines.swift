// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform

/// The addresses of one report in ascending order, and what the line tables of the files they are in say of each. In
/// memory of its own; `free` gives it back.
struct Lines {
    struct Place {
        let address: UInt64
        /// 0 if it is not known; and then the rest means nothing.
        var line: UInt64 = 0
        /// Where in the line table's unit it is named.
        var file: UInt64 = 0
        var unit: ByteReader?
    }

    private let places: UnsafeMutablePointer<Place>
    private let count: Int

    init?(_ addresses: borrowing Tally) {
        count = addresses.count
        guard let memory = belaycore_map(max(count, 1) * MemoryLayout<Place>.stride) else { return nil }
        places = memory.assumingMemoryBound(to: Place.self)
        for number in 0..<count { places[number] = Place(address: addresses[number].key) }
        sort()
    }

    func free() { belaycore_unmap(places, max(count, 1) * MemoryLayout<Place>.stride) }

    /// Shell's: short, in place, and no trouble with a few thousand.
    private func sort() {
        var gap = count / 2
        while gap > 0 {
            for start in gap..<max(count, gap) {
                let place = places[start]
                var at = start
                while at >= gap && places[at - gap].address > place.address {
                    places[at] = places[at - gap]
                    at -= gap
                }
                places[at] = place
            }
            gap /= 2
        }
    }

    /// The number of the first place that is not below an address.
    @inline(never) private func lowerBound(_ address: UInt64) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if places[middle].address < address { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// What is known of an address; nil without a line.
    func place(_ address: UInt64) -> Place? {
        let number = lowerBound(address)
        return number < count && places[number].address == address && places[number].line != 0 ? places[number] : nil
    }

    /// Reads the line table of a mapping's file from its begin to its end: one pass for all addresses in it. False if
    /// there is none.
    @inline(never) func find(in mapping: Mappings.Mapping) -> Bool {
        let first = lowerBound(mapping.start)
        guard first < count, places[first].address < mapping.end,
            let bias = mapping.bias(of: places[first].address), var table = mapping.image.section(".debug_line\0")
        else { return false }
        while table.hasMore {
            let unit = LineUnit(table)
            run(unit, bias)
            table.at = unit.whole.end
        }
        return true
    }

    /// The registers of the machine that a line table is a program for.
    private struct Row {
        var address: UInt64 = 0
        var file: UInt64 = 1
        var line: UInt64 = 1
    }

    private func run(_ unit: LineUnit, _ bias: UInt64) {
        var reader = unit.program
        var row = Row()
        var last = row
        var next = count
        var isFirst = true
        while reader.hasMore {
            let code = UInt64(reader.byte())
            var isLast = false
            switch code {
            case unit.opcodeBase...:
                let special = code - unit.opcodeBase
                row.address &+= special / unit.lineRange &* unit.step
                row.line = row.line &+ unit.lineBase &+ special % unit.lineRange
            case 0:
                let length = reader.number()
                var operation = reader
                reader.skip(length)
                let code = operation.byte()
                if code == 2 { row.address = operation.fixed(8) }
                if code != 1 { continue }
                isLast = true
            case 1: break
            default:
                switch code {
                case 2: row.address &+= reader.number() &* unit.step
                case 3: row.line = row.line &+ reader.leb128(signed: true)
                case 4: row.file = reader.number()
                case 8: row.address &+= (255 - unit.opcodeBase) / unit.lineRange &* unit.step
                case 9: row.address &+= reader.fixed(2)
                default:
                    var counts = unit.operandCounts
                    counts.skip(code - 1)
                    for _ in 0..<counts.byte() { _ = reader.number() }
                }
                continue
            }
            // A row: the one before it is about all that is between the two. Those of a sequence ascend; one that the
            // linker has left out begins at 0.
            let address = row.address &+ bias
            if isFirst { next = row.address == 0 ? count : lowerBound(address) }
            while next < count && places[next].address < address {
                places[next].line = last.line
                places[next].unit = unit.whole
                places[next].file = last.file
                next += 1
            }
            isFirst = isLast
            if isLast { row = Row() }
            last = row
        }
    }
}
