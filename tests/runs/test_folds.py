"""All folds of a cross-validation in one command: trained, gone on with, pooled out of fold, averaged."""

import csv
import json
import shutil

import numpy as np
import pytest
import tifffile
import torch

import unet_train
from unet_train.config.folds import FOLDS, Folds
from unet_train.data.io.images import write_image
from unet_train.errors import UserError
from unet_train.metrics.pooled import ImageCounts
from unet_train.runs.counts_file import write_counts
from unet_train.runs.folds import pool
from unet_train.runs.run_records import EvaluationRecord

TINY = ["experiment=smoke", "dataset=folder", "trainer.epochs=1", "trainer.samples_per_epoch=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, write_images):
    """The folder of two trained and evaluated folds, and that of its images."""
    from unet_train.commands import shell, train

    root = tmp_path_factory.mktemp("folds")
    data, folder = write_images(root / "mine", 6), root / "cv"
    words = [
        *TINY,
        f"dataset.root={data}",
        "split.folds=2",
        "split.fold=all",
        f"hydra.run.dir={folder}",
    ]
    assert shell.run("train", train.train, words) == 0
    return folder, data


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def evaluation(folder, images, patients=()):
    folder.mkdir(parents=True)
    write_counts(folder / "counts.csv", images, ("background", "cell"))
    if patients:
        rows = ["patient,slices,true_voxels,predicted_voxels,dice,dice_largest"]
        rows += [f"{name},1,9,9,{dice},{dice / 2}" for name, dice in patients]
        (folder / "per_patient.csv").write_text("\n".join(rows))
    return EvaluationRecord(folder, {"background": True})


def image(name, hit, missed, invented):
    return ImageCounts.of(name, "", np.array([[100, invented], [missed, hit]]))


def test_pooled_scores_are_of_the_images_of_all_folds_together(tmp_path):
    first = [image("a", 10, 0, 0), image("b", 5, 5, 0)]
    second = [image(f"c{i}", 1, 0, 9) for i in range(5)]
    pooled = pool([evaluation(tmp_path / "0", first), evaluation(tmp_path / "1", second)])
    assert pooled.scores["iou/cell"] == pytest.approx(20 / (20 + 5 + 45)), "not the mean of the folds' IoU"
    assert (pooled.unit, pooled.groups) == ("images", 7)
    low, high = pooled.intervals["iou/cell"]
    assert low < 20 / 70 < high


def test_patients_of_all_folds_stand_side_by_side(tmp_path):
    dice = {"p1": 0.9, "p2": 0.5, "p3": 0.1, "p4": 0.6}
    halves = [list(dice.items())[:2], list(dice.items())[2:]]
    found = [
        evaluation(tmp_path / str(n), [image(name, 1, 1, 1) for name, _ in half], half)
        for n, half in enumerate(halves)
    ]
    pooled = pool(found)
    assert pooled.scores["dice_per_patient/mean"] == pytest.approx(np.mean(list(dice.values())))
    assert pooled.scores["dice_per_patient_largest/median"] == pytest.approx(
        np.median(list(dice.values())) / 2
    )
    assert pooled.unit == "patients"


def test_an_image_in_two_test_parts_is_refused(tmp_path):
    twice = [evaluation(tmp_path / str(n), [image("a", 1, 1, 1)]) for n in range(2)]
    with pytest.raises(UserError, match=r"^split\.file: a is in the test part of two folds"):
        pool(twice)


def test_every_image_is_scored_once_by_the_fold_that_held_it_out(trained):
    folder, data = trained
    rows = read_csv(folder / "per_image.csv")
    held_out = {}
    for fold in (0, 1):
        split = json.loads((folder / f"fold_{fold}" / "split.json").read_text())
        held_out |= dict.fromkeys(split["test"], str(fold))
    assert {row["key"]: row["fold"] for row in rows} == held_out
    assert len(rows) == len(list((data / "images").iterdir()))
    metrics = json.loads((folder / "metrics.json").read_text())
    values = [fold["iou/mean"] for fold in metrics["folds"]]
    assert metrics["mean_over_folds"]["iou/mean"] == pytest.approx(np.mean(values))
    assert metrics["std_over_folds"]["iou/mean"] == pytest.approx(np.std(values, ddof=1))


def test_a_call_with_the_same_folder_trains_what_is_missing_alone(trained, tmp_path, run_command, capsys):
    folder = shutil.copytree(trained[0], tmp_path / "cv")
    shutil.rmtree(folder / "fold_1")
    finished = (folder / "fold_0" / "last.pt").stat().st_mtime_ns
    capsys.readouterr()
    assert run_command("train", f"resume={folder}") == 0
    said = capsys.readouterr().out
    assert "fold_0: finished already" in said
    assert "fold_0:\n" not in said, "evaluated no second time"
    assert (folder / "fold_0" / "last.pt").stat().st_mtime_ns == finished
    assert (folder / "metrics.json").read_text() == (trained[0] / "metrics.json").read_text()


def test_a_folder_of_folds_predicts_the_mean_of_its_models(trained, tmp_path):
    folder, data = shutil.copytree(trained[0], tmp_path / "cv"), trained[1]
    content = torch.load(folder / "fold_1" / "best.pt", weights_only=True)
    content["state_dict"]["head.bias"] += torch.tensor([0.0, 3.0])  # so that the two are not nearly the same
    torch.save(content, folder / "fold_1" / "best.pt")
    path = data / "images" / "im_0.png"
    assert unet_train.predict(folder, path, tmp_path / "out", probabilities=True).predicted == 1
    written = tifffile.imread(tmp_path / "out" / "probabilities" / "im_0.tif").transpose(2, 0, 1)
    each = [unet_train.load(folder / f"fold_{n}").predict(path).probabilities for n in range(2)]
    assert np.abs(each[0] - each[1]).max() > 0.1
    np.testing.assert_allclose(written, np.mean(each, axis=0), atol=2e-3)
    together = unet_train.load(folder)
    np.testing.assert_allclose(together.predict(path).probabilities, np.mean(each, axis=0), atol=1e-6)
    assert "2 models" in repr(together)


def test_unet_eval_scores_the_runs_images_out_of_fold_and_others_by_the_mean(
    trained, tmp_path, run_command, capsys, write_images
):
    folder = shutil.copytree(trained[0], tmp_path / "cv")
    for name in ("metrics.json", "per_image.csv"):
        (folder / name).unlink()
    assert run_command("eval", f"ckpt={folder}", "report=false") == 0
    before, after = (json.loads((f / "metrics.json").read_text()) for f in (trained[0], folder))
    assert after["iou/mean"] == pytest.approx(before["iou/mean"])
    other = write_images(tmp_path / "other", 3, image=lambda i, pixels: 255 - pixels)
    assert (
        run_command("eval", f"ckpt={folder}", "dataset=folder", f"dataset.root={other}", "report=false") == 0
    )
    found = json.loads((folder / "eval" / "folder-all" / "metrics.json").read_text())
    assert (found["n_images"], found["trained_on"]) == (3, 0)
    capsys.readouterr()
    assert run_command("eval", f"ckpt={folder}", "part=val") == 2
    assert "part=val" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words", "says"),
    [
        ("train", ["split.fold=all", "dataset=demo"], "needs the number of folds: split.folds=5"),
        ("train", ["+split.fold='all'", "dataset=demo"], "needs the number of folds: split.folds=5"),
        ("train", ["-m", "split.folds=2", "split.fold=all", "seed=0,1"], "does not go with -m"),
        ("train", ["resume={cv}", "hydra.run.dir=else"], "hydra.run.dir=else: folds that go on stay"),
        ("train", ["split.folds=3", "split.fold=all", "hydra.run.dir={cv}"], "holds 2 folds, not 3"),
        ("predict", ["ckpt={cv}", "input={cv}", "output=o"], "fold_0, fold_1 of 2 folds have no best.pt"),
        ("eval", ["ckpt={cv}"], "resume={cv}"),
    ],
)
def test_what_makes_no_folds_is_refused_in_one_line(tmp_path, run_command, capsys, command, words, says):
    folder = tmp_path / "cv"
    folder.mkdir()
    (folder / FOLDS).write_text(json.dumps(Folds(2, ("experiment=smoke", "split.folds=2")).to_json()))
    write_image(folder / "a.png", np.zeros((4, 4), np.uint8))
    assert run_command(command, *(word.format(cv=folder) for word in words)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert says.format(cv=folder) in said
