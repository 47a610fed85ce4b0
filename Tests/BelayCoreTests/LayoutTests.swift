// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Testing

@testable import BelayCore

/// What the cells' shapes rely on. A wrong size here is memory that two fields share.
@Suite struct LayoutTests {
    @Test func everyCellIsOneCacheLine() {
        #expect(MemoryLayout<Node>.size == Region.cellBytes)
        #expect(MemoryLayout<ValueNode>.size == Region.cellBytes)
        #expect(MemoryLayout<LiteNode>.size == Region.cellBytes)
        #expect(MemoryLayout<Listen>.size == Region.cellBytes)
        #expect(MemoryLayout<Group>.size == Region.cellBytes)
        #expect(MemoryLayout<Task>.size == Region.cellBytes)
        #expect(MemoryLayout<FreeCell>.size <= Region.cellBytes)
        #expect(MemoryLayout<Stripe>.size <= Region.cellBytes)
    }

    @Test func storageIsLargeEnough() {
        #expect(MemoryLayout<Region>.size <= Int(BELAYCORE_REGION_BYTES))
        var regions: Int32 = 0
        Region.forEach { _, _ in regions += 1 }
        #expect(regions == BELAYCORE_REGIONS)
        #expect(MemoryLayout<Globals>.size <= Int(BELAYCORE_GLOBAL_BYTES))
        #expect(MemoryLayout<Runtime>.size <= Int(BELAYCORE_RUNTIME_BYTES))
        #expect(Int(BELAYCORE_RUNTIME_BYTES) % 128 == 0)
        #expect(MemoryLayout<Sampler>.size <= Int(BELAYCORE_SAMPLER_BYTES))
        #expect(MemoryLayout<Birth>.size == 16)
        #expect(MemoryLayout<Finding>.stride * Findings.findingCount <= Findings.findingsBytes)
        #expect(MemoryLayout<Watch>.size <= Region.cellBytes)
        #expect(MemoryLayout<Pool>.size <= Pool.nameOffset)
        #expect(Pool.nameOffset + Pool.nameBytes <= Pool.depotOffset)
        #expect(Pool.depotOffset + PoolDepot.slots * 8 <= Int(BELAYCORE_POOL_BYTES))
        #expect(MemoryLayout<PoolMagazine>.size <= PoolMagazine.bytes)
        #expect(MemoryLayout<Wheel.Slot>.stride == 64 && MemoryLayout<Wheel.Header>.size <= 128)
        #expect(Wheel.byteCount + 128 <= Int(BELAYCORE_SHARD_BYTES))
    }

    @Test func wheelEntriesStandWhereTheWheelLooks() {
        var listen: Int?
        var task: Int?
        withUnsafeTemporaryAllocation(byteCount: 128, alignment: 64) { memory in
            let base = memory.baseAddress!
            base.initializeMemory(as: UInt8.self, repeating: 0, count: 128)
            let first = base.assumingMemoryBound(to: Listen.self)
            let second = (base + 64).assumingMemoryBound(to: Task.self)
            listen = withUnsafePointer(to: first.pointee.entry) { UnsafeRawPointer($0) - UnsafeRawPointer(base) }
            task = withUnsafePointer(to: second.pointee.entry) { UnsafeRawPointer($0) - UnsafeRawPointer(base + 64) }
        }
        #expect(listen == Int(WheelSpace.offset))
        #expect(task == Int(WheelSpace.offset))
    }

    @Test func aHandleMatchesItsOwnStateOnly() {
        let handle = Handle(generation: 7, kind: Kind.scope, index: 12345)
        #expect(handle.matches(State.birth(generation: 7, kind: Kind.scope, rest: 0xFFF)))
        #expect(!handle.matches(State.birth(generation: 8, kind: Kind.scope, rest: 0)))
        #expect(!handle.matches(State.birth(generation: 7, kind: Kind.value, rest: 0)))
        #expect(!handle.matches(State(State.birth(generation: 7, kind: Kind.scope, rest: 0)).closed(7)))
        #expect(State(State.birth(generation: 7, kind: Kind.scope, rest: 0)).closed(7) >> 32 == 8)
    }
}
