"""The pixel values of a whole data set as one histogram: their range, their percentiles, and what of it is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unet_train.data.records import Record, Source
from unet_train.errors import UserError

TOP = 65535
"""Greatest value of 16 bits; the histogram has a bin for each, and 8-bit values are 257 bins apart."""

TAILS = (0.1, 99.9)
"""Percentiles that are told."""

UNUSED_HALF = 0.5
"""16-bit images whose greatest value is below this share of `TOP` use a small part of their range."""

NARROW = 1 / 8
"""So do those whose `TAILS` are closer together than this share of it."""

MEASURED_IMAGES = 200
"""Of more training images, so many spread evenly tell the range."""

MARGINS = (0.05, 0.25)
"""What a measured range has below and above, as shares of its width: new images may be darker or brighter."""

_STEP = TOP // 255
_PORTION = 2**18  # values counted at once: they stay in the cache, and large images need no large copies


@dataclass(frozen=True)
class Histogram:
    """The pixel values of one image.

    Attributes
    ----------
    counts : ndarray
        int64: 256 counts of a uint8 image, otherwise ``TOP + 1``.
    dtype : {"uint8", "uint16", "float32"}
        ``uint16``: a float32 image whose values are all whole multiples of ``1 / TOP``.
    """

    counts: np.ndarray
    dtype: str


def histogram(image: np.ndarray) -> Histogram:
    """Count the values of an image, H×W×C, uint8 or float32 in [0, 1], all channels together."""
    values = np.ravel(image)
    portions = (values[first : first + _PORTION] for first in range(0, len(values), _PORTION))
    if image.dtype == np.uint8:
        counts = np.zeros(256, np.int64)
        for portion in portions:
            counts += np.bincount(portion, minlength=256)
        return Histogram(counts, "uint8")
    counts = np.zeros(TOP + 1, np.int64)
    dtype = "uint16"
    for portion in portions:
        levels = portion * np.float32(TOP)
        whole = np.rint(levels)
        if np.abs(levels - whole).max() > 0.02:  # k / 65535 as float32 comes back within 0.01 of k
            dtype = "float32"
        counts += np.bincount(whole.astype(np.int32), minlength=TOP + 1)
    return Histogram(counts, dtype)


@dataclass
class Intensities:
    """The values of many images."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(TOP + 1, np.int64))
    dtypes: Counter[str] = field(default_factory=Counter)

    def add(self, one: Histogram) -> None:
        """Count one image in."""
        if one.dtype == "uint8":
            self.counts[::_STEP] += one.counts
        else:
            self.counts += one.counts
        self.dtypes[one.dtype] += 1

    def describe(self) -> dict[str, Any] | None:
        """The range of the values, for data.json.

        Returns
        -------
        dict or None
            ``dtype``: uint8, uint16 or float32, or several, joined by commas; ``low``, ``high``;
            ``percentile_0.1``, ``percentile_99.9``: the least value that so many per cent of the pixels do not
            exceed. Values of uint8 and uint16 are those of the files; of float32 and of mixtures, in [0, 1].
            None without images.
        """
        total = int(self.counts.sum())
        if total == 0:
            return None
        dtype = self._dtype()
        levels = np.flatnonzero(self.counts)
        cumulated = np.cumsum(self.counts[levels])
        tails = [int(levels[np.searchsorted(cumulated, share / 100 * total)]) for share in TAILS]
        found = [int(levels[0]), int(levels[-1]), *tails]
        values: list[float] = list(found)
        if dtype == "uint8":
            values = [level // _STEP for level in found]
        elif dtype != "uint16":
            values = [level / TOP for level in found]
        names = ["low", "high", *(f"percentile_{share:g}" for share in TAILS)]
        return {"dtype": dtype, **dict(zip(names, values, strict=True))}

    def unused_range(self) -> tuple[int, int] | None:
        """For 16-bit images that use a small part of their range: the range that would fit; else None.

        Full ranges of fewer bits (0 to 4095) are preferred to the values' own.
        """
        if self._dtype() != "uint16":
            return None
        found = self.describe()
        assert found is not None
        if found["high"] == found["low"]:
            return None
        if found["high"] < UNUSED_HALF * TOP:
            return 0, 2 ** max(8, int(found["high"]).bit_length()) - 1
        low, high = (int(found[f"percentile_{share:g}"]) for share in TAILS)
        return (low, high) if 0 < high - low < NARROW * TOP else None

    def _dtype(self) -> str:
        dtypes = set(self.dtypes)
        if "uint16" in dtypes and int(self.counts[::_STEP].sum()) == int(self.counts.sum()):
            # Multiples of 1/255 alone are 8-bit values that were stored as float.
            dtypes = (dtypes - {"uint16"}) | {"float32"}
        return ", ".join(name for name in ("uint8", "uint16", "float32") if name in dtypes)


def measure_range(source: Source, records: Sequence[Record]) -> tuple[float, float] | None:
    """The range of the files' values that holds the images: ``dataset.intensity_range=auto``.

    Parameters
    ----------
    source : Source
    records : sequence of Record
        At least one.

    Returns
    -------
    (float, float) or None
        From the least to the greatest of the images' own `TAILS`, with `MARGINS`, within the range of the files' type
        and rounded to whole numbers where that is one of whole numbers. None where an image has 8 bits, where
        all have one value, or where the source does not tell the files' values.
    """
    low, high = np.inf, -np.inf
    kind: np.dtype[Any] = np.dtype(np.float32)
    count = min(len(records), MEASURED_IMAGES)
    for index in np.unique(np.linspace(0, len(records) - 1, count).round().astype(int)):
        try:
            image = source.read_unscaled(records[index])
        except UserError:
            continue  # the check of the files tells what is wrong with it
        if image is None or image.dtype in (np.uint8, bool):
            return None
        values = image[np.isfinite(image)] if image.dtype.kind == "f" else image
        if values.size:
            tails = np.percentile(values, TAILS)
            low, high, kind = min(low, tails[0]), max(high, tails[1]), image.dtype
    if not low < high:
        return None
    below, above = low - MARGINS[0] * (high - low), high + MARGINS[1] * (high - low)
    if kind.kind == "f":
        return float(below), float(above)
    bounds = np.iinfo(kind)
    return float(max(np.floor(below), bounds.min)), float(min(np.ceil(above), bounds.max))


def has_own_range(source: Source, records: Sequence[Record]) -> bool:
    """Whether the values of the first readable image need no declared range: 8 or 16 bits, or scaled by the source."""
    for record in records:
        try:
            image = source.read_unscaled(record)
        except UserError:
            continue
        return image is None or image.dtype in (np.uint8, np.uint16)
    return True
