"""The entrance to this folder: all pairs of a data set's folder, by keys or found out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unet_train.data.pairing.discovery import discover_pairs
from unet_train.data.pairing.listing import list_files
from unet_train.data.pairing.matching import Match
from unet_train.data.pairing.named import IMAGES, MASKS, find_in_named_folders, holds_named_folders
from unet_train.data.pairing.names import Name, take_apart
from unet_train.data.pairing.outlines import NO_ANNOTATIONS, pair_with_annotations
from unet_train.data.pairing.pairs import Pairing, first_of
from unet_train.data.pairing.part_lists import declared_parts, listed_parts
from unet_train.data.pairing.patterns import Pattern, is_pattern
from unet_train.data.pairing.results import to_pairing
from unet_train.errors import UserError

UNLABELLED = ("refuse", "leave_out")
"""What is done with images that have no mask."""


@dataclass(frozen=True)
class FilesRule:
    """Where images and masks lie.

    Attributes
    ----------
    images, masks : str or None
        Names of the two folders, or patterns; None: found out.
    suffix : str
        What a mask's name has after the image's: ``"_mask"`` pairs ``a.png`` with ``a_mask.png``.
    unlabelled : {"refuse", "leave_out"}
        What is done with images that have no mask.
    annotations : str or None
        Format of the files with outlines; `NO_ANNOTATIONS`: the masks are pictures; None: found out.
    parts : mapping of str to (str or sequence of str), optional
        Part → folder, or text file of names, relative to the root; None: as folders and lists are called.
    """

    images: str | None = None
    masks: str | None = None
    suffix: str = ""
    unlabelled: str = "refuse"
    parts: Mapping[str, Any] | None = None
    annotations: str | None = None


def find_pairs(root: Path, rule: FilesRule) -> Pairing:
    """All pairs of a folder.

    Raises
    ------
    UserError
        Where the rule finds nothing, or none is given and none or several fit.
    """
    patterns = (is_pattern(rule.images), is_pattern(rule.masks))
    if rule.annotations not in (None, NO_ANNOTATIONS):
        found = _outlined(root, rule)
    elif any(patterns):
        if not all(patterns):
            raise UserError(
                "dataset.images and dataset.masks: where one is a pattern with {name} the other must be one too"
            )
        found = _by_patterns(root, str(rule.images), str(rule.masks))
    elif rule.images is not None or rule.masks is not None or rule.suffix or holds_named_folders(root):
        found = find_in_named_folders(
            root,
            IMAGES if rule.images is None else rule.images,
            MASKS if rule.masks is None else rule.masks,
            rule.suffix,
        )
    else:
        found = discover_pairs(root, list_files(root), outlines=rule.annotations is None)
    if rule.parts is not None:
        found.pairs = declared_parts(root, found, rule.parts)
    elif all(pair.part is None for pair in found.pairs):
        found.pairs = listed_parts(root, found)
    else:
        _refuse_images_in_no_part(root, found)
    if rule.unlabelled == "leave_out":
        _leave_out_unlabelled(found)
    return found


def _refuse_images_in_no_part(root: Path, found: Pairing) -> None:
    """Refuse images beside the parts of a split: nobody said whether they may be trained on."""
    loose = next((pair for pair in found.pairs if pair.part is None), None)
    if loose is None:
        return
    inside = next(pair for pair in found.pairs if pair.part is not None)
    folders = [pair.image.relative_to(root).parts[0] for pair in (inside, loose)]
    raise UserError(
        f"{loose.image}: is in no part of the split, where {inside.image} is in the {inside.part} part; say which part "
        f"each folder is, as in 'dataset.parts={{{inside.part}:{folders[0]},val:{folders[1]}}}'"
    )


def _outlined(root: Path, rule: FilesRule) -> Pairing:
    """Pictures of ``dataset.images`` (a folder or a pattern), or all, with their annotations."""
    if rule.masks is not None or rule.suffix:
        named = "masks" if rule.masks is not None else "suffix"
        raise UserError(
            f"dataset.{named}: dataset.annotations={rule.annotations} takes the place of masks; leave it out"
        )
    pictures = list_files(root).pictures
    if rule.images is not None:
        pattern = Pattern(
            "dataset.images", rule.images if is_pattern(rule.images) else f"{rule.images}/{{name}}"
        )
        pictures = tuple(path for path in pictures if pattern.match(path) is not None)
        if not pictures:
            raise UserError(f"dataset.images={rule.images}: no picture in {root} fits")
    found = pair_with_annotations(root, [take_apart(path) for path in pictures], rule.annotations)
    assert found is not None, "a named format is found or refused"
    return found


def _by_patterns(root: Path, images: str, masks: str) -> Pairing:
    pictures = list_files(root).pictures
    image_pattern, mask_pattern = Pattern("dataset.images", images), Pattern("dataset.masks", masks)
    if images == masks:
        raise UserError(
            f"dataset.masks={masks}: is the pattern of the images too; say how the masks are called"
        )
    found_images = {path: fields for path in pictures if (fields := image_pattern.match(path)) is not None}
    found_masks = {path: fields for path in pictures if (fields := mask_pattern.match(path)) is not None}
    for pattern, found in ((image_pattern, found_images), (mask_pattern, found_masks)):
        if not found:
            raise UserError(
                f"{pattern.key}={pattern.text}: fits none of the {len(pictures)} pictures in {root}, for example "
                f"{first_of(list(pictures))}"
            )
    # A pattern of masks that fits images as well (`{name}.png` beside `{name}_m.png`) means the other files.
    for path in found_images.keys() & found_masks.keys():
        del (found_images if len(mask_pattern.text) > len(image_pattern.text) else found_masks)[path]
    for pattern, found in ((image_pattern, found_images), (mask_pattern, found_masks)):
        if not found:
            raise UserError(f"{pattern.key}={pattern.text}: fits only files that the other pattern fits too")
    shared = {"name", "folder", "group", "part"} & _fields(found_images) & _fields(found_masks)
    keys = {tuple(fields.get(f) for f in sorted(shared)) for fields in found_images.values()}
    by_key: dict[tuple[str | None, ...], list[str]] = defaultdict(list)
    for path, fields in found_masks.items():
        key = tuple(fields.get(f) for f in sorted(shared))
        if mask_pattern.open_name:
            name = fields["name"]
            while name and key not in keys:
                name = name[:-1]
                key = tuple((fields | {"name": name}).get(f) for f in sorted(shared))
        by_key[key].append(path)
    match = Match()
    used: set[str] = set()
    groups = {}
    for path, fields in found_images.items():
        key = tuple(fields.get(f) for f in sorted(shared))
        words = [fields[f] for f in ("group", "folder", "name") if f in fields]
        image = Name(path, "/".join(dict.fromkeys(words)), fields.get("part"))
        own = by_key.get(key, [])
        if own:
            match.pairs.append((image, tuple(Name(mask, mask) for mask in own)))
            used.update(own)
            groups[path] = fields.get("group")
        else:
            match.images_left.append(image)
    if not match.pairs:
        raise UserError(
            f"dataset.masks={masks}: no mask has the fields of an image; {next(iter(found_images))} has "
            f"{next(iter(found_images.values()))}, {next(iter(found_masks))} {next(iter(found_masks.values()))}"
        )
    match.masks_left = [Name(path, path) for path in found_masks if path not in used]
    result = to_pairing(root, match)
    result.pairs = [
        replace(pair, group=groups[pair.image.relative_to(root).as_posix()]) for pair in result.pairs
    ]
    result.rule = f"{images} is paired with {masks}"
    return result


def _fields(found: dict[str, dict[str, str]]) -> set[str]:
    return set(next(iter(found.values())))


def _leave_out_unlabelled(found: Pairing) -> None:
    if found.unlabelled:
        names = [Path(path).name for path in found.unlabelled]
        found.left_out |= dict.fromkeys(found.unlabelled, "has no mask")
        found.notes.append(f"{len(names)} images without a mask are left out: {first_of(names)}")
        found.unlabelled = {}
