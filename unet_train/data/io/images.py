"""The only place that reads or writes pixels: one rule for every format, dtype and axis order.

What comes back from a file:

* **Format** is told by the first bytes, not by the suffix: png, jpg, bmp, tif. Files are decoded from bytes,
  so that any name the file system accepts works (OpenCV's own file reading fails on some names on some
  systems).
* **Grey** becomes one channel, RGB three, an alpha channel is dropped, a palette is expanded to its colours.
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
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.atomic import replacing
from unet_train.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""File name endings taken for images, compared without case."""

_MAX_GUESSED_CHANNELS = 16  # a last axis up to this length, shorter than both others, is taken for channels
_ALPHA = (1, 2)  # values of tif's ExtraSamples tag: associated and unassociated alpha


def read_image(
    path: str | Path,
    *,
    intensity_range: tuple[float, float] | None = None,
    channels: int | None = None,
) -> np.ndarray:
    """Read an image as H×W×C.

    Parameters
    ----------
    path : str or Path
        png, jpg, bmp or tif file.
    intensity_range : (float, float), optional
        The values of the file that become 0 and 1; the rest is clipped. None: the rule of this module.
    channels : int, optional
        Number of channels declared for the data set. Decides what an undeclared tif axis means, keeps a
        fourth sample that is marked as alpha, turns grey into RGB (3) and RGB with three equal channels into
        grey (1).

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
    array = _decode(Path(path), channels=channels)
    if array.ndim == 2:
        array = array[:, :, None]
    if channels is not None:
        array = _fit_channels(array, channels, path)
    return np.ascontiguousarray(_scale(array, intensity_range, path))


def scale_pixels(array: np.ndarray, intensity_range: tuple[float, float] | None = None) -> np.ndarray:
    """The pixels of a file that was read elsewhere, scaled as `read_image` scales: uint8 or float32 in [0, 1].

    Raises
    ------
    UserError
        Values without a rule, NaN or infinity.
    """
    return np.ascontiguousarray(_scale(array, intensity_range, "image"))


def read_labels(path: str | Path) -> np.ndarray:
    """Read a label image, values as stored.

    A palette gives its indices, not its colours; a one-bit mask gives 0 and 255 from png and bmp, 0 and 1
    from tif, as its decoder does. A colour image is taken as grey where its three channels are equal.

    Returns
    -------
    ndarray
        H×W; uint8, uint16 or int32.

    Raises
    ------
    UserError
        Unreadable file, a stack, a real colour image, or values that are not whole numbers in 32 bits.
    """
    array = _decode(Path(path), labels=True)
    if array.ndim == 3:
        if array.shape[2] > 1 and not (array == array[:, :, :1]).all():
            raise UserError(
                f"{path}: a colour image with {array.shape[2]} unequal channels where a mask is expected; "
                "save class ids as one grey or palette channel"
            )
        array = array[:, :, 0]
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype not in (np.uint8, np.uint16, np.int32):
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int32)
        if not (whole == array).all():
            raise UserError(f"{path}: a mask with values that are not whole numbers ({array.dtype})")
        array = whole
    return np.ascontiguousarray(array)


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
    if _is_tif(_bytes(path, 16)):
        return _tif_palette(path)
    image, mode = _open_pillow(path, _bytes(path))
    if mode != "P":
        return None
    return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def image_size(path: str | Path, *, channels: int | None = None) -> tuple[int, int, int]:
    """Height, width and number of channels from the file's header, by the rules of `read_image`.

    Raises
    ------
    UserError
        As `read_image`, as far as the header tells.
    """
    path = Path(path)
    head = _bytes(path, 16)
    if _is_tif(head):
        height, width, count = _tif_size(path, channels)
    else:
        image, _ = _open_pillow(path, _bytes(path))
        width, height = image.size
        count = 1 if image.mode in ("1", "L", "LA", "I", "I;16", "I;16B", "F") else 3
    if (channels, count) in ((1, 3), (3, 1)):
        count = channels  # type: ignore[assignment]  # what _fit_channels makes of it, or refuses
    return height, width, count


def write_image(path: str | Path, array: np.ndarray) -> None:
    """Write an image; the file appears whole or not at all.

    Parameters
    ----------
    path : str or Path
        The suffix chooses the format: ``.png``, ``.jpg``, ``.bmp``, ``.tif``. Folders are made.
    array : ndarray
        H×W or H×W×C. png: uint8 or uint16, C 1 or 3; jpg, bmp: uint8, C 1 or 3; tif: any dtype and C
        (deflate; interleaved samples).
    """
    path = Path(path)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3):
        raise ValueError(f"an image is H×W or H×W×C, not {array.shape}")
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff"):
        _write_bytes(path, _encode_tif(array))
        return
    allowed = {".png": (np.uint8, np.uint16), ".jpg": (np.uint8,), ".jpeg": (np.uint8,), ".bmp": (np.uint8,)}
    if suffix not in allowed:
        raise ValueError(f"{path}: cannot write {suffix!r}; choose one of {', '.join(IMAGE_SUFFIXES)}")
    if array.dtype not in allowed[suffix] or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"{path}: {suffix} cannot hold {array.dtype} of shape {array.shape}")
    import cv2

    stored = array[:, :, ::-1] if array.ndim == 3 else array  # OpenCV writes blue first
    done, data = cv2.imencode(suffix, np.ascontiguousarray(stored))
    if not done:
        raise ValueError(f"{path}: encoding failed for shape {array.shape}")
    _write_bytes(path, data.tobytes())


def write_labels(path: str | Path, array: np.ndarray) -> None:
    """Write labels without loss, values unchanged, the file whole or not at all.

    Parameters
    ----------
    path : str or Path
        ``.png`` or ``.tif`` (deflate).
    array : ndarray
        H×W, uint8 or uint16.
    """
    path = Path(path)
    if array.ndim != 2 or array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"labels are H×W uint8 or uint16, not {array.dtype} {array.shape}")
    if path.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise ValueError(f"{path}: labels are written as .png or .tif, which lose nothing")
    write_image(path, array)


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
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


# --- decoding -----------------------------------------------------------------------------------------------


def _bytes(path: Path, count: int = -1) -> bytes:
    """The file's bytes, or its first `count`; a UserError where it cannot be read or is empty."""
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


def _is_tif(head: bytes) -> bool:
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _decode(path: Path, *, channels: int | None = None, labels: bool = False) -> np.ndarray:
    """Stored pixels, H×W or H×W×C in RGB order, of the stored dtype; palettes as indices under `labels`."""
    head = _bytes(path, 16)
    if _is_tif(head):
        array = _read_tif(path, channels, labels)
    elif head.startswith(b"\x89PNG\r\n\x1a\n"):
        array = _read_png(path, _bytes(path), labels)
    else:
        array = _read_pillow(path, _bytes(path), labels)
    if array.size == 0:
        raise UserError(f"{path}: the image has no pixels ({array.shape})")
    return array


def _broken(path: Path, error: BaseException) -> UserError:
    """One line for whatever a decoder raises: they raise anything, from struct.error to RuntimeError."""
    detail = (str(error).strip().splitlines() or [""])[0]
    return UserError(f"{path}: damaged or truncated image ({type(error).__name__}: {detail})")


def _read_png(path: Path, data: bytes, labels: bool) -> np.ndarray:
    """PNG through OpenCV (16-bit colour, fast); palettes of labels through Pillow."""
    colour_type, depth = _check_png(path, data)
    if colour_type == 3 and labels:
        return _read_pillow(path, data, labels)
    if depth < 8 and colour_type == 0 and depth != 1 and labels:
        return _read_small_png(path, data, depth)
    import cv2

    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _broken(path, error) from None
    if array is None:
        raise UserError(f"{path}: damaged or truncated image (not decodable)")
    if array.ndim == 2:
        return array
    if colour_type in (0, 4):  # grey with alpha: OpenCV repeats the grey
        return array[:, :, 0]
    return array[:, :, 2::-1]  # blue, green, red[, alpha] → red, green, blue


def _read_small_png(path: Path, data: bytes, depth: int) -> np.ndarray:
    """Two- and four-bit grey labels: decoders stretch them to 0..255, labels want the stored numbers."""
    array = _read_pillow(path, data, labels=True)
    return (array // (255 // (2**depth - 1))).astype(np.uint8)


def _check_png(path: Path, data: bytes) -> tuple[int, int]:
    """Colour type and bit depth; refuses missing or damaged chunks, which OpenCV would fill with black."""
    position, ended = 8, False
    while not ended:
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        body_end = position + 8 + length
        if len(data) < body_end + 4:
            raise UserError(f"{path}: damaged or truncated image (the PNG ends too early)")
        if zlib.crc32(data[position + 4 : body_end]) != int.from_bytes(data[body_end : body_end + 4], "big"):
            raise UserError(f"{path}: damaged or truncated image (checksum of PNG chunk {kind!r})")
        ended = kind == b"IEND"
        position = body_end + 4
    return data[25], data[24]


def _open_pillow(path: Path, data: bytes) -> tuple[Any, str]:
    """An opened, not yet decoded Pillow image of an allowed format."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "BMP"))
        except Image.DecompressionBombError:
            raise UserError(f"{path}: too large for this format; convert it to tif") from None
        except Exception as error:
            if data.startswith((b"\x89PNG", b"\xff\xd8", b"BM")):
                raise _broken(path, error) from None
            raise UserError(f"{path}: not a png, jpg, bmp or tif image") from None
    return image, image.mode


def _read_pillow(path: Path, data: bytes, labels: bool) -> np.ndarray:
    """JPEG and BMP (Pillow reports what is cut off, OpenCV paints it grey), and indices of palettes."""
    image, mode = _open_pillow(path, data)
    try:
        if mode == "P" and not labels:
            image = image.convert("RGB")
        elif mode == "1":
            image = image.convert("L")  # 0 and 255
        elif mode in ("LA", "PA", "RGBA", "CMYK", "YCbCr", "RGBX"):
            image = image.convert("L" if mode == "LA" else "RGB")
        return np.asarray(image)
    except Exception as error:
        raise _broken(path, error) from None


# --- tif ----------------------------------------------------------------------------------------------------


def _series(path: Path, file: Any) -> Any:
    """The one full-size image of a tif (thumbnails and pyramid levels aside)."""
    series = [item for item in file.series if not item.keyframe.is_reduced]
    if not series:
        raise UserError(f"{path}: the tif holds no image")
    if len(series) > 1:
        sizes = ", ".join("×".join(map(str, item.shape)) for item in series[:4])
        raise UserError(f"{path}: the tif holds {len(series)} images ({sizes}); save one image per file")
    return series[0]


def _tif_layout(path: Path, series: Any, channels: int | None) -> tuple[str, tuple[int, ...]]:
    """Axes and shape without axes of length one; channel axis named ``S``, or a UserError for a stack."""
    axes, shape = str(series.axes), tuple(series.shape)
    kept = [(a, n) for a, n in zip(axes, shape, strict=True) if n != 1 or a in "YX"]
    axes, shape = "".join(a for a, _ in kept).replace("C", "S"), tuple(n for _, n in kept)
    if axes in ("YX", "YXS", "SYX"):
        return axes, shape
    if len(axes) == 3 and axes[1:] == "YX" and axes[0] in "QI":
        if shape[2] <= _MAX_GUESSED_CHANNELS and shape[2] < min(shape[:2]):
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


def _tif_size(path: Path, channels: int | None) -> tuple[int, int, int]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = _series(path, file)
            axes, shape = _tif_layout(path, series, channels)
            page = series.keyframe
            if page.photometric == 3:
                return shape[0], shape[1], 3
            count = shape[axes.index("S")] if "S" in axes else 1
            if _has_alpha(page, count, channels):
                count -= 1
            height, width = shape[axes.index("Y")], shape[axes.index("X")]
            if axes == "YXS" and str(series.axes)[-1] != "S":
                height, width = shape[0], shape[1]  # the guess: its names are one off
            return height, width, count
    except UserError:
        raise
    except Exception as error:
        raise _broken(path, error) from None


def _has_alpha(page: Any, count: int, channels: int | None) -> bool:
    """Whether the last sample is an alpha channel that is to be dropped."""
    extra = tuple(int(value) for value in page.extrasamples)
    return count in (2, 4) and count != channels and len(extra) > 0 and extra[-1] in _ALPHA


def _tif_palette(path: Path) -> np.ndarray | None:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = _series(path, file).keyframe
            return _colours_of(page.colormap) if page.photometric == 3 and page.colormap is not None else None
    except UserError:
        raise
    except Exception as error:
        raise _broken(path, error) from None


def _colours_of(colormap: np.ndarray) -> np.ndarray:
    """A tif's colour map, 3×N uint16, as N×3 uint8: most often it holds 8-bit values times 256 or 257."""
    return (np.moveaxis(colormap, 0, -1) >> 8).astype(np.uint8)


def _read_tif(path: Path, channels: int | None, labels: bool) -> np.ndarray:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = _series(path, file)
            axes, shape = _tif_layout(path, series, channels)
            page = series.keyframe
            # one thread: loader workers are the parallel part here
            array = np.asarray(series.asarray(maxworkers=1)).reshape(shape)
            if axes == "SYX":
                array = np.moveaxis(array, 0, -1)
            if array.ndim == 3 and _has_alpha(page, array.shape[2], channels):
                array = array[:, :, :-1]
            if labels:
                return array
            if page.photometric == 3 and page.colormap is not None:
                return _colours_of(page.colormap)[array]
            if array.dtype == bool:
                array = array.astype(np.uint8) * np.uint8(255)
            if page.photometric == 0 and array.dtype in (np.uint8, np.uint16):
                array = np.iinfo(array.dtype).max - array  # stored with white as zero
            return array
    except UserError:
        raise
    except Exception as error:
        raise _broken(path, error) from None


# --- values -------------------------------------------------------------------------------------------------


def _fit_channels(array: np.ndarray, channels: int, path: str | Path) -> np.ndarray:
    found = array.shape[2]
    if found == channels:
        return array
    if channels == 3 and found == 1:
        return np.repeat(array, 3, axis=2)
    if channels == 1 and found == 3 and (array == array[:, :, :1]).all():
        return array[:, :, :1]
    raise UserError(f"{path}: {found} channels where dataset.channels is {channels}")


def _scale(array: np.ndarray, intensity_range: tuple[float, float] | None, path: str | Path) -> np.ndarray:
    """uint8 or float32 in [0, 1] by the module's rule."""
    if np.issubdtype(array.dtype, np.complexfloating):
        raise UserError(f"{path}: complex numbers are not an image")
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    floating = np.issubdtype(array.dtype, np.floating)
    if floating and not np.isfinite(array).all():
        raise UserError(f"{path}: holds NaN or infinite values")
    if intensity_range is not None:
        low, high = (float(value) for value in intensity_range)
        if not low < high:
            raise UserError(
                f"dataset.intensity_range=[{low:g}, {high:g}]: the first value must be the smaller"
            )
        scaled = (array.astype(np.float64) - low) / (high - low)
        return np.clip(scaled, 0.0, 1.0).astype(np.float32)
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return array.astype(np.float32) / np.float32(65535)
    low, high = float(array.min()), float(array.max())
    if floating and low >= 0.0 and high <= 1.0:
        return array.astype(np.float32)
    raise UserError(
        f"{path}: {array.dtype} values from {low:g} to {high:g} have no rule; "
        "say dataset.intensity_range=[LOW, HIGH], the values that become 0 and 1"
    )


# --- writing ------------------------------------------------------------------------------------------------


def _encode_tif(array: np.ndarray) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    colour = array.ndim == 3 and array.shape[2] == 3
    options: dict[str, Any] = {"planarconfig": "contig"} if array.ndim == 3 else {}
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
