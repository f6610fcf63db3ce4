"""Scenes of three classes without a background: what counts, what is said of classes that are lost, what is kept."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from unet_train import api
from unet_train.data.io.images import read_labels, write_image, write_labels

NAMES = ["sky", "road", "car"]
LENGTH = ["trainer.epochs=2", "trainer.val_every=1", "trainer.precision=32"]


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Seven 40×48 images: sky above, road below, a small car on it but in the last two."""
    root = tmp_path_factory.mktemp("street")
    rng = np.random.default_rng(0)
    for index in range(7):
        labels = np.zeros((40, 48), np.uint8)
        labels[20:] = 1
        if index < 5:
            labels[24:27, 4 * index : 4 * index + 3] = 2
        pixels = (np.array([200, 90, 20])[labels] + rng.integers(0, 20, labels.shape)).astype(np.uint8)
        write_image(root / f"images/im_{index}.png", pixels)
        write_labels(root / f"masks/im_{index}.png", labels)
    return root


def split_file(root, train, val, test=()):
    """A split of the images by number, as the word that names it."""
    parts = {"train": train, "val": val, "test": test}
    path = root / f"split_{'_'.join(''.join(map(str, numbers)) for numbers in parts.values())}.json"
    path.write_text(json.dumps({part: [f"im_{n}" for n in numbers] for part, numbers in parts.items()}))
    return f"split.file={path}"


@pytest.fixture(scope="module")
def words(street, short):
    data = ["dataset=folder", f"dataset.root={street}", f"dataset.classes=[{','.join(NAMES)}]"]
    return [*short, *LENGTH, *data]


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_command, words, street):
    """A finished run that was taught nothing but road, and its evaluation."""
    folder = tmp_path_factory.mktemp("scenes") / "run"
    more = [split_file(street, [0, 1, 2], [3, 5], [4]), "trainer.pictures=1", "trainer.samples_per_epoch=32"]
    more += ["loss=cross_entropy", "loss.class_weights=[0,1,0]", "optimizer.lr=0.1", "trainer.ema_decay=null"]
    assert run_command("train", *words, *more, f"hydra.run.dir={folder}") == 0
    assert run_command("eval", f"ckpt={folder}", "overlays=1", "precision=32") == 0
    return folder


def table(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_all_three_classes_count(run):
    (folder,) = (run / "eval").iterdir()
    metrics = json.loads((folder / "metrics.json").read_text())
    classes = [metrics[f"iou/{name}"] for name in NAMES]
    assert metrics["iou/mean_over"] == 3
    assert metrics["iou/mean"] == pytest.approx(np.mean(classes))
    assert metrics["dice/mean"] == pytest.approx(np.mean([metrics[f"dice/{name}"] for name in NAMES]))
    assert metrics["n_empty"] == 0, "an image of sky alone would not be empty either"
    for row in table(run):
        assert row["val/iou/mean"] == pytest.approx(np.mean([row[f"val/iou/{name}"] for name in NAMES]))


def test_lost_classes_are_counted_and_named(run, street, run_command, own_folder):
    (folder,) = (run / "eval").iterdir()
    lost = json.loads((folder / "metrics.json").read_text())["classes_never_predicted"]
    assert "car" in lost
    words = ["precision=32", "output=out"]
    assert run_command("predict", f"ckpt={run}", f"input={street / 'images' / 'im_4.png'}", *words) == 0
    found = np.unique(read_labels("out/classes/im_4.tif"))
    assert lost == [name for index, name in enumerate(NAMES) if index not in found]
    log = (run / "train.log").read_text()
    counts = [row["val/classes_never_predicted"] for row in table(run)]
    assert all(count >= 1 for count in counts)
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    assert [event.value for event in events.Scalars("val/classes_never_predicted")] == counts
    said = [line for line in log.splitlines() if "never predicted" in line]
    assert len(said) == 3, "after each validation, and at the end"
    for line, count in zip(said, [*counts, counts[-1]], strict=True):
        assert sum(name in line for name in NAMES) == count
        assert f"{count:.0f} of 3" in line


def test_the_count_is_no_score_to_choose_the_best_epoch_by(words, street, run_command, capsys, own_folder):
    more = [split_file(street, [0, 1, 2], [3]), "checkpoint.monitor=classes_never_predicted"]
    assert run_command("train", *words, *more, "hydra.run.dir=run") == 2
    assert "checkpoint.monitor=classes_never_predicted" in capsys.readouterr().err


def test_the_checkpoint_keeps_the_meaning(run, street):
    for name in ("best.pt", "last.pt"):
        data = torch.load(run / name, weights_only=True)["data"]
        assert data["has_background"] is False
        assert data["classes"] == tuple(NAMES) or data["classes"] == NAMES
    model = api.load(run)
    assert model.data.has_background is False


def test_the_background_can_be_named(words, street, run_command, own_folder):
    more = [split_file(street, [0, 1, 2], [3, 5]), "dataset.background=road"]
    assert run_command("train", *words, *more, "hydra.run.dir=run") == 0
    assert torch.load("run/best.pt", weights_only=True)["data"]["has_background"] is True
    for row in table(Path("run")):
        counted = [row[f"val/iou/{name}"] for name in ("sky", "car")]
        assert row["val/iou/mean"] == pytest.approx(np.mean(counted))
    assert run_command("predict", "ckpt=run", f"input={street / 'images'}", "output=out") == 0


def test_masks_whose_values_mean_other_classes_are_not_scored(words, street, run_command, capsys, own_folder):
    """The default names are the same whichever class is the background; only the table tells."""
    unnamed = [word for word in words if not word.startswith("dataset.classes")]
    part = split_file(street, [0, 1, 2], [3, 5], [4])
    assert run_command("train", *unnamed, part, "dataset.background=1", "hydra.run.dir=run") == 0
    assert torch.load("run/best.pt", weights_only=True)["data"]["mask_values"] == {0: 1, 1: 0, 2: 2}
    capsys.readouterr()
    other = ["ckpt=run", "dataset=folder", f"dataset.root={street}", "part=all", "precision=32"]
    assert run_command("eval", *other) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    advice = [word.strip("'") for word in error.split() if word.strip("'").startswith("dataset.")]
    assert advice == ["dataset.values={0:1,1:0,2:2}", "dataset.classes=[background,class_1,class_2]"]
    assert run_command("eval", *other, *advice, "output=there") == 0
    assert run_command("eval", "ckpt=run", "part=all", "precision=32", "output=own") == 0
    there, own = (json.loads(Path(name, "metrics.json").read_text()) for name in ("there", "own"))
    assert there["n_images"] == 7
    assert {k: v for k, v in there.items() if "/" in k} == {k: v for k, v in own.items() if "/" in k}


def test_other_data_may_write_other_values_for_the_same_classes(short, run_command, write_images, own_folder):
    """Black and white as 0 and 255 in training, as 0 and 1 in the data that are scored."""
    write_images(own_folder / "white")
    write_images(own_folder / "ones", mask=lambda i, labels: labels // 255)
    words = [*short, "dataset=folder", "dataset.root=white", "hydra.run.dir=run"]
    assert run_command("train", *words) == 0
    scores = []
    for root in ("white", "ones"):
        data = ["dataset=folder", f"dataset.root={root}", "part=all", f"output={root}_scores"]
        assert run_command("eval", "ckpt=run", "precision=32", *data) == 0
        scores.append(json.loads(Path(f"{root}_scores", "metrics.json").read_text())["iou/foreground"])
    assert scores[0] == scores[1]


def test_class_weights_by_frequency_are_those_of_the_training_part(words, street, run_command, own_folder):
    """By hand: 40·48 pixels an image, half of them sky; the car's nine taken from the road."""
    pixels = {"sky": 960, "road": 951, "car": 9}
    frequency = {name: count / 1920 for name, count in pixels.items()}
    middle = sorted(frequency.values())[1]
    part = split_file(street, [0, 1, 2], [5])
    for kind, power in (("auto", 1.0), ("sqrt", 0.5)):
        assert run_command("train", *words, part, f"loss.class_weights={kind}", f"hydra.run.dir={kind}") == 0
        (line,) = [
            line for line in Path(kind, "train.log").read_text().splitlines() if "class weights" in line
        ]
        for name in NAMES:
            assert f"{name} {(middle / frequency[name]) ** power:.3g}" in line


def test_classes_that_only_some_parts_show_are_named_before_training(
    words, street, run_command, capsys, own_folder
):
    assert run_command("train", *words, split_file(street, [5, 6], [0]), "hydra.run.dir=a") == 0
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if "no training image" in line]
    assert "car" in line
    assert "val" in line
    assert said.index(line) < said.index("epoch 1/2")
    data = [word for word in words if word.startswith("dataset")]
    assert run_command("data", "check", *data, split_file(street, [0, 1], [5, 6])) == 0
    said = capsys.readouterr().out
    assert any("no image of val" in line and "car" in line for line in said.splitlines())
    first = said.splitlines()[0]
    assert "dataset.background=" in first
    assert run_command("data", "check", *data, "dataset.target=foreground") == 2
    assert "dataset.target=foreground" in capsys.readouterr().err


def test_a_resume_keeps_what_counts(words, street, run_command, own_folder):
    part = split_file(street, [0, 1, 2], [3, 5])
    assert run_command("train", *words, part, "hydra.run.dir=run") == 0
    assert run_command("train", "resume=run", "trainer.epochs=3") == 0
    rows = table(Path("run"))
    assert len(rows) == 3
    assert rows[-1]["val/iou/mean"] == pytest.approx(np.mean([rows[-1][f"val/iou/{name}"] for name in NAMES]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["dataset.background=raod"], ["dataset.background=raod", "road"]),
        (["dataset.background=7"], ["dataset.background=7", "0, 1, 2"]),
        (
            ["dataset.background=none", "model.head=sigmoid"],
            ["model.head=sigmoid", "dataset.background=none"],
        ),
        (["dataset.background=none", "dataset.instances=true"], ["dataset.instances=true"]),
        (["dataset.background=none", "dataset.target=foreground"], ["dataset.target=foreground"]),
        (["dataset.target=foreground"], ["dataset.target=foreground", "dataset.background"]),
        (["dataset.classes=[sky,road]"], ["masks", "0, 1, 2", "dataset.classes"]),
        (["dataset.classes=[sky,void,car]"], ["dataset.classes", "void", "dataset.ignore_value=1"]),
        (["loss.class_weights=[1,2]"], ["loss.class_weights", "2 numbers", "3 classes"]),
        (["loss.class_weights=atuo"], ["loss.class_weights=atuo", "auto", "sqrt"]),
        (["loss.class_weights=[1,-1,1]"], ["loss.class_weights"]),
        (["loss.class_weights=[0,0,0]"], ["loss.class_weights"]),
        (["loss.class_weights=[1,nan,1]"], ["loss.class_weights"]),
        (["loss.class_weights=[1,inf,1]"], ["loss.class_weights"]),
        (["loss=dice", "loss.class_weights=auto"], ["loss.class_weights", "cross_entropy"]),
        (["optimizer.encoder_lr_factor=0"], ["optimizer.encoder_lr_factor=0"]),
        (["optimizer.encoder_lr_factor=-1"], ["optimizer.encoder_lr_factor=-1"]),
    ],
)
def test_what_does_not_go_with_the_classes_is_one_line(words, run_command, capsys, own_folder, change, says):
    assert run_command("train", *words, *change, "hydra.run.dir=run") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for part in says:
        assert part in error
    assert not Path("run").exists()


def test_an_export_says_what_the_means_run_over(run, run_command, own_folder):
    assert run_command("export", f"ckpt={run}", "format=safetensors", "output=out") == 0
    card = Path("out/model_card.md").read_text(encoding="utf-8")
    assert "# U-Net for folder: sky, road, car" in card
    assert "None of them is the background" in card
