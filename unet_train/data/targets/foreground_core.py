"""Target of four outputs: background, rim, inner part, and the core around each object's deepest point."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from unet_train.data.targets.foreground_border import INNER, ForegroundBorderTarget
from unet_train.errors import UserError

CORE = 3


class ForegroundCoreTarget(ForegroundBorderTarget):
    """`ForegroundBorderTarget` with the middle of each object as a class of its own, which is its seed.

    A rim parts two objects only where it is found all along their contact. Their cores lie apart anyway: each is a
    share of its own object's depth, so it does not depend on the object's size, and it is one piece.

    Parameters
    ----------
    width : float
        Width of the rim in native pixels, at least one pixel of the working resolution.
    core : float
        In (0, 1): the core is what lies deeper than this share of the object's greatest depth.
    """

    name = "foreground_core"
    seed_thresholds = (0.6, 0.7, 0.8, 0.9)
    """Cores lie apart by themselves; beyond these one core comes to pieces."""

    def __init__(self, width: float = 3.0, core: float = 0.5):
        super().__init__(width)
        if not 0 < core < 1:
            raise UserError(f"dataset.target={self.name}: core={core} must lie between 0 and 1")
        self.core = float(core)

    def outputs(self, dataset_classes: tuple[str, ...]) -> tuple[str, ...]:
        """Background, inner, border, core.

        Raises
        ------
        UserError
            A data set with more than one foreground class.
        """
        return (*super().outputs(dataset_classes), "core")

    def _parts(self, known: np.ndarray, depth: np.ndarray, width: float) -> np.ndarray:
        """As the border's, and the core where the rim leaves room for it."""
        parts = super()._parts(known, depth, width)
        own_depth = np.where(known, depth, -1)
        pieces, _ = ndimage.label(known & (depth >= self.core * own_depth.max()))
        middle = np.unravel_index(own_depth.argmax(), known.shape)
        parts[(pieces == pieces[middle]) & (parts == INNER)] = CORE
        return parts

    def object_maps(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Foreground: all but background; seeds: core, and the inner part at half its weight.

        So what is surely core is above 0.5, and a watershed on the seeds runs along the rims.
        """
        foreground = probabilities[1:].sum(0, dtype=np.float32)
        seeds = (probabilities[CORE] + 0.5 * probabilities[INNER]).astype(np.float32)
        return foreground, seeds
