"""Scores of many runs as a picture: a row each, with every run as a point and the interval as a bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unet_train.reporting.report_plots import BLUE, ORANGE, Interval, short_name

ENDINGS = (".png", ".svg", ".pdf")


def draw_scores(
    path: Path,
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    bounds: Sequence[Interval],
    label: str,
) -> None:
    """Write the picture.

    Parameters
    ----------
    path : Path
        Ends in one of `ENDINGS`.
    names : sequence of str
        Of the rows, from top to bottom.
    values : sequence of sequences of float
        Scores of the runs of each row; their mean is marked.
    bounds : sequence of (low, high) or None
        95 % intervals.
    label : str
        Of the axis.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 1.1 + 0.36 * len(names)), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    for row, (scores, pair) in enumerate(zip(values, bounds, strict=True)):
        found = [score for score in scores if not math.isnan(score)]
        if pair is not None:
            axes.plot(pair, [row, row], color=BLUE, linewidth=2.5, alpha=0.5, solid_capstyle="butt")
        if len(found) > 1:
            axes.plot(found, [row] * len(found), "o", color=BLUE, markersize=4, alpha=0.6, mew=0)
        if found:
            axes.plot([float(np.mean(found))], [row], "D", color=ORANGE, markersize=6)
    axes.plot([], [], "D", color=ORANGE, label="mean" if any(len(v) > 1 for v in values) else "score")
    if any(len(v) > 1 for v in values):
        axes.plot([], [], "o", color=BLUE, markersize=4, label="one run")
    if any(bounds):
        axes.plot([], [], color=BLUE, linewidth=2.5, alpha=0.5, label="95 % interval")
    axes.set_yticks(range(len(names)), [short_name(name, 48) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderpad=0)
    figure.savefig(path)
