// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// A cause, in a record of its own: a `belay_cause`, word by word. Written before its index is published, never after.
enum CauseRecord {
    /// Copies code and message; 0 when there is no memory. `message` may be nil.
    static func make(code: Int64, message: UnsafePointer<CChar>?) -> UInt32 {
        var cause = belay_cause()
        cause.code = code
        cause.setMessage(message)
        return make(copying: cause)
    }

    @inline(never) static func make(copying cause: belay_cause) -> UInt32 {
        guard let thread = Thread.current else { return 0 }
        let index = thread.takeRecord()
        if index == 0 { return 0 }
        var cause = cause
        withUnsafeBytes(of: &cause) { bytes in
            for position in 0..<RecordWords.count {
                let word = bytes.loadUnaligned(fromByteOffset: position * 8, as: UInt64.self)
                RecordWords.word(index, position).pointee.set(word)
            }
        }
        return index
    }

    /// Safe for any index: one that was read from a cell that has become something else may be no index at all.
    static func read(_ index: UInt32) -> belay_cause {
        var cause = belay_cause()
        guard index < Region.records.pointee.limit.load(ordering: .acquiring) else { return cause }
        withUnsafeMutableBytes(of: &cause) { bytes in
            for position in 0..<RecordWords.count {
                let word = RecordWords.word(index, position).pointee.get()
                bytes.storeBytes(of: word, toByteOffset: position * 8, as: UInt64.self)
            }
        }
        return cause
    }
}

extension belay_cause {
    /// The cause of a context that has none of its own: the status and its text.
    init(_ status: belay_status) {
        self.init()
        code = Int64(status.rawValue)
        setMessage(status.text.cString)
    }

    /// Whether it is what a context without a cause of its own has: the same number may be somebody's own.
    @inline(never) func says(_ status: belay_status) -> Bool {
        if code != Int64(status.rawValue) { return false }
        var mine = self
        var plain = belay_cause(status)
        return withUnsafeBytes(of: &mine) { mine in
            withUnsafeBytes(of: &plain) { plain in
                for i in 0..<mine.count where mine[i] != plain[i] { return false }
                return true
            }
        }
    }

    /// Copies the text, cut at 55 bytes between UTF-8 characters, and fills up with zeroes.
    @inline(never) mutating func setMessage(_ text: UnsafePointer<CChar>?) {
        withUnsafeMutableBytes(of: &message) { room in
            let start = room.baseAddress.unsafelyUnwrapped
            belaycore_fill(start, 0, room.count)
            guard let text else { return }
            var length = belaycore_length_within(text, room.count)
            if length == room.count {
                // The text goes on. If it goes on in the middle of a character, that character is left out.
                length -= 1
                while length > 0 && UInt8(bitPattern: text[length]) & 0xC0 == 0x80 { length -= 1 }
            }
            belaycore_copy(start, text, length)
        }
    }

    /// A text that is put together, and fits.
    mutating func setMessage(_ put: (inout Writer) -> Void) {
        withUnsafeMutableBytes(of: &message) { room in
            let start = room.baseAddress.unsafelyUnwrapped
            belaycore_fill(start, 0, room.count)
            guard var writer = Writer(start.assumingMemoryBound(to: CChar.self), room.count) else { return }
            put(&writer)
            _ = writer.finish()
        }
    }
}

extension UnsafeMutablePointer where Pointee == Node {
    /// Why this scope, which is done, ended. Safe on a node that is being recycled: the answer then means nothing, and
    /// the caller finds out by looking at its handle again.
    func cause(_ state: State) -> belay_cause {
        guard state.verdict.isInherited else { return ownCause }
        let origin = pointee.origin.get()
        // In a cell that has become a value node this word is part of a pointer.
        guard origin < Region.contexts.pointee.limit.load(ordering: .acquiring) else { return belay_cause() }
        return node(origin).ownCause
    }

    /// The cause of a scope whose verdict is its own.
    private var ownCause: belay_cause {
        let verdict = state.verdict
        let record =
            verdict == .canceledWithCause
            ? pointee.cause.get()
            : verdict == .deadline ? pointee.timeoutCause.get() : 0
        return record != 0 ? CauseRecord.read(record) : belay_cause(verdict.status)
    }
}

@_cdecl("belay_cause_of") @implementation
public func belay_cause_of(_ ctx: belay_ctx, _ cause: UnsafeMutablePointer<belay_cause>?) -> Bool {
    guard let cause else { return false }
    let handle = Handle(ctx)
    let status = handle.status()
    if status == BELAY_OK { return false }
    cause.pointee = handle.causeIfOpen() ?? belay_cause(handle.diagnose())
    cause.pointee.isSignal = false
    return true
}

extension Handle {
    /// The cause of a done context; nil if the handle is stale or none.
    func causeIfOpen() -> belay_cause? {
        guard let found = find() else { return nil }
        let cause: belay_cause
        if kind == Kind.lite {
            cause = found.node.asLite.cause()
        } else {
            let scope = node(found.node.scopeIndex(kind: kind))
            cause = scope.cause(scope.state)
        }
        return found.isStill(self) ? cause : nil
    }
}
