"""labelme JSON: one file per image; polygons, rectangles, circles, masks, objects of several pieces."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unet_train.data.annotations.collection import (
    Annotations,
    Entry,
    entry_by_name,
    foreground_classes,
    name_of,
)
from unet_train.data.annotations.json_files import image_size_in, read_json
from unet_train.data.annotations.shapes import Bitmap, Ellipse, Part, Shape, join, polygon, rectangle
from unet_train.data.io.pictures import read_picture
from unet_train.errors import UserError

FORMAT = "labelme JSON"
_UNKNOWN = "__ignore__"  # labelme's own name for what is not to be learnt


def might_be_labelme(keys: set[str]) -> bool:
    """Whether a JSON file with these outermost keys among its first is of labelme."""
    return "shapes" in keys or {"version", "flags"} <= keys


def read_labelme(root: Path, files: Sequence[Path]) -> Annotations | None:
    """Read labelme files; None where none of them is one.

    Raises
    ------
    UserError
        Broken files; lines and points; outlines of fewer than three points; two files for one image.
    """
    names: set[str] = set()
    entries = []
    for path in files:
        data = read_json(path)
        if not isinstance(data, dict) or not isinstance(data.get("shapes"), list):
            continue
        names.update(shape.name for shape in _shapes(path, data) if not shape.unknown)
        image = str(data.get("imagePath") or "").replace("\\", "/").rpartition("/")[2]
        entries.append(Entry(name_of(root, path), path, alias=image))
    if not entries:
        return None
    stems = {entry.name.rpartition("/")[2] for entry in entries}
    # A file goes by its own name; by imagePath, which goes stale, only where no other file has that name.
    entries = [
        entry if entry.alias.rpartition(".")[0] not in stems else Entry(entry.name, entry.file)
        for entry in entries
    ]
    return Annotations(
        format=FORMAT,
        classes=foreground_classes(sorted(names)),
        files=tuple(entry.file for entry in entries),
        root=root,
        entries=entry_by_name(entries),
        reader=read_shapes,
    )


def read_shapes(path: Path, _name: str) -> list[Shape]:
    """Shapes of one file in its order; those with one label and one group_id are one object.

    Raises
    ------
    UserError
        As `read_labelme`.
    """
    return _shapes(path, read_json(path))


def _shapes(path: Path, data: dict[str, Any]) -> list[Shape]:
    size = image_size_in(data, "imageHeight", "imageWidth")
    pieces: dict[Any, list[Shape]] = {}
    for index, item in enumerate(data["shapes"]):
        where = f"{path}: shapes[{index}]"
        if not isinstance(item, dict) or not isinstance(item.get("label"), str) or "points" not in item:
            raise UserError(f"{where} has no label (a text) or no points")
        name = item["label"]
        where = f"{where} ({name})"
        shape = Shape(name, (_part(where, item),), unknown=name == _UNKNOWN, size=size, where=where)
        group = item.get("group_id")
        pieces.setdefault(index if group is None else (name, str(group)), []).append(shape)
    return [join(own) for own in pieces.values()]


def _part(where: str, item: dict[str, Any]) -> Part:
    kind, points = item.get("shape_type") or "polygon", item["points"]
    corners = _pairs(points)
    if kind in ("polygon", "rotation") or (kind == "rectangle" and len(corners) == 4):
        return polygon([points], where)
    if kind not in ("rectangle", "circle", "mask"):
        raise UserError(
            f"{where}: a {kind} has no area; delete it, or draw a polygon, rectangle, circle or mask instead"
        )
    if len(corners) != 2:
        raise UserError(f"{where}: a {kind} of {len(corners)} points where 2 are needed; draw it again")
    (x1, y1), (x2, y2) = corners
    if kind == "rectangle":
        return rectangle(x1, y1, x2, y2)
    if kind == "circle":
        radius = math.hypot(x2 - x1, y2 - y1)
        return Ellipse(x1, y1, radius, radius)
    try:
        data = base64.b64decode(item.get("mask") or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        data = b""
    pixels = read_picture(Path(where), data, labels=True).array if data else None
    if pixels is None or pixels.ndim != 2:
        raise UserError(f"{where}: its mask is no png of one channel; draw it again")
    return Bitmap(int(y1), int(x1), pixels > 0)


def _pairs(points: object) -> list[tuple[float, float]]:
    """Points as pairs; nothing where they are none, which the callers refuse."""
    try:
        pairs = [(float(x), float(y)) for x, y in points]  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        return []
    return pairs if all(map(math.isfinite, (value for pair in pairs for value in pair))) else []
