"""Outlines of objects and the pixels they cover: what every annotation format is read into.

Coordinates are those of all the formats read here: x to the right, y down, in pixels, with (0, 0) at the upper left
*corner* of the first pixel. A pixel belongs to an outline when its centre, (column + 0.5, row + 0.5), lies inside. On
random polygons that rule keeps the area and agrees with pycocotools at an IoU of 0.97; `skimage.draw.polygon`, OpenCV
and Pillow take whole numbers for centres and draw the border as well (up to 1.3 times the area, IoU 0.73 to 0.82).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from unet_train.data.records import IGNORE
from unet_train.errors import UserError

BACKGROUND_NAMES = ("_background_", "background")
"""Classes of this name, in any case, are the background: drawn as 0, no objects."""

Window = tuple[slice, slice, np.ndarray]
"""Rows, columns and the boolean pixels between them."""


class Part(Protocol):
    """A region of an image."""

    def window(self, height: int, width: int) -> Window | None:
        """The pixels covered in an image of this size; None: none of them."""

    def area(self) -> float:
        """Its size, which the order of drawing goes by."""

    def scaled(self, x: float, y: float) -> Part:
        """The same with its coordinates multiplied."""


@dataclass(frozen=True)
class Polygon:
    """One outline, or several of which each further one cuts holes into the others (even-odd rule).

    Attributes
    ----------
    rings : tuple of ndarray
        N×2 float64 x and y, N ≥ 3, not closed.
    """

    rings: tuple[np.ndarray, ...]

    def window(self, height: int, width: int) -> Window | None:
        """The pixels whose centre lies inside, clipped to the image.

        A centre exactly on an edge belongs to the region right of or below it, so that polygons that share an edge
        share no pixel and leave none out.
        """
        starts = np.concatenate(self.rings)
        ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in self.rings])
        top, bottom = (int(_first_centre(f(starts[:, 1]), height)) for f in (np.min, np.max))
        left, right = (int(_first_centre(f(starts[:, 0]), width)) for f in (np.min, np.max))
        if top >= bottom or left >= right:
            return None
        # From top to bottom whichever way a ring turns: an edge shared by two polygons is then crossed at the same x.
        down = (starts[:, 1] < ends[:, 1])[:, None]
        upper, lower = np.where(down, starts, ends), np.where(down, ends, starts)
        first = _first_centre(upper[:, 1], height)
        counts = np.maximum(_first_centre(lower[:, 1], height) - first, 0)
        edge = np.repeat(np.arange(len(starts)), counts)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        part = (row + 0.5 - upper[edge, 1]) / (lower[edge, 1] - upper[edge, 1])
        crossing = upper[edge, 0] + part * (lower[edge, 0] - upper[edge, 0])
        column = np.clip(_first_centre(crossing, width), left, right)
        toggles = np.zeros((bottom - top, right - left + 1), np.int32)
        np.add.at(toggles, (row - top, column - left), 1)
        inside = np.cumsum(toggles, axis=1)[:, :-1] % 2 == 1
        return slice(top, bottom), slice(left, right), inside

    def area(self) -> float:
        """The first ring's area less the others'."""
        first, *others = (_shoelace(ring) for ring in self.rings)
        return max(first - sum(others), 0.0)

    def scaled(self, x: float, y: float) -> Polygon:
        """The same with its coordinates multiplied."""
        return Polygon(tuple(ring * (x, y) for ring in self.rings))


@dataclass(frozen=True)
class Ellipse:
    """A circle or an upright ellipse.

    Attributes
    ----------
    x, y : float
        Middle.
    radius_x, radius_y : float
        Half of its width and height.
    """

    x: float
    y: float
    radius_x: float
    radius_y: float

    def window(self, height: int, width: int) -> Window | None:
        """The pixels whose centre lies inside, clipped to the image."""
        top, bottom = (int(_first_centre(self.y + s * self.radius_y, height)) for s in (-1, 1))
        left, right = (int(_first_centre(self.x + s * self.radius_x, width)) for s in (-1, 1))
        if top >= bottom or left >= right:
            return None
        y = (np.arange(top, bottom) + 0.5 - self.y) / self.radius_y
        x = (np.arange(left, right) + 0.5 - self.x) / self.radius_x
        return slice(top, bottom), slice(left, right), y[:, None] ** 2 + x[None] ** 2 < 1

    def area(self) -> float:
        """π times both radii."""
        return float(np.pi * self.radius_x * self.radius_y)

    def scaled(self, x: float, y: float) -> Ellipse:
        """The same with its coordinates multiplied."""
        return Ellipse(self.x * x, self.y * y, self.radius_x * x, self.radius_y * y)


@dataclass(frozen=True)
class Runs:
    """Pixels of a whole image by run lengths, column after column (COCO).

    Attributes
    ----------
    counts : ndarray
        Lengths of the runs, outside and inside in turn, outside first; their sum is height × width.
    height, width : int
        Size of the image.
    """

    counts: np.ndarray
    height: int
    width: int

    def window(self, height: int, width: int) -> Window | None:
        """The pixels inside; the image must have the size of the runs."""
        if (height, width) != (self.height, self.width):
            raise ValueError(f"runs of a {self.height}×{self.width} image in one of {height}×{width}")
        inside = np.repeat(np.arange(len(self.counts)) % 2 == 1, self.counts)
        return slice(0, height), slice(0, width), inside.reshape(width, height).T

    def area(self) -> float:
        """Number of pixels."""
        return float(self.counts[1::2].sum())

    def scaled(self, x: float, y: float) -> Runs:
        """Not possible: runs belong to one size."""
        raise ValueError("runs have no coordinates")


@dataclass(frozen=True)
class Bitmap:
    """Pixels of a rectangle of the image.

    Attributes
    ----------
    top, left : int
        Where its first pixel lies; may be outside the image.
    inside : ndarray
        H×W bool.
    """

    top: int
    left: int
    inside: np.ndarray

    def window(self, height: int, width: int) -> Window | None:
        """The pixels inside, clipped to the image."""
        top, left = max(self.top, 0), max(self.left, 0)
        bottom = min(self.top + self.inside.shape[0], height)
        right = min(self.left + self.inside.shape[1], width)
        if top >= bottom or left >= right:
            return None
        rows = slice(top - self.top, bottom - self.top)
        return slice(top, bottom), slice(left, right), self.inside[rows, left - self.left : right - self.left]

    def area(self) -> float:
        """Number of pixels."""
        return float(self.inside.sum())

    def scaled(self, x: float, y: float) -> Bitmap:
        """Not possible: pixels belong to one size."""
        raise ValueError("a bitmap has no coordinates")


@dataclass(frozen=True)
class Shape:
    """One annotated object.

    Attributes
    ----------
    name : str
        Its class.
    parts : tuple of Part
        What it covers is their union.
    unknown : bool
        A region that counts nowhere: COCO's crowds, labelme's ``__ignore__``, QuPath's ``Ignore*``.
    size : (int, int) or None
        Height and width of the image as the annotation file states them.
    relative : bool
        x and y are fractions of the image's width and height.
    where : str
        File and place in it, for messages.
    """

    name: str
    parts: tuple[Part, ...]
    unknown: bool = False
    size: tuple[int, int] | None = None
    relative: bool = False
    where: str = ""

    @property
    def is_background(self) -> bool:
        """Whether its class is the background by name."""
        return self.name.lower() in BACKGROUND_NAMES

    def area(self) -> float:
        """Sum of its parts' areas, in pixels or (relative) in images."""
        return sum(part.area() for part in self.parts)


def large_first(shapes: Iterable[Shape]) -> list[Shape]:
    """The shapes in the order that leaves small ones visible on large ones; equal ones stay in their order."""
    return sorted(shapes, key=lambda shape: -shape.area())


def polygon(rings: Sequence[object], where: str) -> Polygon:
    """A polygon of checked coordinates.

    Parameters
    ----------
    rings : sequence
        Each N×2 numbers.
    where : str
        For messages.

    Raises
    ------
    UserError
        Fewer than three points, or what is no number.
    """
    return Polygon(tuple(_ring(points, where) for points in rings))


def rectangle(x1: float, y1: float, x2: float, y2: float) -> Polygon:
    """An upright rectangle between two opposite corners."""
    return Polygon((np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], np.float64),))


def rasterise(
    shapes: Sequence[Shape], height: int, width: int, class_ids: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the shapes in their order, later ones over earlier ones.

    Parameters
    ----------
    shapes : sequence of Shape
        As `unet_train.data.annotations.collection.Annotations.shapes` gives them.
    height, width : int
        Size of the image.
    class_ids : mapping of str to int
        Class name → id, 0 to 254. A background (`BACKGROUND_NAMES`) is 0 unless it is listed.

    Returns
    -------
    (ndarray, ndarray)
        H×W uint8 class ids, 0 where nothing lies and 255 where it is unknown; H×W int32 object numbers from 1 in the
        order of the shapes, 0 for no object. Unknown regions and those of class 0 get no number. A shape that covers
        no pixel, or is hidden by others, leaves its number out.

    Raises
    ------
    UserError
        A shape whose file states another size than the image's, or whose class has no id.
    ValueError
        A class id that is no class.
    """
    if any(not 0 <= index < IGNORE for index in class_ids.values()):
        raise ValueError(f"class ids from 0 to {IGNORE - 1} are needed, not {dict(class_ids)}")
    classes = np.zeros((height, width), np.uint8)
    objects = np.zeros((height, width), np.int32)
    number = 0
    for shape in shapes:
        if shape.size is not None and shape.size != (height, width):
            raise UserError(
                f"{shape.where}: drawn on an image of height {shape.size[0]} and width {shape.size[1]}, but the image "
                f"is {height} high and {width} wide; use the image that was annotated"
            )
        index = IGNORE if shape.unknown else _class_id(shape, class_ids)
        is_object = index not in (0, IGNORE)
        number += is_object
        for part in shape.parts:
            window = (part.scaled(width, height) if shape.relative else part).window(height, width)
            if window is not None:
                rows, columns, inside = window
                classes[rows, columns][inside] = index
                objects[rows, columns][inside] = number if is_object else 0
    return classes, objects


def join(shapes: Sequence[Shape]) -> Shape:
    """One object of several pieces; all but `parts` is the first one's."""
    return replace(shapes[0], parts=tuple(part for shape in shapes for part in shape.parts))


def _class_id(shape: Shape, class_ids: Mapping[str, int]) -> int:
    if shape.name in class_ids:
        return class_ids[shape.name]
    if shape.is_background:
        return 0
    known = ", ".join(class_ids)
    raise UserError(f"{shape.where}: class {shape.name!r} is none of the data set's ({known})")


def _ring(points: object, where: str) -> np.ndarray:
    try:
        ring = np.asarray(points, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UserError(
            f"{where}: coordinates that are not numbers in pairs; draw the outline again"
        ) from None
    if ring.ndim == 2 and len(ring) > 1 and (ring[0] == ring[-1]).all():
        ring = ring[:-1]  # closed
    if ring.size == 0 or (ring.ndim == 2 and len(ring) < 3):
        count = len(ring) if ring.ndim == 2 else 0
        raise UserError(
            f"{where}: an outline of {count} points where 3 are the least; delete it or draw it again"
        )
    if ring.ndim != 2 or ring.shape[1] < 2 or not np.isfinite(ring).all():
        raise UserError(f"{where}: coordinates that are not numbers in pairs; draw the outline again")
    return ring[:, :2]


def _first_centre(position: np.ndarray | float, count: int) -> np.ndarray:
    """Index of the first of `count` pixels whose centre is not before a position; `count` if none is."""
    return np.clip(np.ceil(np.asarray(position) - 0.5), 0, count).astype(np.int64)


def _shoelace(ring: np.ndarray) -> float:
    x, y = (ring - ring[0]).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
