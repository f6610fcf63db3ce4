"""Streaming gives what tiled inference gives, and its memory does not grow with the image."""

import tracemalloc

import numpy as np
import pytest
import tifffile
import torch

from unet_train.data.description import DataDescription
from unet_train.data.io.large_tif import write_label_tiles
from unet_train.errors import UserError
from unet_train.inference import streaming, tiled
from unet_train.inference.predictor import Predictor, Tiling
from unet_train.inference.streaming import (
    cut_axis,
    predict_large,
    predict_tile,
    raster_tiles,
    stream_probabilities,
    streamed_statistics,
    to_classes,
)
from unet_train.models.spec import ModelSpec, build_model
from unet_train.preprocessing.intensity import image_statistics
from unet_train.preprocessing.preprocessing import Preprocessing


class Array:
    """An image in memory that is read like a large file."""

    def __init__(self, image):
        self.image, self.shape = image, image.shape

    def read(self, top, bottom, left, right):
        return self.image[top:bottom, left:right]


NATIVE = Preprocessing("fixed", 1.0)


def net(block):
    """Three "probabilities" that depend on a neighbourhood and, near a tile's edge, on the tile itself."""
    grey = block[..., 0].astype(np.float32) / 255
    smooth = sum(np.roll(grey, s, a) for s in (-2, -1, 0, 1, 2) for a in (0, 1)) / 10
    return np.stack([grey, smooth, 1 - grey])


def streamed(image, network, *, tile, overlap, multiple, preprocessing=NATIVE, **keys):
    """Blocks of probabilities of an image, which need not be in memory."""
    rows, columns = (
        cut_axis(length, preprocessing, tile=tile, overlap=overlap, multiple=multiple)
        for length in image.shape[:2]
    )

    def predict(pixels, row, column):
        return predict_tile(network, pixels, preprocessing, None, row, column)

    return stream_probabilities(predict, image, rows, columns, **keys)


def put_together(blocks, size, outputs):
    result = np.full((outputs, *size), np.nan, np.float32)
    for top, left, part in blocks:
        place = result[:, top : top + part.shape[1], left : left + part.shape[2]]
        assert np.isnan(place).all(), "each pixel once"
        place[...] = part
    return result


@pytest.mark.parametrize("size", [(150, 210), (64, 64), (33, 190), (190, 20), (97, 64), (1, 70)])
@pytest.mark.parametrize(("tile", "overlap"), [(64, 16), (64, 0), (64, 48), (32, 8), (8, 0)])
def test_blocks_are_those_of_tiled_inference(size, tile, overlap):
    image = np.random.default_rng(0).integers(0, 256, (*size, 1), dtype=np.uint8)
    whole = tiled.predict_tiled(
        lambda stack: np.stack([net(b) for b in stack]), image, tile=tile, overlap=overlap, multiple=8
    )
    seen = []
    blocks = streamed(
        Array(image),
        net,
        tile=tile,
        overlap=overlap,
        multiple=8,
        progress=lambda i, n: seen.append((i, n)),
    )
    np.testing.assert_allclose(put_together(blocks, size, 3), whole, atol=1e-6)
    assert seen[-1][0] == seen[-1][1] == len(seen)


@pytest.mark.parametrize("size", [(150, 210), (64, 64), (33, 20)])
def test_blocks_become_raster_tiles(tmp_path, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 1), dtype=np.uint8)
    blocks = list(to_classes(streamed(Array(image), net, tile=64, overlap=16, multiple=8)))
    write_label_tiles(tmp_path / "a.tif", raster_tiles(iter(blocks), size, 32, tmp_path), size, 32)
    expected = np.zeros(size, np.uint8)
    for top, left, classes in blocks:
        expected[top : top + classes.shape[0], left : left + classes.shape[1]] = classes
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"], "the temporary files are gone"


def predictor(**description):
    torch.manual_seed(0)
    spec = ModelSpec(
        encoder={"kind": "unet", "init_features": 4, "depth": 2}, in_channels=1, outputs=["a", "b"]
    )
    model = build_model(spec).eval()
    noise = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():  # balanced, so that both classes are predicted
        logits = model(noise)
        model.head.bias[1] += (logits[:, 0] - logits[:, 1]).median()
    data = DataDescription(name="x", classes=("a", "b"), channels=1, **description)
    return Predictor(model=model, data=data, tiling=Tiling(64, 24))


def test_a_large_tif_is_predicted_like_a_small_one(tmp_path):
    image = np.random.default_rng(2).integers(0, 256, (200, 332), dtype=np.uint8)
    image[:, 100:] //= 2
    tifffile.imwrite(tmp_path / "in.tif", image, tile=(32, 32), compression="zlib")
    one = predictor(normalisation="image")
    result = predict_large(one, tmp_path / "in.tif", tmp_path / "new folder" / "out.tif")
    expected = one.predict(image)
    written = tifffile.imread(tmp_path / "new folder" / "out.tif")
    assert written.dtype == np.uint8
    assert 0.05 < expected.classes.mean() < 0.95, "a picture with both classes"
    unsure = np.abs(expected.probabilities[0] - 0.5) < 1e-4
    assert ((written == expected.classes) | unsure).all()
    assert result.size == (200, 332)
    assert sum(result.class_pixels) == image.size
    assert result.class_pixels[1] == (written == 1).sum()
    np.testing.assert_array_equal(result.class_preview, written)
    np.testing.assert_array_equal(result.image_preview[..., 0], image)


def test_previews_are_reduced(tmp_path, monkeypatch):
    image = np.random.default_rng(3).integers(0, 256, (130, 175), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", image, rowsperstrip=16)
    monkeypatch.setattr(streaming, "PREVIEW_SIDE", 50)
    result = predict_large(predictor(), tmp_path / "in.tif", tmp_path / "out.tif")
    assert result.step == 4
    np.testing.assert_array_equal(result.class_preview, tifffile.imread(tmp_path / "out.tif")[::4, ::4])
    np.testing.assert_array_equal(result.image_preview[..., 0], image[::4, ::4])


def test_working_resolution_and_automatic_tiles(tmp_path):
    """At half resolution tiles and whole image resample alike, because tiles begin at even pixels."""
    image = np.random.default_rng(4).integers(0, 256, (160, 240), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", image, rowsperstrip=16)
    one = predictor(scale=0.5, normalisation="fixed")
    one.tiling = Tiling(64, 32)
    predict_large(one, tmp_path / "in.tif", tmp_path / "out.tif")
    whole = Predictor(model=one.model, data=one.data).predict(image)
    same = tifffile.imread(tmp_path / "out.tif") == whole.classes
    assert same.mean() > 0.999
    one.tiling = Tiling(None)
    predict_large(one, tmp_path / "in.tif", tmp_path / "auto.tif")
    assert (tifffile.imread(tmp_path / "auto.tif") == whole.classes).mean() > 0.999


def test_statistics_in_one_pass():
    image = np.random.default_rng(5).integers(0, 256, (70, 90, 2), dtype=np.uint8)
    for array in (image, (image / 255).astype(np.float32), np.zeros_like(image)):
        streamed, exact = streamed_statistics(Array(array), side=32), image_statistics(array)
        np.testing.assert_allclose(streamed.mean, exact.mean, atol=1e-7)
        np.testing.assert_allclose(streamed.std, exact.std, atol=1e-7)
        assert streamed.low is None


def test_a_model_that_needs_the_volume_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", np.zeros((64, 64), np.uint8))
    with pytest.raises(UserError, match="normalisation=volume"):
        predict_large(predictor(normalisation="volume"), tmp_path / "in.tif", tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()


def test_memory_does_not_grow_with_the_image(tmp_path):
    """Sixteen times the pixels, in both directions: the same peak (a tile's arrays, not the image's)."""

    class Drawn:
        """An image of any size that exists only where it is looked at."""

        def __init__(self, height, width):
            self.shape = (height, width, 1)

        def read(self, top, bottom, left, right):
            rows, columns = np.ogrid[top:bottom, left:right]
            return ((rows * 7 + columns * 13) % 251).astype(np.uint8)[..., None]

    def peak(height, width):
        tracemalloc.start()
        blocks = streamed(Drawn(height, width), net, tile=128, overlap=32, multiple=16, folder=tmp_path)
        tiles = raster_tiles(to_classes(blocks), (height, width), 64, tmp_path)
        count = sum(int(t.sum() >= 0) for t in tiles)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == -(-height // 64) * -(-width // 64)
        return result

    small = peak(256, 256)
    assert peak(256, 4096) < 1.2 * small
    assert peak(4096, 256) < 1.2 * small
    assert small < 40 * 128 * 128 * 4, "some tens of a tile's planes"
