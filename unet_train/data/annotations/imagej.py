"""ImageJ and Fiji regions of interest: a .roi file, or a .zip of them (ROI Manager), per image."""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.data.annotations.collection import (
    Annotations,
    Entry,
    entry_by_name,
    foreground_classes,
    name_of,
)
from unet_train.data.annotations.shapes import Ellipse, Part, Shape, polygon, rectangle
from unet_train.data.io.files import read_bytes
from unet_train.data.io.libraries import import_extra
from unet_train.errors import UserError

FORMAT = "ImageJ ROI"
LARGEST_REGION = 64 << 20
"""Bytes of one region in a zip."""

_MAGIC = b"Iout"
_ONE_CLASS = "object"
_MOST_WORDS = 32  # more different names than that are names of objects, not of classes
_COUNTER = re.compile(r"(?:[-_ ]\d+)+$")
_CORNER_STEPS = 16  # points on each rounded corner


@dataclass(frozen=True)
class ClassRule:
    """Which class a region is of.

    Attributes
    ----------
    by : {"group", "name", "nothing"}
        By its group number, by its name without a counter, or all are one class.
    """

    by: str

    def class_of(self, roi: Any) -> str:
        """The class of a region as roifile reads it."""
        if self.by == "group":
            return f"group_{roi.group}"
        return _word(roi.name) if self.by == "name" else _ONE_CLASS


def might_be_roi(path: Path, head: bytes) -> bool:
    """Whether a file is a region, or a zip with one."""
    if path.suffix.lower() != ".zip":
        return True  # a .roi, perhaps damaged
    if b".roi" in head:
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith(".roi") for name in _entries(archive))
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return False


def read_imagej(root: Path, files: Sequence[Path]) -> Annotations:
    """Read regions of interest.

    The groups of ImageJ are classes where any region has one; else names are, without the counters that the ROI Manager
    adds (``nucleus-2``), where they are words without digits of which some occur more than once; else all regions are
    one class.

    Raises
    ------
    UserError
        Damaged files; lines, points, texts and fitted splines; regions of several slices; some regions with a group
        or a class in their name and some without; two files for one image; a missing roifile.
    """
    rois = {path: _read(path) for path in files}
    rule, note = _find_rule(rois)
    names: set[str] = set()
    for path, own in rois.items():
        names.update(shape.name for shape in _shapes(rule, path, own))
    return Annotations(
        format=FORMAT,
        classes=foreground_classes(sorted(names)),
        files=tuple(files),
        root=root,
        notes=(note,) if note else (),
        entries=entry_by_name(Entry(name_of(root, path), path) for path in files),
        reader=partial(read_shapes, rule),
    )


def read_shapes(rule: ClassRule, path: Path, _name: str) -> list[Shape]:
    """Shapes of one file in its order.

    Raises
    ------
    UserError
        As `read_imagej`.
    """
    return _shapes(rule, path, _read(path))


def _entries(archive: zipfile.ZipFile) -> list[str]:
    """Names of an archive's files; folders and what macOS adds are left out."""
    return [
        name
        for name in archive.namelist()
        if not name.endswith("/") and not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")
    ]


def _read(path: Path) -> list[Any]:
    """The regions of a file, each with a name."""
    data = read_bytes(path)
    if data.startswith(_MAGIC):
        return [_parse(path, f"{path}", path.stem, data)]
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            contents = [(name, _unpack(path, archive, name)) for name in _entries(archive)]
    except UserError:
        raise
    except Exception as error:  # zipfile raises anything from BadZipFile to zlib.error
        raise UserError(f"{path}: damaged zip ({error}); save it again in ImageJ's ROI Manager") from None
    return [_parse(path, f"{path}: {name}", Path(name).stem, own) for name, own in contents]


def _unpack(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > LARGEST_REGION:
        raise UserError(
            f"{path}: {name} unpacks to {size >> 20} MiB, which no region of interest has; take it out"
        )
    return archive.read(name)


def _parse(path: Path, where: str, stem: str, data: bytes) -> Any:
    library = import_extra("roifile", "annotations", "ImageJ's regions", path)
    if not data.startswith(_MAGIC):
        raise UserError(f"{where}: no region of interest of ImageJ; take it out")
    try:
        roi = library.ImagejRoi.frombytes(data)
    except Exception as error:  # struct.error, TypeError of a short buffer, UnicodeDecodeError …
        raise UserError(
            f"{where}: damaged or truncated ROI ({str(error).partition(chr(10))[0]}); save it again in ImageJ"
        ) from None
    # The file's name is what the ROI Manager shows; the one inside goes stale when the file is renamed.
    roi.name = stem if path.suffix.lower() == ".zip" else roi.name or stem
    return roi


# --- classes ------------------------------------------------------------------------------------------------


def _word(name: str) -> str:
    return _COUNTER.sub("", name).strip()


def _find_rule(rois: Mapping[Path, Sequence[Any]]) -> tuple[ClassRule, str]:
    """What names the classes, and a sentence about it."""
    every = [(path, roi) for path, own in rois.items() for roi in own]
    grouped = [roi.group > 0 for _, roi in every]
    if any(grouped):
        if not all(grouped):
            path, roi = every[grouped.index(False)]
            raise UserError(
                f"{path}: {roi.name} has no group while {sum(grouped)} of {len(every)} regions have one; set the group "
                "of all of them in ImageJ (Properties…), or of none"
            )
        return ClassRule("group"), "the groups of ImageJ's regions are taken as classes"
    words = [_word(roi.name) for _, roi in every]
    named = [word != "" and not any(map(str.isdigit, word)) for word in words]
    distinct = Counter(word for word, is_name in zip(words, named, strict=True) if is_name)
    if not distinct or len(distinct) > _MOST_WORDS or (len(distinct) == len(every) > 1):
        example = f" (as in {every[0][1].name})" if every else ""
        return ClassRule("nothing"), (
            f"all regions of ImageJ are one class, {_ONE_CLASS}: they have no groups, and their names{example} are no "
            "classes"
        )
    if not all(named):
        path, roi = every[named.index(False)]
        raise UserError(
            f"{path}: {roi.name} has an automatic name while others are named by a word ({', '.join(distinct)}); is "
            "that their class? Name all regions by class in ImageJ's ROI Manager, or give all of them groups"
        )
    listed = ", ".join(sorted(distinct))
    return ClassRule("name"), f"the names of ImageJ's regions are taken as classes: {listed}"


# --- outlines -----------------------------------------------------------------------------------------------


def _shapes(rule: ClassRule, path: Path, rois: Sequence[Any]) -> list[Shape]:
    positions = {
        (roi.position, roi.c_position, roi.z_position, roi.t_position)
        for roi in rois
        if max(roi.position, roi.z_position, roi.t_position) > 0
    }
    slices = {(position, z, t) for position, _, z, t in positions}
    if len(slices) > 1:
        raise UserError(
            f"{path}: its regions belong to {len(slices)} slices or frames of a stack; save one file for each image"
        )
    return [
        Shape(rule.class_of(roi), (_part(f"{path}: {roi.name}", roi),), where=f"{path}: {roi.name}")
        for roi in rois
    ]


def _part(where: str, roi: Any) -> Part:
    library = import_extra("roifile", "annotations", "ImageJ's regions", Path(where))
    types, subtypes, options = library.ROI_TYPE, library.ROI_SUBTYPE, library.ROI_OPTIONS
    if roi.subtype in (subtypes.TEXT, subtypes.IMAGE):
        raise UserError(f"{where}: a {roi.subtype.name.lower()} overlay is no outline; take it out")
    if roi.roitype == types.RECT and roi.composite:
        try:
            return polygon(library.ImagejRoi.path2coords(roi.multi_coordinates), where)
        except (NotImplementedError, RuntimeError, IndexError):
            raise UserError(
                f"{where}: a composite of curves cannot be read; turn it into polygons in ImageJ "
                "(Edit > Selection > Interpolate…)"
            ) from None
    if roi.roitype in (types.RECT, types.OVAL):
        return _box_part(roi, roi.roitype == types.OVAL)
    if roi.roitype in (types.POLYGON, types.FREEHAND, types.TRACED):
        if roi.options & options.SPLINE_FIT:
            raise UserError(
                f"{where}: of a fitted spline only the knots are stored; turn it into a polygon in ImageJ "
                "(Edit > Selection > Interpolate…)"
            )
        return polygon([roi.coordinates()], where)
    kind = roi.roitype.name.lower()
    raise UserError(f"{where}: a {kind} has no area; delete it in ImageJ's ROI Manager, or draw an outline")


def _box_part(roi: Any, is_oval: bool) -> Part:
    """A rectangle, perhaps with round corners, or an oval."""
    left, top, right, bottom = map(float, (roi.left, roi.top, roi.right, roi.bottom))
    if roi.subpixelrect and roi.widthd > 0 and roi.heightd > 0:
        left, top, right, bottom = roi.xd, roi.yd, roi.xd + roi.widthd, roi.yd + roi.heightd
    if is_oval:
        return Ellipse((left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2)
    radius_x = min(roi.rounded_rect_arc_size, right - left) / 2
    radius_y = min(roi.rounded_rect_arc_size, bottom - top) / 2
    if radius_x <= 0 or radius_y <= 0:
        return rectangle(left, top, right, bottom)
    turn = np.linspace(0, np.pi / 2, _CORNER_STEPS)
    corners = (
        (right - radius_x, bottom - radius_y, 0),
        (left + radius_x, bottom - radius_y, 1),
        (left + radius_x, top + radius_y, 2),
        (right - radius_x, top + radius_y, 3),
    )
    points = [
        np.stack(
            [
                x + radius_x * np.cos(turn + quarter * np.pi / 2),
                y + radius_y * np.sin(turn + quarter * np.pi / 2),
            ],
            axis=1,
        )
        for x, y, quarter in corners
    ]
    return polygon([np.concatenate(points)], "")
