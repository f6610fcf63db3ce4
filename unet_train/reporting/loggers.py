"""Where the curves of a run go: TensorBoard, Weights & Biases, MLflow, behind one small protocol."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unet_train.errors import UserError
from unet_train.reporting.tensorboard import ScalarWriter

IDS = "loggers.json"
"""In the run folder: what the services call the run, so that a resume goes on with it there."""

PROJECT = "unet-train"
"""Project (Weights & Biases) or experiment (MLflow) where the services' own environment variables name none."""


class RunLogger(Protocol):
    """Takes the curves, pictures and hyperparameters of a run.

    A call that cannot write raises `OSError`; the run then opens the loggers anew at its next save.
    """

    def scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """Numbers under their own names; NaN and None are left out."""

    def image(self, name: str, picture: np.ndarray, step: int) -> None:
        """One picture, H×W×3 uint8."""

    def hyperparameters(self, values: Mapping[str, Any], scores: Sequence[str]) -> None:
        """What sets the run apart, and the names of the scores it is judged by."""

    def flush(self) -> None:
        """Make everything visible."""

    def close(self) -> None:
        """Write what is left."""


class WandbLogger:
    """Weights & Biases, through its own library and settings (``WANDB_MODE``, ``WANDB_PROJECT``, …)."""

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            dir=str(folder),
            id=_known_id(folder, "wandb") or _keep_id(folder, "wandb", uuid.uuid4().hex),
            name=run_name(folder),
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            resume="allow",
        )
        # Its own step may not go back, as ours does in a resumed run.
        self._run.define_metric("update")
        self._run.define_metric("*", step_metric="update")

    def scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """As `RunLogger`."""
        with as_os_error():
            self._run.log(_numbers(values) | {"update": step})

    def image(self, name: str, picture: np.ndarray, step: int) -> None:
        """As `RunLogger`."""
        with as_os_error():
            self._run.log({name: self._wandb.Image(picture), "update": step})

    def hyperparameters(self, values: Mapping[str, Any], scores: Sequence[str]) -> None:
        """As `RunLogger`."""
        with as_os_error():
            self._run.config.update(dict(values), allow_val_change=True)

    def flush(self) -> None:
        """Nothing: the library sends by itself."""

    def close(self) -> None:
        """As `RunLogger`."""
        with as_os_error():
            self._run.finish()


class MlflowLogger:
    """MLflow, through its own library and settings (``MLFLOW_TRACKING_URI``, …; without them the folder mlruns)."""

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        known = _known_id(folder, "mlflow")
        if known is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            found = self._client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self._client.create_experiment(name)
            run = self._client.create_run(experiment, run_name=run_name(folder))
            known = _keep_id(folder, "mlflow", run.info.run_id)
        self._id = known

    def scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """As `RunLogger`."""
        with as_os_error():
            for name, value in _numbers(values).items():
                self._client.log_metric(self._id, name, value, step=step)

    def image(self, name: str, picture: np.ndarray, step: int) -> None:
        """As `RunLogger`."""
        with as_os_error():
            self._client.log_image(self._id, picture, artifact_file=f"pictures/{name}_{step}.png")

    def hyperparameters(self, values: Mapping[str, Any], scores: Sequence[str]) -> None:
        """As `RunLogger`."""
        with as_os_error():
            for name, value in values.items():
                self._client.log_param(self._id, name, value)

    def flush(self) -> None:
        """Nothing: each call is written."""

    def close(self) -> None:
        """As `RunLogger`."""
        with as_os_error():
            self._client.set_terminated(self._id)


def _tensorboard(folder: Path, purge_step: int | None = None) -> RunLogger:
    return ScalarWriter(folder / "tensorboard", purge_step)


LOGGERS: dict[str, Callable[[Path, int | None], RunLogger]] = {
    "tensorboard": _tensorboard,
    "wandb": WandbLogger,
    "mlflow": MlflowLogger,
}
"""Name → what opens it for a run folder, with the step from which on earlier entries are void, or None."""


def open_loggers(names: Sequence[str], folder: Path, purge_step: int | None = None) -> list[RunLogger]:
    """Open what a run's curves are written to.

    Raises
    ------
    UserError
        If a service refuses (no key, no network), in its own words.
    OSError
        If a file cannot be written.
    """
    opened: list[RunLogger] = []
    for name in names:
        try:
            opened.append(LOGGERS[name](folder, purge_step))
        except OSError:
            raise
        except Exception as error:  # each library has its own kinds
            if name == "tensorboard":
                raise
            said = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"logger={name}: {said}") from error
    return opened


@contextmanager
def as_os_error() -> Iterator[None]:
    """Whatever goes wrong in another library as `OSError`, for which no run ends."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(" ".join(str(error).split()) or type(error).__name__) from error


def run_name(folder: Path) -> str:
    """What a service shows of a run: its folder, and the one above, which names the sweep, the folds or the data."""
    return "/".join(folder.absolute().parts[-2:])


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(v) for name, v in values.items() if v is not None and not math.isnan(v)}


def _known_id(folder: Path, service: str) -> str | None:
    try:
        found = json.loads((folder / IDS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(found[service]) if isinstance(found, dict) and service in found else None


def _keep_id(folder: Path, service: str, value: str) -> str:
    path = folder / IDS
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(kept | {service: value}), encoding="utf-8")
    return value
