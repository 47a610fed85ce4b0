// SPDX-License-Identifier: Apache-2.0
import CBelay

// The tree for people, for programs, for pictures.

extension Writer {
    fileprivate mutating func putName(_ entry: TreeEntryPointer, isPlain: Bool = false) {
        withUnsafeBytes(of: &entry.pointee.name) { bytes in
            let text = bytes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
            put(escaped: text, limit: TreeEntry.nameBytes, isPlain: isPlain)
        }
    }

    fileprivate mutating func putMessage(_ cause: belay_cause, isPlain: Bool = false) {
        var message = cause.message
        withUnsafeBytes(of: &message) { bytes in
            let text = bytes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
            put(escaped: text, limit: bytes.count, isPlain: isPlain)
        }
    }
}

extension UnsafeMutablePointer where Pointee == TreeEntry {
    fileprivate var hasName: Bool { pointee.name.0 != 0 }
    fileprivate var status: belay_status { belay_status(rawValue: UInt32(pointee.status)) }

    fileprivate var remaining: Int64? {
        if pointee.deadline == Clock.never { return nil }
        if status != BELAY_OK { return 0 }
        let (left, overflow) = pointee.deadline.subtractingReportingOverflow(Clock.now(in: pointee.state.runtime))
        return overflow ? Clock.never : max(left, 0)
    }

    /// Why it ended, if somebody has noticed and its handle is still good.
    fileprivate func cause(_ index: UInt32) -> belay_cause? {
        if !pointee.state.isDone || pointee.isClosed { return nil }
        guard var cause = pointee.handle(index).causeIfOpen(), cause.code != 0 || cause.message.0 != 0 else {
            return nil
        }
        cause.isSignal = false
        return cause
    }

    fileprivate func age(_ index: UInt32) -> Int64? {
        Birth.instant(of: index).map { max(Clock.now - $0, 0) }
    }
}

/// A line for each context, indented by its depth.
enum TreeText {
    private static let deepest = 40

    static func write(_ tree: Tree, _ writer: inout Writer) {
        tree.forEach { index, depth in
            let entry = tree.entry(index)
            for _ in 0..<min(depth, deepest) { writer.put("  ") }
            // A chain may be a million long.
            if depth > deepest {
                writer.put("[")
                writer.put(Int64(depth))
                writer.put("] ")
            }
            writer.put(entry.pointee.kind.name)
            if entry.hasName {
                writer.put(" \"")
                writer.putName(entry)
                writer.put("\"")
            }
            if index >= Root.firstFree { describe(entry, index, &writer) }
            writer.put("\n")
        }
    }

    private static func describe(_ entry: TreeEntryPointer, _ index: UInt32, _ writer: inout Writer) {
        writer.put(" ")
        writer.put(hex: entry.pointee.handle(index).bits)
        if entry.status == BELAY_OK {
            writer.put(": live")
            if let left = entry.remaining {
                writer.put(", ")
                writer.put(seconds: left)
                writer.put(" s left")
            }
        } else {
            writer.put(": ")
            writer.put(entry.status.text)
            if let cause = entry.cause(index) {
                writer.put(", cause ")
                writer.put(cause.code)
                writer.put(" \"")
                writer.putMessage(cause)
                writer.put("\"")
            }
        }
        if let age = entry.age(index) {
            writer.put(", ")
            writer.put(seconds: age)
            writer.put(" s old")
        }
        if entry.pointee.handleKind == UInt8(Kind.scope) && entry.pointee.state.has(State.attached) {
            writer.put(", attached")
        }
        if entry.pointee.isClosed { writer.put(", closed") }
    }
}

/// One object with an array of contexts, parents first. Flat, because readers of JSON have their limits to nesting.
enum TreeJSON {
    static func write(_ tree: Tree, _ writer: inout Writer) {
        writer.put("{\"now\":")
        writer.put(Clock.now)
        writer.put(",\"contexts\":[")
        var isFirst = true
        tree.forEach { index, depth in
            writer.put(isFirst ? "\n{" : ",\n{")
            isFirst = false
            let entry = tree.entry(index)
            writer.put("\"id\":\"")
            writer.put(hex: entry.pointee.handle(index).bits)
            writer.put("\",\"parent\":")
            if index == tree.top {
                writer.put("null")
            } else {
                let parent = entry.pointee.parent
                writer.put("\"")
                writer.put(hex: tree.entry(parent).pointee.handle(parent).bits)
                writer.put("\"")
            }
            writer.put(",\"depth\":")
            writer.put(Int64(depth))
            describe(entry, index, &writer)
            writer.put("}")
        }
        writer.put("\n]}\n")
    }

    private static func describe(_ entry: TreeEntryPointer, _ index: UInt32, _ writer: inout Writer) {
        writer.put(",\"kind\":\"")
        writer.put(entry.pointee.kind.name)
        writer.put("\",\"state\":")
        writer.put(
            entry.status == BELAY_OK
                ? "\"live\"" : entry.status == BELAY_CANCELED ? "\"canceled\"" : "\"deadline\"")
        if entry.hasName {
            writer.put(",\"name\":\"")
            writer.putName(entry)
            writer.put("\"")
        }
        if let left = entry.remaining {
            writer.put(",\"deadline\":")
            writer.put(entry.pointee.deadline)
            writer.put(",\"remaining\":")
            writer.put(left)
        }
        if let age = entry.age(index) {
            writer.put(",\"age\":")
            writer.put(age)
        }
        if let cause = entry.cause(index) {
            writer.put(",\"cause\":{\"code\":")
            writer.put(cause.code)
            writer.put(",\"message\":\"")
            writer.putMessage(cause)
            writer.put("\"}")
        }
        let isAttached = entry.pointee.handleKind == UInt8(Kind.scope) && entry.pointee.state.has(State.attached)
        writer.put(isAttached ? ",\"attached\":true" : ",\"attached\":false")
        writer.put(entry.pointee.isClosed ? ",\"closed\":true" : ",\"closed\":false")
        writer.put(",\"runtime\":")
        writer.put(Int64(entry.pointee.state.runtime))
    }
}

/// For Graphviz: `dot -Tsvg`. What has ended is grey, what joined the tree has a thick frame.
enum TreeDot {
    static func write(_ tree: Tree, _ writer: inout Writer) {
        writer.put("digraph belay {\n  node [shape=box, fontname=\"sans-serif\"];\n")
        tree.forEach { index, _ in
            let entry = tree.entry(index)
            let id = entry.pointee.handle(index).bits
            writer.put("  \"")
            writer.put(hex: id)
            writer.put("\" [label=\"")
            writer.put(entry.pointee.kind.name)
            if entry.hasName {
                writer.put("\\n")
                writer.putName(entry, isPlain: true)
            }
            describe(entry, index, &writer)
            writer.put("\"")
            if entry.status != BELAY_OK { writer.put(", color=gray, fontcolor=gray") }
            if entry.pointee.state.has(State.attached) { writer.put(", penwidth=2") }
            writer.put("];\n")
            if index == tree.top { return }
            let parent = entry.pointee.parent
            writer.put("  \"")
            writer.put(hex: tree.entry(parent).pointee.handle(parent).bits)
            writer.put("\" -> \"")
            writer.put(hex: id)
            writer.put("\";\n")
        }
        writer.put("}\n")
    }

    private static func describe(_ entry: TreeEntryPointer, _ index: UInt32, _ writer: inout Writer) {
        if entry.status == BELAY_OK {
            guard let left = entry.remaining else { return }
            writer.put("\\n")
            writer.put(seconds: left)
            writer.put(" s left")
            return
        }
        writer.put("\\n")
        if let cause = entry.cause(index) {
            writer.putMessage(cause, isPlain: true)
        } else {
            writer.put(entry.status.text)
        }
    }
}
