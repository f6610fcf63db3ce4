"""Patterns of paths with ``{name}``, ``{group}``, ``{part}`` and ``{folder}``: read from keys, and made from names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from unet_train.data.io.images import is_picture_name, without_ending
from unet_train.data.pairing.affixes import Affixes
from unet_train.data.pairing.names import Name
from unet_train.data.pairing.parts import PART_OF_NAME, part_in
from unet_train.errors import UserError

FIELDS = {"name": ".+?", "group": "[^/]+?", "part": "[^/]+?", "folder": ".+?"}
"""What may stand in braces, and what it matches; ``*`` matches anything but ``/``."""


def is_pattern(text: str | None) -> bool:
    """Whether a key's value is a pattern rather than a folder."""
    return text is not None and ("{" in text or "*" in text)


class Pattern:
    """A pattern of paths relative to the data set's folder.

    Parameters
    ----------
    key : str
        The key that it stands in, for messages.
    text : str
        Such as ``scans/{group}/{name}_t1.png``; without an ending any image's ending fits.

    Raises
    ------
    UserError
        An unknown field, or neither ``{name}`` nor ``{folder}`` nor ``{group}``.
    """

    def __init__(self, key: str, text: str) -> None:
        self.key, self.text = key, text
        fields = re.findall(r"\{([^{}]*)\}", text)
        for name in fields:
            if name not in FIELDS:
                allowed = ", ".join("{" + known + "}" for known in FIELDS)
                raise UserError(f"{key}={text}: {{{name}}} is unknown; a pattern may hold {allowed} and *")
        if not {"name", "folder", "group"} & set(fields):
            raise UserError(f"{key}={text}: write {{name}} where the names of image and mask are the same")
        self.open_name = "{name}*" in text
        """Whether a name's end is open, so that only the images' names tell where it is."""
        text = text.replace("{name}*", "{name}")
        pieces = []
        seen: set[str] = set()
        for piece in re.split(r"(\{[^{}]*\}|\*)", text.strip("/")):
            name = piece[1:-1]
            if piece == "*":
                pieces.append("[^/]*")
            elif piece.startswith("{"):
                pieces.append(f"(?P={name})" if name in seen else f"(?P<{name}>{FIELDS[name]})")
                seen.add(name)
            else:
                pieces.append(re.escape(piece))
        if not is_picture_name(text):
            pieces.append(r"(?:\.nii)?\.[^./]+")
        self._regex = re.compile("".join(pieces))

    def match(self, path: str) -> dict[str, str] | None:
        """The fields of a path that fits, or None.

        Raises
        ------
        UserError
            A ``{part}`` that is none.
        """
        found = self._regex.fullmatch(path)
        if found is None:
            return None
        fields = found.groupdict()
        if "part" in fields:
            part = part_in(fields["part"])
            if part is None:
                raise UserError(
                    f"{self.key}={self.text}: {fields['part']} in {path} is no part of a split; one is called "
                    f"{', '.join(PART_OF_NAME)}"
                )
            fields["part"] = part[0]
        return fields


def describe_names(names: Sequence[Name], affixes: Affixes, *, several: bool = False) -> str:
    """The pattern of a list of names.

    Parameters
    ----------
    names : sequence of Name
        At least one.
    affixes : Affixes
        What their file names have around the varying part.
    several : bool
        Whether the file names are not what pairs them, but their folders.
    """
    depth = {name.path.count("/") for name in names}
    folders = [[_with_part(folder) for folder in name.path.split("/")[:-1]] for name in names]
    endings = {name.path[len(without_ending(name.path)) :] for name in names}
    ending = endings.pop() if len(endings) == 1 else ""
    whole = affixes.before + affixes.after
    constant = all(without_ending(name.path).rpartition("/")[2] == whole for name in names)
    file = "*" if several else whole if constant else str(affixes)
    file += ending or (".*" if several else "")
    levels: list[str] = []
    for level in range(min(depth)):
        here = {own[level] for own in folders}
        if len(here) == 1:
            levels += here
        elif not levels or levels[-1] != "{folder}":
            levels.append("{folder}")
    if constant and not several and "{folder}" in levels:
        levels[levels.index("{folder}")] = "{name}"  # case1/image.png: the folder is what varies
    if len(depth) > 1 and "{folder}" not in levels:
        # Files lie at several depths: the name takes in the folders.
        return "/".join([*levels, file if not affixes.before and not several else "{folder}/" + file])
    return "/".join([*levels, file])


def _with_part(folder: str) -> str:
    found = part_in(folder)
    return found[1] if found else folder
