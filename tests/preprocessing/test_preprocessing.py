"""There and back by hand: NumPy and OpenCV alone."""

import math
from itertools import pairwise

import cv2
import numpy as np
import pytest

from unet_train.preprocessing.intensity import Statistics
from unet_train.preprocessing.preprocessing import Preprocessing
from unet_train.preprocessing.resampling import resample_image, resample_probabilities, working_size

SIZES = [(20, 30), (37, 53), (1, 9), (5, 1), (1, 1)]
SCALES = [1.0, 0.5, 0.3, 2.0]


def drawn(size, kind, channels=2):
    image = np.random.default_rng(sum(size)).integers(0, 256, (*size, channels), dtype=np.uint8)
    return image if kind == np.uint8 else (image / 300).astype(np.float32)


def size_by_hand(size, scale):
    """Halves up, in decimal fractions."""
    tenths = round(10 * scale)
    return tuple(max(1, (2 * length * tenths + 10) // 20) for length in size)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", SIZES)
def test_an_image_goes_to_the_working_resolution_and_its_probabilities_come_back(size, scale, kind):
    image = drawn(size, kind)
    prepared = Preprocessing("image", scale).apply(image)
    height, width = size_by_hand(size, scale)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    expected = cv2.resize(image, (width, height), interpolation=way).reshape(height, width, 2)
    np.testing.assert_array_equal(prepared.image, expected)
    assert prepared.image.dtype == kind
    unit = image / 255 if kind == np.uint8 else image.astype(np.float64)
    np.testing.assert_allclose(prepared.statistics.mean, unit.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(prepared.statistics.std, np.maximum(unit.std((0, 1)), 1 / 255), atol=1e-6)

    probabilities = np.random.default_rng(1).random((3, height, width), dtype=np.float32)
    back = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    expected = [cv2.resize(plane, size[::-1], interpolation=back) for plane in probabilities]
    result = Preprocessing("image", scale).undo(probabilities, prepared)
    assert result.shape == (3, *size)
    np.testing.assert_array_equal(result, expected)


def test_a_volume_is_stretched_by_its_own_percentiles():
    slices = [drawn((20, 30), np.uint8, 1), drawn((24, 30), np.uint8, 1) // 2]
    preprocessing = Preprocessing("volume", 0.5)
    statistics = preprocessing.volume_statistics(slices)
    low, high = np.percentile(np.concatenate([s.ravel() for s in slices]) / 255, [10, 99])
    stretched = [((np.clip(s / 255, low, high) - low) / (high - low)).astype(np.float32) for s in slices]
    prepared = preprocessing.apply(slices[1], statistics)
    expected = cv2.resize(stretched[1], (15, 12), interpolation=cv2.INTER_AREA)[..., None]
    np.testing.assert_allclose(prepared.image, expected, atol=1e-6)
    everything = np.concatenate([s.ravel() for s in stretched])
    np.testing.assert_allclose(
        (prepared.statistics.mean[0], prepared.statistics.std[0]),
        (everything.mean(), everything.std()),
        atol=1e-6,
    )
    assert not prepared.blank
    alone = preprocessing.apply(slices[1])
    assert alone.statistics == preprocessing.volume_statistics(slices[1:]), "its own volume"
    assert alone.statistics != statistics


def test_what_belongs_to_no_volume():
    image = drawn((4, 5), np.uint8)
    assert Preprocessing("image").volume_statistics([image]) is None
    fixed = Preprocessing("fixed", 1.0).apply(image)
    assert (fixed.statistics, fixed.native) == (None, (4, 5))
    assert fixed.image is image, "nothing to do"
    assert [Preprocessing(mode).per_volume for mode in ("fixed", "image", "volume", "brain")] == [0, 0, 1, 1]
    given = Statistics(None, None, (0.25, 0.5), (0.5, 0.125))
    assert Preprocessing("image").apply(image, given).statistics is given


@pytest.mark.parametrize("scale", SCALES)
def test_labels_go_where_the_image_goes(scale):
    size = (37, 53)
    labels = np.random.default_rng(0).choice(np.array([0, 5, 70000], np.int32), size)
    result = Preprocessing("image", scale).apply_labels(
        labels, Preprocessing("image").apply(drawn(size, np.uint8)).statistics
    )
    height, width = size_by_hand(size, scale)
    assert result.shape == (height, width)
    for i in range(height):
        for j in range(width):
            assert result[i, j] == labels[int((i + 0.5) * 37 / height), int((j + 0.5) * 53 / width)]


def brain() -> list[np.ndarray]:
    """A grey box, 44 × 30, on dark noise; the last slice but one shows none of it."""
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 15, (6, 60, 44, 1), np.uint8)
    volume[1:4, 8:52, 10:40] = 60
    volume[1:3, 20:36, 16:28] = 240
    return list(volume)


@pytest.mark.parametrize("scale", SCALES)
def test_a_window_is_put_back_and_around_it_is_background(scale):
    volume = brain()
    preprocessing = Preprocessing("brain", scale)
    statistics = preprocessing.volume_statistics(volume)
    prepared = preprocessing.apply(volume[1], statistics)
    side = round(256 * scale + 0.01)
    assert prepared.image.shape == (side, side, 1)
    assert (prepared.native, prepared.blank) == ((60, 44), False)
    labels = preprocessing.apply_labels(volume[1][..., 0] > 200, statistics)
    lesion = prepared.image[..., 0] > 0.6
    assert (labels != lesion).mean() < 0.02, "labels lie on the image"
    assert lesion.mean() == pytest.approx(16 * 12 / 44**2, rel=0.1)

    # A ramp across the square: known at every native pixel, box columns 10 … 39 in the middle of 44.
    ramp = np.broadcast_to((np.arange(side, dtype=np.float32) + 0.5) / side, (side, side))
    result = preprocessing.undo(np.stack([1 - ramp, ramp]), prepared)
    assert result.shape == (2, 60, 44)
    inside = np.zeros((60, 44), bool)
    inside[8:52, 10:40] = True
    assert (result[0][~inside] == 1).all()
    assert (result[1][~inside] == 0).all()
    expected = np.broadcast_to((np.arange(7, 37) + 0.5) / 44, (44, 30))
    np.testing.assert_allclose(result[1][8:52, 10:40], expected, atol=2e-3)


def test_a_slice_without_brain_is_background_whatever_is_predicted():
    volume = brain()
    preprocessing = Preprocessing("brain")
    prepared = preprocessing.apply(volume[4], preprocessing.volume_statistics(volume))
    assert prepared.blank
    result = preprocessing.undo(np.full((3, 256, 256), 1 / 3, np.float32), prepared)
    assert result.shape == (3, 60, 44)
    assert (result[0] == 1).all()
    assert (result[1:] == 0).all()


def test_story_halves_are_rounded_up_in_whole_numbers():
    """0.29 · 50 is 14.499999999999998 for a computer, and was 14 here and 15 in an exported graph."""
    assert working_size((50, 5), 0.29) == (15, 1)
    assert working_size((5, 15), 0.3) == (2, 5)
    for percent in (7, 29, 30, 35, 57, 58, 110, 115):
        for length in range(1, 400):
            expected = max(1, (2 * length * percent + 100) // 200)
            assert working_size((length, length), percent / 100) == (expected, expected)
    assert working_size((9, 10), 1 / 3) == (3, 3)
    assert working_size((9, 10), 0.3333333) == (3, 3)


def test_many_channels_and_probabilities_of_other_sizes():
    image = np.full((9, 7, 6), 200, np.uint8)
    assert (Preprocessing("fixed", 0.4).apply(image).image == 200).all()
    assert Preprocessing("fixed", 0.4).apply(image).image.shape == (4, 3, 6)
    assert resample_image(image, 1.0) is image
    assert resample_probabilities(np.ones((3, 4, 5), np.float32), (9, 8)).shape == (3, 9, 8)
    assert (resample_probabilities(np.ones((3, 9, 8), np.float32), (4, 5)) == 1).all()


def test_no_scale_and_no_image():
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="scale must be positive"):
            Preprocessing("image", scale)
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 1)), np.zeros((0, 4, 1), np.uint8)):
        with pytest.raises(ValueError, match="H×W×C"):
            Preprocessing("image", 0.5).apply(image)


# --- parts --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3, 0.77, 2.0, 1.5])
@pytest.mark.parametrize("size", [(80, 120), (81, 117), (1, 53)])
def test_a_part_is_what_the_whole_has_there(size, scale, kind):
    """From the native pixels named alone; each stretch, also of one pixel, at either end and in the middle."""
    preprocessing = Preprocessing("fixed", scale)
    image = drawn(size, kind, 5)
    whole = preprocessing.apply(image).image
    # OpenCV enlarges 8 bits in fixed point: a grey step, unless it does the part itself.
    step = 1 if kind == np.uint8 and scale == 1.5 and size != (80, 120) else 1e-5 * (kind == np.float32)
    for begin, share in ((0, 0.3), (0.4, 0.25), (0.71, 1), (0.5, 0)):
        parts = []
        for length, working in zip(size, whole.shape, strict=False):
            start = int(begin * working)
            parts.append(
                preprocessing.part(length, start, min(working, start + max(1, int(share * working))))
            )
        rows, columns = parts
        pixels = image[slice(*rows.source), slice(*columns.source)]
        result = preprocessing.apply_part(pixels, None, rows, columns)
        expected = whole[rows.start : rows.stop, columns.start : columns.stop]
        assert (result.shape, result.dtype) == (expected.shape, kind)
        np.testing.assert_allclose(result.astype(float), expected.astype(float), atol=step)


@pytest.mark.parametrize(
    ("length", "scale", "expected"),
    [
        (100_000, 1.0, (500, 600)),
        (100_000, 0.5, (1000, 1200)),
        (100_003, 0.3, (1666, 2000)),  # 500 · 100003 / 30001 = 1666.7, 600 · 100003 / 30001 = 1999.99
        (100_000, 2.0, (249, 301)),  # a neighbour more to either side
    ],
)
def test_no_more_is_read_than_a_part_needs(length, scale, expected):
    assert Preprocessing("fixed", scale).part(length, 500, 600).source == expected


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3, 0.77, 2.0, 1.5])
@pytest.mark.parametrize("size", [(80, 120), (81, 117), (1, 53)])
def test_parts_come_back_to_what_the_whole_comes_back_to(size, scale):
    preprocessing = Preprocessing("fixed", scale)
    prepared = preprocessing.apply(drawn(size, np.uint8))
    height, width = prepared.image.shape[:2]
    probabilities = np.random.default_rng(2).random((3, height, width), dtype=np.float32)
    whole = preprocessing.undo(probabilities, prepared)
    total = np.zeros_like(whole)
    cuts = [0, width // 3, width // 2, width]
    for start, stop in pairwise(cuts):
        rows, columns = preprocessing.part(size[0], 0, height), preprocessing.part(size[1], start, stop)
        part = preprocessing.undo_part(probabilities[:, :, start:stop], rows, columns)
        assert rows.target == (0, size[0])
        place = slice(*columns.target)
        weights = columns.to_native(np.ones(stop - start, np.float32))
        sure = weights > 1 - 1e-6
        np.testing.assert_allclose(part[:, :, sure], whole[:, :, place][:, :, sure], atol=1e-5)
        assert len(weights) - sure.sum() <= 2 * math.ceil(1 / scale), "at the seams alone"
        total[:, :, place] += part * weights
    np.testing.assert_allclose(total, whole, atol=1e-5, err_msg="cut without an overlap, the shares add up")
