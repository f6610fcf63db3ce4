"""Diagrams as pictures: the confusion matrix, and whatever else matplotlib has drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 2600
"""Pixels of the longer side of a picture of many classes."""

MOST_NUMBERS = 40
"""Of more classes the confusion matrix shows colours alone."""


def confusion_matrix_picture(
    counts: np.ndarray, class_names: Sequence[str], *, title: str = ""
) -> np.ndarray:
    """Draw confusion counts, each row (true class) as shares of that class.

    Up to twelve classes the cells hold share and pixel count, up to `MOST_NUMBERS` whole percents, beyond
    that colours alone.

    Parameters
    ----------
    counts : ndarray
        K×K whole numbers, ``[true, predicted]``.
    class_names : sequence of str
        The K names.
    title : str
        Shown above; number of images and part, for instance.

    Returns
    -------
    ndarray
        H×W×3 uint8, at most `LARGEST` pixels high and wide beyond twelve classes.

    Raises
    ------
    ValueError
        If names and counts do not fit.
    """
    from matplotlib.figure import Figure

    counts = np.asarray(counts)
    k = len(class_names)
    if counts.shape != (k, k):
        raise ValueError(f"counts of shape {counts.shape} do not fit {k} class names")
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    if k > 12:
        return _many_classes(shares, class_names, title)
    side = max(4.0, 1.5 + 1.1 * k)
    figure = Figure(figsize=(side + 1.2, side), dpi=110, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # type: ignore[union-attr,call-arg]
    axes = figure.add_subplot()
    axes.set_facecolor("0.85")  # a class that never occurs has a grey row
    drawn = axes.imshow(np.ma.masked_invalid(shares), vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(k), class_names, rotation=30 if k > 3 else 0, ha="right" if k > 3 else "center")
    axes.set_yticks(range(k), class_names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if title:
        axes.set_title(title, fontsize=10)
    for i in range(k):
        for j in range(k):
            share = shares[i, j]
            text = "–" if np.isnan(share) else f"{100 * share:.1f} %\n{counts[i, j]:,}"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color="w" if share > 0.6 else "k")
    figure.colorbar(drawn, ax=axes, label="share of the true class", shrink=0.8)
    return rendered(figure)


def _many_classes(shares: np.ndarray, class_names: Sequence[str], title: str) -> np.ndarray:
    """The matrix of more classes than cells with two numbers have room for: names upright, small cells.

    Parameters
    ----------
    shares : ndarray
        K×K in [0, 1], ``[true, predicted]``; NaN in the row of a class that never occurs.
    """
    from matplotlib.figure import Figure

    k = len(class_names)
    names = [name if len(name) <= 24 else f"{name[:12]}…{name[-11:]}" for name in class_names]
    dpi = 110
    room = 0.2 + 0.085 * max(map(len, names))  # inches for the longest name
    cell = min(0.32, (LARGEST / dpi - room - 2.2) / k)
    side = cell * k
    width, height = room + 0.3 + side + 1.8, 0.3 + side + room + 0.6
    figure = Figure(figsize=(width, height), dpi=dpi)
    axes = figure.add_axes(((room + 0.3) / width, 0.3 / height, side / width, side / height))
    axes.set_facecolor("0.85")  # a class that never occurs has a grey row
    drawn = axes.imshow(np.ma.masked_invalid(shares), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    step = max(1, math.ceil(0.1 / cell))  # names need a tenth of an inch each: of very many every second
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(0, k, step), names[::step], rotation=90, fontsize=min(8, 60 * cell * step))
    axes.set_yticks(range(0, k, step), names[::step], fontsize=min(8, 60 * cell * step))
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if k <= MOST_NUMBERS:
        axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
        axes.tick_params(which="minor", length=0)
        axes.grid(which="minor", color="0.9", linewidth=0.5)
        for i, j in zip(*np.nonzero(np.nan_to_num(shares) >= 0.005), strict=True):
            colour = "w" if shares[i, j] > 0.6 else "k"
            axes.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", fontsize=7, color=colour)
    beside = figure.add_axes((1 - 1.4 / width, 0.3 / height, 0.25 / width, min(4.0, side) / height))
    numbers = " (numbers: %)" if k <= MOST_NUMBERS else ""
    figure.colorbar(drawn, cax=beside, label=f"share of the true class{numbers}")
    if title:
        figure.text(0.5, 1 - 0.2 / height, title, ha="center", va="center", fontsize=10)
    return rendered(figure)


def rendered(figure: Figure) -> np.ndarray:
    """A figure as H×W×3 uint8."""
    # Without pyplot: no display is asked for, and no figure outlives its picture.
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
