"""What every data layout hands over: records (which files), truths (which pixels) and the source itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    more_labels : tuple of str
        Further label files of the same kind, where one image has several.
    page : int or None
        Which page of the image's file, from 0, where it holds several; of label files that hold several too.
    trainable, scorable : bool
        Whether there is a label to train on (under the chosen kind), and a truth to score against.
    """

    key: str
    image: str
    labels: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    order: int = 0
    part: str | None = None
    more_labels: tuple[str, ...] = ()
    page: int | None = None
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


class Source(ABC):
    """A data set: lists records, reads images and truths. Must be picklable (loader workers).

    Attributes
    ----------
    name : str
        Name of the data set, for messages.
    notes : sequence of str
        What was found out or left out, one sentence each, said to the user at the start.
    margin : int
        Width in pixels of the border outside the field of interest (0: none).
    has_background : bool
        False: class 0 is a class like the others.
    volumes : bool
        True: a group's images are the slices of a volume, ordered by `Record.order`; an evaluation then scores
        each group as a whole too.
    one_size_per_group : bool
        True: the check refuses a group whose images differ in size.
    orientation : {"any", "upright", "auto"}
        ``any`` for images without an up (cells), ``upright`` for others, ``auto`` where the masks of the
        training part are to decide.
    palette : sequence of (red, green, blue), or None
        Colours of the classes, 0 to 255 by class id, where the masks have their own; pictures of three classes
        and more are drawn in them.
    values : mapping of int to int, or None
        Pixel value → class id, where the masks are read by such a table.
    pairing : str
        The rule by which images and labels are paired, in one sentence; "" where the layout needs none.
    left_out : mapping of str to str
        Path → why, of files that are not used.
    """

    name: str
    notes: Sequence[str] = ()
    margin: int = 0
    has_background: bool = True
    volumes: bool = False
    one_size_per_group: bool = False
    orientation: str = "upright"
    palette: Sequence[Sequence[int]] | None = None
    values: Mapping[int, int] | None = None
    pairing: str = ""
    left_out: Mapping[str, str] = {}

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the data set's own classes; the index is the class id."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Number of image channels."""

    @abstractmethod
    def records(self) -> list[Record]:
        """All records, in a fixed order."""

    @abstractmethod
    def read_image(self, record: Record) -> np.ndarray:
        """H×W×C, uint8 or float32 in [0, 1]."""

    @abstractmethod
    def read_truth(self, record: Record, *, scoring: bool = False) -> Truth:
        """Labels for training under the chosen kind, or (scoring) the truth to measure against."""

    def read_unscaled(self, record: Record) -> np.ndarray | None:
        """H×W×C with the values of the file; None where a source knows none but those of `read_image`."""
        return None

    def reading_key(self) -> str | None:
        """All that decides, besides a record and the bytes of its own files, what its image and truth are read as.

        Returns
        -------
        str or None
            None where that is not known, or other files have a say: the data check then reads all files each time.
        """
        return None

    def layout_problems(self) -> list[tuple[str, str]]:
        """(path, what) of what is wrong with the files' names: missing partners, numbers taken twice."""
        return []
