"""Pairs in a folder laid out in any way: names tell what pairs, words or pixels which of the two is the mask."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unet_train.data.io.images import read_stored
from unet_train.data.pairing.listing import Listing
from unet_train.data.pairing.matching import Match, match, refuse_channels
from unet_train.data.pairing.mixed import divisions
from unet_train.data.pairing.named import IMAGES, MASKS
from unet_train.data.pairing.names import Name, take_apart
from unet_train.data.pairing.outlines import pair_with_annotations
from unet_train.data.pairing.pairs import Pairing, first_of
from unet_train.data.pairing.results import describe_match, pattern_texts, to_pairing
from unet_train.errors import UserError

_MOST_FOLDERS = 6  # of more siblings no two are images and masks, but classes, patients or days
_LOOKED_AT = 3  # pairs opened to tell images from masks
_NAMED = 4  # rules named where several fit


@dataclass(frozen=True)
class _Candidate:
    match: Match
    by_words: bool
    """Whether words tell which are the masks; else the pixels did."""

    @property
    def worth(self) -> tuple[bool, int]:
        """What makes one candidate better than another."""
        matched = len(self.match.pairs)
        most = matched * 2 >= matched + len(self.match.images_left)
        return self.by_words and most, self.match.rank


def discover_pairs(root: Path, listing: Listing, *, outlines: bool = True) -> Pairing:
    """Find out how a folder is laid out and pair its files.

    Parameters
    ----------
    root : Path
    listing : Listing
        Its files.
    outlines : bool
        Whether annotation files may take the place of masks, where no masks are found.

    Returns
    -------
    Pairing
        A whole test part without masks is left out; other images without masks are problems.

    Raises
    ------
    UserError
        No pictures, no rule that pairs most of them, or several that do; these are named.
    """
    if not listing.pictures:
        others = (
            f" ({len(listing.others)} other files: {first_of(list(listing.others))})"
            if listing.others
            else ""
        )
        raise UserError(f"dataset.root: {root} holds no image that can be read{others}")
    names = [take_apart(path) for path in listing.pictures]
    best: list[_Candidate] = []
    for candidate in _candidates(root, names):
        if not best or candidate.worth > best[0].worth:
            best = [candidate]
        elif candidate.worth == best[0].worth and all(
            _pairs(candidate.match) != _pairs(other.match) for other in best
        ):
            best.append(candidate)
    if not best:
        outlined = pair_with_annotations(root, names, None) if outlines else None
        if outlined is not None:
            return outlined
        masks = root / MASKS
        missing = f"{masks} does not exist, and " if (root / IMAGES).is_dir() and not masks.is_dir() else ""
        raise UserError(
            f"dataset.root: {missing}in {root} no names of images and masks pair ({first_of(list(listing.pictures))}); "
            "name the folders with dataset.images and dataset.masks, or give patterns such as "
            "'dataset.images=scans/{name}.png' 'dataset.masks=drawn/{name}_m.png'"
        )
    if len(best) > 1:
        raise _several_fit(root, best)
    found = best[0].match
    unlabelled_test = _take_test_part(found)
    result = to_pairing(root, found)
    result.rule = describe_match(found)
    result.notes.append(result.rule)
    if unlabelled_test:
        result.notes.append(
            f"{len(unlabelled_test)} images of the test part have no masks and are not used "
            f"({first_of([name.path for name in unlabelled_test])})"
        )
        result.left_out |= {str(root / name.path): "test image without a mask" for name in unlabelled_test}
    used = {name.path for image, masks in found.pairs for name in (image, *masks)}
    used |= {name.path for name in (*found.images_left, *found.masks_left, *unlabelled_test)}
    unused = [path for path in listing.pictures if path not in used]
    if unused:
        result.unused.append(f"{root}: {len(unused)} pictures are not used: {first_of(unused)}")
        result.left_out |= {str(root / path): "not named like an image or a mask" for path in unused}
    if listing.others:
        result.unused.append(f"{root}: not read ({len(listing.others)}): {first_of(list(listing.others))}")
    return result


def _candidates(root: Path, names: Sequence[Name]) -> Iterator[_Candidate]:
    images = _by_place([name for name in names if name.role == "image"])
    masks = _by_place([name for name in names if name.role == "mask"])
    rest = [name for name in names if name.role is None]
    complete = False
    for own_masks in masks.values():
        for own_images in images.values() if images else _folders_of(rest):
            for candidate in _with_masks(own_images, own_masks):
                complete |= candidate.match.rank == 3
                yield candidate
    if complete:
        return
    siblings = _siblings(rest)
    if not masks:
        for own_images in images.values():
            for others in siblings.values():
                yield from _looked_at(root, own_images, others, "mask")
    for pool in [*images.values(), *masks.values(), rest]:
        for division in divisions(pool):
            yield from _looked_at(root, division.first, division.second, division.role_of_second)
    if not masks and not images and 2 <= len(siblings) <= _MOST_FOLDERS:
        places = list(siblings.values())
        for index, first in enumerate(places):
            for second in places[index + 1 :]:
                yield from _looked_at(root, first, second, None)


def _folders_of(rest: Sequence[Name]) -> list[list[Name]]:
    """Images in no folder that says so: all of them, or those of one folder of any name."""
    siblings = _siblings(rest)
    return [list(rest), *(siblings.values() if len(siblings) <= _MOST_FOLDERS else [])] if rest else []


def _with_masks(images: Sequence[Name], masks: Sequence[Name]) -> Iterator[_Candidate]:
    """Images with the masks of a folder, or with those masks in it that end alike."""
    found = match(images, masks)
    if found.pairs:
        yield _Candidate(found, True)
    else:
        refuse_channels(images, masks)
    if found.rank == 3 or len(masks) < 2 * len(images):
        return
    by_word = defaultdict(list)
    for name in masks:
        by_word[name.stem.rpartition("/")[2].rpartition("_")[2]].append(name)
    for own in by_word.values():
        if 2 * len(own) >= len(images):
            found = match(images, own)
            if found.rank >= 2:
                yield _Candidate(found, True)


def _looked_at(
    root: Path, first: Sequence[Name], second: Sequence[Name], role_of_second: str | None
) -> Iterator[_Candidate]:
    """A candidate, with the pixels telling which is the mask where no word does."""
    found = match(first, second)
    if not found.pairs:
        return
    role = role_of_second or _role_by_pixels(root, found)
    if role == "image":
        found = match(second, first)
    if role and found.pairs:
        yield _Candidate(found, role_of_second is not None)


def _role_by_pixels(root: Path, found: Match) -> str | None:
    """Role of the second file of each pair: a mask has far fewer values; None where that does not tell."""
    roles = set()
    for image, masks in found.pairs[:: max(1, len(found.pairs) // _LOOKED_AT)][:_LOOKED_AT]:
        first, second = (_count_values(root / name.path) for name in (image, masks[0]))
        if first is None or second is None or not (4 * first <= second or 4 * second <= first):
            return None
        roles.add("mask" if second < first else "image")
    return roles.pop() if len(roles) == 1 else None


def _count_values(path: Path) -> int | None:
    """How many values, or colours, a picture has; None where it cannot be read."""
    try:
        array = read_stored(path).array
    except UserError:
        return None
    if array.ndim == 3 and array.dtype == np.uint8:
        array = (
            array.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32) if array.shape[2] == 3 else array
        )
    return len(np.unique(array))


def _by_place(names: Sequence[Name]) -> dict[str, list[Name]]:
    found: dict[str, list[Name]] = defaultdict(list)
    for name in names:
        found[name.place].append(name)
    return found


def _siblings(names: Sequence[Name]) -> dict[str, list[Name]]:
    """Names by their first folder, which leaves the stem."""
    found: dict[str, list[Name]] = defaultdict(list)
    for name in names:
        first, slash, rest = name.stem.partition("/")
        if slash:
            found[first].append(replace(name, stem=rest, place=first))
        else:
            found[""].append(name)
    return found


def _take_test_part(found: Match) -> list[Name]:
    """Images of a test part that has no mask at all, taken out of those left over."""
    if "test" in {image.part for image, _ in found.pairs}:
        return []
    test = [name for name in found.images_left if name.part == "test"]
    found.images_left = [name for name in found.images_left if name.part != "test"]
    return test


def _pairs(found: Match) -> frozenset[tuple[str, tuple[str, ...]]]:
    return frozenset((image.path, tuple(mask.path for mask in masks)) for image, masks in found.pairs)


def _several_fit(root: Path, best: Sequence[_Candidate]) -> UserError:
    rules = [pattern_texts(candidate.match) for candidate in best[:_NAMED]]
    listed = " or ".join(f"'dataset.images={images}' 'dataset.masks={masks}'" for images, masks in rules)
    return UserError(
        f"dataset.root: {len(best)} ways to pair the files of {root} fit; choose one (files of several classes are "
        f"read one class at a time): {listed}"
    )
