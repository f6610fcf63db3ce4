"""Objects matched one to one at an overlap: average precision and F1 at thresholds, panoptic quality, counts.

``ap…`` and ``f1_…`` are defined as StarDist reports them (Schmidt et al., MICCAI 2018, arXiv:1806.03535), ``dsb`` as in
the 2018 Data Science Bowl (Caicedo et al., Nature Methods 16 (2019) 1247-1253), ``pq`` as by Kirillov et al., CVPR
2019, arXiv:1801.00868.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unet_train.metrics.challenge import drop_outside_field, object_ids, overlaps

THRESHOLDS = tuple(range(50, 100, 5))
"""Of the IoU, in percent."""

MATCH_SUMS = ("true", "found", "pair_iou", *(f"hits{t}" for t in THRESHOLDS))
"""True objects; found objects; summed IoU of the pairs above 0.5; pairs with an IoU of t percent or more."""

MATCH_VALUES = ("dsb", "count_error")
"""Scores that are means over images."""


@dataclass(frozen=True)
class ObjectMatches:
    """The matched objects of one image.

    Attributes
    ----------
    sums : ndarray
        float64, by `MATCH_SUMS`; added over images.
    dsb : float
        Mean of TP / (TP + FP + FN) over the thresholds 0.5 to 0.95, a pair's IoU being *above* the threshold; NaN
        where there is neither a true nor a found object.
    """

    sums: np.ndarray
    dsb: float

    def values(self) -> dict[str, float]:
        """By `MATCH_VALUES`: ``dsb``, and ``count_error``, how many objects too many or too few were found."""
        return {"dsb": self.dsb, "count_error": float(abs(self.sums[1] - self.sums[0]))}

    def scores(self) -> dict[str, float]:
        """All of this image's own scores."""
        return match_scores(self.sums) | self.values()


def match_objects(
    result: np.ndarray,
    reference: np.ndarray,
    *,
    unknown: np.ndarray | None = None,
    markers: np.ndarray | None = None,
    margin: int = 0,
) -> ObjectMatches:
    """Match found to true objects, whatever their class.

    Parameters
    ----------
    result, reference : ndarray
        H×W integer object ids of the prediction and of the truth, 0 for none.
    unknown : ndarray or None
        H×W bool: pixels that may belong to an object which the truth leaves out. Found objects that lie there for more
        than half count nowhere; of the others the part that lies there does not count.
    markers : ndarray or None
        H×W integer ids of a detection truth that names every object. A found object that holds more than half of
        the marker of an object that the truth does not outline, and covers no true object, counts nowhere.
    margin : int
        Width of the border: objects that lie wholly in it count nowhere.

    Raises
    ------
    ValueError
        On different shapes, labels that are not whole numbers, or negative ones.
    """
    result, reference = drop_outside_field(result, margin), drop_outside_field(reference, margin)
    if unknown is not None and unknown.any():
        hidden, _, area = overlaps((unknown & (reference == 0)).astype(np.uint8), result)
        result = _without(result, 2 * hidden.sum(0) > area)
        result = np.where(unknown & (reference == 0), 0, result)
    if markers is not None and markers.any():
        held, marker_area, _ = overlaps(markers, result)
        outlined, _, _ = overlaps(markers, (reference > 0).astype(np.uint8))
        bare = 2 * outlined.sum(1) <= marker_area
        covers = _covers(result, reference)
        result = _without(result, (2 * held > marker_area[:, None])[bare].any(0) & ~covers)
    shared, true_area, found_area = overlaps(reference, result)
    rows, columns = np.nonzero(shared)
    both = shared[rows, columns]
    union = true_area[rows] + found_area[columns] - both
    # In whole numbers: an IoU of exactly 0.55 is at the threshold.
    hits = [_pairs(rows, columns, 100 * both >= t * union) for t in THRESHOLDS]
    above = np.array([_pairs(rows, columns, 100 * both > t * union) for t in THRESHOLDS], float)
    close = 2 * both > union
    true, found = len(true_area), len(found_area)
    sums = [true, found, float((both[close] / union[close]).sum()), *hits]
    dsb = float((above / (true + found - above)).mean()) if true + found else float("nan")
    return ObjectMatches(np.array(sums, float), dsb)


def match_scores(sums: np.ndarray) -> dict[str, float]:
    """Scores of any sum of `ObjectMatches.sums`.

    Returns
    -------
    dict of str to float
        ``ap50`` … ``ap95``: TP / (TP + FP + FN); ``f1_50`` … ``f1_95``: 2 TP / (2 TP + FP + FN); ``pq``: summed IoU of
        the pairs above 0.5 over TP + FP / 2 + FN / 2. All in [0, 1]; 0 where there are objects on one side alone, NaN
        where there are none on either.
    """
    true, found, iou, *hits = (float(value) for value in sums)
    objects = true + found
    if not objects:
        names = [f"ap{t}" for t in THRESHOLDS] + [f"f1_{t}" for t in THRESHOLDS]
        return dict.fromkeys([*names, "pq"], float("nan"))
    scores = {f"ap{t}": hit / (objects - hit) for t, hit in zip(THRESHOLDS, hits, strict=True)}
    scores |= {f"f1_{t}": 2 * hit / objects for t, hit in zip(THRESHOLDS, hits, strict=True)}
    return scores | {"pq": 2 * iou / objects}


def _pairs(rows: np.ndarray, columns: np.ndarray, close: np.ndarray) -> int:
    """The most one-to-one pairs among those that are close, with an IoU of a half or more.

    Above a half an object has one partner at most. At exactly a half it may have two, which are then its two halves
    and have no other partner: the pairs form stars, and each star gives one match. A star of k pairs has k + 1 objects.
    """
    return len(np.unique(rows[close])) + len(np.unique(columns[close])) - int(close.sum())


def _covers(result: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Which objects of the result hold more than half of a true one."""
    shared, true_area, _ = overlaps(reference, result)
    return np.asarray((2 * shared > true_area[:, None]).any(0))


def _without(labels: np.ndarray, which: np.ndarray) -> np.ndarray:
    """A label map without some of its objects, given as a mask over them in the order of their ids."""
    if not which.any():
        return labels
    return np.where(np.isin(labels, object_ids(labels)[which]), 0, labels)
