"""Copies of objects pasted beside others: touching pairs for sets that show too few of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from unet_train.data.distances import distance_to_zero

HALO = 6
"""Pixels of its own surroundings that come with a copy and fade out (the bright halo of phase contrast)."""
SCALES = (0.5, 1.1)
ANY_ANGLE = (0.0, 360.0)
LARGEST_OVERLAP = 0.25
"""Share of the copy; what overlaps is cut from one of the two, so that they meet along a line."""
TRIES = 4


@dataclass(frozen=True)
class Patch:
    """A turned and scaled copy of one object.

    Attributes
    ----------
    image : ndarray
        H×W×C, of the image's dtype.
    own : ndarray
        H×W bool, the object's pixels.
    opacity : ndarray
        H×W float32 in [0, 1]: 1 on the object, falling to 0 over `HALO` pixels around it, 0 on other objects.
    value : int
        Its class.
    """

    image: np.ndarray
    own: np.ndarray
    opacity: np.ndarray
    value: int


def paste_beside(
    image: np.ndarray,
    classes: np.ndarray,
    instances: np.ndarray,
    patch: Patch,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put a copy beside the object nearest to the middle of a window, so that the two touch.

    The copy moves away from that object in a random direction until little of it overlaps
    (`LARGEST_OVERLAP`); what still does belongs to the one or the other. Where it would cover a third object
    it is tried again.

    Parameters
    ----------
    image : ndarray
        H×W×C.
    classes : ndarray
        H×W uint8; what lies under the copy becomes its class, known or not.
    instances : ndarray
        H×W int32, 0 for no object.
    patch : Patch
        From `take_copy`.
    rng : Generator

    Returns
    -------
    image, classes, instances : ndarray
        Changed copies, or the same arrays if there is no object or no room.
    """
    near = _nearest_to_the_middle(instances)
    if near == 0:
        return image, classes, instances
    receiver = instances == near
    middle = np.array(ndimage.center_of_mass(receiver))
    size = np.count_nonzero(patch.own)
    for _ in range(TRIES):
        angle = rng.uniform(0, 2 * np.pi)
        allowed = rng.uniform(0, LARGEST_OVERLAP) * size
        on_top = rng.random() < 0.5
        place = _touching_place(receiver, patch.own, middle, angle, allowed)
        if place is None:
            continue
        there, here = place
        own = patch.own[here] & ~(receiver[there] & (not on_top))
        under = instances[there]
        if (own & (under > 0) & (under != near)).any():
            continue
        return _pasted(image, classes, instances, patch, there, here, own)
    return image, classes, instances


def take_copy(
    image: np.ndarray,
    classes: np.ndarray,
    instances: np.ndarray,
    rng: np.random.Generator,
    angles: tuple[float, float] = ANY_ANGLE,
) -> Patch | None:
    """Copy a random whole object of an image, rotated by an angle of a range (degrees) and scaled by `SCALES`.

    Objects that touch the image's edge are not whole; without another one the answer is None.
    """
    height, width = instances.shape
    boxes = [
        (label, box)
        for label, box in enumerate(ndimage.find_objects(instances), start=1)
        if box is not None
        and min(box[0].start, box[1].start) > 0
        and box[0].stop < height
        and box[1].stop < width
    ]
    if not boxes:
        return None
    label, box = boxes[int(rng.integers(len(boxes)))]
    rows, columns = (
        slice(max(side.start - HALO - 2, 0), min(side.stop + HALO + 2, length))
        for side, length in zip(box, instances.shape, strict=True)
    )
    part = instances[rows, columns]
    scale, angle = float(rng.uniform(*SCALES)), float(rng.uniform(*angles))
    side = int(np.ceil(np.hypot(*part.shape) * max(scale, 1.0))) + 2
    matrix = cv2.getRotationMatrix2D(((part.shape[1] - 1) / 2, (part.shape[0] - 1) / 2), angle, scale)
    matrix[:, 2] += (side - part.shape[1]) / 2, (side - part.shape[0]) / 2

    def moved(array: np.ndarray, how: int, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
        return cv2.warpAffine(array, matrix, (side, side), flags=how, borderMode=border)

    # Shrinking needs no smoothing here: half size at most, and the microscope's images are smooth.
    pixels = moved(np.ascontiguousarray(image[rows, columns]), cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
    own = moved((part == label).astype(np.uint8), cv2.INTER_NEAREST) > 0
    others = moved(((part > 0) & (part != label)).astype(np.uint8), cv2.INTER_NEAREST) > 0
    if not own.any():
        return None
    away = distance_to_zero(~own)
    opacity = np.clip(1 - (away - 1) / HALO, 0, 1).astype(np.float32)
    opacity[others] = 0
    value = int(classes[instances == label].max())
    return Patch(pixels.reshape(side, side, -1), own, opacity, value)


def _nearest_to_the_middle(instances: np.ndarray) -> int:
    """The object with a pixel nearest to the middle of the window; 0 where there is none."""
    rows, columns = np.nonzero(instances)
    if len(rows) == 0:
        return 0
    height, width = instances.shape
    distance = (rows - height / 2) ** 2 + (columns - width / 2) ** 2
    nearest = int(distance.argmin())
    return int(instances[rows[nearest], columns[nearest]])


def _touching_place(
    receiver: np.ndarray, own: np.ndarray, middle: np.ndarray, angle: float, allowed: float
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """The first place along a ray where no more than `allowed` pixels overlap: slices of window and patch."""
    centre = np.array(ndimage.center_of_mass(own))
    step = np.array([np.sin(angle), np.cos(angle)])
    for distance in range(int(np.hypot(*receiver.shape))):
        corner = np.round(middle + distance * step - centre).astype(int)
        there, here = _overlap(corner, own.shape, receiver.shape)
        if there is None or not own[here].any():
            return None
        if np.count_nonzero(receiver[there] & own[here]) <= allowed:
            return there, here
    return None


def _overlap(corner: np.ndarray, patch: tuple[int, ...], window: tuple[int, ...]) -> tuple:
    """Slices of the window and of the patch that lie on one another; (None, None) if nothing does."""
    there, here = [], []
    for start, size, length in zip(corner.tolist(), patch, window, strict=True):
        first, last = max(start, 0), min(start + size, length)
        if first >= last:
            return None, None
        there.append(slice(first, last))
        here.append(slice(first - start, last - start))
    return tuple(there), tuple(here)


def _pasted(
    image: np.ndarray,
    classes: np.ndarray,
    instances: np.ndarray,
    patch: Patch,
    there: tuple[slice, slice],
    here: tuple[slice, slice],
    own: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, classes, instances = image.copy(), classes.copy(), instances.copy()
    # The halo does not run over other objects; on the copy itself it is opaque.
    opacity = np.where(own, 1, np.where(instances[there] > 0, 0, patch.opacity[here]))[..., None]
    mixed = opacity * patch.image[here] + (1 - opacity) * image[there]
    image[there] = np.rint(mixed).astype(image.dtype) if image.dtype == np.uint8 else mixed
    instances[there][own] = int(instances.max()) + 1
    classes[there][own] = patch.value
    return image, classes, instances
