// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// What an audit has found, and how. In memory of its own for the time of the audit; `free` gives it back.
struct Findings {
    private let findings: UnsafeMutablePointer<Finding>
    /// By site: open contexts that ended long ago, and long-lived ones that are live.
    private let ended: UnsafeMutablePointer<UInt64>
    private let aged: UnsafeMutablePointer<UInt64>
    /// For the report, on its way to the descriptor.
    let buffer: UnsafeMutableBufferPointer<UInt8>
    private static let bufferBytes = 4096
    /// Room for the findings, `open` behind those by symptom.
    static let findingsBytes = 4096
    static let findingCount = Symptom.count + 1
    private static let bytes = findingsBytes + 2 * Site.most * 8 + bufferBytes

    init?() {
        guard let memory = belaycore_map(Findings.bytes) else { return nil }
        findings = memory.assumingMemoryBound(to: Finding.self)
        for number in 0..<Findings.findingCount { (findings + number).initialize(to: Finding()) }
        ended = (memory + Findings.findingsBytes).assumingMemoryBound(to: UInt64.self)
        aged = ended + Site.most
        buffer = UnsafeMutableBufferPointer(
            start: UnsafeMutableRawPointer(aged + Site.most).assumingMemoryBound(to: UInt8.self),
            count: Findings.bufferBytes)
    }

    func free() { belaycore_unmap(findings, Findings.bytes) }

    /// What is open now, roots apart: no symptom. The count is exact, places are of what was sampled.
    var open: UnsafeMutablePointer<Finding> { findings + Symptom.count }

    subscript(_ symptom: Symptom) -> UnsafeMutablePointer<Finding> { findings + symptom.rawValue }

    var count: Int {
        var count = 0
        for number in 0..<Symptom.count where findings[number].isFound { count += 1 }
        return count
    }

    /// False when there is no memory to count in.
    func look() -> Bool {
        lookAtOpenContexts()
        for number in 1..<max(Site.count, 1) { look(at: Site.at(number), number) }
        lookAtPolledParents()
        lookAtPools()
        return lookAtArena()
    }

    // MARK: what was sampled

    private func lookAtOpenContexts() {
        let now = Clock.now
        Birth.forEachOpen { open in
            let end = open.node.knownEnd
            let number = Int(open.number)
            if end.reason == .closed {
                if now &- open.bornAt > Audit.late { aged[number] &+= open.weight }
            } else if now &- (end.instant == Clock.never ? open.bornAt : end.instant) > Audit.late {
                ended[number] &+= open.weight
            }
        }
    }

    private func look(at site: Site, _ number: Int) {
        let derived = site.value(.derived)
        let gone = site.value(.gone)
        let covered = site.value(.covered)
        let grouped = site.value(.inGroup)
        let plain = site.value(.plain)
        let late = site.value(.late) &+ ended[number]
        if site.kind != Kind.root { open.pointee.add(number, site.open, of: 0) }
        if covered >= Audit.Least.derived && covered &* 2 >= derived {
            self[.covered].pointee.add(number, covered, of: derived)
        }
        if grouped >= Audit.Least.derived && grouped &* 2 >= derived {
            self[.grouped].pointee.add(number, grouped, of: derived)
        }
        if plain >= Audit.Least.plain && plain / 9 &* 10 >= gone { self[.plain].pointee.add(number, plain, of: gone) }
        if late >= Audit.Least.late {
            self[.late].pointee.add(number, late, of: derived)
            self[.late].pointee.extra = max(self[.late].pointee.extra, site.value(.latest))
        }
        // What is old and open, unless it is little beside all that came from there.
        if aged[number] >= Audit.Least.derived && aged[number] &* 10 >= derived {
            self[.leaked].pointee.add(number, aged[number], of: derived)
        }
        let depth = site.value(.depth)
        if depth >= Audit.Least.depth && derived >= Audit.Least.derived {
            self[.chains].pointee.add(number, derived, of: derived)
            self[.chains].pointee.extra = max(self[.chains].pointee.extra, depth)
        }
    }

    // MARK: what is counted

    private func lookAtPolledParents() {
        let ever = Sampler.pointer.pointee.polledEver.get()
        let open = Globals.pointer.pointee.foreign.count(.polled)
        // A few that have gone were asked little.
        if open == 0 && ever < Audit.Least.polled { return }
        self[.polled].pointee.isFound = true
        self[.polled].pointee.count = ever
        self[.polled].pointee.of = open
    }

    private func lookAtPools() {
        let ever = Sampler.pointer.pointee.smallPoolsEver.get()
        if ever == 0 { return }
        self[.small].pointee.isFound = true
        self[.small].pointee.count = ever
        for number in 1..<Pool.count {
            let pool = Pool.at(number)
            let isOpen = pool.pointee.state.load(ordering: .acquiring) >> Handle.kindShift & 15 == Kind.pool
            let isPlain = pool.pointee.make.get() == 0 && pool.pointee.drop.get() == 0
            if isOpen && isPlain && pool.pointee.itemBytes.get() < UInt64(Audit.smallItem) {
                self[.small].pointee.extra = pool.pointee.itemBytes.get()
                self[.small].pointee.address = UInt64(UInt(bitPattern: pool.name))
                return
            }
        }
    }

    // MARK: what is there

    /// Counts children and callbacks of each context, in a number for each cell of the arena.
    private func lookAtArena() -> Bool {
        let end = Region.contexts.pointee.limit.load(ordering: .acquiring)
        open.pointee.count = openContexts(end)
        if end <= Root.firstFree { return true }
        let bytes = Int(end) * 8
        guard let memory = belaycore_map(bytes) else { return false }
        let children = memory.assumingMemoryBound(to: UInt32.self)
        lookForChildren(children, end)
        lookForCallbacks(children + Int(end), end)
        belaycore_unmap(memory, bytes)
        return true
    }

    private func openContexts(_ end: UInt32) -> UInt64 {
        var count: UInt64 = 0
        var index = Root.firstFree
        while index < end {
            let kind = Handle(bits: node(index).state.word).kind
            if kind == Kind.scope || kind == Kind.value || kind == Kind.detached || kind == Kind.lite { count += 1 }
            index += 1
        }
        return count
    }

    private func lookForChildren(_ children: UnsafeMutablePointer<UInt32>, _ end: UInt32) {
        for index in Root.firstFree..<end {
            let cell = node(index)
            let kind = Handle(bits: cell.state.word).kind
            guard kind == Kind.scope || kind == Kind.value || kind == Kind.detached else { continue }
            // The children of roots are where they should be.
            let parent = cell.pointee.parent.get()
            if parent >= Root.firstFree && parent < end && node(parent).state.shape != Kind.root {
                children[Int(parent)] += 1
            }
        }
        for index in Root.firstFree..<end where children[Int(index)] >= Audit.Least.children {
            // A burst that will be over soon is no such thing. Of what was not sampled nobody knows.
            if isYoung(childrenOf: index) { continue }
            self[.children].pointee.isFound = true
            self[.children].pointee.of &+= 1
            if UInt64(children[Int(index)]) > self[.children].pointee.count {
                self[.children].pointee.count = UInt64(children[Int(index)])
                self[.children].pointee.sites.0 = Birth.siteNumber(of: index)
            }
        }
    }

    private func isYoung(childrenOf parent: UInt32) -> Bool {
        let now = Clock.now
        var young: UInt64 = 0
        var old: UInt64 = 0
        Birth.forEachOpen { open in
            if open.node.pointee.parent.get() != parent { return }
            if now &- open.bornAt > Audit.late { old += open.weight } else { young += open.weight }
        }
        return young > old
    }

    private func lookForCallbacks(_ callbacks: UnsafeMutablePointer<UInt32>, _ end: UInt32) {
        guard var functions = Tally(slots: 1 << 12) else { return }
        defer { functions.free() }
        let tasks = Region.tasks.pointee.limit.load(ordering: .acquiring)
        if tasks <= Root.firstFree { return }
        var most: UInt32 = 0
        for index in Root.firstFree..<tasks {
            let task = Task.at(index)
            let state = task.pointee.state.load(ordering: .acquiring)
            guard state >> Handle.kindShift & 15 == Kind.registration, state & Task.phaseMask == Task.pending,
                state & Task.waker == 0
            else { continue }
            let context = task.pointee.link.get()
            if context == 0 {
                functions.add(1, to: task.pointee.function.get())
            } else if context < end {
                callbacks[Int(context)] += 1
                if callbacks[Int(context)] > most {
                    most = callbacks[Int(context)]
                    if most >= Audit.Least.callbacks { self[.callbacks].pointee.address = task.pointee.function.get() }
                }
            }
        }
        let endless = functions.sum()
        if endless < Audit.Least.endlessCallbacks && most < Audit.Least.callbacks { return }
        self[.callbacks].pointee.isFound = true
        self[.callbacks].pointee.count = endless
        self[.callbacks].pointee.of = UInt64(most)
        if endless >= UInt64(most), let greatest = functions.greatest() {
            self[.callbacks].pointee.address = greatest.key
        }
    }
}
