"""Whole U-Nets of segmentation-models-pytorch, with that library as the reference: the same logits, or one line."""

import shlex

import pytest
import torch

from unet_train.errors import UserError
from unet_train.models.files import read_tensors
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.weights import load_file, load_tensors


@pytest.fixture(scope="module")
def smp():
    """The library."""
    pytest.importorskip("timm")
    return pytest.importorskip("segmentation_models_pytorch")


def theirs(smp, encoder, seed=0, kind="Unet", **keys):
    """A model of theirs with numbers of which no two are alike."""
    torch.manual_seed(seed)
    net = getattr(smp, kind)(encoder, encoder_weights=None, **{"classes": 3, **keys})
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.ndim == 1 and value.is_floating_point():
                value.add_(0.2 * torch.rand_like(value) * (1 if "running_var" in name else torch.randn(())))
    return net.eval()


def ours(encoder, channels=3, outputs=3, **keys):
    spec = {"upsample": "nearest", "head_kernel": 3, **keys}
    return build_model(ModelSpec(encoder, channels, ["a", "b", "c"][:outputs], **spec)).eval()


RESNET = {"kind": "resnet", "depth": 18}


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("resnet18", RESNET),
        ("resnet50", {"kind": "resnet", "depth": 50}),
        ("tu-convnext_atto", {"kind": "timm", "name": "convnext_atto"}),
    ],
)
def test_a_whole_model_gives_its_own_logits(smp, name, encoder, tmp_path):
    net = theirs(smp, name)
    torch.save(
        {"state_dict": {f"model.{key}": value for key, value in net.state_dict().items()}},
        tmp_path / "w.ckpt",
    )
    model = ours(encoder)
    report = load_file(model, tmp_path / "w.ckpt")
    assert not report.missing
    assert not report.left_out
    image = torch.rand(2, 3, 64, 96, dtype=torch.float64)  # in which rounding is far below the tolerance
    net, model = net.double(), model.double()
    with torch.no_grad():
        expected, found = net(image), model.head(model.decoder(model.encoder(image)))
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_its_one_output_and_other_widths_and_channels(smp):
    net = theirs(smp, "resnet18", classes=1, decoder_channels=(64, 32, 16, 8, 8), in_channels=1)
    model = ours(RESNET, 1, 2, head="sigmoid", decoder_channels=[64, 32, 16, 8, 8])
    assert not load_tensors(model, net.state_dict(), "w").missing
    image = torch.rand(1, 1, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(image), net(image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", ["b0", "b2"])
def test_its_efficientnets_give_the_encoder_alone(smp, size):
    net = theirs(smp, f"efficientnet-{size}")
    model = ours({"kind": "timm", "name": f"tf_efficientnet_{size}"})
    report = load_tensors(model, net.state_dict(), "w")
    assert all(name.startswith(("decoder.", "head.")) for name in report.missing)
    assert not [name for name in report.loaded if name.startswith("decoder.")]
    assert any("decoder" in note for note in report.notes)
    assert any("shifted" in note for note in report.notes) == (size != "b0")
    for part in net.encoder.modules():
        # b1 to b7 are padded for the odd sides that 240, 260, … pixels lead to; here all sides are even.
        if isinstance(part, torch.nn.Conv2d) and part.stride[0] == 2 and part.kernel_size[0] > 1:
            total = part.kernel_size[0] - 2
            part.static_padding = torch.nn.ZeroPad2d([total // 2, total - total // 2] * 2)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = net.encoder(image)[-1], model.encoder(image)[-1]
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_another_decoder_of_ours_takes_the_encoder_and_is_told_the_keys(smp):
    net = theirs(smp, "resnet18", decoder_channels=(64, 32, 16, 8, 8))
    model = ours(RESNET, upsample="transposed", head_kernel=1)
    report = load_tensors(model, net.state_dict(), "w")
    assert all(name.startswith("encoder.") for name in report.loaded)
    assert not [name for name in report.missing if name.startswith("encoder.")]
    note = " ".join(report.notes)
    for words in ("model.upsample=nearest", "model.head_kernel=3", "model.decoder_channels=[64,32,16,8,8]"):
        assert words in note


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"encoder": "resnet34"}, "encoder=resnet encoder.depth=34"),
        ({"encoder": "efficientnet-b1"}, "encoder.name=tf_efficientnet_b1"),
        ({"encoder": "tu-resnet18"}, "encoder=timm"),
        ({"encoder": "vgg11"}, "encoder.features.0.weight"),
        ({"encoder": "resnet18", "decoder_attention_type": "scse"}, "attention"),
        ({"encoder": "resnet18", "kind": "FPN"}, "decoder"),
        ({"encoder": "resnet18", "kind": "UnetPlusPlus"}, "decoder"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(smp, keys, named):
    net = theirs(smp, **keys)
    with pytest.raises(UserError) as caught:
        load_tensors(ours(RESNET), net.state_dict(), "weights.pt")
    message = str(caught.value)
    assert message.startswith("weights.pt: ")
    assert "\n" not in message
    assert named in message


class Settings:
    """What a pickle of another program may hold."""


def test_a_checkpoint_that_holds_more_than_tensors_is_refused_with_the_line_that_saves_them(tmp_path):
    path = tmp_path / "my epoch=3.ckpt"
    state = {"conv.weight": torch.ones(2, 1, 3, 3)}
    torch.save({"state_dict": state, "hyper_parameters": Settings()}, path)
    with pytest.raises(UserError, match="besides tensors") as caught:
        read_tensors(path)
    words = shlex.split(str(caught.value).partition("alone: ")[2])
    assert words[:2] == ["python", "-c"]
    exec(words[2], {})
    assert torch.equal(read_tensors(path.with_suffix(".state.pt"))["conv.weight"], state["conv.weight"])
    torch.save(torch.nn.Conv2d(1, 1, 1), path)
    with pytest.raises(UserError, match=r"\.state_dict\(\)"):
        read_tensors(path)
