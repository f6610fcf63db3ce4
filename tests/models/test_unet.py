"""The classic net is the published one, and any image goes through any net."""

import numpy as np
import pytest
import torch
from torch import nn

from unet_train.errors import UserError
from unet_train.models.blocks import DoubleConv, make_norm
from unet_train.models.encoders import build_encoder
from unet_train.models.encoders.classic import ClassicEncoder
from unet_train.models.unet import UNet

# Written down by hand from the published description (anchors.md, section 4): in, out, kernel, bias.
PUBLISHED_CONVOLUTIONS = [
    ("conv", 3, 32, 3, False),
    ("conv", 32, 32, 3, False),
    ("conv", 32, 64, 3, False),
    ("conv", 64, 64, 3, False),
    ("conv", 64, 128, 3, False),
    ("conv", 128, 128, 3, False),
    ("conv", 128, 256, 3, False),
    ("conv", 256, 256, 3, False),
    ("conv", 256, 512, 3, False),
    ("conv", 512, 512, 3, False),
    ("up", 512, 256, 2, True),
    ("conv", 512, 256, 3, False),
    ("conv", 256, 256, 3, False),
    ("up", 256, 128, 2, True),
    ("conv", 256, 128, 3, False),
    ("conv", 128, 128, 3, False),
    ("up", 128, 64, 2, True),
    ("conv", 128, 64, 3, False),
    ("conv", 64, 64, 3, False),
    ("up", 64, 32, 2, True),
    ("conv", 64, 32, 3, False),
    ("conv", 32, 32, 3, False),
    ("conv", 32, 1, 1, True),
]


def classic(in_channels=1, outputs=2, features=4, depth=2, norm="batch", **kwargs) -> UNet:
    return UNet(ClassicEncoder(in_channels, features, depth, norm), outputs, norm=norm, **kwargs)


def layer_list(model: nn.Module) -> list[tuple]:
    """Convolutions in the order of the forward pass, found by hooks, with what follows each one."""
    found: list[tuple] = []
    handles = [
        part.register_forward_hook(lambda module, *_: found.append(module))
        for part in model.modules()
        if not list(part.children())
    ]
    model(torch.zeros(1, model.in_channels, 32, 32))
    for handle in handles:
        handle.remove()
    return found


def test_classic_net_is_the_published_one():
    model = UNet(ClassicEncoder(3, 32, 4), outputs=2, head="sigmoid")
    assert sum(parameter.numel() for parameter in model.parameters()) == 7_763_041
    layers = layer_list(model)
    convolutions = []
    for position, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            kind = "up" if isinstance(layer, nn.ConvTranspose2d) else "conv"
            bias = layer.bias is not None
            convolutions.append((kind, layer.in_channels, layer.out_channels, layer.kernel_size[0], bias))
            if kind == "conv" and layer.kernel_size == (3, 3):
                assert layer.padding == (1, 1)
                assert isinstance(layers[position + 1], nn.BatchNorm2d)
                assert isinstance(layers[position + 2], nn.ReLU)
            if kind == "up":
                assert layer.stride == (2, 2)
    assert convolutions == PUBLISHED_CONVOLUTIONS


def test_paper_sized_net_has_the_papers_parameters():
    # The paper's net has no norms, so a bias on every convolution; 64 features, 1 channel, 2 classes.
    with torch.device("meta"):
        model = UNet(ClassicEncoder(1, 64, 4, "none"), outputs=2, norm="none")
    assert sum(parameter.numel() for parameter in model.parameters()) == 31_030_658


@pytest.mark.parametrize("norm", ["batch", "group", "instance", "none"])
def test_bias_only_without_a_norm(norm):
    for part in classic(norm=norm).modules():
        if isinstance(part, DoubleConv):
            assert (part.conv1.bias is not None) == (norm == "none")
            assert (part.conv2.bias is not None) == (norm == "none")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7, 8, 12, 16, 20, 32, 40])
def test_group_norm_takes_any_channel_count(channels):
    layer = make_norm("group", channels)
    assert channels % layer.num_groups == 0
    assert channels == 1 or channels // layer.num_groups >= 2
    x = torch.randn(2, channels, 3, 3)
    values = layer(x).detach().numpy().reshape(2, layer.num_groups, -1)
    assert np.allclose(values.mean(2), 0, atol=1e-5)
    assert np.allclose(values.std(2), 1, atol=1e-3)


def test_instance_norm_is_torchs_own_with_a_scale():
    layer, own = make_norm("instance", 5), nn.InstanceNorm2d(5, affine=True)
    for part in (layer, own):
        part.load_state_dict({"weight": torch.arange(1.0, 6), "bias": torch.arange(5.0)})
    x = 3 + torch.randn(2, 5, 6, 7)
    torch.testing.assert_close(layer(x), own(x))


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("size", [(1, 1), (7, 13)])
def test_every_depth_and_tiny_sizes(depth, size, norm):
    model = classic(features=2, depth=depth, norm=norm)
    for training in (True, False):
        logits = model.train(training)(torch.rand(1, 1, *size))
        assert logits.shape == (1, 2, *size)
        assert torch.isfinite(logits).all()


def test_one_image_of_one_coarse_cell_trains():
    """A plain net dies here with 'Expected more than 1 value per channel'; ours pads to two cells."""
    model = classic(depth=2)
    model(torch.rand(1, 1, 4, 4)).sum().backward()
    with pytest.raises(ValueError, match="more than 1 value"):
        model.encoder(torch.rand(1, 1, 4, 4))


@pytest.mark.parametrize("size", [5, 7, 9, 3, 1])
def test_padding_mirrors_then_repeats(size):
    """The net sees what NumPy's reflection makes; past its reach, the pixel it ended on, again."""
    model = classic(features=2, depth=3).eval()
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    image = torch.rand(1, 1, size, size)
    with torch.no_grad():
        model(image)
    want = -(-size // 8) * 8 - size
    mirrored = min(want, size - 1)
    reference = np.pad(image[0, 0].numpy(), ((0, mirrored), (0, mirrored)), mode="reflect")
    reference = np.pad(reference, ((0, want - mirrored), (0, want - mirrored)), mode="edge")
    assert np.array_equal(seen[0][0, 0].numpy(), reference)


def test_padding_does_not_change_images_that_fit():
    model = classic(features=2, depth=2).eval()
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    image = torch.rand(1, 1, 8, 12)
    model(image)
    assert torch.equal(seen[0], image)


def test_uint8_and_float_pixels_agree():
    model = classic(normalisation={"mode": "fixed", "mean": [0.3], "std": [0.2]}).eval()
    pixels = torch.randint(0, 256, (2, 1, 9, 9), dtype=torch.uint8)
    assert torch.allclose(model(pixels), model(pixels.float() / 255), atol=1e-6)
    with pytest.raises(ValueError, match="int32"):
        model(pixels.int())


def test_normalisation_modes_against_numpy():
    pixels = torch.rand(2, 3, 5, 6)
    array = pixels.numpy().astype(np.float64)
    fixed = classic(3, normalisation={"mode": "fixed", "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]})
    expected = (array - np.reshape([0.1, 0.2, 0.3], (1, 3, 1, 1))) / np.reshape([0.5, 0.6, 0.7], (1, 3, 1, 1))
    assert np.allclose(fixed.normalisation(pixels).numpy(), expected, atol=1e-6)
    image = classic(3, normalisation={"mode": "image", "mean": None, "std": None})
    expected = (array - array.mean((2, 3), keepdims=True)) / array.std((2, 3), keepdims=True)
    assert np.allclose(image.normalisation(pixels).numpy(), expected, atol=1e-5)
    volume = classic(3, normalisation={"mode": "volume", "mean": None, "std": None})
    mean, std = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]), torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    expected = (array - mean.numpy()[:, :, None, None]) / std.numpy()[:, :, None, None]
    assert np.allclose(volume.normalisation(pixels, mean, std).numpy(), expected, atol=1e-5)
    assert np.allclose(fixed.normalisation(pixels, mean, std).numpy(), expected, atol=1e-5)
    with pytest.raises(ValueError, match="volume"):
        volume(pixels)
    with pytest.raises(ValueError, match="both"):
        volume(pixels, mean)


def test_constant_image_normalises_to_zero():
    model = classic(normalisation={"mode": "image", "mean": None, "std": None}).eval()
    assert torch.equal(model.normalisation(torch.full((1, 1, 4, 4), 0.5)), torch.zeros(1, 1, 4, 4))


def test_probabilities():
    softmax = classic(outputs=3)
    logits = torch.randn(2, 3, 4, 4, dtype=torch.bfloat16)
    exponent = np.exp(logits.float().numpy().astype(np.float64))
    assert np.allclose(softmax.probabilities(logits), exponent / exponent.sum(1, keepdims=True), atol=1e-6)
    assert softmax.probabilities(logits).dtype == torch.float32
    sigmoid = classic(head="sigmoid")
    assert sigmoid(torch.rand(1, 1, 8, 8)).shape == (1, 1, 8, 8)
    logits = torch.randn(2, 1, 4, 4) * 30
    foreground = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)))
    expected = np.concatenate([1 - foreground, foreground], 1)
    assert np.allclose(sigmoid.probabilities(logits), expected, atol=1e-6)


@pytest.mark.parametrize("norm", ["batch", "group", "instance", "none"])
def test_channels_last_is_kept_through(norm):
    model = classic(2, norm=norm, outputs=3).to(memory_format=torch.channels_last)
    maps = []
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.ReLU):
            part.register_forward_hook(lambda _m, _i, out: maps.append(out))
    model(torch.rand(2, 2, 12, 12))
    assert maps
    assert all(out.is_contiguous(memory_format=torch.channels_last) for out in maps)


def test_he_initialisation_keeps_the_size_of_the_signal():
    torch.manual_seed(0)
    encoder = ClassicEncoder(1, 32, 2, "none")
    weight = encoder.levels[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    model = UNet(ClassicEncoder(1, 32, 4, "none"), 2, norm="none")
    up = model.decoder.levels[0].up
    assert up.weight.std().item() == pytest.approx((1 / 512) ** 0.5, rel=0.02)
    assert not up.bias.any()
    logits = model(torch.randn(1, 1, 64, 64).clamp(-3, 3))
    assert 0.1 < logits.std().item() < 10


def test_mirrored_and_given_decoder_channels():
    assert [level.up.out_channels for level in classic(features=4, depth=3).decoder.levels] == [16, 8, 4]
    model = classic(depth=2, decoder_channels=[10, 6])
    assert [level.up.out_channels for level in model.decoder.levels] == [10, 6]
    assert model(torch.rand(1, 1, 5, 5)).shape == (1, 2, 5, 5)


def test_an_encoder_that_begins_at_half_resolution_can_have_a_skip_at_full_resolution():
    """What differs between the two pixels of a pair reaches the logits through the skip alone.

    The encoder here sees the mean of each 2×2 block, as a strided stem does in effect, so without the skip a
    checkerboard cannot be told from its negative.
    """

    class Halves(nn.Module):
        in_channels, channels, strides = 1, [4, 4], [2, 4]

        def forward(self, x):
            half = nn.functional.avg_pool2d(x, 2).repeat(1, 4, 1, 1)
            return [half, nn.functional.avg_pool2d(half, 2)]

    torch.manual_seed(0)
    board = torch.zeros(1, 1, 16, 16)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = 1
    blind = UNet(Halves(), 2, decoder_channels=[4, 4]).eval()
    torch.testing.assert_close(blind(board), blind(1 - board))
    seeing = UNet(Halves(), 2, decoder_channels=[4, 4], input_skip=6).eval()
    assert (seeing(board) - seeing(1 - board)).abs().max() > 1e-3
    # Two convolutions of 1→6→6 with their norms, and six more channels into the last block.
    more = 9 * 6 + 9 * 36 + 4 * 6 + 9 * 6 * 4
    assert sum(p.numel() for p in seeing.parameters()) - sum(p.numel() for p in blind.parameters()) == more


def test_bf16_weights_and_autocast():
    model = classic().eval()
    image = torch.rand(1, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(image).dtype == torch.bfloat16
    assert model.bfloat16()(image).dtype == torch.bfloat16


def test_it_compiles_into_one_graph():
    """No graph breaks, and another size or a padded one is no error; the eager backend skips the C++ compiler."""
    model = classic(features=2, depth=1, normalisation={"mode": "image", "mean": None, "std": None})
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for size in [(8, 8), (7, 13)]:
        image = torch.randint(0, 256, (2, 1, *size), dtype=torch.uint8)
        assert torch.equal(compiled(image), model(image))


def test_it_exports_for_any_size():
    """Of more than one cell of the coarsest level, of which torch.export makes a special case."""
    model = classic(features=2, depth=2, normalisation={"mode": "image", "mean": None, "std": None}).eval()
    dims = {
        0: torch.export.Dim("n"),
        2: torch.export.Dim("h", min=5, max=4096),
        3: torch.export.Dim("w", min=5, max=4096),
    }
    example = torch.randint(0, 256, (2, 1, 21, 30), dtype=torch.uint8)
    program = torch.export.export(
        model, (example,), dynamic_shapes=(dims,), prefer_deferred_runtime_asserts_over_guards=True
    )
    graph = program.module(check_guards=False)
    for size in [(2, 1, 20, 28), (1, 1, 7, 13), (3, 1, 33, 5)]:
        image = torch.randint(0, 256, size, dtype=torch.uint8)
        with torch.no_grad():
            assert torch.allclose(graph(image), model(image), atol=1e-5)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: classic(head="relu"), "model.head=relu"),
        (lambda: classic(norm="layer"), "model.norm=layer"),
        (lambda: classic(outputs=1), "at least 2 classes"),
        (lambda: classic(outputs=3, head="sigmoid"), "model.head=softmax"),
        (lambda: classic(decoder_channels=[8]), "needs 2 positive widths"),
        (lambda: build_encoder("unet", 1, depth=7), "encoder.depth=7 is too large: at most 6"),
        (lambda: build_encoder("unet", 1, init_features=0), "encoder.init_features=0 is too small"),
        (lambda: classic(normalisation={"mode": "fixed", "mean": [0, 0], "std": [1]}), "one per channel"),
        (lambda: classic(normalisation={"mode": "fixed", "mean": [0], "std": [0]}), "above 0"),
        (lambda: classic(normalisation={"mode": "mean"}), "dataset.normalisation=mean"),
        (lambda: classic(input_skip=8), "model\\.input_skip=8: "),
        (lambda: classic()(torch.rand(1, 3, 8, 8)), "1-channel.*\\b3\\b"),
        (lambda: build_encoder("unett", 1), r"unett.*\bunet\b"),
        (lambda: build_encoder("unet", 1, dept=3), r"\bdept\b.*\bdepth\b"),
        (lambda: build_encoder("unet", 0), "at least one input channel"),
    ],
)
def test_user_mistakes_are_one_line(build, words):
    with pytest.raises(UserError, match=words) as caught:
        build()
    assert "\n" not in str(caught.value)
