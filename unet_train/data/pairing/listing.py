"""The files below a folder, listed once; none is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from unet_train.data.io.files import walk
from unet_train.data.io.images import is_picture_name, natural_key

_NOT_DATA = {"__macosx", "thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Listing:
    """Files by their path relative to the folder, with ``/``, in natural order.

    Attributes
    ----------
    pictures : tuple of str
        Files whose ending is that of an image or a volume.
    others : tuple of str
    """

    pictures: tuple[str, ...]
    others: tuple[str, ...]


def list_files(folder: Path) -> Listing:
    """List a folder and all below it; hidden files and folders, and those that systems leave behind, aside."""
    pictures: list[str] = []
    others: list[str] = []
    for parent, folders, names in walk(folder):
        folders[:] = [name for name in folders if _is_data(name)]
        inside = os.path.relpath(parent, folder).replace(os.sep, "/")
        start = "" if inside == "." else inside + "/"
        for name in names:
            if _is_data(name):
                (pictures if is_picture_name(name) else others).append(start + name)
    return Listing(tuple(sorted(pictures, key=natural_key)), tuple(sorted(others, key=natural_key)))


def _is_data(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _NOT_DATA
