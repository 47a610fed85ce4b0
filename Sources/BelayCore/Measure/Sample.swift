// SPDX-License-Identifier: Apache-2.0

/// What is known of a context's birth beyond what its node says. Nodes have no room for the time; so this is known of
/// those alone that a profile noted.
struct Sample {
    /// On CLOCK_MONOTONIC.
    let born: Int64

    /// Nobody notes any yet.
    static func of(_ index: UInt32) -> Sample? { nil }
}
