#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goes through every interleaving of a magazine's owner and of thieves that empty it.

The handshake is the one of Sources/BelayCore/Pool/PoolHandshake.swift, with the store buffers of x86 for the owner. An item
is lost, or there twice, where both are inside; an item stays behind where the owner gets in after the pool was freed.
The ways to break the handshake (BROKEN) must all be found, or this proves nothing.
"""

import itertools
import sys

from interleavings import Lost, World, explore, report

# The state word and the pass; 0 is neither.
HANDLE, STEALING, STALE = "handle", "handle, stealing", "the next generation"
ITEMS = 2  # that the magazine holds at first

# What the owner does, in turn: takes an item, gives one back. What the thief does: empties the magazine, frees the pool.
OWNERS = ["".join(each) for length in (1, 2, 3) for each in itertools.product("tg", repeat=length)] + ["tgtg", "ttgg"]
THIEVES = ["s", "f", "ss", "sf"]

BROKEN = {
    "without the barrier": {"barrier": False},
    "a theft that leaves the passes": {"suspend": False},
    "a free that gives the passes back": {"withdraw": False},
    "a pass given without the lock": {"lock to give": False},
    "a pass given without a look at the state word": {"look to give": False},
    "a slow way without a fence, where there is no barrier": {"fence": False},
    "a thief that does not wait for the owner": {"wait": False},
}
RIGHT = {rule: True for change in BROKEN.values() for rule in change}
# How it begins: with a pass, without, and where the system has no barrier for all threads, so nobody gets a pass.
PASS, NO_PASS, FENCED = "with a pass", "without a pass", "without membarrier"


def owner(script, start, rules):
    """The thread whose magazine it is. Yields what it does to memory, and is sent what it reads."""
    held = 0

    def enter():  # enter
        yield "store", "busy", 1
        if (yield "load", "pass") == HANDLE:
            return True
        yield "store", "busy", 0
        return False

    def ask_for_pass():  # askForPass
        if start == FENCED or (yield "load", "pass") == HANDLE or (yield "load", "state") != HANDLE:
            return
        if rules["lock to give"]:
            yield ("lock",)
        if not rules["look to give"] or (yield "load", "state") == HANDLE:
            yield "store", "pass", HANDLE
        if rules["lock to give"]:
            yield ("unlock",)

    def enter_slowly():  # enterSlowly
        yield from ask_for_pass()
        while True:
            yield "store", "busy", 1
            if rules["fence"]:
                yield "change", "fence", lambda old: old
            state = yield "load", "state"
            if state == HANDLE:
                return True
            yield "store", "busy", 0
            if state == STALE:
                return False
            yield ("lock",)
            yield ("unlock",)

    for step in script:
        if step == "g" and held == 0:
            continue
        if not (yield from enter()) and not (yield from enter_slowly()):
            continue  # it was freed: an item that is given back is released, and is counted as held
        items = yield "load", "items"
        if step == "g" or items > 0:
            change = 1 if step == "g" else -1
            yield "store", "items", items + change
            held -= change
        yield "store", "busy", 0
    yield "end", held


def thief(script, start, rules):
    """Whoever has the pool's lock. What it writes is out at once: the barrier comes before it reads."""
    stolen = 0
    for step in script:
        yield ("lock",)
        yield "change", "state", lambda _: STEALING if step == "s" else STALE
        if step == "f" and rules["withdraw"]:
            yield "change", "pass", lambda _: 0
        elif rules["suspend"]:
            yield "change", "pass", lambda old: STEALING if old == HANDLE else old
        if rules["barrier"] and start != FENCED:
            yield ("barrier",)
        if rules["wait"]:
            yield "await", lambda values: values["busy"] == 0
        stolen += yield "load", "items"
        yield "change", "items", lambda _: 0
        if step == "s" or not rules["withdraw"]:
            yield "change", "pass", lambda old: HANDLE if old == STEALING else old
        if step == "s":
            yield "change", "state", lambda _: HANDLE
        yield ("unlock",)
    yield "end", stolen


def run(scripts, start, rules):
    memory = {"state": HANDLE, "pass": HANDLE if start == PASS else 0, "busy": 0, "items": ITEMS, "fence": 0}
    what = f"{' and '.join(scripts)}, {start}"

    def check(values, results):
        if values["items"] + sum(results) != ITEMS:
            raise Lost(f"{what}: there were {ITEMS} items, now there are {values['items']} + {sum(results)}")
        if values["state"] == STALE and values["items"] != 0:
            raise Lost(f"{what}: an item stayed behind")

    makers = [lambda _: owner(scripts[0], start, rules), lambda _: thief(scripts[1], start, rules)]
    return explore(World(memory, makers, buffered={0}), check)


def run_all(rules):
    runs = itertools.product(itertools.product(OWNERS, THIEVES), (PASS, NO_PASS, FENCED))
    return sum(run(scripts, start, rules) for scripts, start in runs)


def main():
    return report(
        lambda: f"the handshake holds in all {run_all(RIGHT):,} states of {3 * len(OWNERS) * len(THIEVES)} runs",
        {name: lambda change=change: run_all(RIGHT | change) for name, change in BROKEN.items()},
    )


if __name__ == "__main__":
    sys.exit(main())
