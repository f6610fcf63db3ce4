"""How long a run trains and in what portions: the loop's part of the config."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How long and in what portions; see `trainer` and `checkpoint` in the config."""

    epochs: int
    batch_size: int
    accumulate: int = 1
    clip_grad_norm: float | None = None
    workers: int = 0
    early_stopping: int | None = None
    val_every: int = 1
    val_cost: float = 0.0
    """Of one validation in training epochs, for the time left until one has been measured."""
    every_minutes: float = 10.0
    monitor: str = "iou/mean"
    seed: int = 0
    log_every: int = 0
    """Updates between points of the curves within an epoch; 0: none."""
