"""What a command names by `ckpt` or `weights`, as a model that predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from unet_train.checkpoint import Checkpoint
from unet_train.config.checks import expand, find_checkpoint
from unet_train.config.schema import EvalConfig, OwnObject, PredictConfig, Tile
from unet_train.data.description import DataDescription
from unet_train.inference.predictor import Predictor, Tiling
from unet_train.models.spec import build_model
from unet_train.models.weights import BRAIN_MRI_VIEWS, brain_mri_spec, load_brain_mri
from unet_train.runs.factory import custom_encoder
from unet_train.runs.knobs import Knobs
from unet_train.symmetries import IDENTITY, views_text
from unet_train.training.precision import choose_accelerator, choose_precision


def tiling_of(tile: Tile) -> Tiling:
    """The tiles a `tile` section describes: without a size what the memory allows."""
    return Tiling(tile.size or "auto", tile.overlap, tile.batch)


@dataclass(frozen=True)
class PredictorSettings:
    """How a model is run, whichever it is.

    Attributes
    ----------
    accelerator, precision : str
        As `trainer.accelerator` and `trainer.precision`.
    tiling : Tiling
    tta : bool or "all"
        Average over the flips and quarter turns of training, or over all eight.
    knobs : Knobs
        What takes the place of the checkpoint's own values.
    """

    accelerator: str = "auto"
    precision: str = "auto"
    tiling: Tiling = field(default_factory=lambda: Tiling("auto"))
    tta: bool | str = False
    knobs: Knobs = field(default_factory=Knobs)

    @classmethod
    def of(cls, config: EvalConfig | PredictConfig) -> PredictorSettings:
        """As a command was told."""
        return cls(config.accelerator, config.precision, tiling_of(config.tile), config.tta, Knobs.of(config))


def load_predictor(
    ckpt: str, settings: PredictorSettings | None = None, *, encoder: OwnObject | None = None
) -> tuple[Predictor, Checkpoint, Path]:
    """A predictor from a checkpoint or run folder, the checkpoint, and the path of its file.

    Parameters
    ----------
    ckpt
        As typed.
    settings
        How it is run; None: as the machine allows.
    encoder
        The `encoder` section again, for a model with an encoder of one's own.

    Raises
    ------
    UserError
        As `find_checkpoint`, `Checkpoint.read` and `Checkpoint.to_predictor`.
    """
    path = find_checkpoint(ckpt)
    checkpoint = Checkpoint.read(path)
    settings = settings or PredictorSettings()
    device = choose_accelerator(settings.accelerator)
    return _predictor(checkpoint, settings, device, custom_encoder(encoder)), checkpoint, path


def tell_views(tta: bool | str, predictors: Sequence[Predictor]) -> list[str]:
    """What ``tta`` averages over, in a line; nothing without it."""
    if not tta:
        return []
    found = dict.fromkeys(predictor.views for predictor in predictors)
    if found.keys() == {(IDENTITY,)}:
        return [
            "tta=true: training used no flips and no quarter turns, so each image is predicted once; tta=all averages "
            "over all 8"
        ]
    each = "" if len(found) == 1 else " (each model over its own)"
    return [f"tta={str(tta).lower()}: mean over {'; '.join(map(views_text, found))}{each}"]


def brain_mri_predictor(
    path: str | None = None, settings: PredictorSettings | None = None
) -> tuple[Predictor, list[str]]:
    """The published brain MRI model (weights=brain_mri), downloaded or from a file, and what to say of it.

    Raises
    ------
    UserError
        Without network and file; for another file.
    """
    settings = settings or PredictorSettings()
    device = choose_accelerator(settings.accelerator)
    spec = brain_mri_spec()
    model = build_model(spec)
    report = load_brain_mri(model, expand(path) if path else None)
    data = DataDescription(
        name="brain_mri",
        classes=tuple(spec.outputs),
        channels=spec.in_channels,
        normalisation="brain",
    )
    published = Checkpoint(model=spec, data=data, state_dict=model.state_dict(), views=BRAIN_MRI_VIEWS)
    return _predictor(published, settings, device), report.summary()


def _predictor(
    checkpoint: Checkpoint,
    settings: PredictorSettings,
    device: str,
    custom: Callable[[int], torch.nn.Module] | None = None,
) -> Predictor:
    predictor = checkpoint.to_predictor(
        device=device,
        dtype=choose_precision(device, settings.precision).dtype,
        tiling=settings.tiling,
        tta=settings.tta,
        custom=custom,
    )
    return settings.knobs.applied(predictor)


def parameters(model: torch.nn.Module) -> int:
    """Number of trainable and frozen parameters."""
    return sum(p.numel() for p in model.parameters())
