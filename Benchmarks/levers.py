# SPDX-License-Identifier: Apache-2.0
"""The pairs of the guide in docs/, before and after, in turns; called by scripts/bench --levers."""

import argparse
import datetime
import json
import pathlib
import re
import statistics
import subprocess
import sys

import costs
from run import Failed, Program, listed, machine

SETTINGS = {"quick": (5, 20_000_000), "usual": (15, 60_000_000), "long": (41, 200_000_000)}
SIDES = ("before", "after")
OTHER_THREADS = {"signals", "callbacks-not-threads"}  # have a part in the work, and are not in all counts


def time_in_turns(path: pathlib.Path, rounds: int, target: int) -> dict:
    """A process for each side; one round of each, then the next."""
    running, samples = {}, {side: [] for side in SIDES}
    try:
        for side in SIDES:
            running[side] = Program(path)
            running[side].ask(f"open {side} {target}")
        for _ in range(rounds):
            for side in SIDES:
                samples[side].append(running[side].ask("run")["value"])
    finally:
        for program in running.values():
            program.end()
    ratios = sorted(before / after for before, after in zip(samples["before"], samples["after"]))
    quarter = len(ratios) // 4
    return {
        "before": statistics.median(samples["before"]),
        "after": statistics.median(samples["after"]),
        "ratio": statistics.median(ratios),
        "half": [ratios[quarter], ratios[-1 - quarter]],
    }


def ask_once(path: pathlib.Path, case: str) -> float:
    program = Program(path)
    try:
        program.ask(f"open {case} 0")
        return program.ask("run")["value"]
    finally:
        program.end()


def heap_of(path: pathlib.Path, side: str, heap: pathlib.Path) -> dict:
    program = Program(path, heap)
    try:
        program.ask(f"open {side} 2000000")
        return program.ask("count")
    finally:
        program.end()


def counts_of(path: pathlib.Path, options) -> dict:
    """What needs no clock: name → (before, after)."""
    found, cases = {}, listed(path)
    for case in sorted(cases):
        side, _, name = case.partition(".")
        if side == "before" and name:
            found[name.replace("-", " ")] = [ask_once(path, f"{one}.{name}") for one in SIDES]
    calls = [heap_of(path, side, options.programs / "heap.so") for side in SIDES]
    found["heap allocations"] = [call["allocs"] for call in calls]
    found["heap bytes"] = [call["bytes"] for call in calls]
    fixed = path.with_name(path.name + "-static")
    if fixed.exists() and path.name not in OTHER_THREADS:
        options.folder.mkdir(parents=True, exist_ok=True)
        measured = costs.measure(fixed, options.folder, list(SIDES), 640)
        found["instructions"] = [measured[side][0] for side in SIDES]
        found["locked instructions"] = [measured[side][1] for side in SIDES]
    if path.name in OTHER_THREADS:
        found.pop("listeners")
    # What neither side has is not worth a line.
    return {name: pair for name, pair in found.items() if max(pair) > 0}


def saving(before: float, after: float) -> str:
    if before == after:
        return "none"
    if after > before:
        return f"{after / before:.1f}× as much" if before > 0.05 else f"{after - before:.3g} more"
    if after <= before / 1000:
        return "all"
    return f"{100 * (1 - after / before):.0f} %"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def line(lever: str, what: str, before: float, after: float, note: str) -> str:
    return f"{lever:<30} {what:<22} {number(before):>11} {number(after):>11}   {note}"


def report(results: dict):
    print(f"\n{'lever':<30} {'for each request':<22} {'before':>11} {'after':>11}   saving")
    for lever, result in results.items():
        if "failed" in result:
            print(f"{lever:<30} failed: {result['failed']}")
            continue
        time = result["time"]
        low, high = time["half"]
        note = f"{saving(time['before'], time['after'])}; {time['ratio']:.2f}× ({low:.2f}–{high:.2f})"
        print(line(lever, "time [ns]", time["before"], time["after"], note))
        for name, (before, after) in result["counts"].items():
            print(line("", name, before, after, saving(before, after)))


def table(result: dict) -> str:
    """What a page says was measured. Times are ratios there: they hold on other machines too."""
    time = result["time"]
    low, high = time["half"]
    rows = ["| for a request | before | after | saving |", "|---|---:|---:|---|"]
    for name, (before, after) in result["counts"].items():
        if name.startswith("ns "):
            rows.append(f"| time {name[3:]}, as a ratio | {before / after:.2f} | 1 | medians |")
            continue
        rows.append(f"| {name} | {number(before)} | {number(after)} | {saving(before, after)} |")
    rows.append(f"| time, as a ratio | {time['ratio']:.2f} | 1 | half of the rounds: {low:.2f} to {high:.2f} |")
    return "\n".join(rows)


def write_pages(results: dict, note: str):
    """Puts the tables into docs/, between <!-- measured NAME --> and <!-- end -->, with where they are from."""
    for page in sorted(pathlib.Path("docs").glob("*.md")):
        text = page.read_text()
        for lever, result in results.items():
            if "failed" not in result:
                block = f"<!-- measured {lever} -->\n\n{table(result)}\n\n{note}\n\n<!-- end -->"
                text = re.sub(rf"<!-- measured {lever} -->.*?<!-- end -->", lambda _: block, text, flags=re.S)
        page.write_text(text)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench --levers")
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--setting", choices=SETTINGS, default="usual")
    parser.add_argument("--pages", help="a remark on the machine, for the pages of docs/, which get the tables")
    parser.add_argument("levers", nargs="+")
    options = parser.parse_args()
    rounds, target = SETTINGS[options.setting]
    results = {}
    for lever in options.levers:
        print(f"Measuring {lever}", file=sys.stderr)
        path = options.programs / lever
        try:
            results[lever] = {"time": time_in_turns(path, rounds, target), "counts": counts_of(path, options)}
        except (Failed, subprocess.CalledProcessError) as problem:
            results[lever] = {"failed": str(problem)}
    report(results)
    options.results.write_text(json.dumps({"machine": machine(), "levers": results}, indent=1) + "\n")
    if options.pages is not None:
        command = "scripts/bench --levers" + ("" if options.setting == "usual" else f" --{options.setting}")
        remark = f"; {options.pages}" if options.pages else ""
        write_pages(results, f"`{command}`, {datetime.date.today().isoformat()}{remark}.")
    print("\nTime: the median of the rounds; in turns, before and after, and how many times as much before takes as after")
    print("in the same round, with the middle half of that. All else is counted. The pages about them are docs/LEVER.md.")
    sys.exit(any("failed" in result for result in results.values()))


if __name__ == "__main__":
    main()
