"""The working resolution: images resampled with antialiasing, labels by the nearest pixel."""

from __future__ import annotations

import cv2
import numpy as np


def working_size(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width at the working resolution, at least one pixel each; halves are rounded up."""
    return max(1, int(shape[0] * scale + 0.5)), max(1, int(shape[1] * scale + 0.5))


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
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    # Four channels at a time: OpenCV's area method takes no more.
    parts = [
        cv2.resize(np.ascontiguousarray(image[..., c : c + 4]), (width, height), interpolation=method)
        for c in range(0, image.shape[-1], 4)
    ]
    return np.concatenate([part.reshape(height, width, -1) for part in parts], axis=-1)


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
