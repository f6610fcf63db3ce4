"""From a checkpoint file to a model that predicts: everything is rebuilt from the file alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from unet_train.config.checks import expand, find_checkpoint
from unet_train.data.description import DataDescription
from unet_train.errors import UserError
from unet_train.inference.objects import ObjectRule
from unet_train.inference.predictor import Predictor, Tiling
from unet_train.models.files import read_checkpoint
from unet_train.models.spec import ModelSpec, build_model
from unet_train.models.weights import brain_mri_spec, load_brain_mri
from unet_train.runs.factory import custom_encoder
from unet_train.training.checkpoints import FORMAT
from unet_train.training.precision import choose_accelerator, choose_precision


def open_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours; nothing in it can run code.

    Raises
    ------
    UserError
        For a damaged file, or one of another program or a newer format.
    """
    content = read_checkpoint(path)
    missing = [name for name in ("format", "model", "data", "state_dict") if name not in content]
    if missing:
        raise UserError(
            f"{path}: not a checkpoint of unet-train (it has no {missing[0]}); a plain state dict has no description "
            "of its model, but a training can start from it: unet-train weights=file weights.path=…"
        )
    if content["format"] > FORMAT:
        raise UserError(
            f"{path}: written by a newer unet-train (format {content['format']}); update unet-train"
        )
    return content


def load_predictor(
    ckpt: str,
    *,
    accelerator: str = "auto",
    precision: str = "auto",
    tile: Any = None,
    tta: bool = False,
    encoder: Any = None,
) -> tuple[Predictor, dict[str, Any], Path]:
    """A predictor from a checkpoint or run folder.

    Parameters
    ----------
    ckpt
        As typed.
    accelerator, precision
        As `trainer.accelerator` and `trainer.precision`.
    tile
        An object with ``size``, ``overlap``, ``batch``; without it, or a size, what the memory allows.
    tta
        Average over the 8 flips and quarter turns.
    encoder
        The `encoder` section again, for a model with an encoder of one's own.

    Returns
    -------
    predictor, content of the checkpoint, path of the file
    """
    path = find_checkpoint(ckpt)
    content = open_checkpoint(path)
    device = choose_accelerator(accelerator)
    try:
        model = build_model(ModelSpec.from_dict(content["model"]), custom_encoder(encoder))
        weights = content["state_dict"] if content.get("ema") is None else content["ema"]["average"]
        model.load_state_dict(weights)
        data = DataDescription.from_dict(content["data"])
        rule = ObjectRule(**content["objects"]) if content.get("objects") else None
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (RuntimeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: its weights do not fit its own description ({str(error)[:200]})") from error
    predictor = _predictor(model, data, rule, device=device, precision=precision, tile=tile, tta=tta)
    return predictor, content, path


def brain_mri_predictor(
    path: str | None = None,
    *,
    accelerator: str = "auto",
    precision: str = "auto",
    tile: Any = None,
    tta: bool = False,
) -> tuple[Predictor, list[str]]:
    """The published brain MRI model (weights=brain_mri), downloaded or from a file, and what to say of it.

    Raises
    ------
    UserError
        Without network and file; for another file.
    """
    device = choose_accelerator(accelerator)
    spec = brain_mri_spec()
    model = build_model(spec)
    report = load_brain_mri(model, expand(path) if path else None)
    data = DataDescription(
        name="brain_mri",
        classes=tuple(spec.outputs),
        channels=spec.in_channels,
        normalisation="brain",
    )
    predictor = _predictor(model, data, None, device=device, precision=precision, tile=tile, tta=tta)
    return predictor, report.summary()


def _predictor(
    model: torch.nn.Module,
    data: DataDescription,
    rule: ObjectRule | None,
    *,
    device: str,
    precision: str,
    tile: Any,
    tta: bool,
) -> Predictor:
    model.to(device).eval().requires_grad_(False)
    return Predictor(
        model=model,
        data=data,
        device=device,
        dtype=choose_precision(device, precision).dtype,
        tiling=Tiling(tile.size or "auto", tile.overlap, tile.batch) if tile is not None else Tiling("auto"),
        tta=tta,
        object_rule=rule,
    )


def parameters(model: torch.nn.Module) -> int:
    """Number of trainable and frozen parameters."""
    return sum(p.numel() for p in model.parameters())
