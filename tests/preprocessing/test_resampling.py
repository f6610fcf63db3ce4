"""The working resolution against means and picks done by hand."""

import numpy as np
import pytest

from unet_train.preprocessing.resampling import resample_image, resample_labels, working_size


@pytest.mark.parametrize("channels", [1, 3, 5, 9])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_half_resolution_is_the_mean_of_four(channels, dtype):
    image = np.random.default_rng(0).integers(0, 256, (12, 20, channels)).astype(dtype)
    small = resample_image(image, 0.5)
    expected = image.reshape(6, 2, 10, 2, channels).astype(float).mean((1, 3))
    assert small.dtype == dtype
    np.testing.assert_allclose(small, expected, atol=0.5 if dtype == np.uint8 else 1e-3)
    assert resample_image(image, 1.0) is image


def test_antialiasing_swallows_a_pattern_that_sampling_would_keep():
    stripes = np.zeros((32, 32, 1), np.uint8)
    stripes[:, ::2] = 200
    assert np.ptp(resample_image(stripes, 0.5)) == 0


def test_labels_are_picked_never_mixed():
    labels = np.random.default_rng(1).choice(np.array([0, 5, 70000], np.int32), (11, 17))
    for scale in (0.3, 0.5, 0.77, 1.6):
        small = resample_labels(labels, scale)
        assert small.shape == working_size(labels.shape, scale)
        assert small.dtype == np.int32
        for i in range(small.shape[0]):
            row = int((i + 0.5) * 11 / small.shape[0])
            for j in range(small.shape[1]):
                assert small[i, j] == labels[row, int((j + 0.5) * 17 / small.shape[1])]
    assert resample_labels(labels, 1.0) is labels


def test_image_and_labels_stay_aligned():
    labels = np.zeros((40, 40), np.int32)
    labels[8:24, 12:36] = 1
    image = (labels[..., None] * 100).astype(np.uint8)
    np.testing.assert_array_equal(
        resample_image(image, 0.25)[..., 0] > 50, resample_labels(labels, 0.25) == 1
    )
