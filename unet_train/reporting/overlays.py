"""Pictures of images with true and predicted outlines, and viewable pictures of class and object maps."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from unet_train.reporting.colours import UNKNOWN_COLOUR, class_colours

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

TRUTH_COLOUR = (255, 176, 0)
"""Amber. With `PREDICTION_COLOUR` told apart also by people who cannot tell red from green."""

PREDICTION_COLOUR = (0, 170, 255)
"""Sky blue."""

BOTH_COLOUR = (255, 60, 200)
"""Pink, where the two outlines coincide (white would drown in bright cells)."""

UNKNOWN_SHADE = 0.45
"""Brightness factor of pixels whose truth is not known."""

SHORT_SIDE, LONG_SIDE = 600, 1536
"""Images are enlarged (by whole numbers) towards the one and reduced to the other: outlines must be seen."""

DARK = 24
"""Grey of the ground that titles and legends stand on."""

Colour = tuple[int, int, int]

ERROR_COLOURS: dict[str, Colour] = {
    "merged": (204, 121, 167),
    "split": (0, 158, 115),
    "missed": (213, 94, 0),
    "invented": (240, 228, 66),
}
"""Fills of objects that went wrong, from the palette of Okabe and Ito, which colour-blind people can tell apart too."""

ERROR_STRENGTH = 0.5
"""How much of such a fill covers the image."""


@dataclass(frozen=True)
class Mark:
    """A fill over part of an image, with its word in the legend."""

    word: str
    pixels: np.ndarray
    colour: Colour


def overlay(
    image: np.ndarray,
    truth: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    *,
    caption: str = "",
    ignore: int | None = 255,
    short_side: int = SHORT_SIDE,
    long_side: int = LONG_SIDE,
    legend: bool = True,
    marks: Sequence[Mark] = (),
) -> np.ndarray:
    """Draw the outlines of true and predicted regions over an image, with a legend under it.

    Parameters
    ----------
    image : ndarray
        H×W or H×W×C; any numeric dtype (see `displayable`).
    truth, prediction : ndarray or None
        H×W integer maps of classes or of objects; every border between two values is an outline, pink where
        the two coincide.
    caption : str
        One line above the legend: file name, score, whatever helps; any letters.
    ignore : int or None
        Value of `truth` that means "unknown": shaded, and without outlines of its own.
        Give None for object maps, where 255 is an object.
    short_side, long_side : int
        The picture is enlarged by the largest whole number that keeps its longer side within `long_side` and
        is needed to bring the shorter side to `short_side`; a larger one is reduced to `long_side`.
    legend : bool
        Whether the strip with legend and caption is added under the image.
    marks : sequence of Mark
        Fills below the outlines, each with H×W bool pixels; the legend ends with their words.

    Returns
    -------
    ndarray
        H'×W'×3 uint8 RGB.

    Raises
    ------
    ValueError
        If a map has not the size of the image.
    """
    picture = displayable(image)
    size = picture.shape[:2]
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels is not None and labels.shape != size:
            raise ValueError(f"{name} is {labels.shape}, the image {size}")
    unknown = truth == ignore if truth is not None and ignore is not None else None
    target = picture_size(size, short_side, long_side)
    # A reduced picture gets its outlines after the reduction, an enlarged one on the enlarged maps: either
    # way they are one picture pixel wide on each side of the border and never vanish between pixels.
    picture = cv2.resize(
        picture,
        target[::-1],
        interpolation=cv2.INTER_AREA if target[0] < size[0] else cv2.INTER_NEAREST,
    )
    if unknown is not None and unknown.any():
        shade = resize_labels(unknown.astype(np.uint8), target) > 0
        picture[shade] = (picture[shade] * UNKNOWN_SHADE).astype(np.uint8)
    else:
        unknown = None
    for mark in marks:
        inside = resize_labels(mark.pixels, target)
        mixed = picture[inside] * (1 - ERROR_STRENGTH) + np.array(mark.colour) * ERROR_STRENGTH
        picture[inside] = mixed.round().astype(np.uint8)
    thick = 1 if max(target) < 800 else 2
    true_line = None if truth is None else _outlines(resize_labels(truth, target), ignore, thick)
    predicted_line = None if prediction is None else _outlines(resize_labels(prediction, target), None, thick)
    if true_line is not None:
        picture[true_line] = TRUTH_COLOUR
    if predicted_line is not None:
        picture[predicted_line] = PREDICTION_COLOUR
    if true_line is not None and predicted_line is not None:
        picture[true_line & predicted_line] = BOTH_COLOUR
    if not legend:
        return picture
    entries: list[tuple[str, Colour | None]] = []
    if truth is not None:
        entries.append(("truth", TRUTH_COLOUR))
    if prediction is not None:
        entries.append(("prediction", PREDICTION_COLOUR))
    if len(entries) == 2:
        entries.append(("both", BOTH_COLOUR))
    if unknown is not None:
        entries.append(("unknown", (96, 96, 96)))
    entries += [(mark.word, mark.colour) for mark in marks]
    return add_legend(picture, entries, caption)


def displayable(image: np.ndarray) -> np.ndarray:
    """An image as a person can look at it.

    Parameters
    ----------
    image : ndarray
        H×W or H×W×C, any numeric dtype. Three channels are taken as RGB, two as green and magenta, of more
        than three the first three as RGB. Grey images and everything but 8-bit RGB are stretched from
        their 0.2 to their 99.8 percentile (each channel by itself): a dark 16-bit image is no black square.

    Returns
    -------
    ndarray
        H×W×3 uint8, a copy.

    Raises
    ------
    ValueError
        On other shapes or an empty image.
    """
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.size == 0:
        raise ValueError(f"an image must be H×W or H×W×C and not empty; got {image.shape}")
    channels = image.shape[2]
    if channels == 3 and image.dtype == np.uint8:
        return image.copy()
    planes = [_stretch(image[..., c]) for c in range(min(channels, 3))]
    if channels == 1:
        planes = planes * 3
    elif channels == 2:
        planes = [planes[1], planes[0], planes[1]]
    return np.stack(planes, axis=-1)


def class_picture(
    classes: np.ndarray,
    count: int | None = None,
    *,
    ignore: int | None = 255,
    palette: Sequence[Sequence[int]] | None = None,
    background: bool = True,
) -> np.ndarray:
    """A class map as a viewable picture: black and white for two classes, colours for more.

    Parameters
    ----------
    classes : ndarray
        H×W class ids.
    count : int or None
        Number of classes, so that a class has one colour in all pictures of a data set; None: as found.
    ignore : int or None
        Value shown in middle grey.
    palette : sequence of (red, green, blue), or None
        Colours of `count` classes, three or more; None: `colours.class_colours`.
    background : bool
        Whether class 0 is the background, which is black where the palette says nothing else.

    Returns
    -------
    ndarray
        H×W×3 uint8; the single class of two white, on black.
    """
    known = classes[classes != ignore] if ignore is not None else classes
    largest = int(known.max(initial=0)) + 1
    count = max(count or 2, largest, 2)
    table = np.zeros((max(count, int(classes.max(initial=0)) + 1), 3), np.uint8)
    if count == 2:
        table[1] = 255
    else:
        table[:count] = class_colours(count, palette, background=background)
    if ignore is not None and ignore < len(table):
        table[ignore] = UNKNOWN_COLOUR
    return table[classes]


def object_picture(
    objects: np.ndarray, image: np.ndarray | None = None, *, strength: float = 0.45
) -> np.ndarray:
    """An object map as a viewable picture: every id a colour of its own, the same in every frame.

    Parameters
    ----------
    objects : ndarray
        H×W ids, 0 for none.
    image : ndarray or None
        H×W or H×W×C image to tint; None: a black ground.
    strength : float
        How much of the tint covers the image, in [0, 1].

    Returns
    -------
    ndarray
        H×W×3 uint8, with the objects' borders in full colour.
    """
    ids, inverse = np.unique(objects, return_inverse=True)
    table = np.array([(0, 0, 0) if i == 0 else object_colour(int(i)) for i in ids], np.uint8)
    colours = table[inverse.reshape(objects.shape)]
    if image is None:
        return colours
    picture = displayable(image)
    inside = objects != 0
    mixed = picture[inside] * (1 - strength) + colours[inside] * strength
    picture[inside] = mixed.round().astype(np.uint8)
    line = _outlines(objects, None) & inside
    picture[line] = colours[line]
    return picture


def object_colour(number: int) -> Colour:
    """A bright colour for an object id; neighbouring ids are far apart (hues by the golden ratio)."""
    hue = (number * 0.6180339887498949) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * ((number * 7) % 3) / 2, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def picture_size(
    size: tuple[int, int], short_side: int = SHORT_SIDE, long_side: int = LONG_SIDE
) -> tuple[int, int]:
    """Height and width at which an image of `size` is shown (see `overlay`)."""
    short, long = min(size), max(size)
    if long > long_side:
        factor = long_side / long
        return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
    enlarge = max(1, min(-(-short_side // short), long_side // long))
    return size[0] * enlarge, size[1] * enlarge


def add_legend(
    picture: np.ndarray, entries: Sequence[tuple[str, Colour | None]], caption: str = "", *, height: int = 16
) -> np.ndarray:
    """Put a dark strip with a caption and coloured words under a picture.

    Parameters
    ----------
    picture : ndarray
        H×W×3 uint8.
    entries : sequence of (word, colour)
        Each is written beside a square of its colour, if it has one; they wrap where the picture is narrow.
    caption : str
        A line above the entries, shortened in the middle if it is too long.
    height : int
        Height of the letters in pixels.

    Returns
    -------
    ndarray
        Taller (and, if the picture is narrower than a legend word, wider) H'×W'×3 uint8.
    """
    from PIL import Image, ImageDraw

    font = _font(height)
    gap, line = height // 2, int(height * 1.6)
    square = height + gap // 2
    widths = [(0 if c is None else square) + int(font.getlength(word)) + gap for word, c in entries]
    full = max([picture.shape[1], *[width + gap for width in widths]])
    rows: list[list[int]] = []
    room = 0
    for i, width in enumerate(widths):
        if not rows or width > room:
            rows.append([])
            room = full - gap
        rows[-1].append(i)
        room -= width
    lines = bool(caption) + len(rows)
    if lines == 0:
        return picture
    strip = Image.new("RGB", (full, lines * line + gap), (DARK, DARK, DARK))
    draw = ImageDraw.Draw(strip)
    top = gap // 2
    if caption:
        draw.text((gap, top), _shorten(caption, full - 2 * gap, font), font=font, fill=(240, 240, 240))
        top += line
    for row in rows:
        left = gap
        for i in row:
            word, colour = entries[i]
            if colour is not None:
                draw.rectangle((left, top + 2, left + height - 2, top + height), fill=colour)
            indent = 0 if colour is None else square
            draw.text((left + indent, top), word, font=font, fill=(240, 240, 240))
            left += widths[i]
        top += line
    padded = np.full((picture.shape[0], full, 3), DARK, np.uint8)
    padded[:, : picture.shape[1]] = picture
    return np.concatenate([padded, np.asarray(strip)])


def _shorten(text: str, room: float, font: FreeTypeFont) -> str:
    """The text, with its middle replaced by "…" until it fits."""
    text = " ".join(text.split())
    keep = len(text)
    shown = text
    while keep > 2 and font.getlength(shown) > room:
        keep -= 1
        shown = f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
    return shown


@cache
def _font(height: int) -> FreeTypeFont:
    # The font that comes with matplotlib: it has the letters of most languages, and is there on every system.
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", height)


def _stretch(plane: np.ndarray) -> np.ndarray:
    values = np.nan_to_num(plane.astype(np.float32))
    low, high = np.percentile(values, (0.2, 99.8))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high <= low:  # one value everywhere: middle grey
        return np.full(plane.shape, 128, np.uint8)
    return (np.clip((values - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An H×W map at another size; every value is one of the map's own."""
    rows = (np.arange(size[0]) * labels.shape[0]) // size[0]
    columns = (np.arange(size[1]) * labels.shape[1]) // size[1]
    return labels[rows[:, None], columns[None]]


def _outlines(labels: np.ndarray, ignore: int | None, thick: int = 1) -> np.ndarray:
    """Pixels of a labelled region (not 0) that touch another value; the image's own edge is no border."""
    line = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        first = labels[:-1] if axis == 0 else labels[:, :-1]
        second = labels[1:] if axis == 0 else labels[:, 1:]
        differ = first != second
        if ignore is not None:
            differ &= (first != ignore) & (second != ignore)
        here = line[:-1] if axis == 0 else line[:, :-1]
        there = line[1:] if axis == 0 else line[:, 1:]
        here |= differ & (first != 0)
        there |= differ & (second != 0)
    if thick > 1:
        line = cv2.dilate(line.astype(np.uint8), np.ones((thick, thick), np.uint8)) > 0
    return line


def outline_layer(
    labels: np.ndarray,
    size: tuple[int, int],
    colours: np.ndarray,
    *,
    width: int,
    ignore: int | None = None,
    unknown: np.ndarray | None = None,
) -> np.ndarray:
    """Outlines of labelled regions as a transparent layer to lie over an image.

    Parameters
    ----------
    labels : ndarray
        H×W class or object ids, 0 for none.
    size : (int, int)
        Height and width of the layer.
    colours : ndarray
        3, or N×3 by label: uint8 RGB.
    width : int
        Width of the lines in pixels of the layer.
    ignore : int or None
        Label without outlines of its own.
    unknown : ndarray or None
        H×W bool: pixels that the layer darkens.

    Returns
    -------
    ndarray
        H'×W'×4 uint8 RGBA.
    """
    shown = resize_labels(labels, size)
    line = _outlines(shown, ignore)
    layer = np.zeros((*size, 4), np.uint8)
    if unknown is not None:
        layer[resize_labels(unknown.astype(np.uint8), size) > 0] = (0, 0, 0, round(255 * (1 - UNKNOWN_SHADE)))
    table = np.asarray(colours, np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    for value in np.unique(shown[line]) if table.ndim == 2 else [None]:
        of_value = line if value is None else line & (shown == value)
        thick = cv2.dilate(of_value.astype(np.uint8), kernel) > 0
        layer[thick, :3] = table if value is None else table[value]
        layer[thick, 3] = 255
    return layer


def fill_marks(layer: np.ndarray, marks: Sequence[Mark]) -> np.ndarray:
    """Fill what a transparent layer leaves clear, where marks say so; a copy.

    Parameters
    ----------
    layer : ndarray
        H'×W'×4 uint8 RGBA, of `outline_layer`.
    marks : sequence of Mark
        With H×W bool pixels.
    """
    layer = layer.copy()
    for mark in marks:
        inside = resize_labels(mark.pixels, layer.shape[:2]) & (layer[..., 3] == 0)
        layer[inside] = (*mark.colour, round(255 * ERROR_STRENGTH))
    return layer


def filled_layer(
    labels: np.ndarray,
    size: tuple[int, int],
    colours: np.ndarray,
    *,
    clear: int | None = 0,
    ignore: int | None = 255,
    strength: float = 0.65,
) -> np.ndarray:
    """Regions filled in the colours of their classes as a transparent layer to lie over an image.

    Parameters
    ----------
    labels : ndarray
        H×W class ids.
    size : (int, int)
        Height and width of the layer.
    colours : ndarray
        K×3 uint8 RGB by class.
    clear : int or None
        Class that is not filled: the background.
    ignore : int or None
        Label of unknown pixels, which are darkened.
    strength : float
        How much of the fill covers the image, in [0, 1].

    Returns
    -------
    ndarray
        H'×W'×4 uint8 RGBA.
    """
    shown = resize_labels(labels, size)
    table = np.zeros((256, 4), np.uint8)
    table[: len(colours), :3] = colours
    table[: len(colours), 3] = round(255 * strength)
    if clear is not None:
        table[clear] = 0
    if ignore is not None:
        table[ignore] = (0, 0, 0, round(255 * (1 - UNKNOWN_SHADE)))
    return table[shown]
