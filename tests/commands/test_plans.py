"""`unet-data plan` and `unet-train plan=…`, as they are typed."""

import json
from pathlib import Path

import pytest
import yaml

from unet_train.config.compose import compose_train
from unet_train.errors import UserError

SMALL = [
    "encoder=unet",
    "encoder.init_features=4",
    "encoder.depth=2",
    "trainer.batch_size=2",
    "weights=random",
]


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
    ("words", "says"),
    [
        (["minutes=soon"], "minutes=soon"),
        (["minutes=0"], "minutes=0"),
        (["minutes=-1"], "minutes=-1"),
        (["output=my images/plan.yaml"], "output=my images/plan.yaml"),
        (["trainer.epocs=3"], "trainer.epocs"),
        (["weights=file", "weights.path=x.pt"], "weights=file"),
    ],
)
def test_a_mistake_in_what_is_to_be_planned(root, run_command, capsys, words, says):
    assert run_command("data", "plan", f"dataset.root={root}", *words) == 2
    assert says in capsys.readouterr().err
    assert not Path("plan.yaml").exists()


def test_faults_in_the_data_are_told(root, run_command, capsys):
    (root / "masks/im_2.png").write_bytes(b"no picture")
    assert run_command("data", "plan", f"dataset.root={root}") == 2
    line = capsys.readouterr().err
    assert "im_2.png" in line
