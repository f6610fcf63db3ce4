"""Range and percentiles against NumPy on all pixels together, and which range of 16 bits would fit."""

import numpy as np
import pytest

from unet_train.data.intensities import Intensities, histogram
from unet_train.data.io.images import scale_pixels

RNG = np.random.default_rng(0)


def described(*stored):
    found = Intensities()
    for array in stored:
        found.add(histogram(scale_pixels(array)))
    return found


def by_numpy(values):
    low, high = np.percentile(values, [0.1, 99.9], method="inverted_cdf")
    return {"low": values.min(), "high": values.max(), "percentile_0.1": low, "percentile_99.9": high}


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 200), (np.uint16, 4000), (np.uint16, 65536)])
def test_the_files_values(dtype, top):
    images = [RNG.integers(3, top, (31 + i, 40, 3)).astype(dtype) for i in range(3)]
    found = described(*images).describe()
    assert found == {"dtype": np.dtype(dtype).name} | by_numpy(np.concatenate([i.ravel() for i in images]))


def test_float_images_are_told_in_0_to_1():
    images = [RNG.random((50, 60, 1), np.float32) for _ in range(2)]
    found = described(*images).describe()
    assert found.pop("dtype") == "float32"
    expected = by_numpy(np.stack(images))
    assert found == pytest.approx(expected, abs=1 / 65535)


def test_eight_bits_stored_as_float_are_not_sixteen_bits():
    image = (RNG.integers(0, 90, (20, 20, 1)) / 255).astype(np.float32)
    assert described(image).describe()["dtype"] == "float32"
    assert described(image).unused_range() is None


def test_a_mixture_names_both_and_is_told_in_0_to_1():
    found = described(np.full((4, 4, 1), 51, np.uint8), np.full((4, 4, 1), 1000, np.uint16))
    assert found.describe()["dtype"] == "uint8, uint16"
    assert (found.describe()["low"], found.describe()["high"]) == pytest.approx((1000 / 65535, 0.2))
    assert found.unused_range() is None


def test_a_large_image_is_counted_whole():
    image = RNG.integers(0, 256, (700, 900, 1), dtype=np.uint8)
    image[-1, -1] = 255
    np.testing.assert_array_equal(histogram(image).counts, np.bincount(image.ravel(), minlength=256))
    deep = scale_pixels(RNG.integers(0, 65536, (700, 900, 1)).astype(np.uint16))
    expected = np.bincount(np.rint(deep.ravel() * 65535.0).astype(int), minlength=65536)
    np.testing.assert_array_equal(histogram(deep).counts, expected)
    assert histogram(deep).dtype == "uint16"
    deep[-1, -1] += 0.3 / 65535 if deep[-1, -1] < 0.5 else -0.3 / 65535
    assert histogram(deep).dtype == "float32"


def test_no_image():
    assert Intensities().describe() is None
    assert Intensities().unused_range() is None


@pytest.mark.parametrize(
    ("low", "high", "fitting"),
    [
        (0, 4095, (0, 4095)),
        (900, 3000, (0, 4095)),
        (0, 4096, (0, 8191)),
        (5, 100, (0, 255)),
        (10, 1023, (0, 1023)),
        (0, 65535, None),
        (0, 40000, None),
        (40000, 44000, (40000, 44000)),
    ],
)
def test_the_range_that_fits_sixteen_bits(low, high, fitting):
    image = np.full((50, 50, 1), low, np.uint16)
    image[25:] = high
    assert described(image).unused_range() == fitting


def test_a_hot_pixel_does_not_hide_a_narrow_range():
    image = np.full((100, 100, 1), 300, np.uint16)
    image[50:] = 4000
    image[0, 0] = 65535
    assert described(image).unused_range() == (300, 4000)


@pytest.mark.parametrize("declared", [(0, 4095), (100, 3000), (0, 255)])
def test_a_declared_range_is_not_questioned(declared):
    image = RNG.integers(0, 200, (40, 40, 1)).astype(np.uint16)
    found = Intensities()
    found.add(histogram(scale_pixels(image, declared)))
    assert found.unused_range() is None


def test_eight_bits_are_never_questioned():
    assert described(np.arange(20, dtype=np.uint8).reshape(4, 5, 1)).unused_range() is None
