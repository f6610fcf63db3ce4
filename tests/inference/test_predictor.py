"""Predictions of models that see a part of the image come back to the whole of it."""

import numpy as np
import pytest
import torch
from torch import nn

from unet_train.data.description import DataDescription
from unet_train.inference.predictor import Predictor
from unet_train.preprocessing.intensity import volume_statistics


class Brightness(nn.Module):
    """Foreground where the only channel is a standard deviation above its mean; keeps what it saw."""

    def forward(self, x, mean=None, std=None):
        self.saw = x
        z = (x - mean[..., None, None]) / std[..., None, None]
        return torch.cat([20 - 20 * z, 20 * z - 20], 1)

    def probabilities(self, logits):
        return logits.softmax(1)


def predictor(**keys) -> Predictor:
    description = DataDescription("p", ("background", "lesion"), 1, normalisation="brain", **keys)
    return Predictor(Brightness(), description)


def slices() -> list[np.ndarray]:
    """A grey box with a bright block in it, on dark noise of its own."""
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 15, (4, 60, 44, 1), np.uint8)
    volume[:, 8:52, 10:40] = 60
    volume[1:3, 20:36, 16:28] = 240
    volume[3, 0:6, 0:6] = 250  # outside of the box: that of the inner slices
    return list(volume)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_probabilities_come_back_to_native_size_and_place(scale):
    volume = slices()
    model = predictor(scale=scale)
    _, prediction, _, last = model.predict_volume(volume)
    assert model.model.saw.shape == (1, 1, 256 * scale, 256 * scale)
    assert prediction.outputs.shape == (2, 60, 44)
    np.testing.assert_allclose(prediction.outputs.sum(0), 1, atol=1e-5)
    # Exact but for the pixel to either side of the block's edge.
    assert prediction.classes[21:35, 17:27].all()
    prediction.classes[19:37, 15:29] = 0
    assert not prediction.classes.any()
    outside = np.ones((60, 44), bool)
    outside[8:52, 10:40] = False
    assert (prediction.outputs[0][outside] == 1).all()
    # The last slice is predicted too, but what lies outside of the patient's box is background.
    assert (last.outputs[0][outside] == 1).all()
    statistics = volume_statistics(volume, "brain")
    np.testing.assert_array_equal(last.outputs, predictor(scale=scale).predict(volume[3], statistics).outputs)
    assert not last.classes.any()


def test_a_slice_without_brain_is_background_without_asking_the_net():
    statistics = volume_statistics(slices(), "brain")
    model = predictor()
    prediction = model.predict(np.full((60, 44, 1), 9, np.uint8), statistics)
    assert not hasattr(model.model, "saw")
    assert (prediction.outputs[0] == 1).all()
    assert prediction.outputs.shape == (2, 60, 44)


def test_a_slice_alone_is_its_own_volume():
    image = slices()[1]
    alone = predictor().predict(image)
    np.testing.assert_array_equal(
        alone.outputs, predictor().predict(image, volume_statistics([image], "brain")).outputs
    )
    assert alone.classes[20:36, 16:28].all()
