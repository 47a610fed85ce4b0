// SPDX-License-Identifier: Apache-2.0
import CBelay
import CBelayPlatform
import Synchronization

/// Tells what an audit has found.
struct AuditReport: ~Copyable {
    private var output: Output
    private var stacks: Stacks

    init(_ output: consuming Output, _ stacks: consuming Stacks) {
        self.output = output
        self.stacks = stacks
    }

    func free() { stacks.free() }

    mutating func write(_ findings: Findings) -> belay_status {
        output.text("belay audit: ")
        let count = findings.count
        if count == 0 {
            output.text("nothing found")
        } else {
            output.number(UInt64(count))
            output.text(count == 1 ? " symptom" : " symptoms")
        }
        basis()
        var number: UInt64 = 0
        for position in 0..<Symptom.count {
            guard let symptom = Symptom(rawValue: position), findings[symptom].isFound else { continue }
            number += 1
            output.text("\n")
            output.number(number)
            output.text(". ")
            tell(symptom, findings[symptom])
        }
        output.flush()
        return output.status
    }

    /// What the audit could see.
    private mutating func basis() {
        var derived: UInt64 = 0
        for number in 0..<Site.count { derived &+= Site.at(number).value(.derived) }
        let every = Sampler.pointer.pointee.every.get()
        if derived == 0 && every == 0 {
            output.text(" (nothing was sampled: set BELAY_AUDIT=1, or call belay_profile_rate first)\n")
            return
        }
        output.text(every == 1 ? " (" : " (about ")
        output.number(derived)
        output.text(" derivations, ")
        if every == 0 {
            output.text("sampling is off now)\n")
        } else if every == 1 {
            output.text("all sampled)\n")
        } else {
            output.text("1 in ")
            output.number(UInt64(every))
            output.text(" sampled)\n")
        }
    }

    private mutating func tell(_ symptom: Symptom, _ found: Finding) {
        output.text(symptom.title)
        output.text("\n   seen:   ")
        evidence(symptom, found)
        output.text("\n")
        place(found.sites.0, found.shares.0)
        place(found.sites.1, found.shares.1)
        place(found.sites.2, found.shares.2)
        output.text("   cause:  ")
        output.text(symptom.cause)
        output.text("\n   remedy: ")
        output.text(symptom.remedy)
        output.text("\n   more:   docs/audit.md#")
        output.text(symptom.anchor)
        output.text("\n")
    }

    private mutating func evidence(_ symptom: Symptom, _ found: Finding) {
        switch symptom {
        case .covered:
            share(found, "contexts were given a deadline that is not earlier than their parent's")
        case .chains:
            output.text("chains of up to ")
            output.number(found.extra)
            output.text(" values; ")
            output.number(found.count)
            output.text(" values derived in such chains")
        case .children:
            output.text("a context has ")
            output.number(found.count)
            output.text(" open children, most of them older than a second")
            if found.of > 1 {
                output.text("; ")
                output.number(found.of)
                output.text(" contexts are like that")
            }
        case .polled:
            output.number(found.count)
            output.text(found.count == 1 ? " foreign parent" : " foreign parents")
            output.text(" could only be polled, ")
            output.number(found.of)
            output.text(" of them open now")
        case .callbacks: callbacks(found)
        case .late:
            share(found, "contexts stayed open for more than a second after their end")
            if found.extra != 0 {
                output.text("; the latest close came ")
                output.duration(found.extra)
                output.text(" after it")
            }
        case .leaked:
            output.number(found.count)
            output.text(" contexts are open for more than a second, at places where of ")
            output.number(found.of)
            output.text(" hardly any was closed")
        case .grouped:
            share(found, "contexts with a deadline were derived by a group's task from the group's context")
        case .small:
            output.number(found.count)
            output.text(found.count == 1 ? " pool was" : " pools were")
            output.text(" made for items of less than 100 bytes")
            if found.address != 0, let name = UnsafePointer<CChar>(bitPattern: UInt(found.address)) {
                output.text(", such as '")
                if name.pointee == 0 { output.text("(no name)") } else { output.cString(name) }
                output.text("' with ")
                output.number(found.extra)
                output.text(" bytes")
            }
        case .plain:
            share(found, "contexts were closed without anyone having listened to them or derived from them")
        }
    }

    private mutating func callbacks(_ found: Finding) {
        if found.count >= Audit.Least.endlessCallbacks {
            output.number(found.count)
            output.text(" callbacks wait on contexts that never end")
        }
        if found.of >= UInt64(Audit.Least.callbacks) {
            if found.count >= Audit.Least.endlessCallbacks { output.text("; ") }
            output.number(found.of)
            output.text(" callbacks wait on one context")
        }
        output.text(", most often ")
        function(found.address)
    }

    @inline(never) private mutating func share(_ found: Finding, _ what: StaticString) {
        output.number(found.count)
        output.text(" of ")
        output.number(found.of)
        output.text(" ")
        output.text(what)
    }

    // MARK: places

    /// The first few calls of a site's stack.
    @inline(never) private mutating func place(_ number: Int, _ share: UInt64) {
        if number == 0 { return }
        let site = Site.at(number)
        let start = stacks.start(of: site)
        output.text("           ")
        if share != 0 {
            output.number(share)
            output.text("x ")
        }
        var shown = 0
        for position in start..<max(site.frameCount, start) where shown < 4 {
            let address = site.frame(position)
            let name = stacks.mappings.symbol(address)?.name
            // What of ours is in between says nothing, and what is beyond main neither.
            if let name, shown != 0 && name.begins("$") && name.begins("9BelayCore", at: 2) { continue }
            if shown != 0 { output.text(" < ") }
            function(address)
            shown += 1
            if let name, name.count == 4 && name.begins("main") { break }
        }
        if shown == 0 { output.text("(no stack)") }
        output.text("\n")
    }

    /// "name+0x1f (file)"; without a name the address in the file, as addr2line wants it.
    @inline(never) private mutating func function(_ address: UInt64) {
        let symbol = stacks.mappings.symbol(address)
        if let symbol {
            output.bytes(symbol.name)
            if symbol.distance != 0 {
                output.text("+0x")
                output.number(symbol.distance, base: 16)
            }
        }
        guard let number = stacks.mappings.find(address) else {
            if symbol == nil {
                output.text("0x")
                output.number(address, base: 16)
            }
            return
        }
        let mapping = stacks.mappings[number]
        if symbol == nil {
            output.text("0x")
            output.number(address - mapping.start + mapping.offset, base: 16)
        }
        output.text(" (")
        var name = UnsafePointer(mapping.path)
        var next = name
        while next.pointee != 0 {
            if next.pointee == 47 { name = next + 1 }
            next += 1
        }
        output.cString(name)
        output.text(")")
    }
}

extension Symptom {
    var title: StaticString {
        switch self {
        case .covered: "Deadlines that the parent's already covers"
        case .chains: "Long chains of values"
        case .children: "Very many long-lived children of one context"
        case .polled: "Foreign parents that can only be polled"
        case .callbacks: "Callbacks that are never stopped"
        case .late: "Contexts that are closed late"
        case .leaked: "Contexts that are never closed"
        case .grouped: "A context for each task of a group"
        case .small: "Pools of small items"
        case .plain: "Contexts that a lite one could be"
        }
    }

    var cause: StaticString {
        switch self {
        case .covered: "each call gets a timeout of its own, though the request's ends first"
        case .chains: "each layer adds a value of its own: trace, user, tenant, request, session, ..."
        case .children: "workers that live as long as the process are derived from something that is not a root"
        case .polled: "its belay_custom_ops have err alone: whoever asks must call it, and with listeners a timer does"
        case .callbacks: "each piece of work registers one, and leaves without belay_stop"
        case .late: "the close waits for something else, or for nothing: a list that is never cleaned, a lost handle"
        case .leaked: "some path leaves without belay_close; or they are meant to live as long as the process"
        case .grouped: "each task derives its own timeout, though all have the same time"
        case .small: "a pool where the data would fit beside something else"
        case .plain: "they are derived to be asked, or for their deadline, and nothing more"
        }
    }

    var remedy: StaticString {
        switch self {
        case .covered: "pass the parent on; or derive one context with the common deadline and share it"
        case .chains: "put the fields into one struct and carry that as request data: belay_pool_new, belay_with_data"
        case .children: "derive them from belay_background() or a runtime's root, and end them by a list or a signal"
        case .polled: "give it an inner context of Belay's, a hook (after_func), or a descriptor (done_fd)"
        case .callbacks: "belay_stop what is not needed any more, or register on the request's own context"
        case .late: "belay_close right where the work ends (BELAY_SCOPED in C); belay_cancel does not close"
        case .leaked: "belay_close each once (BELAY_SCOPED in C); see them with BELAY_PROFILE_LIVE"
        case .grouped: "derive one context with the timeout, and make the group under it"
        case .small: "put the fields into the item of a pool that is there anyway, or hang them on by belay_with_value"
        case .plain: "belay_lite: no lock, no list, nothing shared with other threads"
        }
    }

    var anchor: StaticString {
        switch self {
        case .covered: "deadlines-that-the-parents-already-covers"
        case .chains: "long-chains-of-values"
        case .children: "very-many-long-lived-children-of-one-context"
        case .polled: "foreign-parents-that-can-only-be-polled"
        case .callbacks: "callbacks-that-are-never-stopped"
        case .late: "contexts-that-are-closed-late"
        case .leaked: "contexts-that-are-never-closed"
        case .grouped: "a-context-for-each-task-of-a-group"
        case .small: "pools-of-small-items"
        case .plain: "contexts-that-a-lite-one-could-be"
        }
    }
}
