"""The drawn data set: deterministic, exact, hard for a threshold, quick to draw."""

import pickle

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from unet_train.data.layouts.demo import DemoSource
from unet_train.data.records import Source
from unet_train.demo.drawing import draw_demo_image
from unet_train.errors import UserError


@pytest.fixture(scope="module")
def pictures() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_demo_image(seed, index) for seed in (0, 1) for index in range(8)]


def test_no_threshold_of_otsu_finds_the_cells(pictures):
    for image, instances in pictures:
        cells, bright = instances > 0, image > threshold_otsu(image)
        for guess in (bright, ~bright):
            assert (guess & cells).sum() / (guess | cells).sum() < 0.6


def test_images_are_functions_of_seed_index_and_size(pictures):
    again = draw_demo_image(1, 3)
    np.testing.assert_array_equal(again[0], pictures[8 + 3][0])
    np.testing.assert_array_equal(again[1], pictures[8 + 3][1])
    assert len({image.tobytes() for image, _ in pictures}) == len(pictures)
    for size in [(32, 32), (33, 200), (300, 40)]:
        image, instances = draw_demo_image(5, 0, size)
        assert image.shape == instances.shape == size
    with pytest.raises(ValueError, match="at least 32"):
        draw_demo_image(0, 0, (31, 64))


def test_masks_hold_whole_cells_of_varied_shape_some_touching(pictures):
    touching, areas, shares = 0, [], []
    for image, instances in pictures:
        assert image.dtype == np.uint8
        assert instances.dtype == np.int32
        labels = np.unique(instances)
        np.testing.assert_array_equal(labels, np.arange(len(labels)))
        for label in labels[1:]:
            own = instances == label
            assert ndimage.label(own)[1] == 1, "a cell in two pieces"
            ring = ndimage.binary_dilation(own) & ~own
            touching += bool((instances[ring] > 0).any())
            areas.append(own.sum())
        shares.append((instances > 0).mean())
    assert touching / len(areas) > 0.3
    assert min(areas) >= 60
    assert np.std(areas) / np.mean(areas) > 0.3
    assert min(shares) > 0.1
    assert max(shares) < 0.6


def test_source_follows_the_protocol():
    source = DemoSource(images=3, test_images=2, size=48, seed=4)
    assert isinstance(source, Source)
    records = source.records()
    assert [r.key for r in records] == ["01/000", "01/001", "01/002", "02/000", "02/001"]
    assert [r.part for r in records] == [None, None, None, "test", "test"]
    pixels = [pickle.loads(pickle.dumps(source)).read_image(r) for r in records]
    assert len({image.tobytes() for image in pixels}) == 5, "train and test must not share a picture"
    for record, image in zip(records, pixels, strict=True):
        truth = source.read_truth(record)
        assert image.shape == (48, 48, source.channels)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(truth.classes, truth.instances > 0)
        assert truth.classes.dtype == np.uint8
        np.testing.assert_array_equal(image, source.read_image(record))
    more = DemoSource(images=9, test_images=2, size=48, seed=4)
    np.testing.assert_array_equal(more.read_image(more.records()[-1]), pixels[-1])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"size": 20}, "size"),
        ({"images": 0}, "images"),
        ({"seed": -1}, "seed"),
        ({"classes": ["a"]}, "classes"),
    ],
)
def test_source_refuses_nonsense(arguments, word):
    with pytest.raises((ValueError, UserError), match=f"{word}="):
        DemoSource(**arguments)
