"""The weights a net starts from: read or fetched before any image is, loaded into the net once it is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from unet_train.checkpoint import Checkpoint
from unet_train.config.checks import weights_file
from unet_train.config.schema import TrainConfig
from unet_train.errors import UserError
from unet_train.models.encoders import build_encoder
from unet_train.models.files import read_tensors
from unet_train.models.unet import UNet
from unet_train.models.weights import load_brain_mri, load_imagenet, load_tensors, published_weights
from unet_train.models.weights.brain_mri import BRAIN_MRI_URL
from unet_train.models.weights.downloads import fetch
from unet_train.models.weights.own import load_own
from unet_train.models.weights.pixels import PixelRule, published_rule, rule_of_file
from unet_train.runs.factory import encoder_params
from unet_train.training.freezing import ALL, frozen_parts


@dataclass(frozen=True)
class StartingWeights:
    """What a training starts from, before its net is built.

    Attributes
    ----------
    path : Path or None
        The file, where one was named.
    checkpoint : Checkpoint or None
        Its content, if it is one of ours.
    tensors : dict of str to Tensor
        Its content, if it is another file and ``weights=file``.
    rule : PixelRule or None
        How pixels were normalised for these weights; None where nothing is known, or nothing was learnt.
    """

    path: Path | None = None
    checkpoint: Checkpoint | None = None
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    rule: PixelRule | None = None

    @property
    def intensity_range(self) -> tuple[float, float] | None:
        """The pixel values that became 0 and 1, where a checkpoint of ours says so."""
        return self.checkpoint.data.intensity_range if self.checkpoint is not None else None


def read_weights(config: TrainConfig) -> StartingWeights:
    """Read the file that was named, or have published weights in the cache, before any image is read.

    Raises
    ------
    UserError
        Without network, at once; for a file that holds no weights; for stages to freeze that the encoder lacks.
    """
    weights = config.weights
    check_stages(config)
    path = weights_file(weights.path) if weights.path else None
    if weights.kind == "brain_mri":
        if path is None:
            fetch(BRAIN_MRI_URL)
        return StartingWeights(path, rule=PixelRule("brain"))
    encoder = encoder_params(config.encoder)
    if weights.kind == "imagenet":
        if path is None:
            published = published_weights(**encoder)
            if published.read is None:
                fetch(published.url)
        return StartingWeights(path, rule=published_rule(**encoder))
    if weights.kind != "file" or path is None:
        return StartingWeights()
    checkpoint = Checkpoint.read_if_ours(path)
    tensors = read_tensors(path) if checkpoint is None else {}
    rule = rule_of_file(tensors, **encoder) if checkpoint is None else rule_of(checkpoint)
    dataset = config.dataset
    mode = rule.mode if dataset.normalisation == "auto" and rule else dataset.normalisation
    if mode == "fixed" and dataset.mean is None and (rule is None or rule.mode != "fixed"):
        raise UserError(
            f"dataset.normalisation=fixed needs dataset.mean and dataset.std: {path} does not say its own"
        )
    return StartingWeights(path, checkpoint, tensors, rule)


def rule_of(checkpoint: Checkpoint) -> PixelRule:
    """How pixels are normalised for a checkpoint of ours."""
    values = checkpoint.model.normalisation
    mean, std = (tuple(values[name]) if values.get(name) else None for name in ("mean", "std"))
    return PixelRule(checkpoint.data.normalisation, mean, std)


def check_stages(config: TrainConfig) -> None:
    """Refuse to freeze more stages than an encoder has, before any image is read; one's own is asked once it is built.

    Raises
    ------
    UserError
    """
    stages = config.weights.freeze_encoder
    if stages and stages != ALL and not isinstance(config.encoder, dict):
        with torch.device("meta"):
            frozen_parts(build_encoder(in_channels=3, **encoder_params(config.encoder)), stages)


def follow_mode(config: TrainConfig, tree: dict[str, Any], starting: StartingWeights) -> None:
    """Put the rule of the file into the place of ``dataset.normalisation=auto``, before the data are read.

    Of published weights `unet_train.runs.factory.normalisation_mode` knows it.
    """
    if config.weights.kind == "file" and config.dataset.normalisation == "auto" and starting.rule is not None:
        config.dataset.normalisation = tree["dataset"]["normalisation"] = starting.rule.mode


def follow_values(
    config: TrainConfig,
    tree: dict[str, Any],
    starting: StartingWeights,
    mode: str,
    channels: int,
    was_auto: bool,
) -> list[str]:
    """Put the mean and std of the file into the place of null ones; what is to be said of the normalisation.

    Parameters
    ----------
    config, tree
        Changed in place: a resume does not read the file again.
    starting : StartingWeights
    mode : str
        What the data are normalised by.
    channels : int
        Of the images.
    was_auto : bool
        Whether that was left to the weights.
    """
    if starting.rule is None:
        return []
    dataset, rule = config.dataset, starting.rule.for_channels(channels)
    follows = mode == rule.mode and dataset.mean is None and dataset.std is None
    if follows and rule.mean is not None and rule.std is not None:
        dataset.mean, dataset.std = list(rule.mean), list(rule.std)
        tree["dataset"] |= {"mean": dataset.mean, "std": dataset.std}
    own = config.weights.kind == "file"
    if rule.agrees(mode, dataset.mean, dataset.std):
        return [f"normalisation as the weights were trained with: {rule}"] if own and was_auto else []
    used = PixelRule(
        mode, *(tuple(v) if mode == "fixed" and v else None for v in (dataset.mean, dataset.std))
    )
    warning = "warning: the encoder is frozen, and " if config.weights.freeze_encoder else ""
    return [f"{warning}dataset.normalisation={used}: the weights were trained with {rule}"]


def load_weights(
    model: UNet, config: TrainConfig, starting: StartingWeights, outputs: Sequence[str]
) -> list[str]:
    """Load what the run starts from; what was loaded, in words.

    Parameters
    ----------
    model : UNet
        Changed in place.
    config : TrainConfig
    starting : StartingWeights
    outputs : sequence of str
        Names of the model's outputs.

    Raises
    ------
    UserError
        For weights that do not fit.
    """
    kind, path = config.weights.kind, starting.path
    if kind == "imagenet":
        return load_imagenet(model, path).summary()
    if kind == "brain_mri":
        return load_brain_mri(model, path).summary()
    if kind == "file" and (found := starting.checkpoint) is not None:
        return load_own(model, found.model, found.weights, outputs, str(path)).summary()
    if kind == "file":
        return load_tensors(model, starting.tensors, str(path)).summary()
    if config.weights.freeze_encoder:
        return [
            "warning: weights.freeze_encoder with weights=random keeps an encoder that has learnt nothing"
        ]
    return []
