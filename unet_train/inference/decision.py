"""From class probabilities to class ids: the most probable class, or of two the foreground from a threshold on."""

from __future__ import annotations

import numpy as np


def class_ids(probabilities: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """Class of every pixel.

    Parameters
    ----------
    probabilities : ndarray
        K×H×W float32 over the data set's classes, in [0, 1].
    threshold : float or None
        For two classes: a pixel is of class 1 where its probability is above this. None: the most probable class;
        of equal ones the first.

    Returns
    -------
    ndarray
        H×W uint8.

    Raises
    ------
    ValueError
        A threshold for more than two classes.
    """
    if threshold is None:
        return probabilities.argmax(0).astype(np.uint8)
    if len(probabilities) != 2:
        raise ValueError(f"a threshold is for two classes, not {len(probabilities)}")
    return (probabilities[1] > threshold).astype(np.uint8)
