"""`unet-data plan` and `unet-train plan=…`, as they are typed."""

import json
import shutil
import uuid
from pathlib import Path

import numpy as np
import pytest
import yaml

from unet_train.config.compose import compose_train
from unet_train.errors import UserError
from unet_train.planning.make import ORDER

SMALL = [
    "encoder=unet",
    "encoder.init_features=4",
    "encoder.depth=2",
    "trainer.batch_size=2",
    "weights=random",
]


_GIVEN = {word.partition("=")[0] for word in SMALL}


@pytest.fixture(autouse=True)
def _here(own_folder):
    pass


@pytest.fixture
def root(write_images):
    return write_images(Path("my images"), 6)


def listing(folder):
    return sorted((path.as_posix(), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_a_plan_is_written_and_trained(root, run_command, capsys):
    before = listing(root)
    words = [f"dataset.root={root}", "minutes=0.05", "output=plans/mine.yaml"]
    assert run_command("data", "plan", *words, *SMALL) == 0
    text = Path("plans/mine.yaml").read_text()
    plan = yaml.safe_load(text)
    assert plan["dataset"] == "folder"
    assert plan["dataset.root"] == str(root)
    assert plan["encoder"] == "unet"
    assert plan["encoder.init_features"] == 4
    assert plan["trainer.batch_size"] == 2
    assert plan["augmentation.crop_size"] == 64
    lines = text.splitlines()
    for key in plan:
        (at,) = [i for i, line in enumerate(lines) if line.startswith(f"{key}:")]
        assert lines[at - 1].startswith("# "), key
    assert "plan=plans/mine.yaml" in capsys.readouterr().out
    assert run_command("train", "plan=plans/mine.yaml", "trainer.epochs=1", "hydra.run.dir=run") == 0
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["trainer"]["epochs"] == 1
    assert config["trainer"]["samples_per_epoch"] == plan["trainer.samples_per_epoch"]
    assert config["encoder"]["init_features"] == 4
    assert Path("run/plan.yaml").read_text() == text
    assert run_command("train", "resume=run", "trainer.epochs=2") == 0
    assert run_command("data", "plan", *words, *SMALL) == 0
    assert "replacing" in capsys.readouterr().out
    assert listing(root) == before


def test_plan_auto_does_both(root, run_command):
    words = ["dataset=folder", f"dataset.root={root}", "plan=auto", "minutes=0.05", "trainer.epochs=1"]
    assert run_command("train", *words, *SMALL, "hydra.run.dir=run") == 0
    plan = yaml.safe_load(Path("run/plan.yaml").read_text())
    assert plan["dataset.root"] == str(root)
    assert yaml.safe_load(Path("run/config.yaml").read_text())["plan"] is None
    assert json.loads(Path("run/data.json").read_text())["parts"] == {"train": 5, "val": 1}


def write_plan(**keys):
    Path("plan.yaml").write_text(
        yaml.safe_dump({key.replace("__", "."): value for key, value in keys.items()})
    )


def test_the_command_line_wins(root):
    write_plan(
        dataset="folder",
        dataset__root=str(root),
        dataset__group_regex="^(.+)_[0-9]+, 'x'$",
        dataset__target_params={"width": 3},
        encoder="resnet",
        encoder__depth=18,
        weights="imagenet",
        model__decoder_channels=[8, 8, 8, 8, 8],
        trainer__epochs=7,
        loss="dice",
    )
    config = compose_train(["plan=plan.yaml"]).config
    assert (config.encoder.kind, config.encoder.depth, config.weights.kind) == ("resnet", 18, "imagenet")
    assert config.dataset.group_regex == "^(.+)_[0-9]+, 'x'$"
    assert config.dataset.target_params == {"width": 3}
    assert config.model.decoder_channels == [8, 8, 8, 8, 8]
    assert config.trainer.epochs == 7
    config = compose_train(["plan=plan.yaml", "trainer.epochs=2", "encoder=unet", "loss=focal"]).config
    assert (config.encoder.kind, config.weights.kind, config.model.decoder_channels) == (
        "unet",
        "random",
        None,
    )
    assert config.trainer.epochs == 2
    assert config.loss.terms[0]["name"] == "focal"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, ["plan=plan.yaml", "unet-data plan"]),
        ("trainer.epochs: [", ["plan=plan.yaml"]),
        ("just a text", ["plan=plan.yaml"]),
        ("", ["plan=plan.yaml"]),
        ("trainer: {epochs: 3}", ["plan=plan.yaml", "trainer", "resume="]),
        ("trainer.epocs: 3", ["trainer.epocs", "trainer.epochs?", "plan=plan.yaml"]),
        ("trainer.epochs: -3", ["trainer.epochs=-3", "plan=plan.yaml"]),
        ("resume: run", ["plan=plan.yaml", "resume"]),
    ],
)
def test_a_file_that_is_no_plan(content, says):
    if content is not None:
        Path("plan.yaml").write_text(content)
    with pytest.raises(UserError) as refusal:
        compose_train(["plan=plan.yaml"])
    line = str(refusal.value)
    assert "\n" not in line
    for part in says:
        assert part in line


@pytest.mark.parametrize(
    ("typed", "blamed"),
    [
        ("dataset.scale=-1", False),
        ("loss.foo=1", False),
        ("dataset.instance=true", False),
        ("seed=1", True),  # the plan's own mistake
    ],
)
def test_the_plan_is_blamed_for_its_own_mistakes_alone(root, typed, blamed):
    write_plan(dataset="folder", dataset__root=str(root), loss="dice")
    if blamed:
        write_plan(dataset="folder", dataset__root=str(root), trainer__epochs="many")
    with pytest.raises(UserError) as refusal:
        compose_train(["plan=plan.yaml", typed])
    assert ("plan=plan.yaml" in str(refusal.value)) == blamed


def test_the_plan_is_named_where_its_data_are_gone(run_command, capsys):
    write_plan(dataset="folder", dataset__root="gone")
    assert run_command("train", "plan=plan.yaml") == 2
    line = capsys.readouterr().err
    assert "dataset.root=gone" in line
    assert "plan=plan.yaml" in line


def test_a_section_typed_as_in_the_plan_keeps_the_plans_keys(root):
    write_plan(dataset="folder", dataset__root="elsewhere", dataset__scale=0.5, loss="dice")
    words = ["plan=plan.yaml", "dataset=folder", f"dataset.root={root}"]
    config = compose_train(words).config
    assert (config.dataset.root, config.dataset.scale) == (str(root), 0.5)
    assert compose_train(["plan=plan.yaml", "dataset=demo"]).config.dataset.scale == 1.0


@pytest.fixture
def cells():
    """Object numbers of two large squares that touch, in five images."""
    from unet_train.data.io.images import write_image, write_labels

    rng = np.random.default_rng(0)
    for name in ("ash", "elm", "fir", "oak", "yew"):
        labels = np.zeros((256, 256), np.uint16)
        labels[40:160, 10:130], labels[40:160, 130:250] = 1, 2
        write_image(
            Path(f"cells/images/{name}.png"),
            (rng.integers(20, 60, labels.shape) + 120 * (labels > 0)).astype(np.uint8),
        )
        write_labels(Path(f"cells/masks/{name}.png"), labels)
    return ["dataset=folder", "dataset.root=cells", "dataset.instances=true", "minutes=0.03"]


def test_what_a_plan_chooses_for_touching_cells_is_trained(cells, run_command):
    before = listing(Path("cells"))
    assert run_command("train", *cells, *SMALL, "plan=auto", "trainer.epochs=1", "hydra.run.dir=run") == 0
    plan = yaml.safe_load(Path("run/plan.yaml").read_text())
    dataset = yaml.safe_load(Path("run/config.yaml").read_text())["dataset"]
    assert dataset["target"] == plan["dataset.target"] == "foreground_border"
    assert dataset["scale"] == plan["dataset.scale"] == 0.5
    assert plan["augmentation.crop_size"] == 128
    assert listing(Path("cells")) == before


def test_time_for_the_objects_parameters_is_kept_free_on_eight_images_at_most(cells, run_command):
    for part, stems in (("val", 20), ("train", 2)):
        for folder in ("images", "masks"):
            file = Path(f"cells/{folder}/ash.png")
            for n in range(stems):
                copy = Path(f"parted/{part}/{folder}/{part}{n}.png")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
    words = ["dataset.root=parted", "dataset.instances=true", "dataset.target=classes", "minutes=3", *SMALL]
    assert run_command("data", "plan", *words) == 0
    # 8 images of 256², 2 s each, and a twentieth of 180 s
    (line,) = [line for line in Path("plan.yaml").read_text().split("\n\n") if "trainer.epochs:" in line]
    assert "25 s" in " ".join(line.split())


def test_another_target_than_the_plan_would_choose(cells, run_command):
    assert run_command("data", "plan", *cells, *SMALL, "dataset.target=classes", "dataset.scale=1.0") == 0
    plan = yaml.safe_load(Path("plan.yaml").read_text())
    assert (plan["dataset.target"], plan["dataset.scale"]) == ("classes", 1.0)
    assert "dataset.target_params" not in plan
    config = compose_train(["plan=plan.yaml"]).config
    assert (config.dataset.target, config.augmentation.crop_size) == ("classes", 256)


HUNGRY = """
import torch
from torch import nn

class Narrow(nn.Module):
    def __init__(self, in_channels: int, width: int = 4, most: int = 9) -> None:
        super().__init__()
        self.in_channels, self.channels, self.strides = in_channels, [width, width], [1, 2]
        self.most = most
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        x = self.first(x)
        return [x, self.second(x)]
"""


@pytest.fixture
def hungry(own_folder):
    """An encoder of one's own that runs out of memory above `most` images."""
    name = f"mine_{uuid.uuid4().hex}"
    (own_folder / f"{name}.py").write_text(HUNGRY)
    return [f"encoder._target_={name}.Narrow", "encoder.width=3"]


def test_an_encoder_of_ones_own_is_planned_and_trained(root, hungry, run_command):
    assert run_command("data", "plan", f"dataset.root={root}", "minutes=0.03", *hungry) == 0
    plan = yaml.safe_load(Path("plan.yaml").read_text())
    assert "encoder" not in plan
    assert (plan["encoder.width"], plan["weights"], plan["trainer.batch_size"]) == (3, "random", 4)
    assert run_command("train", "plan=plan.yaml", "trainer.epochs=1", "hydra.run.dir=run") == 0
    assert yaml.safe_load(Path("run/config.yaml").read_text())["encoder"]["width"] == 3
    write_plan(dataset="folder", dataset__root=str(root), encoder="resnet", weights="imagenet")
    config = compose_train(["plan=plan.yaml", *hungry]).config
    assert config.weights.kind == "random"


PAGES = """
from unet_train.data.layouts.demo import DemoSource

class Pages(DemoSource):
    orientation = "upright"

    def __init__(self, pages: int, name: str):
        super().__init__(images=pages, test_images=1, size=64, name=name)
"""


def test_a_data_set_of_ones_own_is_planned_and_trained(own_folder, run_command):
    name = f"mine_{uuid.uuid4().hex}"
    (own_folder / f"{name}.py").write_text(PAGES)
    words = ["dataset=custom", f"dataset._target_={name}.Pages", "dataset.arguments.pages=5"]
    assert run_command("data", "plan", *words, "minutes=0.03", *SMALL) == 0
    plan = yaml.safe_load(Path("plan.yaml").read_text())
    assert (plan["dataset"], plan["dataset.arguments.pages"]) == ("custom", 5)
    assert plan["augmentation.orientation"] == "upright"
    assert run_command("train", "plan=plan.yaml", "trainer.epochs=1", "hydra.run.dir=run") == 0
    assert yaml.safe_load(Path("run/config.yaml").read_text())["dataset"]["arguments"] == {"pages": 5}


@pytest.mark.parametrize(("batch", "most", "fits"), [(4, 2, (2, 2)), (5, 1, (1, 5)), (4, 9, (4, 1))])
def test_a_batch_that_does_not_fit_into_memory(root, hungry, run_command, batch, most, fits):
    words = [f"dataset.root={root}", "minutes=0.03", *hungry, f"encoder.most={most}"]
    assert run_command("data", "plan", *words, f"trainer.batch_size={batch}") == 0
    text = Path("plan.yaml").read_text()
    plan = yaml.safe_load(text)
    assert (plan["trainer.batch_size"], plan.get("trainer.accumulate")) == fits
    assert text.count("trainer.batch_size:") == 1
    assert plan["trainer.samples_per_epoch"] % batch == 0
    assert run_command("train", "plan=plan.yaml", "trainer.epochs=1", "hydra.run.dir=run") == 0


def test_not_even_one_crop_fits(root, hungry, run_command, capsys):
    words = [f"dataset.root={root}", "minutes=0.03", *hungry, "encoder.most=0"]
    assert run_command("data", "plan", *words) == 2
    assert "augmentation.crop_size" in capsys.readouterr().err
    assert not Path("plan.yaml").exists()


def test_images_of_one_stem_are_on_one_side_of_the_planned_split(write_images, run_command):
    names = [f"{stem}_{n}.png" for stem in ("ash", "elm", "fir") for n in range(4)]
    root = write_images(Path("stems"), 12, names=names, mask=lambda i, labels: (labels > 0) * np.uint8(255))
    assert run_command("data", "plan", f"dataset.root={root}", "minutes=0.03", *SMALL) == 0
    text = Path("plan.yaml").read_text()
    assert "8 train, 4 validate" in text
    assert run_command("train", "plan=plan.yaml", "trainer.epochs=1", "hydra.run.dir=run") == 0
    parts = json.loads(Path("run/split.json").read_text())
    stems = {part: {key.split("_")[0].split("/")[-1] for key in parts[part]} for part in ("train", "val")}
    assert (len(stems["train"]), len(stems["val"])) == (2, 1)
    assert not stems["train"] & stems["val"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["minutes=3"], ["minutes=3", "plan=auto"]),
        (["plan=auto", "-m", "seed=0,1"], ["plan=auto", "unet-data plan"]),
        (["plan=auto", "experiment=demo"], ["experiment=demo"]),
        (["plan=auto", "resume=run"], ["resume=run", "plan=auto"]),
        (["plan=auto", "minutes=soon"], ["minutes=soon"]),
    ],
)
def test_words_that_do_not_go_with_a_plan(run_command, capsys, words, says):
    assert run_command("train", *words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    for part in says:
        assert part in line


def test_several_processes_do_not_plan_each_by_itself(run_command, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run_command("train", "plan=auto", "dataset=folder", "dataset.root=x") == 2
    assert "plan=auto" in capsys.readouterr().err


def test_a_resumed_run_takes_no_plan(root, run_command, capsys, short):
    words = ["dataset=folder", f"dataset.root={root}", *short, "hydra.run.dir=run"]
    assert run_command("train", *words) == 0
    write_plan(dataset="folder", dataset__root=str(root))
    assert run_command("train", "resume=run", "plan=plan.yaml", "trainer.epochs=2") == 2
    assert "plan=plan.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["minutes=soon"], "minutes=soon"),
        (["minutes=0"], "minutes=0"),
        (["minutes=-1"], "minutes=-1"),
        (["output=my images/plan.yaml"], "output=my images/plan.yaml"),
        (["output=my images/masks/../new/plan.yaml"], "output=my images/masks/../new/plan.yaml"),
        (["output=a folder"], "output=a folder"),
        (["output=a folder/a file/plan.yaml"], "output=a folder/a file/plan.yaml"),
        (["trainer.epocs=3"], "trainer.epocs"),
        (["weights=file", "weights.path=x.pt"], "weights=file"),
        (["weights.path=gone.pt"], "gone.pt"),
        (["encoder=unet", "weights=imagenet"], "weights=imagenet"),
        (["experiment=demo"], "experiment=demo"),
        (["plan=mine.yaml"], "plan=mine.yaml"),
        (["resume=run"], "resume=run"),
    ],
)
def test_a_mistake_in_what_is_to_be_planned(root, run_command, capsys, words, says):
    Path("a folder").mkdir()
    Path("a folder/a file").touch()
    before = listing(root)
    assert run_command("data", "plan", f"dataset.root={root}", *words) == 2
    assert listing(root) == before
    assert says in capsys.readouterr().err
    assert not Path("plan.yaml").exists()


def test_a_plan_is_not_written_beside_data_in_their_usual_place(run_command, capsys):
    Path("data/phc_u373").mkdir(parents=True)
    words = ["dataset=phc_u373", "output=data/phc_u373/plans/plan.yaml"]
    assert run_command("data", "plan", *words) == 2
    assert words[1] in capsys.readouterr().err
    assert list(Path("data/phc_u373").iterdir()) == []


def test_a_taken_run_folder_is_told_before_anything_is_planned(root, run_command, capsys, short):
    assert run_command("train", "dataset=folder", f"dataset.root={root}", *short, "hydra.run.dir=run") == 0
    (root / "masks/im_2.png").write_bytes(b"no picture")  # a plan would stumble over it
    words = ["dataset=folder", f"dataset.root={root}", "plan=auto", "hydra.run.dir=run"]
    capsys.readouterr()
    assert run_command("train", *words) == 2
    assert "resume=run" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "crop", "code"), [([], 64, 0), (["augmentation.crop_size=128"], None, 2)])
def test_a_crop_that_does_not_fit_into_memory(cells, own_folder, run_command, given, crop, code):
    name = f"mine_{uuid.uuid4().hex}"
    (own_folder / f"{name}.py").write_text(
        HUNGRY.replace("len(x) > self.most", "self.training and x.shape[-1] > 96")
    )
    encoder = [f"encoder._target_={name}.Narrow", "trainer.batch_size=2"]
    assert run_command("data", "plan", *cells, *encoder, *given) == code
    if crop:
        text = Path("plan.yaml").read_text()
        plan = yaml.safe_load(text)
        assert (plan["augmentation.crop_size"], plan["trainer.batch_size"]) == (crop, 2)
        assert text.count("augmentation.crop_size:") == 1
        assert run_command("train", "plan=plan.yaml", "trainer.epochs=1", "hydra.run.dir=run") == 0


def test_every_plan_speaks_of_what_stays(root, run_command):
    assert run_command("data", "plan", f"dataset.root={root}", "minutes=0.03", *SMALL) == 0
    plan = yaml.safe_load(Path("plan.yaml").read_text())
    for key in (
        *("instances", "intensity_range", "scale", "target", "normalisation"),
        *("split.val_fraction", "augmentation.crop_size", "augmentation.foreground_share"),
        *("trainer.batch_size", "trainer.accumulate", "loss", "encoder", "weights"),
    ):
        assert key in plan or f"dataset.{key}" in plan
    sections = [key.partition(".")[0] for key in plan if key not in ("dataset", "dataset.root", *_GIVEN)]
    assert sections == sorted(sections, key=ORDER.index)
    planned = compose_train(["plan=plan.yaml"]).config
    plain = compose_train(["dataset=folder", f"dataset.root={root}", *SMALL]).config
    assert planned.dataset == plain.dataset
    assert planned.split == plain.split


def test_faults_in_the_data_are_told(root, run_command, capsys):
    (root / "masks/im_2.png").write_bytes(b"no picture")
    assert run_command("data", "plan", f"dataset.root={root}") == 2
    line = capsys.readouterr().err
    assert "im_2.png" in line
