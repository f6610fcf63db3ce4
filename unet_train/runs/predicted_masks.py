"""Masks that are there already, found and read by the rules of the truth, so that they are scored like a model's."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from unet_train.config.checks import expand
from unet_train.data.description import DataDescription
from unet_train.data.io.images import is_picture_name, read_stored
from unet_train.data.layouts.common import FilesSource, refuse_binary
from unet_train.data.layouts.folder import FolderSource, fitted
from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.masks.legend import Legend, find_legend
from unet_train.data.masks.reading import MaskReader, foreground_of
from unet_train.data.masks.values import distinct, list_values
from unet_train.data.pairing.listing import list_files
from unet_train.data.pairing.matching import match
from unet_train.data.pairing.names import Name, take_apart
from unet_train.data.records import IGNORE, Record, Source
from unet_train.errors import UserError
from unet_train.inference.predictor import Prediction

CLASSES, OBJECTS = "classes", "objects"
"""Folders of an output of `unet-predict` that hold its masks."""

Readings = dict[str, tuple[str, ...]]
"""Key of a record → paths of its files."""


@dataclass(frozen=True)
class PredictedMasks:
    """Masks in the place of a model: what `training.evaluation.evaluate` scores.

    Attributes
    ----------
    data : DataDescription
        As the truth has it.
    classes_of, objects_of : mapping of str to function
        Key of a record → what reads its class ids (H×W uint8) and its object ids (H×W int32). One with neither has
        no prediction.
    notes : tuple of str
        What was found out, one sentence each.
    """

    data: DataDescription
    classes_of: Mapping[str, Callable[[], np.ndarray]]
    objects_of: Mapping[str, Callable[[], np.ndarray]]
    notes: tuple[str, ...] = ()
    views: tuple[str, ...] = field(default=())

    def missing(self, records: Sequence[Record]) -> list[str]:
        """Keys of the records without a prediction."""
        return [r.key for r in records if r.key not in self.classes_of and r.key not in self.objects_of]

    def predict_record(self, record: Record, image: np.ndarray, normaliser: Normaliser) -> Prediction:
        """The masks of one image; `IGNORE` everywhere, and no object, where there are none.

        Raises
        ------
        UserError
            A file that cannot be read any more.
        """
        instances = self.objects_of[record.key]() if record.key in self.objects_of else None
        if record.key in self.classes_of:
            return Prediction.of_masks(self.classes_of[record.key](), instances)
        if instances is not None:
            return Prediction.of_masks((instances > 0).astype(np.uint8), instances)
        size = image.shape[:2]
        return Prediction.of_masks(np.full(size, IGNORE, np.uint8), np.zeros(size, np.int32))

    def objects(self, prediction: Prediction) -> np.ndarray:
        """Instance ids, H×W int32, 0 for background."""
        assert prediction.instances is not None, "only where the truth tells objects apart"
        return prediction.instances


def find_predicted_masks(
    folder: str, source: Source, root: str | None, data: DataDescription
) -> PredictedMasks:
    """The masks of a folder for the images of a data set; every file is read once, so that nothing fails later.

    Parameters
    ----------
    folder : str
        An output of `unet-predict`, or any folder of masks, as typed.
    source : Source
        Whose images they are for.
    root : str or None
        The folder of its images.
    data : DataDescription
        Of the truth.

    Raises
    ------
    UserError
        No folder, no mask of any image, another size, values that are no classes.
    """
    top = expand(folder)
    if not top.is_dir():
        raise UserError(f"predictions={folder}: no such folder")
    written = {name: top / name for name in (CLASSES, OBJECTS) if _holds_pictures(top / name)}
    notes: list[str] = []
    if not written:
        written = {OBJECTS if data.has_instances and find_legend(top) is None else CLASSES: top}
    if data.has_instances and OBJECTS not in written:
        notes.append(f"{written[CLASSES]} holds classes and no objects, so that classes alone are scored")
        data = replace(data, has_instances=False)
    if CLASSES not in written and not data.has_instances and len(data.classes) != 2:
        raise UserError(
            f"predictions={folder}: holds objects alone, and the truth has {len(data.classes)} classes; name a "
            "folder of class maps"
        )
    records = source.records()
    drawn = next((record.image for record in records if record.image.startswith("<")), None)
    if drawn is not None:
        raise UserError(
            f"predictions={folder}: the images of {data.name} are drawn, not files; unet-data demo output=FOLDER "
            "writes such, to be scored with dataset=folder"
        )
    classes: dict[str, Callable[[], np.ndarray]] = {}
    objects: dict[str, Callable[[], np.ndarray]] = {}
    if CLASSES in written:
        paths = _paired(records, root, written[CLASSES], notes)
        classes = _class_maps(paths, records, source, data, find_legend(written[CLASSES]), notes)
    if OBJECTS in written and (data.has_instances or not classes):
        paths = _paired(records, root, written[OBJECTS], notes)
        objects = _object_maps(paths, records, source)
    if data.has_instances and classes:
        alone = sorted(classes.keys() - objects.keys())
        if alone:
            raise UserError(f"{written[OBJECTS]}: no objects for {alone[0]}, of which there are classes")
    if not classes and not objects:
        raise UserError(
            f"predictions={folder}: no mask is named like one of the {len(records)} images, for example "
            f"{records[0].key}"
        )
    return PredictedMasks(data, classes, objects, tuple(notes))


def _holds_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(is_picture_name(p.name) for p in folder.rglob("*") if p.is_file())


# --- which file is for which image --------------------------------------------------------------------
def _paired(records: Sequence[Record], root: str | None, folder: Path, notes: list[str]) -> Readings:
    """Files by record: by the rules of images and masks, then with less and less of their folders."""
    images: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        images[_path_of(record, root)].append(record)
    names, masks = [take_apart(path) for path in images], [take_apart(p) for p in list_files(folder).pictures]
    if not masks:
        raise UserError(f"{folder}: holds no picture")
    best = match(names, masks)
    for plainer in (_with_ending, _without_part, _file_alone):
        tried = [plainer(name) for name in names]
        if len({name.stem for name in tried}) == len(tried):
            others = masks if plainer is _with_ending else [plainer(mask) for mask in masks]
            found = match(tried, others)
            best = found if len(found.pairs) > len(best.pairs) else best
    if best.masks_left:
        notes.append(f"{len(best.masks_left)} files in {folder} are for none of the images, and left aside")
    return {
        record.key: tuple(str(folder / mask.path) for mask in own)
        for image, own in best.pairs
        for record in images[image.path]
    }


def _path_of(record: Record, root: str | None) -> str:
    """The image's path below the root."""
    path = Path(record.image)
    below = os.path.relpath(path, expand(root)) if root else path.name
    return (path.name if below.startswith("..") else below).replace(os.sep, "/")


def _with_ending(name: Name) -> Name:
    """As `unet-predict` names the results of x.png and x.tif."""
    return replace(name, stem=name.stem + name.ending, part=None)


def _without_part(name: Name) -> Name:
    return replace(name, part=None)


def _file_alone(name: Name) -> Name:
    return replace(name, stem=name.stem.rpartition("/")[2], part=None)


def _declared_channels(source: Source) -> int | None:
    """Channels of the images, where that was said: it decides which axis of a tif is which."""
    return source.declared_channels if isinstance(source, FilesSource) else None


# --- what the files say -------------------------------------------------------------------------------
def _object_maps(
    paths: Readings, records: Sequence[Record], source: Source
) -> dict[str, Callable[[], np.ndarray]]:
    by_key = {record.key: record for record in records}
    readers = {
        key: partial(_read_objects, own, by_key[key], _declared_channels(source))
        for key, own in paths.items()
    }
    for reader in readers.values():
        reader()
    return dict(readers)


def _read_objects(paths: tuple[str, ...], record: Record, channels: int | None) -> np.ndarray:
    """H×W int32: one file of numbers, or several that hold an object each."""
    if len(paths) == 1:
        stored = read_stored(paths[0], page=record.page)
        labels = fitted(paths[0], MaskReader(objects=True).labels(paths[0], stored), record, channels)
        objects = labels.astype(np.int32)
        if objects.min() < 0:
            raise UserError(f"{paths[0]}: negative values are no object numbers")
        refuse_binary(paths[0], objects)
        return objects
    marked = [fitted(path, foreground_of(read_stored(path)), record, channels) for path in paths]
    objects = np.zeros(marked[0].shape, np.int32)
    for number, pixels in enumerate(marked, 1):
        objects[pixels] = number
    return objects


def _class_maps(
    paths: Readings,
    records: Sequence[Record],
    source: Source,
    data: DataDescription,
    legend: Legend | None,
    notes: list[str],
) -> dict[str, Callable[[], np.ndarray]]:
    by_key = {record.key: record for record in records}
    for own in paths.values():
        if len(own) > 1:
            raise UserError(f"{own[0]}, {own[1]}: two predictions for one image; keep one of them")
    channels = _declared_channels(source)
    found: set[int] = set()
    for key, (path,) in paths.items():
        found.update(distinct(_numbers(path, by_key[key], channels, None)))
    values = sorted(found)
    reader = source.mask_reader if isinstance(source, FolderSource) and legend is None else None
    if reader is not None and reader.colours is None and (reader.threshold is None or len(values) <= 2):
        reader = None  # numbers are read as they are, and what has two values needs no threshold
    if reader is not None:
        table = dict(source.values or {})
    else:
        table = _table(values, source, data, legend, next(iter(paths.values()), ("",))[0], notes)
    readers = {
        key: partial(_read_classes, path, by_key[key], channels, reader, table)
        for key, (path,) in paths.items()
    }
    for read in readers.values():
        read()
    return dict(readers)


def _numbers(path: str, record: Record, channels: int | None, reader: MaskReader | None) -> np.ndarray:
    """The numbers of one file, H×W, of the image's size."""
    stored = read_stored(path, page=record.page)
    coloured = stored.array.ndim == 3
    return fitted(path, (reader or MaskReader(objects=coloured)).labels(path, stored), record, channels)


def _read_classes(
    path: str, record: Record, channels: int | None, reader: MaskReader | None, table: Mapping[int, int]
) -> np.ndarray:
    """H×W uint8 class ids.

    Raises
    ------
    UserError
        A value that is not in the table.
    """
    labels = _numbers(path, record, channels, reader)
    classes = np.full(labels.shape, IGNORE, np.uint8)
    for value in distinct(labels):
        if value not in table:
            raise UserError(f"{path}: value {value} is no class (known: {list_values(sorted(table))})")
        classes[labels == value] = table[value]
    return classes


def _table(
    values: Sequence[int],
    source: Source,
    data: DataDescription,
    legend: Legend | None,
    example: str,
    notes: list[str],
) -> dict[int, int]:
    """Mask value → class id: by a legend beside the masks, as in the truth, or foreground and background.

    Raises
    ------
    UserError
        Values that are not those of the truth.
    """
    if legend is not None and legend.values:
        other = set(legend.values) ^ set(data.classes)
        if other:
            raise UserError(
                f"{legend.path}: names {', '.join(legend.values)}, where the truth has {', '.join(data.classes)}; "
                "set dataset.classes, or correct the file"
            )
        table = {value: data.classes.index(name) for name, value in legend.values.items()}
        return table | ({} if legend.unknown is None else {legend.unknown: IGNORE})
    declared = source.values or {}
    ignored = source.unknown_value if isinstance(source, FolderSource) else None
    truth = {int(value): int(index) for value, index in declared.items()}
    truth = truth or {index: index for index in range(len(data.classes))}
    truth |= {} if ignored is None else {ignored: IGNORE}
    if set(values) <= set(truth):
        return truth
    if len(data.classes) == 2 and data.has_background and len(values) <= 2 and set(values) & {0} == {0}:
        notes.append(f"value {values[-1]} of the predictions is taken as {data.classes[1]}")
        return {0: 0, values[-1]: 1}
    raise UserError(
        f"{example}: the predictions hold the values {list_values(values)}, the truth {list_values(sorted(truth))}; "
        f"save them with the values of the truth, or put a dataset.json with the classes' names beside them"
    )
