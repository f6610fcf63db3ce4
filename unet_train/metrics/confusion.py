"""Pixel measures: whole-number confusion counts that are added over images and divided once, at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from unet_train.errors import UserError

if TYPE_CHECKING:
    import torch

RESERVED_NAMES = ("mean", "mean_over")
"""Class names that would collide with the summary keys ``iou/mean`` and ``iou/mean_over``."""


def confusion_counts(
    prediction: np.ndarray, target: np.ndarray, classes: int, ignore: int | None = 255
) -> np.ndarray:
    """Count the pixels of every (true class, predicted class) pair.

    Parameters
    ----------
    prediction : ndarray
        Integer (or bool) class ids in [0, classes), any shape. Under ignored pixels any value may stand.
    target : ndarray
        Integer (or bool) class ids of the same shape, in [0, classes) or equal to `ignore`.
    classes : int
        Number of classes K.
    ignore : int or None
        Target value whose pixels count nowhere; None: there is none.

    Returns
    -------
    ndarray
        K×K int64, ``[true, predicted]``. Counts of several images may be added.

    Raises
    ------
    ValueError
        On different shapes, on dtypes that are not whole numbers, on values outside [0, classes), and where
        `ignore` is itself a class (the meaning of such pixels would be ambiguous).
    """
    prediction, target = np.asarray(prediction), np.asarray(target)
    _check_sizes(prediction.shape, target.shape, classes, ignore)
    for name, array in (("prediction", prediction), ("target", target)):
        if array.dtype.kind not in "biu":
            raise ValueError(f"{name} must hold class ids as whole numbers, not {array.dtype}")
    if ignore is not None:
        known = target != ignore
        if not known.all():
            prediction, target = prediction[known], target[known]
    if target.size == 0:
        return np.zeros((classes, classes), np.int64)
    for name, array in (("prediction", prediction), ("target", target)):
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= classes:
            raise ValueError(f"{name} holds values {low}..{high}, outside the classes 0..{classes - 1}")
    pairs = target.astype(np.int64).ravel() * classes + prediction.ravel()
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def confusion_counts_tensor(
    prediction: torch.Tensor, target: torch.Tensor, classes: int, ignore: int | None = 255
) -> torch.Tensor:
    """`confusion_counts` for tensors, on their own device.

    Parameters
    ----------
    prediction, target : Tensor
        Integer class ids of one shape on one device.
    classes : int
        Number of classes K.
    ignore : int or None
        Target value whose pixels count nowhere.

    Returns
    -------
    Tensor
        K×K int64 on the same device, ``[true, predicted]``.

    Raises
    ------
    ValueError
        On different shapes and ambiguous `ignore`. Values are *not* checked, so as not to make the host wait;
        pixels with a value outside the classes fall away.
    """
    import torch

    _check_sizes(tuple(prediction.shape), tuple(target.shape), classes, ignore)
    prediction, target = prediction.long().flatten(), target.long().flatten()
    inside = (target >= 0) & (target < classes) & (prediction >= 0) & (prediction < classes)
    if ignore is not None:
        inside &= target != ignore
    # One extra bin takes what does not count.
    pairs = torch.where(inside, target * classes + prediction, classes * classes)
    # bincount would read the range of its input on the host and so wait for the device.
    counts = torch.zeros(classes * classes + 1, dtype=torch.int64, device=pairs.device)
    counts.scatter_add_(0, pairs, torch.ones_like(counts[:1]).expand_as(pairs))
    return counts[:-1].reshape(classes, classes)


def scores_from_counts(
    counts: np.ndarray, class_names: Sequence[str], *, background: bool = True
) -> dict[str, float]:
    """IoU, Dice, precision, recall and specificity per class, the means of the first two, and the pixel accuracy.

    Parameters
    ----------
    counts : ndarray
        K×K whole numbers, ``[true, predicted]``, summed over all images.
    class_names : sequence of str
        The K names.
    background : bool
        Class 0 is the background, which the means leave out; False: all classes count.

    Returns
    -------
    dict of str to float
        ``iou/<class>`` and ``dice/<class>`` for every class in [0, 1], NaN for a class that occurs neither in
        the truth nor in the prediction; ``precision/<class>`` TP / (TP + FP), NaN where the class is nowhere
        predicted; ``recall/<class>`` TP / (TP + FN), NaN where it is nowhere in the truth;
        ``specificity/<class>`` TN / (TN + FP), NaN where every counted pixel is of the class; ``iou/mean`` and
        ``dice/mean`` over the classes that count and occur (NaN if none does); ``iou/mean_over``, the number of
        classes in these means; ``accuracy``, NaN without a counted pixel.

    Raises
    ------
    ValueError
        If `counts` is not K×K for K names, or has negative entries.
    UserError
        If a class is named like a summary key, or two classes share a name.
    """
    names = check_class_names(class_names)
    counts = np.asarray(counts)
    if counts.shape != (len(names), len(names)):
        raise ValueError(f"counts of shape {counts.shape} do not fit {len(names)} class names")
    if counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ValueError("counts must be whole numbers from 0")
    return scores_from_margins(margins(counts), names, background=background)


def margins(counts: np.ndarray) -> np.ndarray:
    """3×K: of K×K counts the pixels on which truth and prediction agree, those of the truth, those predicted."""
    counts = np.asarray(counts)
    return np.stack([np.diag(counts), counts.sum(1), counts.sum(0)])


def scores_from_margins(
    pixels: np.ndarray, class_names: Sequence[str], *, background: bool = True
) -> dict[str, float]:
    """`scores_from_counts`, from the `margins` of the counts alone.

    Parameters
    ----------
    pixels : ndarray
        3×K whole numbers (of any dtype): agreeing, true and predicted pixels by class.
    class_names : sequence of str
        The K names, as `check_class_names` returns them.
    background : bool
        As in `scores_from_counts`.
    """
    hit, true, predicted = np.asarray(pixels, np.float64)
    others = true.sum() - true
    iou = _divide(hit, true + predicted - hit)
    dice = _divide(2 * hit, true + predicted)
    of_classes = {
        "iou": iou,
        "dice": dice,
        "precision": _divide(hit, predicted),
        "recall": _divide(hit, true),
        "specificity": _divide(others - (predicted - hit), others),
    }
    scores: dict[str, float] = {
        f"{measure}/{name}": float(value)
        for measure, values in of_classes.items()
        for name, value in zip(class_names, values, strict=True)
    }
    occurring = ~np.isnan(iou)
    occurring[: first_counted(background)] = False
    scores["iou/mean"] = float(iou[occurring].mean()) if occurring.any() else float("nan")
    scores["iou/mean_over"] = int(occurring.sum())
    scores["dice/mean"] = float(dice[occurring].mean()) if occurring.any() else float("nan")
    scores["accuracy"] = float(hit.sum() / true.sum()) if true.sum() else float("nan")
    return scores


def first_counted(background: bool) -> int:
    """The first class that counts in a mean: 1 where class 0 is the background, else 0."""
    return 1 if background else 0


def never_predicted(counts: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Names of the classes that stand in the ground truth and are predicted at no pixel.

    Parameters
    ----------
    counts : ndarray
        K×K whole numbers, ``[true, predicted]``, summed over all images.
    class_names : sequence of str
        The K names.
    """
    counts = np.asarray(counts)
    lost = (counts.sum(1) > 0) & (counts.sum(0) == 0)
    return [name for name, is_lost in zip(class_names, lost, strict=True) if is_lost]


def check_class_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple, once they are sure to give every score a key of its own.

    Raises
    ------
    UserError
        If a class is named ``mean`` or ``mean_over``, or two classes share a name.
    """
    names = tuple(str(name) for name in class_names)
    for name in names:
        if name in RESERVED_NAMES:
            raise UserError(
                f"dataset.classes: the name {name!r} is taken by the summary iou/{name}; rename the class"
            )
        if names.count(name) > 1:
            raise UserError(f"dataset.classes: {name!r} names two classes; give each its own name")
    return names


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _check_sizes(
    prediction: tuple[int, ...], target: tuple[int, ...], classes: int, ignore: int | None
) -> None:
    if prediction != target:
        raise ValueError(f"prediction {prediction} and target {target} differ in shape")
    if classes < 1:
        raise ValueError(f"at least one class is needed, not {classes}")
    if ignore is not None and 0 <= ignore < classes:
        raise ValueError(f"ignore value {ignore} is one of the {classes} classes")
