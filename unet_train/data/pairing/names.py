"""A file's path taken apart: the part of the split, the folder that tells its role, and what is left to pair it by."""

from __future__ import annotations

from dataclasses import dataclass

from unet_train.data.io.images import without_ending
from unet_train.data.pairing.parts import part_in
from unet_train.data.pairing.words import Role, role_of


@dataclass(frozen=True)
class Name:
    """One file.

    Attributes
    ----------
    path : str
        Relative to the data set's folder, with ``/``.
    stem : str
        Sub-folders and name without ending; folders that tell part and role are left out.
    part : str or None
        ``train``, ``val`` or ``test``.
    role : {"image", "mask"} or None
        What a folder's name says.
    place : str
        The folder that says so, ``{part}`` for a part; "" where none does.
    """

    path: str
    stem: str
    part: str | None = None
    role: Role | None = None
    place: str = ""

    @property
    def folder(self) -> str:
        """Sub-folder within `stem`, "" for none."""
        return self.stem.rpartition("/")[0]

    @property
    def ending(self) -> str:
        """Such as ``.png``, in small letters."""
        return self.path[len(without_ending(self.path)) :].lower()


def take_apart(path: str) -> Name:
    """Find part and role in the folders of a path; of several folders the first that tells one counts."""
    *folders, file = path.split("/")
    part: str | None = None
    role: Role | None = None
    place = ""
    kept = []
    for folder in folders:
        found = part_in(folder) if part is None else None
        own_role = role_of(found[1] if found else folder) if role is None else None
        if found:
            part, folder = found
        if own_role:
            role, place = own_role, folder
        elif not found:
            kept.append(folder)
    stem = without_ending(file)
    return Name(path, "/".join([*kept, stem]), part, role, place)
