# SPDX-License-Identifier: Apache-2.0
"""What an operation costs that no clock is needed for: instructions, locked ones among them, calls of the allocator.

Callgrind runs the program of Belay's cases, linked statically, and dumps its counts after n operations and after 3 n;
the difference is that of 2 n operations. Called by scripts/check-costs.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys

SLACK_PART, SLACK_LEAST = 0.04, 2.0  # instructions: another layout of the program may move them a little
HEAP = ("malloc", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign", "mmap")
HEADER = """\
# What an operation may cost, as scripts/check-costs counts it: instructions, locked instructions among them, calls of
# the allocator. Written by scripts/check-costs --accept.
"""


def read_table(path: pathlib.Path) -> dict:
    table = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            case, instructions, locked, heap = line.split("\t")
            table[case] = (float(instructions), float(locked), float(heap))
    return table


def locked_addresses(program: pathlib.Path) -> set[str]:
    """Where locked instructions are. An exchange with memory is locked without saying so."""
    command = ["objdump", "-d", "--no-show-raw-insn", program]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)
    pattern = re.compile(r"^\s*([0-9a-f]+):\s+(?:lock |xchg\s.*\()")
    return {"0x" + match.group(1) for match in map(pattern.match, listing.stdout.splitlines()) if match}


def allocates(function: str) -> bool:
    return function.lstrip("_").removeprefix("libc_") in HEAP


def parse_dump(path: pathlib.Path, locked: set[str]) -> tuple[str, collections.Counter]:
    """One dump of callgrind's: its label, and its sums."""
    label, sums, skip, function = "", collections.Counter(), False, ""
    for line in path.read_text().splitlines():
        if line.startswith("desc: Trigger: Client Request: "):
            label = line.split(": ", 3)[3]
        elif line.startswith("fn="):
            function = line[3:]
        elif line.startswith("cfn="):
            called = line[4:]
        elif line.startswith("calls="):
            if allocates(called) and not allocates(function):  # calloc may call malloc
                sums["heap"] += int(line[6:].split()[0])
            skip = True  # the next line is the callee's cost
        elif line.startswith("0x"):
            if skip:
                skip = False
                continue
            address, _, cost = line.split()
            sums["instructions"] += int(cost)
            if address in locked:
                sums["locked"] += int(cost)
    return label, sums


def measure(program: pathlib.Path, folder: pathlib.Path, cases: list[str], n: int) -> dict:
    for old in folder.glob("costs.out*"):
        old.unlink()
    # Each thread by itself: the driver's instructions depend on the time, those of the first thread do not.
    run = subprocess.run(
        ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={folder}/costs.out", "--dump-instr=yes"]
        + ["--separate-threads=yes", "--compress-strings=no", "--compress-pos=no", program, "--costs", str(n), *cases],
        capture_output=True,
        text=True,
    )
    if run.returncode != 0:
        sys.exit(f"the program failed under callgrind:\n{run.stderr}")
    locked, dumps = locked_addresses(program), {}
    for path in folder.glob("costs.out.*-01"):
        label, sums = parse_dump(path, locked)
        if label:
            case, times, operations = label.split()
            dumps[case, times] = sums, float(operations)
    result = {}
    for case in cases:
        (once, few), (thrice, many) = dumps[case, "1"], dumps[case, "3"]
        result[case] = tuple((thrice[what] - once[what]) / (many - few) for what in ("instructions", "locked", "heap"))
    return result


def judge(case: str, now: tuple, accepted: tuple | None) -> list[str]:
    if accepted is None:
        return [f"{case} has no accepted value yet"]
    problems = []
    if now[0] > accepted[0] + max(SLACK_PART * accepted[0], SLACK_LEAST):
        more, grown = now[0] - accepted[0], 100 * (now[0] / max(accepted[0], 1) - 1)
        problems.append(f"{case} takes {more:.1f} instructions more than the {accepted[0]:.1f} accepted (+{grown:.0f} %)")
    if now[1] > accepted[1] + 0.2:
        more = now[1] - accepted[1]
        problems.append(f"{case} takes {more:.2f} locked instructions more than the {accepted[1]:.2f} accepted")
    if now[2] > accepted[2] + 0.001:
        problems.append(f"{case} calls the allocator {now[2]:.3f} times; {accepted[2]:.3f} is accepted")
    return problems


def main():
    parser = argparse.ArgumentParser(prog="scripts/check-costs")
    parser.add_argument("--program", type=pathlib.Path, required=True)
    parser.add_argument("--table", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--accept", action="store_true")
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    accepted = read_table(options.table)
    cases = options.cases or list(accepted)
    found = measure(options.program, options.folder, cases, 1280)
    problems, better = [], []
    print(f"{'per operation':<26} {'instructions':>14} {'accepted':>9} {'locked':>8} {'accepted':>9} {'heap':>6}")
    for case in cases:
        now, old = found[case], accepted.get(case)
        problem = [] if options.accept else judge(case, now, old)
        problems += problem
        if old and now[0] < old[0] - max(SLACK_PART * old[0], SLACK_LEAST):
            better.append(case)
        before = f"{old[0]:9.1f}" if old else "        –"
        before_locked = f"{old[1]:9.2f}" if old else "        –"
        mark = "✗" if problem else "✓"
        print(f"{mark} {case:<24} {now[0]:14.1f} {before} {now[1]:8.2f} {before_locked} {now[2]:6.2f}")
    if options.accept:
        table = accepted | found
        lines = [f"{case}\t{a:.1f}\t{b:.2f}\t{c:.2f}\n" for case, (a, b, c) in table.items()]
        options.table.write_text(HEADER + "".join(lines))
        print(f"Accepted, in {options.table}.")
        return
    for case in better:
        print(f"{case} takes less than what is accepted: scripts/check-costs --accept {case} keeps it so")
    for problem in problems:
        print(f"ERROR: {problem}")
    if problems:
        print("If that is the price of something that is worth it, or another compiler's doing, accept it with")
        print("    scripts/check-costs --accept [CASE…]")
        print("and say in the commit why. What the instructions are: callgrind_annotate build/bench/costs/costs.out.*")
        sys.exit(1)


if __name__ == "__main__":
    main()
