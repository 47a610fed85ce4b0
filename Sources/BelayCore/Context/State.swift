// SPDX-License-Identifier: Apache-2.0
import CBelay

/// The state word of a scope. Readers need nothing else while the context is live and attached, or done.
///
/// | bits | name | 0 → 1 by | 1 → 0 by |
/// |---|---|---|---|
/// | 63–32 | generation | — | +1 by the one call of close that wins, or when the last reference goes |
/// | 31–28 | kind | set at birth | 0 when closed: no handle matches from then on |
/// | 27 | anchored | birth, of a merged context or a foreign parent: its parent is an anchor | — |
/// | 26 | linked | the first merge that hangs on it, under the listen lock, after a look at the verdict: a push takes that lock after its verdict | — |
/// | 25 | asks | birth, of a foreign parent: whoever settles it asks its source | — |
/// | 24 | moved | the first move of the deadline, before the deadline changes | — |
/// | 23 | sampled | birth, if the sampler picked it: `Birth.of(index)` is its own | — |
/// | 22–20 | shape | set at birth: the kind once more, which outlives the close | — |
/// | 19–12 | runtime | set at birth | — |
/// | 11–8 | pulls | birth: how many unattached scopes above it an asker looks at, at most; 0 right under a root | 0 at attach, with the same swap |
/// | 7 | watches | `belay_notify_signals`, before it gives the handle out | — |
/// | 6 | armed | arm, under the shard's lock, only while there is no verdict | — |
/// | 5 | timed | birth, if a deadline applies to it: askers must compare the clock | — |
/// | 4 | attached | attach, under the parent's listen lock, only while there is no verdict | — |
/// | 3–0 | verdict | anyone who can prove it, by one compare-and-swap from 0: a cancel, a passed deadline, an ended parent | — |
///
/// The verdict is the one linearisation point of an end: everything that has a say in it (a cause, the origin) is
/// written before the swap (release) and read after the word (acquire). *Pushing* an end — marking the attached
/// descendants, waking, calling back — is a separate step, done once by whoever takes the listen record's lists under
/// its lock (`push` in End.swift). Because `attached` and `armed` can only be set while the verdict is 0, whoever swaps
/// the verdict in learns from the same word whether there is anything to push, to unlink, or to disarm: if the bit is
/// not there it will never be.
struct State {
    let word: UInt64

    @inline(__always) init(_ word: UInt64) { self.word = word }

    static let verdictMask: UInt64 = 15
    static let attached: UInt64 = 1 << 4
    static let timed: UInt64 = 1 << 5
    static let armed: UInt64 = 1 << 6
    static let watches: UInt64 = 1 << 7
    static let sampled: UInt64 = 1 << 23
    static let moved: UInt64 = 1 << 24
    static let asks: UInt64 = 1 << 25
    static let linked: UInt64 = 1 << 26
    static let anchored: UInt64 = 1 << 27
    static let pullsShift: UInt64 = 8
    static let pulls: UInt64 = 15 << pullsShift
    static let runtimeShift: UInt64 = 12
    static let runtimeMask: UInt64 = 255 << runtimeShift
    static let shapeShift: UInt64 = 20
    /// The longest run of unattached scopes: it bounds what asking costs. A power of two, so that one bit of `pulls`
    /// tells.
    static let longestRun: UInt64 = 8

    @inline(__always) var verdict: Verdict { Verdict(bits: word & State.verdictMask) }
    @inline(__always) var isDone: Bool { verdict.status != BELAY_OK }
    /// No verdict, and nothing that could bring one without changing this word.
    @inline(__always) var isSurelyLive: Bool { !has(State.verdictMask | State.pulls | State.timed | State.asks) }
    @inline(__always) func has(_ bit: UInt64) -> Bool { word & bit != 0 }
    /// Whether there may stand no more unattached scopes above a child of this one.
    @inline(__always) var hasLongestRun: Bool { has(State.longestRun << State.pullsShift) }
    /// The bits `pulls` of an unattached child of this one, which has not the longest run.
    @inline(__always) var pullsBelow: UInt64 { (word & State.pulls) &+ (1 << State.pullsShift) }
    /// Whether a child is born under this scope in a few steps: of the default runtime, no verdict, not the longest
    /// run.
    @inline(__always) var isPlain: Bool {
        !has(State.runtimeMask | State.verdictMask | State.longestRun << State.pullsShift)
    }
    @inline(__always) var generation: UInt64 { word >> Handle.generationShift }
    /// The number of the runtime it belongs to.
    @inline(__always) var runtime: UInt32 { UInt32(truncatingIfNeeded: word >> State.runtimeShift) & 255 }
    @inline(__always) var shape: UInt64 { word >> State.shapeShift & 7 }

    @inline(__always) static func birth(generation: UInt64, kind: UInt64, rest: UInt64) -> UInt64 {
        birth(shifted: generation << Handle.generationShift, kind: kind, rest: rest)
    }

    @inline(__always) static func birth(shifted: UInt64, kind: UInt64, rest: UInt64) -> UInt64 {
        shifted | kind << Handle.kindShift | kind << State.shapeShift | rest
    }

    /// The word of the cell once the context of that generation is closed: no handle matches it.
    @inline(__always) func closed(_ generation: UInt64) -> UInt64 {
        let rest = word & ((1 << Handle.kindShift) - 1)
        return (generation &+ 1) << Handle.generationShift | rest
    }
}

/// How a context ended, and where its cause is. The two lowest bits are what `belay_err` says.
struct Verdict: Equatable {
    let bits: UInt64

    @inline(__always) init(bits: UInt64) { self.bits = bits }

    private static let statusMask: UInt64 = 3
    private static let inheritedBit: UInt64 = 4
    private static let causeBit: UInt64 = 8

    static let live = Verdict(bits: UInt64(BELAY_OK.rawValue))
    /// Cancelled without a cause.
    static let canceled = Verdict(bits: UInt64(BELAY_CANCELED.rawValue))
    /// Cancelled; the record in `cause` says why.
    static let canceledWithCause = Verdict(bits: canceled.bits | causeBit)
    /// Its own deadline passed; the record in `timeoutCause`, if any, says why.
    static let deadline = Verdict(bits: UInt64(BELAY_DEADLINE_EXCEEDED.rawValue))
    /// The scope above ended so; `origin` has the cause.
    static let inheritedCanceled = Verdict(bits: canceled.bits | inheritedBit)
    static let inheritedDeadline = Verdict(bits: deadline.bits | inheritedBit)

    @inline(__always) var status: belay_status { belay_status(UInt32(bits & Verdict.statusMask)) }
    var isInherited: Bool { bits & Verdict.inheritedBit != 0 }
    /// What an end with this verdict is counted as.
    var reason: Counter { isInherited ? .endedParent : self == .deadline ? .endedDeadline : .endedCanceled }
    /// What a child of a context with this verdict gets.
    var inherited: Verdict { Verdict(bits: bits & Verdict.statusMask | Verdict.inheritedBit) }
}

/// The references word: who keeps the cell from being recycled.
///
/// | bits | name | means | set by |
/// |---|---|---|---|
/// | 63–32 | generation | a reference by handle is taken only while this is the handle's | +1 by the close that won: after the cancel, or in the swap that decides where nobody else has a reference |
/// | 31 | striped | children count themselves on stripes and seats (Stripes.swift, Seat.swift) | adding stripes, under the listen lock |
/// | 30 | extended | there is a listen record: close has to go the long way | whoever makes sure of the record, holding a reference |
/// | 29 | closing | a close has won: no owner can be added, no other close wins | that close, in the swap that decides |
/// | 28 | heard | callbacks were registered: whoever gives the word the next generation looks at their list | the first registration, holding a reference |
/// | 27–0 | count | owners, children, pinned callers; while striped also `bias` | |
///
/// Whoever brings the count to 0 recycles the cell. Taking a reference is one compare-and-swap that checks the
/// generation, so a stale handle can never revive a cell; who has a reference already, or finds the node in a list that
/// the closer has yet to leave, may just add. Giving one up is a fetch-and-sub with release; the one that reaches 0
/// acquires.
///
/// A word that is exactly (generation, count 1) belongs to a node that is its owner's alone and was never listened to:
/// its close is the one swap to (generation + 1, count 0). With `extended` it was listened to, by nobody any more: the
/// swap is to (generation + 1, extended, count 1), and the last reference goes when the node has left its parent's list
/// and the wheel, where a push or the driver may have counted itself. With `heard` too, that swap is done under the
/// listen lock, and only if no callback is registered: they are not counted (see `Registration`).
enum References {
    static let striped: UInt64 = 1 << 31
    static let extended: UInt64 = 1 << 30
    static let closing: UInt64 = 1 << 29
    /// A callback was registered: a close that needs no more than a swap looks at the list first, under its lock.
    static let heard: UInt64 = 1 << 28
    static let countMask: UInt64 = heard - 1
    /// Part of the count while the node has stripes, so that the word cannot reach 0 while some of the references stand
    /// elsewhere.
    static let bias: UInt64 = 1 << 27
    /// The most references that a node gets, well below the bias.
    static let most: UInt64 = 1 << 26
    /// Any of these, and taking a reference is not just adding one. (While the generation stands the count is not 0.)
    static let unusual: UInt64 = striped | bias | most

    @inline(__always) static func word(generation: UInt64, count: UInt64) -> UInt64 {
        generation << Handle.generationShift | count
    }
}
