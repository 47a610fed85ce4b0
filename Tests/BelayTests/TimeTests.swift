// SPDX-License-Identifier: Apache-2.0
import CBelay
import Testing

@testable import Belay

extension BelayTests {
    @Suite("durations, instants and clocks")
    struct Time {
        private static let conversions: [(Duration, Int64)] = [
            (.zero, 0),
            (.nanoseconds(1), 1),
            (.nanoseconds(-1), -1),
            (.milliseconds(100), 100_000_000),
            (.seconds(1) + .nanoseconds(1), 1_000_000_001),
            (Duration(secondsComponent: 0, attosecondsComponent: 1), 1),
            (Duration(secondsComponent: 0, attosecondsComponent: 1_000_000_001), 2),
            (Duration(secondsComponent: 0, attosecondsComponent: -1), 0),
            (Duration(secondsComponent: -1, attosecondsComponent: -1), -1_000_000_000),
            (.nanoseconds(Int64.max), .max),
            (.nanoseconds(Int64.max - 1), .max - 1),
            (.nanoseconds(Int64.max - 1) + Duration(secondsComponent: 0, attosecondsComponent: 1), .max),
            (.nanoseconds(Int64.max) + .nanoseconds(1), .max),
            (.seconds(Int64.max), .max),
            (.seconds(Int64.max) + .seconds(Int64.max), .max),
            (.nanoseconds(Int64.min), .min),
            (.nanoseconds(Int64.min + 1), .min + 1),
            (.seconds(Int64.min), .min),
            (.seconds(Int64.min) + .seconds(Int64.min), .min),
        ]

        @Test(arguments: conversions)
        func nanosecondsSaturateAndRoundUp(_ duration: Duration, _ nanoseconds: Int64) {
            #expect(duration.belayNanoseconds == nanoseconds)
        }

        @Test func suspendingClockIsTheRuntimesClock() {
            let before = belay_now()
            let now = SuspendingClock.now.monotonicNanoseconds
            #expect(before <= now)
            #expect(now <= belay_now())
        }

        @Test(arguments: [0, 1, 1_234_567_890_123, Int64.max - 1, Int64.max])
        func instantsSurviveTheRoundTrip(_ nanoseconds: Int64) {
            #expect(SuspendingClock.Instant(monotonicNanoseconds: nanoseconds).monotonicNanoseconds == nanoseconds)
        }

        @Test func suspendingDeadlinesAreExact() {
            let deadline = SuspendingClock.now + .seconds(100)
            withDeadline(deadline) { #expect($0.deadline == deadline) }
        }

        @Test func continuousDeadlinesAreTakenAsTheTimeUntilThen() {
            let before = SuspendingClock.now
            let deadline = ContinuousClock.now + .seconds(100)
            withDeadline(deadline) { ctx in
                #expect(ctx.deadline! >= before + .seconds(100))
                // Whatever the two clocks differ by, the time left is what the continuous one says, and not less.
                #expect(ctx.remaining! <= .seconds(100))
                #expect(ctx.remaining! >= ContinuousClock.now.duration(to: deadline))
            }
        }

        @Test func aBareNowMeansTheRuntimesClock() {
            let deadline = SuspendingClock.now + .seconds(5)
            withDeadline(.now + .seconds(5)) { #expect($0.deadline! >= deadline) }
            withDeadline(.now.advanced(by: .seconds(5)), cause: nil) { #expect($0.deadline! >= deadline) }
            Context.background.withDeadline(.now) { #expect($0.error?.isDeadline == true) }
        }

        @Test func aBareNowMeansTheSameInTasks() async {
            let deadline = SuspendingClock.now + .seconds(5)
            await withDeadline(.now + .seconds(5)) { #expect($0.deadline! >= deadline) }
            await withDeadline(.now + .seconds(5)) { ctx in
                await Task.yield()
                #expect(ctx.deadline! >= deadline)
            }
            await Context.background.withDeadline(.now) { #expect($0.error?.isDeadline == true) }
        }

        @Test func periodsDoNotDriftAndSkipWhatHasPassed() {
            let (time, now) = (ContextTime(of: .background), belay_now())
            #expect(time.nextInstant(after: now, every: 3_600_000_000_000) == now + 3_600_000_000_000)
            let second: Int64 = 1_000_000_000
            let late = time.nextInstant(after: now - 10 * second - 5, every: 3600 * second)
            #expect(late == now - 10 * second - 5 + 3600 * second)
            let skipped = time.nextInstant(after: now - 10 * 3600 * second, every: 3600 * second)
            #expect(skipped == now + 3600 * second)
            #expect(time.nextInstant(after: now, every: .max - 1) == .max)
            #expect(time.nextInstant(after: now + second, every: second) == now + 2 * second)
        }

        @Test func instantsAfterADelaySaturate() {
            let time = ContextTime(of: .background)
            #expect(time.instant(after: .max) == .max)
            #expect(time.instant(after: .max - 1) == .max)
            #expect(time.instant(after: .min) <= 0)
            #expect(belay_instant.min.movedSaturating(by: .min) == .min)
            #expect(belay_instant.max.movedSaturating(by: .max) == .max)
            #expect(belay_instant.min.movedSaturating(by: .max) == -1)
        }

        /// The ends of Swift's durations are beyond the runtime's, and beyond Swift's own sums.
        @Test func instantsAtTheEndsOfTimeAreNeverAndLongAgo() {
            let (least, most) = (Duration(attoseconds: .min), Duration(attoseconds: .max))
            let continuous = ContinuousClock().systemEpoch
            withDeadline(continuous.advanced(by: most)) { #expect($0.deadline == nil) }
            withDeadline(continuous.advanced(by: least)) { #expect($0.error?.isDeadline == true) }
            let suspending = SuspendingClock().systemEpoch
            withDeadline(suspending.advanced(by: most)) { #expect($0.deadline == nil) }
            withDeadline(suspending.advanced(by: least)) { #expect($0.error?.isDeadline == true) }
            withTimeout(most) { #expect($0.deadline == nil) }
            withTimeout(least) { #expect($0.error?.isDeadline == true) }
            #expect(most.addingSaturating(most) == most)
            #expect(least.addingSaturating(least) == least)
            #expect(most.addingSaturating(least) == Duration(attoseconds: -1))
            #expect(most.subtractingSaturating(least) == most)
            #expect(least.subtractingSaturating(most) == least)
        }
    }
}
