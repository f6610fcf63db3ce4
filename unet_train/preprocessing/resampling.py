"""The working resolution: images resampled with antialiasing, labels by the nearest pixel, and the way back."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np


def working_fraction(scale: float) -> Fraction:
    """A scale as a ratio of whole numbers, so that sizes are the same everywhere: 0.3 is 3/10, 0.3333333 is 1/3."""
    return Fraction(scale).limit_denominator(10_000)


def working_size(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width at the working resolution, at least one pixel each; halves are rounded up."""
    ratio = working_fraction(scale)
    height, width = (max(1, round_half_up(length, ratio)) for length in shape)
    return height, width


def round_half_up(length: Any, ratio: Fraction) -> Any:
    """length · ratio in whole numbers; `length` may be an int or what stands for one in a traced graph."""
    return (2 * length * ratio.numerator + ratio.denominator) // (2 * ratio.denominator)


def resample_image(image: np.ndarray, scale: float) -> np.ndarray:
    """Image at the working resolution.

    Parameters
    ----------
    image : ndarray
        H×W×C, uint8 or float32.
    scale : float
        Working over native resolution; below 1 every pixel is the mean of the area it covers, above it is
        interpolated linearly.

    Returns
    -------
    ndarray
        `working_size` × C, the same dtype.
    """
    height, width = working_size(image.shape[:2], scale)
    if (height, width) == image.shape[:2]:
        return image
    return resize_image(image, (height, width), shrinks=scale < 1)


def resize_image(image: np.ndarray, size: tuple[int, int], shrinks: bool) -> np.ndarray:
    """H×W×C (uint8 or float32) at another height and width: means over areas where it shrinks, else linear."""
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    # Four channels at a time: OpenCV's area method takes no more.
    parts = [
        cv2.resize(np.ascontiguousarray(image[..., c : c + 4]), (size[1], size[0]), interpolation=method)
        for c in range(0, image.shape[-1], 4)
    ]
    return np.concatenate([part.reshape(*size, -1) for part in parts], axis=-1)


def resample_labels(labels: np.ndarray, scale: float) -> np.ndarray:
    """Label map at the working resolution, each pixel the native one its centre lies in.

    Parameters
    ----------
    labels : ndarray
        H×W of any dtype.
    scale : float

    Returns
    -------
    ndarray
        `working_size`, the same dtype and no value that was not there.
    """
    size = working_size((labels.shape[0], labels.shape[1]), scale)
    if size == labels.shape:
        return labels
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * length / n).astype(np.intp), length - 1)
        for n, length in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]


def resample_probabilities(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring probabilities to another size, bilinearly (averaging areas where they shrink).

    Parameters
    ----------
    probabilities : ndarray
        K×h×w float32.
    size : tuple of int
        Height and width wanted.

    Returns
    -------
    ndarray
        K×H×W float32, C-contiguous.
    """
    if probabilities.shape[1:] == tuple(size):
        return np.ascontiguousarray(probabilities)
    way = cv2.INTER_AREA if size[0] * size[1] < probabilities[0].size else cv2.INTER_LINEAR
    planes = [
        cv2.resize(np.ascontiguousarray(plane), (size[1], size[0]), interpolation=way)
        for plane in probabilities
    ]
    return np.stack(planes)
