"""The U-Net paper's weight map: errors between near cells cost most, so that the net learns to part them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from unet_train.data.distances import distance_to_zero
from unet_train.data.records import IGNORE
from unet_train.errors import UserError

LARGEST_CLASS_WEIGHT = 10.0
"""A class of a few pixels would otherwise get a weight of thousands."""
_REACH = 6.0
"""In sigmas; exp(-6²/2) is 1.5e-8 and may be left out."""


def border_weight_map(
    instances: np.ndarray | None,
    target: np.ndarray,
    *,
    w0: float = 10.0,
    sigma: float = 5.0,
    class_balance: bool = True,
) -> np.ndarray:
    """Weight map of Ronneberger et al. 2015, equation 2: w_c + w0 · exp(-(d1 + d2)² / 2 sigma²).

    d1 and d2 are the distances to the nearest and to the second nearest cell, in pixels between centres. The
    second term stands on background only (0 inside cells), and only where there are two cells. A cell is what
    the target shows of an instance: the gap that `ForegroundTarget` draws between touching cells is
    background, and unknown pixels belong to no cell.

    Parameters
    ----------
    instances : ndarray or None
        H×W integer, 0 for no object; None: class balance only.
    target : ndarray
        H×W uint8, 0 background, `IGNORE` unknown.
    w0 : float
        Weight of the second term.
    sigma : float
        In pixels of these arrays.
    class_balance : bool
        w_c is, for each of the K classes present, the number of known pixels / (K · pixels of the class), at
        most `LARGEST_CLASS_WEIGHT`; all ones otherwise.

    Returns
    -------
    ndarray
        H×W float32, 0 on unknown pixels.

    Raises
    ------
    ValueError
        Shapes that differ.
    """
    if instances is not None and instances.shape != target.shape:
        raise ValueError(f"instances {instances.shape} and target {target.shape} differ")
    known = target != IGNORE
    weights = _class_weights(target) if class_balance else known.astype(np.float32)
    if instances is not None and w0 != 0:
        cells = np.where(known & (target > 0), instances, 0)
        together = _two_nearest(cells, int(np.ceil(_REACH * sigma)) + 1)
        background = known & (target == 0)
        weights[background] += w0 * np.exp(-(together[background] ** 2) / (2 * sigma**2))
    return weights


def _class_weights(target: np.ndarray) -> np.ndarray:
    counts = np.bincount(target.ravel(), minlength=256).astype(np.float64)
    counts[IGNORE] = 0
    present = counts > 0
    table = np.zeros(256)
    table[present] = counts.sum() / (present.sum() * counts[present])
    return np.minimum(table, LARGEST_CLASS_WEIGHT).astype(np.float32)[target]


def _two_nearest(cells: np.ndarray, reach: int) -> np.ndarray:
    """d1 + d2, H×W float32; infinite where the second nearest cell is out of reach."""
    nearest = np.full(cells.shape, np.inf, np.float32)
    second = nearest.copy()
    # A cell matters only near itself, so its distances are measured in a window around it.
    for label, box in enumerate(ndimage.find_objects(cells), start=1):
        if box is None:
            continue
        window = tuple(
            slice(max(side.start - reach, 0), min(side.stop + reach, length))
            for side, length in zip(box, cells.shape, strict=True)
        )
        outside = cells[window] != label
        distance = distance_to_zero(outside)
        second[window] = np.minimum(second[window], np.maximum(nearest[window], distance))
        nearest[window] = np.minimum(nearest[window], distance)
    return nearest + second


@dataclass(frozen=True)
class BorderWeights:
    """`border_weight_map` with its settings, as `TrainingSet` takes it; can be pickled for worker processes.

    Attributes
    ----------
    w0 : float
    sigma : float
        In native pixels.
    class_balance : bool
    scale : float
        Working over native resolution; sigma shrinks with it.
    """

    w0: float = 10.0
    sigma: float = 5.0
    class_balance: bool = True
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.w0 < 0 or self.sigma <= 0 or self.scale <= 0:
            raise UserError(
                f"loss.border_weights: w0={self.w0} must not be negative, sigma={self.sigma} be positive"
            )

    def __call__(self, instances: np.ndarray | None, target: np.ndarray) -> np.ndarray:
        """H×W float32 weights."""
        return border_weight_map(
            instances, target, w0=self.w0, sigma=self.sigma * self.scale, class_balance=self.class_balance
        )
