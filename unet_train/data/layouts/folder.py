"""Any folder of images and masks: pairs are found by name, classes by what the masks show.

Which image goes with which masks is found out by `unet_train.data.pairing`, what the masks mean by
`unet_train.data.masks`; this file puts the two together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.data.annotations.shapes import rasterise
from unet_train.data.io.images import (
    image_pages,
    image_size,
    may_hold_pages,
    read_image,
    read_stored,
    turn_of,
)
from unet_train.data.io.turns import turned
from unet_train.data.layouts import LAYOUTS, DatasetKeys, Layout
from unet_train.data.layouts.common import FilesSource, palette_of_classes, refuse_binary
from unet_train.data.masks.background import FIRST_CLASS
from unet_train.data.masks.classes import MasksRule, find_classes, outline_ids, outlined_classes
from unet_train.data.masks.legend import Legend, find_legend
from unet_train.data.masks.reading import MaskReader, MaskSample, foreground_of
from unet_train.data.masks.values import MOST_CLASSES, distinct, list_values
from unet_train.data.pairing.find import UNLABELLED, FilesRule, find_pairs
from unet_train.data.pairing.groups import group_records
from unet_train.data.pairing.outlines import ANNOTATIONS, NO_ANNOTATIONS
from unet_train.data.pairing.pairs import Pair, first_of
from unet_train.data.pairing.sequences import describe_sequences
from unet_train.data.part_names import PART_NAMES
from unet_train.data.records import IGNORE, Record, Truth
from unet_train.errors import UserError
from unet_train.keys import key

_SAMPLED_MASKS = 256
_SAMPLED_TURNS = 32
_SAMPLED_PIXELS = 100_000_000  # about a second of reading


class FolderSource(FilesSource):
    """Images with their masks.

    Parameters
    ----------
    root : path
    files : FilesRule
    masks : MasksRule
    channels : int, optional
        Channels of the images. None: those of the first image.
    group_regex, group_csv : optional
        As in `group_records`.
    intensity_range : (float, float), optional
        As in `read_image`.
    name : str
        Name of the data set, for messages.

    Raises
    ------
    UserError
        No pairs, masks whose values cannot be classes, groups that miss a file. Single images without a mask are no
        error here but in `layout_problems`, which the data check lists with all others.
    """

    orientation = "auto"

    def __init__(
        self,
        root: str | Path,
        files: FilesRule = FilesRule(),  # noqa: B008 (frozen)
        masks: MasksRule = MasksRule(),  # noqa: B008 (frozen)
        *,
        channels: int | None = None,
        group_regex: str | None = None,
        group_csv: str | Path | None = None,
        intensity_range: tuple[float, float] | None = None,
        name: str = "folder",
    ) -> None:
        super().__init__(
            root,
            "set dataset.root to the folder that holds the images and masks, for example in images/ and masks/",
            name=name,
            intensity_range=intensity_range,
            channels=channels,
        )
        found = find_pairs(self._root, files)
        self.pairing, self.left_out = found.rule, dict(found.left_out)
        self.notes += found.notes
        self._problems = [*found.unlabelled.items(), *found.problems]
        stacks = self._first_is_a_stack(found.pairs)
        records = [record for pair in found.pairs for record in self._records_of(pair, stacks)]
        self._records = group_records(records, self._root, regex=group_regex, table=group_csv)
        self._annotations = found.annotations
        self._class_ids: dict[str, int] = {}
        self._several = any(record.more_labels for record in self._records)
        if self._several and not masks.instances:
            masks = replace(masks, instances=True)
            self.notes.append("several masks to an image: each is taken as one object")
        legend = None if found.annotations is not None else self._find_legend()
        declared = (masks.values, masks.colors, masks.threshold, masks.ignore_value)
        if (
            legend is not None
            and legend.unknown is not None
            and not masks.instances
            and declared == (None,) * 4
        ):
            masks = replace(masks, ignore_value=legend.unknown)
            self.notes.append(f"mask value {legend.unknown} is unknown, by {legend.path}")
        self._objects, self._ignore = masks.instances, masks.ignore_value
        if found.annotations is not None:
            found_classes = outlined_classes(masks, found.annotations.classes)
            self._class_ids = outline_ids(found_classes.names, found.annotations.classes)
            self._objects = len(found_classes.names) == 2
        else:
            try:
                found_classes = find_classes(masks, self._samples, legend)
            except UserError as error:
                self._refuse_swapped(error)
                raise
        self._values, self._classes = found_classes.values, found_classes.names
        self._reader = found_classes.reader
        self.has_background = found_classes.has_background
        self.notes += found_classes.notes
        self.notes += found.unused
        if found.annotations is None:
            self.notes += self._describe_turned_masks()
        if group_regex is None and group_csv is None:
            self.notes += describe_sequences(self._records)

    @property
    def values(self) -> dict[int, int]:  # type: ignore[override]
        """Pixel value → class id, as declared or discovered."""
        return dict(self._values)

    @property
    def palette(self) -> list[tuple[int, int, int]] | None:  # type: ignore[override]
        """Colours by class id, if the masks have them; see `common.palette_of_classes`."""
        if self._annotations is not None:
            return None
        if self._reader.colours is not None:
            shown = {index: colour for colour, index in self._reader.colours.items()}
            by_class = {
                self._values[index]: colour for index, colour in shown.items() if index in self._values
            }
            return [by_class[index] for index in range(len(self._classes))] if len(by_class) > 2 else None
        if self._reader.palette.values is not None or self._reader.pages:
            return None
        return palette_of_classes(self._records[0].labels["mask"], self._values, len(self._classes))

    def reading_key(self) -> str | None:
        """What the masks were found to mean, and the keys of reading; None for outlines in shared files."""
        if self._annotations is not None:
            return None
        masks = (self._reader, sorted(self._values.items()), self._objects, self._several, self._ignore)
        return repr((*masks, self._range, self._declared_channels))

    def read_image(self, record: Record) -> np.ndarray:
        """H×W×C, uint8 or float32 in [0, 1]."""
        return read_image(
            record.image,
            intensity_range=self._range,
            channels=self._declared_channels,
            page=record.page,
        )

    def read_truth(self, record: Record, *, scoring: bool = False) -> Truth:
        """Class map of one image; there is one truth, for training and scoring.

        Raises
        ------
        UserError
            Another size than the image, or a pixel value that is no class, with the file and the values.
        """
        if self._annotations is not None:
            return self._draw(record)
        if self._several:
            return self._unite(record)
        path = record.labels["mask"]
        labels = self._read_mask(path, record)
        if not self._objects:
            return Truth(classes=self._to_classes(path, labels))
        instances = labels.astype(np.int32)
        unknown = labels == self._ignore if self._ignore is not None else np.zeros(labels.shape, bool)
        instances[unknown] = 0
        if instances.min() < 0:
            raise UserError(f"{path}: negative values are no object numbers")
        refuse_binary(path, instances)
        classes = (instances > 0).astype(np.uint8)
        classes[unknown] = IGNORE
        return Truth(classes=classes, instances=instances)

    def _read_mask(self, path: str, record: Record) -> np.ndarray:
        return self._fit(path, self._reader.labels(path, read_stored(path, page=record.page)), record)

    def _fit(self, path: str, labels: np.ndarray, record: Record) -> np.ndarray:
        return fitted(path, labels, record, self._declared_channels)

    @property
    def mask_reader(self) -> MaskReader | None:
        """How files of class maps become the numbers of `values`; None where there are objects or outlines."""
        return None if self._annotations is not None or self._objects or self._several else self._reader

    @property
    def unknown_value(self) -> int | None:
        """The number in a mask that means that nothing is known."""
        return self._ignore

    def _describe_turned_masks(self) -> list[str]:
        """A sentence on masks that were drawn on the pictures as they are stored, by the headers of a sample."""
        found = []
        for index in _spread(len(self._records), min(len(self._records), _SAMPLED_TURNS)):
            record = self._records[index]
            with contextlib.suppress(UserError):  # the data check reports unreadable files
                if turn_of(record.image) >= 5:
                    size = image_size(record.image)[:2]
                    if size[0] != size[1] and image_size(record.labels["mask"])[:2] == size[::-1]:
                        found.append(Path(record.image).name)
        if not found:
            return []
        return [
            f"masks that fit the picture only as it is stored are turned as the camera says, like the images: "
            f"{first_of(found)}"
        ]

    def _draw(self, record: Record) -> Truth:
        """The outlines of an image; numbered objects where there is one class of them."""
        assert self._annotations is not None
        height, width, _ = image_size(record.image, channels=self._declared_channels, page=record.page)
        shapes = self._annotations.shapes(record.image)
        classes, instances = rasterise(shapes, height, width, self._class_ids)
        if any(not shape.is_background for shape in shapes) and not classes.any():
            raise UserError(
                f"{shapes[0].where}: the {len(shapes)} outlines cover none of the {height}×{width} pixels of "
                f"{record.image}; are their coordinates relative, or those of another size?"
            )
        return Truth(classes=classes, instances=instances if self._objects else None)

    def _unite(self, record: Record) -> Truth:
        """Several masks of one image: each marks one object, a later one above an earlier."""
        instances: np.ndarray | None = None
        for number, path in enumerate((record.labels["mask"], *record.more_labels), 1):
            marked = self._fit(path, foreground_of(read_stored(path)), record)
            if instances is None:
                instances = np.zeros(marked.shape, np.int32)
            instances[marked] = number
        assert instances is not None
        return Truth(classes=(instances > 0).astype(np.uint8), instances=instances)

    def _to_classes(self, path: str, labels: np.ndarray) -> np.ndarray:
        found = distinct(labels)
        allowed = set(self._values) | ({self._ignore} if self._ignore is not None else set())
        unknown = [value for value in found if value not in allowed]
        if unknown:
            raise UserError(
                f"{path}: pixel values {list_values(unknown)} are no class (known: "
                f"{list_values(sorted(allowed))}); correct the mask, or declare dataset.values or "
                "dataset.ignore_value"
            )
        classes = np.zeros(labels.shape, np.uint8)
        for value in found:
            if value == self._ignore:
                classes[labels == value] = IGNORE
            elif self._values[value]:
                classes[labels == value] = self._values[value]
        return classes

    def _find_legend(self) -> Legend | None:
        """The file that names the classes: in the data set's folder, or beside the masks."""
        beside = Path(self._records[0].labels["mask"]).parent
        return find_legend(self._root) or (find_legend(beside) if beside != self._root else None)

    def _first_is_a_stack(self, pairs: Sequence[Pair]) -> bool:
        """Whether the first image's file holds several pages; the others are alike, and listing opens no more files."""
        first = pairs[0].image
        return may_hold_pages(first) and image_pages(first, channels=self._declared_channels) > 0

    def _records_of(self, pair: Pair, stacks: bool) -> list[Record]:
        """One record, or one for each page of a file that holds several."""
        single = Record(
            key=pair.key,
            image=str(pair.image),
            labels={"mask": str(pair.masks[0])},
            group=pair.group or "",
            part=pair.part,
            more_labels=tuple(str(mask) for mask in pair.masks[1:]),
        )
        pages = image_pages(pair.image, channels=self._declared_channels) if stacks else 0
        if not pages:
            return [single]
        own = image_pages(pair.masks[0])
        if own != pages:
            raise UserError(
                f"{pair.masks[0]}: {own or 1} pages for the {pages} of {pair.image}; give every page of the image one "
                "page of the mask, or say dataset.channels if the pages are channels of one image"
            )
        digits = len(str(pages - 1))
        return [
            replace(single, key=f"{pair.key}/{page:0{digits}}", group=single.group or pair.key, page=page)
            for page in range(pages)
        ]

    def _refuse_swapped(self, error: UserError) -> None:
        """Where the masks make no sense and the images look like masks, say so instead."""
        record = self._records[0]
        counts = []
        for path in (record.image, record.labels["mask"]):
            with contextlib.suppress(UserError):
                counts.append(len(np.unique(read_stored(path, page=record.page).array)))
        if len(counts) == 2 and counts[0] <= 4 and counts[1] > MOST_CLASSES:
            image, mask = counts
            raise UserError(
                f"{record.image}: has {image} values and its mask {record.labels['mask']} {mask}: images and masks "
                "seem to be swapped; change dataset.images and dataset.masks"
            ) from error

    def _samples(self) -> list[MaskSample]:
        """All masks, or of a large data set an evenly spread sample."""
        looked: list[MaskSample] = []
        pixels = 0
        for index in _spread(len(self._records), min(len(self._records), _SAMPLED_MASKS)):
            record = self._records[index]
            stored = read_stored(record.labels["mask"], page=record.page)
            pixels += stored.array.size
            looked.append(MaskSample.of(record.labels["mask"], stored))
            if pixels > _SAMPLED_PIXELS:
                break
        return looked


def fitted(path: str, labels: np.ndarray, record: Record, channels: int | None) -> np.ndarray:
    """A mask of its image's size; one drawn on the picture as it is stored is turned as the image is.

    Parameters
    ----------
    path : str
        The mask's file, for the message.
    labels : ndarray
        H×W.
    record : Record
    channels : int or None
        Of the image; None: by its file.

    Raises
    ------
    UserError
        Another size.
    """
    height, width, _ = image_size(record.image, channels=channels, page=record.page)
    if labels.shape == (height, width):
        return labels
    if labels.shape == (width, height) and (turn := turn_of(record.image)) >= 5:
        return np.ascontiguousarray(turned(labels, turn))
    raise UserError(
        f"{path}: {labels.shape[0]}×{labels.shape[1]} labels for the {height}×{width} image {record.image}"
    )


def _spread(length: int, count: int) -> list[int]:
    """`count` different indices evenly over ``range(length)``."""
    return [int(index) for index in np.unique(np.linspace(0, length - 1, count).round().astype(int))]


def folder_source(root: str | Path, **keys: Any) -> FolderSource:
    """A `FolderSource` from the keys of ``dataset=folder``, those of `FilesRule` and `MasksRule` among them."""
    files = {f.name: keys.pop(f.name) for f in fields(FilesRule) if f.name in keys}
    masks = {f.name: keys.pop(f.name) for f in fields(MasksRule) if f.name in keys}
    return FolderSource(root, FilesRule(**files), MasksRule(**masks), **keys)


def _from_keys(
    root: str, name: str, intensity_range: tuple[float, float] | None, **keys: Any
) -> FolderSource:
    return folder_source(root, name=name, intensity_range=intensity_range, **keys)


@dataclass
class FolderKeys(DatasetKeys):
    """Images and masks in any layout that their names tell."""

    images: str | None = key("folder of the images, or a pattern such as scans/{name}.png; null: found out")
    masks: str | None = key("folder of the masks, or a pattern such as drawn/{name}_m.png; null: found out")
    unlabelled: str = key(
        "what to do with images that have no mask", choices=UNLABELLED, before=UNLABELLED[0]
    )
    annotations: str | None = key(
        "format of the files with outlines that take the place of masks; null: found out",
        choices=ANNOTATIONS,
        before=NO_ANNOTATIONS,
    )
    parts: dict[str, Any] | None = key(
        f"which folder, or text file of names, is which part ({', '.join(PART_NAMES)}); null: by the folders' names",
        before=None,
    )
    suffix: str = key("what a mask's name has after the image's, as in img1_mask.png")
    classes: list[str] | None = key("class names by id; null: by the values found")
    background: str | None = key(
        "class that does not count in the means: a name or mask value, or none; null: class 0 of two classes, "
        "or where it is unnamed or named background, else none",
        before=FIRST_CLASS,
    )
    colors: dict[str, Any] | None = key(
        "class name: [red, green, blue] of masks in colour; null: found out", before=None
    )
    threshold: int | None = key(
        "grey value from which a pixel of a mask is foreground; null: none", at_least=1, before=None
    )
    values: dict[int, int] | None = key("pixel value in the mask: class id; null: found out")
    ignore_value: int | None = key("pixel value that counts neither in loss nor in metrics")
    instances: bool = key("the masks hold one number per object instead of classes", before=False)
    channels: int | None = key("channels of the images; null: found out")
    group_regex: str | None = key("its first group in an image's name is what a split keeps together")
    group_csv: str | None = key("CSV with columns file, group")


LAYOUTS.register("folder", Layout(FolderKeys, _from_keys))
