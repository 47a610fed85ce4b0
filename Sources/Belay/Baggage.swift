// SPDX-License-Identifier: Apache-2.0
import CBelay

extension Context {
    /// Names with values that travel with a request from machine to machine: the header `baggage` of W3C.
    ///
    /// ```swift
    /// var baggage = Context.Baggage(headers["baggage"] ?? "")
    /// baggage["tenant"]                       // "7"
    /// baggage.set("mobile app", for: "client")
    /// outgoing["baggage"] = baggage.header    // "tenant=7,client=mobile%20app"
    /// ```
    ///
    /// It is kept as the text that it is on the wire: members that nobody looks at cost nothing, and go on as they
    /// came. Anybody can send baggage: trust it as far as the sender, and look at values before you log them.
    public struct Baggage: Sendable, Hashable {
        /// The header's value; empty if there is nothing to send.
        public private(set) var header: String

        /// Takes a header's value as it came; the empty text has no members. It ends at a NUL, if there is one in it,
        /// which no header has.
        public init(_ header: String = "") {
            self.header = header.hasNul ? String(header.unicodeScalars.prefix { $0 != "\0" }) : header
        }

        /// True if there is nothing to send.
        public var isEmpty: Bool { header.isEmpty }

        /// The value of the first member that is called `key`, decoded, without its properties. `nil` where there is
        /// none.
        ///
        /// Keys are compared as bytes. What is no UTF-8 comes as U+FFFD.
        public subscript(_ key: String) -> String? {
            if key.hasNul { return nil }
            return header.withWireText { text, length in
                let needed = belay_baggage_get(text, length, key, nil, 0)
                if needed < 0 { return nil }
                return wireText(capacity: needed + 1) { belay_baggage_get(text, length, key, $0, $1) }
            }
        }

        /// Takes out what is there for `key`, with its properties, and adds `value` at the end. `nil` only takes out.
        ///
        /// - Parameters:
        ///   - value: Ends at a NUL, if there is one in it.
        ///   - key: A token of HTTP, such as `tenant` or `app.region`: no blanks, commas, semicolons, equals signs,
        ///     NULs.
        /// - Returns: False, and nothing is changed, if the key is no token, or if the list would have more than 64
        ///   members or 8192 bytes, which is as much as others have to carry.
        @discardableResult
        public mutating func set(_ value: String?, for key: String) -> Bool {
            if key.hasNul { return false }
            // Longer by no more than a comma, the key, "=", and three bytes for each of the value's.
            let capacity = header.utf8.count + key.utf8.count + 3 * (value?.utf8.count ?? 0) + 3
            let edited = wireText(capacity: capacity) { text, size in
                header.withCString { copy($0, to: text) }
                guard let value else { return belay_baggage_set(text, size, key, nil) }
                return belay_baggage_set(text, size, key, value)
            }
            guard let edited else { return false }
            header = edited
            return true
        }
    }
}

extension Context.Baggage: CustomStringConvertible {
    /// The same as ``header``.
    public var description: String { header }
}

extension String {
    /// A C function would take what stands before it for the whole.
    fileprivate var hasNul: Bool { utf8.contains(0) }
}

/// Copies a C string into a buffer that has room for it.
private func copy(_ text: UnsafePointer<CChar>, to buffer: UnsafeMutablePointer<CChar>?) {
    var position = 0
    repeat {
        buffer?[position] = text[position]
        position += 1
    } while text[position - 1] != 0
}
