"""Statistics of images and volumes against NumPy written out by hand."""

import numpy as np
import pytest

from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.records import Record
from unet_train.preprocessing.intensity import SMALLEST_STD, image_statistics, rescale, volume_statistics


def published(volume: np.ndarray) -> np.ndarray:
    """Step 4 of the published preprocessing, over a slices×H×W×C volume."""
    low, high = np.percentile(volume, 10), np.percentile(volume, 99)
    volume = (np.clip(volume, low, high) - low) / (high - low)
    return (volume - volume.mean((0, 1, 2))) / volume.std((0, 1, 2))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_volume_is_normalised_as_published(dtype, channels):
    rng = np.random.default_rng(1)
    volume = rng.gamma(2.0, 20.0, (4, 9, 7, channels)).clip(0, 255).astype(np.uint8)
    if dtype == "float32":
        volume = (volume / 255).astype(np.float32)
    expected = published(volume / 255.0 if dtype == "uint8" else volume.astype(np.float64))

    statistics = volume_statistics(list(volume))
    scaled = np.stack([rescale(image, statistics) for image in volume])

    assert scaled.dtype == np.float32
    assert scaled.min() == 0
    assert scaled.max() == pytest.approx(1)
    np.testing.assert_allclose((scaled - statistics.mean) / statistics.std, expected, atol=2e-5)


def test_image_statistics_equal_numpy_and_leave_the_image_alone():
    image = np.random.default_rng(2).integers(0, 256, (31, 20, 3), dtype=np.uint8)
    statistics = image_statistics(image)
    np.testing.assert_allclose(statistics.mean, (image / 255).mean((0, 1)))
    np.testing.assert_allclose(statistics.std, (image / 255).std((0, 1)))
    assert rescale(image, statistics) is image
    assert rescale(image, None) is image
    same = image_statistics((image / 255).astype(np.float32))
    np.testing.assert_allclose(same.mean, statistics.mean, atol=1e-6)
    np.testing.assert_allclose(same.std, statistics.std, atol=1e-6)


@pytest.mark.parametrize("value", [np.uint8(7), np.float32(0.5)])
def test_a_constant_image_stays_finite(value):
    image = np.full((4, 4, 1), value)
    assert image_statistics(image).std == (SMALLEST_STD,)
    statistics = volume_statistics([image])
    assert np.isfinite(rescale(image, statistics)).all()


def test_volumes_of_mixed_images_are_refused():
    grey, colour = np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="channels"):
        volume_statistics([grey, colour])
    with pytest.raises(ValueError, match="float32"):
        volume_statistics([grey, grey.astype(np.float32)])
    with pytest.raises(ValueError, match="without images"):
        volume_statistics([])


class TwoPatients:
    """A source of two groups whose second is twice as bright."""

    name, notes, classes, channels, margin = "two", [], ("background", "x"), 1, 0
    reads = 0

    def records(self):
        return [Record(f"{g}/{i}", "", group=g, order=i) for g in "ab" for i in range(3)]

    def read_image(self, record):
        self.reads += 1
        base = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
        return base * (1 if record.group == "a" else 2) + np.uint8(record.order)


def test_normaliser_reads_a_group_once_and_keeps_groups_apart():
    source = TwoPatients()
    normaliser = Normaliser(source, "volume")
    records = source.records()
    first = [normaliser.statistics(record) for record in records]
    assert source.reads == 6
    assert first[0] == first[2] != first[3]
    assert first[3] == volume_statistics([source.read_image(record) for record in records[3:]])
    assert Normaliser(source, "fixed").statistics(records[0]) is None
    assert Normaliser(source, "image").statistics(records[1]) == image_statistics(
        source.read_image(records[1])
    )
    with pytest.raises(ValueError, match=r"\bz\b.*fixed, image, volume"):
        Normaliser(source, "z")
