# SPDX-License-Identifier: Apache-2.0
"""Goes through everything that threads may do to each other, with the store buffers that processors have.

A thread is a generator. It yields what it does to memory, and is sent what it reads:

    "load", NAME             reads; its own store, if that is still in its buffer
    "store", NAME, VALUE     into its buffer, from where the stores come out one after the other, at any time
    "change", NAME, CHANGE   a locked instruction: nothing may be in the buffer; reads the value of before. With several
                             names it is all of them at once, as a tuple
    "lock", NAME             the same, by whoever finds the lock free; "unlock" is a store, as it is in ours. Without a
                             name it is the one called "lock"
    "barrier",               empties the buffers of all (membarrier)
    "await", CONDITION       looks again and again, until the condition holds in memory
    "sleep", CONDITION       a futex's: falls asleep if the condition holds in memory, goes on if not
    "asleep",                where it sleeps: goes on when it was woken; or, if there are naps, at any time
    "wake",                  wakes one, whichever
    "on", STAGE              goes on as a new thread at that stage would: a loop comes back to where it has been
    "end", RESULT            is over
"""


class Lost(Exception):
    """What was to hold did not."""


class Thread:
    """A thread by its stage and what it was sent since; generators cannot be copied, so they are run again."""

    def __init__(self, make):
        self.make, self.known = make, {}

    def next(self, past):
        if past not in self.known:
            stage, *sent = past
            running = self.make(stage)
            operation = next(running)
            for each in sent:
                operation = running.send(each)
            self.known[past] = operation
        return self.known[past]


class World:
    """What explore needs to know: who has a buffer, whether sleepers look again, when one may fall asleep."""

    def __init__(self, memory, makers, buffered, naps=False, may_sleep=lambda buffers: True):
        self.memory = {"lock": False, "sleepers": ()} | memory
        self.threads = [Thread(make) for make in makers]
        self.buffered, self.naps, self.may_sleep = buffered, naps, may_sleep

    def steps(self, values, buffers, number, operation):
        """What can become of an operation: nothing, if it has to wait, or (memory, buffers, what it reads)."""
        kind, own = operation[0], buffers[number]
        if kind == "load":
            stored = [value for name, value in own if name == operation[1]]
            yield values, buffers, (stored or [values[operation[1]]])[-1]
        elif kind in ("store", "unlock"):
            name, value = operation[1:] if kind == "store" else (lock_name(operation), False)
            if number in self.buffered:
                yield values, put(buffers, number, own + ((name, value),)), None
            else:
                yield values | {name: value}, buffers, None
        elif kind == "barrier":
            for buffer in buffers:
                values = values | dict(buffer)
            yield values, ((),) * len(buffers), None
        elif own:
            return  # all others are locked instructions, or calls of the system, and wait for the buffer
        elif kind == "lock":
            name = lock_name(operation)
            if not values.get(name, False):
                yield values | {name: True}, buffers, None
        elif kind == "await":
            if operation[1](values):
                yield values, buffers, None
        elif kind == "change" and isinstance(operation[1], tuple):
            old = tuple(values[name] for name in operation[1])
            yield values | dict(zip(operation[1], operation[2](old))), buffers, old
        elif kind == "change":
            old = values[operation[1]]
            yield values | {operation[1]: operation[2](old)}, buffers, old
        elif kind == "sleep":
            if not operation[1](values):
                yield values, buffers, False
            elif self.may_sleep(buffers):
                yield values | {"sleepers": values["sleepers"] + (number,)}, buffers, True
        elif kind == "asleep":
            sleepers = values["sleepers"]
            if number not in sleepers or self.naps:
                yield values | {"sleepers": tuple(each for each in sleepers if each != number)}, buffers, None
        elif kind == "wake":
            for sleeper in values["sleepers"] or (None,):
                rest = tuple(each for each in values["sleepers"] if each != sleeper)
                yield values | {"sleepers": rest}, buffers, None


def lock_name(operation):
    return operation[1] if len(operation) > 1 else "lock"


def put(items, number, item):
    return items[:number] + (item,) + items[number + 1 :]


def explore(world, check):
    """All that can happen. `check` is called at each end, with memory and results. Answers how many states there are."""
    count = len(world.threads)
    todo, seen = [(frozenset(world.memory.items()), ((),) * count, ((0,),) * count)], set()
    while todo:
        state = todo.pop()
        if state in seen:
            continue
        seen.add(state)
        memory, buffers, pasts = state
        values = dict(memory)
        operations = [thread.next(past) for thread, past in zip(world.threads, pasts)]
        before = len(todo)
        for number, (buffer, operation) in enumerate(zip(buffers, operations)):
            if buffer:  # the oldest store comes out
                name, value = buffer[0]
                todo.append((frozenset((values | {name: value}).items()), put(buffers, number, buffer[1:]), pasts))
            if operation[0] == "on":
                todo.append((memory, buffers, put(pasts, number, (operation[1],))))
                continue
            for new, buffers_then, read in world.steps(values, buffers, number, operation):
                todo.append((frozenset(new.items()), buffers_then, put(pasts, number, pasts[number] + (read,))))
        if len(todo) == before:
            if any(operation[0] != "end" for operation in operations):
                raise Lost(f"nobody goes on: {[operation[0] for operation in operations]}")
            check(values, [operation[1] for operation in operations])
    return len(seen)


def report(right, broken):
    """`right` answers how much holds, in words; each of `broken`, by name, has to be found. Answers main's status."""
    failures = 0
    try:
        print(f"✓ {right()}")
    except Lost as what:
        failures += 1
        print(f"✗ it does not hold: {what}")
    for name, attempt in broken.items():
        try:
            attempt()
            failures += 1
            print(f"✗ {name}: not found")
        except Lost as what:
            print(f"✓ {name}: found ({what})")
    print(f"{1 + len(broken) - failures} passed, {failures} failed")
    return failures != 0
