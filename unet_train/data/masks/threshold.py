"""Black and white with values between: masks that went through JPEG, or were drawn with soft edges."""

from __future__ import annotations

import numpy as np

_NEAR = 0.2  # of the range: how far from its end a value may lie and still belong to it
_MOST_BETWEEN = (
    0.5  # edges, as a share of the smaller heap; object numbers are spread evenly over their range
)


def propose_threshold(values: np.ndarray, counts: np.ndarray) -> int | None:
    """The value from which a pixel is foreground, if the pixels lie in two heaps.

    Parameters
    ----------
    values, counts : ndarray
        Distinct grey values, ascending, and how many pixels have each.

    Returns
    -------
    int or None
        The middle of the range; None where the values lie otherwise.
    """
    low, high = int(values[0]), int(values[-1])
    reach = _NEAR * (high - low)
    below = counts[values <= low + reach].sum()
    above = counts[values >= high - reach].sum()
    between = counts.sum() - below - above
    if high - low < 2 or between > _MOST_BETWEEN * min(below, above):
        return None
    return round((low + high) / 2)


def grey_of(array: np.ndarray) -> np.ndarray:
    """Grey values of a mask, H×W: those of a colour image are the mean of its channels, rounded."""
    if array.ndim == 2:
        return array
    return np.rint(array.astype(np.float32).mean(axis=-1)).astype(np.uint8)
