"""The rules of normalisation: what an image is standardised with; the model does the arithmetic.

Clipping and rescaling to [0, 1] happen here, on the data; the z-score (x - mean) / std happens in the model,
so that intensity augmentation works on unnormalised pixels. Where the rule says so (``brain``), the image is
also cut to the brain and brought to one size, and its labels with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from unet_train.preprocessing.brain_crop import Window, find_window

Mode = Literal["fixed", "image", "volume", "brain"]

MODES: tuple[str, ...] = get_args(Mode)
VOLUME_MODES = ("volume", "brain")
"""Modes whose statistics belong to all slices of a group; the model gets mean and std alike in both."""
LOW_PERCENTILE = 10.0
HIGH_PERCENTILE = 99.0
SMALLEST_STD = 1.0 / 255.0
"""A constant channel is divided by this: one grey step of 8 bit, instead of zero."""


@dataclass(frozen=True)
class Statistics:
    """What an image is rescaled and standardised with, all in [0, 1] units (uint8 / 255).

    Attributes
    ----------
    low, high : float or None
        The image is clipped to [low, high] and stretched to [0, 1] first; None leaves it as it is.
    mean, std : tuple of float
        One value per channel, of the image after that rescaling; std is at least `SMALLEST_STD`.
    window : Window or None
        The image is cut to this part of the volume and brought to its size before all else.
    """

    low: float | None
    high: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    window: Window | None = None

    def rescaled(self) -> Statistics:
        """What is left to do to an image that has been moved and rescaled: the z-score alone."""
        return replace(self, low=None, high=None, window=None)


def _statistics(
    low: float | None,
    high: float | None,
    mean: np.ndarray,
    std: np.ndarray,
    window: Window | None = None,
) -> Statistics:
    return Statistics(
        low,
        high,
        tuple(float(value) for value in mean),
        tuple(max(float(value), SMALLEST_STD) for value in std),
        window,
    )


def check_image(image: np.ndarray) -> np.ndarray:
    """The image, once it is sure to be H×W×C uint8 or float32 and not empty.

    Raises
    ------
    ValueError
        Otherwise.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.size == 0 or image.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"an image must be H×W×C, uint8 or float32, not empty; got {image.shape} {image.dtype}"
        )
    return image


def image_statistics(image: np.ndarray) -> Statistics:
    """Mean and population standard deviation of every channel of one image.

    Parameters
    ----------
    image : ndarray
        H×W×C, uint8 or float32 in [0, 1].

    Returns
    -------
    Statistics
        With ``low`` and ``high`` None.
    """
    check_image(image)
    if image.dtype == np.uint8:
        return _from_histogram(_histogram(image), None, None)
    pixels = image.reshape(-1, image.shape[-1])
    return _statistics(None, None, pixels.mean(0, dtype=np.float64), pixels.std(0, dtype=np.float64))


def volume_statistics(images: Iterable[np.ndarray], mode: str = "volume") -> Statistics:
    """Statistics of a whole volume, as published with mateuszbuda/brain-segmentation-pytorch.

    Percentiles 10 and 99 of everything (all slices and channels together) become 0 and 1; mean and population
    standard deviation of every channel follow from the clipped and stretched volume. Exact: for uint8 from
    histograms, so that the slices need not be kept.

    Under ``brain`` the volume is cut to the brain and brought to 256² before (see `volumes`), and the
    percentiles run over that. As published its first and last slice are left out of all this where there are
    three or more; they can still be moved and predicted by what the others gave.

    Parameters
    ----------
    images : iterable of ndarray
        The slices in their order, H×W×C each, all uint8 or all float32 in [0, 1]. Sizes may differ under
        ``volume``, channels may not.
    mode : {'volume', 'brain'}

    Returns
    -------
    Statistics

    Raises
    ------
    ValueError
        No image, or images of different dtype or number of channels (``brain``: or of different size).
    """
    if mode == "brain":
        return _brain_statistics(list(images))
    if mode != "volume":
        raise ValueError(f"no mode of volumes: {mode}")
    histogram: np.ndarray | None = None
    floats: list[np.ndarray] = []
    channels: int | None = None
    for image in images:
        check_image(image)
        if channels not in (None, image.shape[-1]):
            raise ValueError(f"a volume of images with {channels} and with {image.shape[-1]} channels")
        channels = image.shape[-1]
        if image.dtype == np.uint8:
            counts = _histogram(image)
            histogram = counts if histogram is None else histogram + counts
        else:
            floats.append(image.reshape(-1, image.shape[-1]))
    if histogram is not None and floats:
        raise ValueError("a volume of uint8 and of float32 images")
    if histogram is not None:
        low, high = (_histogram_percentile(histogram.sum(0), q) for q in (LOW_PERCENTILE, HIGH_PERCENTILE))
        return _from_histogram(histogram, *_apart(low, high))
    if not floats:
        raise ValueError("a volume without images")
    pixels = np.concatenate(floats)
    low, high = _apart(*(float(v) for v in np.percentile(pixels, [LOW_PERCENTILE, HIGH_PERCENTILE])))
    pixels = (np.clip(pixels, low, high) - low) / (high - low)
    return _statistics(low, high, pixels.mean(0, dtype=np.float64), pixels.std(0, dtype=np.float64))


def _brain_statistics(images: list[np.ndarray]) -> Statistics:
    for image in images:
        check_image(image)
    kept = images[1:-1] if len(images) >= 3 else images
    window, inside = find_window(kept)
    moved = np.stack([window.move_image(image) for image in kept[inside]])
    low, high = _apart(*(float(v) for v in np.percentile(moved, [LOW_PERCENTILE, HIGH_PERCENTILE])))
    moved = (np.clip(moved, low, high) - low) / (high - low)
    pixels = moved.reshape(-1, moved.shape[-1])
    return _statistics(low, high, pixels.mean(0, dtype=np.float64), pixels.std(0, dtype=np.float64), window)


def own_statistics(image: np.ndarray, mode: str) -> Statistics | None:
    """Statistics of an image by itself; None under ``fixed``. Under a volume's mode it is its only slice."""
    if mode == "fixed":
        return None
    return image_statistics(image) if mode == "image" else volume_statistics([image], mode)


def move_labels(labels: np.ndarray, statistics: Statistics | None) -> np.ndarray:
    """Labels (H×W) where `rescale` moves the image; as they are where it leaves it in its place."""
    if statistics is None or statistics.window is None:
        return labels
    return statistics.window.move_labels(labels)


def rescale(image: np.ndarray, statistics: Statistics | None) -> np.ndarray:
    """Clip and stretch an image to [0, 1] as its statistics say, after moving it into their window, if any.

    Parameters
    ----------
    image : ndarray
        H×W×C, uint8 or float32 in [0, 1].
    statistics : Statistics or None

    Returns
    -------
    ndarray
        The same array where there is nothing to do (None, or ``low`` is None), else float32 in [0, 1]; with
        a window side×side×C.
    """
    if statistics is None or statistics.low is None or statistics.high is None:
        return image
    check_image(image)
    if statistics.window is not None:
        image = statistics.window.move_image(image)
    low, high = statistics.low, statistics.high
    if image.dtype == np.uint8:
        table = (np.clip(np.arange(256) / 255.0, low, high) - low) / (high - low)
        return table.astype(np.float32)[image]
    return ((np.clip(image, low, high) - low) / (high - low)).astype(np.float32)


def _apart(low: float, high: float) -> tuple[float, float]:
    """Keep a constant volume from being divided by zero."""
    return low, max(high, low + SMALLEST_STD)


def _histogram(image: np.ndarray) -> np.ndarray:
    """C×256 int64 counts of a uint8 image."""
    return np.stack([np.bincount(image[..., c].ravel(), minlength=256) for c in range(image.shape[-1])])


def _histogram_percentile(counts: np.ndarray, q: float) -> float:
    """`numpy.percentile` (linear) of the grey values behind a histogram of 256 counts, in [0, 1] units."""
    ends = np.cumsum(counts)
    position = (ends[-1] - 1) * q / 100.0
    below = int(np.searchsorted(ends, np.floor(position), side="right"))
    above = int(np.searchsorted(ends, np.ceil(position), side="right"))
    return float(below + (above - below) * (position - np.floor(position))) / 255.0


def _from_histogram(counts: np.ndarray, low: float | None, high: float | None) -> Statistics:
    values = np.arange(256) / 255.0
    if low is not None and high is not None:
        values = (np.clip(values, low, high) - low) / (high - low)
    shares = counts / counts.sum(1, keepdims=True)
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
    return _statistics(low, high, mean, std)
