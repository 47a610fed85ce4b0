// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform

/// The threads of a runtime. One drives it: it sleeps until the next timer, and fires. The others run tasks.
///
/// A driver that has fired tasks does not wait for another thread to come and run them, which takes longer than most
/// tasks. Once one has been called it leaves its place vacant, and runs them itself. Whoever finds the place vacant
/// takes it, before any task: the one that was called, also if the task blocks; or the driver again, which was quicker,
/// as it mostly is.
///
/// The place is vacant only while a thread that was called is on its way (`Executor.relieve`, `Executor.work`; all
/// under the executor's lock). So somebody always drives, or is about to. Meanwhile the driver counts as awake: nobody
/// wakes it.
enum Crew {
    /// Starts a thread. Not 0 if the system has none.
    static func start(_ number: UInt32, asDriver: Bool) -> Int32 {
        let argument = UnsafeMutableRawPointer(bitPattern: UInt(number) << 1 | (asDriver ? 1 : 0))
        return belaycore_start_thread(
            {
                let argument = UInt(bitPattern: $0)
                Crew.serve(UInt32(argument >> 1), asDriver: argument & 1 != 0)
            }, argument, name(number, asDriver: asDriver))
    }

    private static func serve(_ number: UInt32, asDriver: Bool) {
        belaycore_sleep_precisely()
        Serving.inside(number) { work(number, asDriver: asDriver) }
    }

    private static func work(_ number: UInt32, asDriver: Bool) {
        var drives = asDriver
        var isNamedDriver = asDriver
        while true {
            var task: UnsafeMutablePointer<Task>?
            if drives {
                if !isNamedDriver { rename(number, asDriver: true, &isNamedDriver) }
                task = Driver.drive(number)
                if task == nil { return }
            }
            switch Runtime.at(number).pointee.executor.work(number, first: task, isNamedDriver: isNamedDriver) {
            case .drive: drives = true
            case .rename:
                rename(number, asDriver: false, &isNamedDriver)
                drives = false
            case .end: return
            }
        }
    }

    /// What a thread that ran tasks is to do next.
    enum Next {
        /// Drive: it has the place.
        case drive
        /// Change its name: another thread drives by now.
        case rename
        /// End. It is not counted any more.
        case end
    }

    private static func rename(_ number: UInt32, asDriver: Bool, _ isNamedDriver: inout Bool) {
        belaycore_name_thread(name(number, asDriver: asDriver))
        isNamedDriver = asDriver
    }

    private static func name(_ number: UInt32, asDriver: Bool) -> UnsafePointer<CChar> {
        let runtime = Runtime.at(number)
        return asDriver
            ? runtime.pointee.driverName.text(or: "belay-driver") : runtime.pointee.workerName.text(or: "belay-worker")
    }
}
