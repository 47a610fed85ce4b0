# SPDX-License-Identifier: Apache-2.0
"""The tables cases.tsv and goals.tsv."""

import dataclasses
import pathlib

HERE = pathlib.Path(__file__).parent
SETTINGS = ("quick", "usual", "long")


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    size: int | None
    unit: str
    once: bool
    setting: str
    text: str

    def runs_in(self, setting: str) -> bool:
        return SETTINGS.index(self.setting) <= SETTINGS.index(setting)


@dataclasses.dataclass(frozen=True)
class Goal:
    text: str
    numerator: str
    case: str
    least: float


def rows(name: str):
    for line in (HERE / name).read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


def load_cases() -> list[Case]:
    cases = []
    for name, sizes, unit, how, setting, text in rows("cases.tsv"):
        for size in sizes.split(","):
            number = None if size == "-" else int(size)
            full = name if number is None else f"{name}.{size}"
            shown = text if number is None else text.replace("{}", f"{number:,}")
            cases.append(Case(full, number, unit, how == "once", setting, shown))
    return cases


def load_goals() -> list[Goal]:
    return [Goal(text, numerator, case, float(least)) for text, numerator, case, least in rows("goals.tsv")]
