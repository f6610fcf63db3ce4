"""Scores as an aligned text table, so that a person reads the result at a glance."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

ABSENT = "–"
"""Shown for a class that occurs neither in the truth nor in the prediction."""

SUMMARIES = ("mean", "mean_over")

RATES = ("precision", "recall", "specificity")
"""Scores of every class that have a table of their own under that of IoU and Dice."""


def format_table(
    scores: Mapping[str, float],
    *,
    counts: np.ndarray | None = None,
    title: str | None = None,
    background: bool = True,
    intervals: Mapping[str, tuple[float, float] | None] | None = None,
) -> str:
    """Per-class IoU and Dice with their means; precision, recall and specificity; the other scores under them.

    Parameters
    ----------
    scores : mapping of str to float
        Flat scores as `metrics.confusion.scores_from_counts` gives them; the classes are read off its
        ``iou/<class>`` keys. Other numbers (``accuracy``, ``seg``, ``det``, …) are listed below the table.
        None counts as NaN, as in a JSON file.
    counts : ndarray or None
        K×K confusion counts of the same classes; adds each class's share of the true and predicted pixels.
    title : str or None
        A line above the table.
    background : bool
        Whether the first class is the background, over which the means do not run.
    intervals : mapping of str to (low, high) or None
        95 % intervals, beside their scores; where there is none at all, there is no column.

    Returns
    -------
    str
        Lines without a line break at the end.
    """
    bounds = {key: pair for key, pair in (intervals or {}).items() if pair is not None}
    values = {key: math.nan if value is None else value for key, value in scores.items()}
    classes = [key[4:] for key in values if key.startswith("iou/") and key[4:] not in SUMMARIES]
    head = ["class", "IoU", "95 %", "Dice", "95 %"] if bounds else ["class", "IoU", "Dice"]

    def both(name: str) -> list[str]:
        keys = (f"iou/{name}", f"dice/{name}")
        return [text for key in keys for text in (number_text(values.get(key)), *_interval(bounds, key))]

    rows = [[name, *both(name)] for name in classes]
    if counts is not None:
        counts = np.asarray(counts)
        head += ["true px", "predicted px"]
        total = max(1, int(counts.sum()))
        for row, true, predicted in zip(rows, counts.sum(1), counts.sum(0), strict=True):
            row += [f"{100 * true / total:.1f} %", f"{100 * predicted / total:.1f} %"]
    if "iou/mean" in values:
        over = values.get("iou/mean_over")
        name = "mean" if over is None else _mean_name(int(over), len(classes), background)
        mean = [name, *both("mean")]
        rows.append(mean + [""] * (len(head) - len(mean)))
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = ([title] if title else []) + [_line(head, widths), rule]
    for row in rows:
        if "iou/mean" in values and row is rows[-1]:
            lines.append(rule)
        lines.append(_line(row, widths))
    if any(f"{kind}/{name}" in values for kind in RATES for name in classes):
        lines += ["", *_rates(values, bounds, classes)]
    at = [name.removeprefix("ap") for name in values if re.fullmatch(r"ap\d\d", name)]
    if at:
        lines += ["", *_at_thresholds(values, bounds, at)]
    shown = {f"{kind}/{name}" for kind in ("iou", "dice", *RATES) for name in (*classes, *SUMMARIES)}
    shown |= {f"{kind}{threshold}" for kind in ("ap", "f1_") for threshold in at}
    rest = [
        (key, value)
        for key, value in values.items()
        if key not in shown and _is_number(value) and not math.isnan(value)
    ]
    if rest:
        lines.append(rule)
        wide = max(len(key) for key, _ in rest)
        lines += [
            "  ".join([f"{key:<{wide}}", number_text(value), *_interval(bounds, key)]).rstrip()
            for key, value in rest
        ]
    return "\n".join(lines)


def _rates(
    values: Mapping[str, float], bounds: Mapping[str, tuple[float, float]], classes: Sequence[str]
) -> list[str]:
    """Lines of the table of precision, recall and specificity."""
    keys = {name: [f"{kind}/{name}" for kind in RATES] for name in classes}
    return _scores("class", RATES, keys, values, bounds)


def _at_thresholds(
    values: Mapping[str, float], bounds: Mapping[str, tuple[float, float]], at: Sequence[str]
) -> list[str]:
    """Lines of the table of objects matched at each threshold, in percent of IoU."""
    keys = {f"0.{threshold}": [f"ap{threshold}", f"f1_{threshold}"] for threshold in at}
    return _scores("objects, IoU from", ("AP", "F1"), keys, values, bounds)


def _scores(
    first: str,
    columns: Sequence[str],
    keys: Mapping[str, Sequence[str]],
    values: Mapping[str, float],
    bounds: Mapping[str, tuple[float, float]],
) -> list[str]:
    """Lines of a table of scores with their intervals: row name → the key of each column."""
    head = [first]
    for column in columns:
        head += [column, "95 %"] if bounds else [column]
    rows: list[list[object]] = []
    for name, of_row in keys.items():
        cells = [(number_text(values.get(key)), *_interval(bounds, key)) for key in of_row]
        rows.append([name, *(text for cell in cells for text in cell)])
    return format_rows(head, rows).splitlines()


def format_rows(head: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> str:
    """Any small table (patients, images, models), first column left, the others right aligned.

    Parameters
    ----------
    head : sequence of str
        Column names.
    rows : sequence of sequences
        Floats are shown with four digits, NaN and None as "–", anything else by `str`.
    title : str or None
        A line above the table.

    Returns
    -------
    str
        Lines without a line break at the end.
    """
    cells = [
        [number_text(cell) if cell is None or _is_number(cell) else str(cell) for cell in row] for row in rows
    ]
    widths = [max(len(row[i]) for row in [list(head), *cells]) for i in range(len(head))]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join(
        ([title] if title else []) + [_line(head, widths), rule] + [_line(row, widths) for row in cells]
    )


def interval_text(interval: tuple[float, float] | None) -> str:
    """An interval as a reader takes it in, ``0.913–0.947``; empty for None."""
    return "" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}"


def _interval(bounds: Mapping[str, tuple[float, float]], key: str) -> list[str]:
    """The cell with a score's interval, in a table that has such cells."""
    return [interval_text(bounds.get(key))] if bounds else []


def _mean_name(over: int, classes: int, background: bool) -> str:
    counted, kind = (classes - 1, "foreground class") if background else (classes, "class")
    if over == counted:
        return f"mean over {over} {kind}" + ("" if over == 1 else "es")
    return f"mean over {over} of {counted} {kind}es"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def number_text(value: object) -> str:
    """A score with four digits, a count as it is, NaN and None as `ABSENT`."""
    if value is None or (isinstance(value, (float, np.floating)) and math.isnan(value)):
        return ABSENT
    return str(int(value)) if isinstance(value, (int, np.integer)) else f"{float(value):.4f}"  # type: ignore[arg-type]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = f"{cells[0]:<{widths[0]}}"
    others = [f"{cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "  ".join([first, *others]).rstrip()
