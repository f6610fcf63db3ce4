"""NIfTI volumes: axial slices with the front of the head up, whatever the order of the axes in the file."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.data.io.files import Decoded, broken, open_file, refuse_too_large
from unet_train.data.io.libraries import import_extra
from unet_train.errors import UserError

VOLUME_SUFFIXES = (".nii", ".nii.gz")
"""File name endings of volumes, compared without case."""


def is_volume_name(path: str | Path) -> bool:
    """Whether a file's ending says NIfTI."""
    return str(path).lower().endswith(VOLUME_SUFFIXES)


def volume_pages(path: Path) -> int:
    """Number of slices.

    Raises
    ------
    UserError
        A damaged file, more than three dimensions.
    """
    return int(_volume(str(path), _stamp(path)).shape[2])


def volume_slice_size(path: Path) -> tuple[int, int]:
    """Height and width of a slice.

    Raises
    ------
    UserError
        As `volume_pages`.
    """
    width, height = _volume(str(path), _stamp(path)).shape[:2]
    return int(height), int(width)


def read_volume_slice(path: Path, number: int) -> Decoded:
    """One axial slice, with the values of the file.

    Parameters
    ----------
    path : Path
    number : int
        From 0, from the feet up.

    Raises
    ------
    UserError
        A damaged file, no such slice.
    """
    volume = _volume(str(path), _stamp(path))
    if number >= volume.shape[2]:
        raise UserError(f"{path}: has {volume.shape[2]} slices where slice {number + 1} is wanted")
    try:
        return Decoded(np.ascontiguousarray(np.rot90(np.asarray(volume[:, :, number]))))
    except Exception as error:
        raise broken(path, error) from None


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


@lru_cache(maxsize=2)  # an image and its mask: their slices are read one after the other
def _volume(path: str, stamp: int) -> Any:
    """The volume as an array, axes from left, back and feet to right, front and head."""
    nibabel = import_extra("nibabel", "volumes", "NIfTI volumes", Path(path))
    try:
        open_file(Path(path)).close()
        image = nibabel.as_closest_canonical(nibabel.load(path))
        refuse_too_large(Path(path), math.prod(map(int, image.shape)) * 8)  # scaled values have 8 bytes
        volume = np.asanyarray(image.dataobj)
    except UserError:
        raise
    except Exception as error:
        raise broken(Path(path), error) from None
    shape = volume.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise UserError(
            f"{path}: a volume of {'×'.join(map(str, volume.shape))}; one with three dimensions is expected, so save "
            "each time or contrast as a file"
        )
    return volume.reshape(shape)
