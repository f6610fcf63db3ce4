"""Panels: each class in its colour, errors where they are, nothing where the truth is unknown."""

import cv2
import numpy as np
import pytest

from unet_train.reporting.colours import class_colours
from unet_train.reporting.overlays import add_legend
from unet_train.reporting.panels import (
    BACKGROUND_ERROR,
    FILL,
    GAP,
    HATCH,
    HIGHEST,
    RIGHT_SHADE,
    WIDEST,
    arrangement,
    panels,
)

NAMES = ["ground", "tree", "car", "road"]
TRUTH = np.array([[0, 0, 1, 1], [2, 2, 255, 3], [2, 255, 3, 3]], np.uint8)
PREDICTION = np.array([[0, 1, 1, 2], [2, 0, 1, 3], [2, 0, 2, 3]], np.uint8)
GREY = 100
SIDE = 107  # 320 over 3 rows, rounded up: each pixel becomes so large a square


def cells(count=4, **kwargs):
    """The panels of a grey image, each as 3×4 squares (the set of colours in each), and the whole picture."""
    image = np.full((3, 4, 3), GREY, np.uint8)
    picture = panels(image, class_names=NAMES, **kwargs)
    height, width = 3 * SIDE, 4 * SIDE
    columns, size = arrangement((3, 4), count)
    assert (columns, size) == (min(count, 2), (height, width))
    title = add_legend(picture[:0], [], "image").shape[0]
    found = []
    for i in range(count):
        top = (i // columns) * (title + height) + title
        left = (i % columns) * (width + GAP)
        panel = picture[top : top + height, left : left + width]
        squares = panel.reshape(3, SIDE, 4, SIDE, 3).swapaxes(1, 2).reshape(3, 4, -1, 3)
        found.append(
            [[{tuple(c) for c in np.unique(square, axis=0).tolist()} for square in row] for row in squares]
        )
    return found, picture


def legend_of(picture):
    """What stands under the panels."""
    title = add_legend(picture[:0], [], "image").shape[0]
    return picture[2 * (title + 3 * SIDE) :]


def has(picture, colour):
    """Whether the square of this colour is there; the letters have a pixel of many a grey."""
    return (picture == np.array(colour, np.uint8)).all(-1).sum() > 150


def filled(colour):
    return tuple(round(GREY * (1 - FILL) + c * FILL) for c in colour)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("palette", [None, [(9, 9, 9), (200, 0, 0), (0, 200, 0), (0, 0, 200)]])
def test_every_pixel_of_every_panel(background, palette):
    colours = [tuple(c) for c in class_colours(4, palette, background=background).tolist()]
    (image, truth, prediction, errors), _ = cells(
        truth=TRUTH, prediction=PREDICTION, background=background, palette=palette
    )
    dim = (round(GREY * RIGHT_SHADE),) * 3
    for place in np.ndindex(3, 4):
        row, column = place
        true, predicted = int(TRUTH[place]), int(PREDICTION[place])
        assert image[row][column] == {(GREY,) * 3}
        plain = [(GREY,) * 3] if background else [filled(colours[0])]
        fills = plain + [filled(c) for c in colours[1:]]
        assert truth[row][column] == (set(HATCH) if true == 255 else {fills[true]})
        assert prediction[row][column] == {fills[predicted]}
        if true == 255:
            assert errors[row][column] == set(HATCH), "what is not known is no error"
        elif true == predicted:
            assert errors[row][column] == {dim}
        else:
            shown = BACKGROUND_ERROR if background and true == 0 else colours[true]
            assert errors[row][column] == {shown}


def test_the_legend_names_classes_errors_on_the_background_and_the_unknown():
    colours = class_colours(4)
    _, picture = cells(truth=TRUTH, prediction=PREDICTION)
    legend = legend_of(picture)
    assert all(has(legend, colour) for colour in colours[1:])
    assert not has(legend, colours[0]), "the background is no entry"
    assert has(legend, BACKGROUND_ERROR)
    assert has(legend, HATCH[1])
    _, picture = cells(truth=np.minimum(TRUTH, 3), prediction=np.minimum(TRUTH, 3))
    legend = legend_of(picture)
    assert not has(legend, BACKGROUND_ERROR)
    assert not has(legend, HATCH[1])
    first = class_colours(4, background=False)[3]
    _, picture = cells(truth=TRUTH, prediction=PREDICTION, background=False)
    assert has(legend_of(picture), first)
    assert not has(legend_of(picture), BACKGROUND_ERROR)


def test_without_truth_there_are_image_and_prediction():
    (_, prediction), picture = cells(2, prediction=PREDICTION)
    assert prediction[0][1] == {filled(class_colours(4)[1])}
    assert picture.shape[1] == 2 * 4 * SIDE + GAP


def test_of_many_classes_the_legend_names_the_largest_that_occur():
    names = [f"class {i}" for i in range(200)]
    ids = np.zeros((30, 40), np.uint8)
    ids[:, :30] = np.repeat(np.arange(100, 130)[:, None], 30, axis=1)
    ids[0] = 7
    few = np.where(ids > 110, 0, ids).astype(np.uint8)
    colours = class_colours(200)
    image = np.full((30, 40), GREY, np.uint8)
    legend = panels(image, None, few, class_names=names)[-120:]
    shown = {i for i in range(200) if has(legend, colours[i]) and i}
    assert shown == {7, *range(101, 111)}
    legend = panels(image, None, ids, class_names=names)[-120:]
    shown = {i for i in range(200) if has(legend, colours[i]) and i}
    assert len(shown) == 20
    assert 7 in shown, "the largest"


@pytest.mark.parametrize(
    ("size", "columns"),
    [((360, 480), 2), ((512, 512), 2), ((900, 400), 4), ((100, 2000), 1), ((4000, 6000), 2), ((1, 1), 2)],
)
def test_the_whole_picture_can_be_looked_at(size, columns):
    found, (height, width) = arrangement(size, 4)
    assert found == columns
    rows = 4 // columns
    assert width * columns + GAP * (columns - 1) <= WIDEST
    assert height * rows + GAP * (rows - 1) <= HIGHEST
    assert width / height == pytest.approx(size[1] / size[0], rel=0.1)


@pytest.mark.parametrize("shape", [(1500, 1100, 3), (3, 900, 1), (1200, 2, 4), (1, 1, 1)])
def test_any_image_gives_a_picture_with_its_titles(shape):
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    ids = np.full(shape[:2], 2, np.uint8)
    picture = panels(image, ids, ids, class_names=NAMES, caption="größe — 图像 (1).tif " * 40)
    assert picture.dtype == np.uint8
    assert picture.shape[1] <= 2000
    title = cv2.cvtColor(picture[:24, :60], cv2.COLOR_RGB2GRAY)
    assert title.max() > 200


def test_wrong_maps_are_refused():
    image = np.zeros((3, 4), np.uint8)
    with pytest.raises(ValueError, match="prediction is"):
        panels(image, TRUTH, PREDICTION[:2], class_names=NAMES)
    with pytest.raises(ValueError, match=r"truth .*class 3.* 3 names"):
        panels(image, TRUTH, PREDICTION, class_names=NAMES[:3])
