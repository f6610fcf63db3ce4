"""What went wrong with objects, one by one: merged, split, missed, invented."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from unet_train.metrics.challenge import object_ids, overlaps

ERRORS = ("merged", "split", "missed", "invented")
"""In the order in which they are listed everywhere."""


@dataclass(frozen=True)
class ObjectErrors:
    """Ids of the objects of one image by what became of them; each true object stands in exactly one of four.

    Attributes
    ----------
    matched : tuple of int
        True objects, neither merged nor split, that a found object covers.
    merged : tuple of int
        True objects whose found object covers others too.
    split : tuple of int
        True objects, not merged, that hold most of two or more found objects.
    missed : tuple of int
        The other true objects: no found object covers them.
    invented : tuple of int
        Found objects that cover no true object and lie mostly on known background.
    """

    matched: tuple[int, ...]
    merged: tuple[int, ...]
    split: tuple[int, ...]
    missed: tuple[int, ...]
    invented: tuple[int, ...]


def object_errors(
    result: np.ndarray,
    reference: np.ndarray,
    *,
    unknown: np.ndarray | None = None,
    markers: np.ndarray | None = None,
) -> ObjectErrors:
    """Tell what became of every object of an image.

    A found object *covers* a true one when it holds more than half of its pixels, as in SEG.

    Parameters
    ----------
    result, reference : ndarray
        H×W integer object ids of the prediction and of the truth, 0 for none.
    unknown : ndarray or None
        H×W bool: pixels that may belong to an object the truth leaves out.
    markers : ndarray or None
        H×W integer ids of the detection truth: a found object that holds more than half of a marker is not invented,
        whether or not the truth outlines it.

    Raises
    ------
    ValueError
        On different shapes, labels that are not whole numbers, or negative ones.
    """
    shared, true_area, found_area = overlaps(reference, result)
    true_ids, found_ids = object_ids(reference), object_ids(result)
    covers = 2 * shared > true_area[:, None]
    inside = 2 * shared > found_area[None]
    covered = covers.any(1)
    # At most one found object covers a true one, so the sum picks out how many that one covers.
    merged = (covers * (covers.sum(0) > 1)[None]).any(1)
    split = ~merged & (inside.sum(1) > 1)
    missed = ~covered & ~merged & ~split
    background = reference == 0
    if unknown is not None:
        background = background & ~unknown
    on_background, _, _ = overlaps(background.astype(np.uint8), result)
    mostly = 2 * on_background.sum(0) > found_area
    invented = mostly & ~covers.any(0)
    if markers is not None:
        held, marker_area, _ = overlaps(markers, result)
        invented &= ~(2 * held > marker_area[:, None]).any(0)
    return ObjectErrors(
        matched=_chosen(true_ids, ~merged & ~split & ~missed),
        merged=_chosen(true_ids, merged),
        split=_chosen(true_ids, split),
        missed=_chosen(true_ids, missed),
        invented=_chosen(found_ids, invented),
    )


def count_errors(images: Iterable[ObjectErrors]) -> dict[str, int]:
    """Numbers over all images: ``objects/true``, ``objects/matched``, and one for each of `ERRORS`."""
    images = list(images)
    kinds = ("matched", *ERRORS)
    counts = {f"objects/{kind}": sum(len(getattr(image, kind)) for image in images) for kind in kinds}
    true = sum(counts[f"objects/{kind}"] for kind in kinds if kind != "invented")
    return {"objects/true": true, **counts}


def _chosen(ids: np.ndarray, which: np.ndarray) -> tuple[int, ...]:
    return tuple(int(number) for number in ids[which])
