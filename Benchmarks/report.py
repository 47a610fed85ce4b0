# SPDX-License-Identifier: Apache-2.0
"""What run.py prints, and the arithmetic behind it."""

import dataclasses
import statistics

from cases import Case, Goal

OURS = "belay"
FLOORS = ("floor",)  # what the machine takes: no rivals


def quartiles(numbers: list[float]) -> tuple[float, float, float]:
    if len(numbers) < 2:
        return (numbers[0],) * 3
    low, middle, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return low, middle, high


def figure(number: float) -> str:
    """Three digits that count."""
    if number >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}" if number >= 1 or number == 0 else f"{number:.2f}"


def times(ratio: float) -> str:
    """A ratio for a table: two digits that count, for more of them do not hold on another day."""
    ratio = float(f"{ratio:.2g}")
    return (f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}") + "×"


@dataclasses.dataclass
class Result:
    case: Case
    measured: dict

    @staticmethod
    def of(case: Case, measured: dict) -> "Result":
        """Adds to what was measured the quartiles, of the numbers and of the ratios to Belay's beside them."""
        for one in measured.values():
            if one.get("samples"):
                one["quartiles"] = quartiles(one["samples"])
            if one.get("ratios"):
                one["ratio"] = quartiles(one["ratios"])
        return Result(case, measured)

    def median(self, rival: str) -> float | None:
        found = self.measured.get(rival, {}).get("quartiles")
        return found[1] if found else None

    def as_json(self) -> dict:
        return {"case": self.case.name, "what": self.case.text, "unit": self.case.unit, "rivals": self.measured}


def begin(titles: dict, missing: dict, setting: str, rounds: int, target: float):
    print(f"{rounds} rounds of {target / 1e6:.0f} ms each ({setting}), in pairs. Less is better everywhere;")
    print("in brackets the middle half of the rounds. N× is a rival's number by Belay's of the same pair.")
    for rival, title in titles.items():
        print(f"  {rival:<12} {title}")
    for rival, why in missing.items():
        print(f"  {rival:<12} {why}")


def show(result: Result):
    case = result.case
    print(f"\n{case.name}: {case.text} [{case.unit}]")
    for rival, one in result.measured.items():
        if "failed" in one:
            print(f"  {rival:<12} failed: {one['failed'][:80]}")
            continue
        low, middle, high = one["quartiles"]
        line = f"  {rival:<12} {figure(middle):>8} {'(' + figure(low) + '–' + figure(high) + ')':<17}"
        ratio = one.get("ratio")
        if ratio:
            line += f" {figure(ratio[1]) + '×':>7} {'(' + figure(ratio[0]) + '–' + figure(ratio[2]) + ')':<13}"
        elif "allocs" in one:
            line += " " * 22
        if "allocs" in one:
            line += f" {figure(one['allocs']):>6} allocs {figure(one['bytes']):>7} B"
        print(line.rstrip(), flush=True)


def is_met(goal: dict) -> bool:
    """To the two digits that the pages show: no run is exacter."""
    return float(f"{goal['ratio']:.2g}") >= goal["goal"]


def show_goals(goals: list[Goal], results: list[Result]) -> list[dict]:
    """The bill: what can be said of it from this run."""
    by_name = {result.case.name: result for result in results}
    shown = []
    for goal in goals:
        ours = by_name.get(goal.case)
        mine = ours.median(OURS) if ours else None
        if not mine:
            continue
        if ":" in goal.numerator:
            rival, name = goal.numerator.split(":")
            paired = ours.measured.get(rival, {}).get("ratio") if name == goal.case else None
            theirs = by_name[name].median(rival) if name in by_name else None
            if theirs is None:
                continue
            ratio = paired[1] if paired else theirs / mine
        else:
            ratio = float(goal.numerator) / mine
        shown.append({"what": goal.text, "of": goal.numerator, "case": goal.case, "ratio": ratio, "goal": goal.least})
    if shown:
        print(f"\n{'The bill: so many times as much as Belay':<50} {'measured':>8} {'goal':>8}  by")
        for goal in shown:
            mark = "✓" if is_met(goal) else "✗"
            by = goal["of"].split(":")[0]
            ratio, least = figure(goal["ratio"]) + "×", "≥ " + figure(goal["goal"]) + "×"
            print(f"  {mark} {goal['what']:<46} {ratio:>8} {least:>8}  {by}")
        met = sum(map(is_met, shown))
        print(f"  {met} of {len(shown)} goals met")
    return shown


def end(results: list[Result], missing: dict, load: float, processors: int):
    """Whom to believe: how many comparisons, and how far the numbers carry."""
    less, same, more, spreads = 0, 0, [], []
    for result in results:
        for rival, one in result.measured.items():
            ratio = one.get("ratio")
            if not ratio or rival in FLOORS:
                continue
            if not result.case.once:
                spreads.append((ratio[2] - ratio[0]) / ratio[1] / 2)
            if ratio[0] > 1:
                less += 1
            elif ratio[2] < 1:
                more.append(f"{result.case.name} ({rival})")
            else:
                same += 1
    if not less + same + len(more):
        print("\nNothing was compared.")
        return
    if more:
        print("\nBelay takes more in:")
        for start in range(0, len(more), 2):
            print("  " + "".join(f"{name:<48}" for name in more[start : start + 2]).rstrip())
    noise = sorted(spreads)[int(0.9 * (len(spreads) - 1))] if spreads else 0
    for rival, why in missing.items():
        print(f"\nNot compared with {rival}: {why}")
    total = less + same + len(more)
    print(f"\n{total} comparisons: Belay takes less in {less}, the same in {same}, more in {len(more)}.")
    if load > processors * 1.25:  # ours is one
        trust = 1 + max(0.5, 2 * noise)
        print(f"The machine was busy (load {load:.1f} on {processors} processors): trust no ratio below {trust:.1f}.")
    else:
        print(f"The machine was quiet (load {load:.1f} on {processors} processors): these numbers may be quoted.")
        print(f"Nine ratios in ten are good to ±{100 * noise:.0f} %.")
