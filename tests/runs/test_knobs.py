"""Thresholds, objects' parameters and the working scale set at prediction and evaluation do what they say."""

import csv
import json

import cv2
import numpy as np
import pytest
import tifffile

from unet_train.config.compose import compose_command
from unet_train.data.io.images import read_labels, write_image
from unet_train.data.layouts.folder import folder_source
from unet_train.runs import prediction
from unet_train.runs.prediction_record import KEPT

GREYS = np.tile(np.arange(0, 255, 5, dtype=np.uint8), (8, 1))


def foreground(image: np.ndarray, threshold: float) -> np.ndarray:
    """What `save_threshold_model` predicts: the logistic function of 40 times the distance to 0.5."""
    return 1 / (1 + np.exp(-40 * (image / 255 - 0.5))) > threshold


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("word", "threshold"),
    [("null", 0.5), ("threshold=0.2", 0.2), ("threshold={cell: 0.2}", 0.2), ("threshold=0.9", 0.9)],
)
def test_a_threshold_moves_the_border_of_the_foreground(
    tmp_path, threshold_model, run_command, monkeypatch, word, threshold, large
):
    tifffile.imwrite(tmp_path / "a.tif", GREYS)
    if large:
        monkeypatch.setattr(prediction.streaming, "LARGE_PIXELS", 100)
    words = [
        "predict",
        f"ckpt={threshold_model()}",
        f"input={tmp_path / 'a.tif'}",
        f"output={tmp_path / 'o'}",
    ]
    assert run_command(*words, *([] if word == "null" else [word]), "precision=32") == 0
    found = read_labels(tmp_path / "o" / "classes" / "a.tif")
    np.testing.assert_array_equal(found, foreground(GREYS, threshold))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["threshold=1.5"], "threshold=1.5"),
        (["threshold=true"], "threshold=True"),
        (["threshold={background: 0.3}"], "cell"),
        (["threshold={cel: 0.3}"], "cell?"),
        (["objects.threshold=0.3"], "objects.threshold"),
        (["objects.edges=drop"], "objects.edges"),
        (["objects.threshold=2"], "objects.threshold=2"),
        (["scale=0"], "scale=0"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "eval"])
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path, threshold_model, run_command, capsys, command, words, named
):
    write_image(tmp_path / "a.png", GREYS)
    given = {"predict": [f"input={tmp_path / 'a.png'}", f"output={tmp_path / 'o'}"], "eval": []}[command]
    assert run_command(command, f"ckpt={threshold_model()}", *given, *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert named in error
    assert not (tmp_path / "o").exists()


def test_a_threshold_is_for_two_classes(tmp_path, threshold_model, run_command, capsys):
    model = threshold_model(classes=("background", "cell", "nucleus"))
    write_image(tmp_path / "a.png", GREYS)
    words = [f"ckpt={model}", f"input={tmp_path / 'a.png'}", f"output={tmp_path / 'o'}"]
    assert run_command("predict", *words, "threshold=0.3") == 2
    assert "nucleus" in capsys.readouterr().err


def test_parameters_of_objects_take_the_place_of_the_checkpoints(tmp_path, threshold_model, run_command):
    image = np.zeros((40, 50), np.uint8)
    image[5:15, 5:15] = image[20:35, 20:45] = image[5:7, 30:32] = 250
    image[20:35, 30:32] = 128  # a bridge of foreground that is less sure
    write_image(tmp_path / "a.png", image)
    model = threshold_model(has_instances=True, objects={"min_size": 20, "min_seed": 1})
    sizes = {}
    for word in (
        "objects.min_size=2",
        "objects.min_size=200",
        "objects.threshold=0.6",
        "objects.seed_threshold=0.4",
    ):
        output = tmp_path / word
        words = ["predict", f"ckpt={model}", f"input={tmp_path / 'a.png'}", f"output={output}", word]
        assert run_command(*words, "precision=32") == 0
        objects = tifffile.imread(output / "objects" / "a.tif")
        sizes[word.partition(".")[2]] = sorted(np.unique(objects, return_counts=True)[1][1:].tolist())
    assert sizes["min_size=2"] == [4, 100, 165, 210]
    assert sizes["min_size=200"] == [210]
    assert sizes["threshold=0.6"] == [100, 150, 195]
    assert sizes["seed_threshold=0.4"] == [100, 375]


def test_a_scale_takes_the_place_of_the_checkpoints(tmp_path, threshold_model, run_command):
    """At half the resolution pairs of pixels are seen as their mean; the way back is a linear interpolation."""
    image = np.kron(
        np.random.default_rng(0).integers(0, 256, (6, 8), dtype=np.uint8), np.ones((4, 4), np.uint8)
    )
    write_image(tmp_path / "a.png", image)
    model = threshold_model(steepness=10)
    words = ["predict", f"ckpt={model}", f"input={tmp_path / 'a.png'}", "probabilities=true", "precision=32"]
    assert run_command(*words, f"output={tmp_path / 'half'}", "scale=0.5") == 0
    seen = cv2.resize(image, (16, 12), interpolation=cv2.INTER_AREA) / 255
    expected = cv2.resize(1 / (1 + np.exp(-10 * (seen - 0.5))), (32, 24), interpolation=cv2.INTER_LINEAR)
    found = tifffile.imread(tmp_path / "half" / "probabilities" / "a.tif")[..., 1].astype(float)
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_the_record_says_what_was_set_and_earlier_folders_go_on(
    tmp_path, threshold_model, run_command, capsys
):
    write_image(tmp_path / "in" / "a.png", GREYS)
    words = ["predict", f"ckpt={threshold_model()}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'o'}"]
    assert run_command(*words, "threshold=0.3", "tta=all") == 0
    with open(tmp_path / "o" / "predicted.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["settings"] == "tta=all threshold=0.3"
    assert run_command(*words) == 2, "other settings in one folder"
    plain = [*words[:-1], f"output={tmp_path / 'p'}"]
    assert run_command(*plain) == 0
    record = tmp_path / "p" / "predicted.csv"
    with open(record, newline="") as file:
        rows = [row[: len(KEPT)] for row in csv.reader(file)]
    with open(record, "w", newline="") as file:
        csv.writer(file).writerows(rows)  # as versions of before the column wrote it
    write_image(tmp_path / "in" / "b.png", GREYS)
    capsys.readouterr()
    assert run_command(*plain) == 0
    assert "1 of 2 done already" in capsys.readouterr().out
    with open(record, newline="") as file:
        assert [len(row) for row in csv.reader(file)] == [len(KEPT)] * 3
    assert run_command(*plain) == 0
    assert "2 of 2 done already" in capsys.readouterr().out


@pytest.mark.parametrize("large", [False, True])
def test_class_maps_with_unknown_pixels_can_be_read_as_masks_again(
    tmp_path, threshold_model, run_command, monkeypatch, large
):
    """Only 0 and 255 are in the map, and it is not taken for black and white."""
    image = GREYS.copy()
    image[:, 25:] = 130  # 0.6 of cell
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", image)
    if large:
        monkeypatch.setattr(prediction.streaming, "LARGE_PIXELS", 100)
    words = ["predict", f"ckpt={threshold_model()}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'o'}"]
    assert run_command(*words, "ignore_below=0.8", "precision=32") == 0
    cell = 1 / (1 + np.exp(-40 * (image / 255 - 0.5)))
    expected = np.where(np.maximum(cell, 1 - cell) < 0.8, 255, cell > 0.5)
    assert set(np.unique(expected)) == {0, 255}
    np.testing.assert_array_equal(read_labels(tmp_path / "o" / "classes" / "a.tif"), expected)
    (tmp_path / "o" / "classes").rename(tmp_path / "masks")
    (tmp_path / "in").rename(tmp_path / "images")
    source = folder_source(tmp_path, images="images", masks="masks")
    assert tuple(source.classes) == ("background", "cell")
    (record,) = source.records()
    np.testing.assert_array_equal(source.read_truth(record).classes, expected)


def test_an_evaluation_scores_with_the_threshold(tmp_path, threshold_model, run_command):
    write_image(tmp_path / "data" / "images" / "a.png", GREYS)
    truth = foreground(GREYS, 0.5)
    write_image(tmp_path / "data" / "masks" / "a.png", truth.astype(np.uint8) * 255)
    root = f"dataset.root={tmp_path / 'data'}"
    config = compose_command(
        "train", ["dataset=folder", root, "dataset.classes=[background,cell]", "hydra.run.dir=unused"]
    ).tree
    model = threshold_model(config={key: value for key, value in config.items() if key != "resume"})
    words = ["eval", f"ckpt={model}", "dataset=folder", root, "dataset.classes=[background,cell]"]
    words += [
        "overlays=0",
        "report=false",
        "precision=32",
        f"output={tmp_path / 'e'}",
        "threshold={cell: 0.05}",
    ]
    assert run_command(*words) == 0
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    found = foreground(GREYS, 0.05)
    assert metrics["iou/cell"] == pytest.approx((found & truth).sum() / (found | truth).sum())
    assert metrics["settings"] == ["'threshold={cell:0.05}'"]
