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

OPEN, CLOSED = 0, 1  # the node's generation; and the stripe's
NODE, OTHER, NOWHERE = "node", "other", 0

# What the owner does, in turn: takes a reference, gives one up, takes one and wishes for a seat, moves to another node.
SCRIPTS = ["".join(each) for length in (2, 3, 4) for each in itertools.product("trwm", repeat=length)]
SCRIPTS += ["wtrmwr", "mtwtrr", "wmwmwt", "wttmtrr", "wtmtwtrr", "tmwtwtrr"]

BROKEN = {
    "without the barrier": {"barrier": False},
    "without waiting for the owner": {"await": False},
    "stripes before seats": {"seats first": False},
    "a seat taken without a second look": {"second look": False},
    "a seat left behind with its count": {"hand over": False},
}
RIGHT = {"barrier": True, "await": True, "seats first": True, "second look": True, "hand over": True}


class Lost(Exception):
    """The handshake did not hold."""


def owner(script, rules):
    """The thread that sits. Yields what it does to memory, and is sent what it reads."""
    held = 0

    def count(change):  # Seat.add
        if (yield "load", "place") != NODE:
            return False
        yield "store", "busy", 1
        is_open = (yield "load", "generation") == OPEN
        if is_open:
            yield "store", "count", (yield "load", "count") + change
        yield "store", "busy", 0
        return is_open

    def count_on_stripe(change):  # Stripe.add
        generation, _ = yield "change", "stripe", lambda old: (old[0], old[1] + change) if old[0] == OPEN else old
        return generation == OPEN

    def take():  # by a handle: only while the node is open
        if (yield from count(+1)):
            return "on the seat"
        if (yield "load", "generation") == OPEN and (yield from count_on_stripe(+1)):
            return "on a stripe"
        return None

    def give_up():
        if not (yield from count(-1)) and not (yield from count_on_stripe(-1)):
            yield "change", "word", lambda old: old - 1

    def leave():
        place = yield "load", "place"
        if place != NODE:
            yield "store", "place", NOWHERE  # the other node stays open, and is not looked at
            return True
        yield "store", "busy", 1
        has_left = (yield "load", "generation") == OPEN
        if has_left:
            counted = yield "load", "count"
            if rules["hand over"] and not (yield from count_on_stripe(counted)):
                raise Lost("a count had nowhere to go")
            yield "store", "place", NOWHERE
        yield "store", "busy", 0
        return has_left

    def sit(place):  # Seat.take
        yield "store", "count", 0
        yield "store", "place", place
        if place == NODE:
            yield "store", "is seated", 1
            yield ("fence",)
            if rules["second look"] and (yield "load", "generation") != OPEN:
                yield "change", "place", lambda old: NOWHERE if old == NODE else old

    for step in script:
        if step in "tw":
            where = yield from take()
            held += where is not None
            if step == "w" and where == "on a stripe" and (yield from leave()):
                yield from sit(NODE)
        elif step == "r" and held > 0:
            held -= 1
            yield from give_up()
        elif step == "m" and (yield from leave()):
            yield from sit(OTHER)
            yield "store", "count", 7
    yield "end", held


def close(rules):
    """collapseStripes, after the close has won. Every store of its is a locked instruction."""
    found = 0

    def stripes():
        return (yield "change", "stripe", lambda old: (CLOSED, 0))[1]

    def seats():
        if (yield "load", "is seated") == 0:
            return 0
        if rules["barrier"]:
            yield ("barrier",)
        if (yield "load", "place") != NODE:
            return 0
        if rules["await"]:
            yield ("await",)
        counted = yield "load", "count"
        place = yield "change", "place", lambda old: NOWHERE if old == NODE else old
        return counted if place == NODE else 0

    yield "change", "generation", lambda old: CLOSED
    for part in (seats, stripes) if rules["seats first"] else (stripes, seats):
        found += yield from part()
    yield "change", "word", lambda old: old + found
    yield "end", 0


class Thread:
    """A thread by what it was sent so far; the generators cannot be copied, so they are run again."""

    def __init__(self, make):
        self.make, self.known = make, {}

    def next(self, sent):
        if sent not in self.known:
            running = self.make()
            operation = next(running)
            for each in sent:
                operation = running.send(each)
            self.known[sent] = operation
        return self.known[sent]


def steps(memory, buffer, operation, is_owner):
    """What can become of an operation: nothing, if it has to wait, or (memory, buffer, what it reads)."""
    values, kind = dict(memory), operation[0]
    if kind == "load":
        own = [value for name, value in buffer if name == operation[1]] if is_owner else []
        yield memory, buffer, (own or [values[operation[1]]])[-1]
    elif kind == "store":
        yield memory, buffer + ((operation[1], operation[2]),), None
    elif kind == "barrier":
        values.update(buffer)
        yield frozenset(values.items()), (), None
    elif kind == "await":
        if values["busy"] == 0:
            yield memory, buffer, None
    elif kind == "fence":
        if not (is_owner and buffer):
            yield memory, buffer, None
    elif kind == "change" and not (is_owner and buffer):
        old = values[operation[1]]
        values[operation[1]] = operation[2](old)
        yield frozenset(values.items()), buffer, old


def explore(script, rules):
    """All that can happen. Answers how many states there are."""
    memory = {"generation": OPEN, "stripe": (OPEN, 0), "word": 0, "is seated": 0}
    memory |= {"place": NOWHERE, "busy": 0, "count": 0}
    threads = Thread(lambda: owner(script, rules)), Thread(lambda: close(rules))
    todo, seen = [(frozenset(memory.items()), (), (), ())], set()
    while todo:
        state = todo.pop()
        if state in seen:
            continue
        seen.add(state)
        memory, buffer, *sent = state
        operations = [thread.next(each) for thread, each in zip(threads, sent)]
        if buffer:  # the oldest store comes out
            todo.append((frozenset((dict(memory) | {buffer[0][0]: buffer[0][1]}).items()), buffer[1:], *sent))
        elif all(operation[0] == "end" for operation in operations):
            values = dict(memory)
            if values["word"] != operations[0][1]:
                raise Lost(f"{operations[0][1]} references are held, {values['word']} are counted")
            if values["place"] == NODE:
                raise Lost("somebody sits on a closed node")
        for number, operation in enumerate(operations):
            for memory_then, buffer_then, read in steps(memory, buffer, operation, number == 0):
                sent_then = list(sent)
                sent_then[number] += (read,)
                todo.append((memory_then, buffer_then, *sent_then))
    return len(seen)


def main():
    failures = 0
    try:
        states = sum(explore(script, RIGHT) for script in SCRIPTS)
        print(f"✓ the handshake holds in all {states:,} states of {len(SCRIPTS)} scripts")
    except Lost as what:
        failures += 1
        print(f"✗ the handshake does not hold: {what}")
    for name, change in BROKEN.items():
        try:
            for script in SCRIPTS:
                explore(script, RIGHT | change)
            failures += 1
            print(f"✗ {name}: not found")
        except Lost as what:
            print(f"✓ {name}: found ({script}: {what})")
    print(f"{1 + len(BROKEN) - failures} passed, {failures} failed")
    return failures != 0


if __name__ == "__main__":
    sys.exit(main())
