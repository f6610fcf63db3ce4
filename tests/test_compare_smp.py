"""The rival: its pure parts, and a whole short run where segmentation-models-pytorch is installed."""

import importlib.util
import itertools
import json

import numpy as np
import pytest
import torch
from torch import nn

from unet_train.data.io.images import write_image, write_labels
from unet_train.data.records import Record


@pytest.fixture(scope="module")
def rival(repository):
    spec = importlib.util.spec_from_file_location("compare_smp", repository / "scripts" / "compare_smp.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_images_are_divided_as_a_run_divided_them(rival, tmp_path):
    records = [Record(key, f"{key}.png") for key in ("a1", "a2", "b1", "b2")]
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["b2"], "val": ["b1"], "test": ["a1"], "notes": []}))
    keys = [[record.key for record in part] for part in rival.divide(records, split, "b")]
    assert keys == [["b2"], ["a1"]]
    keys = [[record.key for record in part] for part in rival.divide(records, None, "b")]
    assert keys == [["a1", "a2"], ["b1", "b2"]]


def test_crops_lie_where_their_labels_lie(rival):
    """Pixels are made of their labels, so a crop or a flip of one without the other shows."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 200, (20, 31), np.uint8) for _ in range(3)]
    images = [np.repeat(part[:, :, None], 3, 2) for part in labels]
    for pixels, classes in itertools.islice(rival.batches(images, labels, 2, 16, 0), 9):
        assert pixels.shape == (2, 3, 16, 16)
        assert torch.equal(((pixels + 1) * 127.5).round().long()[:, 1], classes)


def test_a_whole_image_is_predicted_at_its_own_size(rival):
    """A net that only takes multiples of 32, and answers with its first channel's sign."""

    class Sign(nn.Module):
        def forward(self, x):
            assert x.shape[-2] % 32 == x.shape[-1] % 32 == 0
            return torch.cat([-x[:, :1], x[:, :1]], 1)

    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    assert (rival.predict(Sign(), image, "cpu") == (image[:, :, 0] > 127)).all()


def test_a_short_run_writes_the_measures_of_the_protocol(rival, tmp_path):
    pytest.importorskip("segmentation_models_pytorch", reason='needs the extra: pip install -e ".[bench]"')
    rng = np.random.default_rng(0)
    for name in ("a1", "a2", "b1"):
        mask = np.repeat(np.arange(3, dtype=np.uint8), 24)[:, None].repeat(72, 1)
        mask[:, :4] = 9
        write_labels(tmp_path / "masks" / f"{name}.png", mask)
        write_image(tmp_path / "images" / f"{name}.png", rng.integers(0, 256, (72, 72, 3), np.uint8))
    words = (
        f"--root {tmp_path} --output {tmp_path / 'out'} --test-prefix b --minutes 0.01 --crop 64 --batch 2"
    )
    rival.main([*words.split(), "--classes", "one", "two", "three", "--void", "9"])
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["steps"] >= 1
    assert metrics["images"] == 1
    classes = [metrics[f"iou/{name}"] for name in ("one", "two", "three")]
    assert metrics["iou/mean"] == pytest.approx(np.nanmean(classes))
