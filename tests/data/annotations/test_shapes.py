"""Rasterisation against hand-drawn pixels, matplotlib's paths and pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from pycocotools import mask as coco_mask
from skimage.draw import polygon as skimage_polygon

from unet_train.data.annotations.shapes import (
    Bitmap,
    Ellipse,
    Runs,
    Shape,
    join,
    large_first,
    polygon,
    rasterise,
    rectangle,
)
from unet_train.errors import UserError


def drawn(text: str) -> np.ndarray:
    """A picture of digits, one line per row."""
    return np.array([[int(c) for c in line.strip().replace(".", "0")] for line in text.split()])


def inside(part, height: int, width: int) -> np.ndarray:
    classes, _ = rasterise([Shape("a", (part,))], height, width, {"a": 1})
    return classes == 1


def centres_inside(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """By matplotlib, which asks for each pixel's centre whether it is inside (winding rule)."""
    y, x = np.mgrid[:height, :width] + 0.5
    return Outline(points).contains_points(np.c_[x.ravel(), y.ravel()]).reshape(height, width)


def even_odd(rings, height: int, width: int) -> np.ndarray:
    """Crossing number of a ray to the right, by hand, pixel by pixel."""
    result = np.zeros((height, width), bool)
    for row in range(height):
        for column in range(width):
            x, y, count = column + 0.5, row + 0.5, 0
            for ring in rings:
                for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
                    if (y1 <= y) != (y2 <= y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                        count += 1
            result[row, column] = count % 2
    return result


def star(rng: np.random.Generator, middle: tuple[float, float], radius: float) -> np.ndarray:
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 12)))
    radii = radius * rng.uniform(0.3, 1, len(angles))
    return np.stack([middle[0] + radii * np.cos(angles), middle[1] + radii * np.sin(angles)], axis=1)


def test_a_rectangle_covers_its_pixels_and_no_border():
    """From corner to corner: 3 to 6 is the columns 3, 4, 5; skimage, OpenCV and Pillow would draw 6 too."""
    part = polygon([[(3, 1), (6, 1), (6, 3), (3, 3)]], "here")
    expected = drawn("........ ...111.. ...111.. ........")
    assert (inside(part, 4, 8) == (expected == 1)).all()
    assert (inside(rectangle(6, 3, 3, 1), 4, 8) == (expected == 1)).all()


def test_a_triangle():
    part = polygon([[(0, 0), (6, 0), (0, 6)]], "here")  # centres with x + y < 6; on the edge is outside
    assert (inside(part, 6, 6) == (drawn("11111. 1111.. 111... 11.... 1..... ......") == 1)).all()


@pytest.mark.parametrize("seed", range(40))
def test_random_polygons_against_matplotlib(seed):
    rng = np.random.default_rng(seed)
    points = star(rng, (14.3, 11.7), 16)  # some of it outside the image
    expected = centres_inside(points, 24, 28)
    assert expected.any()
    assert (inside(polygon([points], "here"), 24, 28) == expected).all()
    assert (inside(polygon([points[::-1]], "here"), 24, 28) == expected).all()


@pytest.mark.parametrize("seed", range(10))
def test_rings_cut_holes_by_the_even_odd_rule(seed):
    rng = np.random.default_rng(seed)
    rings = [rng.uniform(-2, 14, (5, 2)), star(rng, (6, 6), 5)]  # the first crosses itself
    assert (inside(polygon(rings, "here"), 12, 12) == even_odd(rings, 12, 12)).all()


def test_a_hole():
    part = polygon([[(0, 0), (6, 0), (6, 5), (0, 5)], [(2, 1), (4, 1), (4, 4), (2, 4)]], "here")
    expected = drawn("111111. 11..11. 11..11. 11..11. 111111. .......")
    assert (inside(part, 6, 7) == (expected == 1)).all()


@pytest.mark.parametrize("seed", range(20))
def test_polygons_that_share_edges_share_no_pixel_and_leave_none_out(seed):
    """Cut a rectangle by a broken line through pixel centres: each pixel belongs to one side."""
    rng = np.random.default_rng(seed)
    cut = np.stack([np.linspace(0, 12, 7), rng.integers(2, 18, 7) / 2], axis=1)
    above = polygon([[*cut, (12, 0), (0, 0)]], "here")
    below = polygon([[*cut[::-1], (0, 10), (12, 10)]], "here")
    one, other = (inside(part, 10, 12) for part in (above, below))
    assert (one ^ other).all()


def test_centres_agree_with_pycocotools_where_skimage_does_not():
    """The convention of this module keeps the area, as pycocotools does, and agrees with it best."""
    rng = np.random.default_rng(3)
    scores = {"here": [], "skimage": []}
    areas = []
    for _ in range(100):
        points = star(rng, (20.3, 19.6), 14)
        runs = coco_mask.frPyObjects([points.ravel().tolist()], 40, 40)
        theirs = coco_mask.decode(coco_mask.merge(runs)).astype(bool)
        if theirs.sum() < 30:
            continue
        border = np.zeros((40, 40), bool)
        border[skimage_polygon(points[:, 1], points[:, 0], (40, 40))] = True
        ours = inside(polygon([points], "here"), 40, 40)
        for name, mask in (("here", ours), ("skimage", border)):
            scores[name].append((mask & theirs).sum() / (mask | theirs).sum())
        areas.append(ours.sum() / theirs.sum())
    assert np.mean(scores["here"]) > 0.95 > 0.9 > np.mean(scores["skimage"])
    assert abs(np.mean(areas) - 1) < 0.01


def test_a_circle_against_the_distance_of_each_centre():
    y, x = np.mgrid[:20, :24] + 0.5
    expected = (x - 9.2) ** 2 / 49 + (y - 4.1) ** 2 / 36 < 1  # cut by the upper border
    assert (inside(Ellipse(9.2, 4.1, 7, 6), 20, 24) == expected).all()


@pytest.mark.parametrize(
    "part",
    [
        rectangle(-9, -9, -2, 30),
        rectangle(20, 2, 30, 4),
        Ellipse(-20, 3, 4, 4),
        Ellipse(3, 3, 0, 0),
        Bitmap(30, 2, np.ones((2, 2), bool)),
        Bitmap(-2, 2, np.ones((2, 2), bool)),
    ],
)
def test_what_lies_outside_covers_nothing(part):
    assert not inside(part, 10, 12).any()


def test_what_lies_partly_outside_is_clipped():
    assert (inside(rectangle(-5, -5, 2, 1), 3, 4) == (drawn("11.. .... ....") == 1)).all()
    assert (inside(rectangle(2, 1, 99, 99), 3, 4) == (drawn(".... ..11 ..11") == 1)).all()
    pixels = np.array([[1, 0], [1, 1]], bool)
    assert (inside(Bitmap(-1, 3, pixels), 3, 4) == (drawn("...1 .... ....") == 1)).all()


def test_runs_go_down_the_columns():
    runs = Runs(np.array([1, 2, 3, 3, 3]), 3, 4)
    assert (inside(runs, 3, 4) == (drawn("..1. 1.1. 1.1.") == 1)).all()
    assert runs.area() == 5


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_areas_are_those_of_the_pixels_about(data):
    number = st.integers(0, 40)
    x1, x2 = sorted(data.draw(st.tuples(number, number)))
    y1, y2 = sorted(data.draw(st.tuples(number, number)))
    part = rectangle(x1, y1, x2, y2)
    assert part.area() == inside(part, 40, 40).sum() == (x2 - x1) * (y2 - y1)


def test_later_shapes_lie_on_earlier_ones_and_take_the_next_number():
    shapes = [
        Shape("big", (rectangle(0, 0, 6, 3),)),
        Shape("small", (rectangle(1, 1, 3, 2), rectangle(4, 1, 5, 2))),  # two parts, one object
        Shape("crowd", (rectangle(5, 0, 6, 1),), unknown=True),
        Shape("small", (rectangle(0, 2, 1, 3),)),
    ]
    classes, objects = rasterise(shapes, 3, 7, {"big": 1, "small": 2})
    assert classes.dtype == np.uint8
    assert objects.dtype == np.int32
    assert (np.where(classes == 255, 9, classes) == drawn("111119. 122121. 211111.")).all()
    assert (objects == drawn("11111.. 122121. 311111.")).all()


def test_overlapping_parts_are_united():
    shape = Shape("a", (rectangle(0, 0, 3, 1), rectangle(2, 0, 5, 1)))
    classes, _ = rasterise([shape], 1, 6, {"a": 1})
    assert (classes == drawn("11111.")).all()


def test_large_ones_first():
    """So that a small object on a large one stays visible; equal ones stay in their order."""
    shapes = [
        Shape(name, (rectangle(0, 0, size, size),)) for name, size in [("a", 2), ("b", 5), ("c", 2), ("d", 3)]
    ]
    assert [shape.name for shape in large_first(shapes)] == ["b", "d", "a", "c"]
    holed = Shape("e", (polygon([[(0, 0), (6, 0), (6, 6), (0, 6)], [(1, 1), (5, 1), (5, 5), (1, 5)]], ""),))
    assert holed.area() == 20
    assert [shape.name for shape in large_first([holed, shapes[1]])] == ["b", "e"]


def test_a_background_is_drawn_as_0():
    shapes = [
        Shape("cell", (rectangle(0, 0, 5, 1),)),
        Shape("_background_", (rectangle(1, 0, 3, 1),)),
        Shape("cell", (rectangle(4, 0, 5, 1),)),
    ]
    classes, objects = rasterise(shapes, 1, 5, {"cell": 1})
    assert (classes == drawn("1..11")).all()
    assert (objects == drawn("1..12")).all()


def test_relative_coordinates_go_by_the_image():
    shape = Shape("a", (rectangle(0.25, 0.5, 0.75, 1),), relative=True)
    classes, _ = rasterise([shape], 4, 8, {"a": 1})
    assert (classes == drawn("........ ........ ..1111.. ..1111..")).all()


def test_no_shapes():
    classes, objects = rasterise([], 3, 4, {})
    assert classes.shape == objects.shape == (3, 4)
    assert not classes.any()
    assert not objects.any()


def test_pieces_are_joined():
    whole = join([Shape("a", (rectangle(0, 0, 1, 1),), where="x"), Shape("a", (rectangle(2, 0, 3, 1),))])
    assert whole.where == "x"
    assert (rasterise([whole], 1, 3, {"a": 1})[1] == drawn("1.1")).all()


def test_another_size_than_the_image_s_is_refused():
    shape = Shape("a", (rectangle(0, 0, 1, 1),), size=(30, 40), where="set.json: annotation id 7")
    with pytest.raises(UserError, match=r"set\.json.*7.*30.*40.*40.*30"):
        rasterise([shape], 40, 30, {"a": 1})


def test_a_class_without_id_is_refused():
    with pytest.raises(UserError, match=r"x\.json.*'dog'.*cat"):
        rasterise([Shape("dog", (rectangle(0, 0, 1, 1),), where="x.json")], 4, 4, {"cat": 1})
    with pytest.raises(ValueError, match="255"):
        rasterise([], 4, 4, {"cat": 255})


@pytest.mark.parametrize("points", [[], [(0, 0)], [(0, 0), (1, 1)], [(0, 0), (3, 3), (0, 0)]])
def test_fewer_than_three_points_are_refused(points):
    with pytest.raises(UserError, match=r"x\.json: shapes\[3\].* 3 "):
        polygon([points], "x.json: shapes[3]")


@pytest.mark.parametrize(
    "points", [[(0, 0), (1, 1), (1, "a")], [(0, 0), (1, 1), (1,)], [1, 2, 3], [(0, 0), (1, 1), (1, np.nan)]]
)
def test_what_is_no_coordinate_is_refused(points):
    with pytest.raises(UserError, match=r"x\.json"):
        polygon([points], "x.json")
