// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform
import Synchronization

/// What a thread keeps for itself: its magazines, its seat, which callbacks it is in, and behind the record its counters
/// (`Counter`) and the values that it last looked up (`Recall`).
///
/// Records are made when a thread first needs one, given up when it ends, taken over by a later thread, and never
/// freed: so counters of past threads still count, and a record's address may be compared at any time.
struct Thread: ~Copyable {
    var contexts = Magazine()
    var tasks = Magazine()
    var records = Magazine()
    var listens = Magazine()
    /// A small number of its own: which stripe and which wheel shard the thread uses.
    let number: UInt32
    /// The innermost callback that runs on this thread; 0 is none. See `Running`.
    var running: UInt = 0
    /// The innermost wrapper whose source is being asked on this thread; 0 is none. See `Asking`.
    var asking: UInt = 0
    /// The innermost runtime that it is at work for; 0 is none. See `Serving`.
    var serving: UInt = 0
    /// What merged contexts that have gone still hold, and whether the thread is about to let go of it. See `Links`.
    var links: UInt32 = 0
    var isLettingGo = false
    /// The table of its pool magazines; 0 until it uses a pool. See `PoolMagazine`.
    let poolMagazines = Atomic<UInt>(0)
    /// How often it met others at a reference count.
    private var meetings: UInt32 = 0
    /// Where it counts by itself: on the parent that it derives from again and again.
    let seat = Seat()
    var habit = Habit()
    /// How many births there are to the next that is sampled, the rate that this was drawn for, and what it was drawn
    /// with. See `Sampler`.
    var untilSample: UInt64 = 0
    var sampleEvery: UInt32 = 0
    var sampleRandom: UInt64 = 0
    /// The next of all records (for sums), and of those that no thread has (for reuse; under `Globals.threadLock`).
    private let nextRecord: UInt
    private let nextIdle = Atomic<UInt>(0)

    private init(number: UInt32, next: UInt) {
        self.number = number
        nextRecord = next
    }

    /// The calling thread's record; nil when there is no memory for one.
    @inline(__always) static var current: UnsafeMutablePointer<Thread>? {
        if let record = belaycore_thread() { return record.assumingMemoryBound(to: Thread.self) }
        return enlist()
    }

    /// The calling thread's record if it has one already.
    @inline(__always) static var known: UnsafeMutablePointer<Thread>? {
        belaycore_thread()?.assumingMemoryBound(to: Thread.self)
    }

    @inline(never) private static func enlist() -> UnsafeMutablePointer<Thread>? {
        let globals = Globals.pointer
        // In the child of a fork the lock may be held by a thread that is not there.
        if globals.pointee.forked { return nil }
        globals.pointee.threadLock.lock()
        var record = UnsafeMutablePointer<Thread>(bitPattern: globals.pointee.idleThreads.get())
        if let found = record {
            globals.pointee.idleThreads.set(found.pointee.nextIdle.get())
        } else if let memory = belaycore_allocate((Recall.offset + Recall.bytes + 127) & ~127) {
            let made = memory.assumingMemoryBound(to: Thread.self)
            let number = globals.pointee.threadNumbers.get()
            globals.pointee.threadNumbers.set(number &+ 1)
            made.initialize(to: Thread(number: number, next: globals.pointee.allThreads.get()))
            made.clearCounters()
            made.clearRecall()
            // Release: a reader of the list finds the record whole (acquire in `forEach`).
            globals.pointee.allThreads.store(UInt(bitPattern: made), ordering: .releasing)
            record = made
        }
        globals.pointee.threadLock.unlock()
        if let record {
            belaycore_set_thread(record)
            belaycore_set_magazines(UnsafeMutableRawPointer(bitPattern: record.pointee.poolMagazines.get()))
            // Without the hook the record would only stay with its dead thread: a loss of memory, not of safety.
            _ = belaycore_watch_thread_exit(record)
        }
        return record
    }

    /// The thread ends: its free cells go to the depots, its record to the next new thread. Should a later thread-local
    /// destructor call in here again, the thread gets another record and this runs once more.
    fileprivate static func retire(_ record: UnsafeMutablePointer<Thread>) {
        belaycore_set_thread(nil)
        belaycore_set_magazines(nil)
        // A callback that left by pthread_exit never came back to take its frame off.
        record.leaveFrames()
        if Globals.pointer.pointee.forked { return }
        // First, because it may run drop functions, which may do anything: then the thread gets a record again.
        record.emptyPoolMagazines()
        record.pointee.contexts.empty(Region.contexts.pointee)
        record.pointee.tasks.empty(Region.tasks.pointee)
        record.pointee.records.empty(Region.records.pointee)
        record.pointee.listens.empty(Region.listens.pointee)
        let globals = Globals.pointer
        globals.pointee.threadLock.lock()
        record.pointee.nextIdle.set(globals.pointee.idleThreads.get())
        globals.pointee.idleThreads.set(UInt(bitPattern: record))
        globals.pointee.threadLock.unlock()
    }

    /// In the child of a fork: all records but the caller's are without a thread, and nobody has a cell.
    static func startOver() {
        let globals = Globals.pointer
        globals.pointee.threadLock.reset()
        globals.pointee.idleThreads.set(0)
        forEach { record in
            record.pointee.contexts.forget()
            record.pointee.tasks.forget()
            record.pointee.records.forget()
            record.pointee.listens.forget()
            record.pointee.links = 0
            record.pointee.isLettingGo = false
            record.pointee.seat.startOver()
            record.clearCounters()
            // Ours too: what is around us is work of before the fork, which must not go on.
            record.leaveFrames()
            if record == known { return }
            record.pointee.nextIdle.set(globals.pointee.idleThreads.get())
            globals.pointee.idleThreads.set(UInt(bitPattern: record))
        }
    }

    /// The calling thread met another one at a reference count: true every few times.
    static func meets() -> Bool {
        guard let thread = known else { return false }
        thread.pointee.meetings &+= 1
        return thread.pointee.meetings % 8 == 0
    }

    static func forEach(_ body: (UnsafeMutablePointer<Thread>) -> Void) {
        var next = Globals.pointer.pointee.allThreads.load(ordering: .acquiring)
        while let record = UnsafeMutablePointer<Thread>(bitPattern: next) {
            body(record)
            next = record.pointee.nextRecord
        }
    }
}

extension UnsafeMutablePointer where Pointee == Thread {
    /// Nothing of ours is on the thread's stack any more.
    fileprivate func leaveFrames() {
        pointee.running = 0
        pointee.asking = 0
        pointee.serving = 0
    }
}

@_cdecl("belaycore_thread_ended") @implementation
public func belaycore_thread_ended(_ record: UnsafeMutableRawPointer?) {
    if let record { Thread.retire(record.assumingMemoryBound(to: Thread.self)) }
}
