"""The Cell Tracking Challenge's object measures SEG, DET, OP_CSB, with the margin of the field of interest.

Definitions: Ulman et al., Nature Methods 14 (2017) 1141-1152; Matula et al., PLoS ONE 10 (2015) e0144959; and
the challenge's pages on its evaluation methodology. A result object covers a reference object R when it holds
more than half of R's pixels, so there is at most one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from unet_train.errors import UserError

SEG_LINE = (
    "seg is the mean, over the true objects, of the IoU with the predicted object that covers more than half of it: "
    "0 for a missed one, a half for each of two equal ones that were merged"
)
"""What stands under a table with SEG in it."""

MISSED, SPLIT, EXTRA = 10, 5, 1
"""Weights of a missed object, a necessary split and an extra object in DET."""


@dataclass
class ChallengeCounts:
    """Sums over frames from which the scores follow; ratios are taken once, at the end.

    Attributes
    ----------
    jaccard : float
        Sum of the Jaccard indices of all reference objects.
    objects : int
        Number of reference objects (segmentation truth).
    missed, splits, extra, markers : int
        Markers without a result object, splits needed, result objects without a marker; number of markers.
    """

    jaccard: float = 0.0
    objects: int = 0
    missed: int = 0
    splits: int = 0
    extra: int = 0
    markers: int = 0

    def add(
        self,
        result: np.ndarray,
        reference: np.ndarray | None = None,
        markers: np.ndarray | None = None,
        *,
        margin: int = 0,
    ) -> None:
        """Add one frame.

        Parameters
        ----------
        result : ndarray
            H×W object ids of the prediction, 0 for none.
        reference, markers : ndarray or None
            H×W object ids of the segmentation truth (for SEG) and of the detection truth (for DET).
        margin : int
            Width of the border outside the field of interest; see `drop_outside_field`.
        """
        result = drop_outside_field(result, margin)
        if reference is not None:
            total, n = seg_sum(result, reference)
            self.jaccard += total
            self.objects += n
        if markers is not None:
            counts = det_counts(result, markers)
            self.missed += counts[0]
            self.splits += counts[1]
            self.extra += counts[2]
            self.markers += counts[3]

    def __add__(self, other: ChallengeCounts) -> ChallengeCounts:
        mine, theirs = astuple(self), astuple(other)
        return ChallengeCounts(*(a + b for a, b in zip(mine, theirs, strict=True)))

    def scores(self) -> dict[str, float]:
        """``seg``, ``det``, ``op_csb`` in [0, 1]; those whose truth is missing are left out."""
        scores = {}
        if self.objects:
            scores["seg"] = seg(self.jaccard, self.objects)
        if self.markers:
            scores["det"] = det(self.missed, self.splits, self.extra, self.markers)
        if len(scores) == 2:
            scores["op_csb"] = op_csb(scores["seg"], scores["det"])
        return scores


def seg_sum(result: np.ndarray, reference: np.ndarray) -> tuple[float, int]:
    """Sum of the Jaccard indices of one frame's reference objects.

    Parameters
    ----------
    result, reference : ndarray
        H×W (or any common shape) integer object ids, 0 for none; any ids, in any order.

    Returns
    -------
    total : float
        Σ |R∩S| / |R∪S| over the reference objects R, S the result object that holds more than half of R; an
        object without one adds 0. Extra result objects cost nothing.
    n : int
        Number of reference objects.

    Raises
    ------
    ValueError
        On different shapes, labels that are not whole numbers, or negative ones.
    """
    overlap, reference_area, result_area = overlaps(reference, result)
    rows, columns = np.nonzero(2 * overlap > reference_area[:, None])
    shared = overlap[rows, columns]
    union = reference_area[rows] + result_area[columns] - shared
    return float((shared / union).sum()), len(reference_area)


def det_counts(result: np.ndarray, markers: np.ndarray) -> tuple[int, int, int, int]:
    """Detection errors of one frame.

    Parameters
    ----------
    result, markers : ndarray
        H×W integer object ids, 0 for none.

    Returns
    -------
    missed, splits, extra, n : int
        FN: markers that no result object holds more than half of; NS: splits needed, k − 1 for a result
        object that holds k > 1 markers; FP: result objects that hold none; number of markers.

    Raises
    ------
    ValueError
        As `seg_sum`.
    """
    overlap, marker_area, _ = overlaps(markers, result)
    covers = 2 * overlap > marker_area[:, None]
    held = covers.sum(0)
    missed = int((~covers.any(1)).sum())
    return missed, int(np.maximum(held - 1, 0).sum()), int((held == 0).sum()), len(marker_area)


def seg(total: float, n: int) -> float:
    """SEG from the sums of all frames: the mean over *all* reference objects; NaN if there is none."""
    return total / n if n else float("nan")


def det(missed: int, splits: int, extra: int, n: int) -> float:
    """DET = 1 − min(A, A0)/A0 with A = 10·missed + 5·splits + extra, A0 = 10·n; NaN without markers."""
    if n == 0:
        return float("nan")
    scratch = MISSED * n
    return 1 - min(MISSED * missed + SPLIT * splits + EXTRA * extra, scratch) / scratch


def op_csb(seg_score: float, det_score: float) -> float:
    """OP_CSB, the mean of SEG and DET."""
    return 0.5 * (seg_score + det_score)


def drop_outside_field(result: np.ndarray, margin: int) -> np.ndarray:
    """Delete the objects that lie wholly in the border; those that reach into the field stay whole.

    Parameters
    ----------
    result : ndarray
        H×W object ids, 0 for none.
    margin : int
        Width of the border in pixels; 0: everything stays.

    Returns
    -------
    ndarray
        A copy (or `result` itself where nothing is dropped).

    Raises
    ------
    UserError
        If the border leaves no field.
    """
    if margin <= 0:
        return result
    height, width = result.shape
    field = result[margin : height - margin, margin : width - margin]
    if field.size == 0:
        raise UserError(f"dataset.margin: {margin} pixels leave no field of interest in {height}×{width}")
    inside = np.zeros(int(result.max(initial=0)) + 1, bool)
    inside[field.ravel()] = True
    keep = inside[result]
    return result if keep.all() else np.where(keep, result, 0).astype(result.dtype)


def scorer(
    references: Sequence[np.ndarray | None],
    markers: Sequence[np.ndarray | None] | None = None,
    *,
    margin: int = 0,
) -> Callable[[Iterable[np.ndarray]], tuple[float, float]]:
    """A function from results to (SEG, DET), to choose parameters by: compare SEG first, then DET.

    Parameters
    ----------
    references, markers : sequence of ndarray or None
        Truth per frame, in the order in which the results will come.
    margin : int
        Width of the border outside the field of interest.

    Returns
    -------
    callable
        Takes one H×W result per frame; gives (seg, det), −1 for one whose truth is missing (a NaN would
        compare with nothing).
    """
    markers = markers if markers is not None else [None] * len(references)

    def score(results: Iterable[np.ndarray]) -> tuple[float, float]:
        counts = ChallengeCounts()
        for result, reference, marker in zip(results, references, markers, strict=True):
            counts.add(result, reference, marker, margin=margin)
        scores = counts.scores()
        return scores.get("seg", -1.0), scores.get("det", -1.0)

    return score


def overlaps(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels that every pair of objects of two label maps shares, and their areas.

    Parameters
    ----------
    rows, columns : ndarray
        Integer object ids of one shape, 0 for none.

    Returns
    -------
    shared : ndarray
        n×m int64, objects in the order of their ids.
    row_areas, column_areas : ndarray
        n and m int64 pixels.

    Raises
    ------
    ValueError
        On different shapes, labels that are not whole numbers, or negative ones.
    """
    rows, columns = np.asarray(rows), np.asarray(columns)
    if rows.shape != columns.shape:
        raise ValueError(f"label maps of shapes {rows.shape} and {columns.shape} cannot be compared")
    rows, n = _compact(rows)
    columns, m = _compact(columns)
    pairs = np.bincount(rows.ravel() * (m + 1) + columns.ravel(), minlength=(n + 1) * (m + 1))
    table = pairs.reshape(n + 1, m + 1)
    return table[1:, 1:], table.sum(1)[1:], table.sum(0)[1:]


def object_ids(labels: np.ndarray) -> np.ndarray:
    """The ids of a label map without 0, ascending: the order of `overlaps`."""
    ids = np.unique(labels)
    return ids[ids != 0]


def _compact(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Ids 1..n in the order of the labels, as int64: no label is near the end of its type any more."""
    if labels.dtype.kind not in "biu":
        raise ValueError(f"labels must be whole numbers, not {labels.dtype}")
    if labels.size and labels.min() < 0:
        raise ValueError("labels must not be negative")
    labels = labels.astype(np.uint8) if labels.dtype == bool else labels
    largest = int(labels.max(initial=0))
    if largest > 1 << 24:  # too sparse for a table
        ids, inverse = np.unique(labels, return_inverse=True)
        shift = 0 if ids[0] == 0 else 1
        return inverse.reshape(labels.shape).astype(np.int64) + shift, len(ids) - 1 + shift
    present = np.zeros(largest + 1, bool)
    present[labels.ravel()] = True
    present[0] = False
    numbers = np.cumsum(present) * present
    return numbers[labels], int(present.sum())
