"""What a run has learnt and where it stands: all that a checkpoint must hold for the run to go on exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from unet_train.models.unet import UNet
from unet_train.training import checkpoints
from unet_train.training.averages import EMA
from unet_train.training.losses import Loss
from unet_train.training.precision import Precision
from unet_train.training.schedules import Schedule


@dataclass
class Position:
    """Where a run stands; plain numbers, saved with every checkpoint.

    Attributes
    ----------
    epoch : int
        Finished epochs.
    batches : int
        Batches of this process done in the epoch under way.
    update : int
        Optimizer updates so far: the step of TensorBoard and of the schedule.
    best, best_epoch
        Best validation score and the epoch it was reached in.
    stale : int
        Validations since then.
    sums : dict
        Sums of the epoch under way, so that a resumed epoch reports what the undisturbed one does.
    stopped_early : bool
        Whether early stopping ended the run.
    """

    epoch: int = 0
    batches: int = 0
    update: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    stale: int = 0
    sums: dict[str, Any] = field(default_factory=dict)
    stopped_early: bool = False


@dataclass
class TrainState:
    """The model, what changes it, and where the run stands: everything the loop moves."""

    model: UNet
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    ema: EMA | None
    precision: Precision
    device: torch.device
    outputs: tuple[str, ...]
    """Names of the model's outputs."""
    background: bool
    """Whether the first of them is the background."""
    forward: Callable[..., torch.Tensor]
    """The model as called in a step: itself, compiled, or wrapped for several processes."""
    position: Position = field(default_factory=Position)

    def __post_init__(self) -> None:
        self.scaler = self.precision.grad_scaler(self.device.type)

    @property
    def averaged(self) -> dict[str, torch.Tensor]:
        """The weights that are validated and kept as the best: the averaged ones where there are any."""
        return self.ema.average if self.ema else self.model.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Everything that moves, under the bare module's names."""
        return {
            "state_dict": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": checkpoints.random_states(),
            "state": asdict(self.position),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go back to what `state_dict` saw."""
        self.position = Position(**saved["state"])
        self.model.load_state_dict(saved["state_dict"])
        if self.ema is not None and saved["ema"] is not None:
            self.ema.load_state_dict(saved["ema"])
        # Rates and decays are the config's, not the file's: they may have been changed for the resume.
        asked = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(saved["optimizer"])
        for group, values in zip(self.optimizer.param_groups, asked, strict=True):
            group.update(values)
        self.schedule.load_state_dict(saved["schedule"])
        if saved["scaler"]:
            self.scaler.load_state_dict(saved["scaler"])
        checkpoints.restore_random_states(saved["rng"])
