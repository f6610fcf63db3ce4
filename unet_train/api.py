"""What the commands do, for a notebook: `unet_train.train`, `evaluate`, `load`, `predict`; and the bare net: `unet`."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_train.config.checks import check_dataset, check_train
from unet_train.config.command_line import split_partial
from unet_train.config.compose import compose_command, compose_train
from unet_train.config.folds import ALL, holds_folds, is_for_all, with_folds
from unet_train.config.keywords import keyword_words
from unet_train.config.plans import words_of
from unet_train.errors import UserError, in_terms_of
from unet_train.inference.predictor import Tiling, check_alike
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.unet import UNet
from unet_train.models.weights.pixels import PixelRule
from unet_train.runs.checkpoint_files import PredictorSettings, brain_mri_predictor, load_predictor
from unet_train.runs.evaluation import eval_run
from unet_train.runs.factory import encoder_params
from unet_train.runs.loaded_model import LoadedModel
from unet_train.runs.prediction import predict_run
from unet_train.runs.prediction_models import Outcome
from unet_train.runs.starting_weights import load_weights, read_weights
from unet_train.runs.training import train_run
from unet_train.symmetries import TTA

__all__ = ["Evaluated", "TrainedRun", "evaluate", "load", "predict", "train", "unet"]


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


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Attributes
    ----------
    folder : Path
        Where report.html, metrics.json and the rest lie.
    scores : dict of str to float
        ``iou/mean``, ``dice/<class>``, …; NaN for a class that does not occur.
    intervals : dict of str to (low, high) or None
        Their 95 % intervals.
    part : str
        Which part was scored.
    """

    folder: Path
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float] | None]
    part: str

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name} {self.scores[name]:.4f}" for name in ("iou/mean", "seg") if name in self.scores
        )
        return f"<{self.part} part: {shown}; {self.folder}>"


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
) -> LoadedModel:
    """Load a trained model.

    Parameters
    ----------
    ckpt : path
        A checkpoint (``best.pt``), a run folder, or a folder of folds, whose models are averaged.
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
    LoadedModel
        ``model.predict(image)`` gives ``.classes`` (H×W uint8) and ``.probabilities`` (K×H×W float32);
        ``model.objects(prediction)`` single objects; ``model.overlay(image)`` a picture; ``model.data.classes`` the
        classes' names.

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
            path = None if weights_path is None else os.fspath(weights_path)
            return LoadedModel.of([brain_mri_predictor(path, settings)[0]])
        own = dict(encoder) if encoder is not None else None
        names = with_folds([os.fspath(ckpt)])
        models = [load_predictor(name, settings, encoder=own)[0] for name in names]
        check_alike(models, names)
        return LoadedModel.of(models)
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
    return predict_run(compose_command("predict", [*words, *keyword_words("predict", keys)]).config)


def evaluate(ckpt: str | os.PathLike[str], **keys: Any) -> Evaluated:
    """Score a checkpoint on whole images, as ``unet-eval`` does.

    Parameters
    ----------
    ckpt : path
        A checkpoint or a run folder.
    **keys
        The command's other keys, or their last words: ``part="val"``, ``dataset="folder", root="other_images"``,
        ``tta=True``, ….

    Returns
    -------
    Evaluated

    Raises
    ------
    UserError
        As the command, in one line.
    """
    if holds_folds(os.fspath(ckpt)):
        raise UserError(
            f"{ckpt}: holds folds, whose scores are in its metrics.json (unet-eval ckpt={ckpt} makes them anew); "
            "evaluate takes one run"
        )
    words, partial = split_partial(keyword_words("eval", keys), ("dataset", "split"))
    config = compose_command("eval", [f"ckpt={os.fspath(ckpt)}", *words]).config
    if config.dataset is not None:
        check_dataset(config.dataset)
    metrics = eval_run(config, partial)
    scores = {n: math.nan if v is None else v for n, v in metrics.items() if _is_score(n, metrics)}
    return Evaluated(Path(metrics["output"]), scores, metrics["intervals"], metrics["part"])


def train(overrides: Sequence[str] = (), **keys: Any) -> TrainedRun:
    """Train a model, as ``unet-train`` does.

    Parameters
    ----------
    overrides : sequence of str
        What would stand on the command line: ``["dataset=folder", "dataset.root=my_images"]``.
    **keys
        The same as keywords, each by its last word: ``dataset="folder", root="my_images", epochs=5``. A section may be
        a mapping (``tile={"size": 512}``); ``folder="my_run"`` is ``hydra.run.dir``.

    Returns
    -------
    TrainedRun

    Raises
    ------
    UserError
        As the command, in one line; for a keyword that several sections have.
    """
    if isinstance(overrides, str):
        raise UserError(f'train takes a list of overrides: train(["{overrides}"])')
    words = [*overrides, *keyword_words("train", keys)]
    if any(map(is_for_all, words)):
        raise UserError(
            f"{ALL}: all folds are trained by the command unet-train alone; name one, split.fold=0"
        )
    resumed = next(
        (word.partition("=")[2].strip("'\"") for word in words if word.startswith("resume=")), None
    )
    if resumed is not None and holds_folds(resumed):
        raise UserError(
            f"resume={resumed}: holds folds, which the command unet-train goes on with alone; train takes one of its "
            "runs, fold_0"
        )
    composed = compose_train(words)
    check_train(composed.config)
    if composed.config.trainer.devices > 1:
        raise UserError("trainer.devices: several processes are started by the command unet-train alone")
    score = train_run(composed)
    return TrainedRun(Path(composed.run_folder), score, composed.config.checkpoint.monitor)


def unet(
    encoder: str = "unet",
    *,
    classes: int = 2,
    in_channels: int = 3,
    weights: str | os.PathLike[str] | None = None,
    head: str = "softmax",
    norm: str = "batch",
    decoder_channels: Sequence[int] | None = None,
    **keys: Any,
) -> UNet:
    """Build the net alone, for a training loop of one's own.

    Parameters
    ----------
    encoder : str
        As on the command line: ``unet``, ``resnet``, ``efficientnet``, ``timm``.
    classes : int
        Outputs, the background among them.
    in_channels : int
        Channels of the images.
    weights : str or path, optional
        ``"imagenet"``, or a file of weights (``weights.path``). None: random.
    head, norm, decoder_channels
        As the keys of ``model``. ``head="sigmoid"`` takes two classes and has one output.
    **keys
        The encoder's keys: ``depth=34``, ``init_features=16``, ``variant="b1"``, ….

    Returns
    -------
    UNet
        N×C×H×W pixels (uint8, or float in [0, 1]), any H and W → N×K×H×W logits; ``model.probabilities(logits)``.
        Pixels are standardised inside as the weights were trained (ImageNet's mean and std); with random weights they
        are only brought to [0, 1].

    Raises
    ------
    UserError
        For a key that the encoder does not have, or weights that do not fit.
    """
    if not isinstance(classes, int) or classes < 2:
        raise UserError(f"classes={classes}: a whole number from 2 on, the background among them")
    chosen: dict[str, Any] = {"encoder": encoder, "model.head": head, "model.norm": norm}
    chosen |= {"model.decoder_channels": None if decoder_channels is None else list(decoder_channels)}
    chosen |= {f"encoder.{name}": value for name, value in keys.items()}
    if weights == "imagenet":
        chosen["weights"] = "imagenet"
    elif weights is not None:
        chosen |= {"weights": "file", "weights.path": os.fspath(weights), "dataset.normalisation": "image"}
    config = compose_command("train", words_of(chosen)).config
    check_train(config)
    outputs = ["background", *(f"class_{n}" for n in range(1, classes))]
    starting = read_weights(config)
    model = build_model(
        ModelSpec(
            encoder=encoder_params(config.encoder),
            in_channels=in_channels,
            outputs=outputs,
            head=head,
            norm=norm,
            decoder_channels=config.model.decoder_channels,
            normalisation=_normalisation(starting.rule, in_channels),
        )
    )
    load_weights(model, config, starting, outputs)
    return model


def _normalisation(rule: PixelRule | None, channels: int) -> dict[str, Any]:
    """A net's own normalisation as its weights were trained with it; without such a rule none."""
    if rule is None:
        return {"mode": "fixed", "mean": None, "std": None}
    found = rule.for_channels(channels)
    mode = {"brain": "volume"}.get(found.mode, found.mode)
    mean, std = (None if values is None else list(values) for values in (found.mean, found.std))
    return {"mode": mode, "mean": mean, "std": std}


def _is_score(name: str, metrics: Mapping[str, Any]) -> bool:
    """Whether an entry of metrics.json is a score: those have an interval, or None in its place."""
    return name in metrics["intervals"]
