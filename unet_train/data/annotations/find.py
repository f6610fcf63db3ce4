"""Finds out which annotation format the files of a folder have, and reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from unet_train.data.annotations import coco, geojson, imagej, labelme, yolo
from unet_train.data.annotations.collection import Annotations
from unet_train.data.annotations.json_files import top_keys
from unet_train.data.io.files import open_file, walk
from unet_train.errors import UserError

FORMATS: Mapping[str, str] = {
    "coco": coco.FORMAT,
    "labelme": labelme.FORMAT,
    "yolo": yolo.FORMAT,
    "imagej": imagej.FORMAT,
    "geojson": geojson.FORMAT,
}
"""Short name of a format, as it is typed → its name in messages."""

_SUFFIXES = (".json", ".geojson", ".txt", ".roi", ".zip")
_HEAD = 4096


def find_annotations(folder: str | Path, *, only: str | None = None) -> Annotations | None:
    """Annotations in a folder and the folders in it, hidden ones left out.

    Formats are told by the ending and the first bytes of the files; no image is opened.

    Parameters
    ----------
    folder : path
        A data set, or a part of one.
    only : str, optional
        A key of `FORMATS`: files of others are passed over.

    Returns
    -------
    Annotations or None
        None where no file is an annotation file.

    Raises
    ------
    UserError
        Files of two formats, with one of each; whatever the format's own file refuses.
    """
    if only is not None and only not in FORMATS:
        raise UserError(f"dataset.annotations={only}: none of {', '.join(FORMATS)}")
    root = Path(folder)
    files, empty = _candidates(root)
    readers: dict[str, Callable[[], Annotations | None]] = {
        "coco": lambda: coco.read_coco(root, files["coco"]),
        "labelme": lambda: labelme.read_labelme(root, files["labelme"]),
        "yolo": lambda: yolo.read_yolo(root, files["yolo"], empty),
        "imagej": lambda: imagej.read_imagej(root, files["imagej"]),
        "geojson": lambda: geojson.read_geojson(root, files["geojson"]),
    }
    found: dict[str, Annotations] = {}
    for name in FORMATS:
        if files[name] and only in (None, name):
            annotations = readers[name]()
            if annotations is not None:
                found[name] = annotations
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise UserError(
            f"{root}: annotations of two formats, {first.format} ({first.files[0]}) and {second.format} "
            f"({second.files[0]}); choose by dataset.annotations={one} or "
            f"dataset.annotations={other}"
        )
    return next(iter(found.values()), None)


def _candidates(root: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Files by the format that their first bytes may be of, and the empty text files."""
    files: dict[str, list[Path]] = {name: [] for name in FORMATS}
    empty: list[Path] = []
    for folder, folders, names in walk(root):
        folders[:] = (name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") or not name.lower().endswith(_SUFFIXES):
                continue
            kind = _kind(path, _head(path))
            if kind == "empty":
                empty.append(path)
            elif kind:
                files[kind].append(path)
    return files, empty


def _kind(path: Path, head: bytes) -> str:
    """Key of `FORMATS`, "empty" for an empty text file, "" for another file."""
    suffix = path.suffix.lower()
    if suffix == ".txt":
        if path.name.lower() in yolo.NAME_LISTS:
            return ""
        return "yolo" if yolo.might_be_yolo(head) else "empty" if not head.strip() else ""
    if suffix in (".roi", ".zip"):
        return "imagej" if imagej.might_be_roi(path, head) else ""
    keys = top_keys(head)
    if labelme.might_be_labelme(keys):
        return "labelme"
    if coco.might_be_coco(keys):
        return "coco"
    return "geojson" if geojson.might_be_geojson(keys, head) else ""


def _head(path: Path) -> bytes:
    try:
        with open_file(path) as file:
            return file.read(_HEAD)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
