"""A part of an image too large for the memory, resampled as the whole of it would be, and its way back.

The size at the working resolution is a whole number, so that the ratio of both sizes is 0.3 only nearly and
working pixels begin anywhere between native ones. A part resampled as an image of its own would lie on
another grid than the whole; here every axis has its weights (working × native, a few to a row), and a part
takes its rows of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import sparse

from unet_train.preprocessing.resampling import resize_image

LONGEST_PERIOD = 64
"""Native pixels after which both grids meet again, up to which a part is done by OpenCV, as the whole is."""

SLIVER = 1e-3
"""Shares of a native pixel that OpenCV leaves out of an area."""


@dataclass(frozen=True)
class AxisPart:
    """A stretch of one axis of an image.

    Attributes
    ----------
    native, working : int
        Pixels of the whole axis at both resolutions.
    start, stop : int
        The first working pixel of the stretch, and the one behind its last.
    """

    native: int
    working: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Working pixels of the stretch."""
        return self.stop - self.start

    @property
    def period(self) -> tuple[int, int]:
        """Native and working pixels after which the two grids meet again."""
        common = math.gcd(self.native, self.working)
        return self.native // common, self.working // common

    @cached_property
    def source(self) -> tuple[int, int]:
        """First native pixel that the stretch is made from, and the one behind the last."""
        if not self.meets:
            columns = resampling_weights(self.native, self.working)[self.start : self.stop].indices
            return int(columns.min()), int(columns.max()) + 1
        native, working = self.period
        # One period more to either side where neighbours are mixed.
        more = native if working > native else 0
        first = self.start // working * native - more
        last = -(-self.stop // working) * native + more
        return max(0, first), min(self.native, last)

    @cached_property
    def target(self) -> tuple[int, int]:
        """First native pixel that the stretch has a say in on the way back, and the one behind the last."""
        if self.native == self.working:
            return self.start, self.stop
        share = resampling_weights(self.working, self.native)[:, self.start : self.stop]
        rows = np.flatnonzero(np.diff(share.indptr))
        return int(rows[0]), int(rows[-1]) + 1

    @property
    def meets(self) -> bool:
        """Whether the two grids meet often enough for a part from one meeting to the next."""
        return self.period[0] <= LONGEST_PERIOD

    @cached_property
    def forth(self) -> sparse.csr_matrix:
        """Weights of the native pixels of `source` (columns) in the stretch's (rows), float32."""
        every = resampling_weights(self.native, self.working)
        return every[self.start : self.stop, slice(*self.source)]

    @cached_property
    def shares(self) -> sparse.csr_matrix:
        """Weights of the stretch's pixels (columns) in the native ones of `target` (rows), float32."""
        every = resampling_weights(self.working, self.native)
        return every[slice(*self.target), self.start : self.stop]

    def to_native(self, weights: np.ndarray) -> np.ndarray:
        """Blending weights of the stretch's pixels as those of the native pixels of `target`.

        Where the weights of several stretches sum to one over the working pixels, they do so over the native.
        """
        return weights if self.native == self.working else self.shares @ weights


def part_to_working(pixels: np.ndarray, rows: AxisPart, columns: AxisPart) -> np.ndarray:
    """The rectangle of an image that `resampling.resample_image` would give.

    Parameters
    ----------
    pixels : ndarray
        ``rows.source`` × ``columns.source`` × C, uint8 or float32.
    rows, columns : AxisPart

    Returns
    -------
    ndarray
        ``rows.length`` × ``columns.length`` × C, the same dtype; float32 up to rounding, uint8 exactly but for
        enlarging by a ratio whose grids never meet (a grey step, from OpenCV's fixed-point arithmetic).
    """
    if (rows.native, columns.native) == (rows.working, columns.working):
        return pixels
    if rows.meets and columns.meets:
        places, size = zip(*(_within_periods(part) for part in (rows, columns)), strict=True)
        shrinks = rows.working < rows.native or columns.working < columns.native
        return resize_image(pixels, (size[0], size[1]), shrinks)[places[0], places[1]]
    planes = _separable(pixels.transpose(2, 0, 1).astype(np.float32), rows.forth, columns.forth)
    if pixels.dtype == np.uint8:
        planes = np.rint(planes).astype(np.uint8)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def part_from_working(probabilities: np.ndarray, rows: AxisPart, columns: AxisPart) -> np.ndarray:
    """The rectangle that `resampling.resample_probabilities` would give, of what a part alone tells of it.

    Parameters
    ----------
    probabilities : ndarray
        K × ``rows.length`` × ``columns.length`` float32.
    rows, columns : AxisPart

    Returns
    -------
    ndarray
        K × ``rows.target`` × ``columns.target`` float32; native pixels that also depend on working ones outside
        of the part are made from those inside.
    """
    if (rows.native, columns.native) == (rows.working, columns.working):
        return probabilities
    native = _separable(probabilities, rows.shares, columns.shares)
    inside = [np.asarray(part.shares.sum(1)).reshape(-1) for part in (rows, columns)]
    return native / (inside[0][:, None] * inside[1][None])


@lru_cache(maxsize=8)
def resampling_weights(length: int, new: int) -> sparse.csr_matrix:
    """OpenCV's resizing of a line as a matrix: areas where it shrinks, linear where it grows.

    Parameters
    ----------
    length, new : int
        Pixels before and after.

    Returns
    -------
    csr_matrix
        new×length float32, rows sum to one, no zeros stored. The product with 8-bit areas equals OpenCV's in
        every bit (but for whole ratios, which it rounds in another way).
    """
    each = np.arange(new)
    if new < length:
        begin = each * (length / new)
        end = begin + length / new
        cell = np.minimum(length / new, length - begin)
        first = np.floor(begin).astype(np.intp)
        rows, columns, shares = [], [], []
        for k in range(math.ceil(length / new) + 1):
            pixel = first + k
            covered = np.minimum(end, pixel + 1) - np.maximum(begin, pixel)
            kept = (covered > SLIVER) & (pixel < length)
            rows.append(each[kept])
            columns.append(pixel[kept])
            shares.append((covered / cell)[kept])
    else:
        position = np.clip((each + 0.5) * (length / new) - 0.5, 0, length - 1)
        below = np.floor(position).astype(np.intp)
        rows, columns = [each, each], [below, np.minimum(below + 1, length - 1)]
        shares = [1 - (position - below), position - below]
    values = np.concatenate(shares).astype(np.float32)
    matrix = sparse.csr_matrix((values, (np.concatenate(rows), np.concatenate(columns))), shape=(new, length))
    matrix.eliminate_zeros()
    return matrix


def _separable(planes: np.ndarray, rows: sparse.csr_matrix, columns: sparse.csr_matrix) -> np.ndarray:
    """N×h×w by one matrix per axis, along the rows first, as OpenCV does."""
    count, height, width = planes.shape
    across = (columns @ planes.reshape(count * height, width).T).T.reshape(count, height, -1)
    down = rows @ across.transpose(1, 0, 2).reshape(height, -1)
    return down.reshape(down.shape[0], count, -1).transpose(1, 0, 2)


def _within_periods(part: AxisPart) -> tuple[slice, int]:
    """Where the stretch lies in what comes of its source resized, and how long that is."""
    native, working = part.period
    first, last = (pixel // native * working for pixel in part.source)
    return slice(part.start - first, part.stop - first), last - first
