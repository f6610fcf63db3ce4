"""Outlines of objects along the edges of their pixels, so that filling them gives the same pixels back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Right, down, left, up, as (row, column); each is a quarter turn to the right of the one before."""


def outlines(objects: np.ndarray) -> Iterator[tuple[int, list[np.ndarray]]]:
    """The rings around every object.

    Parameters
    ----------
    objects : ndarray
        H×W ids, 0 for none.

    Yields
    ------
    label : int
    rings : list of ndarray
        N×2 corners (x, y) of each ring, closed without repeating the first: integers, pixel (row, column) reaching from
        (column, row) to (column + 1, row + 1). Outer rings run clockwise as seen in the picture, those around holes
        counter-clockwise. Pixels that touch at a corner alone are in rings of their own.
    """
    for label, box in enumerate(ndimage.find_objects(objects), start=1):
        if box is not None:
            offset = np.array([box[1].start, box[0].start])
            yield label, [ring + offset for ring in _rings(objects[box] == label)]


def is_hole(ring: np.ndarray) -> bool:
    """Whether a ring runs counter-clockwise, around a hole."""
    x, y = ring.astype(float).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) < 0


def _rings(mask: np.ndarray) -> list[np.ndarray]:
    """Follow the edges with the object on their right until each ring closes."""
    framed = np.pad(mask, 1)
    inside, above = framed[1:-1, 1:-1], framed[:-2, 1:-1]
    # Edge heading right along the top of a pixel, and so on round it: those that have no pixel on their left.
    edges: set[tuple[int, int, int]] = set()
    edges.update((int(r), int(c), 0) for r, c in np.argwhere(inside & ~above))
    edges.update((int(r), int(c) + 1, 1) for r, c in np.argwhere(inside & ~framed[1:-1, 2:]))
    edges.update((int(r) + 1, int(c) + 1, 2) for r, c in np.argwhere(inside & ~framed[2:, 1:-1]))
    edges.update((int(r) + 1, int(c), 3) for r, c in np.argwhere(inside & ~framed[1:-1, :-2]))
    rings = []
    for start in sorted(edges):
        if start not in edges:
            continue
        corners, edge = [], start
        while True:
            edges.discard(edge)
            row, column, heading = edge
            end = (row + _STEPS[heading][0], column + _STEPS[heading][1])
            corners.append(end)
            # Right first: where two pixels touch at a corner the ring stays with its own.
            ways = [(*end, (heading + turn) % 4) for turn in (1, 0, 3)]
            edge = next(way for way in ways if way in edges or way == start)
            if edge == start:
                break
        rings.append(_without_straight(np.array(corners)[:, ::-1]))
    return rings


def _without_straight(ring: np.ndarray) -> np.ndarray:
    """The corners at which a ring turns."""
    into, out = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    return ring[(into != out).any(1)]
