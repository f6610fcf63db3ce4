"""How far apart the outlines of ground truth and prediction lie: HD95, ASSD, NSD.

Definitions: HD95 as in the BraTS challenge (Menze et al., IEEE TMI 34 (2015) 1993-2024), ASSD as by Heimann et al.,
IEEE TMI 28 (2009) 1251-1265, NSD as by Nikolov et al., arXiv:1809.04430.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

SURFACE_SCORES = ("hd95", "assd", "nsd")


def surface_distances(
    prediction: np.ndarray, truth: np.ndarray, *, known: np.ndarray | None = None, tolerance: float = 2.0
) -> dict[str, float]:
    """``hd95``, ``assd`` and ``nsd`` of two masks.

    Parameters
    ----------
    prediction, truth : ndarray
        bool masks of one shape, of any dimension.
    known : ndarray or None
        bool; pixels that are not known belong to neither mask, and no border runs along them.
    tolerance : float
        Of ``nsd``, in pixels.

    Returns
    -------
    dict of str to float
        With the distances d of every border pixel of one mask to the nearest border pixel of the other, in pixels:
        ``hd95``, the larger of the two directed 95th percentiles of d; ``assd``, the mean of d over the border pixels
        of both; ``nsd``, the share of the border pixels of both with d ≤ `tolerance`. If only one mask has a
        border, ``nsd`` is 0 and the distances, which do not exist, are NaN; if neither has, all three are NaN.

    Raises
    ------
    ValueError
        On different shapes.
    """
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    if prediction.shape != truth.shape:
        raise ValueError(f"masks of shapes {prediction.shape} and {truth.shape} cannot be compared")
    borders = [border(mask, known) for mask in (prediction, truth)]
    either = borders[0] | borders[1]
    nan = float("nan")
    if not either.any():
        return dict.fromkeys(SURFACE_SCORES, nan)
    if not all(edge.any() for edge in borders):
        return {"hd95": nan, "assd": nan, "nsd": 0.0}
    # All distances run between pixels of this box.
    box = ndimage.find_objects(either.astype(np.uint8))[0]
    found, true = (edge[box] for edge in borders)
    there = ndimage.distance_transform_edt(~true)[found]
    back = ndimage.distance_transform_edt(~found)[true]
    both = np.concatenate([there, back])
    return {
        "hd95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
        "assd": float(both.mean()),
        "nsd": float((both <= tolerance).mean()),
    }


def border(mask: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """The pixels of a mask that have a neighbour (4-connected) outside it, or lie at the edge of the image.

    Parameters
    ----------
    mask : ndarray
        bool, any dimension; in three, neighbours share a face.
    known : ndarray or None
        bool; a neighbour that is not known does not make a border.
    """
    if known is None:
        return mask & ~ndimage.binary_erosion(mask)
    return mask & known & ~ndimage.binary_erosion(mask | ~known)


def surface_scores(
    prediction: np.ndarray,
    truth: np.ndarray,
    class_names: Sequence[str],
    *,
    first: int = 0,
    ignore: int = 255,
    tolerance: float = 2.0,
) -> dict[str, float]:
    """`surface_distances` of every class of an image.

    Parameters
    ----------
    prediction, truth : ndarray
        H×W integer class ids.
    class_names : sequence of str
    first : int
        The first class that is measured: 1 where class 0 is the background.
    ignore : int
        Truth value of pixels that are not known.
    tolerance : float

    Returns
    -------
    dict of str to float
        ``hd95/<class>``, ``assd/<class>``, ``nsd/<class>``.
    """
    known = truth != ignore
    scores: dict[str, float] = {}
    for index, name in list(enumerate(class_names))[first:]:
        # Without the unknown pixels the masks would end in a common border, which nobody has drawn or predicted.
        found = surface_distances(
            (prediction == index) & known,
            truth == index,
            known=None if known.all() else known,
            tolerance=tolerance,
        )
        scores |= {f"{score}/{name}": value for score, value in found.items()}
    return scores


def without_distance(images: Sequence[Mapping[str, float]], class_name: str) -> int:
    """In how many images a class stands on one side alone, so that it has an NSD of 0 and no distances."""
    hd95, nsd = f"hd95/{class_name}", f"nsd/{class_name}"
    return sum(hd95 in scores and math.isnan(scores[hd95]) and scores[nsd] == 0 for scores in images)
