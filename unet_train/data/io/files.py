"""The bytes of a file, and one line for whatever is wrong with them; no pipe is waited for, no device is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unet_train.errors import UserError

LARGEST_DECODED = 2 << 30
"""Bytes of pixels up to which a file is read whole; a few hundred bytes can claim, or unpack to, any number."""


@dataclass(frozen=True)
class Decoded:
    """What a decoder found in a file.

    Attributes
    ----------
    array : ndarray
        H×W or H×W×C in RGB order, of the stored dtype, not yet turned; with `pages` N×H×W.
    turn : int
        EXIF orientation, 1 to 8; 1: upright as stored.
    palette : ndarray or None
        N×3 uint8 RGB where `array` holds the indices of a palette.
    pages : bool
        Whether `array` holds several pages of one size.
    """

    array: np.ndarray
    turn: int = 1
    palette: np.ndarray | None = None
    pages: bool = False


def read_bytes(path: Path, count: int = -1) -> bytes:
    """The file's bytes, or its first `count`.

    Raises
    ------
    UserError
        A file that cannot be read or is empty.
    """
    try:
        with open_file(path) as file:
            if count < 0:
                refuse_too_large(path, os.fstat(file.fileno()).st_size)
            data = file.read(count)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not data:
        raise UserError(f"{path}: the file is empty")
    return data


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises
    ------
    UserError
        A file that cannot be opened; a pipe, which would be waited for, a device, which may never end, a folder.
    """
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 (the caller closes it)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError(f"{path}: a pipe or a device, not a file; take it out")
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def refuse_too_large(path: Path, size: int) -> None:
    """Refuse what would take more than `LARGEST_DECODED` bytes of memory, before they are asked for.

    Raises
    ------
    UserError
    """
    if size > LARGEST_DECODED:
        raise UserError(
            f"{path}: its pixels take {size / 2**30:,.1f} GiB where at most {LARGEST_DECODED >> 30} are read; if it is "
            "not damaged, cut it into tiles (unet-predict reads a large tif by parts)"
        )


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` through links, each folder once: a link to a folder above would lead round in circles.

    Of two ways into a folder the one without links counts. The list of folders may be cut down by the caller, as with
    `os.walk`.
    """
    seen: set[str] = set()
    waiting = [str(folder)]
    for top in waiting:
        for parent, folders, names in os.walk(top):
            real = os.path.realpath(parent)
            if real in seen:
                folders[:] = []
                continue
            seen.add(real)
            folders.sort()
            yield parent, folders, names
            inside = (os.path.join(parent, name) for name in folders)
            waiting += filter(os.path.islink, inside)


def broken(path: Path, error: BaseException) -> UserError:
    """One line for whatever a decoder raises: they raise anything, from struct.error to RuntimeError."""
    detail = (str(error).strip().splitlines() or [""])[0]
    return UserError(f"{path}: damaged or truncated image ({type(error).__name__}: {detail})")
