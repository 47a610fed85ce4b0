// SPDX-License-Identifier: Apache-2.0

/// A type that is a key for values on contexts.
///
/// ```swift
/// enum RequestID: ContextKey {
///     typealias Value = String
/// }
///
/// await withValue(RequestID.self, "r-42") { ctx in
///     print(ctx[RequestID.self] ?? "none")     // r-42
/// }
/// ```
///
/// The type itself is the key: two types never collide, whatever their names. A key that is private to a module keeps
/// its values private. Each specialisation of a generic type is a key of its own.
///
/// For data that belongs to the request and crosses layers that need not know it (an identifier, a tenant, a trace),
/// not for a function's optional parameters.
public protocol ContextKey {
    /// What the key stands for. Read from many threads, and therefore `Sendable`.
    associatedtype Value: Sendable

    /// A name for people, in logs and tree dumps; the type's name by default. Read once, when the key is first used.
    static var name: String { get }
}

extension ContextKey {
    /// The type's name.
    public static var name: String { String(describing: Self.self) }
}
