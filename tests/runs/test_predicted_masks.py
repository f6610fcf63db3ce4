"""`unet-eval predictions=FOLDER`: masks of any origin are scored as a model's are."""

import csv
import json

import numpy as np
import pytest

from unet_train.data.io.images import write_image, write_labels

SHORT = ("report=false", "overlays=0")
"""Tables alone."""

RNG = np.random.default_rng(5)


@pytest.fixture
def drawn(tmp_path):
    """Three images with masks in black and white: data/images, data/masks."""
    truths = {}
    for name in ("a", "b", "c"):
        truth = np.zeros((30, 40), bool)
        truth[5:20, 8:30] = True
        image = np.where(truth, 200, 40) + RNG.integers(-30, 30, truth.shape)
        write_image(tmp_path / "data" / "images" / f"{name}.png", image.astype(np.uint8))
        write_image(tmp_path / "data" / "masks" / f"{name}.png", truth.astype(np.uint8) * 255)
        truths[name] = truth
    return tmp_path, truths


def words_of(folder, *more):
    """The command's words on `drawn`."""
    root = folder / "data"
    return [
        f"predictions={folder / 'p'}",
        *("dataset=folder", f"dataset.root={root}", f"output={folder / 'e'}", *(more or SHORT)),
    ]


def metrics_of(folder):
    """What the command wrote."""
    return json.loads((folder / "e" / "metrics.json").read_text())


def rows_of(folder):
    """per_image.csv by key."""
    with open(folder / "e" / "per_image.csv", newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize(("value", "suffix"), [(255, ".png"), (1, ".png"), (1, "_pred.tif"), (7, ".tif")])
def test_masks_of_another_tool_are_scored(drawn, run_command, value, suffix, capsys):
    folder, truths = drawn
    predicted = {name: np.roll(truth, 3, axis=1) for name, truth in truths.items()}
    for name, mask in predicted.items():
        write_image(folder / "p" / f"{name}{suffix}", mask.astype(np.uint8) * value)
    assert run_command("eval", *words_of(folder, "overlays=1" if value == 7 else "overlays=0")) == 0
    both = sum((truths[n] & predicted[n]).sum() for n in truths)
    either = sum((truths[n] | predicted[n]).sum() for n in truths)
    found = metrics_of(folder)
    assert found["iou/foreground"] == pytest.approx(both / either)
    assert (found["part"], found["n_images"], found["missing"]) == ("all", 3, [])
    assert (folder / "e" / "report.html").is_file()
    assert (folder / "e" / "overlays").exists() == (value == 7)


def test_an_image_without_a_prediction_is_wrong_everywhere_and_named(drawn, run_command, capsys):
    folder, truths = drawn
    for name in ("a", "b"):
        write_image(folder / "p" / f"{name}.png", truths[name].astype(np.uint8) * 255)
    assert run_command("eval", *words_of(folder, "overlays=1")) == 1
    assert "have no prediction and count as wrong everywhere: c" in capsys.readouterr().out
    found = metrics_of(folder)
    hit = 2 * truths["a"].sum()
    assert found["iou/foreground"] == pytest.approx(hit / (hit + truths["c"].size))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["missing"] == ["c"]
    row = rows_of(folder)["c"]
    assert float(row["iou/foreground"]) == float(row["iou/background"]) == 0
    assert "have no prediction" in (folder / "e" / "report.html").read_text()


def test_unknown_pixels_of_a_prediction_are_wrong(drawn, run_command):
    """Whoever leaves out what is hard gains nothing by it."""
    folder, truths = drawn
    for name, truth in truths.items():
        mask = truth.astype(np.uint8)
        mask[:10] = 255
        write_labels(folder / "p" / "classes" / f"{name}.tif", mask)
    legend = {"labels": {"background": 0, "foreground": 1}, "unknown": 255}
    (folder / "p" / "classes" / "dataset.json").write_text(json.dumps(legend))
    assert run_command("eval", *words_of(folder)) == 0
    assert metrics_of(folder)["accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p: write_image(p / "b.png", np.zeros((9, 9), np.uint8)), "b.png: 9×9"),
        (lambda p: write_image(p / "b.png", np.full((30, 40), 3, np.uint8)), "values 0, 3, 255"),
        (lambda p: (p / "b.png").write_bytes(b"no picture"), "b.png"),
        (
            lambda p: (p / "dataset.json").write_text('{"labels": {"background": 0, "cell": 255}}'),
            "names background, cell",
        ),
    ],
)
def test_masks_that_do_not_fit_get_a_line(drawn, run_command, capsys, change, named):
    folder, truths = drawn
    for name, truth in truths.items():
        write_image(folder / "p" / f"{name}.png", truth.astype(np.uint8) * 255)
    change(folder / "p")
    assert run_command("eval", *words_of(folder)) == 2
    error = capsys.readouterr().err.strip()
    assert named in error
    assert error.count("\n") == 0
    assert not (folder / "e").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["ckpt=best.pt"], "leave one out"),
        (["threshold=0.3"], "threshold"),
        (["tta=true"], "tta"),
        (["part=val"], "names no parts"),
        (["predictions=nowhere"], "no such folder"),
    ],
)
def test_words_that_do_not_go_with_masks_get_a_line(drawn, run_command, capsys, words, named):
    folder, _ = drawn
    (folder / "p").mkdir()
    assert run_command("eval", *words_of(folder), *words) == 2
    assert named in capsys.readouterr().err


def test_neither_a_model_nor_masks_nor_a_truth(tmp_path, run_command, capsys):
    assert run_command("eval") == 2
    assert "ckpt is missing" in capsys.readouterr().err
    assert run_command("eval", f"predictions={tmp_path}") == 2
    assert "dataset=folder" in capsys.readouterr().err


def test_drawn_images_have_no_files_to_compare_with(tmp_path, run_command, capsys):
    write_image(tmp_path / "p" / "a.png", np.zeros((9, 9), np.uint8))
    assert run_command("eval", f"predictions={tmp_path / 'p'}", "dataset=demo") == 2
    assert "unet-data demo" in capsys.readouterr().err


def test_what_predict_wrote_scores_as_the_model_does(drawn, threshold_model, run_command):
    from unet_train.config.compose import compose_command

    folder, _ = drawn
    keys = ["dataset=folder", f"dataset.root={folder / 'data'}"]
    config = compose_command("train", [*keys, "hydra.run.dir=unused"]).tree
    config = {key: value for key, value in config.items() if key != "resume"}
    model = threshold_model(config=config, classes=("background", "foreground"), threshold=0.2)
    same = [f"ckpt={model}", "precision=32"]
    images = [f"input={folder / 'data' / 'images'}", f"output={folder / 'p'}"]
    assert run_command("predict", *same, *images) == 0
    assert run_command("eval", *same, *keys, f"output={folder / 'm'}", "part=all", *SHORT) == 0
    assert run_command("eval", *words_of(folder)) == 0
    check_alike(json.loads((folder / "m" / "metrics.json").read_text()), metrics_of(folder))


def test_objects_that_predict_wrote_score_as_the_model_does(tmp_path, threshold_model, run_command):
    """SEG and what became of each object; one of them has merged, one is missed."""
    from unet_train.config.compose import compose_command

    truth, image = np.zeros((40, 60), np.uint16), np.zeros((40, 60), np.uint8)
    truth[3:15, 3:15], truth[3:15, 15:27], truth[20:35, 5:20], truth[20:35, 30:50] = 1, 2, 3, 4
    image[3:15, 3:27] = image[20:35, 5:20] = 250
    image[22:26, 54:58] = 250
    for name in ("a", "b"):
        write_image(tmp_path / "data" / "images" / f"{name}.png", np.roll(image, ord(name) % 2, axis=1))
        write_image(tmp_path / "data" / "masks" / f"{name}.tif", truth)
    keys = ["dataset=folder", f"dataset.root={tmp_path / 'data'}", "dataset.instances=true"]
    config = compose_command("train", [*keys, "hydra.run.dir=unused"]).tree
    config = {key: value for key, value in config.items() if key != "resume"}
    model = threshold_model(
        config=config,
        classes=("background", "object"),
        has_instances=True,
        objects={"min_size": 5, "min_seed": 1},
    )
    same = [f"ckpt={model}", "precision=32"]
    images = [f"input={tmp_path / 'data' / 'images'}", f"output={tmp_path / 'p'}"]
    assert run_command("predict", *same, *images) == 0
    assert run_command("eval", *same, *keys, f"output={tmp_path / 'm'}", "part=all", *SHORT) == 0
    assert run_command("eval", *words_of(tmp_path, "dataset.instances=true")) == 0
    model_scores, found = json.loads((tmp_path / "m" / "metrics.json").read_text()), metrics_of(tmp_path)
    assert all(found[f"objects/{kind}"] for kind in ("merged", "missed", "invented"))
    check_alike(model_scores, found)
    (tmp_path / "p" / "objects").rename(tmp_path / "objects")
    assert run_command("eval", *words_of(tmp_path, "dataset.instances=true", *SHORT)) == 0
    assert metrics_of(tmp_path)["iou/object"] == pytest.approx(model_scores["iou/object"])
    assert "seg" not in metrics_of(tmp_path)
    (tmp_path / "objects").rename(tmp_path / "p" / "objects")
    (tmp_path / "p" / "classes").rename(tmp_path / "aside")  # the numbers alone say the same here
    assert run_command("eval", *words_of(tmp_path, "dataset.instances=true")) == 0
    check_alike(model_scores, metrics_of(tmp_path))
    (tmp_path / "p" / "objects" / "b.tif").unlink()
    assert run_command("eval", *words_of(tmp_path, "dataset.instances=true")) == 1
    assert float(rows_of(tmp_path)["b"]["seg"]) == 0
    assert metrics_of(tmp_path)["objects/missed"] >= 4


def check_alike(model, masks):
    """All scores of the two are the same."""
    scores = [n for n, v in model.items() if isinstance(v, float) and n != "seconds"]
    assert any(name.startswith("iou/") for name in scores)
    for name in scores:
        assert masks[name] == pytest.approx(model[name], abs=1e-6, nan_ok=True), name
    counts = {name: value for name, value in model.items() if name.startswith("objects/")}
    assert counts == {name: value for name, value in masks.items() if name.startswith("objects/")}
    assert masks["intervals"] == model["intervals"]


def test_two_images_of_one_name_keep_their_own_predictions(tmp_path, run_command):
    """As `unet-predict` names them: the ending stays where x.png and x.tif would collide."""
    truth = np.zeros((20, 20), np.uint8)
    truth[5:10, 5:10] = 255
    for ending, mask in ((".png", truth), (".tif", truth.T[::-1].copy())):
        write_image(tmp_path / "data" / "images" / f"x{ending}", mask)
        write_image(tmp_path / "data" / "masks" / f"x{ending}", mask)
        write_labels(tmp_path / "p" / "classes" / f"x{ending}.tif", mask // 255)
    assert run_command("eval", *words_of(tmp_path)) == 0
    assert metrics_of(tmp_path)["iou/foreground"] == 1
