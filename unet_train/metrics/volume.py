"""Dice per patient volume, as the brain model is measured: all slices stacked, one number per patient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SUMMARISED = {"dice_per_patient": "dice", "dice_per_patient_largest": "dice_largest"}
"""Name of a summary over patients → the attribute of `VolumeScore` that it sums up."""


@dataclass(frozen=True)
class VolumeScore:
    """Dice of one patient.

    Attributes
    ----------
    dice : float
        Of the prediction as it is; NaN where truth and prediction are both empty.
    dice_largest : float
        Of its largest connected part alone (three dimensions, over faces).
    slices, true_voxels, predicted_voxels : int
        Size of the volume and of the two masks.
    """

    dice: float
    dice_largest: float
    slices: int
    true_voxels: int
    predicted_voxels: int


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice coefficient 2·|P∩T| / (|P| + |T|) of two masks.

    Parameters
    ----------
    prediction, truth : ndarray
        Masks of one shape (bool, or numbers of which all but 0 count).

    Returns
    -------
    float
        In [0, 1]; NaN where both masks are empty: a perfect answer, but no measure of segmenting.

    Raises
    ------
    ValueError
        On different shapes.
    """
    prediction, truth = np.asarray(prediction) != 0, np.asarray(truth) != 0
    if prediction.shape != truth.shape:
        raise ValueError(f"masks of shapes {prediction.shape} and {truth.shape} cannot be compared")
    total = int(prediction.sum()) + int(truth.sum())
    return 2 * int((prediction & truth).sum()) / total if total else float("nan")


def largest_component(volume: np.ndarray) -> np.ndarray:
    """Keep the largest part of a mask that hangs together over faces; of equal ones the first.

    Parameters
    ----------
    volume : ndarray
        Mask of any dimension (slices × H × W).

    Returns
    -------
    ndarray
        bool, of the same shape; all False for an empty mask.
    """
    parts, n = ndimage.label(np.asarray(volume) != 0)  # SciPy's default joins faces only
    if n == 0:
        return np.zeros(parts.shape, bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return parts == sizes.argmax()


def volume_score(
    slices: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    foreground: int | None = None,
    ignore: int | None = 255,
) -> VolumeScore:
    """Score one patient.

    Parameters
    ----------
    slices : iterable of (prediction, truth)
        H×W class ids each, in the order of the slices, all of one size.
    foreground : int or None
        The class that counts; None: every class but 0.
    ignore : int or None
        Truth value of pixels that count nowhere.

    Returns
    -------
    VolumeScore

    Raises
    ------
    ValueError
        Without slices, or if their sizes differ.
    """
    pairs = list(slices)
    if not pairs:
        raise ValueError("a volume without slices")
    if len({np.shape(array) for pair in pairs for array in pair}) > 1:
        raise ValueError("all slices of a volume must have one size")
    prediction, truth = (np.stack([np.asarray(pair[i]) for pair in pairs]) for i in (0, 1))
    known = truth != ignore if ignore is not None else np.ones(truth.shape, bool)
    inside, true = (a != 0 if foreground is None else a == foreground for a in (prediction, truth))
    # Unknown pixels go first, so that they cannot decide which part is the largest either.
    inside, true = inside & known, true & known
    return VolumeScore(
        dice=dice(inside, true),
        dice_largest=dice(largest_component(inside), true),
        slices=len(pairs),
        true_voxels=int(true.sum()),
        predicted_voxels=int(inside.sum()),
    )


def summarise_volumes(scores: Mapping[str, VolumeScore]) -> dict[str, float]:
    """Mean, median, standard deviation and extremes over patients, flat.

    Parameters
    ----------
    scores : mapping of patient to VolumeScore
        Patients whose Dice is NaN (nothing there, nothing predicted) are left out of the sums.

    Returns
    -------
    dict of str to float
        ``dice_per_patient/mean``, ``…/median``, ``…/std``, ``…/min``, ``…/max``, ``…/over`` (their number),
        the same under ``dice_per_patient_largest/``.
    """
    result: dict[str, float] = {}
    for name, field in SUMMARISED.items():
        values = np.array([getattr(score, field) for score in scores.values()], float)
        values = values[~np.isnan(values)]
        for key, function in (
            ("mean", np.mean),
            ("median", np.median),
            ("std", np.std),
            ("min", np.min),
            ("max", np.max),
        ):
            result[f"{name}/{key}"] = float(function(values)) if values.size else float("nan")
        result[f"{name}/over"] = int(values.size)
    return result
