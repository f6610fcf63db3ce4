"""The contract of every encoder and variant: features as promised, any image, gradients reach the stem."""

import sys

import pytest
import torch
from torch import nn

from unet_train.errors import UserError
from unet_train.keys import schema_fields
from unet_train.models.encoders import ENCODERS, EfficientNetKeys, ResNetKeys, build_encoder
from unet_train.models.spec import ModelSpec, build_model

# Run on the CPU: the smallest of each family, and one timm net whose finest feature has stride 4.
SMALL = [
    {"kind": "unet", "init_features": 4, "depth": 3},
    {"kind": "unet", "init_features": 3, "depth": 2, "norm": "group"},
    {"kind": "resnet", "depth": 18},
    {"kind": "efficientnet", "variant": "b0"},
    {"kind": "timm", "name": "mobilenetv3_small_050"},
    {"kind": "timm", "name": "edgenext_xx_small"},
]


# Built without memory: every variant that the documentation names.
def choices(schema, name):
    """The values a key may have."""
    return schema_fields(schema)[name][1].metadata["choices"]


ALL = [
    *({"kind": "unet", "init_features": 64, "depth": depth} for depth in range(1, 7)),
    *({"kind": "resnet", "depth": depth} for depth in choices(ResNetKeys, "depth")),
    *({"kind": "efficientnet", "variant": variant} for variant in choices(EfficientNetKeys, "variant")),
    {"kind": "timm", "name": "tf_efficientnet_lite0"},
    {"kind": "timm", "name": "convnext_tiny"},
    {"kind": "timm", "name": "vgg11_bn"},
]
# torchvision's published parameter counts, less its classifier (and, for EfficientNet, less its last 1×1
# convolution with norm): from the table "Classification" of its documentation.
PUBLISHED_PARAMETERS = {
    ("resnet", 18): 11_689_512 - 513_000,
    ("resnet", 34): 21_797_672 - 513_000,
    ("resnet", 50): 25_557_032 - 2_049_000,
    ("resnet", 101): 44_549_160 - 2_049_000,
    ("resnet", 152): 60_192_808 - 2_049_000,
    ("efficientnet", "b0"): 5_288_548 - 1_281_000 - (320 * 1280 + 2 * 1280),
    ("efficientnet", "b7"): 66_347_960 - 2_561_000 - (640 * 2560 + 2 * 2560),
    ("efficientnet", "v2_s"): 21_458_488 - 1_281_000 - (256 * 1280 + 2 * 1280),
    ("efficientnet", "v2_l"): 118_515_272 - 1_281_000 - (640 * 1280 + 2 * 1280),
}


def name_of(encoder: dict) -> str:
    return "-".join(str(value) for value in encoder.values())


def spec_of(encoder: dict, in_channels: int = 1, outputs: int = 3) -> ModelSpec:
    return ModelSpec(encoder, in_channels, [f"class{index}" for index in range(outputs)])


def test_every_kind_is_tested():
    assert {encoder["kind"] for encoder in SMALL} == {encoder["kind"] for encoder in ALL} == set(ENCODERS)


def test_dropout_stands_at_the_end_of_the_contracting_path():
    """In the two coarsest levels, in training alone; the rest of the values are scaled up, so that the mean stays."""
    torch.manual_seed(0)
    encoder = build_encoder("unet", 1, init_features=8, depth=3, norm="none", dropout=0.5)
    plain = build_encoder("unet", 1, init_features=8, depth=3, norm="none")
    plain.load_state_dict(encoder.state_dict())
    x = torch.rand(1, 1, 64, 64)
    for ours, without in zip(encoder.eval()(x), plain.eval()(x), strict=True):
        assert torch.equal(ours, without)
    features, without = encoder.train()(x), plain(x)
    assert [torch.equal(*pair) for pair in zip(features, without, strict=True)] == [True, True, False, False]
    kept = features[2] != 0
    assert torch.allclose(features[2][kept], 2 * without[2][kept])
    assert kept.sum() / (without[2] != 0).sum() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("encoder", SMALL, ids=name_of)
def test_small_encoders_run(encoder):
    """Features have the promised channels and strides; odd and tiny images work; gradients reach the stem."""
    in_channels = 2
    model = build_model(spec_of(encoder, in_channels))
    side = 2 * model.encoder.strides[-1]
    features = model.encoder(torch.rand(1, in_channels, side, side))
    assert [feature.shape[1] for feature in features] == model.encoder.channels
    assert [side // feature.shape[2] for feature in features] == model.encoder.strides
    for size, training in [((1, 1), True), ((1, 1), False), ((7, 13), True), ((33, 40), False)]:
        logits = model.train(training)(torch.rand(1, in_channels, *size))
        assert logits.shape == (1, 3, *size)
        assert torch.isfinite(logits).all()
    model.train()(torch.rand(2, in_channels, 33, 40)).square().sum().backward()
    stem = model.encoder.get_submodule(model.encoder.stem)
    assert stem.weight.grad is not None
    assert stem.weight.grad.abs().sum() > 0
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not silent


@pytest.mark.parametrize("encoder", ALL, ids=name_of)
def test_all_variants_keep_the_contract(encoder):
    """The largest ones too: on the meta device a forward pass needs neither memory nor arithmetic."""
    with torch.device("meta"):
        model = build_model(spec_of(encoder, in_channels=3)).eval()
        features = []
        model.encoder.register_forward_hook(lambda _m, _i, found: features.extend(found))
        assert model(torch.rand(2, 3, 70, 13)).shape == (2, 3, 70, 13)
    height = features[-1].shape[2] * model.stride
    assert [feature.shape[1] for feature in features] == model.encoder.channels
    assert [height // feature.shape[2] for feature in features] == model.encoder.strides
    assert model.encoder.get_submodule(model.encoder.stem).in_channels == 3
    assert model.encoder.kind == encoder["kind"]
    published = PUBLISHED_PARAMETERS.get(tuple(encoder.values()))
    if published is not None:
        assert sum(parameter.numel() for parameter in model.encoder.parameters()) == published


def test_every_published_count_was_compared():
    assert set(PUBLISHED_PARAMETERS) <= {tuple(encoder.values()) for encoder in ALL}


def test_same_padding_is_timms():
    """TensorFlow's uneven padding, which we fix because sides are multiples of 32, gives timm's own features."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    encoder = build_encoder("timm", 3, name="tf_efficientnet_lite0").eval()
    reference = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    reference.load_state_dict(encoder.net.state_dict())
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for ours, theirs in zip(encoder(image), reference(image), strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    kinds = [type(part).__name__ for part in encoder.modules()]
    assert "SameConv2d" in kinds
    assert "Conv2dSame" not in kinds


@pytest.mark.parametrize("encoder", [SMALL[2], SMALL[3]], ids=name_of)
def test_channels_last_reaches_the_last_feature(encoder):
    model = build_model(spec_of(encoder)).eval()
    found = []
    model.encoder.register_forward_hook(lambda _m, _i, features: found.extend(features))
    model(torch.rand(1, 1, 64, 64))
    assert all(feature.is_contiguous(memory_format=torch.channels_last) for feature in found)


@pytest.mark.parametrize(
    ("kind", "params", "words"),
    [
        ("resnet", {"depth": 51}, "encoder\\.depth=51.*18, 34"),
        ("resnet", {"variant": "b0"}, "encoder\\.variant .*encoder=resnet.*depth"),
        ("efficientnet", {"variant": "v2s"}, r"v2_s\?"),
        ("timm", {"name": "tf_efficientnet_lite"}, "tf_efficientnet_lite .*tf_efficientnet_lite0"),
        ("timm", {"name": "swin_tiny_patch4_window7_224"}, "choose a convolutional net"),
        ("timm", {"name": "vit_tiny_patch16_224"}, "choose a convolutional net"),
    ],
)
def test_user_mistakes_are_one_line(kind, params, words):
    with pytest.raises(UserError, match=words) as caught:
        build_encoder(kind, 3, **params)
    assert "\n" not in str(caught.value)


def test_missing_libraries_are_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r'pip install "unet-train\[timm\]"'):
        build_encoder("timm", 3, name="resnet18")
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(UserError, match="reinstall torch and torchvision together from one index"):
        build_encoder("resnet", 3)


@pytest.mark.parametrize(
    ("kind", "params"), [("timm", {"name": "tf_efficientnet_lite0"}), ("efficientnet", {"variant": "b0"})]
)
def test_wide_depthwise_convolutions_stay_in_float32_on_a_cpu(kind, params):
    """oneDNN's backward pass of them is three times slower in bf16; what comes in and out keeps its type."""
    torch.manual_seed(0)
    encoder = build_encoder(kind, 1, **params).eval()
    seen = []
    wide = [
        part
        for part in encoder.modules()
        if isinstance(part, nn.Conv2d) and part.groups == part.in_channels > 1 and part.kernel_size[0] >= 5
    ]
    assert len(wide) > 5
    for part in wide:
        part.register_forward_hook(lambda module, inputs, output: seen.append((module, inputs[0], output)))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        encoder(torch.rand(1, 1, 64, 64))
        inside = list(seen)
    assert len(inside) == len(wide)
    for module, x, output in inside:
        assert x.dtype == output.dtype == torch.bfloat16
        exact = module(x.float())  # without autocast: plain float32
        torch.testing.assert_close(output, exact.to(torch.bfloat16), rtol=0, atol=0)
