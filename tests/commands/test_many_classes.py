"""As many classes as a class map holds, and one more."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from unet_train.data.io.images import read_image, read_labels, write_image


def write_ids(root):
    """Four images with each of the ids 0 to 254, and 255 for unknown."""
    ids = np.kron(np.arange(256, dtype=np.uint8).reshape(16, 16), np.ones((3, 3), np.uint8))
    for i in range(4):
        write_image(root / "images" / f"{i}.png", np.roll(ids, i, axis=1))
        write_image(root / "masks" / f"{i}.png", np.roll(ids, i, axis=1))


def named(count):
    return f"dataset.classes=[{','.join(f'kind_{i}' for i in range(count))}]"


def test_255_classes_train_evaluate_and_predict(own_folder, run_command, short, capsys):
    """The confusion matrix alone once took gigabytes."""
    write_ids(own_folder / "data")
    words = ["dataset=folder", "dataset.root=data", "dataset.ignore_value=255", "trainer.pictures=1"]
    assert run_command("train", *short, *words, named(255), "hydra.run.dir=run") == 0
    assert run_command("eval", "ckpt=run", "part=val", "output=eval") == 0
    table = capsys.readouterr().out
    assert all(f"\nkind_{i} " in table for i in range(255))
    metrics = json.loads(Path("eval/metrics.json").read_text())
    assert metrics["iou/mean_over"] == 255
    assert max(read_image("eval/confusion_matrix.png").shape) <= 2600
    with open("eval/per_image.csv", newline="") as file:
        assert "iou/kind_254" in next(csv.reader(file))
    assert run_command("predict", "ckpt=run", "input=data/images", "output=out") == 0
    classes = read_labels("out/classes/0.tif")
    assert classes.dtype == np.uint8
    assert classes.max() < 255
    mask = read_image("out/masks/0.png")
    assert len(np.unique(mask.reshape(-1, 3), axis=0)) == len(np.unique(classes))


@pytest.mark.parametrize("extra", [[], ["'dataset.values={0:0,1:1,9:255}'"]])
def test_256_classes_are_refused_in_one_line(own_folder, run_command, short, capsys, extra):
    write_ids(own_folder / "data")
    words = ["dataset=folder", "dataset.root=data", named(256), *[word.strip("'") for word in extra]]
    assert run_command("train", *short, *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "256" in error
    assert "at most 255 classes" in error
