"""From matched names to pairs with keys, with what is said about names that found no partner."""

from __future__ import annotations

import difflib
import os.path
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from unet_train.data.pairing.matching import Match
from unet_train.data.pairing.names import Name
from unet_train.data.pairing.pairs import Pair, Pairing
from unet_train.data.pairing.patterns import describe_names


def to_pairing(root: Path, found: Match, looked_for: Callable[[Name], str] | None = None) -> Pairing:
    """Pairs with unique keys, and a problem for every image and mask left over.

    Parameters
    ----------
    root : Path
        What the names' paths are relative to.
    found : Match
    looked_for : callable, optional
        Says of an image where its mask was looked for.
    """
    result = Pairing()
    images = [image for image, _ in found.pairs] + found.images_left
    keys = _keys(images)
    for image, masks in found.pairs:
        result.pairs.append(
            Pair(keys[image.path], root / image.path, tuple(root / mask.path for mask in masks), image.part)
        )
    hints = _nearest(found)
    for image in found.images_left:
        if image.path in found.reasons:
            what = found.reasons[image.path]
        else:
            said = [hints[image.path]] if image.path in hints else []
            said += [looked_for(image)] if looked_for and not said else []
            said.append("dataset.unlabelled=leave_out trains without such images")
            what = f"has no mask ({'; '.join(said)})"
        result.unlabelled[str(root / image.path)] = what
    result.problems += [(str(root / mask.path), "is a mask without an image") for mask in found.masks_left]
    return result


def describe_match(found: Match) -> str:
    """The rule by which images and masks are paired, as two patterns that ``dataset.images`` and ``masks`` take."""
    images, masks = pattern_texts(found)
    loosely = ", case and leading zeros apart" if found.loosely else ""
    return f"{images} is paired with {masks}{loosely}"


def pattern_texts(found: Match) -> tuple[str, str]:
    """The patterns of the images and of the masks that have a partner."""
    images = describe_names([image for image, _ in found.pairs], found.of_images)
    own = [mask for _, several in found.pairs for mask in several]
    if found.several.startswith("a folder"):
        masks = describe_names(own, found.of_masks, several=True)
        if "{folder}" not in images:
            masks = masks.replace("{folder}", "{name}")
    elif found.several:
        masks = describe_names(own, found.of_masks).replace(str(found.of_masks), f"{found.of_masks}*")
    else:
        masks = describe_names(own, found.of_masks)
    return images, masks


def _keys(images: list[Name]) -> dict[str, str]:
    """A key for each path: part and stem; with the ending, or the whole path, where two are the same."""
    stems = {name.path: f"{name.part}/{name.stem}" if name.part else name.stem for name in images}
    count = Counter(stems.values())
    keys = {path: key if count[key] == 1 else key + os.path.splitext(path)[1] for path, key in stems.items()}
    count = Counter(keys.values())
    return {path: key if count[key] == 1 else path for path, key in keys.items()}


def _nearest(found: Match) -> dict[str, str]:
    """Path of an image without a mask → the mask without an image whose name is nearest, with a key if it helps."""
    hints: dict[str, str] = {}
    if not found.masks_left or len(found.images_left) * len(found.masks_left) > 250_000:
        return hints  # too many for a comparison of each with each
    stems = {mask.stem.rpartition("/")[2]: mask for mask in found.masks_left}
    for image in found.images_left:
        own = image.stem.rpartition("/")[2]
        added = [stem for stem in stems if stem.startswith(own)]
        near = added[:1] or difflib.get_close_matches(own, list(stems), 1, 0.75)
        if near:
            hints[image.path] = f"the nearest name is {stems[near[0]].path}" + (
                f": dataset.suffix={near[0][len(own) :]}" if added and near[0] != own else ""
            )
    return hints
