"""Which target parts objects, and at which resolution: one rule, for trainings (``auto``) and for plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unet_train.data.records import Record, Source

MANY_CONTACTS = 0.02
"""Share of objects that touch another, above which they are parted by the target."""

CONTACT_IMAGES = 20
"""Labelled images in which contacts of objects are counted."""

RIM_SHARE = 1 / 14
NARROWEST_RIM, WIDEST_RIM = 2, 8
"""Width of the rim over the objects' diameter, and its bounds in pixels."""

LARGE_OBJECT = 90.0
"""Pixels across: the net sees about two such objects in a crop of 192, so half the resolution is enough."""

LEAST_SCALE = 0.25
"""Outlines of less resolution are rough; measured is 0.5 (docs/results.md)."""


def object_scale(diameter: float, side: float, least_side: float) -> float:
    """The working resolution for objects of a size: halved while they are large, and the image leaves room for it.

    Parameters
    ----------
    diameter : float
        Median of the objects', in native pixels.
    side : float
        Shorter side of the images, in native pixels.
    least_side : float
        What it has at least before it is halved.

    Returns
    -------
    float
        1, 0.5 or 0.25.
    """
    scale = 1.0
    while diameter * scale > LARGE_OBJECT and side * scale >= least_side and scale > LEAST_SCALE:
        scale /= 2
    return scale


def object_target(diameter: float, is_pretrained: bool) -> tuple[str, dict[str, Any], str]:
    """The target for one class of objects on a background, of which many touch.

    A random start is not sure of the cores for long (SEG 0.39 to 0.56 after 400 steps, docs/results.md), so only a
    pretrained encoder learns them.

    Parameters
    ----------
    diameter : float
        Median of the objects', in native pixels.
    is_pretrained : bool
        Whether the encoder starts from weights that were learnt.

    Returns
    -------
    name : str
        Of `data.targets`.
    parameters : dict
    what : str
        What becomes a class, in words.
    """
    width = max(NARROWEST_RIM, min(WIDEST_RIM, round(diameter * RIM_SHARE)))
    if is_pretrained:
        return "foreground_core", {"width": width}, "the middle of each"
    return "foreground_border", {"width": width}, "a rim inside each outline"


def share_of_contacts(source: Source, records: Sequence[Record]) -> float:
    """Share of the objects that touch another, in a sample of labelled images; 0 to 1."""
    touching = total = 0
    for index in np.unique(np.linspace(0, len(records) - 1, CONTACT_IMAGES).round().astype(int)):
        instances = source.read_truth(records[index]).instances
        if instances is not None:
            found = objects_in_contact(instances)
            touching += len(found)
            total += int(np.count_nonzero(np.unique(instances)))
    return touching / total if total else 0.0


def objects_in_contact(instances: np.ndarray) -> set[int]:
    """Numbers of the objects that have a pixel beside another object's, H×W int; sides count, corners do not."""
    found: set[int] = set()
    for one, other in (
        (instances[:, 1:], instances[:, :-1]),
        (instances[1:], instances[:-1]),
    ):
        meets = (one != other) & (one > 0) & (other > 0)
        found.update(np.unique(one[meets]).tolist(), np.unique(other[meets]).tolist())
    return found
