// SPDX-License-Identifier: Apache-2.0

extension Executor {
    /// Tasks of one runtime that are queued at once: one look at the lock, and one call for the threads that are to
    /// come.
    struct Batch {
        private(set) var head: UInt32 = 0
        private(set) var tail: UInt32 = 0
        private(set) var count: UInt32 = 0
        private var runtime: UInt32 = 0

        /// A task that is in no list; one of another runtime sends those before it on their way.
        mutating func add(_ task: UnsafeMutablePointer<Task>) {
            let number = task.pointee.runtime
            if number != runtime {
                submit()
                runtime = number
            }
            let index = task.index
            task.pointee.entry.next.set(0)
            if tail == 0 { head = index } else { Task.at(tail).pointee.entry.next.set(index) }
            tail = index
            count &+= 1
            // The first is not to wait until thousands have been collected.
            if count == Batch.most { submit() }
        }

        private static let most: UInt32 = 64

        /// Has them run soon; then it is empty.
        @inline(__always) mutating func submit() {
            if count != 0 { submitSome() }
        }

        @inline(never) private mutating func submitSome() {
            let runtime = Runtime.at(runtime)
            let isManual = runtime.pointee.isManual
            let (host, own, isOpen) = runtime.pointee.executor.enter(self, self.runtime, isManual: isManual)
            if !isOpen { return moveToStandard() }
            if let host { forEach { host(own, { Executor.run($0) }, $0) } }
            (head, tail, count) = (0, 0, 0)
        }

        /// Their runtime has gone.
        private mutating func moveToStandard() {
            forEach { $0.pointee.moveToStandard() }
            runtime = 0
            submit()
        }

        /// `body` may do with a task what it likes, also run it.
        private func forEach(_ body: (UnsafeMutablePointer<Task>) -> Void) {
            var index = head
            while index != 0 {
                let task = Task.at(index)
                index = task.pointee.entry.next.get()
                body(task)
            }
        }
    }
}
