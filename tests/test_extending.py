"""What another package adds by entry points, and a user by YAML: listed, suggested, checked and trained like ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = {
    "lab/__init__.py": "",
    "lab/registration.py": '''
from dataclasses import dataclass

from unet_train.keys import key
from unet_train.models.encoders import Encoder, EncoderKeys


@dataclass
class NarrowKeys(EncoderKeys):
    """Two levels."""

    width: int = key("channels of the first level", at_least=2)


NARROW = Encoder(NarrowKeys, "lab.net:Narrow")
''',
    "lab/net.py": '''
from torch import nn


class Narrow(nn.Module):
    """Two levels."""

    stem = "first"

    def __init__(self, in_channels: int, width: int = 4):
        super().__init__()
        self.in_channels, self.channels, self.strides = in_channels, [width, 2 * width], [1, 2]
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)

    def forward(self, x):
        first = self.first(x).relu()
        return [first, self.second(first).relu()]
''',
    "lab/losses.py": '''
from unet_train.training.losses import Term


class Tversky(Term):
    """1 minus the Tversky index over the batch, for class 1."""

    name = "tversky"
    additive_over_images = False

    def __init__(self, alpha: float = 0.5):
        super().__init__()
        self.alpha = alpha

    def numerator(self, log_p, labels):
        p, y = log_p.exp()[:, 1] * labels.valid, (labels.ids == 1).float() * labels.valid
        both = (p * y).sum()
        return 1 - (both + 1) / (both + self.alpha * p.sum() + (1 - self.alpha) * y.sum() + 1)

    def total(self, labels):
        return labels.valid.any().float()
''',
    "lab/pages.py": '''
from dataclasses import dataclass

from unet_train.data.layouts import DatasetKeys, Layout
from unet_train.data.layouts.demo import DemoSource
from unet_train.keys import key


@dataclass
class PagesKeys(DatasetKeys):
    """Drawn pages."""

    pages: int = key("pages drawn", at_least=3)


def pages_source(pages: int, name: str) -> DemoSource:
    return DemoSource(images=pages, test_images=1, size=64, name=name)


PAGES = Layout(PagesKeys, pages_source, folder="none")
''',
    "lab/halves.py": '''
from unet_train.data.targets.classes import ClassesTarget


class HalvesTarget(ClassesTarget):
    """The lower half of the image is not learnt from."""

    def make(self, classes, instances, scale=1.0):
        target = super().make(classes, instances, scale)
        target[target.shape[0] // 2 :] = 255
        return target
''',
    "lab_for_unets-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: lab-for-unets\nVersion: 1.0\n",
    "lab_for_unets-1.0.dist-info/entry_points.txt": """
[unet_train.encoders]
narrow = lab.registration:NARROW
[unet_train.losses]
tversky = lab.losses:Tversky
[unet_train.layouts]
pages = lab.pages:PAGES
[unet_train.targets]
halves = lab.halves:HalvesTarget
""",
    "yaml/encoder/narrow.yaml": "# Two levels.\nkind: narrow\nwidth: 4\n",
    "yaml/loss/tversky.yaml": "# Tversky.\n"
    "terms:\n  - {name: tversky, alpha: 0.3}\nclass_weights: null\nborder_weights: null\n",
    "yaml/dataset/pages.yaml": "# Drawn pages.\n"
    "defaults: [_base, _self_]\nname: pages\nlayout: pages\nroot: null\npages: 4\n",
    "yaml/augmentation/mirror.yaml": "# Mirrored.\ncrop_size: 32\nforeground_share: 0.5\nbalance: false\n"
    "transforms:\n  - {name: HorizontalFlip, p: 0.5}\n",
}

RUN = """
import contextlib, importlib, io, json, sys

from unet_train.commands import shell

told = []
for name, function, words in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        body = getattr(importlib.import_module("unet_train.commands." + name), function)
        code = shell.run(name, body, words)
    told.append([code, said.getvalue()])
print(json.dumps([told, "torch" in sys.modules]))
"""

YAML = ["--config-dir", "yaml"]
SHORT = [
    *("trainer.epochs=1", "trainer.samples_per_epoch=2", "trainer.batch_size=2", "trainer.workers=0"),
    *("trainer.pictures=0", "augmentation.crop_size=32"),
]
DEMO = ["dataset.images=4", "dataset.test_images=1", "dataset.size=64"]
SMALL = ["encoder.init_features=4", "encoder.depth=2"]


@pytest.fixture
def lab(tmp_path):
    """A folder with an installed package of somebody else's, and YAML that uses it."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(folder, *lines):
    """Run commands in a process of their own: ([(exit code, what was said)], whether torch was imported)."""
    functions = {"train": "train", "eval": "evaluate"}
    commands = [[name, functions[name], list(words)] for name, *words in lines]
    path = os.pathsep.join([str(folder), str(Path(__file__).resolve().parent.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_others_add_is_listed_suggested_and_checked_without_torch(lab):
    wrong = {
        "encoder=narow": "did you mean narrow?",
        "loss=tversy": "did you mean tversky?",
        "dataset=pagse": "did you mean pages?",
        "augmentation=miror": "did you mean mirror?",
        "dataset.target=halvs": "did you mean halves?",
        "encoder=narrow encoder.widht=3": "did you mean encoder.width?",
        "encoder=narrow encoder.width=1": "encoder.width=1 is too small: at least 2",
        "encoder=narrow weights=imagenet": "there are none for encoder=narrow",
        "dataset=pages dataset.pages=1": "dataset.pages=1 is too small: at least 3",
        "dataset=pages dataset.root=x": "the layout pages has no folder",
    }
    lines = [("train", "--help", *YAML), *(("train", *words.split(), *YAML) for words in wrong)]
    ((code, page), *refusals), with_torch = run(lab, *lines)
    assert code == 0
    for word in (
        "narrow, resnet",
        "encoder.width=4",
        "tversky",
        "pages",
        "dataset.pages=4",
        "mirror",
        "|halves]",
    ):
        assert word in page, word
    for (code, said), (words, part) in zip(refusals, wrong.items(), strict=True):
        assert (code, said.count("\n")) == (2, 1), (words, said)
        assert part in said, (words, said)
    assert not with_torch


def test_what_others_add_trains_and_is_evaluated(lab):
    data = ["dataset=pages", "dataset.target=halves"]
    runs = {
        "encoder": ["encoder=narrow", "encoder.width=6", *DEMO],
        "loss": ["loss=tversky", *DEMO, *SMALL],
        "data": [*data, *SMALL],
        "augmentation": ["augmentation=mirror", *DEMO, *SMALL],
    }
    trained = [("train", *words, *YAML, *SHORT, f"hydra.run.dir={name}") for name, words in runs.items()]
    misspelt = ("train", "loss.terms=[{name: tversy}]", *DEMO, *SMALL, *SHORT)
    evaluated = [("eval", f"ckpt={name}", "part=val") for name in ("encoder", "data")]
    (*told, (code, said)), _ = run(lab, *trained, *evaluated, misspelt)
    assert [code for code, _ in told] == [0] * len(told), told
    assert code == 2
    assert "did you mean tversky?" in said
    for name in runs:
        assert (lab / name / "best.pt").is_file()
    assert (lab / "data" / "eval" / "pages-val" / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("file", "text", "choice", "reason"),
    [
        ("registration.py", "import no_such_library\n", "encoder=narrow", "no_such_library"),
        ("pages.py", "PAGES = 3\n", "dataset=pages", "is no Layout"),
    ],
)
def test_a_broken_package_stops_those_alone_who_choose_it(lab, file, text, choice, reason):
    (lab / "lab" / file).write_text(text)
    train = ("train", *DEMO, *SMALL, *SHORT, "hydra.run.dir=run")
    ((code, said), (refused, line)), _ = run(lab, train, ("train", choice, *YAML))
    assert code == 0, said
    assert (refused, line.count("\n")) == (2, 1), line
    assert "lab-for-unets" in line
    assert reason in line
