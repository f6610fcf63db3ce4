"""Target of three outputs: background, the inner part of the objects, and the rim inside their outline."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from unet_train.data.distances import distance_to_zero
from unet_train.data.records import IGNORE
from unet_train.data.targets.classes import SEED_THRESHOLDS
from unet_train.errors import UserError

BACKGROUND, INNER, BORDER = 0, 1, 2


class ForegroundBorderTarget:
    """Background, inner, border; the rim lies wholly inside the object, so that inner + border is the object.

    Parameters
    ----------
    width : float
        Width of the rim in native pixels, at least one pixel of the working resolution.
    """

    name = "foreground_border"
    seed_thresholds = SEED_THRESHOLDS

    def __init__(self, width: float = 3.0):
        if not width > 0:
            raise UserError(f"dataset.target={self.name}: width={width} must be positive (native pixels)")
        self.width = float(width)

    def outputs(self, dataset_classes: tuple[str, ...]) -> tuple[str, ...]:
        """Background, inner, border.

        Raises
        ------
        UserError
            A data set with more than one foreground class: a border's class would be unknown.
        """
        if len(dataset_classes) != 2:
            raise UserError(
                f"dataset.target={self.name} needs one foreground class, the data set has "
                f"{len(dataset_classes) - 1} ({', '.join(dataset_classes[1:])}); use classes or foreground"
            )
        return (dataset_classes[0], "inner", "border")

    def make(self, classes: np.ndarray, instances: np.ndarray | None, scale: float = 1.0) -> np.ndarray:
        """Target map; a pixel belongs to the rim if a pixel outside its object is within the rim's width.

        The edge of the image is not an outline. An object too thin for an inner part keeps its deepest pixels
        as inner, or it would have no seed.

        Parameters
        ----------
        classes : ndarray
            H×W uint8 at the working resolution, 255 where nothing is known (stays 255).
        instances : ndarray or None
            H×W int32, 0 for no object. Without them the connected parts of the foreground are the objects,
            and a side that looks at unknown pixels has no rim, because the object may go on there.
        scale : float
            Working over native resolution.

        Returns
        -------
        ndarray
            H×W uint8 of 0, 1, 2, 255.
        """
        unknown = classes == IGNORE
        if instances is None:
            objects, _ = ndimage.label((classes > 0) | unknown)
            shown = (classes > 0) & ~unknown
        else:
            objects = instances
            shown = (instances > 0) & (classes > 0) & ~unknown
        target = np.zeros(classes.shape, np.uint8)
        width = max(1.0, self.width * scale)
        for place, own, depth in objects_with_depth(objects):
            visible = own & shown[place]
            # Without instances, how an object goes on under the unknown is a guess.
            known = own if instances is not None else visible
            target[place][visible] = self._parts(known, depth, width)[visible]
        target[unknown] = IGNORE
        return target

    def _parts(self, known: np.ndarray, depth: np.ndarray, width: float) -> np.ndarray:
        """Outputs of one object's pixels (H×W uint8 over its box), by how deep they lie; `known` ones are its own."""
        inner = depth > width
        if not inner.any():
            inner = depth >= depth.max()
        return np.where(inner, INNER, BORDER).astype(np.uint8)

    def class_probabilities(self, probabilities: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """2×H×W: background, and all others together."""
        return np.stack([probabilities[BACKGROUND], probabilities[BACKGROUND + 1 :].sum(0)])

    def object_maps(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Foreground: inner and border; seeds: inner alone."""
        foreground = (probabilities[INNER] + probabilities[BORDER]).astype(np.float32)
        return foreground, probabilities[INNER].astype(np.float32)


def objects_with_depth(
    objects: np.ndarray,
) -> Iterator[tuple[tuple[slice, slice], np.ndarray, np.ndarray]]:
    """Each object of an id map (H×W, 0 for none): its box, where it is in it, and how deep each pixel lies.

    The box has a pixel more on each side, as far as the picture reaches. Depth is the distance to the nearest
    pixel outside the object (float32); the edge of the picture is none.
    """
    for label, box in enumerate(ndimage.find_objects(objects), start=1):
        if box is None:
            continue
        rows, columns = (
            slice(max(side.start - 1, 0), min(side.stop + 1, length))
            for side, length in zip(box, objects.shape, strict=True)
        )
        own = objects[rows, columns] == label
        yield (rows, columns), own, _depth(own)


def _depth(own: np.ndarray) -> np.ndarray:
    """Distance of each own pixel to the nearest pixel that is not; infinite where the picture holds none."""
    if own.all():
        return np.full(own.shape, np.inf, np.float32)
    return distance_to_zero(own)
