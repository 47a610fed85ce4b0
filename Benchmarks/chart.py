# SPDX-License-Identifier: Apache-2.0
"""Draws results.json as an SVG: for each case in SHOWN, how many times as long (or as much) each rival takes.

    python3 Benchmarks/chart.py build/bench/results.json build/bench/chart.svg
"""

import html
import json
import math
import pathlib
import sys

from report import times

# What a reader asks first; cases that were not measured are left out.
SHOWN = (
    ("derive.cancel", "derive, close"),
    ("derive.timeout", "derive with a timeout, close"),
    ("threads.cancel.2", "derive from two threads"),
    ("ask.is_done.live", "is it done? (live)"),
    ("ask.is_done.timeout", "is it done, with a timeout"),
    ("ask.err.done", "its error (ended)"),
    ("ask.err.nested.8", "its error, 8 deep"),
    ("value.among.32", "a value 32 levels up, asked once"),
    ("value.hit.32", "the same, asked again"),
    ("listen.after_func", "register a callback, stop it"),
    ("tree.fan.100000", "100,000 children, per child"),
    ("pool.1024", "1 KiB of request data"),
    ("request", "all contexts of a request"),
    ("bytes.timeout", "bytes, with a timeout"),
    ("timer.churn.1000000", "timer add + stop, 10⁶ pending"),
    ("timer.moved.1000000", "one of 10⁶ timers moved"),
)
COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
LEFT, WIDTH, BAR, GAP = 250, 760, 12, 10
TICKS = (0.25, 1, 4, 16, 64)
TITLE = "Rival's time divided by Belay's (log scale): to the right of 1, Belay is quicker"


def main():
    data = json.loads(pathlib.Path(sys.argv[1]).read_text())
    found = {result["case"]: result for result in data["results"]}
    rows = []
    for case, label in SHOWN:
        bars = {
            rival: one["ratio"][1]
            for rival, one in found.get(case, {}).get("rivals", {}).items()
            if "ratio" in one and rival != "floor"
        }
        if bars:
            ours = found[case]["rivals"]["belay"]["quartiles"][1]
            rows.append((label, f"{ours:.3g} {found[case]['unit']}", bars))
    if not rows:
        return
    rivals = sorted({rival for _, _, bars in rows for rival in bars}, key=lambda r: (r != "go", r))
    colour = {rival: COLOURS[i % len(COLOURS)] for i, rival in enumerate(rivals)}
    values = [value for _, _, bars in rows for value in bars.values()]
    low, high = math.log10(min(TICKS[0], *values) / 1.7), math.log10(max(TICKS[-1], *values) * 1.5)

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - 20)

    out, y = [], 78
    for label, ours, bars in rows:
        middle = y + len(bars) * BAR / 2
        out.append(f'<text x="{LEFT - 12}" y="{middle}" text-anchor="end">{html.escape(label)}</text>')
        out.append(f'<text x="{LEFT - 12}" y="{middle + 13}" text-anchor="end" class="small">Belay: {ours}</text>')
        for rival in rivals:
            if rival not in bars:
                continue
            start, end = sorted((x(1), x(bars[rival])))
            size = f'width="{max(end - start, 1):.1f}" height="{BAR - 2}"'
            # Beside the bar's far end.
            place = f'x="{start - 4:.1f}" text-anchor="end"' if bars[rival] < 1 else f'x="{end + 4:.1f}"'
            out.append(
                f'<rect x="{start:.1f}" y="{y}" {size} fill="{colour[rival]}"/>'
                f'<text {place} y="{y + BAR - 3}" class="small">{times(bars[rival])}</text>'
            )
            y += BAR
        y += GAP + (BAR if len(bars) == 1 else 0)
    legend, at = [], LEFT
    for rival in rivals:
        legend.append(
            f'<rect x="{at}" y="34" width="10" height="10" fill="{colour[rival]}"/>'
            f'<text x="{at + 14}" y="43" class="small">{html.escape(rival)}</text>'
        )
        at += 24 + 7 * len(rival)
    axis = [
        f'<line x1="{x(tick):.1f}" y1="66" x2="{x(tick):.1f}" y2="{y}" stroke="currentColor" '
        f'stroke-opacity="{1 if tick == 1 else 0.2}"/>'
        f'<text x="{x(tick):.1f}" y="62" text-anchor="middle" class="small">{tick:g}×</text>'
        for tick in TICKS
    ]
    foot = html.escape(f"{data['machine']['processor']}, {data['date'][:10]}, setting “{data['setting']}”")
    pathlib.Path(sys.argv[2]).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 26}" role="img">\n'
        "<style>svg{color:#1f2937}text{font:13px system-ui,sans-serif;fill:currentColor}.small{font-size:10px}"
        "@media(prefers-color-scheme:dark){svg{color:#e5e7eb}}</style>\n"
        f"<title>{html.escape(TITLE)}</title>\n"
        f'<text x="{LEFT - 12}" y="20">{html.escape(TITLE)}</text>\n'
        + "\n".join([*legend, *axis, *out])
        + f'\n<text x="{LEFT}" y="{y + 16}" class="small">{foot}</text>\n</svg>\n'
    )


if __name__ == "__main__":
    main()
