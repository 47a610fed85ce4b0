// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

// A new beginning in the child of a fork. Of the threads only the caller is left; what the others held at that moment
// (locks, half-made cells, their magazines) is lost. So nothing of the parent process's contexts is taken over: every
// cell gets its next generation, which makes each handle of before stale, and all are free again. Drop functions and
// callbacks do not run: what they would let go of is the parent process's to let go of.

@_cdecl("belay_runtime_restart") @implementation
public func belay_runtime_restart() -> belay_status {
    if !Globals.pointer.pointee.forked { return BELAY_OK }
    Restart.run()
    return BELAY_OK
}

private enum Restart {
    static func run() {
        closeDescriptors()
        Thread.startOver()
        Pool.startOver()
        Signals.startOver()
        Sampler.startOver()
        var used: UInt64 = 0
        Region.forEach { family, region in
            region.pointee.startOver(as: family)
            used += UInt64(region.pointee.carved.get()) * UInt64(Region.cellBytes)
        }
        for number in 1..<Runtime.most where belaycore_runtime(number) != nil { Runtime.at(number).pointee.forsake() }
        for number in 0..<Runtime.most where belaycore_runtime(number) != nil { Shard.unlockAll(number) }
        for number in 0..<Shard.count { Shard.clear(number) }
        UnsafeMutableRawPointer(Runtime.standard).initializeMemory(
            as: UInt8.self, repeating: 0, count: Int(BELAYCORE_RUNTIME_BYTES))
        Globals.pointer.pointee.startOver(memoryUsed: used)
    }

    /// Our copies of what the parent process's contexts and loops had open.
    private static func closeDescriptors() {
        let contexts = Region.contexts.pointee.carved.get()
        for index in Root.firstFree..<max(contexts, Root.firstFree) {
            let cell = node(index)
            guard Handle(bits: cell.state.word).kind != Kind.none, cell.pointee.listen.get() != 0 else { continue }
            let descriptor = cell.listen.pointee.descriptor.get()
            if descriptor != 0 && cell.state.shape == Kind.scope { Descriptor.close(descriptor) }
        }
        Runtime.forEach { runtime in
            runtime.pointee.loop.startOver()
            runtime.pointee.loop.close()
            runtime.pointee.poller.close()
        }
    }
}

extension Region {
    /// Frees every cell that was ever handed out. Alone in the process.
    fileprivate borrowing func startOver(as family: Family) {
        forgetHolders()
        let end = carved.get()
        // Units of stripes are handed out by the eight; those of before are given up.
        let cells = family == .stripes ? end..<end : min(Root.firstFree, end)..<end
        // Where there is no record, cell 0 is found, and its lock taken.
        if family == .listens && end != 0 { cell(0 as UInt32, as: Listen.self).pointee.lock.reset() }
        var chain = Chain(head: 0, count: 0)
        let haveHandles = family != .records && family != .listens
        for cell in cells where !haveHandles || renew(cell, isContext: family == .contexts) {
            // A lock may be held by a thread that is not there.
            if family == .listens { self.cell(cell, as: Listen.self).pointee.lock.reset() }
            self.cell(cell, as: FreeCell.self).pointee.next.set(chain.head)
            chain = Chain(head: cell, count: chain.count + 1)
            if chain.count == Magazine.capacity {
                giveChain(chain)
                chain = Chain(head: 0, count: 0)
            }
        }
        if chain.count != 0 { giveChain(chain) }
        limit.store(end, ordering: .releasing)
    }

    /// The cell's next generation; false if there is none left.
    private borrowing func renew(_ index: UInt32, isContext: Bool) -> Bool {
        let words = cell(index, as: Atomic<UInt64>.self)
        let state = words[0].get()
        let isInUse = Handle(bits: state).kind != Kind.none
        let generation = (state >> Handle.generationShift) + (isInUse ? 1 : 0)
        if generation > UInt64(UInt32.max) - 1 { return false }
        words[0].set(generation << Handle.generationShift)
        if isContext { words[1].set(References.word(generation: generation, count: 0)) }
        return true
    }
}

extension Runtime {
    /// Its threads and its loop are the parent process's.
    fileprivate borrowing func forsake() {
        let old = state.get()
        if old & Runtime.phaseMask == 0 { return }
        let isStale = old & Runtime.phaseMask == Runtime.gone
        let generation = (old >> Handle.generationShift) + (isStale ? 0 : 1)
        live.set(0)
        frees.set(0)
        driver.clear()
        executor.startOver()
        state.set(generation << Handle.generationShift | Runtime.gone)
    }
}
