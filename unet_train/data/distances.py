"""Distances that are the same at every call, which OpenCV's are not."""

from __future__ import annotations

import cv2
import numpy as np


def distance_to_zero(mask: np.ndarray) -> np.ndarray:
    """Euclidean distance of every pixel to the nearest one where the mask is 0.

    OpenCV 5's precise transform differs from call to call by 2e-6, so that a comparison with a threshold falls
    one way or the other, and a training target with it. Squared distances between pixels are whole numbers: rounding
    to them makes the result exact (up to about a thousand pixels, beyond that as exact as OpenCV).

    Parameters
    ----------
    mask : ndarray
        H×W, bool or uint8, with at least one 0.

    Returns
    -------
    ndarray
        H×W float32, 0 where the mask is 0.
    """
    distance = cv2.distanceTransform(mask.astype(np.uint8, copy=False), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.sqrt(np.rint(np.square(distance, dtype=np.float64))).astype(np.float32)
