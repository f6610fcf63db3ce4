"""The moving average against NumPy, and its state on disk."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from unet_train.checkpoint import AverageState
from unet_train.training.averages import EMA


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def shake(model):
    """Other weights, as after an optimizer step, and norm statistics of another batch."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
        model.train()(torch.randn(2, 1, 5, 5))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_average_against_numpy(decay):
    model = net()
    ema = EMA(model, decay)
    expected = {
        name: value.numpy().astype(np.float64) for name, value in copy.deepcopy(model.state_dict()).items()
    }
    for n in range(15):
        shake(model)
        ema.update(model)
        d = min(decay, (1 + n) / (10 + n))
        for name, value in model.state_dict().items():
            if "num_batches" in name:
                expected[name] = value.numpy().copy()
            else:
                expected[name] = d * expected[name] + (1 - d) * value.numpy().astype(np.float64)
    for name, value in ema.average.items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
        assert value.dtype == model.state_dict()[name].dtype
    assert ema.updates == 15


def test_constants_stay_exact():
    """The normalisation's buffers must not drift by rounding."""
    model = net()
    model.register_buffer("mean", torch.tensor([0.1, 1 / 3]))
    ema = EMA(model, 0.9)
    for _ in range(50):
        ema.update(model)
    assert torch.equal(ema.average["mean"], model.mean)


def test_state_survives_the_disk(tmp_path):
    model = net()
    ema = EMA(model, 0.9)
    shake(model)
    ema.update(model)
    torch.save(vars(ema.state), tmp_path / "ema.pt")
    other = EMA(net(1), 0.9)
    other.restore(AverageState(**torch.load(tmp_path / "ema.pt", weights_only=True)))
    shake(model)
    ema.update(model)
    other.update(model)
    assert other.updates == 2
    for name, value in ema.average.items():
        assert torch.equal(value, other.average[name])
    with pytest.raises(ValueError, match="another model"):
        EMA(nn.Conv2d(1, 2, 3), 0.9).restore(ema.state)


def test_first_weights_are_soon_forgotten():
    """The warm-up: ten updates later hardly anything of the start is left, for all of 0.999."""
    model = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(model.weight, 1000.0)
    ema = EMA(model, 0.999)
    nn.init.zeros_(model.weight)
    for _ in range(10):
        ema.update(model)
    assert ema.average["weight"].item() < 0.1


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_bad_decay_is_refused(decay):
    with pytest.raises(ValueError, match="decay="):
        EMA(net(), decay)
