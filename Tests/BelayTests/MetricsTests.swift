// SPDX-License-Identifier: Apache-2.0
import Belay
import Testing

extension BelayTests {
    @Suite("metrics and the tree")
    struct Metrics {
        @Test func countersMove() async {
            await expectNoLeak {
                let before = ContextMetrics.read()
                for _ in 0..<10 {
                    Context.background.withTimeout(.seconds(100)) { ctx in #expect(!ctx.isDone) }
                    Context.background.withCancel { ctx in _ = ctx.cancel() }
                }
                let after = ContextMetrics.read()
                #expect(after.created(.timeout) - before.created(.timeout) >= 10)
                #expect(after.created(.cancel) - before.created(.cancel) >= 10)
                #expect(after.ended(.closed) - before.ended(.closed) >= 10)
                #expect(after.ended(.cancelled) - before.ended(.cancelled) >= 10)
                #expect(after.attached >= before.attached)
            }
        }

        @Test func theListIsRead() {
            let metrics = ContextMetrics.read()
            #expect(ContextMetrics.all.count > 50)
            for metric in ContextMetrics.all {
                #expect(metrics[metric.name] != nil)
                #expect(metric.name.hasSuffix(":\(metric.unit)"))
            }
            for kind in ContextMetrics.Derivation.allCases {
                #expect(metrics["/ctx/created/\(kind.rawValue):contexts"] != nil)
            }
            for end in ContextMetrics.End.allCases { #expect(metrics["/ctx/ended/\(end.rawValue):contexts"] != nil) }
            #expect(metrics["/ctx/none"] == nil)
            #expect(metrics.live == metrics["/ctx/live:contexts"])
        }

        @Test func prometheus() {
            let text = ContextMetrics.prometheusText
            #expect(text.hasPrefix("# HELP belay_contexts "))
            #expect(text.contains("\nbelay_contexts_created_total{kind=\"timeout\"} "))
            #expect(text.hasSuffix("\n"))
        }

        @Test func trees() {
            let owner = OwnedContext(timeout: .seconds(100), parent: .background)
            let text = owner.context.tree()
            #expect(text?.hasPrefix("timeout 0x") == true)
            #expect(text?.contains(": live, 99.") == true)
            owner.context.cancel(code: 5, message: "enough")
            #expect(owner.context.tree(.json)?.contains("\"cause\":{\"code\":5,\"message\":\"enough\"}") == true)
            #expect(owner.context.tree(.dot)?.hasPrefix("digraph belay {") == true)
            #expect(Context.background.tree()?.hasPrefix("background\n") == true)
            let closed = owner.context
            owner.close()
            #expect(closed.tree() == nil)
        }
    }
}
