"""Weights that are carried over bring their normalisation and their classes; what does not fit is one line."""

import numpy as np
import pytest
import torch
import torchvision
import yaml

from unet_train.checkpoint import Checkpoint
from unet_train.commands import shell, train
from unet_train.errors import UserError
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.weights.own import load_own
from unet_train.models.weights.pixels import rule_of_file

TINY = ["experiment=smoke", "trainer.epochs=1", "trainer.samples_per_epoch=4", "trainer.pictures=0"]
FIXED = ["dataset.normalisation=fixed", "dataset.mean=[0.3]", "dataset.std=[0.2]"]


def config_of(run):
    return yaml.safe_load((run / "config.yaml").read_text())["dataset"]


@pytest.fixture(scope="module")
def fixed_run(tmp_path_factory):
    """A run folder of a model trained with a fixed mean and std."""
    folder = tmp_path_factory.mktemp("fixed") / "run"
    assert shell.run("train", train.train, [*TINY, *FIXED, f"hydra.run.dir={folder}"]) == 0
    return folder


def test_auto_follows_the_file_and_a_run_folder_stands_for_its_best(fixed_run, tmp_path, run_command, capsys):
    run = tmp_path / "run"
    words = ["weights=file", f"weights.path={fixed_run}", f"hydra.run.dir={run}"]
    assert run_command("train", *TINY, *words) == 0
    said = capsys.readouterr().out
    assert "fixed (mean 0.3, std 0.2)" in said
    assert str(fixed_run / "best.pt") in said
    saved = Checkpoint.read(run / "best.pt")
    assert saved.data.normalisation == "fixed"
    assert saved.model.normalisation == {"mode": "fixed", "mean": [0.3], "std": [0.2]}
    kept = config_of(run)
    assert (kept["normalisation"], kept["mean"], kept["std"]) == ("fixed", [0.3], [0.2])


@pytest.mark.parametrize("frozen", [0, "all"])
def test_another_normalisation_is_said_and_a_warning_before_a_frozen_encoder(
    fixed_run, tmp_path, run_command, capsys, frozen
):
    run = tmp_path / "run"
    words = [
        "weights=file",
        f"weights.path={fixed_run}",
        f"weights.freeze_encoder={frozen}",
        f"hydra.run.dir={run}",
    ]
    assert run_command("train", *TINY, *words, "dataset.normalisation=image") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "normalisation=image" in line)
    assert "fixed (mean 0.3, std 0.2)" in line
    assert line.startswith("warning") == (frozen == "all")
    assert Checkpoint.read(run / "best.pt").data.normalisation == "image"


def test_the_range_of_the_weights_is_taken_where_images_need_one(tmp_path, run_command, capsys, write_images):
    def deep(_, pixels):
        return pixels.astype(np.uint16) * 10

    data = write_images(tmp_path / "data", image=deep)
    words = [*TINY, "dataset=folder", f"dataset.root={data}"]
    first, second = tmp_path / "first", tmp_path / "second"
    assert run_command("train", *words, "dataset.intensity_range=[0,4095]", f"hydra.run.dir={first}") == 0
    assert (
        run_command("train", *words, "weights=file", f"weights.path={first}", f"hydra.run.dir={second}") == 0
    )
    assert config_of(second)["intensity_range"] == [0, 4095]
    assert "0 to 4095" in capsys.readouterr().out


def test_the_rule_of_files_without_a_description():
    resnet = torchvision.models.resnet18(weights=None).state_dict()
    rule = rule_of_file(resnet, "resnet", depth=18)
    assert (rule.mode, rule.mean, rule.std) == ("fixed", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert rule.for_channels(1).mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert rule_of_file({"levels.0.conv1.weight": torch.zeros(4, 1, 3, 3)}, "unet") is None
    milesial = rule_of_file({"module.inc.double_conv.0.weight": torch.zeros(4, 2, 3, 3)}, "unet")
    assert (milesial.mode, milesial.mean, milesial.std) == ("fixed", (0, 0), (1, 1))
    ours = {"normalisation.mean": torch.tensor([0.5]), "normalisation.std": torch.tensor([0.25])}
    assert rule_of_file(ours, "resnet", depth=18).std == (0.25,)
    by_image = {"normalisation.mean": torch.zeros(1), "normalisation.std": torch.ones(1)}
    assert rule_of_file(by_image, "resnet", depth=18) is None
    assert rule_of_file({"encoder1.enc1conv1.weight": torch.zeros(1)}, "unet").mode == "brain"


# --- the head, by the names of the classes -------------------------------------------------------------------


def net(*outputs, features=4, **keys):
    spec = ModelSpec({"kind": "unet", "init_features": features, "depth": 2}, 1, list(outputs), **keys)
    model = build_model(spec).eval()
    with torch.no_grad():
        model.head.bias.normal_()
    return model


def carried(source, target):
    return load_own(target, source.spec, source.state_dict(), target.spec.outputs, "best.pt")


def test_classes_of_the_same_name_keep_their_rows():
    source, target = net("background", "cell", "debris"), net("background", "debris", "fibre", "cell")
    drawn = target.head.weight[2].clone()
    report = carried(source, target)
    image = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(target(image)[:, [0, 3, 1]], source(image))
    assert torch.equal(target.head.weight[[0, 3, 1]], source.head.weight)
    assert torch.equal(target.head.bias[[0, 3, 1]], source.head.bias)
    assert torch.equal(target.head.weight[2], drawn)
    note = next(note for note in report.notes if "head" in note)
    assert note.index("debris") < note.index("cell") < note.index("fibre")


def test_the_same_number_of_other_classes_is_not_taken_for_the_same():
    source, target = net("a", "b"), net("b", "a")
    carried(source, target)
    assert torch.equal(target.head.weight[0], source.head.weight[1])
    source, target = net("a", "b"), net("c", "d")
    before = target.head.weight.clone()
    report = carried(source, target)
    assert torch.equal(target.head.weight, before)
    assert {"head.weight", "head.bias"} <= set(report.missing)


def test_softmax_and_sigmoid_heads_of_two_classes_give_the_same_probabilities():
    image = torch.rand(2, 1, 16, 16)
    for heads in (("softmax", "sigmoid"), ("sigmoid", "softmax")):
        source, target = (net("background", "cell", head=head) for head in heads)
        carried(source, target)
        ours, theirs = (model.probabilities(model(image)) for model in (target, source))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_a_decoder_of_other_sizes_leaves_the_encoder():
    source, target = net("a", "b"), net("a", "b", decoder_channels=[6, 5])
    report = carried(source, target)
    assert torch.equal(target.encoder.levels[2].conv2.weight, source.encoder.levels[2].conv2.weight)
    assert {"head.weight", "decoder.levels.1.block.conv1.weight"} <= set(report.missing)


# --- bad input -------------------------------------------------------------------------------------------------


def test_other_sizes_are_refused_with_the_keys_the_file_was_made_by(fixed_run, run_command, capsys, tmp_path):
    words = ["weights=file", f"weights.path={fixed_run / 'last.pt'}", f"hydra.run.dir={tmp_path / 'run'}"]
    assert run_command("train", *TINY, "encoder.init_features=6", *words) == 2
    said = capsys.readouterr().err
    assert "encoder=unet encoder.init_features=4 encoder.depth=2" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_fewer_levels_than_the_files_are_other_sizes_too():
    source = net("a", "b")
    target = build_model(ModelSpec({"kind": "unet", "init_features": 4, "depth": 1}, 1, ["a", "b"]))
    with pytest.raises(UserError, match=r"best\.pt: .*encoder\.depth=2"):
        carried(source, target)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["weights.freeze_encoder=4"], ["weights.freeze_encoder=4", "3 stages"]),
        (["weights.freeze_encoder=-1"], ["weights.freeze_encoder=-1"]),
        (["weights.freeze_encoder=half"], ["weights.freeze_encoder=half", "all"]),
        (["weights.unfreeze_epoch=2"], ["weights.unfreeze_epoch=2", "weights.freeze_encoder"]),
        (
            ["weights.freeze_encoder=all", "weights.unfreeze_epoch=2"],
            ["weights.unfreeze_epoch=2", "trainer.epochs=1"],
        ),
        (["weights=file", "weights.path=EMPTY"], ["best.pt"]),
        (["weights=file", "weights.path=TEXT"], ["text.pt"]),
        (["model.head_kernel=2"], ["model.head_kernel=2"]),
        (["model.upsample=bilinear"], ["model.upsample=bilinear", "nearest"]),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, run_command, capsys, words, named):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.pt").write_text("no weights")
    places = {"EMPTY": str(tmp_path / "empty"), "TEXT": str(tmp_path / "text.pt")}
    words = [next((word.replace(k, v) for k, v in places.items() if k in word), word) for word in words]
    assert run_command("train", *TINY, *words, f"hydra.run.dir={tmp_path / 'run'}") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(word in said for word in named)


def test_freezing_random_weights_is_a_warning(tmp_path, run_command, capsys):
    assert run_command("train", *TINY, "weights.freeze_encoder=1", f"hydra.run.dir={tmp_path / 'run'}") == 0
    assert "warning: weights.freeze_encoder" in capsys.readouterr().out
