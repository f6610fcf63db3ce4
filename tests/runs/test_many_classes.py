"""A run on scenes of three classes without a background: what counts, what is said, what is kept."""

import json

import numpy as np
import pytest

from unet_train.data.images import write_image, write_labels

SHORT = [
    *("trainer.epochs=2", "trainer.samples_per_epoch=4", "trainer.batch_size=2", "trainer.workers=0"),
    *("trainer.val_every=1", "trainer.pictures=1", "trainer.precision=32", "augmentation.crop_size=32"),
    *("encoder.init_features=4", "encoder.depth=2"),
]
NAMES = ["sky", "road", "car"]


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Six 40×48 images: sky above, road below, a small car on it in all but one image."""
    root = tmp_path_factory.mktemp("street")
    rng = np.random.default_rng(0)
    for index in range(6):
        labels = np.zeros((40, 48), np.uint8)
        labels[20:] = 1
        if index != 5:
            labels[24:27, 4 * index : 4 * index + 3] = 2
        pixels = (np.array([200, 90, 20])[labels] + rng.integers(0, 20, labels.shape)).astype(np.uint8)
        write_image(root / f"images/im_{index}.png", pixels)
        write_labels(root / f"masks/im_{index}.png", labels)
    split = {"train": ["im_0", "im_1", "im_2"], "val": ["im_3", "im_5"], "test": ["im_4"]}
    (root / "split.json").write_text(json.dumps(split))
    return root


@pytest.fixture(scope="module")
def words(street):
    return [
        *("dataset=folder", f"dataset.root={street}", f"dataset.classes=[{','.join(NAMES)}]"),
        f"split.file={street / 'split.json'}",
        *SHORT,
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory, words):
    """A finished run and its evaluation."""
    from tests_command import command

    folder = tmp_path_factory.mktemp("many") / "run"
    assert command("train", *words, f"hydra.run.dir={folder}") == 0
    assert command("eval", f"ckpt={folder}", "overlays=1", "accelerator=cpu", "precision=32") == 0
    return folder
