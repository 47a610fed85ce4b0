// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform

/// Where failures of calls that cannot return a status are kept: one number per thread.
enum LastStatus {
    @inline(never) static func set(_ status: belay_status) {
        belaycore_set_last_status(Int32(bitPattern: status.rawValue))
    }
}

@_cdecl("belay_last_status") @implementation
public func belay_last_status() -> belay_status {
    belay_status(rawValue: UInt32(bitPattern: belaycore_last_status()))
}

extension belay_status {
    /// The sentence for people, as a constant C string. Those that a context can have for its cause fit into one: 55
    /// bytes.
    var text: StaticString {
        switch self {
        case BELAY_OK: "ok"
        case BELAY_CANCELED: "context canceled"
        case BELAY_DEADLINE_EXCEEDED: "deadline exceeded"
        case BELAY_TIMEOUT: "timed out waiting; what was waited for goes on"
        case BELAY_STOP_PREVENTED: "stopped before it began"
        case BELAY_STOP_RUNNING: "running now"
        case BELAY_STOP_GONE: "has run or was stopped before"
        case BELAY_EINVAL: "invalid argument: wrong handle, NULL, or out of range"
        case BELAY_ESTALE: "stale handle: what it named has been closed or freed"
        case BELAY_ENOMEM:
            """
            out of memory, or a limit is reached: of memory, contexts, runtimes, pools or pool items; close or free \
            some, or raise the limit
            """
        case BELAY_ELEAF: "a lite context cannot be derived from or listened to"
        case BELAY_EFORK: "not usable in the child of a fork"
        case BELAY_ENOCANCEL:
            "cannot be canceled: cancel the context it was derived from, or derive one with belay_with_cancel"
        case BELAY_EDEADLK:
            """
            waiting would never end: the caller is, or waits for, what is waited for, or the group's limit is 0; wait \
            outside of it, or raise the limit
            """
        case BELAY_ESYSTEM: "system call failed; see errno"
        case BELAY_EBUSY: "busy: others have a hold on it, or its limit is reached"
        case BELAY_EFAILED: "a task of the group failed"
        default: "unknown status"
        }
    }
}

@_cdecl("belay_status_string") @implementation
public func belay_status_string(_ status: belay_status) -> UnsafePointer<CChar>? {
    status.text.cString
}

@_cdecl("belay_version") @implementation
public func belay_version() -> UnsafePointer<CChar>? {
    ("0.1.0" as StaticString).cString
}
