"""What every data layout hands over: records (which files), truths (which pixels) and the source protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

IGNORE = 255
"""Value of a class map that counts in no loss and no metric."""


@dataclass(frozen=True)
class Record:
    """One image with its labels, as paths; listing records opens no image.

    Attributes
    ----------
    key : str
        Unique, stable, human: ``"01/002"``, ``"TCGA_CS_4942_19970222/3"``, ``"cells_07"``.
    image : str
        Path of the image file; a generated image has a name in angle brackets.
    labels : mapping of str to str
        Label paths by kind: ``gold``, ``silver``, ``markers``, or ``mask``.
    group : str
        What must not stand on both sides of a split: sequence, patient, block, file.
    order : int
        Position within the group (frame or slice number).
    part : str or None
        ``train``, ``val`` or ``test`` where the layout itself says so.
    trainable, scorable : bool
        Whether there is a label to train on (under the chosen kind), and a truth to score against.
    """

    key: str
    image: str
    labels: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    order: int = 0
    part: str | None = None
    trainable: bool = True
    scorable: bool = True


@dataclass(frozen=True)
class Truth:
    """Labels of one image at native size.

    Attributes
    ----------
    classes : ndarray
        H×W uint8 class ids, `IGNORE` where nothing is known.
    instances : ndarray or None
        H×W int32, 0 for no object; None where the data set has no instances.
    markers : ndarray or None
        H×W int32 tracking markers, one per object of the frame (detection truth), or None.
    """

    classes: np.ndarray
    instances: np.ndarray | None = None
    markers: np.ndarray | None = None


@runtime_checkable
class Source(Protocol):
    """A data set: lists records, reads images and truths. Must be picklable (loader workers).

    One whose groups are volumes (slices ordered by `Record.order`) may say ``volumes = True``; an evaluation then
    scores each group as a whole too. With ``one_size_per_group = True`` the check refuses a group whose images differ
    in size. With ``has_background = False`` class 0 is a class like the others.
    ``orientation`` is ``"any"`` for images without an up (cells), ``"upright"`` for others, ``"auto"`` where
    the masks of the training part are to decide; without it images are taken to have an up.
    One whose masks have colours of their own may give them as ``palette``, (red, green, blue) from 0 to 255 by
    class id; pictures of three classes and more are drawn in them.
    """

    name: str
    notes: list[str]
    """What was found out or left out, one sentence each, said to the user at the start."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the data set's own classes; the index is the class id."""

    @property
    def channels(self) -> int:
        """Number of image channels."""

    @property
    def margin(self) -> int:
        """Width in pixels of the border outside the field of interest (0: none)."""

    def records(self) -> list[Record]:
        """All records, in a fixed order."""

    def read_image(self, record: Record) -> np.ndarray:
        """H×W×C, uint8 or float32 in [0, 1]."""

    def read_truth(self, record: Record, *, scoring: bool = False) -> Truth:
        """Labels for training under the chosen kind, or (scoring) the truth to measure against."""


def has_background(source: Source) -> bool:
    """Whether class 0 of a data set is the background; True where it says nothing."""
    return bool(getattr(source, "has_background", True))
