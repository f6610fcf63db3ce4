"""COCO JSON: one file for many images; polygons, run lengths in both forms, crowds.

Compressed run lengths are taken apart here: pycocotools gives pixels out of uninitialised memory, without a word, where
their text is cut off, so that it would have to be checked by a decoder of our own before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.data.annotations.collection import Annotations, Entry, foreground_classes
from unet_train.data.annotations.json_files import image_size_in, read_json
from unet_train.data.annotations.shapes import Part, Runs, Shape, large_first, polygon
from unet_train.errors import UserError

FORMAT = "COCO JSON"
_SECTIONS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class CocoShapes:
    """The shapes of all images by file and name, read once."""

    shapes: dict[tuple[Path, str], list[Shape]] = field(repr=False)

    def __call__(self, path: Path, name: str) -> list[Shape]:
        """The shapes of one image, from the largest to the smallest."""
        return large_first(self.shapes[path, name])


def might_be_coco(keys: set[str]) -> bool:
    """Whether a JSON file with these outermost keys among its first may be one."""
    return bool(keys & {*_SECTIONS, "info", "licenses"}) and "shapes" not in keys


def read_coco(root: Path, files: Sequence[Path]) -> Annotations | None:
    """Read COCO files; None where none of them is one.

    Files without annotations or categories (captions, lists of test images) are no such file. Where instances are
    annotated, files of key points and panoptic ones beside them are left out.

    Raises
    ------
    UserError
        Broken files; ids that do not exist; boxes without outlines; outlines of fewer than three points; damaged run
        lengths; one image twice in a file.
    """
    loaded = {path: data for path in files if _is_coco(data := read_json(path))}
    kinds = {path: _kind(data) for path, data in loaded.items()}
    notes = []
    if "instances" in kinds.values():
        left_out = [path for path, kind in kinds.items() if kind != "instances"]
        notes = [f"{path}: {kinds[path]} annotations are left out" for path in left_out]
        loaded = {path: data for path, data in loaded.items() if path not in left_out}
    names: list[str] = []
    shapes: dict[tuple[Path, str], list[Shape]] = {}
    read: list[Entry] = []
    for path, data in loaded.items():
        if kinds[path] == "panoptic":
            raise UserError(
                f"{path}: panoptic annotations (segments_info) hold no outlines; use the masks they name"
            )
        categories = _categories(path, data)
        names.extend(_used_categories(data, categories))
        for name, own in _read_shapes(path, data, categories).items():
            shapes[path, name] = own
            read.append(Entry(name, path))
    if not loaded:
        return None
    return Annotations(
        format=FORMAT,
        classes=foreground_classes(names),
        files=tuple(loaded),
        root=root,
        notes=tuple(notes),
        entries=_by_name(root, read),
        reader=CocoShapes(shapes),
    )


def _is_coco(data: Any) -> bool:
    return isinstance(data, dict) and all(isinstance(data.get(section), list) for section in _SECTIONS)


def _kind(data: dict[str, Any]) -> str:
    if any(isinstance(item, dict) and "keypoints" in item for item in data["categories"]):
        return "key point"
    if any(isinstance(item, dict) and "segments_info" in item for item in data["annotations"]):
        return "panoptic"
    return "instances"


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str)


def _categories(path: Path, data: dict[str, Any]) -> dict[Any, str]:
    """Names by id, ids ascending."""
    found: dict[Any, str] = {}
    for index, item in enumerate(data["categories"]):
        if not isinstance(item, dict) or not _is_id(item.get("id")) or not isinstance(item.get("name"), str):
            raise UserError(f"{path}: categories[{index}] has no id or no name")
        if item["id"] in found:
            raise UserError(f"{path}: category id {item['id']} occurs twice in categories")
        found[item["id"]] = item["name"]
    repeated = sorted(name for name in set(found.values()) if list(found.values()).count(name) > 1)
    if repeated:
        raise UserError(f"{path}: two categories are named {repeated[0]!r}; give each its own name")
    return dict(sorted(found.items(), key=lambda pair: (isinstance(pair[0], str), pair[0])))


def _used_categories(data: dict[str, Any], categories: dict[Any, str]) -> list[str]:
    """The categories but for a mere heading: one without objects that others name as their supercategory.

    Roboflow writes such a one with id 0 into each of its files.
    """
    used = [item.get("category_id") for item in data["annotations"] if isinstance(item, dict)]
    used_ids = {key for key in used if _is_id(key)}
    headings = [
        item.get("supercategory") for item in data["categories"] if item.get("supercategory") != item["name"]
    ]
    return [name for key, name in categories.items() if key in used_ids or name not in headings]


def _read_shapes(path: Path, data: dict[str, Any], categories: dict[Any, str]) -> dict[str, list[Shape]]:
    """Shapes by file name, also of images without any."""
    images: dict[Any, tuple[str, tuple[int, int] | None]] = {}
    shapes: dict[str, list[Shape]] = {}
    for index, item in enumerate(data["images"]):
        name = item.get("file_name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name or not _is_id(item.get("id")):
            raise UserError(f"{path}: images[{index}] has no id or no file_name")
        name = name.replace("\\", "/").removeprefix("./")
        if item["id"] in images or name in shapes:
            raise UserError(f"{path}: images[{index}]: id {item['id']} or file_name {name!r} occurs twice")
        images[item["id"]] = (name, image_size_in(item, "height", "width"))
        shapes[name] = []
    for index, item in enumerate(data["annotations"]):
        if not isinstance(item, dict):
            raise UserError(f"{path}: annotations[{index}] is not an object in braces")
        where = f"{path}: annotation id {item.get('id', '(none)')} (annotations[{index}])"
        if not _is_id(item.get("image_id")) or item["image_id"] not in images:
            raise UserError(f"{where}: image_id {item.get('image_id')!r} is not among the ids in images")
        if not _is_id(item.get("category_id")) or item["category_id"] not in categories:
            raise UserError(
                f"{where}: category_id {item.get('category_id')!r} is not among the ids in categories"
            )
        name, size = images[item["image_id"]]
        parts, own_size = _parts(where, item)
        if size is not None and own_size is not None and size != own_size:
            raise UserError(
                f"{where}: run lengths of height and width {own_size[0]}, {own_size[1]}, but images says "
                f"{size[0]}, {size[1]} for {name}"
            )
        shapes[name].append(
            Shape(
                categories[item["category_id"]],
                parts,
                unknown=bool(item.get("iscrowd", 0)),
                size=size or own_size,
                where=f"{where} of {name}",
            )
        )
    return shapes


def _parts(where: str, item: dict[str, Any]) -> tuple[tuple[Part, ...], tuple[int, int] | None]:
    """The regions, which are united, and the size where run lengths state it."""
    segmentation = item.get("segmentation")
    if not segmentation:
        what = "a box (bbox) but no outline" if item.get("bbox") else "no outline"
        raise UserError(f"{where}: {what}: segmentation is empty or missing; annotate outlines")
    if isinstance(segmentation, dict):
        runs = _runs(where, segmentation)
        return (runs,), (runs.height, runs.width)
    if not isinstance(segmentation, list) or not all(isinstance(ring, list) for ring in segmentation):
        raise UserError(f"{where}: segmentation is neither a list of outlines nor run lengths")
    rings = []
    for ring in segmentation:
        if len(ring) % 2:
            raise UserError(f"{where}: an outline of {len(ring)} numbers, which make no pairs of x and y")
        rings.append([ring[at : at + 2] for at in range(0, len(ring), 2)])
    return tuple(polygon([ring], where) for ring in rings), None


def _runs(where: str, segmentation: dict[str, Any]) -> Runs:
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if not (
        isinstance(size, list)
        and len(size) == 2
        and all(isinstance(length, int) and length > 0 for length in size)
    ):
        raise UserError(f"{where}: segmentation.size {size!r} is not [height, width]")
    try:
        lengths = decompress(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
    except (TypeError, ValueError, OverflowError):
        lengths = np.full(1, -1)
    height, width = size
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != height * width:
        raise UserError(
            f"{where}: damaged run lengths: segmentation.counts do not add up to {height} × {width} pixels"
        )
    return Runs(lengths.astype(np.uint32), height, width)


def decompress(text: str) -> np.ndarray:
    """Lengths of compressed runs, int64, as `rleFrString` of the COCO API (maskApi.c) has them.

    A character holds five bits of a number, the least first, and whether more follow; from the fourth run on the
    number is the difference from the run before the last.

    Raises
    ------
    ValueError
        Characters that do not occur, or a text that is cut off.
    """
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("not the text of compressed run lengths")
    last = np.flatnonzero((codes & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    if (last - first).max() > 8:
        raise ValueError("a run length of more than 45 bits")
    shifts = 5 * (np.arange(len(codes)) - np.repeat(first, last - first + 1))
    numbers = np.add.reduceat((codes & 31) << shifts, first)
    numbers -= np.where(codes[last] & 16, np.int64(1) << (shifts[last] + 5), 0)
    for start in (1, 2):
        numbers[start::2] = np.cumsum(numbers[start::2])
    return numbers


def _by_name(root: Path, entries: Sequence[Entry]) -> dict[str, Entry]:
    """Entries by file name, with the JSON file's folder and name before it where several files have the name."""
    files = defaultdict(set)
    for entry in entries:
        files[entry.name].add(entry.file)
    return {
        entry.name
        if len(files[entry.name]) == 1
        else f"{entry.file.relative_to(root).with_suffix('').as_posix()}/{entry.name}": entry
        for entry in entries
    }
