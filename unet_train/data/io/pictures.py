"""png, jpg, bmp, gif and webp: decoded whole or refused, with palette and EXIF turn."""

from __future__ import annotations

import io
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from unet_train.data.io.files import Decoded, broken
from unet_train.data.io.turns import ORIENTATION_TAG, UPRIGHT, valid_turn
from unet_train.errors import UserError

_PNG = b"\x89PNG\r\n\x1a\n"
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "F")
MOST_PIXELS = 178_956_970
"""Pixels of the largest picture that is read, as Pillow has it for all formats; larger images are for tif."""

_PNG_TURNS = (b"eXIf", b"Raw profile type", b"rientation")  # chunks and texts that can hold a png's turn


def read_picture(path: Path, data: bytes, *, labels: bool = False) -> Decoded:
    """Pixels of a file that is neither tif nor an array; palettes as indices under `labels`, else as colours.

    Raises
    ------
    UserError
        No such format, a damaged file, an animation.
    """
    if data.startswith(_PNG):
        return _read_png(path, data, labels)
    return _read_pillow(path, data, labels)


def picture_size(path: Path, data: bytes) -> tuple[int, int, int, int]:
    """Stored height and width, number of channels, and EXIF turn, without decoding the pixels.

    Raises
    ------
    UserError
        As `read_picture`, as far as the header tells.
    """
    image = _open(path, data)
    width, height = image.size
    return height, width, 1 if image.mode in _GREY_MODES else 3, _turn(image, data)


def picture_palette(path: Path, data: bytes) -> np.ndarray | None:
    """N×3 uint8 RGB of an indexed-colour picture, else None.

    Raises
    ------
    UserError
        Unreadable file.
    """
    return _palette(_open(path, data))


def _palette(image: Any) -> np.ndarray | None:
    if image.mode != "P":
        return None
    return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def _turn(image: Any, data: bytes) -> int:
    """EXIF orientation. For a png Pillow would decode the pixels first, so it is asked only where there may be one."""
    if data.startswith(_PNG) and not any(mark in data for mark in _PNG_TURNS):
        return UPRIGHT
    try:
        return valid_turn(image.getexif().get(ORIENTATION_TAG, UPRIGHT))
    except Exception:  # damaged EXIF does not make the picture unreadable
        return UPRIGHT


def _open(path: Path, data: bytes) -> Any:
    """An opened, not yet decoded Pillow image of an allowed format."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", message=".*WebP.*")
        try:
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            # A phone's jpg may hold a second picture; only gif and webp are animated.
            frames = getattr(image, "n_frames", 1) if image.format in ("GIF", "WEBP") else 1
        except Image.DecompressionBombError:
            raise _too_large(path) from None
        except Exception as error:
            if data.startswith((_PNG, b"\xff\xd8", b"BM", b"GIF8")):
                raise broken(path, error) from None
            if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
                raise _broken_webp(path, error) from None
            raise UserError(f"{path}: not a png, jpg, bmp, gif, webp, tif or npy image") from None
    if frames > 1:
        raise UserError(f"{path}: an animation of {frames} frames; save one image per file")
    return image


def _too_large(path: Path) -> UserError:
    return UserError(
        f"{path}: says that it has more than {MOST_PIXELS:,} pixels, which are not read in this format; if it is not "
        "damaged, convert it to tif"
    )


def _broken_webp(path: Path, error: Exception) -> UserError:
    from PIL import features

    if not features.check("webp"):
        return UserError(
            f"{path}: this Pillow reads no webp; pip install --upgrade pillow, or convert it to png"
        )
    return broken(path, error)


def _read_pillow(path: Path, data: bytes, labels: bool) -> Decoded:
    """Through Pillow, which reports what is cut off where OpenCV paints it grey, and gives palettes' indices."""
    image = _open(path, data)
    turn = _turn(image, data)
    mode = image.mode
    try:
        palette = _palette(image) if labels else None
        if mode == "P" and not labels:
            image = image.convert("RGB")
        elif mode == "1":
            image = image.convert("L")  # 0 and 255
        elif mode in ("LA", "PA", "RGBA", "CMYK", "YCbCr", "RGBX"):
            image = image.convert("L" if mode == "LA" else "RGB")
        return Decoded(np.asarray(image), turn, palette)
    except Exception as error:
        raise broken(path, error) from None


# --- png ----------------------------------------------------------------------------------------------------


def _read_png(path: Path, data: bytes, labels: bool) -> Decoded:
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
        raise broken(path, error) from None
    if array is None:
        raise UserError(f"{path}: damaged or truncated image (not decodable)")
    if array.ndim == 3 and colour_type in (0, 4):  # grey with alpha: OpenCV repeats the grey
        array = array[:, :, 0]
    elif array.ndim == 3:
        array = array[:, :, 2::-1]  # blue, green, red[, alpha] → red, green, blue
    turn = UPRIGHT
    if any(mark in data for mark in _PNG_TURNS):
        turn = _turn(_open(path, data), data)
    return Decoded(array, turn)


def _read_small_png(path: Path, data: bytes, depth: int) -> Decoded:
    """Two- and four-bit grey labels: decoders stretch them to 0..255, labels want the stored numbers."""
    found = _read_pillow(path, data, labels=True)
    return Decoded((found.array // (255 // (2**depth - 1))).astype(np.uint8), found.turn)


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
    # OpenCV would take six times as many.
    if int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big") > MOST_PIXELS:
        raise _too_large(path)
    return data[25], data[24]
