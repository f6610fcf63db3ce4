"""Any folder of images and masks: pairs by file name, classes by the masks' pixel values.

::

    root/images/a.png   root/masks/a.png              or: root/train/images/…  root/train/masks/…
    root/images/s/b.tif root/masks/s/b.tif                root/val/images/…, root/test/images/…
                                                      or: root/images/train/…  root/masks/train/…

An image and its mask have the same name without its ending (`suffix` may follow it in the mask's), in the
same sub-folder. Where two images differ only in the ending, their masks must carry it too. Where no two names are
the same, images and masks are paired by what varies in their names.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet_train.data.io.images import IMAGE_SUFFIXES, Stored, list_images, read_stored
from unet_train.data.layouts import LAYOUTS, DatasetKeys, Layout
from unet_train.data.layouts.affixes import find_affixes
from unet_train.data.layouts.background import (
    FIRST_CLASS,
    NO_BACKGROUND,
    Classes,
    choose_background,
    describe_background,
    unknown_name,
)
from unet_train.data.layouts.common import FilesSource, check_size, palette_of_classes, refuse_binary
from unet_train.data.layouts.palettes import PaletteRule, find_palette_rule, read_values
from unet_train.data.layouts.parts import part_folders
from unet_train.data.records import IGNORE, Record, Truth
from unet_train.errors import UserError
from unet_train.keys import key

_MOST_CLASSES = 32  # more distinct values in undeclared masks are grey levels or object numbers, not classes
_SAMPLED_MASKS = 256
_SAMPLED_PIXELS = 100_000_000  # about a second of reading


class FolderSource(FilesSource):
    """Images with one mask each.

    Parameters
    ----------
    root : path
        Folder that holds `images` and `masks`, or ``train`` (and ``val``, ``test``) with both inside.
    images, masks : str
        Names of the two folders; they may be the same one where `suffix` tells masks from images.
    suffix : str
        What a mask's name has after the image's: ``"_mask"`` pairs ``a.png`` with ``a_mask.png``.
    classes : sequence of str, optional
        Class names by id. None: named after what is found.
    background : str, optional
        Which class is the background, as in `choose_background`.
    values : mapping of int to int, optional
        Pixel value → class id. None: discovered, see `discover_values`.
    ignore_value : int, optional
        Pixel value that counts in no loss and no metric.
    instances : bool
        The masks hold one number per object, 0 for the background, instead of classes: two classes then.
    channels : int, optional
        Channels of the images. None: those of the first image.
    group_regex : str, optional
        Its first group, searched in the key, names what a split must not tear apart.
    group_csv : path, optional
        The same from a table with the columns ``file`` (key, relative path or name) and ``group``; a
        relative path is looked for in the root too.
    intensity_range : (float, float), optional
        As in `read_image`.
    name : str
        Name of the data set, for messages.

    Raises
    ------
    UserError
        No such folders, no pairs, masks whose values cannot be classes, groups that miss a file. Single
        images without a mask are no error here but in `layout_problems`, which the data check lists with all
        others.
    """

    orientation = "auto"

    def __init__(
        self,
        root: str | Path,
        *,
        images: str = "images",
        masks: str = "masks",
        suffix: str = "",
        classes: Sequence[str] | None = None,
        background: str | None = None,
        values: Mapping[int, int] | None = None,
        ignore_value: int | None = None,
        instances: bool = False,
        channels: int | None = None,
        group_regex: str | None = None,
        group_csv: str | Path | None = None,
        intensity_range: tuple[float, float] | None = None,
        name: str = "folder",
    ) -> None:
        if group_regex is not None and group_csv is not None:
            raise UserError("dataset.group_regex and dataset.group_csv: give one of the two, not both")
        if images == masks and not suffix:
            raise UserError(
                "dataset.suffix: images and masks in one folder need a suffix that tells masks apart"
            )
        super().__init__(
            root,
            f"set dataset.root to the folder that holds {images}/ and {masks}/",
            name=name,
            intensity_range=intensity_range,
            channels=channels,
        )
        if instances and (values is not None or (classes is not None and len(classes) != 2)):
            raise UserError(
                "dataset.instances=true: the masks' numbers are objects of one class; leave dataset.values out, "
                "and name two classes or none"
            )
        self._instances = instances
        self._images, self._masks, self._suffix = images, masks, suffix
        self._ignore = ignore_value
        self._records = _with_groups(self._list(), self._groups(group_regex, group_csv))
        self._palette_rule = PaletteRule()
        found = self._find_classes(classes, values, background)
        self._values, self._classes = dict(found.values), found.names
        self.has_background = found.has_background

    @property
    def values(self) -> dict[int, int]:  # type: ignore[override]
        """Pixel value → class id, as declared or discovered."""
        return dict(self._values)

    @property
    def palette(self) -> list[tuple[int, int, int]] | None:  # type: ignore[override]
        """Colours by class id, if the masks have them; see `common.palette_of_classes`."""
        if self._palette_rule.values is not None:
            return None
        return palette_of_classes(self._records[0].labels["mask"], self._values, len(self._classes))

    def read_truth(self, record: Record, *, scoring: bool = False) -> Truth:
        """Class map of one image; there is one truth, for training and scoring.

        Raises
        ------
        UserError
            Another size than the image, or a pixel value that is no class, with the file and the values.
        """
        path = record.labels["mask"]
        labels = read_values(path, self._palette_rule)
        check_size(path, labels, record.image, self._declared_channels)
        if not self._instances:
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

    def _to_classes(self, path: str, labels: np.ndarray) -> np.ndarray:
        found = _distinct(labels)
        allowed = set(self._values) | ({self._ignore} if self._ignore is not None else set())
        unknown = [value for value in found if value not in allowed]
        if unknown:
            raise UserError(
                f"{path}: pixel values {_list_values(unknown)} are no class (known: "
                f"{_list_values(sorted(allowed))}); correct the mask, or declare dataset.values or "
                "dataset.ignore_value"
            )
        classes = np.zeros(labels.shape, np.uint8)
        for value in found:
            if value == self._ignore:
                classes[labels == value] = IGNORE
            elif self._values[value]:
                classes[labels == value] = self._values[value]
        return classes

    # --- files ----------------------------------------------------------------------------------------------

    def _list(self) -> list[Record]:
        images = self._root / self._images
        parts = {p: f for p, f in part_folders(self._root).items() if (f / self._images).is_dir()}
        if images.is_dir() and parts and self._images not in ("", "."):
            folder = next(iter(parts.values())).name
            self.notes.append(
                f"{self._root} holds {self._images}/ and {folder}/{self._images}/ too; the first is used"
            )
        records: list[Record] = []
        if images.is_dir():
            records = self._list_parts_inside(images) or self._list_pairs(images, self._mask_root(), None)
        elif parts:
            for part, folder_of_part in parts.items():
                records += self._list_pairs(
                    folder_of_part / self._images, _existing_masks(folder_of_part / self._masks), part
                )
        else:
            raise UserError(
                f"dataset.root: {self._root} holds neither {self._images}/ nor train/{self._images}/; "
                "name the folders with dataset.images and dataset.masks"
            )
        if not records:
            example = f", for example {self._problems[0][0]}" if self._problems else ""
            raise UserError(
                f"dataset.root: no image in {self._root} has a mask of the same name"
                f"{' + ' + repr(self._suffix) if self._suffix else ''}{example}; see dataset.images, "
                "dataset.masks, dataset.suffix"
            )
        return records

    def _mask_root(self) -> Path:
        return _existing_masks(self._root / self._masks)

    def _list_parts_inside(self, images: Path) -> list[Record]:
        """Records of ``images/train``, ``images/val`` …; none where the folder has no such sub-folders."""
        if self._images in ("", "."):
            return []  # train/ beside the images of the root itself: an ordinary sub-folder
        parts = part_folders(images)
        if not parts:
            return []
        loose = list_images(images)
        others = sorted(
            path.name
            for path in images.iterdir()
            if path.is_dir() and path not in parts.values() and not path.name.startswith(".")
        )
        if loose:
            raise UserError(
                f"{images}: holds {next(iter(parts.values())).name}/, a part of the split, and {loose[0].name} beside "
                "it; move that into one of the parts"
            )
        if others:
            self.notes.append(f"{images}: not used, because no part of the split: {', '.join(others)}")
        masks = self._mask_root()
        mask_parts = part_folders(masks)
        records = []
        for part, folder in parts.items():
            if part not in mask_parts:
                raise UserError(f"{masks}: has no folder for {folder}; add {masks / folder.name}")
            records += self._list_pairs(folder, mask_parts[part], part)
        return records

    def _list_pairs(self, image_root: Path, mask_root: Path, part: str | None) -> list[Record]:
        self._name_unread(image_root)
        images = list_images(image_root, recursive=True)
        if self._images == self._masks:
            images = [path for path in images if not path.stem.endswith(self._suffix)]
            masks = [
                path for path in list_images(mask_root, recursive=True) if path.stem.endswith(self._suffix)
            ]
        else:
            masks = list_images(mask_root, recursive=True)
            if mask_root != image_root:
                self._name_unread(mask_root)
        records = self._pair_same_names(images, masks, image_root, mask_root, part)
        if not records and not self._suffix:
            records = self._pair_by_what_varies(images, masks, image_root, mask_root, part)
        return records

    def _name_unread(self, folder: Path) -> None:
        """Say which files have an ending that is not read."""
        unread = sorted(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.suffix.lower() not in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
        )
        if unread:
            more = ", …" if len(unread) > 3 else ""
            self.notes.append(f"{folder}: {len(unread)} files not read: {', '.join(unread[:3])}{more}")

    def _pair_by_what_varies(
        self, images: list[Path], masks: list[Path], image_root: Path, mask_root: Path, part: str | None
    ) -> list[Record]:
        """Pairs of names that differ by one prefix and suffix of all images and one of all masks."""
        image_stems = {p.relative_to(image_root).with_suffix("").as_posix(): p for p in images}
        mask_stems = {p.relative_to(mask_root).with_suffix("").as_posix(): p for p in masks}
        if len(image_stems) < len(images) or len(mask_stems) < len(masks):
            return []
        found = find_affixes(list(image_stems), list(mask_stems))
        if found is None:
            return []
        of_images, of_masks = found
        self._problems = [item for item in self._problems if Path(item[0]) not in {*images, *masks}]
        where = mask_root.relative_to(self._root).as_posix()
        self.notes.append(f"images named {of_images} are paired with the masks {of_masks} in {where}/")
        by_rest = {of_masks.part_between(stem): path for stem, path in mask_stems.items()}
        return [
            Record(
                key=f"{part}/{stem}" if part else stem,
                image=str(path),
                labels={"mask": str(by_rest[of_images.part_between(stem)])},
                part=part,
            )
            for stem, path in image_stems.items()
        ]

    def _pair_same_names(
        self, images: list[Path], masks: list[Path], image_root: Path, mask_root: Path, part: str | None
    ) -> list[Record]:
        by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in masks:
            by_stem[path.relative_to(mask_root).with_suffix("").as_posix()].append(path)
        stems = Counter(path.relative_to(image_root).with_suffix("").as_posix() for path in images)
        used: set[Path] = set()
        records = []
        for path in images:
            relative = path.relative_to(image_root)
            stem = relative.with_suffix("").as_posix()
            collides = stems[stem] > 1
            candidates = by_stem.get(stem + self._suffix, [])
            if collides or len(candidates) > 1:
                same_ending = [mask for mask in candidates if mask.suffix == path.suffix]
                if not same_ending and candidates:
                    what = "images" if collides else "masks"
                    self._problems.append(
                        (str(path), f"several {what} have this name; give image and mask the same ending")
                    )
                    used.update(candidates)
                    continue
                candidates = same_ending
            if not candidates:
                wanted = (mask_root / (stem + self._suffix)).relative_to(self._root)
                self._problems.append((str(path), f"has no mask (looked for {wanted} with any ending)"))
                continue
            used.add(candidates[0])
            key = relative.as_posix() if collides else stem
            records.append(
                Record(
                    key=f"{part}/{key}" if part else key,
                    image=str(path),
                    labels={"mask": str(candidates[0])},
                    part=part,
                )
            )
        for path in masks:
            if path not in used:
                self._problems.append((str(path), "is a mask without an image"))
        return records

    # --- groups ---------------------------------------------------------------------------------------------

    def _groups(self, regex: str | None, table: str | Path | None) -> _Groups:
        if regex is not None:
            return _RegexGroups(regex)
        if table is not None:
            path = Path(table).expanduser()
            inside = self._root / path
            return _TableGroups(inside if not path.exists() and inside.exists() else path)
        return _Groups()

    # --- values ---------------------------------------------------------------------------------------------

    def _find_classes(
        self, classes: Sequence[str] | None, values: Mapping[int, int] | None, background: str | None
    ) -> Classes:
        names = tuple(str(name) for name in classes) if classes is not None else None
        if names is not None and (len(names) < 2 or len(set(names)) < len(names)):
            raise UserError("dataset.classes: give two or more different names")
        if self._instances:
            if background not in (None, FIRST_CLASS):
                raise UserError(
                    f"dataset.background={background}: with dataset.instances=true value 0 is the background; "
                    "leave the key out"
                )
            return Classes(names or ("background", "object"), {}, True)
        if names is not None and background != FIRST_CLASS:
            names, values = self._without_unknown(names, values)
        if values is not None:
            mapping = _declared_values(values, names)
        else:
            sampled = list(self._sampled_values())
            if names is None:
                _refuse_gaps(sampled, self._ignore)
                _refuse_object_numbers(sampled, self._ignore)
            mapping, note = discover_values(
                sampled,
                classes=len(names) if names else None,
                ignore_value=self._ignore,
                background_is_known=background is not None,
            )
            if names is not None and background != FIRST_CLASS and self._ignore in mapping:
                raise UserError(
                    f"dataset.ignore_value={self._ignore} has a name in dataset.classes too ({names[self._ignore]}); "
                    "leave that name out"
                )
            if note and background in (None, NO_BACKGROUND, FIRST_CLASS):
                self.notes.append(note)
        found = choose_background(mapping, names, background)
        said = describe_background(found, background)
        if said:
            self.notes.append(said)
        return found

    def _without_unknown(
        self, names: tuple[str, ...], values: Mapping[int, int] | None
    ) -> tuple[tuple[str, ...], Mapping[int, int] | None]:
        """Names and values without the class that means "not annotated", whose value `ignore_value` must say."""
        index = unknown_name(names)
        if index is None:
            return names, values
        value = index
        if values is not None:
            value = next((int(v) for v, i in values.items() if int(i) == index), index)
        if self._ignore is None:
            raise UserError(
                f"dataset.classes: {names[index]} sounds like pixels that are not annotated; say "
                f"dataset.ignore_value={value} (if that is their mask value), or call it otherwise if it is a class"
            )
        if values is None and self._ignore != index and self._ignore in range(len(names)):
            raise UserError(
                f"dataset.classes: {names[index]} stands at {index}, but dataset.ignore_value={self._ignore}, which "
                f"would be {names[self._ignore]}; names are listed by mask value: put {names[index]} there"
            )
        kept = (*names[:index], *names[index + 1 :])
        if len(kept) < 2:
            raise UserError(f"dataset.classes: without {names[index]} one class is left; give two or more")
        if values is None and self._ignore == index:
            # The names are listed by mask value.
            values = {v: v for v in range(len(names)) if v != index}
        if values is None:
            return kept, None
        moved = {int(v): int(i) - (int(i) > index) for v, i in values.items() if int(i) != index}
        return kept, moved

    def _sampled_values(self) -> Iterable[tuple[str, list[int]]]:
        """Mask paths with their distinct values: all of them, of a large data set an evenly spread sample."""
        looked: list[tuple[str, Stored]] = []
        pixels = 0
        for index in _spread(len(self._records), min(len(self._records), _SAMPLED_MASKS)):
            path = self._records[index].labels["mask"]
            stored = read_stored(path)
            pixels += stored.array.size
            if stored.palette is None:
                read_values(path, PaletteRule())  # refuses colours and pages
            looked.append((path, _small(stored)))
            if pixels > _SAMPLED_PIXELS:
                break
        self._palette_rule, said = find_palette_rule(looked)
        if said:
            self.notes.append(said)
        for path, stored in looked:
            yield path, _distinct(self._palette_rule.labels(path, stored))


def _small(stored: Stored) -> Stored:
    """The distinct values alone, as one row: hundreds of whole masks would fill the memory."""
    if stored.array.ndim != 2:
        return stored
    return Stored(np.array([_distinct(stored.array)], stored.array.dtype), stored.palette)


def _existing_masks(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"dataset.root: {folder} does not exist; name the folder with dataset.masks")
    return folder


def discover_values(
    masks: Iterable[tuple[str, Sequence[int]]],
    *,
    classes: int | None = None,
    ignore_value: int | None = None,
    background_is_known: bool = False,
) -> tuple[dict[int, int], str]:
    """Tell which pixel value is which class, from the values that occur.

    In this order: values that are ids already (0, 1, 2, …; all below `classes`, or below 32) stay; {0, 255}
    and any other *two* values become 0 and 1; as many values as classes are declared are taken in ascending
    order. Everything else is refused: more values than classes, more than 32 distinct values (grey levels of
    an anti-aliased or JPEG mask, object numbers), several values with gaps and no declaration, undeclared values
    without a 0, unless it is known which of them is the background.

    Parameters
    ----------
    masks : iterable of (path, distinct values)
        The masks looked at.
    classes : int, optional
        Number of classes declared.
    ignore_value : int, optional
        Value left out of all this.
    background_is_known : bool
        Whether the user said which value is the background, or that there is none.

    Returns
    -------
    (dict, str)
        Pixel value → class id, and a sentence for the user ("" where values stay as they are).

    Raises
    ------
    UserError
        Names the values and a file.
    """
    limit = classes or _MOST_CLASSES
    first_file: dict[int, str] = {}
    masks = list(masks)
    for path, values in masks:
        for value in values:
            first_file.setdefault(int(value), path)
        own = [value for value in values if value != ignore_value]
        if len(own) > limit:
            raise _too_many(path, own, classes)
    found = sorted(value for value in first_file if value != ignore_value)
    if len(found) > limit:
        raise _too_many(first_file[found[-1]], found, classes)
    text = _list_values(found)
    if found and found[0] < 0:
        raise UserError(f"{first_file[found[0]]}: negative mask values ({text}); declare dataset.values")
    if found and found[-1] < limit and (len(found) > 1 or classes is not None):
        if classes is None and found[0] > 0:
            if not background_is_known:
                raise UserError(
                    f"{first_file[found[0]]}: mask values {text} have no 0; which of them is the background? Say "
                    f"dataset.background={found[0]} (or another value), or dataset.background=none if all are classes"
                )
            return _in_order(found)
        count = classes or found[-1] + 1
        absent = sorted(set(range(count)) - set(found))
        note = f"mask values are class ids; {_list_values(absent)} did not occur" if absent else ""
        return {value: value for value in range(count)}, note
    if len(found) < 2:
        where = f" ({next(iter(first_file.values()))} and the others)" if first_file else ""
        raise UserError(
            f"the masks hold one value only, {text or 'none'}{where}: nothing to learn; "
            "look at the masks, or declare dataset.values"
        )
    if found == [0, 1, 255] and classes in (None, 2) and ignore_value is None and _mixed_scales(masks):
        return {
            0: 0,
            1: 1,
            255: 1,
        }, "some masks hold 0 and 1, others 0 and 255: both 1 and 255 are taken as class 1"
    if found == [0, 255] and classes in (None, 2):
        return {0: 0, 255: 1}, "mask values 0 and 255 are taken as classes 0 and 1"
    if (classes is None and len(found) == 2) or len(found) == classes:
        return _in_order(found)
    if classes is not None:
        raise UserError(
            f"{first_file[found[-1]]}: mask values {text} are not the ids 0 to {classes - 1} of the classes; "
            f"declare {_example(found, classes)}"
        )
    if ignore_value is None and found[-1] == 255 and found[-2] < _MOST_CLASSES:
        raise UserError(
            f"{first_file[255]}: mask values {text}: is 255 a class or not annotated? Say "
            f"dataset.ignore_value=255, or {_example(found)}"
        )
    raise UserError(
        f"{first_file[found[-1]]}: mask values {text} are neither class ids nor two values (anti-aliased "
        f"or JPEG?); save class ids, or declare {_example(found)}"
    )


def _mixed_scales(masks: Iterable[tuple[str, Sequence[int]]]) -> bool:
    """Whether no mask holds both 1 and 255, though both occur: two programs wrote the foreground differently."""
    return not any(1 in values and 255 in values for _, values in masks)


def _refuse_gaps(masks: Sequence[tuple[str, Sequence[int]]], ignore_value: int | None) -> None:
    """Numbers with gaps that are others in each file are object numbers, or classes that want names."""
    sets = [frozenset(int(v) for v in values if v > 0 and v != ignore_value) for _, values in masks]
    union = frozenset().union(*sets)
    # Two numbers for the foreground, or class ids of which each file shows most, are no object numbers.
    if len(sets) < 3 or len(union) < 5 or len(union) == max(union):
        return
    shown = sum(map(len, sets)) / (len(sets) * len(union))
    if len(set(sets)) > len(sets) // 2 and shown < 0.6:
        first, second = masks[0], next(m for m, s in zip(masks, sets, strict=True) if s != sets[0])
        raise UserError(
            f"the mask values differ from file to file, with gaps ({first[0]}: {_list_values(first[1])}; {second[0]}: "
            f"{_list_values(second[1])}): is that one number per object? Say dataset.instances=true; if they are "
            "classes, name them in dataset.classes or declare dataset.values"
        )


def _refuse_object_numbers(masks: Sequence[tuple[str, Sequence[int]]], ignore_value: int | None) -> None:
    """Masks that count 0, 1, … up to another number in each file hold objects, not classes."""
    last = {}
    for path, values in masks:
        own = sorted(int(value) for value in values if value != ignore_value)
        if own != list(range(len(own))):
            return
        last[path] = own[-1] if own else 0
    if len(set(last.values())) >= 3 and max(last.values()) >= 5:
        few, many = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
        raise UserError(
            f"the masks count up to another number in each file ({few} to {last[few]}, {many} to {last[many]}): "
            "is that one number per object? Say dataset.instances=true; if they are classes, name them in "
            "dataset.classes"
        )


def _in_order(found: Sequence[int]) -> tuple[dict[int, int], str]:
    pairs = ", ".join(f"{value} is class {index}" for index, value in enumerate(found))
    return {value: index for index, value in enumerate(found)}, f"mask values in ascending order: {pairs}"


def _too_many(path: str, found: Sequence[int], classes: int | None) -> UserError:
    listed = f"{path}: {len(found)} mask values ({_list_values(found)})"
    objects = "object numbers need dataset.instances=true"
    levels = "an anti-aliased or JPEG mask has to be saved as class ids"
    if classes is None:
        return UserError(
            f"{listed} where at most {_MOST_CLASSES} can be classes without dataset.classes naming them; {levels}, or "
            f"dataset.values declared; {objects}"
        )
    return UserError(
        f"{listed} where dataset.classes names {classes}; name every class, or say dataset.ignore_value={found[-1]} if "
        f"{found[-1]} means not annotated; {objects}, and {levels}"
    )


def _declared_values(values: Mapping[int, int], names: tuple[str, ...] | None) -> dict[int, int]:
    try:
        mapping = {int(value): int(index) for value, index in values.items()}
    except (TypeError, ValueError):
        raise UserError(
            f"dataset.values: {values!r} does not map pixel values to class ids, as {{0: 0, 255: 1}} does"
        ) from None
    used = sorted(set(mapping.values()))
    count = len(names) if names else (used[-1] + 1 if used else 0)
    if not used or used[0] < 0 or used[-1] >= min(count, IGNORE) or count < 2:
        raise UserError(
            f"dataset.values: class ids {_list_values(used)} do not fit {count} classes (0 to {count - 1})"
        )
    skipped = sorted(set(range(count)) - set(used)) if names is None else []
    if skipped:
        raise UserError(
            f"dataset.values: no pixel value for class id {_list_values(skipped)}; number the classes 0, 1, 2, … or "
            "give their names by dataset.classes"
        )
    return mapping


def _distinct(labels: np.ndarray) -> list[int]:
    if labels.dtype == np.int32:
        return [int(value) for value in np.unique(labels)]
    return [int(value) for value in np.flatnonzero(np.bincount(labels.ravel()))]


def _list_values(values: Sequence[int]) -> str:
    """``0, 3, 7, …, 255``: at most ten of them."""
    texts = [str(value) for value in values]
    return ", ".join(texts if len(texts) <= 10 else [*texts[:8], "…", texts[-1]])


def _example(found: Sequence[int], classes: int | None = None) -> str:
    """``'dataset.values={0:0,255:1}'``: in quotes, because a shell takes braces apart."""
    ids = [str(index) if classes is None or index < classes else "?" for index in range(len(found))]
    pairs = [f"{value}:{index}" for value, index in zip(found, ids, strict=True)]
    return f"'dataset.values={{{','.join(pairs[:6] + (['…'] if len(pairs) > 6 else []))}}}'"


def _spread(length: int, count: int) -> list[int]:
    """`count` different indices evenly over ``range(length)``."""
    return [int(index) for index in np.unique(np.linspace(0, length - 1, count).round().astype(int))]


# --- what belongs together ----------------------------------------------------------------------------------


class _Groups:
    """Each file its own group."""

    def group(self, record: Record) -> str | None:
        return record.key

    def fail(self, missing: Sequence[Record]) -> UserError:
        raise NotImplementedError


class _RegexGroups(_Groups):
    def __init__(self, pattern: str) -> None:
        try:
            self._pattern = re.compile(pattern)
        except re.error as error:
            raise UserError(f"dataset.group_regex={pattern}: no regular expression ({error})") from None
        if self._pattern.groups < 1:
            raise UserError(
                f"dataset.group_regex={pattern}: needs brackets around the part that names the group"
            )

    def group(self, record: Record) -> str | None:
        match = self._pattern.search(record.key)
        return match[1] if match else None

    def fail(self, missing: Sequence[Record]) -> UserError:
        return UserError(
            f"dataset.group_regex={self._pattern.pattern}: matches nothing in {len(missing)} keys, "
            f"for example {missing[0].key!r}"
        )


class _TableGroups(_Groups):
    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                columns = reader.fieldnames or []
                if "file" not in columns or "group" not in columns:
                    raise UserError(
                        f"dataset.group_csv: {path} needs the columns file and group, not {columns}"
                    )
                rows = [
                    (row["file"].strip(), row["group"].strip())
                    for row in reader
                    if row["file"] and row["group"]
                ]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"dataset.group_csv: {path} cannot be read ({error})") from None
        self._table: dict[str, str] = {}
        for file_name, group in rows:
            if self._table.setdefault(file_name, group) != group:
                raise UserError(f"dataset.group_csv: {path} puts {file_name!r} into two groups")

    def group(self, record: Record) -> str | None:
        image = Path(record.image)
        for name in (record.key, record.key + image.suffix, image.name, image.stem):
            if name in self._table:
                return self._table[name]
        return None

    def fail(self, missing: Sequence[Record]) -> UserError:
        names = ", ".join(Path(record.image).name for record in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        return UserError(f"dataset.group_csv: {self._path} has no row for {names}{more}")


def _with_groups(records: list[Record], groups: _Groups) -> list[Record]:
    """The records with group and position within it."""
    found = [(record, groups.group(record)) for record in records]
    missing = [record for record, group in found if not group]
    if missing:
        raise groups.fail(missing)
    position: Counter[str] = Counter()
    result = []
    for record, group in found:
        result.append(
            Record(
                key=record.key,
                image=record.image,
                labels=record.labels,
                group=str(group),
                order=position[str(group)],
                part=record.part,
            )
        )
        position[str(group)] += 1
    return result


@dataclass
class FolderKeys(DatasetKeys):
    """images/ and masks/, or train/, val/ and test/ with both inside."""

    images: str = key("name of the folder of images")
    masks: str = key("name of the folder of masks")
    suffix: str = key("what a mask's name has after the image's, as in img1_mask.png")
    classes: list[str] | None = key("class names by id; null: by the values found")
    background: str | None = key(
        "class that does not count in the means: a name or mask value, or none; null: class 0 of two classes, "
        "or where it is unnamed or named background, else none",
        before=FIRST_CLASS,
    )
    values: dict[int, int] | None = key("pixel value in the mask: class id; null: found out")
    ignore_value: int | None = key("pixel value that counts neither in loss nor in metrics")
    instances: bool = key("the masks hold one number per object instead of classes", before=False)
    channels: int | None = key("channels of the images; null: found out")
    group_regex: str | None = key("its first group in an image's name is what a split keeps together")
    group_csv: str | None = key("CSV with columns file, group")


LAYOUTS.register("folder", Layout(FolderKeys, FolderSource))
