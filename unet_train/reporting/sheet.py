"""A contact sheet of images with their labels: seen at a glance whether a data set was understood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from unet_train.reporting.colours import class_colours
from unet_train.reporting.overlays import DARK, add_legend, displayable, resize_labels
from unet_train.reporting.panels import HATCH, hatched, legend_entries

MOST_IMAGES = 12
"""So many can be looked at together."""

WIDEST, HIGHEST = 1600, 1180
"""Room for the images, with their file names."""

LARGEST, NARROWEST = 640, 220
"""Longer side that one image is given at most, and width that its file name is given at least."""

GAP = 8
LETTERS = 13
"""Height of the file names' letters."""

TINT, STRONG_TINT = 0.28, 0.45
"""Share of the class colour inside an outline: tells the inside from the outside, and many classes apart."""

CAPTION = int(LETTERS * 1.6) + LETTERS // 2
"""Height of the strip with the file name, as `add_legend` makes it."""


@dataclass(frozen=True)
class Labelled:
    """One image of the sheet.

    Attributes
    ----------
    image : ndarray
        H×W×C, uint8 or float.
    classes : ndarray
        H×W uint8 class ids, 255 where nothing is known.
    instances : ndarray or None
        H×W object numbers, so that objects that touch are seen apart.
    caption : str
        File name.
    """

    image: np.ndarray
    classes: np.ndarray
    instances: np.ndarray | None
    caption: str


def sheet(
    read: Callable[[int], Labelled | None],
    sizes: Sequence[tuple[int, int]],
    *,
    class_names: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
    background: bool = True,
    title: str = "",
    ignore: int = 255,
    workers: int = 1,
) -> np.ndarray:
    """Draw images with the outlines of their labels, tinted inside, file names, and one legend.

    Parameters
    ----------
    read : callable
        ``read(i)`` is image number `i`, or None, which leaves its place empty. Called when it is drawn, so that large
        images are not held together.
    sizes : sequence of (int, int)
        Heights and widths of the images, known before they are read.
    class_names : sequence of str
        Names by class id.
    palette : sequence of (red, green, blue), or None
        Colours by class id; None: `colours.class_colours`.
    background : bool
        Whether class 0 is the background: not drawn.
    title : str
        One line above.
    ignore : int
        Value of the classes that means "unknown": hatched.
    workers : int
        Threads that read and draw.

    Returns
    -------
    ndarray
        H'×W'×3 uint8 RGB, at most about 1600 pixels wide.

    Raises
    ------
    ValueError
        Without sizes, or where labels have not the size of their image.
    """
    if not sizes:
        raise ValueError("a sheet needs an image")
    colours = class_colours(len(class_names), palette, background=background)
    columns, (height, width) = arrangement(sizes)
    rows = -(-len(sizes) // columns)
    across, down = max(width, NARROWEST), height + CAPTION
    ground = np.full((rows * (down + GAP) - GAP, columns * (across + GAP) - GAP, 3), DARK, np.uint8)
    present = np.zeros(256, np.int64)

    def drawn(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Picture, caption, and pixels by class."""
        one = read(number)
        if one is None:
            return None
        picture = draw_labels(one, (height, width), colours, background=background, ignore=ignore)
        name = add_legend(np.zeros((0, across, 3), np.uint8), [], one.caption, height=LETTERS)
        return picture, name, np.bincount(one.classes.ravel(), minlength=256)

    with ThreadPoolExecutor(workers) as pool:
        for i, cell in enumerate(pool.map(drawn, range(len(sizes)))):
            if cell is None:
                continue
            picture, name, pixels = cell
            bottom, left = (i // columns) * (down + GAP) + height, (i % columns) * (across + GAP)
            ground[bottom - picture.shape[0] : bottom, left : left + picture.shape[1]] = picture
            ground[bottom : bottom + CAPTION, left : left + across] = name
            present += pixels
    entries = legend_entries(class_names, colours, present, background)
    if present[ignore]:
        entries.append(("unknown", HATCH[1]))
    if title:
        ground = np.concatenate([add_legend(ground[:0], [], title), ground])
    return add_legend(ground, entries)


def arrangement(sizes: Sequence[tuple[int, int]]) -> tuple[int, tuple[int, int]]:
    """Columns of a sheet, and height and width that each of the images is given.

    The shape is that of the middle image; the columns are those at which the images are largest, and of equals
    those that leave the fewest places empty.
    """
    middle = float(np.median([width / height for height, width in sizes]))
    shape = (1.0, min(max(middle, 0.25), 4.0))

    def side(columns: int) -> float:
        """Height of an image."""
        rows = -(-len(sizes) // columns)
        room_across = (WIDEST - (columns - 1) * GAP) / columns
        room_down = (HIGHEST - (rows - 1) * GAP) / rows - CAPTION
        most = LARGEST / max(shape)
        return min(room_across / shape[1], room_down, most)

    columns = max(range(1, len(sizes) + 1), key=lambda c: (side(c), -(-len(sizes) % c)))
    room = (max(1, int(side(columns))), max(1, int(side(columns) * shape[1])))
    # Images enlarged by a whole number may leave some of it, which the sheet does without.
    sizes_drawn = [drawn_size(size, room)[0] for size in sizes]
    return columns, (max(height for height, _ in sizes_drawn), max(width for _, width in sizes_drawn))


def draw_labels(
    one: Labelled,
    room: tuple[int, int],
    colours: np.ndarray,
    *,
    background: bool = True,
    ignore: int = 255,
) -> np.ndarray:
    """One image within `room` (height and width), its labels tinted and outlined in their classes' colours.

    Reduced labels keep every outline: an object one pixel wide is seen in an image of any size.

    Returns
    -------
    ndarray
        H'×W'×3 uint8; small images are enlarged by a whole number from twice on.

    Raises
    ------
    ValueError
        If the labels have not the size of the image.
    """
    size = one.image.shape[:2]
    for labels in (one.classes, one.instances):
        if labels is not None and labels.shape != size:
            raise ValueError(f"labels are {labels.shape}, the image {size}")
    target, factor = drawn_size(size, room)
    picture = _resized(one.image, target)
    classes = resize_labels(one.classes, target)
    drawn = classes != ignore
    if background:
        drawn &= classes != 0
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    tint = TINT if len(colours) - int(background) == 1 else STRONG_TINT
    mixed = picture[drawn] * (1 - tint) + table[classes[drawn]] * tint
    picture[drawn] = mixed.round().astype(np.uint8)
    unknown = classes == ignore
    picture[unknown] = hatched(target)[unknown]
    line = _outlines(one, target, background, ignore)
    thick = 1 if factor < 1 and min(target) < 160 else 2
    for value in _rarest_last(line):
        mask = (line == value).astype(np.uint8)
        if thick > 1:
            mask = cv2.dilate(mask, np.ones((thick, thick), np.uint8))
        picture[mask > 0] = table[value]
    return picture


def drawn_size(size: tuple[int, int], room: tuple[int, int]) -> tuple[tuple[int, int], float]:
    """Height and width at which an image of `size` is drawn within `room`, and how much it is enlarged by."""
    factor = min(room[0] / size[0], room[1] / size[1])
    factor = float(int(factor)) if factor >= 2 else factor
    return (max(1, round(size[0] * factor)), max(1, round(size[1] * factor))), factor


def _resized(image: np.ndarray, target: tuple[int, int]) -> np.ndarray:
    """The image as a person can look at it; reduced first, which is quicker."""
    shown = image[:, :, :3] if image.ndim == 3 else image
    if target[0] < image.shape[0]:
        shown = cv2.resize(shown, target[::-1], interpolation=cv2.INTER_AREA)
        return displayable(shown)
    way = cv2.INTER_NEAREST if target[0] % image.shape[0] == 0 else cv2.INTER_LINEAR
    return cv2.resize(displayable(shown), target[::-1], interpolation=way)


def _outlines(one: Labelled, target: tuple[int, int], background: bool, ignore: int) -> np.ndarray:
    """H'×W' class ids on the outlines of classes and objects, `ignore` elsewhere."""
    reduced = target[0] < one.classes.shape[0]
    # An enlarged image gets its outlines on the enlarged labels, or they would be as thick as pixels are large.
    classes = one.classes if reduced else resize_labels(one.classes, target)
    instances = one.instances
    if instances is not None and not reduced:
        instances = resize_labels(instances, target)
    border = np.zeros(classes.shape, bool)
    for labels in (classes, instances):
        if labels is None:
            continue
        for axis in (0, 1):
            first, second = (labels[:-1], labels[1:]) if axis == 0 else (labels[:, :-1], labels[:, 1:])
            differ = first != second
            here, there = (border[:-1], border[1:]) if axis == 0 else (border[:, :-1], border[:, 1:])
            here |= differ
            there |= differ
    border &= classes != ignore
    if background:
        border &= classes != 0
    line = np.full(target, ignore, np.uint8)
    rows, columns = np.nonzero(border)
    found = classes[rows, columns]
    rows, columns = rows * target[0] // classes.shape[0], columns * target[1] // classes.shape[1]
    for value in _rarest_last(found):
        here = found == value
        line[rows[here], columns[here]] = value
    return line


def _rarest_last(values: np.ndarray, ignore: int = 255) -> list[int]:
    """Class ids that occur, the commonest first, so that the rare ones are drawn over it."""
    counts = np.bincount(values.ravel(), minlength=256)
    counts[ignore] = 0
    return sorted(np.flatnonzero(counts).tolist(), key=lambda value: -counts[value])
