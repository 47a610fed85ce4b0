// SPDX-License-Identifier: Apache-2.0
import Belay
import Glibc
import Testing

extension BelayTests {
    @Suite("signals")
    struct Signals {
        @Test func aSignalEndsTheScope() async {
            await expectNoLeak {
                await withSignals([.user1, .user2]) { ctx in
                    #expect(!ctx.isDone)
                    #expect(ctx.signal == nil)
                    raiseHere(SIGUSR2)
                    let error = await ctx.done()
                    #expect(error == .cancelled(ContextCause(code: 12, message: "signal 12 (SIGUSR2)")))
                    #expect(ctx.signal == .user2)
                    await ctx.withTimeout(.seconds(1)) { #expect($0.signal == .user2) }
                }
            }
        }

        @Test func aScopeWithoutTasksMayWatch() async {
            let error = await onThread {
                withSignals([.user1]) { ctx in
                    raiseHere(SIGUSR1)
                    return ctx.wait()
                }
            }
            #expect(error?.cause.code == 10)
        }

        @Test func anOwnerMayWatch() async {
            await expectNoLeak {
                let owner = OwnedContext(signals: [.user1], parent: .background)
                for _ in 0..<10 { raiseHere(SIGUSR1) }
                await owner.context.done()
                #expect(owner.context.signal == .user1)
                #expect("\(ContextSignal.user1)" == "signal 10")
            }
        }

        @Test func otherEndsAreNoSignals() async {
            await withSignals([.user1]) { ctx in
                ctx.cancel(code: 10, message: "signal 10 (SIGUSR1)")
                #expect(ctx.signal == nil)
                await Task.yield()
            }
            let refused = OwnedContext(signals: [ContextSignal(rawValue: 9)])
            #expect(refused.context.isDone)
            #expect(Context.background.signal == nil)
        }
    }
}

/// Raises a signal on this thread, and lets it be handled here before this returns. The threads that tasks run on have
/// signals blocked.
private func raiseHere(_ signal: Int32) {
    var (mask, before) = (sigset_t(), sigset_t())
    sigemptyset(&mask)
    sigaddset(&mask, signal)
    pthread_sigmask(SIG_UNBLOCK, &mask, &before)
    raise(signal)
    pthread_sigmask(SIG_SETMASK, &before, nil)
}
