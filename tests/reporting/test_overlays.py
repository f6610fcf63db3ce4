"""Overlays: outlines in their colours at the right pixels, for every kind and size of image."""

import numpy as np
import pytest

from unet_train.reporting.overlays import (
    BOTH_COLOUR,
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    add_legend,
    class_picture,
    displayable,
    object_colour,
    object_picture,
    overlay,
    picture_size,
)


def has(picture, colour):
    return (picture == np.array(colour, np.uint8)).all(-1)


def square(size, top, left, side):
    labels = np.zeros(size, np.uint8)
    labels[top : top + side, left : left + side] = 1
    return labels


def test_outlines_lie_on_the_border_pixels_of_the_region():
    truth, prediction = square((40, 50), 5, 5, 10), square((40, 50), 20, 25, 10)
    picture = overlay(np.full((40, 50), 7, np.uint8), truth, prediction, legend=False, short_side=40)
    ring = truth.astype(bool).copy()
    ring[6:14, 6:14] = False
    np.testing.assert_array_equal(has(picture, TRUTH_COLOUR), ring)
    ring = prediction.astype(bool).copy()
    ring[21:29, 26:34] = False
    np.testing.assert_array_equal(has(picture, PREDICTION_COLOUR), ring)
    same = overlay(np.zeros((40, 50), np.uint8), truth, truth, legend=False, short_side=40)
    assert has(same, BOTH_COLOUR).sum() == 36
    assert not has(same, TRUTH_COLOUR).any()


def test_touching_objects_get_a_border_between_them():
    objects = np.zeros((10, 20), np.int32)
    objects[:, :10], objects[:, 10:] = 300, 301
    line = has(
        overlay(np.zeros((10, 20), np.uint8), objects, ignore=None, legend=False, short_side=10), TRUTH_COLOUR
    )
    assert line[:, 9:11].all()
    assert line.sum() == 20


def test_unknown_pixels_are_shaded_and_have_no_outline():
    truth = square((20, 20), 5, 5, 6)
    truth[:, 15:] = 255
    image = np.full((20, 20, 3), 200, np.uint8)
    picture = overlay(image, truth, legend=False, short_side=20)
    assert (picture[:, 15:] == 90).all()
    assert (picture[0, :15] == 200).all()
    assert overlay(image, truth).shape[0] > overlay(image, truth, legend=False).shape[0]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 1), np.uint8),
        np.full((9, 3000, 1), 5, np.uint8),
        np.random.default_rng(0).random((30, 20, 1), dtype=np.float32),
        np.random.default_rng(0).integers(0, 60000, (64, 48, 2)).astype(np.uint16),
        np.random.default_rng(0).integers(0, 255, (64, 48, 3)).astype(np.uint8),
        np.random.default_rng(0).random((64, 48, 7)) * 1e-3,
        np.full((16, 16), np.nan, np.float32),
    ],
)
def test_any_image_gives_a_picture(image):
    labels = np.zeros(image.shape[:2], np.uint8)
    picture = overlay(image, labels, labels, caption="größe — 图像 (1).tif " * 9)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert max(picture.shape) <= 2000


def test_sizes_are_brought_to_where_outlines_are_seen():
    assert picture_size((256, 256)) == (768, 768)
    assert picture_size((512, 600)) == (1024, 1200)
    assert picture_size((620, 700)) == (620, 700)
    assert picture_size((3072, 1024)) == (1536, 512)
    assert picture_size((10, 1500)) == (10, 1500), "a strip is not enlarged beyond the long side"
    # An outline survives strong reduction.
    labels = square((4000, 4000), 1001, 1003, 500)
    picture = overlay(np.zeros((4000, 4000), np.uint8), labels, legend=False, long_side=400)
    assert has(picture, TRUTH_COLOUR).sum() > 150


def test_dark_sixteen_bit_images_are_no_black_square():
    image = np.random.default_rng(0).integers(100, 400, (64, 64), dtype=np.uint16)
    shown = displayable(image)
    assert shown.min() == 0
    assert shown.max() == 255
    np.testing.assert_array_equal(shown[..., 0], shown[..., 2])
    rgb = np.random.default_rng(0).integers(0, 99, (5, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(displayable(rgb), rgb)
    with pytest.raises(ValueError, match="H×W"):
        displayable(np.zeros((2, 3, 4, 5)))
    with pytest.raises(ValueError, match="truth is"):
        overlay(image, np.zeros((3, 3), np.uint8))


def test_class_and_object_pictures():
    classes = np.array([[0, 1, 255]], np.uint8)
    assert class_picture(classes)[0].tolist() == [[0, 0, 0], [255, 255, 255], [128, 128, 128]]
    three = class_picture(np.array([[0, 1, 2]], np.uint8), 3)[0]
    assert len({tuple(c) for c in three.tolist()}) == 3
    palette = [(7, 7, 7), (0, 200, 0), (0, 0, 200)]
    own = class_picture(np.array([[0, 1, 2, 255]], np.uint8), 3, palette=palette)[0]
    assert [tuple(c) for c in own.tolist()] == [*palette, (128, 128, 128)]
    sky = class_picture(np.array([[0, 1, 2]], np.uint8), 3, background=False)[0]
    assert (sky.max(-1) > 0).all(), "without a background no class is black"
    objects = np.array([[0, 1, 70000]], np.int32)
    picture = object_picture(objects)[0]
    assert picture[0].tolist() == [0, 0, 0]
    assert tuple(picture[2]) == object_colour(70000), "one id, one colour, in every frame"
    assert object_picture(objects, np.zeros((1, 3, 1), np.float32)).shape == (1, 3, 3)
    assert len({object_colour(i) for i in range(1, 200)}) > 190


def test_the_legend_widens_a_narrow_picture_instead_of_cutting_words():
    picture = np.zeros((10, 8, 3), np.uint8)
    wide = add_legend(picture, [("prediction", (1, 2, 3)), ("truth", (4, 5, 6))], "caption")
    assert wide.shape[1] > 80
    assert has(wide, (1, 2, 3)).any()
    assert has(wide, (4, 5, 6)).any()
    assert add_legend(picture, []) is picture
