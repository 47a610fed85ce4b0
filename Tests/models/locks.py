#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goes through every interleaving of threads that want the same lock, whose unlock is a plain store.

The lock is the one of Sources/BelayCore/Platform/Lock.swift. Three things are shown. Nobody is ever lost: with sleepers
that look again after a while, all come to their end. And nobody is even late: without that, they do, too, if a store
arrives before another thread has come to sleep. And where the lock goes with what it guards, as a group's does, nobody
looks at what has become of it. The ways to break it (BROKEN) must all be found, or this proves nothing.
"""

import sys

from interleavings import Lost, World, explore, report

LEAVES, GONE = 0, "gone"
TURNS = [(2, 2), (3, 1), (1, 1, 1)]  # how often each of the threads takes the lock

BROKEN = {
    "an unlock that looks before its store": {"store first": False},
    "a waker that takes `slept` off after it woke": {"take off first": False},
    "one that has slept and does not think of others": {"remember": False},
    "sleep while the lock is held, whatever `slept` says": {"compare both": False},
    "a sleeper that does not say so": {"say so": False, "compare both": False},
    "a lock taken by a store": {"swap": False},
    "an unlock that looks at a lock that may have gone": {"for good": False},
}
RIGHT = {rule: True for change in BROKEN.values() for rule in change}


def user(turns, stage, rules):
    """Takes the lock so many times, and counts that by a load and a store. A stage is two for each time, and one more where
    it is about to sleep. With no turns at all it leaves: it gives up a reference under the lock, and whoever has the last
    one passes through the lock once more, and makes something else of its memory."""

    def try_lock():
        if rules["swap"]:
            return (yield "change", "held", lambda old: 1) == 0
        if (yield "load", "held") != 0:
            return False
        yield "store", "held", 1
        return True

    def sleep():
        if rules["say so"]:
            yield "change", "slept", lambda old: 1
        if (yield "load", "held") != 0:
            if (yield "sleep", lambda values: values["held"] and (values["slept"] or not rules["compare both"])):
                yield ("asleep",)
        if not (yield from try_lock()):
            yield "on", stage
        if rules["remember"]:
            yield "store", "slept", 1

    def unlock_for_good():
        if (yield "change", ("held", "slept"), lambda old: (0, 0))[1]:
            yield ("wake",)

    def unlock():
        if rules["store first"]:
            yield "store", "held", 0
        has_slept = yield "load", "slept"
        if has_slept == GONE:
            raise Lost("an unlock looks at what has become of the lock")
        if not rules["store first"]:
            yield "store", "held", 0
        if has_slept:
            if rules["take off first"]:
                yield "change", "slept", lambda old: 0
            yield ("wake",)
            if not rules["take off first"]:
                yield "change", "slept", lambda old: 0

    if turns and stage == 2 * turns:
        yield "end", turns
    if stage % 2 == 1:
        yield from sleep()
    elif not (yield from try_lock()):
        yield "on", stage + 1
    if turns == LEAVES:
        if stage < 2:
            is_last = (yield "change", "references", lambda old: old - 1) == 1
            yield from unlock_for_good() if rules["for good"] else unlock()
            yield ("on", 2) if is_last else ("end", 0)
        yield from unlock()
        yield "change", ("held", "slept"), lambda old: (GONE, GONE)
        yield "end", 0
    count = yield "load", "count"
    yield "store", "count", count + 1
    yield from unlock()
    yield "on", stage // 2 * 2 + 2


def arrived(buffers):
    """No unlock is on its way out of a processor."""
    return not any(name == "held" for buffer in buffers for name, _ in buffer)


def run(turns, rules, **world):
    memory = {"held": 0, "slept": 0, "count": 0, "references": len(turns)}
    makers = [lambda stage, each=each: user(each, stage, rules) for each in turns]

    def check(values, results):
        if sum(turns) == LEAVES:
            if values["held"] != GONE or values["slept"] != GONE:
                raise Lost("an unlock writes to what has become of the lock")
        elif values["count"] != sum(results) or values["held"] != 0:
            raise Lost(f"{turns}: {values['count']} of {sum(results)} were counted")

    return explore(World(memory, makers, buffered=range(len(turns)), **world), check)


def run_all(rules):
    late = sum(run(turns, rules, naps=True) for turns in TURNS[:2])
    late += run((LEAVES, LEAVES), rules, may_sleep=arrived)
    return late + sum(run(turns, rules, may_sleep=arrived) for turns in TURNS)


def lost_without_naps():
    return sum(run(turns, RIGHT) for turns in TURNS[:2])


def main():
    attempts = {name: lambda change=change: run_all(RIGHT | change) for name, change in BROKEN.items()}
    attempts["no second look, and a store that takes longer than falling asleep"] = lost_without_naps
    return report(lambda: f"the lock holds in all {run_all(RIGHT):,} states", attempts)


if __name__ == "__main__":
    sys.exit(main())
