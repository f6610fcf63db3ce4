"""The sheet: every label in its class's colour where it is, thin ones too, at a size that can be looked at."""

import numpy as np
import pytest

from unet_train.reporting.colours import class_colours
from unet_train.reporting.overlays import DARK, add_legend
from unet_train.reporting.panels import HATCH
from unet_train.reporting.sheet import (
    CAPTION,
    GAP,
    LARGEST,
    LETTERS,
    NARROWEST,
    STRONG_TINT,
    TINT,
    WIDEST,
    Labelled,
    arrangement,
    draw_labels,
    sheet,
)

GREY = 100


def labelled(size, *squares, instances=None, channels=3, caption="a.png"):
    """A grey image with squares (class, rows, columns)."""
    classes = np.zeros(size, np.uint8)
    for index, rows, columns in squares:
        classes[rows, columns] = index
    return Labelled(np.full((*size, channels), GREY, np.uint8), classes, instances, caption)


def is_colour(picture, colour):
    return (picture == np.array(colour, np.uint8)).all(-1)


def tinted(colour, tint):
    return [round(GREY * (1 - tint) + int(c) * tint) for c in colour]


@pytest.mark.parametrize("scale", [1, 4])
def test_a_square_is_outlined_in_its_colour_and_tinted_inside(scale):
    """Of an image shown as it is or enlarged, the outline is on the square's own edge, two pixels wide."""
    one = labelled((60, 80), (1, slice(10, 40), slice(20, 50)), (2, slice(45, 55), slice(60, 75)))
    colours = class_colours(3)
    picture = draw_labels(one, (60 * scale, 80 * scale), colours)
    assert picture.shape == (60 * scale, 80 * scale, 3)
    for index, top, bottom, left, right in ((1, 10, 40, 20, 50), (2, 45, 55, 60, 75)):
        top, bottom, left, right = (v * scale for v in (top, bottom, left, right))
        edge = np.zeros(picture.shape[:2], bool)
        edge[top:bottom, left:right] = True
        inside = np.zeros_like(edge)
        inside[top + 2 : bottom - 2, left + 2 : right - 2] = True
        edge[top + 1 : bottom - 1, left + 1 : right - 1] = False
        assert is_colour(picture, colours[index])[edge].all()
        assert is_colour(picture, tinted(colours[index], STRONG_TINT))[inside].all()
    outside = np.ones(picture.shape[:2], bool)
    outside[8 * scale : 57 * scale, 18 * scale : 77 * scale] = False
    assert is_colour(picture, (GREY, GREY, GREY))[outside].all()


def test_one_class_is_tinted_lightly():
    one = labelled((60, 80), (1, slice(10, 50), slice(20, 70)))
    colours = class_colours(2)
    assert picture_at(draw_labels(one, (60, 80), colours), 30, 40) == tinted(colours[1], TINT)


def picture_at(picture, row, column):
    return picture[row, column].tolist()


def test_a_class_0_that_is_a_class_is_drawn():
    one = labelled((60, 80), (1, slice(10, 50), slice(20, 70)))
    colours = class_colours(2, background=False)
    picture = draw_labels(one, (60, 80), colours, background=False)
    assert picture_at(picture, 2, 2) == tinted(colours[0], STRONG_TINT)
    assert picture_at(picture, 30, 40) == tinted(colours[1], STRONG_TINT)


@pytest.mark.parametrize("size", [(40, 60), (300, 400), (2000, 3000), (1999, 1234)])
def test_objects_one_pixel_wide_are_seen_at_any_size(size):
    one = labelled(size, (1, slice(None), size[1] // 3), (2, size[0] // 2, size[1] - 2))
    colours = class_colours(3)
    picture = draw_labels(one, (200, 300), colours)
    columns = is_colour(picture, colours[1]).any(axis=0)
    assert 1 <= columns.sum() <= 14
    assert abs(np.flatnonzero(columns).mean() / picture.shape[1] - 1 / 3) < 0.03
    assert is_colour(picture, colours[1]).any(axis=1).all(), "the line goes from top to bottom"
    assert is_colour(picture, colours[2]).any()


def test_objects_that_touch_are_seen_apart():
    square = (1, slice(10, 50), slice(20, 60))
    numbers = np.zeros((60, 80), np.int32)
    numbers[10:50, 20:40], numbers[10:50, 40:60] = 7, 300
    colours = class_colours(2)
    together = is_colour(draw_labels(labelled((60, 80), square), (60, 80), colours), colours[1])
    apart = is_colour(
        draw_labels(labelled((60, 80), square, instances=numbers), (60, 80), colours), colours[1]
    )
    assert not together[20:40, 36:45].any()
    assert apart[20:40, 39:41].all()


def test_the_unknown_is_hatched_and_named():
    one = labelled((60, 80), (255, slice(0, 30), slice(None)))
    picture = draw_labels(one, (60, 80), class_colours(2))
    for stripe in HATCH:
        assert is_colour(picture, stripe)[:30].any()
        assert not is_colour(picture, stripe)[31:].any()
    known, unknown = (
        sheet(lambda _, image=image: image, [(60, 80)], class_names=["background", "cell"])
        for image in (labelled((60, 80)), one)
    )
    square = is_colour(unknown[-30:], HATCH[1])
    assert square.sum() > 150
    assert is_colour(known[-30:], HATCH[1]).sum() < 20


@pytest.mark.parametrize(
    "sizes",
    [
        [(96, 96)],
        [(96, 96)] * 7,
        [(2000, 2400)] * 12,
        [(520, 696)] * 12,
        [(300, 9000)] * 12,
        [(9000, 300)] * 5,
        [(10, 3000), (3000, 10), (1, 1)],
    ],
)
def test_a_sheet_can_be_looked_at(sizes):
    columns, (height, width) = arrangement(sizes)
    assert max(height, width) <= LARGEST
    assert columns <= len(sizes)
    names = ["background", "cell"]
    picture = sheet(lambda i: labelled(sizes[i], channels=1), sizes, class_names=names, title="a set")
    assert picture.dtype == np.uint8
    assert max(picture.shape[1] - WIDEST, 0) <= columns * NARROWEST
    assert picture.shape[0] <= 1400
    assert is_colour(picture, (128, 128, 128)).any(), "a flat image is shown as middle grey"


def test_of_a_dozen_none_is_smaller_than_can_be_seen():
    for size in ((512, 512), (520, 696), (360, 480), (2000, 2400)):
        columns, (height, width) = arrangement([size] * 12)
        assert min(height, width) >= 280
        assert 12 % columns == 0


def test_each_image_has_its_place_its_name_and_its_colour():
    """Also under several threads; an image that cannot be read leaves its place empty."""
    size, names, colours = (100, 100), [f"im_{i}.png" for i in range(6)], class_colours(7)

    def read(number):
        if number == 4:
            return None
        return labelled(size, (number + 1, slice(20, 80), slice(20, 80)), caption=names[number])

    words = ["background", *(f"class {i}" for i in range(6))]
    picture = sheet(read, [size] * 6, class_names=words, title="t", workers=3)
    columns, (height, width) = arrangement([size] * 6)
    top = add_legend(np.zeros((0, picture.shape[1], 3), np.uint8), [], "t").shape[0]
    for i in range(6):
        above = top + (i // columns) * (height + CAPTION + GAP)
        left = (i % columns) * (width + GAP)
        cell = picture[above : above + height, left : left + width]
        caption = picture[above + height : above + height + CAPTION, left : left + width]
        if i == 4:
            assert is_colour(cell, (DARK, DARK, DARK)).all()
            continue
        found = [index for index in range(1, 7) if is_colour(cell, colours[index]).any()]
        assert found == [i + 1]
        expected = add_legend(np.zeros((0, width, 3), np.uint8), [], names[i], height=LETTERS)
        np.testing.assert_array_equal(caption, expected)
    legend = picture[top + 2 * (height + CAPTION) + GAP :]
    assert all(is_colour(legend, colour).sum() > 150 for colour in colours[1:])


def test_sixteen_bits_are_no_black_square():
    image = np.zeros((50, 50, 1), np.float32)
    image[:, 25:] = 0.01
    one = Labelled(image, np.zeros((50, 50), np.uint8), None, "a")
    picture = draw_labels(one, (50, 50), class_colours(2))
    assert (picture.min(), picture.max()) == (0, 255)


def test_labels_of_another_size_are_refused():
    one = Labelled(np.zeros((5, 5, 3), np.uint8), np.zeros((5, 4), np.uint8), None, "a")
    with pytest.raises(ValueError, match=r"\(5, 4\).*\(5, 5\)"):
        draw_labels(one, (50, 50), class_colours(2))
