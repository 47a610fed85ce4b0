# SPDX-License-Identifier: Apache-2.0
"""Measures the programs that scripts/bench has built, in turns, and reports. Called by scripts/bench."""

import argparse
import datetime
import fnmatch
import json
import os
import pathlib
import platform
import select
import subprocess
import sys

import report
from cases import Case, load_cases, load_goals

SECONDS_FOR_AN_ANSWER = 120


class Failed(Exception):
    """A program that did not answer."""


class Program:
    """A running program of the harness: see harness/bench.c for what it understands."""

    def __init__(self, path: pathlib.Path, preload: pathlib.Path | None = None):
        environment = dict(os.environ)
        if preload:
            # GLib before 2.76 has an allocator of its own on top.
            environment |= {"LD_PRELOAD": str(preload), "G_SLICE": "always-malloc"}
        self.process = subprocess.Popen(
            [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, command: str) -> dict:
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer will be the end
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS_FOR_AN_ANSWER)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.process.kill()
            said = self.process.stderr.read().strip() or f"no answer to '{command}'"
            raise Failed(said.splitlines()[-1])
        return json.loads(line)

    def end(self):
        self.process.kill()
        self.process.communicate()


class Turns:
    """What the programs of a case measured: each rival's number beside one of ours from the moment before or after."""

    def __init__(self, programs: dict):
        self.samples = {rival: [] for rival in programs}
        self.ratios = {rival: [] for rival in programs}
        self.failed = {}

    def take(self, rivals: list[str], measure):
        """One turn: all of `rivals`, or what is left of them."""
        numbers = {}
        for rival in rivals:
            if rival not in self.failed:
                try:
                    numbers[rival] = measure(rival)
                except Failed as problem:
                    self.failed[rival] = str(problem)
        for rival, number in numbers.items():
            self.samples[rival].append(number)
            if rival != report.OURS and numbers.get(report.OURS):
                self.ratios[rival].append(number / numbers[report.OURS])

    def results(self) -> dict:
        return {
            rival: {"failed": self.failed[rival]}
            if rival in self.failed
            else {"samples": samples, "ratios": self.ratios[rival]}
            for rival, samples in self.samples.items()
        }


def measure_loops(case: Case, programs: dict, rounds: int, target: int) -> dict:
    """Rounds of pairs: one of ours and one of a rival's, one of ours and one of the next; in the next round the other way
    round. The machine has slow phases, of a tenth of a second and more: so they hit both of a pair."""
    running, turns = {}, Turns(programs)
    pairs = [[report.OURS, rival] for rival in programs if rival != report.OURS]
    if not pairs or report.OURS not in programs:
        pairs = [[rival] for rival in programs]  # nobody to be compared with
    try:
        for rival, path in programs.items():
            try:
                running[rival] = Program(path)
                running[rival].ask(f"open {case.name} {target}")
            except Failed as problem:
                turns.failed[rival] = str(problem)
        for number in range(rounds):
            for pair in pairs:
                turns.take(pair[:: 1 if number % 2 == 0 else -1], lambda rival: running[rival].ask("run")["value"])
    finally:
        for program in running.values():
            program.end()
    return turns.results()


def measure_once(case: Case, programs: dict, rounds: int) -> dict:
    """A process for each measurement; all programs in turns, for these take long."""
    turns = Turns(programs)

    def measure(rival: str) -> float:
        program = Program(programs[rival])
        try:
            program.ask(f"open {case.name} 0")
            return program.ask("run")["value"]
        finally:
            program.end()

    for _ in range(rounds):
        turns.take(list(programs), measure)
    return turns.results()


def count(case: Case, path: pathlib.Path, heap: pathlib.Path) -> dict:
    """Calls of the allocator, in a run of its own."""
    program = Program(path, heap)
    try:
        program.ask(f"open {case.name} 2000000")
        return program.ask("count")
    except Failed:
        return {}
    finally:
        program.end()


def listed(path: pathlib.Path) -> set[str]:
    return set(subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout.split())


def chosen(cases: list[Case], options) -> list[Case]:
    patterns = options.only.split(",") if options.only else []
    result = []
    for case in cases:
        wanted = case.runs_in(options.setting) and not patterns
        for pattern in patterns:
            wanted |= fnmatch.fnmatch(case.name, pattern) or case.name.startswith(pattern + ".")
        if wanted and case.name.startswith(("threads.", "timer.threads.")) and (case.size or 0) > options.threads:
            wanted = False
        if wanted:
            result.append(case)
    return result


def machine() -> dict:
    model = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    return {"processor": model, "processors": os.cpu_count(), "system": f"{platform.system()} {platform.release()}"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--title", action="append", default=[], help="RIVAL=TEXT")
    parser.add_argument("--missing", action="append", default=[], help="RIVAL=TEXT")
    parser.add_argument("--only")
    parser.add_argument("--setting", choices=("quick", "usual", "long"), default="usual")
    parser.add_argument("--threads", type=int, default=16)
    return parser.parse_args()


def main():
    options = parse()
    rounds, once_rounds, target = {"quick": (5, 2, 8e6), "usual": (9, 3, 20e6), "long": (31, 7, 40e6)}[options.setting]
    titles = dict(text.split("=", 1) for text in options.title)
    missing = dict(text.split("=", 1) for text in options.missing)
    programs = {rival: options.programs / rival for rival in titles}
    known = {rival: listed(path) for rival, path in programs.items()}
    all_cases = load_cases()
    strange = {name for names in known.values() for name in names} - {case.name for case in all_cases}
    if strange:
        sys.exit("not in cases.tsv: " + ", ".join(sorted(strange)))

    report.begin(titles, missing, options.setting, rounds, target)
    results, loads = [], [os.getloadavg()[0]]
    for case in chosen(all_cases, options):
        able = {rival: path for rival, path in programs.items() if case.name in known[rival]}
        if not able:
            continue
        if case.once:
            measured = measure_once(case, able, once_rounds)
        else:
            measured = measure_loops(case, able, rounds, int(target))
            for rival, path in able.items():
                measured[rival].update(count(case, path, options.programs / "heap.so"))
        results.append(report.Result.of(case, measured))
        report.show(results[-1])
        loads.append(os.getloadavg()[0])

    goals = report.show_goals(load_goals(), results)
    options.results.write_text(
        json.dumps(
            {
                "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "machine": machine(),
                "setting": options.setting,
                "load": max(loads),
                "rivals": titles,
                "missing": missing,
                "results": [result.as_json() for result in results],
                "goals": goals,
            },
            indent=1,
        )
        + "\n"
    )
    report.end(results, missing, max(loads), os.cpu_count() or 1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
