"""The diagrams of report.html as SVG: sharp on paper, and small."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2933"
BLUE, ORANGE = "#0063a3", "#b45309"
"""Both with a contrast above 4.5 on white, told apart also by the colour-blind."""

WIDTH = 4.8
"""Inches: wider ones have letters too small for a phone."""

MOST_POINTS = 800
"""Of more points a cloud is drawn as pixels inside the SVG, which would grow by 200 bytes for each."""

Interval = tuple[float, float] | None


def scores_by_class(
    classes: Sequence[str],
    iou: Sequence[float],
    dice: Sequence[float],
    iou_intervals: Sequence[Interval],
    dice_intervals: Sequence[Interval],
) -> str:
    """IoU and Dice of every class as points with their intervals, on one axis from 0 to 1.

    Parameters
    ----------
    classes : sequence of str
        K names.
    iou, dice : sequence of float
        K scores each, NaN for a class that does not occur.
    iou_intervals, dice_intervals : sequence of (low, high) or None
        K each.

    Returns
    -------
    str
        SVG.
    """
    figure, axes = _figure(0.9 + 0.42 * len(classes))
    rows = np.arange(len(classes))
    for label, values, bounds, shift, colour, marker in (
        ("IoU", iou, iou_intervals, -0.13, BLUE, "o"),
        ("Dice", dice, dice_intervals, 0.13, ORANGE, "s"),
    ):
        axes.plot(values, rows + shift, marker, color=colour, label=label, markersize=6)
        for row, pair in zip(rows, bounds, strict=True):
            if pair is not None:
                axes.plot(pair, [row + shift] * 2, color=colour, linewidth=2, solid_capstyle="butt")
    axes.set_yticks(rows, [short_name(name) for name in classes])
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderpad=0)
    return _svg(figure)


def scores_by_image(names: Sequence[str], values: Sequence[Sequence[float]], *, label: str = "IoU") -> str:
    """The scores of single images, a row of points for each class (or measure), with the median as a line.

    Parameters
    ----------
    names : sequence of str
        Of the rows.
    values : sequence of sequences of float
        Scores in [0, 1] by row; NaN is left out.
    label : str
        What the axis says.

    Returns
    -------
    str
        SVG.
    """
    figure, axes = _figure(0.9 + 0.5 * len(names))
    spread = np.random.default_rng(0)
    for row, scores in enumerate(values):
        found = np.array([score for score in scores if not math.isnan(score)])
        heights = row + spread.uniform(-0.22, 0.22, len(found))
        many = len(found) > MOST_POINTS / max(1, len(names))
        axes.plot(found, heights, "o", color=BLUE, markersize=4, alpha=0.55, mew=0, rasterized=many)
        if found.size:
            axes.plot([np.median(found)] * 2, [row - 0.34, row + 0.34], color=ORANGE, linewidth=2.5)
    axes.plot([], [], "o", color=BLUE, markersize=4, label="one image")
    axes.plot([], [], color=ORANGE, linewidth=2.5, label="median")
    axes.set_yticks(range(len(names)), [short_name(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderpad=0)
    return _svg(figure)


def training_curves(rows: Sequence[Mapping[str, float]], monitor: str, chosen: int | None) -> str | None:
    """The curves of `training_figure` as SVG; None where there is nothing to draw."""
    figure = training_figure(rows, monitor, chosen)
    return None if figure is None else _svg(figure)


def training_figure(
    rows: Sequence[Mapping[str, float]], monitor: str, chosen: int | None, dpi: float = 100
) -> Figure | None:
    """Loss of training and validation, and the score that chooses the epoch, over the epochs.

    Parameters
    ----------
    rows : sequence of mapping
        One per epoch, as in metrics.csv: ``epoch``, ``train/loss``, ``val/loss``, ``val/<monitor>``.
    monitor : str
        Name of the score.
    chosen : int or None
        Epoch of the checkpoint, marked by a line.
    dpi : float
        Of the pixels, where it becomes some.

    Returns
    -------
    Figure or None
        None where there is nothing to draw.
    """
    losses = {name: _points(rows, name) for name in ("train/loss", "val/loss")}
    scores = {name: _points(rows, name) for name in (f"train/{monitor}", f"val/{monitor}")}
    panels = [
        (label, found)
        for label, series in (("loss", losses), (monitor, scores))
        if (found := {name: points for name, points in series.items() if len(points)})
    ]
    if not panels:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(WIDTH, 2.2 * len(panels)), dpi=dpi, layout="constrained")
    for place, (label, series) in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, place + 1)
        for name, points in series.items():
            training = name.startswith("train/")
            mark = "." if len(points) < 60 else ""
            colour, line = (ORANGE, "--") if training else (BLUE, "-")
            axes.plot(
                *points.T, line, marker=mark, color=colour, label="training" if training else "validation"
            )
        if chosen is not None:
            axes.axvline(
                chosen, color=INK, linewidth=1, linestyle=":", label=f"the checkpoint (epoch {chosen})"
            )
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, frameon=False)
        if place == len(panels) - 1:
            axes.set_xlabel("epoch")
    return figure


def _points(rows: Sequence[Mapping[str, float]], name: str) -> np.ndarray:
    """N×2 of epoch and value, where there is one."""
    found = [(row["epoch"], row[name]) for row in rows if not math.isnan(row.get(name, math.nan))]
    return np.array(found, float).reshape(-1, 2)


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def short_name(name: str, most: int = 28) -> str:
    """A name that leaves room for the diagram; a dollar sign is no formula."""
    shown = name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2 - 1) :]}"
    return shown.replace("$", r"\$")


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    written = io.StringIO()
    with rc_context({"svg.hashsalt": "unet-train"}):  # the same picture, the same bytes
        figure.savefig(written, format="svg", metadata={"Date": None}, dpi=150)
    return written.getvalue()
