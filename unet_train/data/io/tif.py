"""Tif files: which axes are the image, palettes, alpha, ink, bits and white-is-zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.data.io.arrays import MAX_GUESSED_CHANNELS
from unet_train.data.io.files import Decoded, broken, refuse_too_large
from unet_train.data.io.turns import ORIENTATION_TAG, UPRIGHT, valid_turn
from unet_train.data.io.values import light_of_ink
from unet_train.errors import UserError

_ALPHA = (1, 2)  # values of tif's ExtraSamples tag: associated and unassociated alpha
_WHITE_IS_ZERO, _PALETTE, _INK = 0, 3, 5  # values of tif's PhotometricInterpretation tag


def is_tif(head: bytes) -> bool:
    """Whether a file begins as tif or BigTIFF does."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_tif(path: Path, channels: int | None, *, labels: bool = False, pages: bool = False) -> Decoded:
    """The one image of a tif.

    Parameters
    ----------
    path : Path
        Tif file.
    channels : int or None
        Declared number of channels, see `tif_layout`.
    labels : bool
        Keep a palette's indices and the stored numbers; only black and white stored with white as zero
        becomes what the picture shows.
    pages : bool
        Take a stack of pages of one size too.

    Raises
    ------
    UserError
        Damaged file, a stack, several images.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = one_series(path, file)
            page = series.keyframe
            turn = tif_turn(page)
            _refuse_huge(path, page, series.shape)
            count = _page_count(series) if pages else 0
            if count:
                array = np.asarray(series.asarray(maxworkers=1)).reshape(count, *series.shape[-2:])
                return Decoded(_as_shown(array, page), turn, pages=True)
            axes, shape = tif_layout(path, series, channels)
            # one thread: loader workers are the parallel part here
            array = np.asarray(series.asarray(maxworkers=1)).reshape(shape)
            if axes == "SYX":
                array = np.moveaxis(array, 0, -1)
            if array.ndim == 3 and has_alpha(page, array.shape[2], channels):
                array = array[:, :, :-1]
            if labels and page.photometric == _PALETTE and page.colormap is not None:
                return Decoded(array, turn, colours_of(page.colormap))
            if labels and page.photometric != _INK:
                return Decoded(_as_shown(array, page), turn)
            return Decoded(shown_colours(array, page, channels), turn)
    except UserError:
        raise
    except Exception as error:
        raise broken(path, error) from None


def read_tif_page(path: Path, number: int, *, labels: bool = False) -> Decoded:
    """One page of a stack of grey pages, decoded alone.

    Parameters
    ----------
    path : Path
    number : int
        From 0.
    labels : bool
        As in `read_tif`.

    Raises
    ------
    UserError
        Damaged file, no such page.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = one_series(path, file)
            page = series.keyframe
            count = _page_count(series)
            if number >= max(count, 1):
                raise UserError(f"{path}: has {count or 1} pages where page {number + 1} is wanted")
            _refuse_huge(path, page, series.shape[-2:])
            array = np.asarray(series.asarray(key=number, maxworkers=1)).reshape(series.shape[-2:])
            if labels:
                palette = page.photometric == _PALETTE and page.colormap is not None
                if palette:
                    return Decoded(array, tif_turn(page), colours_of(page.colormap))
                return Decoded(_as_shown(array, page), tif_turn(page))
            return Decoded(shown_colours(array, page, None), tif_turn(page))
    except UserError:
        raise
    except Exception as error:
        raise broken(path, error) from None


def _refuse_huge(path: Path, page: Any, shape: Sequence[int]) -> None:
    """Refuse by the header what would take too much memory: the image, or a tile far larger than it."""
    tile = (page.tilewidth, page.tilelength, page.tiledepth, page.samplesperpixel) if page.is_tiled else (0,)
    values = max(math.prod(map(int, shape)), math.prod(map(int, tile)))
    refuse_too_large(path, values * np.dtype(page.dtype).itemsize)


def tif_pages(path: Path, channels: int | None) -> int:
    """Number of pages of one size that are images of their own; 0 for one image.

    Raises
    ------
    UserError
        Unreadable file.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = one_series(path, file)
            count = _page_count(series)
            is_channels = "C" in str(series.axes) or count == channels
            return 0 if is_channels else count
    except UserError:
        raise
    except Exception as error:
        raise broken(path, error) from None


def shown_colours(array: np.ndarray, page: Any, channels: int | None) -> np.ndarray:
    """Stored samples as light: palettes as colours, bits as 0 and 255, white-is-zero inverted, ink as RGB.

    Parameters
    ----------
    array : ndarray
        H×W or H×W×C as stored; H×W×1 for H×W where parts of the file are read.
    page : tifffile page
        Tells how they are meant.
    channels : int or None
        As many channels as declared stay as they are, ink too.
    """
    if page.photometric == _PALETTE and page.colormap is not None:
        return colours_of(page.colormap)[array[:, :, 0] if array.ndim == 3 else array]
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    if page.photometric == _WHITE_IS_ZERO and array.dtype in (np.uint8, np.uint16):
        array = np.iinfo(array.dtype).max - array
    if is_ink(page, array.shape[2] if array.ndim == 3 else 1, channels) and array.dtype.kind == "u":
        return light_of_ink(array)
    return array


def _as_shown(array: np.ndarray, page: Any) -> np.ndarray:
    """Labels: black and white stored with white as zero is inverted, ids are numbers and stay."""
    if page.photometric != _WHITE_IS_ZERO:
        return array
    if array.dtype == bool:
        return ~array
    if array.dtype in (np.uint8, np.uint16):
        most = np.iinfo(array.dtype).max
        if ((array == 0) | (array == most)).all():
            return most - array
    return array


def one_series(path: Path, file: Any) -> Any:
    """The one full-size image of a tif (thumbnails and pyramid levels aside).

    Raises
    ------
    UserError
        None, or several.
    """
    series = [item for item in file.series if not item.keyframe.is_reduced]
    if not series:
        raise UserError(f"{path}: the tif holds no image")
    if len(series) > 1:
        sizes = ", ".join("×".join(map(str, item.shape)) for item in series[:4])
        raise UserError(f"{path}: the tif holds {len(series)} images ({sizes}); save one image per file")
    return series[0]


def _kept_axes(series: Any) -> list[tuple[str, int]]:
    """Axes and lengths without axes of length one."""
    pairs = zip(str(series.axes), series.shape, strict=True)
    return [(axis, length) for axis, length in pairs if length != 1 or axis in "YX"]


def _page_count(series: Any) -> int:
    """How many pages of one size a stack of labels holds; 0 where it is one image."""
    kept = _kept_axes(series)
    axes = "".join(axis for axis, _ in kept)
    if len(axes) != 3 or axes[1:] != "YX" or axes[0] in "S":
        return 0
    guessed = kept[2][1] <= MAX_GUESSED_CHANNELS and kept[2][1] < min(kept[0][1], kept[1][1])
    return 0 if guessed and axes[0] in "QI" else kept[0][1]


def tif_layout(path: Path, series: Any, channels: int | None) -> tuple[str, tuple[int, ...]]:
    """Axes and shape without axes of length one; the channel axis is named ``S``.

    Raises
    ------
    UserError
        A stack.
    """
    kept = _kept_axes(series)
    axes, shape = "".join(a for a, _ in kept).replace("C", "S"), tuple(n for _, n in kept)
    if axes in ("YX", "YXS", "SYX"):
        return axes, shape
    if len(axes) == 3 and axes[1:] == "YX" and axes[0] in "QI":
        if shape[2] <= MAX_GUESSED_CHANNELS and shape[2] < min(shape[:2]):
            return "YXS", shape
        if shape[0] == channels:
            return "SYX", shape
        raise UserError(
            f"{path}: a stack of {shape[0]} images of {shape[1]}×{shape[2]}; save one image per file, "
            f"or say dataset.channels={shape[0]} if they are the channels of one image"
        )
    text = "×".join(f"{n} ({a})" for a, n in kept)
    raise UserError(
        f"{path}: a tif stack with axes {text}; save one image (height × width × channels) per file"
    )


def tif_size(path: Path, channels: int | None, number: int | None = None) -> tuple[int, int, int, int]:
    """Stored height and width, number of channels as `read_tif` gives them, and EXIF turn; of a page if numbered.

    Raises
    ------
    UserError
        As `read_tif`, as far as the header tells.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = one_series(path, file)
            page = series.keyframe
            if number is not None:
                height, width = series.shape[-2:]
                return height, width, 3 if page.photometric == _PALETTE else 1, tif_turn(page)
            axes, shape = tif_layout(path, series, channels)
            height, width = shape[axes.index("Y")], shape[axes.index("X")]
            if axes == "YXS" and str(series.axes)[-1] != "S":
                height, width = shape[0], shape[1]  # the guess: its names are one off
            count = shape[axes.index("S")] if "S" in axes else 1
            if has_alpha(page, count, channels):
                count -= 1
            if page.photometric == _PALETTE or is_ink(page, count, channels):
                count = 3
            return height, width, count, tif_turn(page)
    except UserError:
        raise
    except Exception as error:
        raise broken(path, error) from None


def tif_turn(page: Any) -> int:
    """EXIF orientation of a page, 1 to 8."""
    tag = page.tags.get(ORIENTATION_TAG)
    return UPRIGHT if tag is None else valid_turn(tag.value)


def file_turn(path: Path) -> int:
    """EXIF orientation of a tif's image, without a look at its axes.

    Raises
    ------
    UserError
        Unreadable file.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return tif_turn(file.pages.first)
    except Exception as error:
        raise broken(path, error) from None


def is_ink(page: Any, count: int, channels: int | None) -> bool:
    """Whether `count` stored samples are CMYK that is to become RGB."""
    ink_set = page.tags.get(332)  # InkSet: 1 or missing is CMYK, 2 other inks
    cmyk = ink_set is None or int(ink_set.value) == 1
    return page.photometric == _INK and cmyk and count >= 4 and count != channels


def has_alpha(page: Any, count: int, channels: int | None) -> bool:
    """Whether the last sample is an alpha channel that is to be dropped."""
    extra = tuple(int(value) for value in page.extrasamples)
    return count in (2, 4) and count != channels and len(extra) > 0 and extra[-1] in _ALPHA


def tif_palette(path: Path) -> np.ndarray | None:
    """N×3 uint8 RGB of an indexed-colour tif, else None.

    Raises
    ------
    UserError
        Unreadable file.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = one_series(path, file).keyframe
            has_colours = page.photometric == _PALETTE and page.colormap is not None
            return colours_of(page.colormap) if has_colours else None
    except UserError:
        raise
    except Exception as error:
        raise broken(path, error) from None


def colours_of(colormap: np.ndarray) -> np.ndarray:
    """A tif's colour map, 3×N uint16, as N×3 uint8: most often it holds 8-bit values times 256 or 257."""
    return (np.moveaxis(colormap, 0, -1) >> 8).astype(np.uint8)
