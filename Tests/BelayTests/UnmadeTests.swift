// SPDX-License-Identifier: Apache-2.0
import CBelay
import Testing

@testable import Belay

private enum Name: ContextKey { typealias Value = String }

extension BelayTests {
    /// Contexts that could not be made say why, however they were to be made, and to whoever asks.
    @Suite("contexts that could not be made")
    struct Unmade {
        @Test func whatIsDerivedFromAClosedContextIsStale() async {
            await expectNoLeak {
                let closed = await withCancel { $0 }
                await expectReason(BELAY_ESTALE, under: closed)
                // And so does what is derived from that in turn.
                let unmade = OwnedContext(parent: closed)
                await expectReason(BELAY_ESTALE, under: unmade.context)
                #expect(unmade.context.error == closed.error)
            }
        }

        @Test func whatIsDerivedFromNoContextIsInvalid() async {
            await expectReason(BELAY_EINVAL, under: Context(belay_ctx()))
        }

        @Test func aTaskThatOutlivesItsScopeIsToldSo() async {
            let gate = DoneBell()
            let task = await withCancel { _ in
                Task {
                    await gate.sleep(isolation: nil)
                    return await withTimeout(.seconds(100)) { ctx async in
                        do throws(ContextError) { try ctx.check() } catch { return error }
                        return .taskCancelled
                    }
                }
            }
            gate.ring()
            #expect(await task.value == .unavailable(ContextCause(BELAY_ESTALE)))
        }

        @Test func nothingIsDerivedFromALiteContextWhichStaysOpen() {
            Context.background.withLite { lite in
                let ctx = Context(lite.handle)
                for _ in 0..<2 {
                    ctx.withTimeout(.seconds(100)) { #expect($0.reason == BELAY_ELEAF) }
                    ctx.withValue(Name.self, "ada") { inner in
                        #expect(inner.reason == BELAY_ELEAF)
                        inner.cancel()
                        inner.withCancel { #expect($0.reason == BELAY_ELEAF) }
                    }
                    let isDone = lite.isDone
                    #expect(!isDone)
                }
            }
        }

        @Test func limitsThatAreReachedAreNoInvalidArguments() {
            let runtime = ContextRuntime(maxContexts: 1)
            runtime.background.withCancel { one in
                one.withCancel { two in
                    #expect(two.reason == BELAY_ENOMEM)
                    two.withTimeout(.seconds(100)) { #expect($0.reason == BELAY_ENOMEM) }
                }
                #expect(!one.isDone)
            }
            let pool = RequestDataPool<Int>(cap: 1) {
                0
            } reset: {
                $0 = 0
            }
            withData(in: pool) { one, _ in
                withData(in: pool) { two, _ in #expect(two.reason == BELAY_ENOMEM) }
                #expect(!one.isDone)
            }
        }

        @Test func aRuntimeThatCouldNotBeMadeSaysSo() {
            var runtimes: [ContextRuntime] = []
            repeat { runtimes.append(ContextRuntime()) } while !runtimes.last!.background.isDone && runtimes.count < 300
            #expect(runtimes.last!.background.reason == BELAY_ENOMEM)
            runtimes.last!.background.withCancel { #expect($0.reason == BELAY_ENOMEM) }
        }

        @Test func toCTheyAreNone() {
            let closed = withCancel { $0 }
            closed.withCancel { ctx in
                #expect(belay_is_done(ctx.handle) && belay_err(ctx.handle) == BELAY_EINVAL)
                #expect(belay_with_cancel(ctx.handle).bits == 0 && belay_value(ctx.handle, nil) == nil)
                #expect(belay_close(ctx.handle) == BELAY_EINVAL && belay_cancel(ctx.handle) == BELAY_EINVAL)
            }
            let owner = OwnedContext(parent: closed)
            #expect(owner.take().bits == 0)
        }
    }
}

extension Context {
    /// The status that it is unavailable with.
    fileprivate var reason: belay_status? {
        guard case .unavailable(let cause) = error, cause == ContextCause(belay_status(UInt32(cause.code))) else {
            return nil
        }
        return belay_status(UInt32(cause.code))
    }
}

/// Derives from `parent` and registers on it in all ways there are.
private func expectReason(
    _ reason: belay_status, under parent: Context, _ location: SourceLocation = #_sourceLocation
) async {
    func check(_ ctx: Context) { #expect(ctx.reason == reason, sourceLocation: location) }
    func check(_ work: () async throws -> Void) async {
        let error = await #expect(throws: ContextError.self, sourceLocation: location) { try await work() }
        #expect(error == .unavailable(ContextCause(reason)), sourceLocation: location)
    }
    expectReasonInScopes(reason, under: parent, location)
    await parent.withCancel { ctx in check(ctx) }
    await parent.withTimeout(.seconds(100)) { ctx in check(ctx) }
    await parent.withDeadline(.now + .seconds(100)) { ctx in check(ctx) }
    await parent.withDeadline(ContinuousClock.now + .seconds(100)) { ctx in check(ctx) }
    await parent.withValue(Name.self, "ada") { ctx in
        await Task.yield()
        check(ctx)
    }
    await parent.withSignals([.user1]) { ctx in check(ctx) }
    await withMerged([.background, parent]) { ctx in check(ctx) }
    await withForeignParent(Wrapped(inner: parent)) { ctx in check(ctx) }
    check(OwnedContext(timeout: .seconds(1), parent: parent).context)
    check(OwnedContext(merging: [parent]).context)
    await check { _ = try OwnedContext(retaining: parent) }
    await check { _ = try parent.onDone {} }
    await check { _ = try parent.onDoneInline {} }
    await check { _ = try parent.after(.zero) {} }
    await check { _ = try parent.every(.seconds(1)) {} }
    await check { try parent.setTimeout(.seconds(1)) }
    await check { try await parent.sleep(for: .seconds(100)) }
    await check { throw await parent.done() }
    await check { try await parent.withGroup(of: Void.self) { group in try group.context.check() } }
}

/// The scope functions, in the form that they have outside of tasks.
private func expectReasonInScopes(_ reason: belay_status, under parent: Context, _ location: SourceLocation) {
    func check(_ ctx: Context) { #expect(ctx.reason == reason, sourceLocation: location) }
    let cause = ContextCause(code: 7, message: "seven")
    parent.withCancel(check)
    parent.withTimeout(.seconds(100), check)
    parent.withTimeout(.zero, cause: cause, check)
    parent.withDeadline(SuspendingClock.now + .seconds(100), check)
    parent.withDeadline(SuspendingClock.now + .seconds(100), cause: cause, check)
    parent.withDeadline(ContinuousClock.now + .seconds(100), check)
    parent.withValue(Name.self, "ada", check)
    parent.withValue(Name.self, nil, check)
    parent.withoutCancel(check)
    parent.withSignals([.user1], check)
    withMerged([.background, parent], check)
    withMerged([parent, parent], check)
    parent.withMerged(with: [], check)
    let pool = RequestDataPool<Int> {
        0
    } reset: {
        $0 = 0
    }
    parent.withData(in: pool) { ctx, _ in check(ctx) }
    parent.withLite { lite in
        let error = lite.error
        #expect(error == .unavailable(ContextCause(reason)), sourceLocation: location)
        #expect(throws: ContextError.unavailable(ContextCause(reason)), sourceLocation: location) { try lite.check() }
    }
    withForeignParent(Wrapped(inner: parent)) { check($0) }
}

/// A foreign parent that is a context.
private struct Wrapped: ForeignCancellation {
    let inner: Context?
    var error: ContextError? { nil }
    func listen(_ ended: @escaping @Sendable () -> Void) -> ForeignListening { .inner }
}
