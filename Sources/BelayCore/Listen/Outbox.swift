// SPDX-License-Identifier: Apache-2.0

extension Registration {
    /// What is to run because scopes have ended: wakers at once; then, with `send`, what goes to the executor; inline
    /// callbacks, which may take their time, last, in the order of their registration within a scope.
    struct Outbox {
        private var batch = Executor.Batch()
        private var firstInline: UInt32 = 0

        mutating func add(_ task: UnsafeMutablePointer<Task>) {
            let flags = task.pointee.state.get()
            if flags & Task.waker != 0 {
                Registration.run(task)
            } else if flags & Task.inline == 0 {
                batch.add(task)
                // Before its context is let go, whose reference keeps the runtime's number from being used again.
                if Task.runtime(flags) != 0 { batch.submit() }
            } else {
                // Lists hold the youngest registration first, so putting each in front turns them round.
                task.pointee.entry.next.set(firstInline)
                firstInline = task.index
            }
        }

        mutating func send() {
            batch.submit()
            while firstInline != 0 {
                let task = Task.at(firstInline)
                firstInline = task.pointee.entry.next.get()
                Registration.run(task)
            }
        }
    }
}
