"""Tiles: where they lie, how they are weighed, and that one cannot see them."""

import numpy as np
import pytest
import torch
from torch import nn

from unet_train.errors import UserError
from unet_train.inference import tiled
from unet_train.inference.tiled import Tiling
from unet_train.inference.whole import predict_probabilities
from unet_train.models.spec import ModelSpec, build_model
from unet_train.symmetries import ALL_VIEWS


class Pooled(nn.Module):
    """A little U-Net-like net with two poolings (stride 4), zero-padded convolutions, and both paths."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Module()
        self.encoder.strides = [1, 2, 4]  # type: ignore[assignment]
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.middle = nn.Conv2d(6, 6, 3, padding=1)
        self.deep = nn.Conv2d(6, 6, 3, padding=1)
        self.last = nn.Conv2d(18, 3, 3, padding=1)

    # Farthest look to one side: deep sees 1 (first) + 2 (middle, at half) + 4 (deep, at a quarter) + pooling
    # windows (1 + 2) + bilinear-free repetition (3) + last (1).
    REACH = 1 + 2 + 4 + 3 + 3 + 1

    def forward(self, x, mean=None, std=None):
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        height, width = x.shape[2:]
        x = nn.functional.pad(x, (0, -width % 4, 0, -height % 4), mode="reflect")
        a = self.first(x).relu()
        b = self.middle(nn.functional.max_pool2d(a, 2)).relu()
        c = self.deep(nn.functional.max_pool2d(b, 2)).relu()
        up = nn.functional.interpolate
        x = torch.cat([a, up(b, scale_factor=2.0), up(c, scale_factor=4.0)], 1)
        return self.last(x)[:, :, :height, :width]

    def probabilities(self, logits):
        return logits.softmax(1)


@pytest.mark.parametrize("length", [64, 96, 128, 160, 1024, 19968])
@pytest.mark.parametrize(
    ("tile", "overlap", "multiple"), [(64, 16, 16), (64, 0, 32), (96, 40, 8), (64, 48, 16)]
)
def test_starts_cover_the_axis_evenly(length, tile, overlap, multiple):
    starts = tiled.tile_starts(length, tile, overlap, multiple)
    assert starts[0] == 0
    if length <= tile:
        assert starts == [0]
        return
    assert starts[-1] + tile == length
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (tile - steps >= overlap).all(), "at least the overlap asked for"
    assert steps.max() - steps.min() <= multiple, "evenly spread"
    assert all(start % multiple == 0 for start in starts)
    # No tile more than needed.
    assert len(starts) == 1 + -(-(length - tile) // ((tile - overlap) // multiple * multiple))


@pytest.mark.parametrize(
    ("length", "tile", "overlap"), [(64, 64, 16), (200, 64, 16), (200, 64, 48), (96, 32, 0)]
)
def test_weights_sum_to_one_and_are_never_zero(length, tile, overlap):
    starts = tiled.tile_starts(length, tile, overlap)
    total = np.zeros(length)
    for start, weight in zip(starts, tiled.axis_weights(starts, tile), strict=True):
        assert weight.dtype == np.float32
        assert (weight > 0).all()
        total[start : start + tile] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_a_constant_answer_shows_no_seams():
    def forward(stack):
        return np.full((len(stack), 2, *stack.shape[1:3]), 0.3, np.float32)

    result = tiled.predict_tiled(forward, np.zeros((150, 90, 1), np.uint8), tile=64, overlap=16, multiple=16)
    assert result.shape == (2, 150, 90)
    np.testing.assert_allclose(result, 0.3, atol=1e-6)


@pytest.mark.parametrize("size", [(120, 168), (117, 91), (40, 130), (30, 20)])
@pytest.mark.parametrize("views", [("identity",), ALL_VIEWS])
def test_tiled_equals_whole_once_the_overlap_covers_the_view(size, views):
    model = Pooled().eval()
    image = np.random.default_rng(0).integers(0, 256, (*size, 1), dtype=np.uint8)
    whole = predict_probabilities(model, image)
    overlap = int(np.ceil(Pooled.REACH / 0.375))
    if len(views) > 1:  # flips shift the pooling grid unless the size fits it
        image = image[: size[0] // 4 * 4, : size[1] // 4 * 4]
        whole = predict_probabilities(model, image, views=ALL_VIEWS)
    result = predict_probabilities(model, image, tiling=Tiling(64, overlap, batch=3), views=views)
    # Stated tolerance: the edge weight (1e-6 each) plus rounding in another order.
    np.testing.assert_allclose(result, whole, atol=2e-5)


def test_too_small_an_overlap_differs():
    model = Pooled().eval()
    image = np.random.default_rng(1).integers(0, 256, (120, 120, 1), dtype=np.uint8)
    whole = predict_probabilities(model, image)
    seams = np.abs(predict_probabilities(model, image, tiling=Tiling(32, 0)) - whole)
    assert seams.max() > 1e-3, "without an overlap the seams show: the test above can fail"
    blended = np.abs(predict_probabilities(model, image, tiling=Tiling(32, 16)) - whole)
    assert blended.mean() < seams.mean()


def test_impossible_tiles_are_refused_in_one_line():
    model, image = Pooled(), np.zeros((64, 64, 1), np.uint8)
    for tiling in (
        Tiling(0),
        Tiling(32, 32),
        Tiling(32, -1),
        Tiling(32, batch=0),
    ):
        with pytest.raises(UserError, match=r"^tile\.(size|overlap|batch): "):
            predict_probabilities(model, image, tiling=tiling)


def test_the_tile_follows_the_free_memory():
    model = Pooled().eval()
    need = tiled.bytes_per_pixel(model, 1)
    assert tiled.choose_tile(model, (100, 100, 1), free_bytes=int(need * 1e4 * 2.01)) is None
    side = tiled.choose_tile(model, (1000, 1000, 1), free_bytes=int(need * 1e4 * 2.01))
    assert side == 100
    assert tiled.choose_tile(model, (1000, 1000, 1), free_bytes=1000) == 16, "never smaller than four strides"
    assert tiled.free_memory("cpu") > 1 << 20
    image = np.zeros((40, 40, 1), np.uint8)
    assert predict_probabilities(model, image, tiling=Tiling("auto")).shape == (3, 40, 40)


def classic(depth=2, features=4, **keys):
    torch.manual_seed(0)
    spec = ModelSpec(
        encoder={"kind": "unet", "init_features": features, "depth": depth},
        in_channels=1,
        outputs=["background", "cell"],
        **keys,
    )
    return build_model(spec).eval()


@pytest.mark.parametrize("size", [(168, 200), (150, 161)])
def test_the_classic_net_tiled_equals_whole(size):
    """Two 3×3 convolutions per level look 2·(1 + 2 + 4 + 2 + 1) pixels far, pooling and up-steps 6 more: 26."""
    model = classic()
    image = np.random.default_rng(0).integers(0, 256, (*size, 1), dtype=np.uint8)
    whole = predict_probabilities(model, image)
    result = predict_probabilities(model, image, tiling=Tiling(128, int(np.ceil(26 / 0.375))))
    np.testing.assert_allclose(result, whole, atol=2e-5)
    assert whole.std() > 0.01


def test_a_model_normalised_per_image_sees_the_same_statistics_in_every_tile():
    model = classic(normalisation={"mode": "image", "mean": None, "std": None})
    image = np.random.default_rng(0).integers(0, 100, (168, 200, 1), dtype=np.uint8)
    image[:, 100:] += 120  # each half has statistics of its own
    whole = predict_probabilities(model, image)
    with torch.no_grad():
        own = model.probabilities(model(torch.from_numpy(image).permute(2, 0, 1)[None]))[0].numpy()
    np.testing.assert_allclose(whole, own, atol=1e-4, err_msg="as the model does it by itself")
    tiled_result = predict_probabilities(model, image, tiling=Tiling(128, 72))
    np.testing.assert_allclose(tiled_result, whole, atol=2e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (5, 5), (40, 2)])
def test_tiny_images_are_padded_by_tiles_as_by_the_network(size):
    model = classic()
    image = np.random.default_rng(0).integers(0, 256, (*size, 1), dtype=np.uint8)
    whole = predict_probabilities(model, image)
    np.testing.assert_allclose(predict_probabilities(model, image, tiling=Tiling(64)), whole, atol=1e-6)
