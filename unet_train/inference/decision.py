"""From class probabilities to class ids: the most probable class, or of two the foreground above a threshold."""

from __future__ import annotations

import numpy as np

from unet_train.data.records import IGNORE


def class_ids(
    probabilities: np.ndarray, threshold: float | None = None, ignore_below: float = 0.0
) -> np.ndarray:
    """Class of every pixel.

    Parameters
    ----------
    probabilities : ndarray
        K×H×W float32 over the data set's classes, in [0, 1].
    threshold : float or None
        For two classes: a pixel is of class 1 where its probability is above this. None: the most probable class;
        of equal ones the first.
    ignore_below : float
        Where the class taken is less probable than this, nothing is said: the pixel is `IGNORE`.

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
        chosen = probabilities.argmax(0).astype(np.uint8)
    elif len(probabilities) != 2:
        raise ValueError(f"a threshold is for two classes, not {len(probabilities)}")
    else:
        chosen = (probabilities[1] > threshold).astype(np.uint8)
    if ignore_below > 0:
        chosen[np.take_along_axis(probabilities, chosen[None], 0)[0] < ignore_below] = IGNORE
    return chosen
