// SPDX-License-Identifier: Apache-2.0
#if Metrics
import Belay
import BelayMetrics
import MetricsTestKit
import Testing

@Suite("swift-metrics")
struct PublishTests {
    @Test func whatWasDoneArrives() throws {
        let system = TestMetrics()
        let publisher = ContextMetrics.Publisher(factory: system)
        publisher.publish()
        let before = try system.expectCounter("belay.ctx.created.timeout").totalValue
        for _ in 0..<7 { Context.background.withTimeout(.seconds(100)) { #expect(!$0.isDone) } }
        publisher.publish()
        #expect(try system.expectCounter("belay.ctx.created.timeout").totalValue - before >= 7)
        #expect(try system.expectGauge("belay.ctx.live").lastValue != nil)
    }
}
#endif
