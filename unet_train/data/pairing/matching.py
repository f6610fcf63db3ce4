"""Pairs of two lists of names: by equal names, by what varies in them, or several masks to an image."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from unet_train.data.pairing.affixes import Affixes, common_affixes, without_shared
from unet_train.data.pairing.names import Name
from unet_train.data.pairing.numbering import without_number, without_numbers
from unet_train.errors import UserError


@dataclass
class Match:
    """Which image has which masks.

    Attributes
    ----------
    pairs : list of (Name, tuple of Name)
        In the images' order; each image has at least one mask.
    images_left, masks_left : list of Name
    of_images, of_masks : Affixes
        What all names of each kind have around the part that pairs them.
    several : str
        How several masks of an image are found, "" where each has one.
    loosely : bool
        Whether case and leading zeros were passed over.
    reasons : dict of str to str
        Path of an image → why it has no mask, where there is more to say.
    """

    pairs: list[tuple[Name, tuple[Name, ...]]] = field(default_factory=list)
    images_left: list[Name] = field(default_factory=list)
    masks_left: list[Name] = field(default_factory=list)
    of_images: Affixes = field(default_factory=Affixes)
    of_masks: Affixes = field(default_factory=Affixes)
    several: str = ""
    loosely: bool = False
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def by_equal_names(self) -> bool:
        """Whether image and mask simply have the same name."""
        return self.of_images == self.of_masks and not self.several and not self.loosely

    @property
    def rank(self) -> int:
        """How much is left over: 3 nothing, 2 masks alone, 1 images alone, 0 both; -1 without a pair."""
        if not self.pairs:
            return -1
        return 3 - (1 if self.masks_left else 0) - (2 if self.images_left else 0)


def match(images: Sequence[Name], masks: Sequence[Name]) -> Match:
    """Pair two lists; the first of these that leaves nothing over counts, else the one with most pairs.

    Equal names; names that are equal but for case and leading zeros; equal rests once what all images, and all masks,
    have in common is cut off; a folder of masks named like the image or beside it; masks with numbers behind the
    image's name.
    """
    best = Match(images_left=list(images), masks_left=list(masks))
    for attempt in (_equal, _loosely, _by_rests, _by_folders, _by_numbers):
        found = attempt(images, masks)
        if found.rank == 3:
            return found
        if len(found.pairs) > len(best.pairs):
            best = found
    return best


def refuse_channels(images: Sequence[Name], masks: Sequence[Name]) -> None:
    """Refuse files that are channels of one image: ``a_0000`` and ``a_0001`` with the mask ``a``.

    Raises
    ------
    UserError
        Names two of them.
    """
    found = _by_numbers(masks, images)
    several = [own for _, own in found.pairs if len(own) > 1]
    if several and not found.images_left:
        paths = ", ".join(name.path for name in several[0][:3])
        raise UserError(
            f"{paths}: several images for the mask {found.pairs[0][0].path}; if they are channels of one image, save "
            "them as the channels of one tif"
        )


def _equal(images: Sequence[Name], masks: Sequence[Name]) -> Match:
    found = _joined(images, masks, lambda name: name.stem, lambda name: name.stem)
    for position, (image, own) in reversed(list(enumerate(found.pairs))):
        if len(own) == 1:
            continue
        same_ending = tuple(mask for mask in own if mask.ending == image.ending)
        if len(same_ending) == 1:
            found.pairs[position] = (image, same_ending)
        else:
            del found.pairs[position]
            found.images_left.append(image)
            found.reasons[image.path] = "several masks have this name; give image and mask the same ending"
    return found


def _loosely(images: Sequence[Name], masks: Sequence[Name]) -> Match:
    """``A8.png`` and ``a008.png``, where that mixes up no two names of a kind."""
    keys = [[(name.part, _loose(name.stem)) for name in names] for names in (images, masks)]
    if any(len(set(own)) < len(own) for own in keys):
        return Match()
    found = _joined(images, masks, lambda name: _loose(name.stem), lambda name: _loose(name.stem))
    found.loosely = True
    return found


def _loose(stem: str) -> str:
    return re.sub(r"0*(\d+)", r"\1", stem.lower())


def _by_rests(images: Sequence[Name], masks: Sequence[Name]) -> Match:
    if len(images) == 1 and len(masks) == 1 and images[0].part == masks[0].part:
        whole = [Affixes(before=_file(name.stem)) for name in (images[0], masks[0])]
        return Match([(images[0], (masks[0],))], of_images=whole[0], of_masks=whole[1])
    if min(len(images), len(masks)) < 2:
        return Match()
    numbered = without_numbers([name.stem for name in masks])
    of_images = common_affixes([_file(name.stem) for name in images])
    of_masks = common_affixes([_file(stem) for stem in numbered.values()])

    def rest(stem: str, affixes: Affixes) -> str:
        return stem[: len(stem) - len(_file(stem))] + affixes.part_between(_file(stem))

    found = _joined(
        images,
        masks,
        lambda name: rest(name.stem, of_images),
        lambda name: rest(numbered[name.stem], of_masks),
    )
    # A rest that few have in common is a coincidence: 1, 2 and 3 occur in all kinds of names.
    if len(found.pairs) * 2 < min(len(images), len(set(numbered.values()))):
        return Match()
    found.of_images, found.of_masks = without_shared(of_images, of_masks)
    if any(len(masks) > 1 for _, masks in found.pairs):
        found.several = "numbers after the mask's name"
    return found


def _by_folders(images: Sequence[Name], masks: Sequence[Name]) -> Match:
    """Masks in a folder of their own for each image: named like the image, or the one that holds the image alone."""
    alone = Counter((name.part, name.folder) for name in images)
    stems = {(name.part, name.stem) for name in images}

    def of_mask(name: Name) -> str:
        return "/" + name.folder

    def of_image(name: Name) -> str:
        if name.folder and alone[name.part, name.folder] == 1 and (name.part, name.folder) not in stems:
            beside = "/" + name.folder
            if (name.part, beside) in folders:
                return beside
        return "/" + name.stem

    folders = {(name.part, of_mask(name)) for name in masks if name.folder}
    if not folders:
        return Match()
    found = _joined(images, [name for name in masks if name.folder], of_image, of_mask)
    _refuse_class_files(found)
    found.masks_left += [name for name in masks if not name.folder]
    found.several = "a folder of masks for each image"
    return found


def _refuse_class_files(found: Match) -> None:
    """Refuse masks whose names are the same words for each image: they are classes, not objects.

    Raises
    ------
    UserError
        Names the files of one image.
    """
    words = [frozenset(_file(mask.stem) for mask in own) for _, own in found.pairs]
    if len(words) > 1 and len(set(words)) == 1 and len(words[0]) > 1 and not any(map(_has_digit, words[0])):
        paths = ", ".join(mask.path for mask in found.pairs[0][1][:3])
        raise UserError(
            f"{paths}: every image has masks of these names, so they are classes and not objects; one class at a "
            "time can be read: say its files in a pattern, as in 'dataset.masks=masks/{name}/cup.png', and the "
            "images' in dataset.images"
        )


def _has_digit(text: str) -> bool:
    return any(letter.isdigit() for letter in text)


def _by_numbers(images: Sequence[Name], masks: Sequence[Name]) -> Match:
    """Masks named like the image with a number behind it: ``a.png`` has ``a_1.png`` and ``a_2.png``."""
    stems = {(name.part, name.stem) for name in images}

    def of_mask(name: Name) -> str:
        head = without_number(name.stem)
        return head if (name.part, head) in stems else name.stem

    found = _joined(images, masks, lambda name: name.stem, of_mask)
    found.several = "numbers after the image's name"
    return found


def _file(stem: str) -> str:
    return stem.rpartition("/")[2]


def _joined(
    images: Sequence[Name],
    masks: Sequence[Name],
    of_image: Callable[[Name], str],
    of_mask: Callable[[Name], str],
) -> Match:
    """Join by part and key. Where several images have one key, image and mask must have the same ending."""
    by_key: dict[tuple[str | None, str], list[Name]] = defaultdict(list)
    for name in masks:
        by_key[name.part, of_mask(name)].append(name)
    count = Counter((name.part, of_image(name)) for name in images)
    found = Match()
    used: set[str] = set()
    for name in images:
        key = (name.part, of_image(name))
        own = by_key.get(key, [])
        if count[key] > 1:
            own = [mask for mask in own if mask.ending == name.ending]
        if own:
            found.pairs.append((name, tuple(own)))
            used.update(mask.path for mask in own)
        else:
            found.images_left.append(name)
            if count[key] > 1 and key in by_key:
                found.reasons[name.path] = (
                    "several images have this name; give image and mask the same ending"
                )
    found.masks_left = [name for name in masks if name.path not in used]
    return found
