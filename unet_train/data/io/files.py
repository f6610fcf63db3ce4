"""The bytes of a file, and one line for whatever is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet_train.errors import UserError


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
        with open(path, "rb") as file:
            data = file.read(count)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not data:
        raise UserError(f"{path}: the file is empty")
    return data


def broken(path: Path, error: BaseException) -> UserError:
    """One line for whatever a decoder raises: they raise anything, from struct.error to RuntimeError."""
    detail = (str(error).strip().splitlines() or [""])[0]
    return UserError(f"{path}: damaged or truncated image ({type(error).__name__}: {detail})")
