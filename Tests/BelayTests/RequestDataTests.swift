// SPDX-License-Identifier: Apache-2.0
import CBelay
import Glibc
import Synchronization
import Testing

@testable import Belay

private struct Scratch: ~Copyable {
    var text = ""
    var numbers: [Int] = []
    var probe: Probe?
    let deaths: Counter?

    init(_ deaths: Counter? = nil) { self.deaths = deaths }
    deinit { deaths?.add() }
}

/// A pool whose items keep the storage of `numbers` and forget the rest.
private func makePool(cap: Int? = nil, checked: Bool = false, made: Counter? = nil, deaths: Counter? = nil)
    -> RequestDataPool<Scratch>
{
    RequestDataPool(cap: cap, name: "scratch", checked: checked) {
        made?.add()
        return Scratch(deaths)
    } reset: {
        $0.text = ""
        $0.numbers.removeAll(keepingCapacity: true)
        $0.probe = nil
    }
}

extension BelayTests {
    @Suite("request data")
    struct RequestDataTests {
        /// What keeps the item meanwhile is another context, as a rule. Here there is no room for one.
        @Test func anItemIsFoundWhereNoContextCanBeMade() async {
            await expectNoLeak {
                let pool = makePool()
                let runtime = ContextRuntime(maxContexts: 1)
                runtime.background.withData(in: pool) { ctx, data in
                    data.with { $0.numbers = [1, 2] }
                    #expect(ctx.withCancel { $0.isDone })
                    let found = ctx.data(in: pool) {
                        $0.numbers.append(3)
                        return $0.numbers
                    }
                    #expect(found == [1, 2, 3])
                    #expect(!ctx.isDone)
                }
                await runtime.background.withCancel { #expect(!$0.isDone) }  // and nothing is kept
                await runtime.shutDown()
            }
        }

        /// The close on another thread waits for who has the item, and no longer.
        @Test func aCloseMayComeWhileAnItemIsInUse() async {
            await expectNoLeak {
                let pool = makePool()
                for limit in [nil, 2] {
                    let runtime = ContextRuntime(maxContexts: limit)
                    var memory: UnsafeMutableRawPointer?
                    let data = Context(belay_with_data(runtime.background.handle, pool.handle, &memory))
                    let owner = OwnedContext(parent: data)
                    let ctx = owner.context
                    _ = belay_close(data.handle)
                    let (inside, closed) = (Counter(), Counter())
                    async let found = onThread {
                        defer { inside.add() }  // not to be waited for if there is nothing
                        return ctx.data(in: pool) { item in
                            inside.add()
                            for _ in 0..<10_000 where closed.value == 0 { usleep(1000) }
                            item.numbers.append(1)
                            return item.numbers.count
                        }
                    }
                    await eventually { inside.value >= 1 }
                    owner.close()
                    closed.add()
                    #expect(await found == 1)
                    #expect(ctx.isDone)
                    await runtime.shutDown()
                }
            }
        }

        @Test func aPoolHasRoomForAnItem() async {
            await #expect(processExitsWith: .failure) { _ = RequestDataPool(cap: 0) { 1 } }
            await #expect(processExitsWith: .failure) { _ = RequestDataPool(cap: -1) { 1 } }
        }

        @Test func oneItemServesOneRequestAfterAnother() async {
            await expectNoLeak {
                let (made, deaths) = (Counter(), Counter())
                do {
                    let pool = makePool(made: made, deaths: deaths)
                    for request in 0..<100 {
                        withData(in: pool) { ctx, data in
                            #expect(!ctx.isDone && Context.current == ctx)
                            data.with {
                                #expect($0.text == "" && $0.numbers.isEmpty && $0.probe == nil)
                                $0.text = "request \(request)"
                                $0.numbers.append(request)
                            }
                        }
                    }
                    await withData(in: pool) { ctx, data in
                        data.with { $0.text = "async" }
                        await Task.yield()
                        #expect(data.with { $0.text } == "async")
                    }
                    #expect(made.value == 1 && deaths.value == 0)
                }
                #expect(deaths.value == 1)
            }
        }

        @Test func theItemIsFoundBelow() {
            let pool = makePool()
            let other = makePool()
            withData(in: pool) { outer, data in
                data.with { $0.text = "outer" }
                outer.withTimeout(.seconds(100)) { ctx in
                    #expect(ctx.data(in: pool) { $0.text } == "outer")
                    #expect(ctx.data(in: other) { $0.text } == nil)
                    ctx.data(in: pool) { $0.numbers = [1, 2] }
                    ctx.withData(in: pool) { inner, _ in
                        #expect(inner.data(in: pool) { $0.text } == "")
                        #expect(outer.data(in: pool) { $0.text } == "outer")
                    }
                }
                #expect(data.with { $0.numbers } == [1, 2])
            }
            #expect(Context.background.data(in: pool) { $0.text } == nil)
        }

        @Test func theItemStaysForWorkThatOutlivesTheScope() async {
            await expectNoLeak {
                let made = Counter()
                let pool = makePool(made: made)
                let probes = Counter()
                let audit = withData(in: pool) { ctx, data in
                    data.with { $0.probe = Probe(probes) }
                    return OwnedContext(withoutCancel: ctx)
                }
                #expect(audit.context.data(in: pool) { $0.probe != nil } == true)
                withData(in: pool) { _, data in #expect(data.with { $0.probe == nil }) }
                #expect(made.value == 2 && probes.value == 0)
                let context = audit.context
                audit.close()
                #expect(probes.value == 1)
                #expect(context.data(in: pool) { $0.text } == nil)
            }
        }

        @Test func withoutResetTheItemIsReplaced() {
            let (deaths, made) = (Counter(), Counter())
            do {
                let pool = RequestDataPool {
                    made.add()
                    return Scratch(deaths)
                }
                for _ in 0..<3 {
                    withData(in: pool) { _, data in
                        data.with {
                            #expect($0.text == "")
                            $0.text = "used"
                        }
                    }
                }
                #expect(made.value == 4 && deaths.value == 3)
            }
            #expect(made.value == deaths.value)
        }

        @Test func atTheCapTheContextIsDoneAndTheBodyHasItsOwn() {
            let (made, deaths) = (Counter(), Counter())
            do {
                let pool = makePool(cap: 1, made: made, deaths: deaths)
                withData(in: pool) { _, first in
                    first.with { $0.text = "first" }
                    withData(in: pool) { ctx, second in
                        #expect(ctx.isDone)
                        #expect(ctx.error?.isUnavailable == true)
                        #expect(second.with { $0.text } == "")
                        second.with { $0.text = "second" }
                        #expect(ctx.data(in: pool) { $0.text } == nil)
                    }
                    #expect(deaths.value == 1)
                    #expect(first.with { $0.text } == "first")
                }
                withData(in: pool) { ctx, _ in #expect(!ctx.isDone) }
                withData(in: pool) { closed, _ in closed }.withData(in: pool) { ctx, _ in #expect(ctx.isDone) }
            }
            #expect(made.value == deaths.value)
        }

        @Test func whatTheBodyThrowsIsThrown() {
            let pool = makePool()
            #expect(throws: Mishap(number: 3)) {
                try withData(in: pool) { _, data throws(Mishap) in
                    try data.with { _ throws(Mishap) in throw Mishap(number: 3) }
                }
            }
            #expect(throws: Mishap(number: 4)) {
                try withData(in: pool) { ctx, _ throws(Mishap) in
                    _ = try ctx.data(in: pool) { _ throws(Mishap) in throw Mishap(number: 4) }
                }
            }
            withData(in: pool) { _, data in #expect(data.with { $0.text } == "") }
        }

        @Test func aPoolMayGoWhileItsItemsAreInUse() {
            let deaths = Counter()
            var pool: RequestDataPool<Scratch>? = makePool(deaths: deaths)
            let owner = pool!.handle
            let kept = withData(in: pool!) { ctx, _ in OwnedContext(withoutCancel: ctx) }
            pool = nil
            #expect(belay_pool_trim(owner) == BELAY_ESTALE)
            #expect(deaths.value == 0)
            kept.close()
            #expect(deaths.value == 1)
        }

        @Test func trimReleasesWhatIsFree() {
            let deaths = Counter()
            let pool = makePool(checked: true, deaths: deaths)
            withData(in: pool) { _, _ in withData(in: pool) { _, _ in pool.trim() } }
            #expect(deaths.value == 0)
            pool.trim()
            #expect(deaths.value == 2)
            withData(in: pool) { _, data in data.with { $0.text = "again" } }
        }

        @Test func tasksThatShareTheContextTakeTurns() async {
            let pool = makePool()
            await withData(in: pool) { ctx, data in
                await withTaskGroup(of: Void.self) { group in
                    for _ in 0..<8 {
                        group.addTask {
                            for number in 0..<500 { ctx.data(in: pool) { $0.numbers.append(number) } }
                        }
                    }
                }
                #expect(data.with { $0.numbers.count } == 4000)
            }
        }

        @Test func aLookUpMayRaceWithTheClose() async {
            await expectNoLeak {
                let (made, deaths) = (Counter(), Counter())
                do {
                    let pool = makePool(checked: true, made: made, deaths: deaths)
                    for round in 0..<300 {
                        let owner = withData(in: pool) { ctx, data in
                            data.with { $0.numbers = [round, round] }
                            return OwnedContext(withoutCancel: ctx)
                        }
                        let ctx = owner.context
                        let reader = Task.detached {
                            while let numbers = ctx.data(in: pool, { $0.numbers }) {
                                #expect(numbers == [round, round])
                            }
                        }
                        await Task.yield()
                        owner.close()
                        await reader.value
                    }
                }
                #expect(made.value == deaths.value)
            }
        }

        @Test func manyTasksUseOnePool() async {
            await expectNoLeak {
                let (made, deaths) = (Counter(), Counter())
                do {
                    let pool = makePool(cap: 64, made: made, deaths: deaths)
                    await withTaskGroup(of: Void.self) { group in
                        for task in 0..<16 {
                            group.addTask {
                                for round in 0..<300 {
                                    await withData(in: pool) { _, data in
                                        data.with {
                                            #expect($0.numbers.isEmpty)
                                            $0.numbers = [task, round]
                                        }
                                        await Task.yield()
                                        #expect(data.with { $0.numbers } == [task, round])
                                    }
                                }
                            }
                        }
                    }
                    #expect(made.value <= 64)
                }
                #expect(made.value == deaths.value)
            }
        }
    }
}
