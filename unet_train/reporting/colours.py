"""One colour per class, the same in every picture: colour-blind safe while that is possible, else far apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

SAFE_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (51, 34, 136),
)
"""Told apart also by the colour-blind: the seven of Okabe and Ito, *Color universal design* (2008), without black,
and the indigo of Paul Tol's *Colour schemes* (2021), whose lightness none of them has."""

UNKNOWN_COLOUR = (128, 128, 128)
"""Where the truth is not known, in pictures of class ids."""

_TAKEN = ((0, 0, 0), UNKNOWN_COLOUR, (255, 255, 255))  # the background, the unknown, errors on the background


def class_colours(
    count: int, palette: Sequence[Sequence[int]] | None = None, *, background: bool = True
) -> np.ndarray:
    """Colours of classes; a class keeps its colour however many there are.

    Parameters
    ----------
    count : int
        Number of classes, at most 255.
    palette : sequence of `count` (red, green, blue), or None
        The data set's own colours, 0 to 255, taken as they are. None: `SAFE_COLOURS`, then colours as far as
        possible from all before them.
    background : bool
        Whether class 0 is the background: black, unless the palette gives it a colour.

    Returns
    -------
    ndarray
        `count`×3 uint8, RGB.

    Raises
    ------
    ValueError
        If the palette has not `count` colours.
    """
    if palette is not None:
        if len(palette) != count:
            raise ValueError(f"a palette of {len(palette)} colours for {count} classes")
        return np.array(palette, np.uint8).reshape(count, 3)
    own = _distinct_colours()[: count - 1 if background else count]
    return np.concatenate([np.zeros((int(background), 3), np.uint8), own])[:count]


@cache
def _distinct_colours() -> np.ndarray:
    """255×3 uint8: after `SAFE_COLOURS` always the colour farthest, in CIELAB, from those there are."""
    steps = np.linspace(0, 255, 11).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lab = _lab(grid)
    chosen = list(SAFE_COLOURS)
    distance = np.full(len(grid), np.inf)
    for colour in _lab(np.array([*_TAKEN, *chosen], np.uint8)):
        distance = np.minimum(distance, np.linalg.norm(lab - colour, axis=1))
    while len(chosen) < 255:
        farthest = int(distance.argmax())
        red, green, blue = grid[farthest].tolist()
        chosen.append((red, green, blue))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[farthest], axis=1))
    return np.array(chosen, np.uint8)


def _lab(colours: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of N×3 uint8 sRGB colours."""
    return cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
