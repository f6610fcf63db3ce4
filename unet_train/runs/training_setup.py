"""A run put together: what the loop moves, how long it goes on, and what it is told by."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unet_train.checkpoint import Position
from unet_train.config.checks import expand
from unet_train.config.compose import Composed
from unet_train.config.schema import Loss, TrainConfig
from unet_train.data.augmentation.pipeline import Augmentation
from unet_train.data.augmentation.views import training_views
from unet_train.data.loading.training_set import TrainingSet
from unet_train.inference.predictor import Predictor, Tiling
from unet_train.models.spec import ModelSpec
from unet_train.models.unet import UNet
from unet_train.runs.factory import build_loss
from unet_train.runs.hardware import Hardware
from unet_train.runs.training_data import TrainingData, pixels_seen, training_set
from unet_train.training.averages import EMA
from unet_train.training.freezing import Thaw, freeze_encoder, frozen_tensors
from unet_train.training.loop import epoch_lengths
from unet_train.training.losses import median_frequency
from unet_train.training.optimizers import build_optimizer, parameter_groups
from unet_train.training.pace import validation_cost, validation_interval
from unet_train.training.schedules import Schedule
from unet_train.training.settings import Settings
from unet_train.training.train_state import TrainState


@dataclass
class Run:
    """A run before its next step, new or resumed."""

    composed: Composed[TrainConfig]
    hardware: Hardware
    data: TrainingData
    training: TrainingSet
    settings: Settings
    state: TrainState
    notes: list[str]
    """What was decided on the way, for the person."""
    views: tuple[str, ...]
    """Flips and quarter turns that the augmentation shows the net, see `data.augmentation.views`."""

    @property
    def config(self) -> TrainConfig:
        """The config, typed."""
        return self.composed.config

    @property
    def spec(self) -> ModelSpec:
        """The model in plain types."""
        return self.state.model.spec  # type: ignore[return-value]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return run_folder(self.composed)

    @property
    def main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.hardware.context.main

    @property
    def updates(self) -> int:
        """Of the whole run."""
        return self.state.schedule.total_updates

    def predictor(self) -> Predictor:
        """The model as it predicts whole images."""
        tile = self.config.tile
        return Predictor(
            model=self.state.model,
            data=self.data.description,
            device=str(self.hardware.device),
            dtype=self.hardware.precision.dtype,
            tiling=Tiling(tile.size or "auto", tile.overlap, tile.batch),
        )


def run_folder(composed: Composed[TrainConfig]) -> Path:
    """The run folder of a config."""
    return Path(expand(composed.run_folder))


def set_up(
    composed: Composed[TrainConfig],
    hardware: Hardware,
    data: TrainingData,
    augmentation: Augmentation,
    model: UNet,
    resumed: Position | None = None,
) -> Run:
    """Put a run together around a model that has its starting weights, or is to get those of where it was `resumed`."""
    config = composed.config
    training = training_set(config, data, augmentation)
    settings = loop_settings(config, hardware.device, validation_cost(*pixels_seen(data, training)))
    per_epoch = epoch_lengths(len(training), settings, hardware.context)[1]
    updates = updates_in_all(
        resumed or Position(), per_epoch, config.trainer.accumulate, config.trainer.epochs
    )
    weights = class_weights(config, training, len(data.outputs))
    notes = []
    if weights is not None and isinstance(config.loss, Loss):
        said = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(data.outputs, weights, strict=True))
        notes.append(f"class weights ({config.loss.class_weights}): {said}")
    state = train_state(config, hardware, data, model, weights, updates)
    views, unknown = training_views(augmentation.transforms)
    if unknown:
        notes.append(
            f"augmentation.transforms: it is not known whether {', '.join(unknown)} flips or turns images; tta=true "
            "counts it as no flip and no turn"
        )
    return Run(composed, hardware, data, training, settings, state, notes, views)


def updates_in_all(position: Position, per_epoch: int, accumulate: int, epochs: int) -> int:
    """Updates of a run: those made up to the current epoch, and those of the epochs from there on.

    After a resume with other processes or batches an epoch has another number of updates than those before.

    Parameters
    ----------
    position : Position
        Where the run stands.
    per_epoch : int
        Updates in an epoch from now on.
    accumulate : int
        Batches in an update.
    epochs : int
        Of the whole run.
    """
    before = position.update - math.ceil(position.batches / accumulate)
    return max(before + per_epoch * (epochs - position.epoch), 1)


def class_weights(config: TrainConfig, training: TrainingSet, outputs: int) -> list[float] | None:
    """The class weights that ``loss.class_weights=auto`` and ``sqrt`` stand for; None for any other value."""
    if isinstance(config.loss, dict) or config.loss.class_weights not in ("auto", "sqrt"):
        return None
    weights = median_frequency(training.class_pixels(outputs))
    return [weight**0.5 for weight in weights] if config.loss.class_weights == "sqrt" else weights


def train_state(
    config: TrainConfig,
    hardware: Hardware,
    data: TrainingData,
    model: UNet,
    class_weights: list[float] | None,
    updates: int,
) -> TrainState:
    """Model on its device, loss, optimizer, schedule over `updates`, EMA."""
    device, context = hardware.device, hardware.context
    outputs, background = data.outputs, data.description.has_background
    model.to(device)
    freeze_encoder(model, config.weights.freeze_encoder)

    def wrap(model: UNet) -> Any:
        """The model as called in a step."""
        forward: Any = torch.compile(model) if config.trainer.compile else model
        if context.size == 1:
            return forward
        return nn.parallel.DistributedDataParallel(
            forward, device_ids=[context.local_rank] if device.type == "cuda" else None
        )

    rates = config.optimizer
    groups = partial(parameter_groups, model, rates.lr, rates.weight_decay, rates.encoder_lr_factor)
    scheduler = asdict(config.scheduler)
    schedule = Schedule(total_updates=updates, warmup_updates=scheduler.pop("warmup_steps"), **scheduler)
    loss = build_loss(config.loss, len(outputs), background=background, class_weights=class_weights)
    decay = config.trainer.ema_decay
    return TrainState(
        model=model,
        loss=loss.to(device),
        optimizer=build_optimizer(model, **asdict(config.optimizer)),
        schedule=schedule,
        ema=EMA(model, decay, frozen_tensors(model)) if decay is not None else None,
        precision=hardware.precision,
        device=device,
        outputs=outputs,
        background=background,
        forward=wrap(model),
        thaw=Thaw(config.weights.unfreeze_epoch, groups, wrap) if model.frozen else None,
    )


def loop_settings(config: TrainConfig, device: torch.device, cost: float) -> Settings:
    """The loop's lengths and portions; `cost` is one validation's, in training epochs."""
    trainer = config.trainer
    return Settings(
        epochs=trainer.epochs,
        batch_size=trainer.batch_size,
        accumulate=trainer.accumulate,
        clip_grad_norm=trainer.clip_grad_norm,
        workers=trainer.workers if trainer.workers >= 0 else _workers(device),
        early_stopping=trainer.early_stopping,
        val_every=validation_interval(cost, trainer.epochs)
        if trainer.val_every == "auto"
        else trainer.val_every,
        val_cost=cost,
        every_minutes=config.checkpoint.every_minutes,
        monitor=config.checkpoint.monitor,
        seed=config.seed,
        log_every=trainer.log_every,
    )


def _workers(device: torch.device) -> int:
    """Loader processes by the machine: on a CPU they take from the step itself, so few."""
    cores = os.cpu_count() or 1
    return min(8, cores - 1) if device.type == "cuda" else (1 if cores > 4 else 0)
