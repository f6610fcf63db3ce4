"""Images whose objects are outlined in annotation files: the outlines take the place of masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unet_train.data.annotations.find import FORMATS, find_annotations
from unet_train.data.pairing.matching import Match
from unet_train.data.pairing.names import Name
from unet_train.data.pairing.pairs import Pairing
from unet_train.data.pairing.results import to_pairing
from unet_train.errors import UserError

NO_ANNOTATIONS = "none"
"""`dataset.annotations=none`: the masks are pictures."""

ANNOTATIONS = (*FORMATS, NO_ANNOTATIONS)
"""What ``dataset.annotations`` may be."""


def pair_with_annotations(root: Path, names: Sequence[Name], only: str | None) -> Pairing | None:
    """Pair the pictures of a folder with the annotation files in it.

    Parameters
    ----------
    root : Path
    names : sequence of Name
        Its pictures; those in a folder of masks are passed over.
    only : str or None
        The format, as ``dataset.annotations`` says; None: found out.

    Returns
    -------
    Pairing or None
        None where there are no annotations, or none for these pictures, unless a format was named.

    Raises
    ------
    UserError
        As `find_annotations`; for a named format, where it is not there.
    """
    annotations = find_annotations(root, only=only)
    if annotations is None:
        if only is not None:
            raise UserError(f"dataset.annotations={only}: {root} holds no {FORMATS[only]} annotations")
        return None
    match = Match()
    used: set[str] = set()
    for image in names:
        if image.role == "mask" and image.place.lower() != "labels":
            continue
        found = annotations.match(root / image.path)
        if found is None:
            match.images_left.append(image)
            continue
        used.add(found)
        file = annotations.file_of(found)
        match.pairs.append((image, (Name(str(file), image.stem, image.part),)))
    if not match.pairs:
        if only is None:
            return None
        raise UserError(
            f"dataset.annotations={only}: none of the {len(names)} pictures in {root} is annotated; the annotations "
            f"name {', '.join(annotations.images()[:3])}"
        )
    result = to_pairing(root, match)
    result.annotations = annotations
    result.rule = f"objects are outlined in {annotations.format} ({len(annotations.files)} files)"
    result.notes += [result.rule, *annotations.notes]
    lost = [name for name in annotations.images() if name not in used]
    result.problems += [
        (name, f"is annotated in {annotations.file_of(name)}, but not in {root}") for name in lost
    ]
    return result
