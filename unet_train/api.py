"""What the commands do, for a notebook: `unet_train.load`, `unet_train.predict`, `unet_train.train`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_train.config.checks import check_train
from unet_train.config.compose import compose_command, compose_train
from unet_train.errors import UserError, in_terms_of
from unet_train.inference.predictor import Predictor, Tiling
from unet_train.runs.checkpoint_files import PredictorSettings, brain_mri_predictor, load_predictor
from unet_train.runs.prediction import predict_run
from unet_train.runs.prediction_models import Outcome
from unet_train.runs.training import train_run
from unet_train.symmetries import TTA

__all__ = ["TrainedRun", "load", "predict", "train"]


@dataclass(frozen=True)
class TrainedRun:
    """A finished training run.

    Attributes
    ----------
    folder : Path
        The run folder.
    score : float
        The best validation score; NaN without a validation part.
    monitor : str
        Which score that is, for instance ``iou/mean``.
    """

    folder: Path
    score: float
    monitor: str

    @property
    def checkpoint(self) -> Path:
        """The best weights, with all that prediction needs."""
        return self.folder / "best.pt"


def load(
    ckpt: str | os.PathLike[str] | None = None,
    *,
    weights: str | None = None,
    weights_path: str | os.PathLike[str] | None = None,
    accelerator: str = "auto",
    precision: str = "auto",
    tile: int | Tiling | None = None,
    tta: bool | str = False,
    encoder: Mapping[str, Any] | None = None,
) -> Predictor:
    """Load a trained model.

    Parameters
    ----------
    ckpt : path
        A checkpoint (``best.pt``) or a run folder.
    weights : str, optional
        ``"brain_mri"`` in place of a checkpoint: the published brain MRI model.
    weights_path : path, optional
        Its file, where it is not to be downloaded.
    accelerator : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    precision : str
        ``auto``, ``32``, ``bf16`` or ``16``.
    tile : int or Tiling, optional
        Side of the tiles of large images, which overlap by a quarter; a `Tiling` says another overlap too. None:
        by the free memory.
    tta : bool or "all"
        Average over the flips and quarter turns that training used, or over all eight.
    encoder : mapping, optional
        For a model with an encoder of one's own: ``{"_target_": "package.Class", …}``.

    Returns
    -------
    Predictor
        ``model.predict(image)`` gives ``.classes`` (H×W uint8) and ``.probabilities`` (K×H×W float32);
        ``model.objects(prediction)`` single objects; ``model.data.classes`` the classes' names.

    Raises
    ------
    UserError
        For a file that is missing, damaged or no checkpoint; in one line.
    """
    if (ckpt is None) == (weights is None):
        raise UserError('name a checkpoint or weights="brain_mri": load("runs/…/best.pt")')
    if ckpt is not None and not isinstance(ckpt, str | os.PathLike):
        raise UserError("load takes one checkpoint; unet_train.predict averages several")
    if tile is not None and not isinstance(tile, int | Tiling):
        raise UserError(f"tile={tile!r}: a number of pixels, such as tile=512")
    tiling = tile if isinstance(tile, Tiling) else Tiling(tile or "auto")
    if not isinstance(tta, bool | str) or tta not in TTA:
        raise UserError(f"tta={tta!r}: False, True or 'all'")
    settings = PredictorSettings(accelerator, precision, tiling, tta)
    if weights not in (None, "brain_mri"):
        raise UserError(f"weights={weights} holds no whole model; there is brain_mri")
    try:
        if ckpt is None:
            return brain_mri_predictor(None if weights_path is None else os.fspath(weights_path), settings)[0]
        own = dict(encoder) if encoder is not None else None
        return load_predictor(os.fspath(ckpt), settings, encoder=own)[0]
    except UserError as error:
        raise UserError(in_terms_of("load", str(error))) from error


def predict(
    ckpt: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None,
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    **keys: Any,
) -> Outcome:
    """Predict files into a folder, as ``unet-predict`` does.

    Parameters
    ----------
    ckpt : path or sequence of path
        Several are averaged. None with ``weights="brain_mri"``.
    input, output : path
        An image, a folder or a pattern; the folder of the results.
    **keys
        The command's other keys: ``tta=True``, ``overwrite=True``, ``tile={"size": 512}``, ….

    Returns
    -------
    Outcome
        ``output``, how many images were ``predicted`` and ``skipped``, and one line for each ``bad`` one.

    Raises
    ------
    UserError
        As the command, in one line.
    """
    words = [f"input={os.fspath(input)}", f"output={os.fspath(output)}"]
    if isinstance(ckpt, str | os.PathLike):
        words.append(f"ckpt={os.fspath(ckpt)}")
    elif ckpt is not None:
        words.append(f"ckpt=[{','.join(str(os.fspath(item)) for item in ckpt)}]")
    return predict_run(compose_command("predict", [*words, *_overrides(keys)]).config)


def train(overrides: Sequence[str] = ()) -> TrainedRun:
    """Train a model, as ``unet-train`` does.

    Parameters
    ----------
    overrides : sequence of str
        What would stand on the command line: ``["dataset=folder", "dataset.root=my_images"]``.

    Returns
    -------
    TrainedRun

    Raises
    ------
    UserError
        As the command, in one line.
    """
    if isinstance(overrides, str):
        raise UserError(f'train takes a list of overrides: train(["{overrides}"])')
    composed = compose_train(list(overrides))
    check_train(composed.config)
    if composed.config.trainer.devices > 1:
        raise UserError("trainer.devices: several processes are started by the command unet-train alone")
    score = train_run(composed)
    return TrainedRun(Path(composed.run_folder), score, composed.config.checkpoint.monitor)


def _overrides(keys: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Keyword arguments as the words of a command line."""
    words: list[str] = []
    for name, value in keys.items():
        if isinstance(value, Mapping):
            words += _overrides(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            words.append(f"{prefix}{name}=[{','.join(map(str, value))}]")
        elif isinstance(value, bool):
            words.append(f"{prefix}{name}={str(value).lower()}")
        else:
            words.append(f"{prefix}{name}={'null' if value is None else value}")
    return words
