// SPDX-License-Identifier: Apache-2.0

/// Where a context was made, in words: for the audit and the tree.
extension Stacks {
    private static let mostShown = 4

    /// The first few calls of a site's stack, for between two quotes.
    @inline(never) mutating func put(_ site: Site, to output: inout Writer, isPlain: Bool = false) {
        let start = start(of: site)
        var shown = 0
        for position in start..<max(site.frameCount, start) where shown < Stacks.mostShown {
            let address = site.frame(position)
            let name = mappings.symbol(address)?.name
            // What of ours is in between says nothing, and what is beyond main neither.
            if let name, shown != 0 && name.begins("$") && name.begins("9BelayCore", at: 2) { continue }
            if shown != 0 { output.put(" < ") }
            put(function: address, to: &output, isPlain: isPlain)
            shown += 1
            if let name, name.count == 4 && name.begins("main") { break }
        }
        if shown == 0 { output.put("(no stack)") }
    }

    /// "name+0x1f (file)"; without a name the address in the file, as addr2line wants it.
    @inline(never) func put(function address: UInt64, to output: inout Writer, isPlain: Bool = false) {
        let symbol = mappings.symbol(address)
        if let symbol {
            output.put(escaped: symbol.name, isPlain: isPlain)
            if symbol.distance != 0 {
                output.put("+0x")
                output.put(hex: symbol.distance)
            }
        }
        guard let number = mappings.find(address) else {
            if symbol == nil {
                output.put("0x")
                output.put(hex: address)
            }
            return
        }
        let mapping = mappings[number]
        if symbol == nil {
            output.put("0x")
            output.put(hex: address - mapping.start + mapping.offset)
        }
        output.put(" (")
        var name = UnsafePointer(mapping.path)
        var next = name
        while next.pointee != 0 {
            if next.pointee == 47 { name = next + 1 }
            next += 1
        }
        output.put(escaped: UnsafeRawBufferPointer(start: name, count: next - name), isPlain: isPlain)
        output.put(")")
    }
}
