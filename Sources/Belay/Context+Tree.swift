// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform

extension Context {
    /// How ``tree(_:)`` writes.
    public enum TreeFormat: Sendable, Hashable {
        /// For people: a line for each context, indented.
        case text
        /// For programs: an object with a flat array of contexts, parents first.
        case json
        /// For Graphviz: `dot -Tsvg`.
        case dot
    }

    /// What there is below this context, itself included: kinds, names, the time left, how each ended and why. All of
    /// it for a root.
    ///
    /// A picture of something that moves: see `belay_tree_write` in `belay.h`, which has the whole contract. Nil where
    /// there is no such context, no memory, or no descriptor left.
    public func tree(_ format: TreeFormat = .text) -> String? {
        let file = belaycore_scratch_file()
        guard file >= 0 else { return nil }
        defer { belaycore_close(file) }
        let wanted =
            switch format {
            case .text: BELAY_TREE_TEXT
            case .json: BELAY_TREE_JSON
            case .dot: BELAY_TREE_DOT
            }
        guard belay_tree_write(handle, wanted, file) == BELAY_OK else { return nil }
        let size = belaycore_file_size(file)
        return String(unsafeUninitializedCapacity: size) { belaycore_file_read(file, $0.baseAddress, size) }
    }
}
