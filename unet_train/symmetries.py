"""The eight ways to lay a square image: their names, and how a batch is laid so and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

IDENTITY = "identity"

SYMMETRIES: dict[str, tuple[bool, int]] = {
    IDENTITY: (False, 0),
    "rotation_90": (False, 1),
    "rotation_180": (False, 2),
    "rotation_270": (False, 3),
    "horizontal_flip": (True, 0),
    "transpose": (True, 1),
    "vertical_flip": (True, 2),
    "transverse": (True, 3),
}
"""Name → whether columns are reversed first, and how many quarter turns counter-clockwise follow.

``transpose`` mirrors at the main diagonal, ``transverse`` at the other one.
"""

ALL_VIEWS = tuple(SYMMETRIES)


def lay(array: Any, view: str) -> np.ndarray:
    """A view of an H×W array.

    Parameters
    ----------
    array : array of shape H×W
    view : str
        Of `SYMMETRIES`.
    """
    flipped, turns = SYMMETRIES[view]
    array = np.asarray(array)
    return np.rot90(array[:, ::-1] if flipped else array, turns)


def group_of(views: Iterable[str]) -> tuple[str, ...]:
    """The smallest group that holds these views: whatever one of them after another gives, identity included.

    Returns
    -------
    tuple of str
        In the order of `SYMMETRIES`.
    """
    corners = np.arange(4).reshape(2, 2)
    names = {lay(corners, view).tobytes(): view for view in SYMMETRIES}
    generators = list(dict.fromkeys(views))
    found = {IDENTITY}
    new = [IDENTITY]
    while new:
        after = {names[lay(lay(corners, first), second).tobytes()] for first in new for second in generators}
        new = sorted(after - found)
        found.update(new)
    return tuple(view for view in SYMMETRIES if view in found)


TTA = (False, True, "all")
"""What ``tta`` may be: one view, those of training, all eight."""


def views_text(views: Sequence[str]) -> str:
    """Views as a person reads them."""
    return (
        "all 8 flips and quarter turns"
        if len(views) == len(SYMMETRIES)
        else ", ".join(views).replace("_", " ")
    )


def views_for(tta: bool | str, trained: tuple[str, ...]) -> tuple[str, ...]:
    """The views that a prediction averages over.

    Parameters
    ----------
    tta : bool or "all"
        Of `TTA`.
    trained : tuple of str
        The views that training showed the net.

    Raises
    ------
    ValueError
        For another `tta`.
    """
    if not isinstance(tta, bool | str) or tta not in TTA:
        raise ValueError(f"tta={tta!r}: False, True or 'all'")
    return ALL_VIEWS if tta == "all" else trained if tta else (IDENTITY,)
