"""The table and the chart of the measurements, made from their JSON lines alone."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.benchmark.measuring import exponent

Record = dict[str, Any]
Text = tuple[str, str, Sequence[str]]
"""Title and text of a row, and the names of its cases."""

COMPARED = ("processor", "cores", "threads", "accelerator", "precision", "clock")
"""Of a machine: figures of two that differ here do not belong into one table."""


def read(file: Path) -> list[Record]:
    """The records so far; a last line that was cut off by a kill is left out."""
    if not file.is_file():
        return []
    records = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def write(file: Path, records: Sequence[Record]) -> None:
    """Write records anew."""
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    file.write_text("".join(lines), encoding="utf-8")


def refuse_others(records: Sequence[Record], here: Mapping[str, Any], file: Path) -> None:
    """Leave, with one line, if a file holds figures of another machine."""
    for record in records:
        other = [name for name in COMPARED if record["machine"][name] != here[name]]
        if other:
            name = other[0]
            raise SystemExit(
                f"{file} was measured with another machine ({name} {record['machine'][name]}, here {here[name]}); "
                "choose another --folder, or measure all rows --again"
            )


# --- figures ------------------------------------------------------------------------------------------
def ratios(record: Record, variant: str) -> list[float]:
    """The variant's values over those of the first one, round by round."""
    base = next(iter(record["values"].values()))
    return [value / other for value, other in zip(record["values"][variant], base, strict=False)]


def figure(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def verdict(record: Record, variant: str) -> str:
    """Whether the goal of a variant is met, "" without one."""
    goal = record["goals"].get(variant)
    if goal is None:
        return ""
    return f"≥ {goal:g}: {'met' if statistics.median(ratios(record, variant)) >= goal else 'missed'}"


def growth(record: Record) -> str:
    """The powers of a case whose variants have sizes."""
    sizes = list(record["sizes"].values())
    medians = [statistics.median(record["values"][name]) for name in record["sizes"]]
    last = exponent(sizes[-2:], medians[-2:])
    return (
        f"grows with the power {exponent(sizes, medians):.2f} of it (fitted), {last:.2f} between the last two"
    )


def rows_of(record: Record) -> list[list[str]]:
    """The table's cells of a case: a row per variant."""
    found = []
    for index, (variant, values) in enumerate(record["values"].items()):
        share = ratios(record, variant)
        # The first one over itself says nothing.
        spread = f"{figure(min(share))} to {figure(max(share))}" if len(share) > 1 else "one round"
        ratio = [figure(statistics.median(share)), spread]
        cells = [record["case"] if index == 0 else "", variant]
        cells += [f"{figure(statistics.median(values))} {record['unit']}"]
        found.append(cells + (ratio if index else ["1", ""]) + [verdict(record, variant)])
    return found


def said(record: Record) -> list[str]:
    """Lines for a terminal."""
    lines = ["  " + "  ".join(filter(None, cells[1:])) for cells in rows_of(record)]
    return lines + [f"  {note}" for note in notes_of(record)]


def notes_of(record: Record) -> list[str]:
    """What a case says below its table."""
    return ([growth(record)] if record["sizes"] else []) + record["notes"]


# --- documents ----------------------------------------------------------------------------------------
INTRODUCTION = """
# Benchmarks

Written by `make bench` from [benchmarks.jsonl](benchmarks.jsonl), which holds every round with its machine, versions
and date. `make bench ARGS="--only step"` measures one row; what has been measured is not measured again (`--again`
does). Other libraries come with `pip install -e ".[bench]"`; without one its figures are left out.

What is compared takes turns in one run. A figure is the median over the rounds; a ratio is that to the first line of
its case, taken round by round: the median, and from the least to the greatest. Goals were set before measuring. On one
CPU thread the seconds are processor time.

Minutes to a quality, ours beside a loop over segmentation-models-pytorch: [results.md](results.md#camvid).
"""


def document(records: Sequence[Record], texts: Mapping[str, Text]) -> str:
    """The page: for each row its text, a table, notes, and how it was measured."""
    machines = [record["machine"] for record in records]
    alike = all(machine == machines[0] for machine in machines)
    lines = [INTRODUCTION.strip(), ""]
    lines += [machine_line(machines[0]), ""] if alike else []
    lines += ["![Ratios and growth](images/benchmarks.png)"]
    for name, (title, about, cases) in texts.items():
        mine = [record for record in records if record["row"] == name]
        if not mine:
            continue
        dates = sorted({record["date"] for record in mine})
        where = "" if alike else f" {machine_line(mine[0]['machine'])}"
        lines += ["", f"## {title}", "", about.strip(), "", f"    {mine[0]['command']}", ""]
        lines += [f"Measured on {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}.{where}", ""]
        lines += [
            "| case | | median | ratio | least to greatest | goal |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [f"| {' | '.join(cells)} |" for record in mine for cells in rows_of(record)]
        notes = [f"- {record['case']}: {note}" for record in mine for note in notes_of(record)]
        left = [case for case in cases if case not in {record["case"] for record in mine}]
        notes += [f"- Not measured yet: {', '.join(left)}."] if left else []
        lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


def machine_line(machine: Mapping[str, Any]) -> str:
    """Where, and with what."""
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    where = f"{machine['processor']}, {machine['cores']} core(s) and {machine['threads']} thread(s) used"
    if machine["accelerator"] != "cpu":
        where += f", {machine['accelerator']}"
    how = f"precision {machine['precision']}, {machine['clock']}"
    return f"{where}, {how}; Python {machine['python']}, {libraries}."


def chart(records: Sequence[Record], texts: Mapping[str, Text], path: Path) -> None:
    """Bars of the ratios of each row that has some; lines where something grows."""
    from matplotlib.figure import Figure

    barred = {name: [r for r in records if r["row"] == name and not r["sizes"]] for name in texts}
    barred = {name: mine for name, mine in barred.items() if mine}
    grown = [record for record in records if record["sizes"]]
    heights = [0.6 + 0.27 * sum(len(r["values"]) for r in mine) for mine in barred.values()]
    lined = -(-len(grown) // 3)
    picture = Figure(figsize=(11, sum(heights) + 3.0 * lined + 0.5), layout="constrained")
    parts = picture.subfigures(len(barred) + lined, 1, height_ratios=heights + [3.0] * lined, squeeze=False)[
        :, 0
    ]
    for part, (name, mine) in zip(parts, barred.items(), strict=False):
        bars(part.subplots(), mine, texts[name][0])
    for index, part in enumerate(parts[len(barred) :]):
        for axes, record in zip(
            part.subplots(1, 3), [*grown[3 * index : 3 * index + 3], None, None], strict=False
        ):
            lines(axes, record)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=110)


def bars(axes: Any, records: Sequence[Record], title: str) -> None:
    """One bar per variant: its ratio, and the spread."""
    labels, place = [], 0
    for record in records:
        for index, variant in enumerate(record["values"]):
            share = ratios(record, variant)
            middle = statistics.median(share)
            colour = "#0072b2" if index == 0 else "#999999"
            axes.barh(place, middle, color=colour, height=0.7)
            axes.plot([min(share), max(share)], [place, place], color="black", linewidth=1)
            axes.text(max(share), place, f" {figure(middle)}", va="center", fontsize=8)
            labels.append(f"{record['case']}: {variant}")
            place += 1
    axes.set_yticks(range(place), labels, fontsize=8)
    axes.invert_yaxis()
    axes.axvline(1, color="#0072b2", linewidth=0.8)
    axes.margins(x=0.08)
    axes.set_title(f"{title} (blue: what the others are divided by)", fontsize=10, loc="left")


def lines(axes: Any, record: Record | None) -> None:
    """Size against value, both logarithmic; nothing without a record."""
    if record is None:
        axes.set_axis_off()
        return
    medians = [statistics.median(record["values"][name]) for name in record["sizes"]]
    axes.loglog(list(record["sizes"].values()), medians, "o-", color="#0072b2")
    axes.set_title(record["case"], fontsize=9, loc="left")
    axes.set_xticks(
        list(record["sizes"].values()), [f"{size:,g}" for size in record["sizes"].values()], fontsize=8
    )
    axes.set_xticks([], minor=True)
    axes.set_yticks(medians, [figure(median) for median in medians])
    axes.set_yticks([], minor=True)
    axes.set_ylabel(record["unit"], fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def write_report(folder: Path, records: Sequence[Record], texts: Mapping[str, Text]) -> None:
    """Write ``benchmarks.md`` and ``images/benchmarks.png``; nothing without records."""
    if not records:
        return
    (folder / "benchmarks.md").write_text(document(records, texts), encoding="utf-8")
    chart(records, texts, folder / "images" / "benchmarks.png")
