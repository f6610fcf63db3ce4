"""What unet-runs says: the table of all runs, the comparison of their settings, the best one."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unet_train.atomic import replacing
from unet_train.config.checks import expand
from unet_train.config.schema import RunsConfig
from unet_train.errors import UserError
from unet_train.metrics.intervals import basis
from unet_train.reporting.tables import ABSENT, format_rows, interval_text
from unet_train.runs.comparison import Basis, Compared, compare_settings, refuse_other_classes, scores_of
from unet_train.runs.run_records import RunRecord, differing, find_runs, labels, value_text

HELD_OUT = ("test", "all")
"""Evaluations that are listed without being asked for."""

Cell = object
"""Of a table: a text, a number or None."""


def list_runs(folders: Sequence[Path], config: RunsConfig) -> str:
    """A line per run: what sets it apart, how far it is, its scores."""
    runs = find_runs(folders)
    score = config.score or _monitor(runs)
    shown = [part for part in HELD_OUT if any(run.evaluation(part) for run in runs)]
    parts = [config.part] if config.part else shown
    names = differing(runs)
    head = ["run", *labels(names).values(), "epochs", f"val {score}"]
    for part in parts:
        head += [f"{part} {score}" if part in HELD_OUT else f"{part} {score} (unet-eval)", "95 %"]
    rows: list[list[Cell]] = []
    points, bounds = [], []
    for run in runs:
        epochs = int(run.history[-1]["epoch"]) if run.history else 0
        row: list[Cell] = [
            str(run.folder),
            *(value_text(run, name) for name in names),
            epochs,
            run.validation(score),
        ]
        point, interval = run.validation(score), None
        for part in reversed(parts):
            evaluation = run.evaluation(part)
            point = evaluation.score(score) if evaluation else math.nan
            interval = evaluation.interval(score) if evaluation else None
            row[len(names) + 3 : len(names) + 3] = [point, interval]
        rows.append(row)
        points.append([point])
        bounds.append(interval)
    if all(math.isnan(cell) for row in rows for cell in row if isinstance(cell, float)):
        raise UserError(
            f"score={score}: none of the {len(runs)} runs has such a score; --help says how it is named"
        )
    lines = [_table(head, rows, f"{len(runs)} run{'' if len(runs) == 1 else 's'}")]
    lines.append(f"val {score}: validation of the training in its best epoch, which it chose")
    lines += _stale(runs, parts)
    _write(config, head, rows)
    _draw(
        config, [str(run.folder) for run in runs], points, bounds, f"{parts[0] if parts else 'val'} {score}"
    )
    return "\n".join(lines)


def compare(folders: Sequence[Path], config: RunsConfig) -> str:
    """A line per setting: mean and deviation over seeds and folds, intervals over groups, difference to the first."""
    runs = find_runs(folders)
    score = config.score or _monitor(runs)
    part = config.part or ("test" if all(run.evaluation("test") for run in runs) else None)
    compared, rests_on = compare_settings(runs, score, part)
    names = list(compared[0].keys)
    head = [*(labels(names).values() if names else ["setting"]), "runs", "mean", "± sd"]
    with_counts = any(not math.isnan(setting.pooled) for setting in compared)
    head += ["pooled", "95 %"] if with_counts else []
    head += ["difference", "95 %"] if len(compared) > 1 else []
    rows: list[list[Cell]] = []
    for setting in compared:
        row: list[Cell] = [
            *(setting.keys.values() or ["all alike"]),
            len(setting.runs),
            setting.mean,
            setting.std,
        ]
        row += [setting.pooled, setting.interval] if with_counts else []
        row += [_signed(setting.difference), setting.difference_interval] if len(compared) > 1 else []
        rows.append(row)
    where = f"{part} part" if part else "validation of the training, in the best epoch, which it chose"
    lines = [
        _table(head, rows, f"{score}, {where}: {len(runs)} run{'s' if len(runs) != 1 else ''}"),
        *_notes(compared, rests_on, with_counts),
    ]
    lines += _stale(runs, [part] if part else [])
    _write(config, head, rows)
    shown = [
        ", ".join(f"{labels(names)[n]}={v}" for n, v in setting.keys.items()) or "all alike"
        for setting in compared
    ]
    _draw(
        config,
        shown,
        [s.values for s in compared],
        [s.interval for s in compared],
        f"{part or 'val'} {score}",
    )
    return "\n".join(lines)


def best(folders: Sequence[Path], config: RunsConfig) -> str:
    """The folder of the run with the highest score, alone on its line: for scripts."""
    for name in ("csv", "plot"):
        if getattr(config, name):
            raise UserError(f"{name}: best says one folder alone; say unet-runs list or compare")
    runs = find_runs(folders)
    score = config.score or _monitor(runs)
    refuse_other_classes(runs, config.part)
    values = scores_of(runs, score, config.part)
    return str(runs[int(np.argmax(values))].folder)


# --- words -------------------------------------------------------------------------------------------------
def _monitor(runs: Sequence[RunRecord]) -> str:
    """The score that chose the epochs.

    Raises
    ------
    UserError
        If the runs differ in it.
    """
    monitors = Counter(run.monitor for run in runs)
    if len(monitors) > 1:
        raise UserError(
            f"score is missing: the runs chose their epochs by {', '.join(monitors)}; say score=…"
        )
    return next(iter(monitors))


def _notes(compared: Sequence[Compared], rests_on: Basis, with_counts: bool) -> list[str]:
    """What the numbers rest on."""
    notes = []
    if rests_on.folds:
        notes.append(
            f"folds {', '.join(map(str, rests_on.folds))}; pooled: their images together, averaged over seeds"
        )
    elif with_counts and any(len(setting.runs) > 1 for setting in compared):
        notes.append("pooled: averaged over seeds")
    if len(compared) > 1:
        first = " ".join(f"{name}={value}" for name, value in compared[0].keys.items())
        paired = ", on the same draws" if with_counts else ""
        notes.append(f"difference: to the first, {first}{paired}")
    if with_counts:
        notes.append(basis(rests_on.groups, rests_on.unit))
    else:
        notes.append("no intervals: they need unet-eval's counts.csv of the same part for every run")
    return notes


def _stale(runs: Sequence[RunRecord], parts: Sequence[str]) -> list[str]:
    """A warning for evaluations of another epoch than the run's best."""
    old = []
    for run in runs:
        for part in parts:
            evaluation, row = run.evaluation(part), run.best_row
            if evaluation and row and evaluation.metrics.get("epoch") not in (None, int(row["epoch"])):
                old.append(str(run.folder))
                break
    if not old:
        return []
    return [
        f"warning: {len(old)} evaluated at another epoch than the best, for example {old[0]}; evaluate again"
    ]


def _signed(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{value:+.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Cell]], title: str) -> str:
    of_difference = [False, *(name == "difference" for name in head[:-1])]
    shown = [[_shown(cell, sign) for cell, sign in zip(row, of_difference, strict=True)] for row in rows]
    return format_rows(head, shown, title=title)


def _shown(cell: Cell, signed: bool) -> Cell:
    if isinstance(cell, tuple):
        return f"{cell[0]:+.3f} … {cell[1]:+.3f}" if signed else interval_text(cell)
    return "" if cell is None else cell


def _write(config: RunsConfig, head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """The table as CSV, an interval as two columns."""
    if not config.csv:
        return
    pairs = [place for place, name in enumerate(head) if name == "95 %"]
    names: list[str] = []
    for place, name in enumerate(head):
        names += [f"{head[place - 1]} low", f"{head[place - 1]} high"] if place in pairs else [name]
    path = expand(config.csv)
    try:
        with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for row in rows:
                cells: list[Cell] = []
                for place, cell in enumerate(row):
                    given = cell if isinstance(cell, tuple) else (None, None) if place in pairs else (cell,)
                    cells += ["" if c is None else _plain(c) for c in given]
                writer.writerow(cells)
    except OSError as error:
        raise UserError(f"csv={path}: cannot be written ({error.strerror})") from error


def _plain(cell: Cell) -> Cell:
    if isinstance(cell, float):
        return "" if math.isnan(cell) else f"{cell:.6g}"
    return "" if cell == ABSENT else cell


def _draw(
    config: RunsConfig,
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    bounds: Sequence[tuple[float, float] | None],
    label: str,
) -> None:
    """The picture of a table."""
    if not config.plot:
        return
    from unet_train.reporting.run_plots import ENDINGS, draw_scores

    path = expand(config.plot)
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"plot={path}: name a file that ends in {', '.join(ENDINGS)}")
    try:
        draw_scores(path, names, values, bounds, label)
    except OSError as error:
        raise UserError(f"plot={path}: cannot be written ({error.strerror})") from error
