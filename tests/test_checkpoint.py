"""A checkpoint comes back as it was written, by the keys the file has always had; so do files of earlier versions."""

import errno
import io
import os
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from unet_train.checkpoint import AverageState, Checkpoint, EpochSums, Position, TrainingState
from unet_train.data.description import DataDescription
from unet_train.data.splits import SplitKeys
from unet_train.errors import UserError
from unet_train.inference.objects import PostprocessingParameters
from unet_train.inference.predictor import Tiling
from unet_train.models.files import write_checkpoint
from unet_train.models.spec import ModelSpec, build_model
from unet_train.symmetries import ALL_VIEWS

COMMON = [
    "format",
    "model",
    "data",
    "config",
    "split",
    "image_hashes",
    "truth_hashes",
    "versions",
    "state_dict",
]
BEST = [*COMMON, "epoch", "step", "metrics"]
LAST = [*COMMON, "ema", "optimizer", "schedule", "scaler", "state"]
STATE = ["epoch", "batches", "update", "best", "best_epoch", "stale", "monitor", "sums", "stopped_early"]
"""Keys of the files that unet-train 0.1.0 wrote, of before there was a `Checkpoint` (commit d77181f)."""

DATA_KEYS = {
    "name": str,
    "classes": list,
    "channels": int,
    "target": str,
    "target_params": dict,
    "scale": float,
    "normalisation": str,
    "intensity_range": list,
    "margin": int,
    "has_instances": bool,
    "has_background": bool,
    "palette": list,
    "mask_values": dict,
}
"""Of the same files: keys of the description of the data, and their types."""

SPEC = ModelSpec(
    encoder={"kind": "unet", "init_features": 4, "depth": 2},
    in_channels=1,
    outputs=["background", "cell"],
    normalisation={"mode": "fixed", "mean": [0.4], "std": [0.2]},
)
DATA = DataDescription(
    "drawn",
    ("background", "cell"),
    1,
    normalisation="fixed",
    intensity_range=(0.0, 4095.0),
    palette=((0, 0, 0), (255, 0, 0)),
    mask_values={0: 0, 255: 1},
)


def weights(seed=0):
    torch.manual_seed(seed)
    return build_model(SPEC).state_dict()


def best(**changes):
    whole = Checkpoint(
        model=SPEC,
        data=DATA,
        state_dict=weights(),
        config={"seed": 1, "dataset": {"channels": 1}, "weights": None},
        split=SplitKeys(("a", "b"), ("c",), notes=("val is a block",), by="block"),
        image_hashes={"a": "1", "b": "2"},
        truth_hashes={"a": "3", "b": "4"},
        versions={"unet_train": "0.1.0"},
        epoch=3,
        step=12,
        metrics={"iou/mean": np.float64(0.5)},
    )
    return replace(whole, **changes)


def last():
    ema = AverageState(7, weights(seed=1))
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]}
    sums = EpochSums(torch.tensor([0.5]), torch.tensor([2.0]), torch.eye(2, dtype=torch.int64))
    training = TrainingState(
        position=Position(epoch=3, batches=2, update=14, best=0.5, best_epoch=2, stale=1, monitor="iou/cell"),
        sums=[sums, replace(sums, counts=None)],
        optimizer=optimizer,
        schedule={"best": 1.0},
        ema=ema,
    )
    return best(epoch=None, step=None, metrics=None, training=training)


def assert_same(found, expected):
    """Equal in all parts, tensors included."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, Checkpoint | TrainingState | AverageState | Position | EpochSums):
        assert type(found) is type(expected)
        for item in fields(expected):
            if item.name != "path":
                assert_same(getattr(found, item.name), getattr(expected, item.name))
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


def one_line(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "written", [best(), best(objects=PostprocessingParameters(threshold=0.4)), best(metrics={}), last()]
)
def test_round_trip(tmp_path, written):
    path = tmp_path / "folder" / "größe (1).pt"
    written.write(path)
    found = Checkpoint.read(str(path))
    assert_same(found, written)
    assert found.path == path
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_file_has_the_keys_and_plain_types_it_always_had(tmp_path):
    """Programs of others read our files; weights_only refuses everything but plain types."""
    expected = {"best": (best(), BEST), "last": (last(), LAST)}
    expected["objects"] = best(objects=PostprocessingParameters()), [*BEST, "objects"]
    for name, (written, keys) in expected.items():
        written.write(tmp_path / name)
        content = torch.load(tmp_path / name, weights_only=True)
        assert list(content) == keys
        assert {key: type(value) for key, value in content["data"].items()} == DATA_KEYS
        assert content["model"] == SPEC.to_dict()
        assert type(content["format"]) is int
        for key in set(keys) - {"format", "epoch", "step"}:
            assert type(content[key]) is dict, key
    assert content["objects"] == PostprocessingParameters().to_dict()
    content = torch.load(tmp_path / "last", weights_only=True)
    assert list(content["ema"]) == ["updates", "average"]
    assert list(content["state"]) == STATE
    names = ["numerators", "totals", "counts"]
    assert [list(sums) for sums in content["state"]["sums"]] == [names, names[:2]]
    assert content["split"] == {
        "train": ["a", "b"],
        "val": ["c"],
        "test": [],
        "by": "block",
        "notes": ["val is a block"],
    }
    assert type(torch.load(tmp_path / "best", weights_only=True)["metrics"]["iou/mean"]) is float


def test_a_run_without_averaged_weights_says_so(tmp_path):
    replace(last(), training=replace(last().training, ema=None)).write(tmp_path / "last.pt")
    assert torch.load(tmp_path / "last.pt", weights_only=True)["ema"] is None
    assert Checkpoint.read(tmp_path / "last.pt").training.ema is None


def test_a_file_of_before_newer_keys_keeps_its_meaning(tmp_path):
    """Class 0 was the background whatever its name, no colours and no objects were kept, masks were not looked at."""
    content = best().to_dict()
    for key in ("has_background", "palette", "mask_values"):
        del content["data"][key]
    for key in ("truth_hashes", "versions"):
        del content[key]
    del content["model"]["input_skip"]
    write_checkpoint(tmp_path / "old.pt", content)
    found = Checkpoint.read(tmp_path / "old.pt")
    assert found.data == replace(DATA, has_background=True, palette=None, mask_values=None)
    assert found.objects is None
    assert found.truth_hashes == {}
    assert found.model == SPEC
    assert found.to_predictor().predict(np.zeros((8, 9), np.uint8)).classes.shape == (8, 9)


def test_only_what_every_file_has_had_is_needed(tmp_path):
    content = best().to_dict()
    needed = {key: content[key] for key in ("format", "model", "data", "state_dict")}
    write_checkpoint(tmp_path / "least.pt", needed)
    found = Checkpoint.read(tmp_path / "least.pt")
    assert (found.epoch, found.step, found.metrics, found.training) == (None, None, None, None)
    assert found.section("dataset") == {}
    assert found.split == SplitKeys()


def test_sections_and_parts():
    assert best().section("dataset") == {"channels": 1}
    assert best().section("weights") == {}, "null in the config"
    assert best().split.parts == {"train": ("a", "b"), "val": ("c",), "test": ()}


@pytest.mark.parametrize("key", ["format", "model", "data", "state_dict"])
def test_a_file_of_another_program_is_refused(tmp_path, key):
    content = best().to_dict()
    del content[key]
    write_checkpoint(tmp_path / "x.pt", content)
    said = one_line(Checkpoint.read, tmp_path / "x.pt")
    assert said.startswith(f"{tmp_path / 'x.pt'}: not a checkpoint of unet-train (it has no {key})")
    torch.save([1, torch.zeros(2)], tmp_path / "list.pt")
    assert "it has no format" in one_line(Checkpoint.read, tmp_path / "list.pt")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "written by a newer unet-train (format 2); update unet-train"),
        ({"format": "1"}, "its descriptions are not understood"),
        ({"model": {"in_channels": 1}}, "this model description lacks encoder"),
        ({"model": 3}, "not a mapping"),
        ({"data": {"name": "drawn"}}, "its descriptions are not understood"),
        ({"data": None}, "its descriptions are not understood"),
        ({"objects": {"threshold": 7.0}}, "objects.threshold: must be in [0, 1)"),
        ({"objects": {"colour": 7.0}}, "its descriptions are not understood"),
        ({"state": {"epoch": 1}}, "its descriptions are not understood"),
        ({"ema": {"updates": 1}}, "its descriptions are not understood"),
    ],
)
def test_what_is_not_understood_is_said_in_one_line(tmp_path, change, says):
    write_checkpoint(tmp_path / "x.pt", best().to_dict() | change)
    said = one_line(Checkpoint.read, tmp_path / "x.pt")
    assert said.startswith(f"{tmp_path / 'x.pt'}: ")
    assert says in said


def test_damage_is_said_in_one_line(tmp_path):
    path = tmp_path / "best.pt"
    best().write(path)
    whole = path.read_bytes()
    for content in (b"", whole[:1000], whole[:-1], b"text", whole.replace(b"iou/mean", b"iou/meaN")):
        path.write_bytes(content)
        assert str(path) in one_line(Checkpoint.read, path)
    assert "cannot be read" in one_line(Checkpoint.read, tmp_path / "none.pt")


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "best.pt"
    best().write(path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match="cannot stand in a checkpoint"):
        best(config={"x": object()}).write(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_model_has_the_averaged_weights():
    """best.pt holds them as its weights; last.pt beside those in training."""
    assert_same(dict(last().to_model().state_dict()), dict(weights(seed=1)))
    assert_same(dict(best().to_model().state_dict()), dict(weights()))
    model = best().to_model()
    assert not model.training
    assert model.spec == SPEC


def test_the_predictor_has_all_it_needs():
    predictor = best(objects=PostprocessingParameters(threshold=0.4)).to_predictor(
        dtype=torch.bfloat16, tiling=Tiling(64), tta="all"
    )
    assert (predictor.dtype, predictor.tiling, predictor.views) == (torch.bfloat16, Tiling(64), ALL_VIEWS)
    assert predictor.postprocessing == PostprocessingParameters(threshold=0.4)
    assert predictor.data == DATA
    assert not any(weight.requires_grad for weight in predictor.model.parameters())
    assert best().to_predictor().tiling == Tiling("auto")


LIST = {
    "augmentation": {
        "orientation": "any",
        "transforms": [{"name": "HorizontalFlip"}, {"name": "VerticalFlip"}],
    }
}


@pytest.mark.parametrize(
    ("changes", "tta", "views"),
    [
        ({"views": ("identity", "horizontal_flip")}, False, ("identity",)),
        ({"views": ("identity", "horizontal_flip")}, True, ("identity", "horizontal_flip")),
        ({"views": ("identity", "horizontal_flip")}, "all", ALL_VIEWS),
        ({"config": LIST}, True, ("identity", "rotation_180", "horizontal_flip", "vertical_flip")),
        (
            {"config": {"augmentation": LIST["augmentation"] | {"orientation": "upright"}}},
            True,
            ("identity", "horizontal_flip"),
        ),
        ({"config": {}}, "all", ALL_VIEWS),
    ],
)
def test_tta_goes_by_the_views_of_training_in_earlier_files_by_their_config(tmp_path, changes, tta, views):
    best(**changes).write(tmp_path / "a.pt")
    assert Checkpoint.read(tmp_path / "a.pt").to_predictor(tta=tta).views == views


def test_views_that_are_none_and_a_config_without_transforms_are_refused(tmp_path):
    best(views=("sideways",)).write(tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt.*flips"):
        Checkpoint.read(tmp_path / "a.pt")
    best(config={}).write(tmp_path / "b.pt")
    with pytest.raises(UserError, match=r"b\.pt.*tta=all"):
        Checkpoint.read(tmp_path / "b.pt").to_predictor(tta=True)


def test_weights_that_do_not_fit_are_said_in_one_line(tmp_path):
    best(state_dict={"a": torch.zeros(2)}).write(tmp_path / "x.pt")
    said = one_line(Checkpoint.read(tmp_path / "x.pt").to_model)
    assert said.startswith(f"{tmp_path / 'x.pt'}: its weights do not fit its own description (")


def test_an_encoder_of_ones_own_is_asked_for(tmp_path):
    class Own(nn.Module):
        def __init__(self, in_channels):
            super().__init__()
            self.in_channels, self.channels, self.strides = in_channels, [3], [2]
            self.stem = nn.Conv2d(in_channels, 3, 2, stride=2)

        def forward(self, x):
            return [self.stem(x)]

    spec = replace(SPEC, encoder={"kind": "custom", "target": "pkg.Own", "width": 3})
    state = build_model(spec, Own).state_dict()
    best(model=spec, state_dict=state).write(tmp_path / "own.pt")
    found = Checkpoint.read(tmp_path / "own.pt")
    said = one_line(found.to_model)
    assert said.startswith(f"{tmp_path / 'own.pt'}: this model has an encoder of your own")
    assert said.endswith("encoder._target_=pkg.Own encoder.width=3")
    assert_same(dict(found.to_model(Own).state_dict()), dict(state))


def test_best_is_nothing_to_resume_from(tmp_path):
    best().write(tmp_path / "best.pt")
    said = one_line(lambda: Checkpoint.read(tmp_path / "best.pt").resume_state)
    assert said.endswith("best.pt: holds weights alone; a run is resumed from its last.pt")
    assert last().resume_state.position.epoch == 3


def test_a_disk_that_is_full_anywhere_in_a_file_is_an_oserror_and_keeps_the_one_before(tmp_path, monkeypatch):
    """Torch's zip writer, closed over the error, complains of its own: of that nobody could tell what to do."""
    path, content = tmp_path / "last.pt", {"a": torch.ones(3000), "b": torch.ones(5000)}
    write_checkpoint(path, {"a": torch.zeros(1)})
    whole = path.read_bytes()
    room = [0]

    class SmallDisk(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > room[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    monkeypatch.setattr("builtins.open", lambda name, mode: SmallDisk(name, mode))
    for room[0] in (0, 10, 1000, 9000, 15_000, 25_000, 33_000):
        with pytest.raises(OSError, match="No space left"):
            write_checkpoint(path, content)
        assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
    monkeypatch.undo()
    assert path.read_bytes() == whole
