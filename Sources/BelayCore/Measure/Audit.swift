// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform

/// Looks for uses of contexts that cost more than they need to, or leak. What to look for, and when it counts, is here
/// and in AuditChecks.swift; how it is said in AuditText.swift; what to do about it in docs/audit.md.
enum Audit {
    /// One in how many derivations is sampled where only an audit was asked for.
    static let usualRate: UInt32 = 64
    /// A context that is open this long after its end was closed late, and one that is this old is long-lived.
    static let late: Int64 = 1_000_000_000
    /// Items of pools below this many bytes are small.
    static let smallItem = 100

    /// From how many on something counts. They are estimates, from samples that count many times each.
    enum Least {
        static let derived: UInt64 = 1000
        static let late: UInt64 = 250
        static let depth: UInt64 = 8
        static let children: UInt32 = 10_000
        static let callbacks: UInt32 = 1000
        static let endlessCallbacks: UInt64 = 100
        static let plain: UInt64 = 10_000
        static let polled: UInt64 = 10
    }

    static func write(_ descriptor: Int32) -> belay_status {
        if Globals.pointer.pointee.forked { return BELAY_EFORK }
        if descriptor < 0 { return BELAY_EINVAL }
        guard let findings = Findings() else { return BELAY_ENOMEM }
        defer { findings.free() }
        guard findings.look() else { return BELAY_ENOMEM }
        guard let stacks = Stacks() else { return BELAY_ENOMEM }
        var report = AuditReport(Writer(descriptor, findings.buffer), stacks)
        defer { report.free() }
        return report.write(findings)
    }
}

/// What an audit can find, in the order in which it tells.
enum Symptom: Int {
    case covered, chains, children, polled, callbacks, late, leaked, grouped, small, plain
    static let count = 10
}

/// One thing that was found: numbers, and up to three places.
struct Finding {
    var isFound = false
    /// How much of what there was of it; what they mean is the symptom's.
    var count: UInt64 = 0
    var of: UInt64 = 0
    var extra: UInt64 = 0
    /// The numbers of sites, and their shares of the count; 0 is none.
    var sites: (Int, Int, Int) = (0, 0, 0)
    var shares: (UInt64, UInt64, UInt64) = (0, 0, 0)
    /// The address of a function, or of a name.
    var address: UInt64 = 0

    @inline(never) mutating func add(_ site: Int, _ share: UInt64, of whole: UInt64) {
        isFound = true
        count &+= share
        of &+= whole
        if share > shares.0 {
            (sites, shares) = ((site, sites.0, sites.1), (share, shares.0, shares.1))
        } else if share > shares.1 {
            (sites, shares) = ((sites.0, site, sites.1), (shares.0, share, shares.1))
        } else if share > shares.2 {
            (sites.2, shares.2) = (site, share)
        }
    }
}

@_cdecl("belay_audit_write") @implementation
public func belay_audit_write(_ fd: Int32) -> belay_status { Audit.write(fd) }

/// By exit(), where the environment asked for an audit.
@_cdecl("belaycore_process_ends") @implementation
public func belaycore_process_ends() { _ = Audit.write(2) }
