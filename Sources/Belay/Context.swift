// SPDX-License-Identifier: Apache-2.0
import CBelay

/// How long a piece of work may still take, whether it is still wanted, and the values that travel with it.
///
/// A context is derived from another one, so that what ends the outer work ends all the work inside it:
///
/// ```swift
/// try await withTimeout(.milliseconds(100)) { ctx in
///     try await ctx.sleep(for: .milliseconds(20))     // throws when ctx ends first
///     try ctx.check()
/// }
/// ```
///
/// ### Ownership
/// A `Context` is a 64-bit handle that *refers* to a context and does not own it. The scope functions
/// (`withTimeout` and its kin) and ``OwnedContext`` own: they close the context at
/// the end of the scope, or of the owner's life. A handle that outlives its context is harmless: it reads as done, with
/// ``ContextError/unavailable(_:)``. It never refers to another context.
///
/// ### Thread safety
/// Every member may be used on any thread, at any time, also after the context has been closed. Of them
/// ``wait(timeout:)`` alone blocks, which is not available in `async` code; ``data(in:_:)`` waits for whoever has the
/// item.
///
/// ### Failing is safe
/// A context that could not be made (its parent was closed; no memory) is a handle that reads as done, with
/// ``ContextError/unavailable(_:)``. Work that checks its context stops; it never runs on without its deadline.
///
/// ### C
/// ``handle`` is the `belay_ctx` of `belay.h`. Swift and C run the same core: pass it to C, or wrap one from C with
/// ``init(_:)``.
public struct Context: Sendable, BitwiseCopyable {
    /// The C handle. Stays owned by whoever owned it: do not close it in C unless you own it there. That of a context
    /// that could not be made is not `{0}` (it keeps the reason for ``error``); in C it reads as done with
    /// `BELAY_EINVAL`, as that does.
    public let handle: belay_ctx

    /// Wraps a handle from C, without taking ownership. The handle `{0}` gives a context that reads as done.
    ///
    /// To own what a C function returned, see ``OwnedContext/init(adopting:)``.
    @inlinable
    public init(_ handle: belay_ctx) {
        self.handle = handle
    }

    /// The root of all work: never done, no deadline, no values. Cannot be cancelled.
    @inlinable
    public static var background: Context { Context(belay_background()) }

    /// The same as ``background``, for code that has not been given a context yet: it marks the place. The two differ
    /// in identity only.
    @inlinable
    public static var todo: Context { Context(belay_todo()) }

    /// The context of the running task; ``background`` where nobody has bound one.
    ///
    /// The scope functions bind the context that they make for as long as their body runs. As every task local, it is
    /// inherited by child tasks and by `Task { }`, and not by `Task.detached { }` or by callbacks (``onDone(_:)``,
    /// timers). A task that outlives the scope it was started in sees the closed context, which reads as done.
    ///
    /// To bind a context that you have already, such as an ``OwnedContext``'s:
    ///
    /// ```swift
    /// await Context.$current.withValue(owner.context) { await serve() }
    /// ```
    @TaskLocal
    public static var current: Context = .background
}

extension Context: Hashable {
    /// True if both refer to the same context. A context differs from its parent and from every other derivation, also
    /// where they agree in everything they say.
    @inlinable
    public static func == (one: Context, other: Context) -> Bool { one.handle.bits == other.handle.bits }

    /// Hashes the identity.
    @inlinable
    public func hash(into hasher: inout Hasher) { hasher.combine(handle.bits) }
}

extension Context: CustomStringConvertible {
    /// The identity and the state for a log line, such as `context 100000002a: live, 0.098 seconds left` or
    /// `context 100000002a: done, deadline exceeded`. The form may change.
    public var description: String {
        let identity = "context \(String(handle.bits, radix: 16))"
        if let error { return "\(identity): done, \(error)" }
        if let remaining { return "\(identity): live, \(remaining) left" }
        return "\(identity): live"
    }
}
