// SPDX-License-Identifier: Apache-2.0
import Belay
import Testing

extension BelayTests {
    @Suite("on the wire")
    struct Wire {
        @Test func timeLeftIsText() {
            #expect(Context.background.grpcTimeout == nil)
            #expect(Context.background.timeoutMilliseconds == nil)
            withTimeout(.seconds(100)) { ctx in
                let before = ctx.remaining!
                let promised = Duration(grpcTimeout: ctx.grpcTimeout!)!
                #expect(promised <= before + .milliseconds(1))
                #expect(promised >= ctx.remaining!)
                #expect(Duration(timeoutMilliseconds: ctx.timeoutMilliseconds!)! >= ctx.remaining!)
                ctx.cancel()
                #expect(ctx.grpcTimeout == "1n")
                #expect(ctx.timeoutMilliseconds == "0")
            }
        }

        @Test(arguments: [
            ("1n", Duration.nanoseconds(1)), ("250m", .milliseconds(250)), ("5S", .seconds(5)), ("2M", .seconds(120)),
            ("1H", .seconds(3600)), ("0n", .zero), ("99999999H", .nanoseconds(Int64.max)),
        ])
        func grpcTimeoutsAreRead(_ text: String, _ expected: Duration) {
            #expect(Duration(grpcTimeout: text) == expected)
            #expect(Duration(grpcTimeout: "[\(text)]".dropFirst().dropLast()) == expected)
        }

        @Test(arguments: ["", "S", "1", "123456789n", "1 S", "-1S", "1s", "eins", "1S\0", "１S"])
        func whatIsNoTimeoutIsRefused(_ text: String) {
            #expect(Duration(grpcTimeout: text) == nil)
            #expect(Duration(timeoutMilliseconds: text + " ") == nil)
        }

        @Test func aTimeoutOfForEverIsNone() {
            withTimeout(Duration(grpcTimeout: "99999999H")!) { #expect($0.deadline == nil) }
            withTimeout(Duration(timeoutMilliseconds: "99999999999999999999")!) { #expect($0.deadline == nil) }
        }

        @Test func traceparentIsReadAndWritten() throws {
            let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            let trace = try #require(Context.Traceparent(text))
            #expect(trace.traceID == 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736)
            #expect(trace.parentID == 0x00f0_67aa_0ba9_02b7)
            #expect(trace.flags == .sampled)
            #expect(trace.description == text)
            let child = trace.child()
            #expect(child.traceID == trace.traceID && child.flags == trace.flags)
            #expect(child.parentID != trace.parentID)
            let start = Context.Traceparent.random(flags: .sampled)
            #expect(start.flags == [.sampled, .random])
            #expect(Context.Traceparent(start.description) == start)
            let least = Context.Traceparent(traceID: 1, parentID: 1, flags: .init(rawValue: 0xff))
            #expect(least.description == "00-00000000000000000000000000000001-0000000000000001-03")
        }

        @Test(arguments: [
            "", "00", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        ])
        func whatIsNoTraceparentIsRefused(_ text: String) {
            #expect(Context.Traceparent(text) == nil)
        }

        @Test func aTraceTravelsAsAValue() {
            enum Trace: ContextKey { typealias Value = Context.Traceparent }
            let trace = Context.Traceparent.random()
            withValue(Trace.self, trace) { ctx in
                withCancel { #expect($0[Trace.self]?.child().traceID == trace.traceID) }
            }
        }

        @Test func baggageIsReadAndChanged() {
            var baggage = Context.Baggage("tenant=7, user = ada;signed, city=K%C3%B6ln, city=Bonn, empty=")
            #expect(baggage["tenant"] == "7")
            #expect(baggage["user"] == "ada")
            #expect(baggage["city"] == "Köln")
            #expect(baggage["empty"] == "")
            #expect(baggage["signed"] == nil)
            #expect(baggage["no token"] == nil)
            var taken = [baggage.set("Bad Ems, 100 %", for: "city")]
            taken.append(baggage.set(nil, for: "empty"))
            taken.append(baggage.set(nil, for: "nobody"))
            #expect(taken == [true, true, true])
            #expect(baggage.header == "tenant=7,user = ada;signed,city=Bad%20Ems%2C%20100%20%25")
            #expect(baggage["city"] == "Bad Ems, 100 %")
            var refused = [baggage.set("x", for: "no token")]
            refused.append(baggage.set(String(repeating: "x", count: 9000), for: "x"))
            #expect(refused == [false, false])
            #expect(baggage["city"] == "Bad Ems, 100 %")
            for key in ["tenant", "user", "city"] { baggage.set(nil, for: key) }
            #expect(baggage.isEmpty && baggage == Context.Baggage())
        }

        @Test func aNulEndsAHeaderAndIsInNoKey() {
            var baggage = Context.Baggage("tenant=7,user=a\0da,city=Bonn")
            #expect(baggage.header == "tenant=7,user=a")
            #expect(baggage == Context.Baggage("tenant=7,user=a"))
            #expect(baggage["tenant\0x"] == nil)
            var taken = [baggage.set("8", for: "tenant\0x")]
            taken.append(baggage.set(nil, for: "tenant\0"))
            taken.append(baggage.set("8", for: "\0"))
            #expect(taken == [false, false, false])
            #expect(baggage.header == "tenant=7,user=a")
            let set = baggage.set("A\0B", for: "user")
            #expect(set)
            #expect(baggage["user"] == "A")
            #expect(Context.Baggage("\0a=1").isEmpty)
        }

        @Test func anyTextIsAValue() {
            var random = SystemRandomNumberGenerator()
            for _ in 0..<500 {
                let scalars = (0..<20).map { _ in
                    Unicode.Scalar(UInt32.random(in: 1...0x10ffff, using: &random)) ?? "?"
                }
                let text = String(String.UnicodeScalarView(scalars))
                var baggage = Context.Baggage("a=1")
                let set = baggage.set(text, for: "key")
                #expect(set)
                #expect(baggage["key"].map { Array($0.utf8) } == Array(text.utf8))
                #expect(baggage.header.utf8.allSatisfy { 0x21...0x7e ~= $0 })
            }
        }
    }
}
