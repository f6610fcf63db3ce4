"""Pairs where the folders of images and masks are known: by the keys, or called images/ and masks/."""

from __future__ import annotations

from pathlib import Path

from unet_train.data.io.images import without_ending
from unet_train.data.pairing.listing import list_files
from unet_train.data.pairing.matching import Match, match, refuse_channels
from unet_train.data.pairing.names import Name
from unet_train.data.pairing.pairs import Pairing, first_of
from unet_train.data.pairing.parts import part_folders
from unet_train.data.pairing.results import describe_match, to_pairing
from unet_train.errors import UserError

IMAGES, MASKS = "images", "masks"
"""What the folders are called where no key says otherwise."""


def holds_named_folders(root: Path) -> bool:
    """Whether there are images/ and masks/, in the root or in a part's folder."""
    return any(
        (folder / IMAGES).is_dir() and (folder / MASKS).is_dir()
        for folder in (root, *part_folders(root).values())
    )


def find_in_named_folders(root: Path, images: str, masks: str, suffix: str) -> Pairing:
    """Pair the images and masks of two folders, of the root or of each part.

    Parameters
    ----------
    root : Path
    images, masks : str
        Names of the folders; one folder if `suffix` tells masks from images.
    suffix : str
        What a mask's name has after the image's.

    Raises
    ------
    UserError
        No such folders, parts that hold no masks, images beside parts, no pairs at all.
    """
    if images == masks and not suffix:
        raise UserError("dataset.suffix: images and masks in one folder need a suffix that tells masks apart")
    image_root = root / images
    parts = {p: f for p, f in part_folders(root).items() if (f / images).is_dir()}
    found = Pairing()
    if image_root.is_dir() and parts and images not in ("", "."):
        folder = next(iter(parts.values())).name
        found.notes.append(f"{root} holds {images}/ and {folder}/{images}/ too; the first is used")
    if image_root.is_dir():
        inside = {} if images in ("", ".") else part_folders(image_root)
        # Of a root that holds the images itself, train/ beside them is an ordinary sub-folder.
        if inside:
            places = _parts_inside(root, image_root, masks, inside, found)
        else:
            places = [(image_root, _existing(root / masks), None)]
    elif parts:
        places = [(folder / images, _existing(folder / masks), part) for part, folder in parts.items()]
    else:
        raise UserError(
            f"dataset.root: {root} holds neither {images}/ nor train/{images}/; name the folders with "
            "dataset.images and dataset.masks"
        )
    if not image_root.is_dir():
        _refuse_other_parts(root, images, parts)
    for own_images, own_masks, part in places:
        found.extend(_pair(root, own_images, own_masks, part, suffix))
    if not found.pairs:
        lost = [*found.unlabelled, *(path for path, _ in found.problems)]
        example = f", for example {lost[0]}" if lost else ""
        raise UserError(
            f"dataset.root: no image in {root} has a mask of the same name"
            f"{' + ' + repr(suffix) if suffix else ''}{example}; see dataset.images, dataset.masks, dataset.suffix"
        )
    _name_unused(root, found)
    return found


def _refuse_other_parts(root: Path, images: str, parts: dict[str, Path]) -> None:
    """Refuse folders that are laid out like a part and are called otherwise: their images would be lost."""
    others = sorted(
        path.name
        for path in root.iterdir()
        if path not in parts.values() and not path.name.startswith(".") and (path / images).is_dir()
    )
    if others:
        raise UserError(
            f"dataset.root: {root} holds {next(iter(parts.values())).name}/, a part of the split, and {others[0]}/ "
            "beside it, which is none; call it train, val or test, or move it away"
        )


def _name_unused(root: Path, found: Pairing) -> None:
    """Say which files of the root have no use: other folders of masks, thumbnails, annotation files."""
    listing = list_files(root)
    used = {path for pair in found.pairs for path in (pair.image, *pair.masks)}
    lost = {*found.unlabelled, *(path for path, _ in found.problems)}
    unused = [path for path in listing.pictures if root / path not in used and str(root / path) not in lost]
    if unused:
        found.unused.append(f"{root}: {len(unused)} pictures are not used: {first_of(unused)}")
        found.left_out |= {str(root / path): "neither an image nor a mask by its place" for path in unused}
    if listing.others:
        found.unused.append(f"{root}: not read ({len(listing.others)}): {first_of(list(listing.others))}")


def _parts_inside(
    root: Path, image_root: Path, masks: str, parts: dict[str, Path], found: Pairing
) -> list[tuple[Path, Path, str | None]]:
    """Folders of ``images/train``, ``images/val`` …"""
    loose = [path for path in list_files(image_root).pictures if "/" not in path]
    if loose:
        raise UserError(
            f"{image_root}: holds {next(iter(parts.values())).name}/, a part of the split, and {loose[0]} beside "
            "it; move that into one of the parts"
        )
    others = sorted(
        path.name
        for path in image_root.iterdir()
        if path.is_dir() and path not in parts.values() and not path.name.startswith(".")
    )
    if others:
        found.notes.append(f"{image_root}: not used, because no part of the split: {', '.join(others)}")
    mask_root = _existing(root / masks)
    mask_parts = part_folders(mask_root)
    for folder in (folder for part, folder in parts.items() if part not in mask_parts):
        raise UserError(f"{mask_root}: has no folder for {folder}; add {mask_root / folder.name}")
    return [(folder, mask_parts[part], part) for part, folder in parts.items()]


def _pair(root: Path, image_root: Path, mask_root: Path, part: str | None, suffix: str) -> Pairing:
    listed = {folder: list_files(folder) for folder in (image_root, mask_root)}
    images = [_name(root, image_root, path, part) for path in listed[image_root].pictures]
    masks = [_name(root, mask_root, path, part) for path in listed[mask_root].pictures]
    if image_root == mask_root:
        images = [name for name in images if not name.stem.endswith(suffix)]
        masks = [name for name in masks if name.stem.endswith(suffix)]
    if suffix:
        cut = [
            Name(name.path, name.stem.removesuffix(suffix), part)
            for name in masks
            if name.stem.endswith(suffix)
        ]
        lost = [name for name in masks if not name.stem.endswith(suffix)]
        found = match(images, cut)
        found.masks_left += lost
    else:
        found = match(images, masks)
        if not found.pairs:
            refuse_channels(images, masks)
    pairing = to_pairing(root, found, lambda name: _looked_for(root, mask_root, name, suffix))
    pairing.rule = _rule(root, image_root, mask_root, found, suffix)
    if not found.by_equal_names:
        pairing.notes.append(pairing.rule)
    return pairing


def _rule(root: Path, image_root: Path, mask_root: Path, found: Match, suffix: str) -> str:
    if not found.by_equal_names:
        return describe_match(found)
    where = [folder.relative_to(root).as_posix() for folder in (image_root, mask_root)]
    return f"{where[0]}/{{name}} is paired with {where[1]}/{{name}}{suffix}"


def _looked_for(root: Path, mask_root: Path, name: Name, suffix: str) -> str:
    return f"looked for {(mask_root / (name.stem + suffix)).relative_to(root).as_posix()} with any ending"


def _name(root: Path, folder: Path, path: str, part: str | None) -> Name:
    return Name((folder / path).relative_to(root).as_posix(), without_ending(path), part)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"dataset.root: {folder} does not exist; name the folder with dataset.masks")
    return folder
