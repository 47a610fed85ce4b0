// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization
import Testing

@testable import Belay

private enum Name: ContextKey { typealias Value = String }
private enum Number: ContextKey {
    typealias Value = Int
    static var name: String { "a number" }
}
private enum Object: ContextKey { typealias Value = Probe }
private enum Maybe: ContextKey { typealias Value = Int? }
private enum Wrapped<T>: ContextKey { typealias Value = Int }
private enum Shouting { enum Name: ContextKey { typealias Value = String } }

extension BelayTests {
    @Suite("values")
    struct Values {
        @Test func aValueIsFoundByItsKey() {
            withValue(Name.self, "one") { ctx in
                #expect(ctx[Name.self] == "one")
                #expect(Context.current[Name.self] == "one")
                #expect(ctx[Number.self] == nil)
                #expect(Context.background[Name.self] == nil)
            }
        }

        @Test func aValueIsFoundAtAnyDepth() {
            withValue(Number.self, 42) { ctx in
                func deeper(_ ctx: Context, _ depth: Int) {
                    #expect(ctx[Number.self] == 42)
                    #expect(ctx[Name.self] == nil)
                    if depth > 0 {
                        ctx.withCancel { $0.withValue(Wrapped<Int>.self, depth) { deeper($0, depth - 1) } }
                    }
                }
                deeper(ctx, 100)
            }
        }

        @Test func theNearestValueCounts() {
            withValue(Name.self, "outer") { outer in
                withValue(Name.self, "inner") { inner in
                    #expect(inner[Name.self] == "inner")
                    #expect(outer[Name.self] == "outer")
                }
                withValue(Name.self, nil) { hidden in
                    #expect(hidden[Name.self] == nil)
                    hidden.withValue(Name.self, "again") { #expect($0[Name.self] == "again") }
                }
                #expect(outer[Name.self] == "outer")
            }
        }

        @Test func anOptionalValueMayBeNone() {
            withValue(Maybe.self, .some(.none)) { ctx in
                #expect(ctx[Maybe.self] == .some(.none))
                withValue(Maybe.self, nil) { #expect($0[Maybe.self] == nil) }
            }
        }

        @Test func keysOfTheSameNameDiffer() {
            #expect(Name.name == Shouting.Name.name)
            withValue(Name.self, "quiet") { ctx in
                #expect(ctx[Shouting.Name.self] == nil)
                withValue(Shouting.Name.self, "LOUD") {
                    #expect($0[Name.self] == "quiet")
                    #expect($0[Shouting.Name.self] == "LOUD")
                }
            }
        }

        @Test func aValueContextEndsWithItsParentOnly() {
            withCancel { outer in
                outer.withValue(Number.self, 1) { ctx in
                    #expect(!ctx.cancel())
                    #expect(!ctx.isDone)
                    outer.cancel(code: 9, message: "nine")
                    #expect(ctx.error == .cancelled(ContextCause(code: 9, message: "nine")))
                    #expect(ctx[Number.self] == 1)
                }
            }
        }

        @Test func valuesSurviveWithoutCancel() {
            withValue(Name.self, "kept") { ctx in
                withTimeout(.zero) { $0.withoutCancel { #expect($0[Name.self] == "kept") } }
                _ = ctx
            }
        }

        @Test func aClosedContextHasNoValues() {
            let closed = withValue(Name.self, "gone") { $0 }
            #expect(closed[Name.self] == nil)
        }

        @Test func keysHaveAnAddressAndAName() {
            let record = KeyRegistry.record(for: Number.self)
            #expect(record.address == KeyRegistry.record(for: Number.self).address)
            #expect(String(cString: record.address.pointee.name) == "a number")
            #expect(String(cString: KeyRegistry.record(for: Name.self).address.pointee.name) == "Name")
        }

        @Test func manyKeysDoNotCollide() {
            // Each step makes a new type out of the last, far beyond the first table's size.
            func check<T>(_ type: T.Type, _ ctx: Context, _ depth: Int) {
                ctx.withValue(Wrapped<T>.self, depth) { inner in
                    if depth < 300 { check(Wrapped<T>.self, inner, depth + 1) }
                    #expect(inner[Wrapped<T>.self] == depth)
                }
            }
            check(Int.self, .background, 0)
        }

        @Test func keysAreRegisteredOnceFromManyThreads() async {
            enum Fresh<T>: ContextKey { typealias Value = Int }
            func race<T>(_ type: T.Type, _ depth: Int) async {
                let found = await withTaskGroup(of: UInt.self) { group in
                    for _ in 0..<8 {
                        group.addTask { UInt(bitPattern: KeyRegistry.record(for: Fresh<T>.self).address) }
                    }
                    return await group.reduce(into: Set<UInt>()) { $0.insert($1) }
                }
                #expect(found.count == 1)
                if depth < 100 { await race(Fresh<T>.self, depth + 1) }
            }
            await race(String.self, 0)
        }

        @Test func aValueIsReleasedOnceWhenItsScopeEnds() async {
            await expectNoLeak {
                let deaths = Counter()
                withValue(Object.self, Probe(deaths)) { ctx in
                    #expect(ctx[Object.self] != nil)
                    #expect(deaths.value == 0)
                }
                #expect(deaths.value == 1)
                await withValue(Object.self, Probe(deaths)) { ctx in
                    await Task.yield()
                    #expect(ctx[Object.self] != nil)
                }
                #expect(deaths.value == 2)
            }
        }

        @Test func aValueLivesAsLongAsAContextThatSeesIt() {
            let deaths = Counter()
            let child = withValue(Object.self, Probe(deaths)) { $0.ownedChild() }
            #expect(!child.context.isDone)
            #expect(child.context[Object.self] != nil)
            #expect(deaths.value == 0)
            child.close()
            #expect(deaths.value == 1)
        }

        @Test func aValueThatWasReadIsTheReaders() {
            let deaths = Counter()
            var kept = withValue(Object.self, Probe(deaths)) { $0[Object.self] }
            #expect(kept != nil)
            #expect(deaths.value == 0)
            kept = nil
            #expect(deaths.value == 1)
        }

        @Test func aValueIsReleasedWhenTheContextCannotBeMade() {
            let deaths = Counter()
            let closed = withCancel { $0 }
            closed.withValue(Object.self, Probe(deaths)) { ctx in
                #expect(ctx.isDone)
                #expect(ctx[Object.self] == nil)
            }
            #expect(deaths.value == 1)
        }

        @Test func aValuesEndMayUseTheAPI() {
            final class Nested: Sendable {
                deinit { withValue(Number.self, 5) { #expect($0[Number.self] == 5) } }
            }
            enum Key: ContextKey { typealias Value = Nested }
            withValue(Key.self, Nested()) { #expect($0[Key.self] != nil) }
        }

        @Test func lookUpsRaceWithTheClose() async {
            await expectNoLeak {
                let deaths = Counter()
                let rounds = 500
                for round in 0..<rounds {
                    let owner = OwnedContext(Object.self, Probe(deaths), parent: .background)
                    let ctx = owner.context
                    let other = OwnedContext(Number.self, round, parent: ctx)
                    let inner = other.context
                    @Sendable func lookUp() {
                        while ctx[Object.self] != nil {}
                        while let number = inner[Number.self] { #expect(number == round) }
                    }
                    async let one: Void = onThread(lookUp)
                    async let two: Void = onThread(lookUp)
                    await Task.yield()
                    owner.close()
                    other.close()
                    _ = await (one, two)
                }
                #expect(deaths.value == rounds)
            }
        }
    }
}

extension Context {
    fileprivate func ownedChild() -> OwnedContext { OwnedContext(parent: self) }
}
