"""The entry points of hubconf.py, called the way their users call them."""

import pytest
import torch

from unet_train.checkpoint import AverageState, Checkpoint, Position, TrainingState
from unet_train.data.description import DataDescription
from unet_train.errors import UserError
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.weights.key_maps import brain_mri_names

DESCRIPTION = DataDescription("drawn", ("background", "cell"), 1, normalisation="fixed")


@pytest.fixture
def hub(repository):
    def load(entry, *arguments, **keywords):
        return torch.hub.load(str(repository), entry, *arguments, source="local", **keywords)

    return load


def test_the_published_call(hub):
    model = hub("unet", in_channels=3, out_channels=1, init_features=32, pretrained=False)
    assert sum(parameter.numel() for parameter in model.parameters()) == 7_763_041
    with torch.no_grad():
        output = model.eval()(torch.randn(1, 3, 32, 45))
    assert output.shape == (1, 1, 32, 45)
    assert output.min() >= 0
    assert output.max() <= 1


def test_pretrained_takes_a_path(hub, tmp_path):
    """Weights under the published names come out again where they belong; the net is ready to predict."""
    source = hub("unet", init_features=4)
    with torch.no_grad():
        for value in source.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand(value.shape))
    state = source.net.state_dict()
    torch.save({theirs: state[ours] for theirs, ours in brain_mri_names().items()}, tmp_path / "w.pt")
    model = hub("unet", init_features=4, pretrained=tmp_path / "w.pt")
    image = torch.randn(1, 3, 16, 16)
    assert not any(part.training for part in model.modules())
    assert torch.equal(model(image), source.eval()(image))


def test_pretrained_without_network(hub, torch_home, no_network):
    with pytest.raises(UserError, match=r"unet-e012d006\.pt") as caught:
        hub("unet", pretrained=True)
    assert "pretrained=FILE" in str(caught.value)
    assert "weights.path" not in str(caught.value)


def test_several_outputs_each_have_a_sigmoid(hub):
    model = hub("unet", in_channels=2, out_channels=3, init_features=2).eval()
    image = torch.randn(1, 2, 16, 16)
    assert torch.allclose(model(image), torch.sigmoid(model.net(image)))
    assert model(image).shape == (1, 3, 16, 16)


@pytest.mark.parametrize("averaged", [True, False])
def test_our_checkpoints(hub, tmp_path, averaged):
    encoder = {"kind": "unet", "init_features": 4, "depth": 2}
    normalisation = {"mode": "fixed", "mean": [0.3], "std": [0.2]}
    spec = ModelSpec(encoder, 1, ["background", "cell"], normalisation=normalisation)
    model, other = build_model(spec).eval(), build_model(spec)
    saved = Checkpoint(spec, DESCRIPTION, model.state_dict())
    if averaged:
        training = TrainingState(Position(), ema=AverageState(1, model.state_dict()))
        saved = Checkpoint(spec, DESCRIPTION, other.state_dict(), training=training)
    saved.write(tmp_path / "best.pt")
    found = hub("checkpoint", tmp_path / "best.pt")
    pixels = torch.randint(0, 256, (1, 1, 21, 30), dtype=torch.uint8)
    assert torch.equal(found(pixels), model(pixels))
    assert found.spec == spec
    assert not found.training


def test_no_checkpoint_of_ours(hub, tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(UserError, match=r"x\.pt.*unet-train"):
        hub("checkpoint", path)
    spec = ModelSpec({"kind": "unet", "init_features": 4, "depth": 2}, 1, ["background", "cell"])
    Checkpoint(spec, DESCRIPTION, {"a": torch.zeros(2)}).write(path)
    with pytest.raises(UserError, match=r"x\.pt: its weights do not fit its own description") as caught:
        hub("checkpoint", path)
    assert "\n" not in str(caught.value)
