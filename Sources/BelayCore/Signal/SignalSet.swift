// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform

/// Signal numbers from 1 to 64, a bit each.
struct SignalSet: Sequence, IteratorProtocol {
    private var bits: UInt64

    init(_ bits: UInt64) { self.bits = bits }

    static func bit(_ number: Int) -> UInt64 { 1 << UInt64(number - 1) }

    mutating func next() -> Int? {
        if bits == 0 { return nil }
        let position = bits.trailingZeroBitCount
        bits &= bits - 1
        return position + 1
    }

    /// SIGKILL and SIGSTOP cannot be caught. After SIGILL, SIGBUS, SIGFPE and SIGSEGV the thread cannot go on.
    private static let refused: UInt64 = 1 << 3 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18

    /// The set of the given numbers; nil if one of them cannot be watched.
    static func make(_ numbers: UnsafePointer<Int32>?, _ count: Int) -> UInt64? {
        guard count == 0 || numbers != nil, count >= 0 else { return nil }
        var set: UInt64 = 0
        for i in 0..<count {
            let number = Int(numbers.unsafelyUnwrapped[i])
            guard number >= 1, number <= Int(BELAYCORE_SIGNALS), bit(number) & refused == 0 else { return nil }
            set |= bit(number)
        }
        return set
    }
}

extension belay_cause {
    /// The cause of a context that a signal has ended, such as "signal 15 (SIGTERM)".
    init(signal number: Int) {
        self.init()
        code = Int64(number)
        setMessage { text in
            text.put("signal #", Int64(number))
            guard let name = SignalName.of(number) else { return }
            text.put(" (SIG")
            text.put(name)
            text.put(")")
        }
        isSignal = true
    }

    /// Whether the runtime made it for a signal. Said by the last byte of the text, which is NUL for everybody else: so
    /// a cause that a program made to look the same is told apart. Never shown.
    var isSignal: Bool {
        get { message.55 != 0 }
        set { message.55 = newValue ? 1 : 0 }
    }
}

/// Linux's names, without the SIG.
private enum SignalName {
    static func of(_ number: Int) -> StaticString? {
        switch number {
        case 1: "HUP"
        case 2: "INT"
        case 3: "QUIT"
        case 5: "TRAP"
        case 6: "ABRT"
        case 10: "USR1"
        case 12: "USR2"
        case 13: "PIPE"
        case 14: "ALRM"
        case 15: "TERM"
        case 16: "STKFLT"
        case 17: "CHLD"
        case 18: "CONT"
        case 20: "TSTP"
        case 21: "TTIN"
        case 22: "TTOU"
        case 23: "URG"
        case 24: "XCPU"
        case 25: "XFSZ"
        case 26: "VTALRM"
        case 27: "PROF"
        case 28: "WINCH"
        case 29: "IO"
        case 30: "PWR"
        case 31: "SYS"
        default: nil
        }
    }
}
