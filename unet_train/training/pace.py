"""How often a run validates, so that validation does not eat the training, and how long it will still take."""

from __future__ import annotations

import math

COST_RATIO = 0.45
"""Time per validated pixel over time per training pixel, as far as it is known before the first step.

Measured on a CPU: 0.24 to 0.40 over seven set-ups (docs/results.md, "Speed and memory"). Where the images are resampled
to half, the work at native size adds a third.
"""

SHARE = 0.2
"""Of a run's time that validation may take."""


def validation_cost(validation_pixels: int, training_pixels: int) -> float:
    """What one validation takes, in training epochs.

    Parameters
    ----------
    validation_pixels : int
        Pixels the net sees in one validation.
    training_pixels : int
        Pixels the net sees in one training epoch, above 0.
    """
    return COST_RATIO * validation_pixels / training_pixels


def validation_interval(cost: float, epochs: int) -> int:
    """Epochs between validations at which all of them together stay under `SHARE` of the run.

    The last epoch is validated in any case, so the number of validations that fit is what counts: every third
    epoch would mean three of seven. A run for which one is too much already gets that one.

    It goes by these two numbers and no clock, so that a resumed run validates where the undisturbed one does.

    Parameters
    ----------
    cost : float
        Of one validation, in training epochs (`validation_cost`).
    epochs : int
        Epochs of the run, at least 1.

    Returns
    -------
    int
        From 1 to `epochs`.
    """
    allowed = SHARE / (1 - SHARE) * epochs
    fitting = epochs if cost <= 0 else max(1, math.floor(min(epochs, allowed / cost)))
    return math.ceil(epochs / fitting)


def validation_share(cost: float, every: int, epochs: int) -> float:
    """Share of a run's time that its validations take, 0 to 1; more than `SHARE` where a single one is too much."""
    count = sum(is_validated(epoch, every, epochs) for epoch in range(1, epochs + 1))
    return cost * count / (cost * count + epochs)


def is_validated(epoch: int, every: int, epochs: int) -> bool:
    """Whether an epoch (counted from 1) ends with a validation: each `every`-th one, and the last."""
    return epoch == epochs or epoch % every == 0


def seconds_left(
    *,
    epochs: int,
    every: int,
    finished: int,
    part: float,
    epoch_seconds: float,
    validation_seconds: float,
) -> float:
    """Time a run still takes.

    Parameters
    ----------
    epochs, every : int
        See `is_validated`.
    finished : int
        Finished epochs, their validation included.
    part : float
        Of the epoch under way, 0 to 1.
    epoch_seconds, validation_seconds : float
        Of training for one epoch, and of one validation (0 where there is no validation part).
    """
    validations = sum(is_validated(epoch, every, epochs) for epoch in range(finished + 1, epochs + 1))
    return (epochs - finished - part) * epoch_seconds + validations * validation_seconds


def duration(seconds: float) -> str:
    """A time for a person: ``90 s``, ``5 min``, ``2 h 10 min``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
