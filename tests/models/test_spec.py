"""A model's description survives a checkpoint and builds the same net again."""

import io

import pytest
import torch
from torch import nn

from unet_train.errors import UserError
from unet_train.models.spec import ModelSpec, build_model

SMALL = ModelSpec(
    encoder={"kind": "unet", "init_features": 4, "depth": 2},
    in_channels=1,
    outputs=["background", "cell"],
    normalisation={"mode": "fixed", "mean": [0.4], "std": [0.2]},
)


class OwnEncoder(nn.Module):
    """A user's encoder: two features, the finest of stride 4."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels, self.channels, self.strides = in_channels, [6, 8], [4, 8]
        self.stem = nn.Conv2d(in_channels, 6, 4, stride=4)
        self.down = nn.Conv2d(6, 8, 2, stride=2)

    def forward(self, x):
        x = self.stem(x).relu()
        return [x, self.down(x).relu()]


def test_round_trip_through_a_weights_only_file():
    file = io.BytesIO()
    torch.save(SMALL.to_dict(), file)
    file.seek(0)
    spec = ModelSpec.from_dict(torch.load(file, weights_only=True))
    assert spec == SMALL
    model, again = build_model(SMALL), build_model(spec)
    again.load_state_dict(model.state_dict())
    image = torch.randint(0, 256, (2, 1, 11, 9), dtype=torch.uint8)
    assert torch.equal(model.eval()(image), again.eval()(image))
    assert model.normalisation.mean.tolist() == pytest.approx([0.4])


def test_the_norm_reaches_encoder_and_decoder():
    spec = ModelSpec.from_dict(SMALL.to_dict() | {"norm": "group"})
    model = build_model(spec)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in model.modules())
    assert isinstance(model.encoder.levels[0].norm1, nn.GroupNorm)
    assert isinstance(model.decoder.levels[0].block.norm1, nn.GroupNorm)


def test_model_is_channels_last():
    assert build_model(SMALL).encoder.levels[1].conv1.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("custom", [OwnEncoder, OwnEncoder(3)])
def test_own_encoder(custom):
    spec = ModelSpec({"kind": "custom", "target": "pkg.OwnEncoder"}, 3, ["background", "a", "b"])
    model = build_model(spec, custom=custom)
    assert model(torch.rand(1, 3, 10, 21)).shape == (1, 3, 10, 21)
    assert len(model.decoder.levels) == 3


def test_own_encoder_is_never_built_from_a_checkpoint():
    spec = ModelSpec({"kind": "custom", "target": "os.system", "command": "true"}, 3, ["background", "a"])
    with pytest.raises(UserError, match=r"encoder\._target_=os\.system encoder\.command=true"):
        build_model(spec)
    with pytest.raises(UserError, match="in_channels, channels, strides"):
        build_model(spec, custom=nn.Identity())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"in_chanels": 3}, r"in_chanels.*\bin_channels"),
        ({"encoder": {"depth": 3}}, "kind of encoder"),
        ({"encoder": "unet"}, "kind of encoder"),
    ],
)
def test_wrong_descriptions(change, words):
    with pytest.raises(UserError, match=words):
        ModelSpec.from_dict(SMALL.to_dict() | change)
    with pytest.raises(UserError, match="lacks encoder"):
        ModelSpec.from_dict({"in_channels": 1, "outputs": []})
    with pytest.raises(UserError, match="not a mapping"):
        ModelSpec.from_dict([1])
