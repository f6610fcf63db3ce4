"""Encoders, data sets and losses of one's own: found where one works, checked before use, named again to evaluate."""

import json
import shlex
import uuid
from pathlib import Path

import pytest
import torch

from unet_train.models.files import write_checkpoint

ENCODER = '''
from torch import nn


class Narrow(nn.Module):
    """Two levels."""

    def __init__(self, in_channels: int, width: int = 4, dilations: tuple = (1, 1)):
        super().__init__()
        self.in_channels, self.channels, self.strides = in_channels, [width, 2 * width], [1, 2]
        self.first = nn.Conv2d(in_channels, width, 3, padding=dilations[0], dilation=dilations[0])
        self.second = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)

    def forward(self, x):
        first = self.first(x).relu()
        return [first, self.second(first).relu()]
'''

DATA = '''
from unet_train.data.layouts.demo import DemoSource


class Pages(DemoSource):
    """Drawn pages."""

    def __init__(self, pages: int, name: str):
        super().__init__(images=pages, test_images=1, size=64, name=name)
'''

BARE = '''
import numpy as np

from unet_train.data.records import Record, Truth


class Halves:
    """A data set that knows nothing of the package's base class and says only what it must."""

    classes = ("left", "right")
    channels = 1

    def records(self):
        return [Record(f"{i}", f"<{i}>", group=f"{i}") for i in range(5)]

    def read_image(self, record):
        return np.random.default_rng(int(record.key)).integers(0, 255, (32, 40, 1), np.uint8)

    def read_truth(self, record, *, scoring=False):
        classes = np.zeros((32, 40), np.uint8)
        classes[:, 20:] = 1
        return Truth(classes)


class Coloured(Halves):
    def __init__(self):
        self.notes, self.palette, self.has_background = [], None, False
        self.values = "something else"

    def records(self):
        self.notes = ["five halves were found"]
        self.palette = [(9, 8, 7), (200, 0, 1)]
        return super().records()


class Nothing:
    def records(self):
        return []
'''

LOSS = """
from unet_train.training.losses import build_loss


def only_dice(classes: int, smooth: float = 1.0):
    return build_loss([{"name": "dice", "smooth": smooth}], classes)
"""

DEMO = ["dataset.images=4", "dataset.test_images=1", "dataset.size=64"]
TRAINER = [
    *("trainer.epochs=1", "trainer.samples_per_epoch=2", "trainer.batch_size=2", "trainer.workers=0"),
    *("augmentation.crop_size=32", "trainer.pictures=0"),
]
SMALL = ["encoder.init_features=4", "encoder.depth=2"]


@pytest.fixture
def module(own_folder):
    """Write the text to a module in the working folder, of a name no other test has; its name."""

    def write(text):
        name = f"mine_{uuid.uuid4().hex}"
        (own_folder / f"{name}.py").write_text(text)
        return name

    return write


def one_line(capsys):
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_an_encoder_of_ones_own_trains_and_is_named_again_to_evaluate(module, run_command, capsys):
    name = module(ENCODER)
    group = Path("my yaml/encoder")
    group.mkdir(parents=True)
    (group / "mine.yaml").write_text(f"_target_: {name}.Narrow\nwidth: 6\ndilations: [2, 1]\n")
    words = ["encoder=mine", "--config-dir", "my yaml", *DEMO, *TRAINER]
    assert run_command("train", *words) == 0
    (run,) = Path("runs/demo").iterdir()
    assert run.name.endswith("-narrow")
    capsys.readouterr()

    # The checkpoint alone never imports code.
    assert run_command("eval", f"ckpt={run}") == 2
    line = one_line(capsys)
    needed = line[line.index("encoder._target_=") :]
    assert "encoder.width=6" in needed
    assert "encoder.dilations=[2,1]" in needed
    assert run_command("predict", f"ckpt={run}", "input=.", "output=out") == 2
    capsys.readouterr()

    assert run_command("eval", f"ckpt={run}", *shlex.split(needed)) == 0
    assert json.loads((run / "eval/demo-test/metrics.json").read_text())["n_images"] == 1
    assert run_command("eval", f"ckpt={run}", "encoder=mine", "--config-dir=my yaml", "part=val") == 0
    picture = next((run / "eval").rglob("overlays/*.png"))
    (run / "images").mkdir()
    picture.rename(run / "images/x.png")
    capsys.readouterr()
    words = [f"ckpt={run}", f"input={run}/images", "output=out", *shlex.split(needed)]
    assert (
        run_command("predict", *words) == 1
    )  # an overlay has three channels: the image is bad, the encoder good
    assert "channels" in capsys.readouterr().out

    # Resuming goes by the run folder's own config.yaml, which is the user's.
    assert run_command("train", f"resume={run}", "trainer.epochs=2") == 0


def test_an_encoder_can_be_named_on_the_command_line_alone(module, run_command, capsys):
    name = module(ENCODER)
    own = [f"encoder._target_={name}.Narrow", "encoder.width=3"]
    assert run_command("train", *own, *DEMO, *TRAINER, "hydra.run.dir=run") == 0
    assert torch.load("run/best.pt", weights_only=True)["model"]["encoder"] == {
        "kind": "custom",
        "target": f"{name}.Narrow",
        "width": 3,
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["encoder._target_={name}.Narrow", "encoder.widht=3"], ["encoder.widht", "width?"]),
        (["encoder._target_={name}.Narow"], ["encoder._target_", "{name}.Narrow?"]),
        (["encoder._target_=no_such_module.Narrow"], ["encoder._target_=no_such_module.Narrow", "imported"]),
        (["encoder._target_=Narrow"], ["encoder._target_=Narrow"]),
        (["loss._target_={name}.only_dice", "loss.smoth=3"], ["loss.smoth", "smooth?"]),
        (
            ["dataset=custom", "dataset._target_={name}.Pages", "dataset.arguments.pagse=4"],
            ["dataset.arguments.pagse", "pages?"],
        ),
        (["dataset=custom", "dataset._target_={name}.Pages"], ["dataset", "pages"]),
        (["dataset=custom"], ["dataset._target_", "missing"]),
    ],
)
def test_misspelt_arguments_are_refused_before_any_image_is_read(module, run_command, capsys, words, says):
    name = module(ENCODER + DATA + LOSS)
    for folder in ("images", "masks"):
        Path("broken", folder).mkdir(parents=True)
        Path("broken", folder, "0.png").write_bytes(b"no picture")
    broken = ["dataset=folder", "dataset.root=broken"] if "dataset=custom" not in words else []
    assert run_command("train", *TRAINER, *broken, *[word.format(name=name) for word in words]) == 2
    line = one_line(capsys)
    for part in says:
        assert part.format(name=name) in line


def test_a_loss_of_ones_own_trains(module, run_command):
    name = module(LOSS)
    words = [f"loss._target_={name}.only_dice", "loss.smooth=2.0", *DEMO, *TRAINER, *SMALL]
    assert run_command("train", *words, "hydra.run.dir=run") == 0


def test_a_data_set_of_ones_own_trains_and_is_named_again_to_evaluate(module, run_command, capsys):
    name = module(DATA)
    own = ["dataset=custom", f"dataset._target_={name}.Pages", "dataset.arguments.pages=4"]
    assert run_command("data", "check", *own) == 0
    assert run_command("train", *own, *TRAINER, *SMALL, "hydra.run.dir=run") == 0
    capsys.readouterr()
    assert run_command("eval", "ckpt=run") == 2
    line = one_line(capsys)
    needed = shlex.split(line[line.index("dataset=custom") :])
    assert needed == own
    assert run_command("eval", "ckpt=run", *needed, "part=val") == 0
    keys = json.loads(Path("run/split.json").read_text())["val"]
    assert json.loads(Path("run/eval/custom-val/metrics.json").read_text())["n_images"] == len(keys)


def test_a_data_set_without_our_base_class_has_its_defaults(module, run_command, capsys):
    own = ["dataset=custom", "dataset.name=halves", f"dataset._target_={module(BARE)}.Halves"]
    train = ["experiment=smoke", *own, *SMALL, *TRAINER, "split.val_fraction=0.4", "hydra.run.dir=run"]
    assert run_command("train", *train) == 0
    data = torch.load("run/best.pt", weights_only=True)["data"]
    assert (data["name"], data["has_background"], data["margin"]) == ("halves", True, 0)
    assert data["palette"] is data["mask_values"] is None
    assert "dataset=halves" in capsys.readouterr().out, "taken to have an up, by name"
    assert run_command("eval", "ckpt=run", *own, "part=val") == 0
    assert run_command("data", "check", *own) == 0


def test_what_a_data_set_without_our_base_class_says_is_heard(module, run_command, capsys):
    """Also what it finds out only while it lists its records."""
    own = ["dataset=custom", f"dataset._target_={module(BARE)}.Coloured"]
    train = ["experiment=smoke", *own, *SMALL, *TRAINER, "split.val_fraction=0.4", "hydra.run.dir=run"]
    assert run_command("train", *train) == 0
    assert "five halves were found" in capsys.readouterr().out
    data = torch.load("run/best.pt", weights_only=True)["data"]
    assert data["palette"] == [[9, 8, 7], [200, 0, 1]]
    assert data["has_background"] is False
    assert data["mask_values"] is None, "its values are no table"


def test_a_class_that_is_no_data_set_is_refused(module, run_command, capsys):
    name = module(BARE)
    assert run_command("train", "experiment=smoke", "dataset=custom", f"dataset._target_={name}.Nothing") == 2
    line = one_line(capsys)
    for word in ("Nothing", "channels, classes, read_image, read_truth", "unet_train.data.records.Source"):
        assert word in line


def test_a_checkpoint_cannot_make_us_call_anything(own_folder, run_command, capsys):
    """Someone else's checkpoint names a data set class: nothing of it is imported or called."""
    assert run_command("train", "experiment=smoke", *TRAINER, "hydra.run.dir=run") == 0
    content = torch.load("run/best.pt", weights_only=True)
    keys = ("name", "root", "target", "target_params", "scale", "normalisation", "mean", "std")
    keys += ("intensity_range", "test_groups")
    content["config"]["dataset"] = {key: content["config"]["dataset"][key] for key in keys} | {
        "layout": "custom",
        "_target_": "pathlib.Path.touch",
        "arguments": {"self": "called"},
    }
    write_checkpoint(own_folder / "evil.pt", content)
    capsys.readouterr()
    assert run_command("eval", "ckpt=evil.pt") == 2
    assert "pathlib.Path.touch" in one_line(capsys)
    assert not Path("called").exists()
