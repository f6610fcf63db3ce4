"""Where the brain lies in a patient's volume: the published crop, square and 256², per slice, and the way back.

Steps 1 to 3 of the preprocessing of mateuszbuda/brain-segmentation-pytorch (MIT licence): voxels below a tenth
of the volume's maximum are 0, the volume is cut to the box of what is left, padded to a square and resized
with quadratic splines. All of it is linear in a slice once threshold and box are known, so that slices are
read and moved one by one. Step 4, the grey values, stands in `intensity`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

THRESHOLD = 0.1
"""Share of the volume's maximum below which a voxel is background."""

SIDE = 256
"""Height and width of what the network sees."""


@dataclass(frozen=True)
class Window:
    """Threshold and box of one volume, applied to its slices one at a time.

    Attributes
    ----------
    shape : (int, int)
        Height and width of every slice of the volume.
    rows, columns : (int, int)
        First row (column) of the box, and the one behind its last.
    threshold : float
        Values below it are set to 0; in the image's own units (uint8: 0…255, float32: [0, 1]).
    highest : float
        The volume's maximum in [0, 1] units; splines overshoot, and are clipped to [0, highest].
    side : int
        Height and width of what comes out.
    """

    shape: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    threshold: float
    highest: float
    side: int = SIDE

    @property
    def square(self) -> int:
        """Side of the padded box in native pixels: the longer of its height and width."""
        return max(self.rows[1] - self.rows[0], self.columns[1] - self.columns[0])

    @property
    def _box(self) -> tuple[slice, slice]:
        return slice(*self.rows), slice(*self.columns)

    @property
    def _inside(self) -> tuple[slice, slice]:
        """Where the box lies in its square: half of the padding before it, rounded down."""
        places = []
        for first, end in (self.rows, self.columns):
            before = (self.square - (end - first)) // 2
            places.append(slice(before, before + end - first))
        return places[0], places[1]

    def blank(self, image: np.ndarray) -> bool:
        """Whether nothing of a slice (H×W×C) reaches the threshold: no brain in it."""
        return not ((image >= self.threshold) & (image > 0)).any()

    def move_image(self, image: np.ndarray) -> np.ndarray:
        """Threshold, crop, pad and resize one slice.

        Parameters
        ----------
        image : ndarray
            H×W×C, uint8 or float32 in [0, 1].

        Returns
        -------
        ndarray
            side×side×C float32 in [0, 1].

        Raises
        ------
        ValueError
            For an image of another size than the volume's.
        """
        self._check(image)
        pixels = image[self._box]
        pixels = np.where(pixels < self.threshold, 0, pixels).astype(np.float32)
        if image.dtype == np.uint8:
            pixels /= 255
        # The padding is 0, so that its columns of the resizing matrices can be left out instead of added.
        down, across = (resizing(self.square, self.side)[:, place] for place in self._inside)
        planes = down @ pixels.transpose(2, 0, 1) @ across.T
        return np.ascontiguousarray(np.clip(planes, 0, self.highest).transpose(1, 2, 0))

    def move_labels(self, labels: np.ndarray) -> np.ndarray:
        """Labels (H×W of any dtype) as `move_image` moves the image: each pixel the nearest, 0 in the padding.

        Returns
        -------
        ndarray
            side×side, the same dtype.

        Raises
        ------
        ValueError
            For labels of another size than the volume's.
        """
        self._check(labels)
        square = np.zeros((self.square, self.square), labels.dtype)
        square[self._inside] = labels[self._box]
        nearest = ((np.arange(self.side) + 0.5) * self.square / self.side).astype(np.intp)
        return square[nearest[:, None], nearest]

    def place(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities of the square in the whole slice; around the box it is background for certain.

        Parameters
        ----------
        probabilities : ndarray
            K×square×square float32, background first.

        Returns
        -------
        ndarray
            K×H×W float32.
        """
        whole = background(len(probabilities), self.shape)
        whole[(slice(None), *self._box)] = probabilities[(slice(None), *self._inside)]
        return whole

    def _check(self, array: np.ndarray) -> None:
        if array.shape[:2] != self.shape:
            raise ValueError(f"a slice of {array.shape[:2]} in a volume of slices of {self.shape}")


def background(outputs: int, shape: tuple[int, int]) -> np.ndarray:
    """Probabilities (outputs×H×W float32) of a slice that is background for certain."""
    probabilities = np.zeros((outputs, *shape), np.float32)
    probabilities[0] = 1
    return probabilities


def find_window(images: Sequence[np.ndarray], side: int = SIDE) -> tuple[Window, slice]:
    """Threshold and box of a volume, and which of its slices lie in the box.

    Parameters
    ----------
    images : sequence of ndarray
        The slices in their order, H×W×C each, all uint8 or all float32 in [0, 1], of one size.
    side : int
        Height and width that slices are resized to.

    Returns
    -------
    window : Window
        Of a volume of zeros: all of it.
    inside : slice
        First to last slice with anything in them.

    Raises
    ------
    ValueError
        Without images, or if they differ in size or type.
    """
    if not images:
        raise ValueError("a volume without images")
    kinds = {(image.shape, image.dtype.name) for image in images}
    if len(kinds) > 1:
        sizes = " and ".join(
            f"{'×'.join(map(str, shape))} {dtype}" for shape, dtype in sorted(kinds, key=str)[:2]
        )
        raise ValueError(f"a volume of slices of {sizes}")
    height, width = images[0].shape[:2]
    highest = max(float(image.max()) for image in images)
    threshold = THRESHOLD * highest
    filled = np.stack([((image >= threshold) & (image > 0)).any(-1) for image in images])
    spans = []
    for axis, others in enumerate(((1, 2), (0, 2), (0, 1))):
        places = np.flatnonzero(filled.any(axis=others))
        spans.append((int(places[0]), int(places[-1]) + 1) if len(places) else (0, filled.shape[axis]))
    window = Window(
        shape=(height, width),
        rows=spans[1],
        columns=spans[2],
        threshold=threshold,
        highest=highest / 255 if images[0].dtype == np.uint8 else highest,
        side=side,
    )
    return window, slice(*spans[0])


@lru_cache(maxsize=64)
def resizing(length: int, side: int) -> np.ndarray:
    """Quadratic spline resizing of a line, with zeros beyond its ends, as a side×length float32 matrix.

    The same numbers as ``skimage.transform.resize(order=2, mode="constant", anti_aliasing=False)``, which
    treats each axis by itself; as a matrix it is ten times faster.
    """
    from scipy import ndimage

    matrix = ndimage.zoom(
        np.eye(length), (side / length, 1), order=2, mode="grid-constant", cval=0, grid_mode=True
    )
    matrix = matrix.astype(np.float32)
    matrix.setflags(write=False)
    return matrix
