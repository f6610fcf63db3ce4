"""What is written for TensorBoard can be read back, also across an interruption."""

import math

import numpy as np
import pytest

from unet_train.reporting.tensorboard import ScalarWriter

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(folder):
    events = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def test_scalars_and_pictures_come_back(tmp_path):
    with ScalarWriter(tmp_path / "new" / "folder") as writer:
        writer.scalars({"val/iou/cell": 0.1, "val/iou/debris": math.nan, "val/seg": None}, 7)
        writer.image("val/01 002", np.full((4, 5, 3), 9, np.uint8), 7)
    events = read(tmp_path / "new" / "folder")
    assert events.Tags()["scalars"] == ["val/iou/cell"], "an absent class leaves a gap, not a failure mark"
    point = events.Scalars("val/iou/cell")[0]
    assert point.step == 7
    assert point.value == np.float32(0.1)
    picture = events.Images("val/01 002")[0]
    assert (picture.height, picture.width) == (4, 5)


def test_resuming_voids_what_the_interrupted_run_wrote_later(tmp_path):
    with ScalarWriter(tmp_path) as writer:
        for step in range(4):
            writer.scalars({"loss": step}, step)
    with ScalarWriter(tmp_path, purge_step=2) as writer:
        for step in range(2, 5):
            writer.scalars({"loss": 10 + step}, step)
    values = [(e.step, e.value) for e in read(tmp_path).Scalars("loss")]
    assert values == [(0, 0), (1, 1), (2, 12), (3, 13), (4, 14)]


def test_wrong_pictures_are_refused(tmp_path):
    with ScalarWriter(tmp_path) as writer, pytest.raises(ValueError, match="H×W×3"):
        writer.image("x", np.zeros((4, 4), np.uint8), 0)


def test_hyperparameters_stand_in_the_runs_own_row(tmp_path):
    hparams = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    with ScalarWriter(tmp_path / "run" / "tensorboard") as writer:
        writer.hyperparameters({"optimizer.lr": 0.01, "seed": 3, "crop": [8, 9], "none": None}, ["val/seg"])
    assert [p.name for p in tmp_path.rglob("*") if p.is_dir()] == ["run", "tensorboard"], "no run beside it"
    found = read(tmp_path / "run" / "tensorboard").summary_metadata
    contents = [
        hparams.HParamsPluginData.FromString(found[tag].plugin_data.content)
        for tag in found
        if found[tag].plugin_data.plugin_name == "hparams"
    ]
    (values,) = [c.session_start_info.hparams for c in contents if c.HasField("session_start_info")]
    assert values["optimizer.lr"].number_value == 0.01
    assert values["crop"].string_value == "[8, 9]"
    (metrics,) = [c.experiment.metric_infos for c in contents if c.HasField("experiment")]
    assert [m.name.tag for m in metrics] == ["val/seg"]
