"""Each real data set is checked, trained on for a few steps and evaluated through the commands, as a user would.

What the data sets' README says about them (numbers of images, cells without an outline, the margin) is what is
asserted here. Scores are not: a few steps teach nothing.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from unet_train.config.compose import compose_command
from unet_train.data.records import IGNORE
from unet_train.inference import objects
from unet_train.runs.factory import build_source

MEMBRANES = ["dataset=folder", "dataset.classes=[interior,membrane]", "dataset.values={255:0,0:1}"]

CHECKED = {
    "PhC-C2DH-U373": (["dataset=phc_u373"], ["images    34", "520×696", "19 test"]),
    "DIC-C2DH-HeLa": (["dataset=dic_hela"], ["images    168", "512×512", "9 test"]),
    "kaggle_3m": (
        ["dataset=brain_mri", "split.file=lgg22-test4", "split.val_fraction=0"],
        ["images    537", "256×256", "353 images without foreground", "442 train, 0 val, 95 test"],
    ),
    "isbi2012": (
        [*MEMBRANES, "split.by=block", "split.test_fraction=0.2", "split.val_fraction=0"],
        ["images    30", "membrane 22.0 %", "6 test"],
    ),
}

# The recipes' pretrained encoder is not here; the small classic net of `short` takes its place.
CLASSIC = ["encoder=unet", "weights=random"]

TRAINED = {
    "PhC-C2DH-U373": (
        ["experiment=phc_u373", *CLASSIC],
        {"train": ["01/001", "01/005"], "val": ["01/112"], "test": ["02/026", "02/106"]},
    ),
    "DIC-C2DH-HeLa": (
        ["experiment=dic_hela", *CLASSIC],
        {"train": ["01/002", "01/003", "01/067"], "val": ["01/054"], "test": ["02/042", "02/061"]},
    ),
    "kaggle_3m": (
        ["experiment=brain_mri", *CLASSIC],
        {
            "train": ["TCGA_CS_4942_19970222/11", "TCGA_CS_4942_19970222/1"],
            "val": ["TCGA_CS_4944_20010208/10"],
            "test": ["TCGA_CS_6665_20010817/12", "TCGA_CS_6665_20010817/1"],
        },
    ),
    "isbi2012": (
        [*MEMBRANES, "dataset.name=isbi2012", "split.by=block"],
        {"train": ["00", "01", "02"], "val": ["22"], "test": ["24", "25"], "by": "block"},
    ),
}


@pytest.fixture(autouse=True)
def _here(own_folder):
    pass


@pytest.mark.parametrize("folder", CHECKED)
def test_the_check_finds_no_problem(real_data, run_command, capsys, folder):
    words, says = CHECKED[folder]
    assert run_command("data", "check", *words, f"dataset.root={real_data / folder}") == 0
    said = capsys.readouterr().out
    assert "no problem found" in said
    for part in says:
        assert part in said


@pytest.mark.parametrize("folder", TRAINED)
def test_trains_a_few_steps_and_evaluates(real_data, run_command, short, monkeypatch, folder):
    # The fifty rules for objects take longer than everything else, and have tests of their own.
    monkeypatch.setattr(objects, "STAGES", ({"threshold": (0.4, 0.5)},))
    words, split = TRAINED[folder]
    Path("split.json").write_text(json.dumps(split))
    where = [f"dataset.root={real_data / folder}", "split.file=split.json", "hydra.run.dir=run"]
    more = ["trainer.samples_per_epoch=6", "trainer.pictures=1", "augmentation.crop_size=64"]
    assert run_command("train", *words, *short, *where, *more) == 0
    assert json.loads(Path("run/split.json").read_text())["test"] == sorted(split["test"])
    assert run_command("eval", "ckpt=run", "overlays=1") == 0
    (found,) = Path("run/eval").iterdir()
    metrics = json.loads((found / "metrics.json").read_text())
    assert (metrics["part"], metrics["n_images"], metrics["trained_on"]) == ("test", 2, 0)
    classes = {"isbi2012": ["interior", "membrane"], "kaggle_3m": ["background", "lesion"]}
    for name in classes.get(folder, ["background", "cell"]):
        assert 0 <= metrics[f"iou/{name}"] <= 1
        assert 0 <= metrics[f"dice/{name}"] <= 1
    assert metrics["n_empty"] == (1 if folder == "kaggle_3m" else 0)
    cells = folder in ("PhC-C2DH-U373", "DIC-C2DH-HeLa")
    assert ("seg" in metrics) == cells
    # PhC-U373 has no tracking markers, so nothing to measure detection against but its outlines.
    if folder == "DIC-C2DH-HeLa":
        assert 0 <= metrics["det"] <= 1


def source_of(real_data, folder, *words):
    root = f"dataset.root={real_data / folder}"
    return build_source(compose_command("train", [*TRAINED[folder][0], root, *words]).config.dataset)


def truth_of(source, key):
    record = next(record for record in source.records() if record.key == key)
    return source.read_truth(record, scoring=True).classes


def test_cells_without_an_outline_are_unknown_in_u373(real_data):
    source = source_of(real_data, "PhC-C2DH-U373")
    boxes = {
        "02/026": [(278, 354, 620, 695)],
        "02/051": [(450, 519, 488, 566)],
        "02/085": [(376, 466, 0, 92)],
        "02/106": [(290, 351, 0, 64), (272, 344, 628, 692)],
    }
    for key, unknown in boxes.items():
        classes = truth_of(source, key)
        for top, bottom, left, right in unknown:
            box = classes[top : bottom + 1, left : right + 1]
            assert not (box == 0).any(), key
            assert (box == IGNORE).mean() > 0.9, key
    # In a fully annotated frame the margin alone is unknown, and only where no cell is outlined.
    classes = truth_of(source, "01/001")
    inside = classes[50:-50, 50:-50]
    assert set(np.unique(inside)) == {0, 1}
    margin = classes.copy()
    margin[50:-50, 50:-50] = IGNORE
    assert set(np.unique(margin)) == {1, IGNORE}


def test_cells_without_an_outline_are_unknown_in_hela(real_data):
    source = source_of(real_data, "DIC-C2DH-HeLa")
    markers = {
        "01/034": [(55, 418)],
        "01/039": [(59, 448)],
        "02/007": [(52, 155)],
        "02/042": [(69, 234), (86, 52)],
        "02/061": [(452, 136)],
    }
    for key, unknown in markers.items():
        classes = truth_of(source, key)
        for row, column in unknown:
            around = classes[row - 8 : row + 9, column - 8 : column + 9]
            assert (around == IGNORE).mean() > 0.9, key
    assert set(np.unique(truth_of(source, "01/002")[50:-50, 50:-50])) == {0, 1}


def test_the_frame_with_three_outlined_cells_of_eighteen_is_no_truth(real_data):
    (record,) = (r for r in source_of(real_data, "DIC-C2DH-HeLa").records() if r.key == "01/067")
    assert record.trainable  # from silver
    assert not record.scorable
    gold = source_of(real_data, "DIC-C2DH-HeLa", "dataset.labels=gold").records()
    assert not next(r for r in gold if r.key == "01/067").trainable


@pytest.mark.parametrize("folder", ["kaggle_3m", "isbi2012"])
def test_everything_is_known_elsewhere(real_data, folder):
    source = source_of(real_data, folder)
    for record in source.records()[::9]:
        assert set(np.unique(source.read_truth(record).classes)) <= {0, 1}


def test_serial_sections_are_split_in_blocks(real_data):
    from unet_train.runs.factory import build_split

    words = ["experiment=isbi2012", f"dataset.root={real_data / 'isbi2012'}"]
    config = compose_command("train", words).config
    split = build_split(config.split, config.dataset, build_source(config.dataset).records())
    assert [record.key for record in split.test] == [f"{n:02d}" for n in range(24, 30)]
    train = [int(record.key) for record in split.train]
    assert train == list(range(len(train)))
    assert max(train) < min(int(record.key) for record in split.val) - 1
