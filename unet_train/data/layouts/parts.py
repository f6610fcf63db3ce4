"""Folders that name a part of a split: train, val and test under the names that people give them."""

from __future__ import annotations

from pathlib import Path

from unet_train.errors import UserError

PART_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Part → the folder names that mean it, compared without case."""

_PART_OF_NAME = {name: part for part, names in PART_NAMES.items() for name in names}


def part_folders(folder: Path) -> dict[str, Path]:
    """Sub-folders that are parts.

    Parameters
    ----------
    folder : Path
        One that may not exist.

    Returns
    -------
    dict of str to Path
        By part, in the order train, val, test; empty where there are none.

    Raises
    ------
    UserError
        Two folders for one part, such as ``val`` and ``valid``.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        part = _PART_OF_NAME.get(path.name.lower())
        if part is None or not path.is_dir():
            continue
        if part in found:
            raise UserError(
                f"{folder}: {found[part].name}/ and {path.name}/ both mean the {part} part; keep one of them"
            )
        found[part] = path
    return {part: found[part] for part in PART_NAMES if part in found}
