"""A fused copy predicts what the model does, and the model stays as it is."""

import copy

import pytest
import torch
from torch import nn

from unet_train.models.fusing import fused_copy
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.unet import UNet

CASES = [
    ({"kind": "unet", "init_features": 4, "depth": 3}, {"norm": "batch"}),
    ({"kind": "unet", "init_features": 4, "depth": 3, "norm": "group"}, {"norm": "group"}),
    ({"kind": "unet", "init_features": 4, "depth": 3, "norm": "none"}, {"norm": "none"}),
    ({"kind": "resnet", "depth": 18}, {}),
    ({"kind": "resnet", "depth": 50}, {"norm": "group"}),
    ({"kind": "efficientnet", "variant": "b0"}, {}),
    ({"kind": "timm", "name": "tf_efficientnet_lite0"}, {"input_skip": 8}),
    ({"kind": "timm", "name": "mobilenetv3_small_050"}, {}),
    ({"kind": "timm", "name": "edgenext_xx_small"}, {}),
]


def stirred(model):
    """The model in training, with norms that do something: statistics of noise, other weights than 1 and 0."""
    torch.manual_seed(1)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(2, model.in_channels, 64, 64))
    return model


def norms(model):
    return sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())


def predict(model, side=96):
    image = torch.rand(1, model.in_channels, side, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        return copy.deepcopy(model).eval()(image)


@pytest.mark.parametrize(("encoder", "more"), CASES, ids=lambda value: "-".join(map(str, value.values())))
def test_a_fused_copy_predicts_the_same_without_batch_norms(encoder, more):
    if encoder["kind"] == "timm":
        pytest.importorskip("timm")
    model = stirred(build_model(ModelSpec(encoder, 3, ["a", "b", "c"], **more)))
    before = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    fused = fused_copy(model)
    assert torch.equal(torch.get_rng_state(), random)
    torch.testing.assert_close(predict(fused), predict(model), atol=1e-4, rtol=1e-4)
    assert norms(fused) == 0
    assert not any(part.training for part in fused.modules())
    assert all(part.training for part in model.modules())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_other_weights_can_be_fused_than_the_models_own():
    build = {
        "encoder": {"kind": "unet", "init_features": 4, "depth": 2},
        "in_channels": 1,
        "outputs": ["a", "b"],
    }
    model, other = build_model(ModelSpec(**build)), stirred(build_model(ModelSpec(**build)))
    fused = fused_copy(model, other.state_dict())
    torch.testing.assert_close(predict(fused), predict(other), atol=1e-4, rtol=1e-4)
    assert (predict(fused) - predict(model)).abs().max() > 0.01


class Own(nn.Module):
    """An encoder of somebody's own."""

    in_channels, channels, strides = 1, [4, 4], [1, 2]

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        first = self.use(y)
        return [first, nn.functional.max_pool2d(first, 2)]


class UsedTwice(Own):
    def use(self, y):
        return self.norm(y) + y  # no module sees the second use


class AsksItsNorm(Own):
    def use(self, y):
        return self.norm(y) * self.norm.eps


class Scaled(Own):
    """A convolution that does more than its weights say, as those with standardised weights."""

    def __init__(self):
        super().__init__()

        class Convolution(nn.Conv2d):
            def forward(self, x):
                return 2 * super().forward(x)

        self.conv = Convolution(1, 4, 3, padding=1)

    def use(self, y):
        return self.norm(y)


class OneNormTwice(Own):
    def use(self, y):
        return self.norm(self.norm(y))


class WithoutStatistics(Own):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)

    def use(self, y):
        return self.norm(y)


@pytest.mark.parametrize("encoder", [UsedTwice, AsksItsNorm, Scaled, OneNormTwice, WithoutStatistics])
def test_what_cannot_be_fused_is_left_and_predicts_the_same(encoder):
    """A wrong fusion would be a wrong score in silence."""
    torch.manual_seed(0)
    model = stirred(UNet(encoder(), 2))
    fused = fused_copy(model)
    assert norms(fused) > 0
    torch.testing.assert_close(predict(fused), predict(model), atol=1e-5, rtol=1e-5)
