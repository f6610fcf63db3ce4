"""The U-Net paper's target: the classes with a thin background gap drawn between touching objects."""

from __future__ import annotations

import cv2
import numpy as np

from unet_train.data.records import IGNORE
from unet_train.data.targets.classes import SEED_THRESHOLDS
from unet_train.errors import UserError


class ForegroundTarget:
    """Classes with a gap of background between objects that touch (Ronneberger et al. 2015, section 3).

    Parameters
    ----------
    gap : float
        Width of the gap in native pixels; half of it is taken from either object, at least one pixel of the
        working resolution from each.
    """

    seed_thresholds = SEED_THRESHOLDS

    def __init__(self, gap: float = 2.0):
        if not gap > 0:
            raise UserError(f"dataset.target=foreground: gap={gap} must be positive (native pixels)")
        self.gap = float(gap)

    def _half(self, scale: float) -> int:
        return max(1, round(self.gap * scale / 2))

    def outputs(self, dataset_classes: tuple[str, ...]) -> tuple[str, ...]:
        """The data set's classes: the gap is background."""
        return tuple(dataset_classes)

    def make(self, classes: np.ndarray, instances: np.ndarray | None, scale: float = 1.0) -> np.ndarray:
        """Target map; an object's pixel with another object's pixel within half the gap becomes background.

        Parameters
        ----------
        classes : ndarray
            H×W uint8 at the working resolution, 255 where nothing is known (stays 255).
        instances : ndarray or None
            H×W int32, 0 for no object; without them there is no gap to draw.
        scale : float
            Working over native resolution.

        Returns
        -------
        ndarray
            H×W uint8.
        """
        target = classes.astype(np.uint8, copy=True)
        if instances is None:
            return target
        target[touching(instances, self._half(scale)) & (classes != IGNORE)] = 0
        return target

    def closing_reach(self, scale: float = 1.0) -> int:
        """How many native pixels the way back reaches to either side to close a gap."""
        return int(np.ceil(self._half(scale) / scale))

    def class_probabilities(self, probabilities: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """Close the gaps again: a grey-scale closing of every foreground class over the gap's width.

        Parameters
        ----------
        probabilities : ndarray
            K×H×W float32, native size.
        scale : float
            The working resolution the target was made at.

        Returns
        -------
        ndarray
            K×H×W float32, sums to one over the classes.
        """
        reach = self.closing_reach(scale)
        element = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        closed = np.empty(probabilities.shape, np.float32)
        for k in range(1, len(probabilities)):
            # The closing is never below its input; at the edge OpenCV pads so that nothing is added or lost.
            closed[k] = cv2.morphologyEx(
                np.ascontiguousarray(probabilities[k], np.float32), cv2.MORPH_CLOSE, element
            )
        closed[0] = np.maximum(1.0 - closed[1:].sum(0), 0.0)
        return closed / closed.sum(0)

    def object_maps(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Everything but the background, with its gaps, is both foreground and seed."""
        foreground = (1.0 - probabilities[0]).astype(np.float32)
        return foreground, foreground


def touching(instances: np.ndarray, reach: int) -> np.ndarray:
    """Object pixels that have a pixel of another object within `reach` (chessboard distance).

    Parameters
    ----------
    instances : ndarray
        H×W integer, 0 for no object.
    reach : int
        In pixels, at least 1.

    Returns
    -------
    ndarray
        H×W bool.

    Notes
    -----
    Two running extrema tell whether a window holds two labels: the greatest label differs from the
    pixel's own, or the smallest positive one does. float64 holds every int32 label exactly.
    """
    element = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    labels = instances.astype(np.float64)
    greatest = cv2.dilate(labels, element)
    smallest = cv2.erode(np.where(labels > 0, labels, np.inf), element)
    return (instances > 0) & ((greatest != labels) | (smallest != labels))
