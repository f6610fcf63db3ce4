"""Folders that name a part of a split: train, val and test under the names that people give them."""

from __future__ import annotations

import re
from pathlib import Path

from unet_train.data.pairing.words import IMAGE_WORDS, MASK_WORDS, tokens
from unet_train.data.part_names import PART_NAMES
from unet_train.errors import UserError

PART_OF_NAME = {name: part for part, names in PART_NAMES.items() for name in names}
_SHORT = {"tr": "train", "ts": "test", "val": "val"}  # imagesTr, labelsTs
_LONGEST_FIRST = sorted(PART_OF_NAME, key=len, reverse=True)


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
        told = part_in(path.name)
        if told is None or not re.fullmatch(r"\{part\}([_-]?(set|\d{4}))?", told[1]) or not path.is_dir():
            continue
        part = told[0]
        if part in found:
            raise UserError(
                f"{folder}: {found[part].name}/ and {path.name}/ both mean the {part} part; keep one of them"
            )
        found[part] = path
    return {part: found[part] for part in PART_NAMES if part in found}


def part_in(folder: str) -> tuple[str, str] | None:
    """The part that a folder's name tells, and the rest of the name with ``{part}`` in its place.

    ``train`` is all name; so are ``train2017`` and ``training_set`` but for the rest; ``train_masks``, ``valannot``,
    ``images-test`` and ``imagesTr`` hold a part beside a word for images or masks. Other names (``training_notes``,
    ``contest``) tell none.

    Returns
    -------
    (str, str) or None
    """
    lower = folder.lower()
    if lower in PART_OF_NAME:
        return PART_OF_NAME[lower], "{part}"
    more = re.fullmatch(r"([a-z]+?)([_-]?(?:set|(?:19|20)\d\d))", lower)
    if more and more[1] in PART_OF_NAME:
        return PART_OF_NAME[more[1]], "{part}" + more[2]
    for name in _LONGEST_FIRST:
        if lower.startswith(name) and _is_role(folder[len(name) :]):
            return PART_OF_NAME[name], "{part}" + folder[len(name) :]
        if lower.endswith(name) and _is_role(folder[: -len(name)]):
            return PART_OF_NAME[name], folder[: -len(name)] + "{part}"
    match = re.fullmatch(r"(.+)(Tr|Ts|Val)", folder)
    if match and _is_role(match[1]):
        return _SHORT[match[2].lower()], match[1] + "{part}"
    return None


def _is_role(text: str) -> bool:
    """Whether a rest of a name is one word for images or masks."""
    words = tokens(text)
    return len(words) == 1 and words[0] in IMAGE_WORDS | MASK_WORDS
