"""Runs on a user's own folders, from the first word typed to the last file written."""

import csv
import json
import shutil
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from unet_train.config.compose import compose_command
from unet_train.config.schema import COMMANDS
from unet_train.data.io.images import read_image, read_labels


@pytest.fixture(autouse=True)
def _here(own_folder):
    pass


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_and_version_exit_0(run_command, capsys, name):
    assert run_command(name, "--help") == 0
    assert f"unet-{name}" in capsys.readouterr().out
    assert run_command(name, "--version") == 0
    assert run_command(name, "dataset=folder", "-h") == 0


def test_every_command_has_its_console_script(repository):
    scripts = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["scripts"]
    assert sorted(scripts) == sorted(f"unet-{name}" for name in COMMANDS)
    for target in scripts.values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function))


def test_train_val_and_test_folders(write_images, run_command, short):
    for part, count in (("train", 3), ("val", 2), ("test", 2)):
        write_images(Path("mine") / part, count)
    words = ["dataset=folder", "dataset.root=mine", "dataset.classes=[ground,cell]"]
    assert run_command("train", *short, *words) == 0
    (run,) = Path("runs/folder").iterdir()
    split = json.loads((run / "split.json").read_text())
    assert [len(split[part]) for part in ("train", "val", "test")] == [3, 2, 2]
    assert all(key.startswith("test/") for key in split["test"])
    assert run_command("eval", f"ckpt={run}", "overlays=1") == 0
    metrics = json.loads((run / "eval/folder-test/metrics.json").read_text())
    assert (metrics["part"], metrics["n_images"], metrics["n_empty"]) == ("test", 2, 0)
    assert {"iou/ground", "iou/cell", "iou/mean", "dice/cell", "dice/mean", "accuracy"} <= metrics.keys()
    with open(run / "eval/folder-test/per_image.csv", newline="") as file:
        assert [row["key"] for row in csv.DictReader(file)] == ["test/im_0", "test/im_1"]
    assert (run / "eval/folder-test/confusion_matrix.png").is_file()
    assert list((run / "eval/folder-test/overlays").glob("best_1_*.png"))
    assert list((run / "eval/folder-test/overlays").glob("worst_1_*.png"))


ODD = ["größe.tif", "image (1).tif", "it's.tif", "a,b.tif", "x=1 & [y].tif", "100 %.png"]


def test_file_names_are_taken_as_typed(write_images, run_command, short, monkeypatch, tmp_path):
    """Hydra's grammar would refuse or split most of these names."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_images(tmp_path / "a&b, it's größe (1)", names=ODD)
    keys = [Path(name).stem for name in ODD]
    Path("split, (1).json").write_text(json.dumps({"train": keys[:3], "val": keys[3:4], "test": keys[4:]}))
    root = "dataset.root=~/a&b, it's größe (1)"
    words = ["dataset=folder", root, "split.file=split, (1).json", "hydra.run.dir=x=1"]
    assert run_command("train", *short, *words) == 0
    assert json.loads(Path("x=1/split.json").read_text())["test"] == sorted(keys[4:])
    assert run_command("train", "resume=x=1", "trainer.epochs=2") == 0
    assert (
        run_command("train", *short, "weights=file", "weights.path=x=1/best.pt", "dataset=folder", root) == 0
    )

    assert run_command("eval", "ckpt=x=1/best.pt", "part=all", "output=out [1], it's") == 0
    assert json.loads(Path("out [1], it's/metrics.json").read_text())["n_images"] == len(ODD)

    assert run_command("predict", "ckpt=x=1", "input=~/a&b, it's größe (1)/images", "output=all") == 0
    assert sorted(p.stem for p in Path("all/masks").iterdir()) == sorted(keys)
    images = Path("~/a&b, it's größe (1)/images")
    for name in ODD:
        assert run_command("predict", "ckpt=x=1/best.pt", f"input={images / name}", "output=one by one") == 0
        stem = Path(name).stem
        found = read_labels(f"one by one/classes/{stem}.tif")
        assert (found == read_labels(f"all/classes/{stem}.tif")).all()
        assert read_image(f"one by one/masks/{stem}.png").shape[:2] == (48, 64)
        assert Path(f"one by one/overlays/{stem}.png").is_file()


def test_an_existing_path_wins_over_a_pattern(write_images, run_command, short):
    root = write_images(Path("mine"))
    words = ["dataset=folder", f"dataset.root={root}", "hydra.run.dir=run"]
    assert run_command("train", *short, *words) == 0
    shutil.copy(root / "images/im_0.png", "a[01].png")
    shutil.copy(root / "images/im_1.png", "a0.png")
    assert run_command("predict", "ckpt=run", "input=a[01].png", "output=one") == 0
    assert [p.name for p in Path("one/masks").iterdir()] == ["a[01].png"]
    assert run_command("predict", "ckpt=run", "input=a[0]*.png", "output=two") == 0
    assert [p.name for p in Path("two/masks").iterdir()] == ["a0.png"]


def test_the_base_folder_of_all_data_sets(write_images, run_command, monkeypatch, tmp_path, capsys):
    """$UNET_TRAIN_DATA/<name>, else data/<name>; dataset.root before both."""
    write_images(tmp_path / "all of it" / "mine", 4)
    write_images(tmp_path / "data" / "mine", 3)
    words = ["dataset=folder", "dataset.name=mine"]
    assert run_command("data", "check", *words, "dataset.root=null") == 0
    assert "images    3" in capsys.readouterr().out
    monkeypatch.setenv("UNET_TRAIN_DATA", str(tmp_path / "all of it"))
    assert run_command("data", "check", *words, "dataset.root=null") == 0
    assert "images    4" in capsys.readouterr().out
    assert run_command("data", "check", *words, "dataset.root=data/mine") == 0
    assert "images    3" in capsys.readouterr().out
    assert run_command("data", "check", "dataset=phc_u373") == 2
    assert str(tmp_path / "all of it" / "phc_u373") in capsys.readouterr().err


def test_keys_of_ones_own_need_no_plus(write_images, run_command, short):
    """Hydra takes a key that the YAML does not hold only with + before it."""
    root = write_images(Path("mine"))
    words = ["dataset=folder", f"dataset.root={root}", "hydra.run.dir=run"]
    target = ["dataset.target=foreground_border", "dataset.target_params.width=2"]
    values = ["dataset.values={255: 0, 0: 1}", "dataset.classes=[in, out]", r"dataset.group_regex=^(im_\d)"]
    assert run_command("train", *short, *words, *target, *values) == 0
    import torch

    data = torch.load("run/best.pt", weights_only=True)["data"]
    assert data["target_params"] == {"width": 2}
    assert tuple(data["classes"]) == ("in", "out")


def test_two_runs_of_one_second_do_not_collide():
    """Nor do two in one folder that is named: tests/training/test_lock.py."""
    folders = [compose_command("train", ["experiment=smoke"]).run_folder for _ in range(5)]
    assert len(set(folders)) == 5


def test_masks_with_one_number_per_object(run_command, capsys):
    import cv2
    import numpy as np
    import tifffile

    rng = np.random.default_rng(0)
    for number in range(5):
        labels = np.zeros((64, 64), np.uint16)
        for label, (row, column) in enumerate(rng.integers(8, 56, (5, 2)), start=1):
            cv2.circle(labels, (int(column), int(row)), 7, label * 50, -1)
        image = np.where(labels > 0, 180, 60).astype(np.uint8) + rng.integers(0, 20, labels.shape, np.uint8)
        for folder, array in (("images", image), ("masks", labels)):
            Path("mine", folder).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(Path("mine", folder, f"{number}.tif"), array)
    words = [
        "dataset=folder",
        "dataset.root=mine",
        "dataset.instances=true",
        "dataset.target=foreground_border",
    ]
    size = ["encoder.init_features=4", "encoder.depth=2", "augmentation.crop_size=32", "trainer.epochs=1"]
    length = ["trainer.samples_per_epoch=16", "trainer.pictures=0", "augmentation.touching_share=0.5"]
    assert run_command("train", *words, *size, *length, "split.test_fraction=0.2", "hydra.run.dir=run") == 0
    assert run_command("eval", "ckpt=run", "output=out") == 0
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert {"seg", "iou/background", "iou/object"} <= set(metrics)
    assert "seg is the mean, over the true objects, of the IoU" in capsys.readouterr().out
    assert run_command("predict", "ckpt=run", "input=mine/images", "output=found") == 0
    assert read_labels(Path("found/objects/0.tif")).shape == (64, 64)


def test_results_of_other_folders_do_not_replace_one_another(write_images, run_command, short, capsys):
    write_images(Path("mine"), 5)
    write_images(Path("elsewhere/theirs"), 2)
    assert run_command("train", *short, "dataset=folder", "dataset.root=mine", "hydra.run.dir=run") == 0
    for root in ("mine", "elsewhere/theirs", "mine"):
        assert run_command("eval", "ckpt=run", "part=all", "dataset=folder", f"dataset.root={root}") == 0
    found = {
        path.parent.name: json.loads(path.read_text()) for path in Path("run/eval").glob("*/metrics.json")
    }
    assert {name: metrics["root"] for name, metrics in found.items()} == {
        "folder-all": "mine",
        "folder-all-theirs": "elsewhere/theirs",
    }
    assert found["folder-all-theirs"]["n_images"] == 2
    assert capsys.readouterr().out.count("replacing the earlier results") == 1


def test_a_16_bit_float_image_is_refused_in_the_commands_own_words(write_images, run_command, short, capsys):
    import numpy as np
    import tifffile

    write_images(Path("mine"), 4)
    assert run_command("train", *short, "dataset=folder", "dataset.root=mine", "hydra.run.dir=run") == 0
    Path("new").mkdir()
    tifffile.imwrite("new/a.tif", np.full((64, 64), 300.0, np.float32))
    capsys.readouterr()
    assert run_command("predict", "ckpt=run", "input=new", "output=out") == 1
    said = "".join(capsys.readouterr())
    assert "say intensity_range=[LOW, HIGH]" in said
    assert "dataset.intensity_range" not in said


def test_results_of_an_earlier_run_among_the_images_are_no_inputs(write_images, run_command, short):
    write_images(Path("mine"), 4)
    assert run_command("train", *short, "dataset=folder", "dataset.root=mine", "hydra.run.dir=run") == 0
    shutil.copytree("mine/images", "new")
    assert run_command("predict", "ckpt=run", "input=new", "output=new") == 0
    assert run_command("predict", "ckpt=run", "input=new", "output=elsewhere") == 0
    assert len(list(Path("elsewhere/classes").rglob("*.tif"))) == 4


def test_other_data_are_scored_whole_though_the_run_held_out_a_share(write_images, run_command, short):
    write_images(Path("mine"), 6)
    write_images(Path("theirs"), 5)
    words = ["dataset=folder", "dataset.root=mine", "split.test_fraction=0.2", "hydra.run.dir=run"]
    assert run_command("train", *short, *words) == 0
    assert run_command("eval", "ckpt=run", "dataset=folder", "dataset.root=theirs", "output=all") == 0
    assert json.loads(Path("all/metrics.json").read_text())["n_images"] == 5
    assert run_command("eval", "ckpt=run", "output=own") == 0
    assert json.loads(Path("own/metrics.json").read_text())["n_images"] == 1


def test_the_runs_own_images_are_known_by_content_not_by_name(write_images, run_command, short):
    write_images(Path("mine"), 6)
    write_images(Path("namesakes"), 6, image=lambda i, pixels: 255 - pixels)
    shutil.copytree("mine", "moved")
    words = ["dataset=folder", "dataset.root=mine", "split.test_fraction=0.2", "hydra.run.dir=run"]
    assert run_command("train", *short, *words) == 0
    scored = {}
    for root in ("namesakes", "moved"):
        assert run_command("eval", "ckpt=run", f"dataset.root={root}", f"output={root}_scores") == 0
        scored[root] = json.loads(Path(f"{root}_scores/metrics.json").read_text())
    assert (scored["namesakes"]["part"], scored["namesakes"]["n_images"]) == ("all", 6)
    assert (scored["moved"]["part"], scored["moved"]["n_images"]) == ("test", 1)


def test_inputs_that_are_not_read_are_named(write_images, run_command, short, capsys):
    write_images(Path("mine"), 4)
    assert run_command("train", *short, "dataset=folder", "dataset.root=mine", "hydra.run.dir=run") == 0
    shutil.copytree("mine/images", "new")
    for name in ("scan.heic", "scan.czi", ".DS_Store"):
        Path("new", name).write_bytes(b"x")
    capsys.readouterr()
    assert run_command("predict", "ckpt=run", "input=new", "output=out") == 0
    said = "".join(capsys.readouterr())
    assert "scan.czi" in said
    assert "scan.heic" in said
    assert ".DS_Store" not in said
    assert len(list(Path("out/classes").glob("*.tif"))) == 4


def test_a_measured_range_of_values_is_kept(write_images, run_command, short, capsys):
    """auto becomes two numbers in the run folder; evaluation, prediction and resume go by them."""
    import numpy as np
    import yaml

    from unet_train.checkpoint import Checkpoint

    def twelve_bits(scale):
        return lambda i, pixels: pixels.astype(np.uint16) * scale + 200

    for name, scale in (("mine", 16), ("brighter", 18)):
        names = [f"{index}.tif" for index in range(5)]
        write_images(Path(name), image=twelve_bits(scale), names=names)
    words = ["dataset=folder", "dataset.root=mine", "dataset.intensity_range=auto", "hydra.run.dir=run"]
    assert run_command("train", *short, *words) == 0
    low, high = yaml.safe_load(Path("run/config.yaml").read_text())["dataset"]["intensity_range"]
    assert 300 < low < 520  # the darkest pixel has 520
    assert 3000 < high < 4096
    assert Checkpoint.read(Path("run/best.pt")).data.intensity_range == (low, high)
    assert f"{low:g} to {high:g}" in capsys.readouterr().out
    assert run_command("train", "resume=run", "trainer.epochs=2") == 0
    assert yaml.safe_load(Path("run/config.yaml").read_text())["dataset"]["intensity_range"] == [low, high]
    scores = []
    for value in ("auto", f"[{low},{high}]"):
        words = ["dataset=folder", "dataset.root=brighter", f"dataset.intensity_range={value}"]
        assert run_command("eval", "ckpt=run", *words, f"output={value[:4]}") == 0
        scores.append(json.loads(Path(value[:4], "metrics.json").read_text())["iou/mean"])
    assert scores[0] == scores[1]
    assert run_command("predict", "ckpt=run", "input=mine/images", "output=out") == 0
    assert (
        run_command("data", "check", "dataset=folder", "dataset.root=mine", "dataset.intensity_range=auto")
        == 0
    )


def test_a_folder_that_holds_a_test_part_alone_is_evaluated(write_images, run_command, short):
    write_images(Path("mine"), 4)
    write_images(Path("new/test"), 3, image=lambda i, pixels: 255 - pixels)
    assert run_command("train", *short, "dataset=folder", "dataset.root=mine", "hydra.run.dir=run") == 0
    for words in (["dataset.root=new"], ["dataset=folder", "dataset.root=new", "part=test"]):
        assert run_command("eval", "ckpt=run", *words, "output=out") == 0
        assert json.loads(Path("out/metrics.json").read_text())["n_images"] == 3


def test_what_takes_seconds_to_load_is_said_before(run_command, capsys, monkeypatch):
    """Nothing but the words of the command has been looked at when the line appears."""
    import sys

    from unet_train.commands import shell

    shell.tell_loading()
    assert capsys.readouterr().out == ""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    shell.tell_loading()
    assert capsys.readouterr().out == "loading PyTorch\n"
    monkeypatch.setenv("RANK", "1")
    shell.tell_loading()
    assert capsys.readouterr().out == ""
