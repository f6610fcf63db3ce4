"""Curves for Weights & Biases and MLflow: by modules of the same interface, and by the real ones where they are."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from unet_train import log
from unet_train.config.checks import LOGGER_PACKAGES, check_loggers, logger_names
from unet_train.errors import UserError
from unet_train.reporting.loggers import LOGGERS, open_loggers
from unet_train.training.run_folder import History

PICTURE = np.zeros((2, 3, 3), np.uint8)


@pytest.fixture
def wandb(monkeypatch):
    """A module that notes what it is told, with the calls of wandb 0.17 and later that are used."""
    module, told = ModuleType("wandb"), []

    def init(**keys):
        told.append(("init", keys))
        run = SimpleNamespace(
            log=lambda values: told.append(("log", values)),
            define_metric=lambda name, step_metric=None: told.append(("metric", name, step_metric)),
            config=SimpleNamespace(update=lambda values, allow_val_change: told.append(("config", values))),
            finish=lambda: told.append(("finish",)),
        )
        return run

    module.init, module.Image, module.told = init, lambda picture: picture.shape, told
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def mlflow(monkeypatch):
    """The same for mlflow's client."""
    told = []

    class MlflowClient:
        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            return name

        def create_run(self, experiment, run_name):
            told.append(("run", experiment, run_name))
            return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

        def log_metric(self, run, name, value, step):
            told.append((run, name, value, step))

        def log_param(self, run, name, value):
            told.append((run, name, value))

        def log_image(self, run, picture, artifact_file):
            told.append((run, artifact_file))

        def set_terminated(self, run):
            told.append(("end", run))

    module, tracking = ModuleType("mlflow"), ModuleType("mlflow.tracking")
    tracking.MlflowClient, module.tracking, module.told = MlflowClient, tracking, told
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.tracking", tracking)
    return module


def a_run(folder, loggers, **keys):
    """What a training tells its loggers."""
    history = History(folder, loggers=loggers, **keys)
    history.hyperparameters({"seed": 3}, ["val/iou/mean"])
    history.point(20, {"step/loss": 0.5, "step/lr": float("nan")})
    history.picture("data", PICTURE, 0)
    history.add(1, 40, {"train/loss": 0.25, "val/iou/none": float("nan")})
    history.close()


def test_wandb_is_told_the_rows_of_metrics_csv(tmp_path, wandb):
    folder = tmp_path / "sweep" / "0,seed=3"
    folder.mkdir(parents=True)
    a_run(folder, ["wandb"])
    (_, keys), *told = wandb.told
    assert (keys["name"], keys["resume"], keys["dir"]) == ("sweep/0,seed=3", "allow", str(folder))
    assert ("config", {"seed": 3}) in told
    assert ("log", {"step/loss": 0.5, "update": 20}) in told
    assert ("log", {"data": (2, 3, 3), "update": 0}) in told
    assert ("log", {"train/loss": 0.25, "update": 40}) in told
    assert told[-1] == ("finish",)
    assert not (folder / "tensorboard").exists()
    a_run(folder, ["wandb"], epochs_done=1, step=40)
    assert [call[1]["id"] for call in wandb.told if call[0] == "init"] == [keys["id"]] * 2, (
        "one run, gone on with"
    )


def test_mlflow_is_told_the_same(tmp_path, mlflow):
    (tmp_path / "a").mkdir()
    a_run(tmp_path / "a", ["mlflow"])
    assert ("r1", "train/loss", 0.25, 40) in mlflow.told
    assert ("r1", "step/loss", 0.5, 20) in mlflow.told
    assert ("r1", "seed", 3) in mlflow.told
    assert ("r1", "pictures/data_0.png") in mlflow.told
    a_run(tmp_path / "a", ["mlflow"], epochs_done=1, step=40)
    assert len([call for call in mlflow.told if call[0] == "run"]) == 1


def test_a_service_that_fails_costs_its_curves_and_not_the_run(tmp_path, wandb, capsys, monkeypatch):
    lines = []
    monkeypatch.setattr(log.LOGGER, "info", lines.append)
    history = History(tmp_path, loggers=["wandb", "tensorboard"])
    wandb.init = lambda **keys: (_ for _ in ()).throw(RuntimeError("no network"))
    history.writers[0].scalars = lambda *_: (_ for _ in ()).throw(OSError("broken pipe"))
    for epoch in (1, 2):
        history.add(epoch, epoch, {"train/loss": 1.0})
    assert (tmp_path / "metrics.csv").read_text().count("\n") == 3
    (line,) = lines
    assert "metrics.csv and wandb and tensorboard cannot be written (broken pipe)" in line


def test_a_service_that_refuses_is_said_before_the_first_step(tmp_path, wandb):
    wandb.init = lambda **keys: (_ for _ in ()).throw(RuntimeError("no API key\nconfigured"))
    with pytest.raises(UserError, match=r"^logger=wandb: no API key configured$"):
        open_loggers(["wandb"], tmp_path)


def test_loggers_that_are_not_there_are_refused(monkeypatch):
    assert LOGGER_PACKAGES.keys() == LOGGERS.keys()
    for value in ("tensorboard", ["tensorboard"], [], None):
        check_loggers(value)
    assert logger_names("wandb") == ["wandb"]
    with pytest.raises(UserError, match=r"logger=wandbb: no such logger \(did you mean wandb\?\)"):
        check_loggers(["tensorboard", "wandbb"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'unet-train\[mlflow\]'"):
        check_loggers("mlflow")


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_the_real_one_takes_it_offline(tmp_path, monkeypatch, name):
    pytest.importorskip(name, exc_type=ImportError)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = tmp_path / "run"
    folder.mkdir()
    a_run(folder, [name])
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    if name == "wandb":
        assert any(path.suffix == ".wandb" for path in written)
    else:
        (metric,) = [path for path in written if path.parts[-3:] == ("metrics", "train", "loss")]
        assert metric.read_text().split()[1:3] == ["0.25", "40"]
