"""The only place that reads or writes pixels: one rule for every format, dtype and axis order.

What comes back from a file:

* **Format** is told by the first bytes, not by the suffix: png, jpg, bmp, gif, webp, tif, npy, npz.
  Files are decoded from bytes, so that any name the file system accepts works (OpenCV's own file reading
  fails on some names on some systems). An animated gif or webp is refused; an npz holds one array.
* **Turn.** An EXIF orientation is applied, so that the array stands as the picture is shown.
* **Grey** becomes one channel, RGB three, CMYK is converted to RGB, an alpha channel is dropped, a palette is
  expanded to its colours.
* **Arrays** of npy and npz are H×W or H×W×C; C×H×W only where the caller declares that many channels.
* **Tif axes.** Axes of length one are dropped. ``YX`` is grey; ``YXS`` and ``SYX`` (samples of a pixel,
  interleaved or planar) and ``CYX``/``YXC`` (channels declared by ImageJ or OME metadata) are channels. One
  guess is made: an undeclared array whose *last* axis is at most 16 and shorter than the two others is H×W×C
  (what ``tifffile.imwrite`` makes of such an array is a stack of narrow pages). An undeclared *first* axis
  may be channels, slices or frames: it counts as channels only where the caller declares that many
  (`channels`, key ``dataset.channels``). Everything else (z, t, several images of different size) is a stack
  and refused.
* **Scaling.** uint8 stays uint8. uint16 becomes float32 in [0, 1] by division by 65535, float must lie in
  [0, 1] already; anything else, and any other wish, is declared by `intensity_range` (key
  ``dataset.intensity_range``): the two values of the file that become 0 and 1, everything beyond is clipped.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.atomic import replacing
from unet_train.data.io.arrays import is_array_file, read_array
from unet_train.data.io.files import Decoded, read_bytes, walk
from unet_train.data.io.frame import Frame
from unet_train.data.io.pictures import picture_palette, picture_size, read_picture
from unet_train.data.io.tif import (
    file_turn,
    is_tif,
    read_tif,
    read_tif_page,
    tif_pages,
    tif_palette,
    tif_size,
)
from unet_train.data.io.turns import UPRIGHT, turned, turned_size
from unet_train.data.io.values import fit_channels, scale
from unet_train.data.io.volumes import is_volume_name, read_volume_slice, volume_pages, volume_slice_size
from unet_train.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".npy", ".npz")
"""File name endings taken for images, compared without case."""

WRITTEN_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""File name endings that `write_image` knows."""


def read_image(
    path: str | Path,
    *,
    intensity_range: tuple[float, float] | None = None,
    channels: int | None = None,
    page: int | None = None,
) -> np.ndarray:
    """Read an image as H×W×C.

    Parameters
    ----------
    path : str or Path
        A file of one of the `IMAGE_SUFFIXES`.
    intensity_range : (float, float), optional
        The values of the file that become 0 and 1; the rest is clipped. None: the rule of this module.
    channels : int, optional
        Number of channels declared for the data set. Decides what an undeclared tif axis means, keeps a
        fourth sample that is marked as alpha, turns grey into RGB (3) and RGB with three equal channels into
        grey (1).
    page : int, optional
        Which page of a tif that holds several, from 0.

    Returns
    -------
    ndarray
        H×W×C, uint8, or float32 in [0, 1].

    Raises
    ------
    UserError
        Unreadable, truncated or empty file, a stack, another number of channels than declared, values
        without a rule, NaN or infinity. The message names the file.
    """
    array = read_unscaled(path, channels=channels, page=page)
    return np.ascontiguousarray(scale(array, intensity_range, path))


def read_unscaled(path: str | Path, *, channels: int | None = None, page: int | None = None) -> np.ndarray:
    """As `read_image`, with the values and the dtype of the file.

    Raises
    ------
    UserError
        As `read_image`, as far as values do not matter.
    """
    path = Path(path)
    found = _decode(path, channels=channels) if page is None else _decode_page(path, page)
    array = turned(found.array, found.turn)
    if array.ndim == 2:
        array = array[:, :, None]
    return array if channels is None else fit_channels(array, channels, path)


def scale_pixels(array: np.ndarray, intensity_range: tuple[float, float] | None = None) -> np.ndarray:
    """The pixels of a file that was read elsewhere, scaled as `read_image` scales: uint8 or float32 in [0, 1].

    Raises
    ------
    UserError
        Values without a rule, NaN or infinity.
    """
    return np.ascontiguousarray(scale(array, intensity_range, "image"))


def read_labels(path: str | Path) -> np.ndarray:
    """Read a label image, values as stored.

    A palette gives its indices, not its colours; a one-bit mask gives 0 and 255 from png and bmp, 0 and 1
    from tif, as its decoder does, white the greater of the two. A colour image is taken as grey where its
    channels are equal. An EXIF turn is applied.

    Returns
    -------
    ndarray
        H×W; uint8, uint16 or int32.

    Raises
    ------
    UserError
        Unreadable file, a stack, a real colour image, or values that are not whole numbers in 32 bits.
    """
    path = Path(path)
    found = _decode(path, labels=True)
    array = _grey_if_equal(found.array)
    if array.ndim == 3:
        raise UserError(
            f"{path}: a colour image with {array.shape[2]} unequal channels where a mask is expected; "
            "save class ids as one grey or palette channel"
        )
    return np.ascontiguousarray(_whole(turned(array, found.turn), path))


@dataclass(frozen=True)
class Stored:
    """A label file as it is stored, EXIF turn applied.

    Attributes
    ----------
    array : ndarray
        H×W uint8, uint16 or int32: numbers, or indices of `palette`; H×W×3 uint8: colours, not all grey; with
        `pages` N×H×W: pages or channels of one size.
    palette : ndarray or None
        N×3 uint8 RGB, the colour of index i at i.
    pages : bool
        Whether `array` holds pages.
    """

    array: np.ndarray
    palette: np.ndarray | None = None
    pages: bool = False


def read_stored(path: str | Path, *, page: int | None = None) -> Stored:
    """Read a label file in whichever form it has: numbers, a palette with its indices, colours, pages.

    Colours whose channels are equal everywhere are numbers. Two channels, or more than four, are pages. With `page`,
    that page of a tif is read, from 0.

    Raises
    ------
    UserError
        Unreadable file, values that are not whole numbers in 32 bits, colours of more than 8 bits.
    """
    path = Path(path)
    found = _decode(path, labels=True, pages=True) if page is None else _decode_page(path, page, labels=True)
    if found.pages:
        upright = [turned(page, found.turn) for page in _whole(found.array, path)]
        return Stored(np.stack(upright), pages=True)
    array = _whole(turned(_grey_if_equal(found.array), found.turn), path)
    if array.ndim == 2:
        return Stored(np.ascontiguousarray(array), found.palette)
    if array.shape[2] != 3:
        return Stored(np.ascontiguousarray(np.moveaxis(array, -1, 0)), pages=True)
    if array.dtype != np.uint8:
        shared = array.min() >= 0 and array.max() <= 65535 and not (array % 257).any()
        if not shared and array.max() > 255:
            raise UserError(
                f"{path}: colours of {array.dtype} up to {array.max()} where a mask is expected; save 8 bits"
            )
        array = (array // 257 if shared else array).astype(np.uint8)
    return Stored(np.ascontiguousarray(array))


def read_palette(path: str | Path) -> np.ndarray | None:
    """Colours of an indexed-colour image.

    Returns
    -------
    ndarray or None
        N×3 uint8 RGB, the colour of value i at i; None for an image without a palette.

    Raises
    ------
    UserError
        Unreadable file.
    """
    path = Path(path)
    if is_volume_name(path):
        return None
    head = read_bytes(path, 16)
    if is_tif(head):
        return tif_palette(path)
    return None if is_array_file(head) else picture_palette(path, read_bytes(path))


def without_ending(name: str) -> str:
    """A file's name or path without its ending, of which ``.nii.gz`` is one."""
    stem, ending = os.path.splitext(name)
    return stem[:-4] if ending.lower() == ".gz" and stem.lower().endswith(".nii") else stem


def turn_of(path: str | Path) -> int:
    """EXIF orientation of an image file: 1 upright as stored, 3 upside down, 6 and 8 on its sides; 1 to 8.

    `read_image`, `read_labels` and `image_size` have applied it already.

    Raises
    ------
    UserError
        Unreadable file.
    """
    path = Path(path)
    if is_volume_name(path):
        return UPRIGHT
    head = read_bytes(path, 16)
    if is_tif(head):
        return file_turn(path)
    return UPRIGHT if is_array_file(head) else picture_size(path, read_bytes(path))[3]


def may_hold_pages(path: Path) -> bool:
    """Whether a file's ending is that of a format that may hold several images: tif and volumes."""
    return path.suffix.lower() in (".tif", ".tiff") or is_volume_name(path)


def is_picture_name(name: str) -> bool:
    """Whether a file's ending is that of an image or of a volume."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES or is_volume_name(name)


def image_pages(path: str | Path, *, channels: int | None = None) -> int:
    """How many pages of one size a tif holds, or slices a volume; 0 for one image, or as many channels as declared.

    Raises
    ------
    UserError
        Unreadable file.
    """
    path = Path(path)
    if is_volume_name(path):
        return volume_pages(path)
    return tif_pages(path, channels) if is_tif(read_bytes(path, 16)) else 0


def image_size(
    path: str | Path, *, channels: int | None = None, page: int | None = None
) -> tuple[int, int, int]:
    """Height, width and number of channels by the rules of `read_image`, from the file's header.

    Raises
    ------
    UserError
        As `read_image`, as far as the header tells.
    """
    path = Path(path)
    if is_volume_name(path):
        return *volume_slice_size(path), 1
    head = read_bytes(path, 16)
    if is_tif(head):
        height, width, count, turn = tif_size(path, channels, page)
    elif is_array_file(head):
        array = read_array(path, read_bytes(path), channels).array
        height, width, count, turn = *array.shape[:2], 1 if array.ndim == 2 else array.shape[2], UPRIGHT
    else:
        height, width, count, turn = picture_size(path, read_bytes(path))
    if (channels, count) in ((1, 3), (3, 1)):
        count = channels  # type: ignore[assignment]  # what fit_channels makes of it, or refuses
    return *turned_size((height, width), turn), count


def write_image(
    path: str | Path, array: np.ndarray, *, frame: Frame | None = None, unknown: str = "255"
) -> None:
    """Write an image; the file appears whole or not at all.

    Parameters
    ----------
    path : str or Path
        The suffix chooses the format: ``.png``, ``.jpg``, ``.bmp``, ``.tif``. Folders are made.
    array : ndarray
        H×W or H×W×C. png: uint8 or uint16, C 1 or 3; jpg, bmp: uint8, C 1 or 3; tif: any dtype and C
        (deflate; interleaved samples).
    frame : Frame or None
        Where the pixels lie, for a tif.
    unknown : str
        The value of pixels without data, where the frame has such.
    """
    path = Path(path)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3):
        raise ValueError(f"an image is H×W or H×W×C, not {array.shape}")
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff"):
        _write_bytes(path, _encode_tif(array, (frame or Frame()).tif_options(unknown)))
        return
    allowed = {".png": (np.uint8, np.uint16), ".jpg": (np.uint8,), ".jpeg": (np.uint8,), ".bmp": (np.uint8,)}
    if suffix not in allowed:
        raise ValueError(f"{path}: cannot write {suffix!r}; choose one of {', '.join(WRITTEN_SUFFIXES)}")
    if array.dtype not in allowed[suffix] or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"{path}: {suffix} cannot hold {array.dtype} of shape {array.shape}")
    import cv2

    stored = array[:, :, ::-1] if array.ndim == 3 else array  # OpenCV writes blue first
    done, data = cv2.imencode(suffix, np.ascontiguousarray(stored))
    if not done:
        raise ValueError(f"{path}: encoding failed for shape {array.shape}")
    _write_bytes(path, data.tobytes())


def write_labels(path: str | Path, array: np.ndarray, *, frame: Frame | None = None) -> None:
    """Write labels without loss, values unchanged, the file whole or not at all.

    Parameters
    ----------
    path : str or Path
        ``.png`` or ``.tif`` (deflate).
    array : ndarray
        H×W, uint8 or uint16.
    frame : Frame or None
        As in `write_image`.
    """
    path = Path(path)
    if array.ndim != 2 or array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"labels are H×W uint8 or uint16, not {array.dtype} {array.shape}")
    if path.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise ValueError(f"{path}: labels are written as .png or .tif, which lose nothing")
    write_image(path, array, frame=frame)


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key that orders numbers inside names by value: ``a2`` before ``a10``."""
    parts = re.split(r"(\d+)", text)
    # decimal digits only: int() refuses characters such as "²" that isdigit() accepts
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def list_images(folder: str | Path, *, recursive: bool = False) -> list[Path]:
    """Image files of a folder in natural order; hidden files and folders are left out.

    Returns
    -------
    list of Path
        ``folder / name``; empty where there are none. Suffixes are compared without case.

    Raises
    ------
    UserError
        Where there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = []
    for parent, folders, names in walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


# --- decoding -----------------------------------------------------------------------------------------------


def _decode(path: Path, *, channels: int | None = None, labels: bool = False, pages: bool = False) -> Decoded:
    """Stored pixels with turn; palettes as indices under `labels`, stacks refused unless `pages`."""
    head = read_bytes(path, 16)
    if is_tif(head):
        found = read_tif(path, channels, labels=labels, pages=pages)
    elif is_array_file(head):
        found = read_array(path, read_bytes(path), channels, pages=pages)
    else:
        found = read_picture(path, read_bytes(path), labels=labels)
    if found.array.size == 0:
        raise UserError(f"{path}: the image has no pixels ({found.array.shape})")
    return found


def _decode_page(path: Path, number: int, *, labels: bool = False) -> Decoded:
    """One page of a tif, or one slice of a volume."""
    if is_volume_name(path):
        return read_volume_slice(path, number)
    return read_tif_page(path, number, labels=labels)


def _grey_if_equal(array: np.ndarray) -> np.ndarray:
    """H×W where all channels are equal, else as it is."""
    if array.ndim == 3 and (array == array[:, :, :1]).all():
        return array[:, :, 0]
    return array


def _whole(array: np.ndarray, path: Path) -> np.ndarray:
    """uint8, uint16 or int32, or a UserError."""
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype in (np.uint8, np.uint16, np.int32):
        return array
    with np.errstate(invalid="ignore"):
        whole = array.astype(np.int32)
    if not (whole == array).all():
        raise UserError(f"{path}: a mask with values that are not whole numbers ({array.dtype})")
    return whole


# --- writing ------------------------------------------------------------------------------------------------


def _encode_tif(array: np.ndarray, options: dict[str, Any]) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    colour = array.ndim == 3 and array.shape[2] == 3
    options |= {"planarconfig": "contig"} if array.ndim == 3 else {}
    tifffile.imwrite(
        buffer,
        array,
        photometric="rgb" if colour else "minisblack",
        compression="zlib",
        metadata=None,
        **options,
    )
    return buffer.getvalue()


def _write_bytes(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
