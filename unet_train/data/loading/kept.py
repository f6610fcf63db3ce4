"""A data set whose images and truths are decoded once, as far as they fit in memory: for those read again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from unet_train.data.records import Record, Source, Truth

KEPT_BYTES = 512 * 2**20
"""Decoded images and truths together, in each process."""

Found = TypeVar("Found")


class KeptSource(Source):
    """Reads as another source does, and keeps what it read.

    What comes first is kept until the memory is used up; the rest is decoded each time. To drop the oldest instead
    would, with records read in the same order each time, find none of them again.

    Parameters
    ----------
    source : Source
    most_bytes : int
    """

    def __init__(self, source: Source, most_bytes: int = KEPT_BYTES) -> None:
        self.source = source
        self.room = most_bytes
        self._kept: dict[tuple[str, str], np.ndarray | Truth] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    @property
    def channels(self) -> int:
        return self.source.channels

    def records(self) -> list[Record]:
        return self.source.records()

    def read_image(self, record: Record) -> np.ndarray:
        """H×W×C, as `Source.read_image`; not to be changed."""
        return self._keep((record.key, "image"), lambda: self.source.read_image(record))

    def read_truth(self, record: Record, *, scoring: bool = False) -> Truth:
        """As `Source.read_truth`; not to be changed."""
        kind = "scoring" if scoring else "training"
        return self._keep((record.key, kind), lambda: self.source.read_truth(record, scoring=scoring))

    def _keep(self, name: tuple[str, str], read: Callable[[], Found]) -> Found:
        if name in self._kept:
            return self._kept[name]  # type: ignore[return-value]
        found = read()
        size = _bytes(found)
        if size <= self.room:
            self.room -= size
            self._kept[name] = found  # type: ignore[assignment]
        return found


def _bytes(found: object) -> int:
    if isinstance(found, Truth):
        maps = (found.classes, found.instances, found.markers)
        return sum(array.nbytes for array in maps if array is not None)
    assert isinstance(found, np.ndarray)
    return found.nbytes
