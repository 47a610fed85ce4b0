// SPDX-License-Identifier: Apache-2.0

/// What became of a callback that was to be stopped.
public enum StopOutcome: Sendable, Hashable {
    /// It will never run (for a timer that repeats: never again). Of several stops that race, one gets this answer.
    case prevented

    /// It is running now; also the answer to a stop from inside it.
    case running

    /// It has run, or was stopped before, or its context has ended.
    case gone
}
