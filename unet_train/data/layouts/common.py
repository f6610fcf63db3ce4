"""What the layouts on disk share: a root that must exist, records, channels, labels of their image's size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from unet_train.data.io.images import image_size, read_image, read_labels, read_palette, read_unscaled
from unet_train.data.records import Record, Source
from unet_train.errors import UserError


class FilesSource(Source):
    """The part of `unet_train.data.records.Source` that is the same for all layouts on disk.

    A layout sets `_classes` and `_records` and, as it goes through the names, fills `_problems`.

    Parameters
    ----------
    root, remedy
        See `existing_root`.
    name : str
        Name of the data set, for messages.
    intensity_range, channels
        As in `read_image`.
    """

    def __init__(
        self,
        root: str | Path,
        remedy: str,
        *,
        name: str,
        intensity_range: tuple[float, float] | None,
        channels: int | None,
    ) -> None:
        self.name = name
        self.notes: list[str] = []
        self._range = intensity_range
        self._declared_channels = channels
        self._channels = channels
        self._classes: tuple[str, ...] = ()
        self._records: list[Record] = []
        self._problems: list[tuple[str, str]] = []
        self._root = existing_root(root, remedy)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; the index is the class id."""
        return self._classes

    @property
    def channels(self) -> int:
        """Number of image channels: declared, or the first image's."""
        if self._channels is None:
            self._channels = image_size(self._records[0].image, page=self._records[0].page)[2]
        return self._channels

    def records(self) -> list[Record]:
        """All records, in a fixed order."""
        return list(self._records)

    def layout_problems(self) -> list[tuple[str, str]]:
        """(path, what) of what is wrong with the files' names: missing partners, numbers taken twice."""
        return list(self._problems)

    @property
    def declared_channels(self) -> int | None:
        """Channels of the images as they were declared; None: by their files."""
        return self._declared_channels

    def read_image(self, record: Record) -> np.ndarray:
        """H×W×C, uint8 or float32 in [0, 1]."""
        return read_image(record.image, intensity_range=self._range, channels=self._declared_channels)

    def read_unscaled(self, record: Record) -> np.ndarray | None:
        """H×W×C with the values of the file."""
        return read_unscaled(record.image, channels=self._declared_channels, page=record.page)


def existing_root(root: str | Path, remedy: str) -> Path:
    """The data set's folder, or a UserError that names ``dataset.root`` and how to get the data."""
    path = Path(root).expanduser()
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "does not exist"
        raise UserError(f"dataset.root: {path} {what}; {remedy}")
    return path


def read_sized_labels(path: str, image: str, channels: int | None = None) -> np.ndarray:
    """Labels as stored, refused where their size is not the image's.

    Raises
    ------
    UserError
        Names the label file and both sizes.
    """
    labels = read_labels(path)
    height, width, _ = image_size(image, channels=channels)
    if labels.shape != (height, width):
        raise UserError(
            f"{path}: {labels.shape[0]}×{labels.shape[1]} labels for the {height}×{width} image {image}"
        )
    return labels


def refuse_binary(path: str, labels: np.ndarray) -> None:
    """A foreground mask in place of object numbers would merge all cells into one object, in silence.

    Raises
    ------
    UserError
        A mask of one value with several regions.
    """
    values = np.flatnonzero(np.bincount(labels.ravel()))
    positive = values[values > 0]
    if len(positive) != 1 or positive[0] not in (1, 255):
        return
    from scipy import ndimage

    pieces, count = ndimage.label(labels > 0)
    areas = np.bincount(pieces.ravel())[1:]
    if count > 1 and (areas > 0.1 * areas.max()).sum() > 1:  # crumbs of one object are no second object
        raise UserError(
            f"{path}: a binary mask ({count} separate regions, all of value {positive[0]}) where every "
            "object should have its own number; number them; masks of classes are for dataset=folder with "
            "dataset.instances=false"
        )


def palette_of_classes(
    path: str | Path, values: Mapping[int, int], classes: int
) -> list[tuple[int, int, int]] | None:
    """Colours of the classes in an indexed-colour mask.

    Parameters
    ----------
    path : path
        A mask; it stands for all of its data set.
    values : mapping of int to int
        Pixel value → class id. Where several values are one class the least of them counts.
    classes : int
        Number of classes.

    Returns
    -------
    list of (red, green, blue), or None
        By class id, 0 to 255. None where the mask has no palette, or one that tells no classes apart: greys
        alone, as grey images are sometimes saved, a colour that two classes share, a class without one.

    Raises
    ------
    UserError
        Unreadable file.
    """
    table = read_palette(path)
    if table is None:
        return None
    colours: dict[int, tuple[int, int, int]] = {}
    for value, index in sorted(values.items()):
        if 0 <= value < len(table) and index not in colours:
            red, green, blue = table[value].tolist()
            colours[index] = (red, green, blue)
    found = [colours[index] for index in range(classes) if index in colours]
    grey = all(red == green == blue for red, green, blue in found)
    if grey or len(found) < classes or len(set(found)) < classes:
        return None
    return found
