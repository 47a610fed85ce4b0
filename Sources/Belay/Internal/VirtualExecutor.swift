// SPDX-License-Identifier: Apache-2.0
import CBelay

/// Runs the tasks of a virtual clock, one job at a time, and moves the clock when none of them can go on.
///
/// There is no thread of its own: the first job that comes has the queue drained on a thread of a pool, and who drains
/// stays until there is nothing to do. It is not the default runtime's pool, because a callback of that one may run
/// inside a task, and tasks do not nest.
///
/// Tasks move the clock through this queue alone, in a `run` or not: so never two at once. One whose clock could not be
/// made leaves everything where it is.
final class VirtualExecutor: TaskExecutor {
    private struct State: Sendable {
        var jobs = Queue<UnownedJob>()
        var isDraining = false
        var looksAgain = false  // a timer is set for that
        var runs = 0
        var advances: [Advance] = []  // in the order of arrival

        var isIdle: Bool { jobs.isEmpty && advances.isEmpty && runs == 0 }
    }

    /// A task that waits until the clock has come to an instant, and all that is due by then is done.
    private struct Advance: Sendable {
        let target: belay_instant
        let continuation: UnsafeContinuation<Void, Never>
    }

    private enum Step: Sendable {
        case job(UnownedJob)
        case poll(belay_instant)
        case resume(UnsafeContinuation<Void, Never>)
        case lookAgainLater
        case rest
    }

    private let clock: belay_runtime
    private let state = Lock(State())
    private let pool: ContextRuntime

    /// - Parameter clock: `{0}` if it could not be made.
    init(driving clock: belay_runtime, on pool: ContextRuntime) {
        self.clock = clock
        self.pool = pool
    }

    private var drivesNothing: Bool { clock.bits == 0 }

    // MARK: from outside

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        change { $0.jobs.append(job) }
    }

    func begin() { change { $0.runs += 1 } }

    func end() { change { $0.runs -= 1 } }

    @concurrent
    func run<R: Sendable, E: Error>(
        _ body: sending @escaping (Context) async throws(E) -> R, _ context: Context
    ) async -> Result<R, E> {
        nonisolated(unsafe) let body = body  // sent to us, and called once
        return await withTaskExecutorPreference(drivesNothing ? nil : self, isolation: nil) {
            do throws(E) { return .success(try await body(context)) } catch { return .failure(error) }
        }
    }

    func advance(to target: belay_instant) async {
        guard !drivesNothing else { return }
        let target = min(target, forever - 1)  // a clock never gets to the end of time
        // As a job of this queue, a task that comes from elsewhere lies down before anybody here can wake it. (To the
        // thread sanitizer a task that is woken before it sleeps looks like a race.)
        await withTaskExecutorPreference(self, isolation: nil) {
            await withUnsafeContinuation { continuation in
                change { $0.advances.append(Advance(target: target, continuation: continuation)) }
            }
        }
    }

    /// Moves the clock, and runs the callbacks that are due.
    func poll(until instant: belay_instant) {
        let status = belay_runtime_poll(clock, instant)
        precondition(
            status != BELAY_EBUSY,
            "a virtual clock cannot be moved from inside its own callbacks, or on two threads at once")
    }

    // MARK: draining

    /// Changes what there is to do, and sees to it that somebody does it.
    private func change(_ body: @Sendable (inout State) -> Void) {
        guard !drivesNothing else { return }
        let starts = state.withLock { state in
            body(&state)
            guard !state.isDraining, !state.isIdle else { return false }
            state.isDraining = true
            return true
        }
        guard starts else { return }
        precondition(OwnPool.run({ self.drain() }, on: pool.background), "no thread to be had for a virtual clock")
    }

    private func drain() {
        let own = asUnownedTaskExecutor()
        while true {
            switch nextStep() {
            case .job(let job): job.runSynchronously(on: own)
            case .poll(let instant): poll(until: instant)
            case .resume(let continuation): continuation.resume()
            case .lookAgainLater:
                // Tasks elsewhere may start a timer, of which nobody here hears.
                let timer = try? pool.background.after(.milliseconds(1)) { self.change { $0.looksAgain = false } }
                precondition(timer != nil, "no timer to be had for a virtual clock")
                return
            case .rest: return
            }
        }
    }

    /// What to do next: jobs first; when there is none, time goes on.
    private func nextStep() -> Step {
        let (due, now) = (belay_runtime_next(clock), belay_runtime_now(clock))
        return state.withLock { state in
            if let job = state.jobs.removeFirst() { return .job(job) }
            if let index = state.advances.indices.min(by: { state.advances[$0].target < state.advances[$1].target }) {
                let target = state.advances[index].target
                if due != forever, due <= max(target, now) { return .poll(max(due, now)) }
                if now < target { return .poll(target) }
                return .resume(state.advances.remove(at: index).continuation)
            }
            if state.runs > 0, due != forever { return .poll(max(due, now)) }
            state.isDraining = false
            if state.runs == 0 || state.looksAgain { return .rest }
            state.looksAgain = true
            return .lookAgainLater
        }
    }
}
