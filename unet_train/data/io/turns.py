"""EXIF orientation: how the stored pixels have to be turned to stand as the picture is shown."""

from __future__ import annotations

import numpy as np

UPRIGHT = 1
"""The EXIF orientation that turns nothing."""

ORIENTATION_TAG = 274
"""Number of the orientation's tag in EXIF and tif."""

_FLIPS_ROWS = (3, 4, 6, 7)
_FLIPS_COLUMNS = (2, 3, 7, 8)


def valid_turn(value: object) -> int:
    """An EXIF orientation as an int; what is no orientation (0, 9, text) is upright, as viewers take it."""
    try:
        turn = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return UPRIGHT
    return turn if 1 <= turn <= 8 else UPRIGHT


def turned(array: np.ndarray, turn: int) -> np.ndarray:
    """Stored pixels as the picture is shown.

    Parameters
    ----------
    array : ndarray
        H×W or H×W×C.
    turn : int
        EXIF orientation, 1 to 8.

    Returns
    -------
    ndarray
        A view, H×W×… or W×H×….

    Raises
    ------
    ValueError
        If `turn` is no orientation.
    """
    if not 1 <= turn <= 8:
        raise ValueError(f"an EXIF orientation is 1 to 8, not {turn}")
    if turn in _FLIPS_ROWS:
        array = array[::-1]
    if turn in _FLIPS_COLUMNS:
        array = array[:, ::-1]
    return array.swapaxes(0, 1) if turn >= 5 else array


def turned_size(size: tuple[int, int], turn: int) -> tuple[int, int]:
    """Height and width after the turn."""
    return (size[1], size[0]) if turn >= 5 else size


def stored_box(box: tuple[int, int, int, int], size: tuple[int, int], turn: int) -> tuple[int, int, int, int]:
    """Where a rectangle of the shown picture lies among the stored pixels.

    Parameters
    ----------
    box : (int, int, int, int)
        Top, bottom, left, right in the shown picture; bottom and right are outside.
    size : (int, int)
        Height and width as stored.
    turn : int
        EXIF orientation, 1 to 8.

    Returns
    -------
    (int, int, int, int)
        The same of the stored pixels: ``turned`` makes the one of the other.
    """
    top, bottom, left, right = (box[2], box[3], box[0], box[1]) if turn >= 5 else box
    if turn in _FLIPS_ROWS:
        top, bottom = size[0] - bottom, size[0] - top
    if turn in _FLIPS_COLUMNS:
        left, right = size[1] - right, size[1] - left
    return top, bottom, left, right
