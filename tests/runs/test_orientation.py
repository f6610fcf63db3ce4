"""Runs decide whether their images have an up, say so in one line, and keep to it."""

import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

from unet_train.checkpoint import Checkpoint
from unet_train.config.compose import compose_command
from unet_train.data.layouts.demo import DemoSource
from unet_train.data.records import Record, Source, Truth
from unet_train.errors import UserError
from unet_train.runs import training_data
from unet_train.runs.orientation import augmentation_for, orientation_of
from unet_train.symmetries import ALL_VIEWS

SIZE = ["encoder.init_features=4", "encoder.depth=2", "augmentation.crop_size=[16,32]", "trainer.workers=0"]
LENGTH = ["trainer.epochs=1", "trainer.samples_per_epoch=4", "trainer.batch_size=2", "trainer.pictures=0"]


class Pipelines(list):
    """Names of transforms, a list for each pipeline."""

    angles = None


@pytest.fixture
def built(monkeypatch):
    """Names of the transforms of each pipeline that crops went through; ``angles`` of pasted copies beside them."""
    found = Pipelines()

    def keep(*args, run=None, **kwargs):
        found.append([type(transform).__name__ for transform in kwargs["augmentation"].transforms])
        found.angles = kwargs["sampling"].paste_angles
        return run(*args, **kwargs)

    original = training_data.TrainingSet
    monkeypatch.setattr(
        training_data, "TrainingSet", lambda *args, **kwargs: keep(*args, run=original, **kwargs)
    )
    return found


def write_scenes(root: Path, low: float = 0.5) -> Path:
    """Images whose discs lie below a height, in a plain folder."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :48]
    for number in range(30):
        mask = np.zeros((32, 48), np.uint8)
        for _ in range(6):
            row, column = rng.uniform(low, 1) * 32, rng.uniform(0, 48)
            mask[(y - row) ** 2 + (x - column) ** 2 < 9] = 255
        for folder, pixels in (("images", mask // 2 + number), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / folder / f"{number:02d}.png"), pixels)
    return root


def oriented(folder: Path) -> list[str]:
    """The lines that tell a decision."""
    lines = (folder / "train.log").read_text().splitlines()
    return [line for line in lines if re.search(r"orientation (any|upright): ", line)]


@pytest.mark.parametrize(
    ("asked", "left", "views"),
    [
        ("any", ["HorizontalFlip", "VerticalFlip", "RandomRotate90"], ALL_VIEWS),
        ("upright", ["HorizontalFlip"], ("identity", "horizontal_flip")),
        ("fixed", [], ("identity",)),
        ("auto", ["HorizontalFlip", "VerticalFlip", "RandomRotate90"], ALL_VIEWS),
    ],
)
def test_each_value_on_the_demo(tmp_path, run_command, built, asked, left, views):
    """The demo's cells have no up, so that auto leaves all transforms; the checkpoint knows what was shown."""
    words = ["experiment=smoke", "trainer.epochs=1", f"augmentation.orientation={asked}"]
    assert run_command("train", *words, f"hydra.run.dir={tmp_path / 'run'}") == 0
    assert built == [[*left, "RandomBrightnessContrast"]]
    assert built.angles == ((-15, 15) if asked in ("upright", "fixed") else (0, 360))
    assert Checkpoint.read(tmp_path / "run" / "best.pt").views == views
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["augmentation"]["orientation"]
    assert kept == ("any" if asked == "auto" else asked)
    said = oriented(tmp_path / "run")
    assert len(said) == (asked == "auto")


def test_a_folder_with_an_up_is_told_and_a_resume_keeps_to_it(tmp_path, run_command, built):
    run, root = tmp_path / "run", write_scenes(tmp_path / "data")
    data = ["dataset=folder", f"dataset.root={root}", "augmentation=light"]
    assert run_command("train", *data, *SIZE, *LENGTH, f"hydra.run.dir={run}") == 0
    (line,) = oriented(run)
    assert re.search(r"orientation upright: .*foreground.* upside down .*augmentation\.orientation=any", line)
    assert "VerticalFlip" not in built[-1]

    assert run_command("train", f"resume={run}", "trainer.epochs=2") == 0
    assert built[-1] == built[0]
    assert len(oriented(run)) == 1
    # It goes by what config.yaml keeps, not by the masks, which would say the same again.
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["augmentation"]["orientation"] == "upright"
    config["augmentation"]["orientation"] = "any"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert run_command("train", f"resume={run}", "trainer.epochs=3") == 0
    assert "VerticalFlip" in built[-1]
    assert len(oriented(run)) == 1


def test_an_older_run_folder_flips_as_it_did(tmp_path, run_command, built):
    run, root = tmp_path / "run", write_scenes(tmp_path / "data")
    data = ["dataset=folder", f"dataset.root={root}", "augmentation.orientation=any"]
    assert run_command("train", *data, *SIZE, *LENGTH, f"hydra.run.dir={run}") == 0
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["augmentation"]["orientation"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert run_command("train", f"resume={run}", "trainer.epochs=2") == 0
    assert built[0] == built[1]
    assert "VerticalFlip" in built[1]


class Scenes(Source):
    """A source of one's own that counts how often each mask is read."""

    name, notes, classes, channels, margin = "scenes", [], ("background", "disc"), 1, 0

    def __init__(self) -> None:
        self.read: list[str] = []

    def records(self) -> list[Record]:
        return []

    def read_image(self, record: Record) -> np.ndarray:
        return np.zeros((8, 8, 1), np.uint8)

    def read_truth(self, record: Record, *, scoring: bool = False) -> Truth:
        self.read.append(record.key)
        return Truth(np.eye(8, dtype=np.uint8))


@pytest.mark.parametrize("group", ["none", "light"])
def test_masks_are_read_for_transforms_that_turn_and_for_no_others(group):
    scenes = Scenes()
    scenes.orientation = "auto"
    records = [Record(str(number), "", group=str(number)) for number in range(30)]
    data = SimpleNamespace(source=scenes, split=SimpleNamespace(train=records))
    composed = compose_command("train", [f"augmentation={group}"])
    pipeline, said = augmentation_for(composed, data)
    assert len(scenes.read) == (30 if group == "light" else 0)
    assert len(said) == (group == "light")
    assert bool(pipeline.transforms) == (group == "light")


def test_what_a_source_says_counts_and_silence_means_upright():
    records = [Record(str(number), "", group=str(number)) for number in range(400)]
    scenes = Scenes()
    assert orientation_of(scenes, records)[0] == "upright"
    assert orientation_of(DemoSource(), records)[0] == "any"
    assert scenes.read == []
    scenes.orientation = "auto"
    orientation_of(scenes, records[::-1])
    assert 200 < len(scenes.read) == len(set(scenes.read)) < 300
    assert scenes.read == sorted(scenes.read)
    scenes.orientation = "downwards"
    with pytest.raises(UserError, match=r"'downwards'.* any, upright or auto"):
        orientation_of(scenes, records)
