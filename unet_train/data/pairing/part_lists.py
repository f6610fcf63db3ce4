"""Parts of a split by text files with one name per line, as in ImageSets/train.txt, or as dataset.parts says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unet_train.data.pairing.pairs import Pair, Pairing, first_of
from unet_train.data.pairing.parts import PART_OF_NAME
from unet_train.data.part_names import PART_NAMES
from unet_train.errors import UserError
from unet_train.nearest import nearest

_PLACES = ("", "ImageSets", "ImageSets/Segmentation", "splits", "lists")
"""Folders in which lists are looked for."""


def listed_parts(root: Path, found: Pairing) -> list[Pair]:
    """Pairs with the parts that lists of names in the folder say; as they are where there are no such lists.

    Lists of which no line is the name of an image mean something else. Without a list for training, all other images
    are the training part; else an image in none of the lists is left out, and that is said.

    Raises
    ------
    UserError
        An image in the lists of two parts, a name that is no image's.
    """
    for place in _PLACES:
        folder = root / place
        files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
        lists = {PART_OF_NAME[file.stem.lower()]: file for file in files if file.stem.lower() in PART_OF_NAME}
        if not lists:
            continue
        known = _by_name(root, found.pairs)
        without_mask = {Path(path).stem for path in found.unlabelled}
        parts: dict[str, list[Pair]] = {}
        for part, file in lists.items():
            lines = _lines(file)
            named = {line: known.get(line) or known.get(Path(line).name) for line in lines}
            strange = [line for line in lines if not named[line] and Path(line).stem not in without_mask]
            if len(strange) == len(lines):
                found.notes.append(
                    f"{file}: not used as a list of the {part} part: holds no name of an image"
                )
                break
            if strange:
                raise UserError(
                    f"{file}: {strange[0]} is no image with a mask{nearest(strange[0], known)}; correct the list of "
                    f"the {part} part, or move it out of the folder"
                )
            parts[part] = [pair for pair in named.values() if pair]
        else:
            if "train" not in parts:
                taken = {pair.key for pairs in parts.values() for pair in pairs}
                parts["train"] = [pair for pair in found.pairs if pair.key not in taken]
            files_named = ", ".join(file.relative_to(root).as_posix() for file in lists.values())
            found.notes.append(f"parts of the split by {files_named}")
            return _with_parts(found, parts)
    return found.pairs


def declared_parts(root: Path, found: Pairing, declared: Mapping[str, Any]) -> list[Pair]:
    """Pairs with the parts that ``dataset.parts`` says; what is in none of them is left out.

    Parameters
    ----------
    root : Path
    found : Pairing
    declared : mapping of str to (str or sequence of str)
        Part → folders or text files of names, relative to the root.

    Raises
    ------
    UserError
        An unknown part, a path that is neither, a name without an image, an image in two parts.
    """
    parts: dict[str, list[Pair]] = {}
    for part, given in declared.items():
        if part not in PART_NAMES:
            raise UserError(
                f"dataset.parts: {part} is no part{nearest(str(part), PART_NAMES)}; choose from {', '.join(PART_NAMES)}"
            )
        for text in [given] if isinstance(given, str) else list(given):
            parts.setdefault(part, []).extend(_pairs_of(root, found.pairs, part, str(text)))
    if not parts.get("train"):
        raise UserError(
            "dataset.parts: names no images to train on; say which folder or list is the train part"
        )
    return _with_parts(found, parts)


def _pairs_of(root: Path, pairs: Sequence[Pair], part: str, text: str) -> list[Pair]:
    path = root / text
    if path.is_file():
        known = _by_name(root, pairs)
        lines = _lines(path)
        strange = [line for line in lines if line not in known]
        if strange:
            raise UserError(
                f"{path}: {len(strange)} names are of no image with a mask, for example {strange[0]}"
            )
        return [known[line] for line in lines]
    if not path.is_dir():
        raise UserError(f"dataset.parts: {part}={text} is neither a folder nor a file in {root}")
    own = [pair for pair in pairs if pair.image.is_relative_to(path)]
    if not own:
        raise UserError(f"dataset.parts: {part}={text} holds no image with a mask")
    return own


def _with_parts(found: Pairing, parts: Mapping[str, Sequence[Pair]]) -> list[Pair]:
    part_of: dict[str, str] = {}
    for part, pairs in parts.items():
        for pair in pairs:
            if part_of.setdefault(pair.key, part) != part:
                raise UserError(f"{pair.image}: is in the {part_of[pair.key]} part and in the {part} part")
    lost = [pair for pair in found.pairs if pair.key not in part_of]
    if lost:
        names = first_of([pair.image.name for pair in lost])
        found.notes.append(f"{len(lost)} images in none of the parts are left out: {names}")
        found.left_out |= {str(pair.image): "in none of the parts" for pair in lost}
    return [
        replace(pair, part=part)
        for part in PART_NAMES
        for pair in found.pairs
        if part_of.get(pair.key) == part
    ]


def _by_name(root: Path, pairs: Sequence[Pair]) -> dict[str, Pair]:
    """Pairs by key, path, file name and name without ending; a name that two have is none."""
    found: dict[str, Pair] = {}
    twice: set[str] = set()
    for pair in pairs:
        inside = pair.image.relative_to(root)
        for name in {
            pair.key,
            inside.as_posix(),
            inside.with_suffix("").as_posix(),
            inside.name,
            inside.stem,
        }:
            if found.setdefault(name, pair) is not pair:
                twice.add(name)
    return {name: pair for name, pair in found.items() if name not in twice}


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as a list of names ({error})") from None
    return [line.split()[0] if "\t" in line else line.strip() for line in text.splitlines() if line.strip()]
