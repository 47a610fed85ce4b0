#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goes through every interleaving of cancels at once, below which there are merged contexts.

What is looked at is the order of steps in `finish`, `push` and `detach` (Sources/BelayCore/Context/End.swift, Attach.swift) and
in LinkPushes.swift: when any of the cancels returns, all below its context has to be done. The contexts:

    top ── parent ══ merged ── child ══ deeper ── leaf        ══ is a link: what it leads to has another first parent,
    first ───────────┘    other ─────────┘                    which stands below it
    top ── sibling

The ways to break it (BROKEN) must all be found, or this proves nothing.
"""

import itertools
import sys

from interleavings import Lost, World, explore, report

CHILDREN = {"top": ("sibling", "parent"), "first": ("merged",), "merged": ("child",), "other": ("deeper",), "deeper": ("leaf",)}
LINKS = {"parent": "merged", "child": "deeper"}
ABOVE = {child: parent for parent, children in CHILDREN.items() for child in children}
ALL = sorted(set(ABOVE) | set(CHILDREN))

BROKEN = {
    "a cancel that comes second and works nothing off": {"second works off": False},
    "a cancel that does not mind the lists that others took": {"mind taken": False},
    "a cancel that does not wait for the push that came first": {"wait": False},
    "a list that is left before the links are worked off": {"leave late": False},
    "a merged context that leaves its list as soon as it is pushed to": {"merged leaves late": False},
}
RIGHT = {rule: True for change in BROKEN.values() for rule in change}


def below(top):
    """All that ends with a context."""
    found, todo = [], [top]
    while todo:
        context = todo.pop()
        found.append(context)
        todo += CHILDREN.get(context, ()) + ((LINKS[context],) if context in LINKS else ())
    return found


def cancel(context, rules):
    """The thread that cancels. Yields what it does to memory, and is sent what it reads."""

    def take(which, pusher):
        """Under its lock: takes the list of its children, marks them, and what is linked, which goes to the list of links."""
        names = ("taken " + which, "children " + which, "links", "done")

        def change(old):
            _, children, links, done = old
            link = (LINKS[which],) if which in LINKS else ()
            return pusher, (), links + link, done | set(children) | set(link)

        _, children, _, _ = yield "change", names, change
        return children, which in LINKS

    def push(top):
        """Whether there may be links to be worked off; None if another push had taken the list."""
        yield "lock", top
        pusher = yield "load", "taken " + top
        if pusher:
            yield "unlock", top
            if pusher != top and rules["wait"]:
                yield "lock", pusher
                yield "unlock", pusher
            return None
        queue, perhaps = yield from take(top, top)
        while queue:
            which, queue = queue[0], queue[1:]
            yield "lock", which
            if (yield "load", "taken " + which):
                perhaps = perhaps or rules["mind taken"]
            else:
                children, has_link = yield from take(which, top)
                queue, perhaps = queue + children, perhaps or has_link
            yield "unlock", which
        yield "unlock", top
        return perhaps

    def leave(which):
        """detach"""
        above = ABOVE.get(which)
        if above is None:
            return
        yield "lock", above
        yield "change", "children " + above, lambda children: tuple(each for each in children if each != which)
        pusher = yield "load", "taken " + above
        yield "unlock", above
        if pusher and pusher != above:
            yield "lock", pusher
            yield "unlock", pusher

    def work_off():
        """Answers which merged contexts were pushed to, and have yet to leave their lists. (In the core it is who found the
        link that sees to it, a little later.)"""
        pushed = []
        if (yield "load", "links") == () and not (yield "load", "the links"):
            return pushed
        yield "lock", "the links"
        while links := (yield "change", "links", lambda _: ()):
            for which in links:
                if (yield from push(which)) is not None:
                    pushed.append(which)
                    if not rules["merged leaves late"]:
                        yield from leave(which)
        yield "unlock", "the links"
        return pushed

    yield "change", "done", lambda done: done | {context}
    merges = yield from push(context)
    if merges is not None and not rules["leave late"]:
        yield from leave(context)
    pushed = []
    if merges or merges is None and rules["second works off"]:
        pushed = yield from work_off()
    done = yield "load", "done"
    if rules["leave late"] and merges is not None:
        yield from leave(context)
    if rules["merged leaves late"]:
        for which in pushed:
            yield from leave(which)
    yield "end", (context, [each for each in below(context) if each not in done])


def run(contexts, rules):
    memory = {"links": (), "the links": False, "done": frozenset()}
    for each in ALL:
        memory |= {each: False, "taken " + each: "", "children " + each: CHILDREN.get(each, ())}

    def check(_, results):
        for context, live in results:
            if live:
                raise Lost(f"cancels of {' and '.join(contexts)}: {live[0]} was live when {context}'s returned")

    makers = [lambda _, which=which: cancel(which, rules) for which in contexts]
    return explore(World(memory, makers, buffered=set()), check)


PAIRS = list(itertools.combinations_with_replacement(("top", "parent", "first", "merged"), 2))


def run_all(rules):
    return sum(run(contexts, rules) for contexts in PAIRS)


def main():
    return report(
        lambda: f"all below is done in all {run_all(RIGHT):,} states of {len(PAIRS)} pairs of cancels",
        {name: lambda change=change: run_all(RIGHT | change) for name, change in BROKEN.items()},
    )


if __name__ == "__main__":
    sys.exit(main())
