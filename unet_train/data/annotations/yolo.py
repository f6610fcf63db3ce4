"""YOLO segmentation text: one file per image, one object per line: class and outline in fractions of the image."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
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
from unet_train.data.annotations.shapes import Shape, large_first, polygon
from unet_train.data.io.files import read_bytes
from unet_train.errors import UserError

FORMAT = "YOLO text"
NAME_LISTS = ("classes.txt", "obj.names", "predefined_classes.txt")
"""Files of one class name per line."""
_YAML_SUFFIXES = (".yaml", ".yml")
_FARTHEST = 2.0  # fractions above that are pixels; a little outside the image is clipped


def might_be_yolo(head: bytes) -> bool:
    """Whether a text file's first line is a class id and fractions (of an outline, or of a box, which is refused)."""
    for line in head.decode("utf-8-sig", errors="replace").splitlines():
        words = line.split()
        if words:
            # The last word may be cut off.
            return len(words) >= 5 and words[0].isdecimal() and all(map(_is_fraction, words[1:-1]))
    return False


def read_yolo(root: Path, files: Sequence[Path], empty: Sequence[Path]) -> Annotations:
    """Read YOLO files.

    Parameters
    ----------
    root : Path
        The folder searched.
    files : sequence of Path
        Those with lines.
    empty : sequence of Path
        Empty ones: images without an object, where they lie in a folder of the others or of such a name.

    Raises
    ------
    UserError
        Boxes instead of outlines; pixels instead of fractions; key points; ids without a name; name lists that differ.
    """
    homes = {path.parent for path in files}
    kinds = {folder.name for folder in homes} - {root.name}
    files = sorted([*files, *(path for path in empty if path.parent in homes or path.parent.name in kinds)])
    inside = {up for folder in homes for up in (folder, *folder.parents) if up.is_relative_to(root)}
    # Above the root only where nothing is inside: root may be the folder of a part, or of its labels.
    for folders in (sorted(inside), [root.parent], [root.parent.parent]):
        names, origin = _find_names(folders)
        if names:
            break
    notes = [f"class names are those of {origin}"] if origin else []
    if names is None:
        found = {int(shape.name) for path in files for shape in read_shapes(None, path, "")}
        names = {index: f"class_{index}" for index in sorted(found)}
        notes = ["YOLO text without a data.yaml or classes.txt: the classes go by their ids"]
    return Annotations(
        format=FORMAT,
        classes=foreground_classes(names.values()),
        files=tuple(files),
        root=root,
        notes=tuple(notes),
        entries=entry_by_name(Entry(name_of(root, path), path) for path in files),
        reader=partial(read_shapes, names),
    )


def read_shapes(names: dict[int, str] | None, path: Path, _name: str) -> list[Shape]:
    """Shapes of one file, from the largest to the smallest; without names each is called by its id.

    Raises
    ------
    UserError
        As `read_yolo`.
    """
    try:
        text = (read_bytes(path) if path.stat().st_size else b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; save the file as text") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    shapes = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words:
            shapes.append(_shape(names, f"{path}: line {number}", words))
    return large_first(shapes)


def _shape(names: dict[int, str] | None, where: str, words: list[str]) -> Shape:
    if not words[0].isdecimal() or not all(map(_is_number, words[1:])):
        raise UserError(f"{where}: not a class id and numbers, as in: 0 0.1 0.1 0.5 0.1 0.5 0.5")
    index, values = int(words[0]), np.array(words[1:], np.float64)
    if len(values) == 4:
        raise UserError(
            f"{where}: a box (class x y width height) where an outline is needed (class x1 y1 x2 y2 x3 y3 …); export "
            "the annotations for segmentation"
        )
    if len(values) % 2:
        raise UserError(
            f"{where}: {len(values)} numbers after the class make no pairs of x and y; remove a confidence at the end"
        )
    outline = polygon([values.reshape(-1, 2)], where)
    if np.abs(values).max() > _FARTHEST:
        raise UserError(
            f"{where}: {np.abs(values).max():g} is no fraction of the image's size; divide x by the width and y by the "
            "height"
        )
    if names is not None and index not in names:
        raise UserError(f"{where}: class id {index} has no name; the names found have ids {sorted(names)}")
    return Shape(str(index) if names is None else names[index], (outline,), relative=True, where=where)


# --- names --------------------------------------------------------------------------------------------------


def _find_names(folders: Sequence[Path]) -> tuple[dict[int, str] | None, Path | None]:
    """Names by id from the first of the folders' lists and YAML files; they must not differ."""
    found: dict[Path, dict[int, str]] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.name.lower() in NAME_LISTS:
                found[path] = _names_in_list(path)
            elif path.suffix.lower() in _YAML_SUFFIXES:
                names = _names_in_yaml(path)
                if names:
                    found[path] = names
    for path, names in found.items():
        repeated = sorted(name for name in set(names.values()) if list(names.values()).count(name) > 1)
        if repeated:
            raise UserError(f"{path}: two classes are named {repeated[0]!r}; give each its own name")
    origin = next(iter(found), None)
    for path, names in found.items():
        if origin is not None and names != found[origin]:
            raise UserError(
                f"{path}: the class names ({', '.join(names.values())}) are not those of {origin} "
                f"({', '.join(found[origin].values())}); remove the wrong file"
            )
    return (found[origin] if origin else None), origin


def _names_in_list(path: Path) -> dict[int, str]:
    """One name per line; ids are the lines' numbers, so that a blank one between them must not be passed over."""
    text = read_bytes(path).decode("utf-8-sig", errors="replace")
    names = [line.strip() for line in text.rstrip().splitlines()]
    if not all(names):
        raise UserError(
            f"{path}: line {names.index('') + 1} is blank between the class names; which ids do those after it have? "
            "Take it out or name it"
        )
    return dict(enumerate(names))


def _names_in_yaml(path: Path) -> dict[int, str] | None:
    """``names`` of a YOLO data file, a list or a mapping; None where the file is another one."""
    import yaml

    try:
        data: Any = yaml.safe_load(read_bytes(path).decode("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, UserError) as error:
        if path.stem.lower() != "data":
            return None
        detail = str(error).strip().replace("\n", " ")
        raise UserError(f"{path}: broken YAML ({detail})") from None
    if not isinstance(data, dict) or "names" not in data:
        return None
    if "kpt_shape" in data:
        raise UserError(
            f"{path}: kpt_shape: the text files hold key points, no outlines; export for segmentation"
        )
    names = data["names"]
    if isinstance(names, str):  # Roboflow's older exports quote the list
        try:
            names = ast.literal_eval(names)
        except (ValueError, SyntaxError):
            names = None
    if isinstance(names, list):
        return {index: str(name) for index, name in enumerate(names)}
    if isinstance(names, dict) and all(str(key).isdecimal() for key in names):
        return {int(key): str(name) for key, name in sorted(names.items(), key=lambda pair: int(pair[0]))}
    raise UserError(f"{path}: names: neither a list of class names nor a mapping of ids to names")


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _is_fraction(word: str) -> bool:
    return _is_number(word) and abs(float(word)) <= _FARTHEST
