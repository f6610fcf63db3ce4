"""NumPy's own files: one array without pickles, H×W or H×W×C."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from unet_train.data.io.files import Decoded, broken, refuse_too_large
from unet_train.errors import UserError

MAX_GUESSED_CHANNELS = 16
"""A last axis up to this length, shorter than both others, is taken for channels."""

_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"


def is_array_file(head: bytes) -> bool:
    """Whether a file begins as npy or npz does."""
    return head.startswith((_NPY, _ZIP))


def read_array(path: Path, data: bytes, channels: int | None, *, pages: bool = False) -> Decoded:
    """The array of an npy file, or of an npz file that holds one.

    Axes of length one are dropped. Of three axes the last are channels if they are at most 16 and shorter
    than both others, or as many as declared; the first, if they are as many as declared.

    Raises
    ------
    UserError
        Damaged files, pickled objects, several arrays in one file, other axes (with `pages` the first counts
        pages).
    """
    try:
        _refuse_huge(path, data)
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            array = loaded
        else:
            names = list(loaded.files)
            if len(names) != 1:
                listed = ", ".join(names[:5]) or "none"
                raise UserError(f"{path}: holds {len(names)} arrays ({listed}); save one array per file")
            array = loaded[names[0]]
    except UserError:
        raise
    except ValueError as error:
        if "pickle" in str(error):
            raise UserError(
                f"{path}: holds pickled objects, which are not read; save a plain array"
            ) from None
        raise broken(path, error) from None
    except Exception as error:
        raise broken(path, error) from None
    if array.dtype.kind not in "buif":
        raise UserError(f"{path}: an array of {array.dtype} is not an image")
    if array.dtype.byteorder not in "=|":
        array = array.astype(array.dtype.newbyteorder("="))
    shape = array.shape
    if array.ndim > 2:
        array = array.reshape([n for n in shape if n != 1] if sum(n != 1 for n in shape) >= 2 else shape[:2])
    if array.ndim == 2:
        return Decoded(array)
    if array.ndim == 3:
        last = array.shape[2]
        if last == channels or (last <= MAX_GUESSED_CHANNELS and last < min(array.shape[:2])):
            return Decoded(array)
        if array.shape[0] == channels:
            return Decoded(np.moveaxis(array, 0, -1))
        if pages:
            return Decoded(array, pages=True)
    text = "×".join(map(str, shape)) or "one number"
    raise UserError(f"{path}: an array of {text} where height × width (× channels) is expected")


def _refuse_huge(path: Path, data: bytes) -> None:
    """Refuse by the headers what would take too much memory, which NumPy asks for first."""
    if data.startswith(_NPY):
        refuse_too_large(path, _claimed(io.BytesIO(data)))
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            refuse_too_large(path, member.file_size)
            with archive.open(member) as file:
                if file.read(len(_NPY)) == _NPY:
                    with archive.open(member) as again:
                        refuse_too_large(path, _claimed(again))


def _claimed(file: IO[bytes]) -> int:
    """Bytes that an npy file's header speaks of; 0 for a version only of records, which are no images."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        return 0
    shape, _, dtype = readers[version](file)
    return math.prod(shape) * dtype.itemsize
