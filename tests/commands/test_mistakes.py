"""What users get wrong with data, splits and choices: one line, exit code 2, before a step is trained."""

import json
import re
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from unet_train.runs import training


@pytest.fixture(autouse=True)
def _here(own_folder):
    pass


@pytest.fixture
def refused(run_command, capsys, monkeypatch):
    """``refused("train", words)``: the one line a refused command says; nothing was trained or left behind."""

    def no_training(*args, **kwargs):
        raise AssertionError("training began")

    def run(name, *words):
        monkeypatch.setattr(training, "fit", no_training)
        capsys.readouterr()
        code = run_command(name, *words)
        said = capsys.readouterr()
        assert code == 2, said.err
        assert said.err.count("\n") == 1, said.err
        assert said.err.startswith(f"unet-{name}: ")
        assert not list(Path().glob("runs/**/*.*t"))
        return said.err

    return run


@pytest.fixture
def unreadable():
    """The words that name a data set whose images say so as soon as one is read."""
    for name in ("images", "masks"):
        Path("broken", name).mkdir(parents=True)
        Path("broken", name, "0.png").write_bytes(b"no picture")
    return ["dataset=folder", "dataset.root=broken"]


def colour(labels, *channels):
    return np.stack([labels * c for c in channels], -1).astype(np.uint8)


def grey_levels(i, labels):
    return np.random.default_rng(i).integers(0, 255, labels.shape).astype(np.uint8)


def three_classes(i, labels):
    return (labels // 255 + (labels > 0) * (np.arange(labels.shape[1]) > 20)).astype(np.uint8)


def odd_one(i, pixels):
    return np.stack([pixels, pixels // 2, pixels], -1) if i == 3 else pixels


# name: (how the images are changed, how the masks are, words, what the line must hold)
DATA = {
    "no mask for an image": ("unlink masks/im_2.png", {}, [], ["images/im_2.png", "mask"]),
    "no image for a mask": ("unlink images/im_2.png", {}, [], ["masks/im_2.png", "without an image"]),
    "no images": ("empty images", {}, [], ["no image", "dataset.images"]),
    "no masks folder": ("remove masks", {}, [], ["mine/masks", "dataset.masks"]),
    "truncated image": ("cut images/im_2.png", {}, [], ["images/im_2.png", "truncated"]),
    "truncated mask": ("cut masks/im_2.png", {}, [], ["masks/im_2.png", "truncated"]),
    "empty image": ("blank images/im_2.png", {}, [], ["images/im_2.png", "empty"]),
    "text for an image": ("text images/im_2.png", {}, [], ["images/im_2.png"]),
    "other sizes": (
        None,
        {"mask": lambda i, m: m[:40] if i == 2 else m},
        [],
        ["masks/im_2.png", "40×64", "48×64"],
    ),
    "grey levels": (None, {"mask": grey_levels}, [], ["masks/im_0.png", "255 mask values"]),
    "more values than classes": (
        None,
        {"mask": three_classes},
        ["dataset.classes=[background,cell]"],
        ["mask values (0, 1, 2)", "dataset.classes names 2"],
    ),
    "two colours on black": (
        None,
        {"mask": lambda i, m: np.where(np.arange(64)[:, None] < 20, colour(m, 1, 0, 0), colour(m, 0, 0, 1))},
        [],
        ["masks/im_0.png", "#ff0000", "#0000ff", "dataset.colors={background:[0,0,0],"],
    ),
    "undeclared value": (
        None,
        {"mask": lambda i, m: np.where(m, 77, 0).astype(np.uint8) if i == 1 else m},
        ["dataset.values={0:0,255:1}"],
        ["masks/im_1.png", "77", "dataset.ignore_value"],
    ),
    "one value only": (None, {"mask": lambda i, m: m * 0}, [], ["one value", "0"]),
    "other channels": (None, {"image": odd_one}, [], ["images/im_3.png", "3 channels"]),
    "16 bit, all beyond the range": (
        None,
        {"image": lambda i, p: p.astype(np.uint16) * 16},
        ["dataset.intensity_range=[10000,20000]"],
        ["one value", "dataset.intensity_range"],
    ),
    "a range of one number": (None, {}, ["dataset.intensity_range=[4095]"], ["dataset.intensity_range"]),
    "a range turned round": (None, {}, ["dataset.intensity_range=[9,3]"], ["dataset.intensity_range"]),
    "classes that do not fit": (None, {}, ["dataset.classes=[a,b,c]"], ["masks/im_", "dataset.values"]),
    "one class": (None, {}, ["dataset.classes=[background]"], ["dataset.classes"]),
    "sigmoid and three classes": (
        None,
        {"mask": three_classes},
        ["model.head=sigmoid"],
        ["model.head=sigmoid", "model.head=softmax"],
    ),
    "weights per class": (None, {}, ["loss.class_weights=[1,2,3]"], ["loss.class_weights", "2 classes"]),
    "a score there is not": (
        None,
        {},
        ["checkpoint.monitor=iou/forground"],
        ["checkpoint.monitor=iou/forground", "iou/foreground?"],
    ),
    "mean for two channels": (
        None,
        {},
        ["dataset.normalisation=fixed", "dataset.mean=[0.1,0.2]", "dataset.std=[1,1]"],
        ["dataset.mean", "channel"],
    ),
    "crops of padding": (
        None,
        {},
        ["augmentation.crop_size=4096"],
        ["augmentation.crop_size=4096", "48×64", "augmentation.crop_size=64"],
    ),
    "too deep": (None, {}, ["encoder.depth=7"], ["encoder.depth=7"]),
    "decoder widths": (None, {}, ["model.decoder_channels=[4]"], ["model.decoder_channels"]),
    "a transform for colours": (
        None,
        {},
        ["augmentation.transforms=[{name: HorizontalFlip}, {name: ChannelDropout}]"],
        ["augmentation.transforms[1] ChannelDropout", "1 channels"],
    ),
    "no such group": (None, {}, ["dataset.test_groups=[im_7]"], ["dataset.test_groups", "im_7"]),
    "a fold there is not": (None, {}, ["split.folds=3", "split.fold=3"], ["split.fold=3", "0 … 2"]),
    "more folds than images": (None, {}, ["split.folds=30", "split.fold=3"], ["split.folds=30", "2 to 5"]),
    "half a fold": (None, {}, ["split.fold=1"], ["split.folds"]),
    "all for validation": (None, {}, ["split.val_fraction=1"], ["split.val_fraction"]),
    "no split file": (None, {}, ["split.file=nowhere.json"], ["split.file=nowhere.json"]),
    "no shipped split": (None, {}, ["split.file=lgg22"], ["split.file=lgg22", "lgg22-test4"]),
}


@pytest.mark.parametrize("case", DATA)
def test_a_mistake_in_the_data_or_about_it(refused, write_images, short, case):
    harm, changes, words, says = DATA[case]
    root = write_images(Path("mine"), **changes)
    if harm:
        do_harm(root, *harm.split())
    line = refused("train", *short, "dataset=folder", f"dataset.root={root}", *words)
    for part in says:
        assert part in line


def do_harm(root, what, name):
    path = root / name
    if what in ("empty", "remove"):
        shutil.rmtree(path)
        if what == "empty":
            path.mkdir()
    elif what == "unlink":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes({"cut": content[: len(content) // 2], "blank": b"", "text": b"hello" * 40}[what])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"train": ["im_0", "im_1"], "val": ["im_2"], "tset": ["im_4"]}', ["tset"]),
        ('{"train": ["im_0", "im_1"], "val": ["im_2"], "test": ["im_9"]}', ["im_9", "im_4?"]),
        ('{"train": ["im_0"], "val": ["im_0"]}', ["im_0 ", "train", "val"]),
        ('{"train": ["im_0"', ["JSON"]),
        ('{"folds": [["im_0"], ["im_1"]]}', ["split.fold"]),
    ],
)
def test_a_mistake_in_a_split_file(refused, write_images, content, says):
    Path("my split.json").write_text(content)
    root = write_images(Path("mine"))
    line = refused("train", "dataset=folder", f"dataset.root={root}", "split.file=my split.json")
    assert "split.file=my split.json" in line or "split.fold" in line
    for part in says:
        assert part in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["dataset=folder", "dataset.root=nowhere"], ["dataset.root=nowhere", "images/ and masks/"]),
        (["dataset=phc_u373"], ["data/phc_u373", "unet-data fetch phc_u373"]),
        (["dataset=brain_mri"], ["data/brain_mri", "unet-data fetch brain_mri"]),
        (["weights=imagenet"], ["weights=imagenet", "encoder=unet", "encoder=resnet"]),
        (["weights=file", "weights.path=no.pt"], ["weights.path=no.pt"]),
        (["weights.path=no.pt"], ["weights.path=no.pt"]),
        (["resume=nowhere"], ["resume=nowhere"]),
        (
            ["experiment=smoke", "dataset=folder", "dataset.root=."],
            ["dataset.root", "a_file"],
        ),
        (["trainer.precision=16", "trainer.accelerator=cpu"], ["trainer.precision=16"]),
        (["trainer.val_every=0"], ["trainer.val_every=0", "auto"]),
        (["trainer.val_every=abc"], ["trainer.val_every=abc", "auto"]),
        (["trainer.val_every=1.5"], ["trainer.val_every=1.5", "auto"]),
        (["trainer.val_every=null"], ["trainer.val_every=None", "auto"]),
        (["hydra.run.dir=a_file/run"], ["hydra.run.dir=a_file/run"]),
        (["dataset.target=foreground_border", "dataset.target_params.widht=3"], ["widht"]),
        (["loss.terms=[{name: dise, weight: 1}]"], ["loss.terms", "dice?"]),
    ],
)
def test_folders_and_choices_that_cannot_be(refused, words, says):
    Path("a_file").touch()
    line = refused("train", *words)
    for part in says:
        assert part in line


@pytest.mark.parametrize(
    ("command", "words", "says"),
    [
        ("data", ["check", "-m"], ["takes no -m"]),
        ("eval", ["ckpt=x", "--multirun"], ["takes no --multirun"]),
        ("data", ["say", "check"], ["did you mean unet-data check?"]),
        ("data", ["chek"], ["did you mean check?"]),
        ("data", ["dataset=folder"], ["comes first: unet-data check"]),
        ("data", [], ["unet-data check, plan, fetch or demo"]),
        ("predict", ["weights=runs/x/best.pt", "input=.", "output=o"], ["say ckpt=runs/x/best.pt"]),
    ],
)
def test_words_that_belong_elsewhere(refused, command, words, says):
    line = refused(command, *words)
    for part in says:
        assert part in line


def test_all_problems_are_listed_not_the_first_alone(refused, write_images, capsys, run_command, short):
    root = write_images(Path("mine"))
    do_harm(root, "cut", "images/im_1.png")
    do_harm(root, "unlink", "masks/im_3.png")
    assert run_command("train", *short, "dataset=folder", f"dataset.root={root}") == 2
    listed = capsys.readouterr().out
    assert re.search(r"\b2 problems\b", listed)
    assert "im_1.png" in listed
    assert "im_3.png" in listed


@pytest.mark.parametrize(
    "transform",
    ["{name: HorizontalFlp}", "{name: HorizontalFlip, prob: 0.5}", "{_target_: albumentations.Flipp}"],
)
def test_a_misspelt_transform_is_said_before_any_image_is_read(refused, unreadable, transform):
    """albumentations itself only warns of an argument it does not know, and goes on without it."""
    folder = Path("my_yaml/augmentation")
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        f"crop_size: 32\nforeground_share: 0.5\nbalance: false\ntransforms:\n  - {transform}\n"
    )
    line = refused("train", *unreadable, "augmentation=mine", "--config-dir", "my_yaml")
    assert "augmentation.transforms[0]" in line
    assert "broken" in refused("train", *unreadable)


@pytest.mark.parametrize("encoder", [["resnet", "encoder.depth=18"], ["efficientnet"]])
def test_imagenet_weights_without_network(refused, unreadable, monkeypatch, tmp_path, encoder):
    """At once, with everything that is needed to get the file by hand; never random weights instead."""

    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr(socket, "create_connection", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    line = refused("train", *unreadable, f"encoder={encoder[0]}", *encoder[1:], "weights=imagenet")
    assert "https://download.pytorch.org/models/" in line
    assert str(tmp_path / "cache") in line
    assert "weights.path=FILE" in line


def test_a_checkpoint_of_other_classes(refused, run_command, write_images, short, tmp_path):
    root = write_images(Path("mine"))
    assert run_command("train", *short, "dataset=folder", f"dataset.root={root}", "hydra.run.dir=run") == 0
    line = refused("eval", "ckpt=run", "dataset=demo", "dataset.size=32")
    assert "background, cell" in line
    assert "background, foreground" in line
    line = refused("eval", "ckpt=run", "part=tset")
    assert re.search(r"part=tset: .*train.*val.*test.*all", line)
    line = refused("eval", "ckpt=run", "part=test")
    assert "part=test" in line
    line = refused("eval", "ckpt=run", "dataset.root=elsewhere")
    assert "dataset.root=elsewhere" in line
    Path("a_file").touch()
    line = refused("eval", "ckpt=run", "output=a_file")
    assert "output=a_file" in line
    line = refused("eval", "ckpt=run", "encoder=resnet")
    assert "encoder=resnet" in line
    (root / "images" / "im_4.png").unlink()
    line = refused("eval", "ckpt=run", "part=all", "dataset=folder", f"dataset.root={root}")
    assert "masks/im_4.png" in line
    line = refused("predict", "ckpt=run", "input=mine/images", "output=a_file")
    assert "output=a_file" in line
    line = refused("predict", "ckpt=run", "input=nowhere", "output=out")
    assert "input=nowhere" in line
    line = refused("predict", "ckpt=run", "input=mine/images", "output=out", "intensity_range=[1]")
    assert "intensity_range" in line
    assert "trainer." not in refused("eval", "ckpt=run", "accelerator=gpu")
    assert json.loads(Path("run/split.json").read_text())["train"]


def test_a_failed_start_leaves_its_folder_to_the_next_try(run_command, capsys, short):
    """A run that ends before anything is saved must not block the folder that was asked for."""
    words = ["experiment=smoke", *short, "hydra.run.dir=run"]
    assert run_command("train", *words, "checkpoint.monitor=iou/cel") == 2
    assert "iou/cell?" in capsys.readouterr().err
    assert run_command("train", *words) == 0
    assert run_command("train", *words) == 2
    assert "resume=run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "value", ["8", "[192,8]", "[192]", "[64,64,64]", "[64,a]", "64.5", "big", "true", "[]", "{a:1}"]
)
def test_crops_that_are_none(refused, value):
    assert "augmentation.crop_size=" in refused("train", f"augmentation.crop_size={value}")


def test_an_orientation_there_is_not(refused):
    line = refused("train", "augmentation.orientation=down")
    assert re.search(r"augmentation\.orientation=down: .*\bany\b.*upright.*auto", line)
