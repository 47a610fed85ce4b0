// SPDX-License-Identifier: Apache-2.0
import CBelay

// The tree for people, for programs, for pictures.

/// A context of the tree that is being written.
struct TreeItem {
    let entry: TreeEntryPointer
    let index: UInt32
    let depth: Int
    /// The handle of what it hangs on; nil for the top.
    let parent: Handle?

    var handle: Handle { entry.pointee.handle(index) }
    var status: belay_status { belay_status(rawValue: UInt32(entry.pointee.status)) }
    var hasName: Bool { entry.pointee.name.0 != 0 }
    var isAttached: Bool { entry.pointee.state.has(State.attached) }

    var remaining: Int64? {
        if entry.pointee.deadline == Clock.never { return nil }
        if status != BELAY_OK { return 0 }
        let now = Clock.now(in: entry.pointee.state.runtime)
        let (left, overflow) = entry.pointee.deadline.subtractingReportingOverflow(now)
        return overflow ? Clock.never : max(left, 0)
    }

    /// Why it ended, if somebody has noticed and its handle is still good.
    var cause: belay_cause? {
        if !entry.pointee.state.isDone || entry.pointee.isClosed { return nil }
        guard var cause = handle.causeIfOpen(), cause.code != 0 || cause.message.0 != 0 else { return nil }
        cause.isSignal = false
        return cause
    }

    /// Where it was made, if it was sampled.
    var site: Site? {
        let number = Birth.siteNumber(of: index)
        return number == 0 ? nil : Site.at(number)
    }

    var age: Int64? { Birth.instant(of: index).map { max(Clock.now - $0, 0) } }
}

extension Writer {
    @inline(never) fileprivate mutating func put(nameOf item: TreeItem, isPlain: Bool = false) {
        withUnsafeBytes(of: &item.entry.pointee.name) { put(escaped: $0, isPlain: isPlain) }
    }

    @inline(never) fileprivate mutating func put(messageOf cause: belay_cause, isPlain: Bool = false) {
        withUnsafeBytes(of: cause.message) { put(escaped: $0, isPlain: isPlain) }
    }

    fileprivate mutating func put(_ handle: Handle) {
        put("0x")
        put(hex: handle.bits, digits: 16)
    }

    /// Nanoseconds as seconds and milliseconds, rounded down.
    fileprivate mutating func put(seconds nanoseconds: Int64) {
        put(decimal: nanoseconds / 1_000_000_000)
        let thousandths = nanoseconds / 1_000_000 % 1000
        put(thousandths < 10 ? ".00#" : thousandths < 100 ? ".0#" : ".#", thousandths)
    }
}

extension TreeItem {
    // MARK: a line, indented by its depth

    private static let deepest = 40

    func writeText(_ writer: inout Writer, _ stacks: inout Stacks?) {
        for _ in 0..<min(depth, TreeItem.deepest) { writer.put("  ") }
        // A chain may be a million long.
        if depth > TreeItem.deepest { writer.put("[#] ", Int64(depth)) }
        writer.put(entry.pointee.kind.name)
        if hasName {
            writer.put(" \"")
            writer.put(nameOf: self)
            writer.put("\"")
        }
        if index >= Root.firstFree {
            describeText(&writer)
            if let site, stacks != nil {
                writer.put(", made by ")
                stacks?.put(site, to: &writer)
            }
        }
        writer.put("\n")
    }

    private func describeText(_ writer: inout Writer) {
        writer.put(" ")
        writer.put(handle)
        if status == BELAY_OK {
            writer.put(": live")
            if let left = remaining {
                writer.put(", ")
                writer.put(seconds: left)
                writer.put(" s left")
            }
        } else {
            writer.put(": ")
            writer.put(status.text)
            if let cause {
                writer.put(", cause # \"", cause.code)
                writer.put(messageOf: cause)
                writer.put("\"")
            }
        }
        if let age {
            writer.put(", ")
            writer.put(seconds: age)
            writer.put(" s old")
        }
        if isScope && isAttached { writer.put(", attached") }
        if entry.pointee.isClosed { writer.put(", closed") }
    }

    private var isScope: Bool { entry.pointee.handleKind == UInt8(Kind.scope) }

    // MARK: an object of JSON

    func writeJSON(_ writer: inout Writer, _ stacks: inout Stacks?) {
        writer.put(parent == nil ? "\n{\"id\":\"" : ",\n{\"id\":\"")
        writer.put(handle)
        writer.put("\",\"parent\":")
        if let parent {
            writer.put("\"")
            writer.put(parent)
            writer.put("\"")
        } else {
            writer.put("null")
        }
        writer.put(",\"depth\":#,\"kind\":\"", Int64(depth))
        writer.put(entry.pointee.kind.name)
        writer.put("\",\"state\":")
        writer.put(
            status == BELAY_OK ? "\"live\"" : status == BELAY_CANCELED ? "\"canceled\"" : "\"deadline\"")
        if hasName {
            writer.put(",\"name\":\"")
            writer.put(nameOf: self)
            writer.put("\"")
        }
        if let left = remaining { writer.put(",\"deadline\":#,\"remaining\":#", entry.pointee.deadline, left) }
        if let age { writer.put(",\"age\":#", age) }
        if let site, stacks != nil {
            writer.put(",\"site\":\"")
            stacks?.put(site, to: &writer)
            writer.put("\"")
        }
        if let cause {
            writer.put(",\"cause\":{\"code\":#,\"message\":\"", cause.code)
            writer.put(messageOf: cause)
            writer.put("\"}")
        }
        writer.put(isScope && isAttached ? ",\"attached\":true" : ",\"attached\":false")
        writer.put(entry.pointee.isClosed ? ",\"closed\":true" : ",\"closed\":false")
        writer.put(",\"runtime\":#}", Int64(entry.pointee.state.runtime))
    }

    // MARK: a box of Graphviz's, and its arrow

    /// What has ended is grey, what joined the tree has a thick frame.
    func writeDot(_ writer: inout Writer, _ stacks: inout Stacks?) {
        writer.put("  \"")
        writer.put(handle)
        writer.put("\" [label=\"")
        writer.put(entry.pointee.kind.name)
        if hasName {
            writer.put("\\n")
            writer.put(nameOf: self, isPlain: true)
        }
        describeDot(&writer)
        if let age {
            writer.put("\\n")
            writer.put(seconds: age)
            writer.put(" s old")
        }
        if let site, stacks != nil {
            writer.put("\\n")
            stacks?.put(site, to: &writer, isPlain: true)
        }
        writer.put("\"")
        if status != BELAY_OK { writer.put(", color=gray, fontcolor=gray") }
        if isAttached { writer.put(", penwidth=2") }
        writer.put("];\n")
        guard let parent else { return }
        writer.put("  \"")
        writer.put(parent)
        writer.put("\" -> \"")
        writer.put(handle)
        writer.put("\";\n")
    }

    private func describeDot(_ writer: inout Writer) {
        if status == BELAY_OK {
            guard let left = remaining else { return }
            writer.put("\\n")
            writer.put(seconds: left)
            writer.put(" s left")
            return
        }
        writer.put("\\n")
        if let cause {
            writer.put("cause #: ", cause.code)
            writer.put(messageOf: cause, isPlain: true)
        } else {
            writer.put(status.text)
        }
    }
}
