// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// Somebody's own source of cancellation as a parent. The wrapper is an anchor, which holds what follows and answers
/// for values, and (unless an inner context decides all) a scope under it, which the source ends. There is one
/// registration, one watched descriptor or one poll for the wrapper, however many contexts hang on it.
///
/// | path | who notices the end |
/// |---|---|
/// | inner | nobody needs to: children hang on the inner context's scope, or on one with the source's deadline below it |
/// | callback | the source calls |
/// | descriptor | the poller's epoll set, or the host's loop |
/// | polled | whoever asks; and a timer, once somebody listens below |
///
/// Kept in one record, in words written before the wrapper is published; `token`, which stop is called with, and
/// `polling` may come later.
enum Foreign {
    typealias Operations = UnsafePointer<belay_custom_ops>

    enum Path: UInt32 {
        case inner = 0
        case callback = 1
        case descriptor = 2
        case polled = 3
    }

    /// How often a polled parent that has listeners below is asked.
    static let interval: Int64 = 10_000_000
    /// The anchor's key where the source answers for values: no belay_key can have this address.
    static let key: UInt64 = 1

    private enum Word: Int {
        case operations, me, token, path, descriptor, polling
    }

    private static func word(_ record: UInt32, _ word: Word) -> UnsafeMutablePointer<Atomic<UInt64>> {
        RecordWords.word(record, word.rawValue)
    }

    static func operations(_ record: UInt32) -> Operations {
        Operations(bitPattern: UInt(word(record, .operations).pointee.get())).unsafelyUnwrapped
    }

    static func me(_ record: UInt32) -> UnsafeMutableRawPointer? {
        UnsafeMutableRawPointer(bitPattern: UInt(word(record, .me).pointee.get()))
    }

    // MARK: making one

    static func make(_ operations: Operations, _ me: UnsafeMutableRawPointer?) -> belay_ctx {
        let inner = operations.pointee.inner?(me) ?? belay_background()
        guard let path = path(operations) else { return give(BELAY_EINVAL, operations, me) }
        guard let above = Parentage.join(inner) else { return give(belay_last_status(), operations, me) }
        guard let record = Thread.current?.takeRecord(), record != 0 else {
            _ = above.leave(BELAY_ENOMEM)
            return give(BELAY_ENOMEM, operations, me)
        }
        word(record, .operations).pointee.set(UInt64(UInt(bitPattern: operations)))
        word(record, .me).pointee.set(UInt64(UInt(bitPattern: me)))
        word(record, .path).pointee.set(UInt64(path.rawValue))
        Globals.pointer.pointee.foreign.change(path, by: 1)
        let key = operations.pointee.value == nil ? 0 : key
        if key != 0 { Globals.pointer.pointee.haveForeignValues.set(1) }
        let isAlone = path == .inner && operations.pointee.deadline == nil
        let anchor = Anchor.make(
            above, holding: UInt64(record), key: key, marks: isAlone ? Anchor.alone : Anchor.custom,
            drop: { Foreign.dropped(UInt32(UInt(bitPattern: $0))) })
        if anchor.bits == 0 || isAlone { return anchor }
        var deadline = Clock.never
        if operations.pointee.deadline?(me, &deadline) != true { deadline = Clock.never }
        let marks = path == .polled ? State.asks : 0
        let wrapper = Anchor.hang(anchor, clock: above.clock, Limit(at: deadline), marks: marks, as: .createdCustom)
        if wrapper.bits == 0 { return wrapper }
        if !connect(record, path, wrapper) {
            let status = belay_last_status()
            _ = belay_close(wrapper)
            LastStatus.set(status)
            return belay_ctx()
        }
        return wrapper
    }

    /// It could not be made: the source is ours all the same, so that code that checks nothing leaks nothing.
    private static func give(_ status: belay_status, _ operations: Operations, _ me: UnsafeMutableRawPointer?)
        -> belay_ctx
    {
        operations.pointee.drop?(me)
        LastStatus.set(status)
        return belay_ctx()
    }

    private static func path(_ operations: Operations) -> Path? {
        if operations.pointee.after_func != nil { return .callback }
        if operations.pointee.done_fd != nil { return .descriptor }
        if operations.pointee.err != nil { return .polled }
        return operations.pointee.inner == nil ? nil : .inner
    }

    /// Has the source tell of its end. A source that has ended by now ends the wrapper here.
    private static func connect(_ record: UInt32, _ path: Path, _ wrapper: belay_ctx) -> Bool {
        let operations = operations(record)
        let me = me(record)
        if path == .callback {
            let target = UnsafeMutableRawPointer(bitPattern: UInt(wrapper.bits))
            let token =
                operations.pointee.after_func?(me, { Foreign.told(Handle(bits: UInt64(UInt(bitPattern: $0)))) }, target)
                ?? 0
            word(record, .token).pointee.store(token, ordering: .releasing)
        } else if path == .descriptor {
            let descriptor = operations.pointee.done_fd?(me) ?? -1
            if descriptor < 0 {
                LastStatus.set(BELAY_EINVAL)
                return false
            }
            let watched = Poller.watch(descriptor, for: wrapper)
            if watched == 0 { return false }
            word(record, .descriptor).pointee.set(watched)
        }
        if operations.pointee.err != nil, let pinned = Handle(wrapper).pin() {
            pinned.askSource()
            if pinned.state.isDone { pinned.finish() }
            pinned.unpin()
        }
        return true
    }

    /// The anchor goes: nobody below lives any more.
    private static func dropped(_ record: UInt32) {
        let operations = operations(record)
        let me = me(record)
        let token = word(record, .token).pointee.load(ordering: .acquiring)
        if token != 0 { operations.pointee.stop?(me, token) }
        let watched = word(record, .descriptor).pointee.get()
        if watched != 0 { Poller.forget(watched) }
        let path = Path(rawValue: UInt32(word(record, .path).pointee.get())) ?? .inner
        Globals.pointer.pointee.foreign.change(path, by: -1)
        freeRecord(record)
        operations.pointee.drop?(me)
    }

    // MARK: the end

    /// The source says that it has ended.
    static func told(_ wrapper: Handle) {
        guard let pinned = wrapper.pin() else { return }
        if !pinned.settle().isDone {
            var cause = belay_cause()
            let record = UInt32(truncatingIfNeeded: pinned.held)
            let status = operations(record).pointee.err?(me(record), &cause) ?? BELAY_CANCELED
            // Whatever it answers now, it said that it has ended.
            pinned.mark(status == BELAY_OK ? BELAY_CANCELED : status, cause)
        }
        pinned.finish()
        pinned.unpin()
    }

    /// The first listener is below a polled parent: from now on it is asked now and then. No more than one timer, which
    /// ends with the wrapper.
    static func startPolling(_ wrapper: NodePointer) -> belay_status {
        let record = UInt32(truncatingIfNeeded: wrapper.held)
        let (first, _) = word(record, .polling).pointee.compareExchange(expected: 0, desired: 1, ordering: .relaxed)
        if !first { return BELAY_OK }
        let handle = Handle(generation: wrapper.state.generation, kind: Kind.scope, index: wrapper.index)
        let timer = TimerTask.add(
            belay_ctx(bits: handle.bits), interval, period: interval,
            { raw in
                guard let pinned = Handle(bits: UInt64(UInt(bitPattern: raw))).pin() else { return }
                if pinned.settle().isDone { pinned.finish() }
                pinned.unpin()
            }, UnsafeMutableRawPointer(bitPattern: UInt(handle.bits)))
        if timer.bits != 0 { return BELAY_OK }
        word(record, .polling).pointee.set(0)
        // Where it was closed, or its runtime was freed, nobody is told any more.
        return belay_last_status() == BELAY_ESTALE ? BELAY_OK : belay_last_status()
    }
}

extension UnsafeMutablePointer where Pointee == Node {
    /// Asks the source of this wrapper whether it has ended, and marks it so; like all of settling, that tells nobody.
    /// The caller keeps the node and holds no lock.
    func askSource() {
        if state.isDone { return }
        let record = UInt32(truncatingIfNeeded: held)
        var cause = belay_cause()
        // A source that itself asks about its wrapper is told that it is live so far.
        let status = Asking.once(index) { Foreign.operations(record).pointee.err?(Foreign.me(record), &cause) }
        if let status, status != BELAY_OK { mark(status, cause) }
    }

    /// Swaps in the verdict that the source's end is.
    fileprivate func mark(_ status: belay_status, _ given: belay_cause) {
        if state.isDone { return }
        var (cause, given) = (given, given)
        withUnsafePointer(to: &given.message) { message in
            // As every text: cut between characters, and without a mark of ours behind it.
            cause.setMessage(UnsafeRawPointer(message).assumingMemoryBound(to: CChar.self))
        }
        _ = pointee.endedAt.compareExchange(expected: 0, desired: Clock.now(in: state.runtime), ordering: .relaxed)
        let isBare = cause.message.0 == 0 && (cause.code == 0 || cause.code == Int64(status.rawValue))
        let isPlain = isBare || cause.says(status)
        var record = isPlain ? 0 : CauseRecord.make(copying: cause)
        let isDeadline = status == BELAY_DEADLINE_EXCEEDED
        if record != 0 {
            let claimed =
                isDeadline
                ? pointee.timeoutCause.compareExchange(expected: 0, desired: record, ordering: .acquiringAndReleasing)
                : pointee.cause.compareExchange(expected: 0, desired: record, ordering: .acquiringAndReleasing)
            if !claimed.exchanged { freeRecord(record) }
            record = claimed.exchanged ? record : claimed.original
        }
        decide(isDeadline ? .deadline : record != 0 ? .canceledWithCause : .canceled)
    }
}

@_cdecl("belay_custom") @implementation
public func belay_custom(_ ops: UnsafePointer<belay_custom_ops>?, _ own: UnsafeMutableRawPointer?) -> belay_ctx {
    guard let ops, ops.pointee.size >= MemoryLayout<belay_custom_ops>.size else {
        LastStatus.set(BELAY_EINVAL)
        return belay_ctx()
    }
    if !Setup.isDone() && !Setup.run() {
        ops.pointee.drop?(own)
        LastStatus.set(BELAY_ENOMEM)
        return belay_ctx()
    }
    return Sampler.witness(Foreign.make(ops, own))
}
