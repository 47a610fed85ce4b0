// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// Tells what an audit has found.
struct AuditReport: ~Copyable {
    private var output: Writer
    private var stacks: Stacks

    init(_ output: Writer, _ stacks: consuming Stacks) {
        self.output = output
        self.stacks = stacks
    }

    func free() { stacks.free() }

    mutating func write(_ findings: Findings) -> belay_status {
        let count = findings.count
        output.put("belay audit: ")
        basis(count)
        open(findings.open.pointee)
        var number: Int64 = 0
        for position in 0..<Symptom.count {
            guard let symptom = Symptom(rawValue: position), findings[symptom].pointee.isFound else { continue }
            number += 1
            output.put("\n#. ", number)
            tell(symptom, findings[symptom].pointee)
        }
        return output.close()
    }

    /// How much it found, and what it could see.
    private mutating func basis(_ count: Int) {
        var derived: UInt64 = 0
        for number in 0..<Site.count { derived &+= Site.at(number).value(.derived) }
        let every = UInt64(Sampler.pointer.pointee.every.get())
        if count != 0 {
            output.put(count == 1 ? "1 symptom (" : "# symptoms (", Int64(count))
        } else if derived != 0 || every == 1 {
            output.put("nothing found (")
        }
        if derived == 0 && every != 1 {
            output.put("nothing was sampled")
            if every == 0 {
                output.put(": set BELAY_AUDIT=1, or call belay_profile_rate first")
            } else {
                output.put(": too few derivations for 1 in #; BELAY_PROFILE_RATE=1 samples all", every)
            }
            output.put(count != 0 ? ")\n" : "\n")
        } else if every == 0 {
            output.put("about # derivations, sampling is off now)\n", derived)
        } else if every == 1 {
            output.put("# derivations, all sampled)\n", derived)
        } else {
            output.put("about # derivations, 1 in # sampled)\n", derived, every)
        }
    }

    /// What is still open, and where most of it comes from. An estimate of a place may be more than there is of all.
    private mutating func open(_ found: Finding) {
        if found.count == 0 {
            output.put("open now: no context\n")
            return
        }
        output.put(found.count == 1 ? "open now: 1 context\n" : "open now: # contexts\n", found.count)
        place(found.sites.0, min(found.shares.0, found.count))
        place(found.sites.1, min(found.shares.1, found.count))
        place(found.sites.2, min(found.shares.2, found.count))
    }

    private mutating func tell(_ symptom: Symptom, _ found: Finding) {
        output.put(cString: symptom.text(.title))
        output.put("\n   seen:   ")
        evidence(symptom, found)
        output.put("\n")
        place(found.sites.0, found.shares.0)
        place(found.sites.1, found.shares.1)
        place(found.sites.2, found.shares.2)
        output.put("   cause:  ")
        output.put(cString: symptom.text(.cause))
        output.put("\n   remedy: ")
        output.put(cString: symptom.text(.remedy))
        output.put("\n   more:   docs/audit.md#")
        output.put(cString: symptom.text(.anchor))
        output.put("\n")
    }

    private mutating func evidence(_ symptom: Symptom, _ found: Finding) {
        let (count, whole) = (found.count, found.of)
        switch symptom {
        case .covered:
            output.put("# of # contexts were given a deadline that is not earlier than their parent's", count, whole)
        case .chains:
            output.put("chains of up to # values; # values derived in such chains", found.extra, count)
        case .children:
            output.put("a context has # open children, most of them older than a second", count)
            if whole > 1 { output.put("; # contexts are like that", whole) }
        case .polled:
            output.put(count == 1 ? "# foreign parent" : "# foreign parents", count)
            output.put(" could only be polled, # of them open now", whole)
        case .callbacks: callbacks(found)
        case .late:
            output.put("# of # contexts stayed open for more than a second after their end", count, whole)
            if found.extra != 0 {
                output.put("; the latest close came ")
                duration(found.extra)
                output.put(" after it")
            }
        case .leaked:
            output.put("# contexts are open for more than a second, of # that were derived there", count, whole)
        case .grouped:
            output.put("# of # contexts with a deadline", count, whole)
            output.put(" were derived by a group's task from the group's context")
        case .small:
            output.put(count == 1 ? "# pool was" : "# pools were", count)
            output.put(" made for items of less than 100 bytes")
            if let name = UnsafePointer<CChar>(bitPattern: UInt(found.address)) {
                output.put(", such as '")
                if name.pointee == 0 { output.put("(no name)") } else { output.put(cString: name) }
                output.put("' with # bytes", found.extra)
            }
        case .plain:
            output.put("# of # contexts were closed", count, whole)
            output.put(" without anyone having listened to them or derived from them")
        }
    }

    private mutating func callbacks(_ found: Finding) {
        let areEndless = found.count >= Audit.Least.endlessCallbacks
        if areEndless { output.put("# callbacks wait on contexts that never end", found.count) }
        if found.of >= UInt64(Audit.Least.callbacks) {
            output.put(areEndless ? "; # callbacks wait on one context" : "# callbacks wait on one context", found.of)
        }
        output.put(", most often ")
        stacks.put(function: found.address, to: &output)
    }

    /// A time, in the unit that suits it.
    private mutating func duration(_ nanoseconds: UInt64) {
        if nanoseconds < 10_000 {
            output.put("# ns", nanoseconds)
        } else if nanoseconds < 10_000_000 {
            output.put("# us", nanoseconds / 1000)
        } else if nanoseconds < 10_000_000_000 {
            output.put("# ms", nanoseconds / 1_000_000)
        } else {
            output.put("# s", nanoseconds / 1_000_000_000)
        }
    }

    /// A line for a site.
    @inline(never) private mutating func place(_ number: Int, _ share: UInt64) {
        if number == 0 { return }
        output.put("           ")
        if share != 0 { output.put("#x ", share) }
        stacks.put(Site.at(number), to: &output)
        output.put("\n")
    }
}

extension Symptom {
    enum Text: Int {
        case title, cause, remedy, anchor
        static let count = 4
    }

    func text(_ text: Text) -> UnsafePointer<CChar> { Symptom.texts.part(rawValue * Text.count + text.rawValue) }

    /// In the order of the cases; of each the title, the cause, the remedy, and where docs/audit.md has it.
    private static var texts: StaticString {
        """
        Deadlines that the parent's already covers\0\
        each call gets a timeout of its own, though the request's ends first\0\
        pass the parent on; or derive one context with the common deadline and share it\0\
        deadlines-that-the-parents-already-covers, docs/share-one-deadline.md\0\
        Long chains of values\0\
        each layer adds a value of its own: trace, user, tenant, request, session, ...\0\
        put the fields into one struct and carry that as request data: belay_pool_new, belay_with_data\0\
        long-chains-of-values, docs/consolidate-values.md\0\
        Very many long-lived children of one context\0\
        workers that live as long as the process are derived from something that is not a root\0\
        derive them from belay_background() or a runtime's root, and end them by a list or a signal\0\
        very-many-long-lived-children-of-one-context, docs/independent-roots.md\0\
        Foreign parents that can only be polled\0\
        its belay_custom_ops have err alone: whoever asks must call it, and with listeners a timer does\0\
        give it an inner context of Belay's, a hook (after_func), or a descriptor (done_fd)\0\
        foreign-parents-that-can-only-be-polled, docs/delegate-in-foreign-parents.md\0\
        Callbacks that are never stopped\0\
        each piece of work registers one, and leaves without belay_stop\0\
        belay_stop what is not needed any more, or register on the request's own context\0\
        callbacks-that-are-never-stopped, docs/callbacks-not-threads.md\0\
        Contexts that are closed late\0\
        the close waits for something else, or for nothing: a list that is never cleaned, a lost handle\0\
        belay_close right where the work ends (BELAY_SCOPED in C); belay_cancel does not close\0\
        contexts-that-are-closed-late, docs/what-not-to-do.md\0\
        Contexts that are never closed\0\
        some path leaves without belay_close; or they are meant to live so long\0\
        belay_close each once (BELAY_SCOPED in C); see them with BELAY_PROFILE_LIVE\0\
        contexts-that-are-never-closed, docs/measure-with-profiles.md\0\
        A context for each task of a group\0\
        each task derives its own timeout, though all have the same time\0\
        derive one context with the timeout, and make the group under it\0\
        a-context-for-each-task-of-a-group, docs/one-context-for-a-group.md\0\
        Pools of small items\0\
        a pool where the data would fit beside something else\0\
        put the fields into the item of a pool that is there anyway, or hang them on by belay_with_value\0\
        pools-of-small-items, docs/pooled-request-data.md\0\
        Contexts that a lite one could be\0\
        they are derived to be asked, or for their deadline, and nothing more\0\
        belay_local_open, on the stack of the function that asks it; belay_lite where it is handed on\0\
        contexts-that-a-lite-one-could-be, docs/lite-contexts.md\0
        """
    }
}
