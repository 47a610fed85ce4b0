# SPDX-License-Identifier: Apache-2.0
"""Puts the numbers of results.json into README.md and docs/the-bill.md, between <!-- measured NAME --> and <!-- end -->.

    python3 Benchmarks/pages.py build/bench/results.json "a remark on the machine"
"""

import json
import pathlib
import re
import sys
import textwrap

from chart import SHOWN
from report import FLOORS, OURS, figure, is_met, times

# The rival that the README's table is about, and the cases that say least to somebody who is new.
GO = "go"
NOT_IN_README = ("threads.cancel.2", "timer.moved.1000000")
# Where something is made: what it takes of the allocator.
MAKING = ("derive.cancel", "derive.timeout", "derive.value", "derive.merge", "listen.after_func", "group.1000")
MAKING += ("timer.churn.1000000", "request")


def with_unit(one: dict, unit: str) -> str:
    return f"{figure(one['quartiles'][1])} {unit}"


def in_brief(results: dict) -> list[str]:
    """What the work takes in Go and in Belay."""
    rows = ["| | Go | Belay | Go takes |", "|---|---:|---:|---:|"]
    for case, label in SHOWN:
        rivals = results.get(case, {}).get("rivals", {})
        if case in NOT_IN_README or "ratio" not in rivals.get(GO, {}):
            continue
        unit = results[case]["unit"]
        go, ours = rivals[GO], rivals[OURS]
        rows.append(f"| {label} | {with_unit(go, unit)} | {with_unit(ours, unit)} | {times(go['ratio'][1])} |")
    return rows


def beside(goal: dict, units: dict) -> str:
    """What Belay's number stands beside: a rival, Belay itself, the machine, or a number."""
    rival, _, _ = goal["of"].partition(":")
    if rival in FLOORS:
        return "the machine"
    return f"{rival} {units[goal['case']]}" if rival[0].isdigit() else rival.capitalize()


def goals(data: dict, results: dict) -> list[str]:
    units = {case: result["unit"] for case, result in results.items()}
    rows = ["| | beside | measured | goal | |", "|---|---|---:|---:|---|"]
    for goal in data["goals"]:
        mark = "✓" if is_met(goal) else "not met"
        rows.append(
            f"| {goal['what']} | {beside(goal, units)} | {times(goal['ratio'])} | ≥ {goal['goal']:g}× | {mark} |"
        )
    return rows


def allocations(results: dict) -> list[str]:
    rows = ["| | Go: calls | bytes | Belay: calls | bytes |", "|---|---:|---:|---:|---:|"]
    for case in MAKING:
        rivals = results.get(case, {}).get("rivals", {})
        if "allocs" not in rivals.get(GO, {}) or "allocs" not in rivals.get(OURS, {}):
            continue
        cells = [f"{rivals[one][what]:,.0f}" for one in (GO, OURS) for what in ("allocs", "bytes")]
        rows.append(f"| {results[case]['what']} | " + " | ".join(cells) + " |")
    return rows


def everything(data: dict) -> list[str]:
    rivals = [rival for rival in data["rivals"] if rival != OURS]
    rows = ["| case | Belay | " + " | ".join(rivals) + " |", "|---|---:|" + "---:|" * len(rivals)]
    for result in data["results"]:
        measured = result["rivals"]
        if "quartiles" not in measured.get(OURS, {}):
            continue
        cells = [times(measured[rival]["ratio"][1]) if "ratio" in measured.get(rival, {}) else "" for rival in rivals]
        rows.append(f"| `{result['case']}` | {with_unit(measured[OURS], result['unit'])} | " + " | ".join(cells) + " |")
    return rows


def fill(page: str, name: str, rows: list[str], note: str):
    path = pathlib.Path(page)
    block = f"<!-- measured {name} -->\n\n" + "\n".join(rows) + f"\n\n{note}\n\n<!-- end -->"
    text, found = re.subn(rf"<!-- measured {name} -->.*?<!-- end -->", lambda _: block, path.read_text(), flags=re.S)
    if not found:
        sys.exit(f"{page} has no place for {name}: it wants the lines <!-- measured {name} --> and <!-- end -->")
    path.write_text(text)


def main():
    data = json.loads(pathlib.Path(sys.argv[1]).read_text())
    remark = f"; {sys.argv[2]}" if sys.argv[2] else ""
    setting = "" if data["setting"] == "usual" else f" --{data['setting']}"
    results = {result["case"]: result for result in data["results"]}
    note = f"`scripts/bench{setting}`, {data['date'][:10]}, {data['machine']['processor']}, "
    note += f"{data['machine']['processors']} processors{remark}."
    note = textwrap.fill(note, 120, break_long_words=False, break_on_hyphens=False)
    fill("README.md", "in brief", in_brief(results), note)
    fill("docs/the-bill.md", "goals", goals(data, results), note)
    fill("docs/the-bill.md", "allocations", allocations(results), note)
    fill("docs/the-bill.md", "everything", everything(data), note)


if __name__ == "__main__":
    main()
