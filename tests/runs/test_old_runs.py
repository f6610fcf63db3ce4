"""Run folders of earlier code keep their meaning: they score, predict and go on as they did when they were made.

`tests/fixtures/run_0.1` holds two of them and says how they were made. `cells` has two classes. In `soil_leaf_root`
class 0 is the background by its place alone, as it was in all runs before `dataset.background`.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import unet_train

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "run_0.1"
CLASSES = {"cells": ["background", "foreground"], "soil_leaf_root": ["soil", "leaf", "root"]}
ON_CPU = ["accelerator=cpu", "precision=32"]


@pytest.fixture(params=CLASSES)
def old(request, tmp_path):
    """Name of a folder of the fixture; a copy of it is the working folder."""
    shutil.copytree(FIXTURES / request.param, tmp_path, dirs_exist_ok=True)
    return request.param


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(row: dict[str, str], start: str) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if name.startswith(start)}


@pytest.mark.parametrize("part", ["test", "val"])
def test_an_old_run_has_its_old_scores(old, part, run_command):
    metrics = Path(f"run/eval/folder-{part}/metrics.json")
    stored = json.loads(metrics.read_text(encoding="utf-8"))
    metrics.unlink()
    assert run_command("eval", "ckpt=run", f"part={part}", "overlays=0", *ON_CPU) == 0
    again = json.loads(metrics.read_text(encoding="utf-8"))
    names = {name for name in stored if name.startswith(("iou/", "dice/"))} | {"accuracy", "n_images"}
    assert {f"iou/{name}" for name in CLASSES[old]} < names
    assert {name: again[name] for name in names} == pytest.approx({n: stored[n] for n in names}, abs=1e-4)
    foreground = [stored[f"iou/{name}"] for name in CLASSES[old][1:]]
    assert again["iou/mean"] == pytest.approx(np.mean(foreground), abs=1e-4)
    assert again["iou/mean_over"] == len(foreground)


def test_an_old_run_predicts_what_it_predicted(old, run_command):
    words = ["ckpt=run", "input=drawn/images", "output=again"]
    assert run_command("predict", *words, *ON_CPU) == 0
    model = unet_train.load("run", accelerator="cpu", precision="32")
    stored = sorted(Path("predicted/classes").iterdir())
    assert len(stored) == 8
    clear, seen = 0, set()
    for path in stored:
        then = tifffile.imread(path)
        now = tifffile.imread(Path("again/classes") / path.name)
        image = np.asarray(Image.open(f"drawn/images/{path.stem}.png"))
        probabilities = model.predict(image).probabilities
        second, first = np.sort(probabilities, 0)[-2:]
        decided = first - second > 1e-3
        assert then.shape == now.shape == decided.shape
        np.testing.assert_array_equal(now[decided], then[decided])
        np.testing.assert_array_equal(probabilities.argmax(0)[decided], then[decided])
        clear += np.count_nonzero(decided)
        seen |= set(np.unique(then))
    assert clear > 0.95 * len(stored) * then.size
    assert seen == set(range(len(CLASSES[old])))


def test_an_old_run_goes_on_as_it_would_have(old, run_command):
    """The epoch to come is the one that the old code would have run, Dice without class 0 included.

    The tolerances are for another processor's rounding, over eighty steps; on the one of then nothing differs.
    """
    before = rows(Path("run/metrics.csv"))
    *_, expected = rows(Path("metrics_of_3_epochs.csv"))
    assert run_command("train", "resume=run", "trainer.epochs=3") == 0
    *kept, new = rows(Path("run/metrics.csv"))
    assert [{name: row[name] for name in before[0]} for row in kept] == before
    assert new["epoch"] == "3"

    iou = numbers(new, "val/iou/")
    assert iou["val/iou/mean"] == pytest.approx(np.mean([iou[f"val/iou/{n}"] for n in CLASSES[old][1:]]))
    assert iou["val/iou/mean_over"] == len(CLASSES[old]) - 1
    for start, tolerance in (("train/loss", 0.005), ("val/loss", 0.005), ("val/iou/", 0.02)):
        wanted = numbers(expected, start)
        assert numbers(new, start).keys() >= wanted.keys() > set()
        assert {n: float(new[n]) for n in wanted} == pytest.approx(wanted, abs=tolerance), start

    best = torch.load("run/best.pt", weights_only=True)["epoch"]
    scores = [float(row["val/iou/mean"]) for row in (*kept, new)]
    assert best == 1 + int(np.argmax(scores))


def test_an_old_run_is_resumed_a_second_time(old, run_command):
    """By then its config.yaml and last.pt are of today."""
    for epochs in (3, 4):
        words = ["resume=run", f"trainer.epochs={epochs}", "trainer.samples_per_epoch=8"]
        assert run_command("train", *words) == 0
    table = rows(Path("run/metrics.csv"))
    assert [row["epoch"] for row in table] == ["1", "2", "3", "4"]
    assert table[-1]["val/iou/mean_over"] == str(len(CLASSES[old]) - 1)


def test_old_checkpoints_load(old):
    """best.pt holds the averaged weights, and so does last.pt where the last epoch was the best."""
    image = np.asarray(Image.open("drawn/images/im_2.png"))
    files = ("run/best.pt", "run/last.pt")
    models = [unet_train.load(file, accelerator="cpu", precision="32") for file in files]
    for model in models:
        assert list(model.data.classes) == CLASSES[old]
        assert model.data.channels == 1
    best, last = (model.predict(image).probabilities for model in models)
    np.testing.assert_allclose(best, last, atol=1e-6)
