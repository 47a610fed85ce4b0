#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goes through every interleaving of an owner of a seat and the close of the node that he sits on.

The handshake is the one of Sources/BelayCore/Context/Seat.swift. No run of the program shows that its barrier is needed:
a store would have to stand in a processor's buffer for as long as the close takes from one load to the next. Here the
owner's stores stand there for as long as it takes, as x86 allows, and membarrier empties the buffer, as it does.

In the end the node's own word must have exactly the references that the owner still holds, and nobody must sit on it.
The ways to break the handshake (BROKEN) must all be found, or this proves nothing.
"""

import itertools
import sys

from interleavings import Lost, World, explore, report

OPEN, CLOSED = 0, 1  # the node's generation; and the stripe's
NODE, OTHER, NOWHERE = "node", "other", 0

# What the owner does, in turn: takes a reference, gives one up, takes one and wishes for a seat, moves to another node.
SCRIPTS = ["".join(each) for length in (2, 3, 4) for each in itertools.product("trwm", repeat=length)]
SCRIPTS += ["wtrmwr", "mtwtrr", "wmwmwt", "wttmtrr", "wtmtwtrr", "tmwtwtrr"]

BROKEN = {
    "without the barrier": {"barrier": False},
    "a change counted twice": {"swap": False},
    "a change that the close has found, counted again": {"believe": False},
    "a close that leaves no trace on the word": {"trace": False},
    "a seat taken without a look at the generation": {"look to take": False},
    "a seat taken without the lock": {"lock to take": False},
    "a seat left without the lock": {"lock to leave": False},
    "a seat left behind with its count": {"hand over": False},
}
RIGHT = {rule: True for change in BROKEN.values() for rule in change}


def locked(holds, body):
    """What the body does, under the lock if it holds one."""
    if holds:
        yield ("lock",)
    result = yield from body
    if holds:
        yield ("unlock",)
    return result


def owner(script, rules):
    """The thread that sits. Yields what it does to memory, and is sent what it reads."""
    held = 0

    def count(change):  # Seat.add
        if (yield "load", "place") != NODE:
            return False
        old = yield "load", "seat"
        new = (old[0] + change, old[1])
        yield "store", "seat", new
        if (yield "load", "generation") == OPEN:
            return True
        if not rules["swap"]:
            return False
        found = yield "change", "seat", lambda now: old if now == new else now
        return found != new and rules["believe"]

    def count_on_stripe(change):  # Stripe.add
        generation, _ = yield "change", "stripe", lambda old: (old[0], old[1] + change) if old[0] == OPEN else old
        return generation == OPEN

    def acquire():  # by a handle: only while the node is open
        if (yield from count(+1)):
            return "on the seat"
        if (yield "load", "generation") == OPEN and (yield from count_on_stripe(+1)):
            return "on a stripe"
        return None

    def release():
        if not (yield from count(-1)) and not (yield from count_on_stripe(-1)):
            yield "change", "word", lambda old: old - 1

    def leave():
        place = yield "load", "place"
        if place == NOWHERE:
            return True
        if place == OTHER:
            yield "store", "place", NOWHERE  # that one stays open, and nobody looks at it
            return True
        return (yield from locked(rules["lock to leave"], hand_over()))

    def hand_over():
        if (yield "load", "place") != NODE:
            return True
        counted = (yield "load", "seat")[0]
        if rules["hand over"] and not (yield from count_on_stripe(counted)):
            return False
        yield "store", "place", NOWHERE
        return True

    def take(place):
        if place == OTHER:
            yield "store", "seat", (7, 0)
            yield "store", "place", OTHER
        elif not rules["look to take"] or (yield "load", "generation") == OPEN:
            yield "store", "seat", (0, 0)
            yield "store", "place", NODE
            yield "store", "is seated", 1

    for step in script:
        if step in "tw":
            where = yield from acquire()
            held += where is not None
            if step == "w" and where == "on a stripe" and (yield from leave()):
                yield from locked(rules["lock to take"], take(NODE))
        elif step == "r" and held > 0:
            held -= 1
            yield from release()
        elif step == "m" and (yield from leave()):
            yield from take(OTHER)
    yield "end", held


def close(rules):
    """collapseStripes, after the close has won. Every store of its is a locked instruction, or as good as one."""

    def stripes():
        return (yield "change", "stripe", lambda old: (CLOSED, 0))[1]

    def seats():
        if (yield "load", "is seated") == 0:
            return 0
        if rules["barrier"]:
            yield ("barrier",)
        if (yield "load", "place") != NODE:
            return 0
        counted = (yield "change", "seat", lambda old: (old[0], old[1] + rules["trace"]))[0]
        yield "change", "place", lambda old: NOWHERE
        return counted

    yield "change", "generation", lambda old: CLOSED
    yield ("lock",)
    found = yield from seats()
    found += yield from stripes()
    yield ("unlock",)
    yield "change", "word", lambda old: old + found
    yield "end", 0


def run(script, rules):
    memory = {"generation": OPEN, "stripe": (OPEN, 0), "word": 0, "is seated": 0, "place": NOWHERE, "seat": (0, 0)}

    def check(values, results):
        if values["word"] != results[0]:
            raise Lost(f"{script}: {results[0]} references are held, {values['word']} are counted")
        if values["place"] == NODE:
            raise Lost(f"{script}: somebody sits on a closed node")

    return explore(World(memory, [lambda _: owner(script, rules), lambda _: close(rules)], buffered={0}), check)


def run_all(rules):
    return sum(run(script, rules) for script in SCRIPTS)


def main():
    return report(
        lambda: f"the handshake holds in all {run_all(RIGHT):,} states of {len(SCRIPTS)} scripts",
        {name: lambda change=change: run_all(RIGHT | change) for name, change in BROKEN.items()},
    )


if __name__ == "__main__":
    sys.exit(main())
