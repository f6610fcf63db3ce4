"""Learning rates as plain functions of the update number, so that a resumed run cannot drift."""

from __future__ import annotations

import math
from typing import Any

from unet_train.errors import UserError

KINDS = ("poly", "cosine", "plateau", "constant")


def lr_factor(
    kind: str,
    update: int,
    total_updates: int,
    *,
    warmup_updates: int = 0,
    power: float = 0.9,
    final_factor: float = 0.0,
    scale: float = 1.0,
) -> float:
    """What the highest learning rate is multiplied with at one update.

    The warm-up rises linearly, (update + 1)/(warm-up + 1), so that its first update already moves and the
    first one after it is the first at the full rate. The schedule then runs over what is left, with t =
    (update − warm-up)/(total − warm-up): poly (1 − t)^power, cosine down to ``final_factor``, constant 1,
    plateau ``scale``.

    Parameters
    ----------
    kind : str
        ``poly``, ``cosine``, ``plateau`` or ``constant``.
    update : int
        Number of the update that is about to be made, from 0. Past the end the last value is kept.
    total_updates : int
        Updates of the whole run, ≥ 1.
    warmup_updates : int
        0 ≤ warm-up < total.
    power, final_factor : float
        Of poly and of cosine.
    scale : float
        `Plateau.scale`, for plateau only.

    Raises
    ------
    UserError
        For an unknown kind, or a warm-up that fills the run.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind} is no schedule; choose from {', '.join(KINDS)}")
    if update < 0 or total_updates < 1:
        raise ValueError(f"update {update} of {total_updates}")
    if not 0 <= warmup_updates < total_updates:
        raise UserError(
            f"scheduler.warmup_steps={warmup_updates} must be ≥ 0 and below the run's {total_updates} updates"
        )
    if update < warmup_updates:
        return (update + 1) / (warmup_updates + 1)
    t = min(1.0, (update - warmup_updates) / (total_updates - warmup_updates))
    if kind == "poly":
        return (1 - t) ** power
    if kind == "cosine":
        return final_factor + (1 - final_factor) * (1 + math.cos(math.pi * t)) / 2
    return scale if kind == "plateau" else 1.0


class Plateau:
    """The one schedule with a memory: lower the rate when the validation score has stopped rising.

    Parameters
    ----------
    factor : float
        What the rate is multiplied with, in (0, 1).
    patience : int
        Scores without a new best that are borne; one more lowers the rate, and counting starts anew.
    """

    def __init__(self, factor: float = 0.3, patience: int = 5) -> None:
        if not 0 < factor < 1:
            raise ValueError(f"factor={factor} must be between 0 and 1")
        if patience < 0:
            raise ValueError(f"patience={patience} must be ≥ 0")
        self.factor, self.patience = factor, patience
        self.scale = 1.0
        self.best: float | None = None
        self.waited = 0

    def step(self, score: float) -> bool:
        """Take a validation score (higher is better; NaN is no new best); True if the rate was lowered."""
        if not math.isnan(score) and (self.best is None or score > self.best):
            self.best, self.waited = float(score), 0
            return False
        self.waited += 1
        if self.waited <= self.patience:
            return False
        self.scale *= self.factor
        self.waited = 0
        return True

    def state_dict(self) -> dict[str, Any]:
        """What it has seen, as plain numbers; not its parameters, which come from the configuration."""
        return {"scale": self.scale, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.scale, self.best, self.waited = state["scale"], state["best"], state["waited"]


class Schedule:
    """One run's schedule: `lr_factor` with its parameters, and the plateau's memory where there is one.

    Parameters
    ----------
    kind, total_updates, warmup_updates, power, final_factor
        See `lr_factor`.
    factor, patience
        See `Plateau`.

    Raises
    ------
    UserError
        For an unknown kind or a value out of its range, at once.
    """

    def __init__(
        self,
        kind: str,
        total_updates: int,
        *,
        warmup_updates: int = 0,
        power: float = 0.9,
        final_factor: float = 0.0,
        factor: float = 0.3,
        patience: int = 5,
    ) -> None:
        self.kind, self.total_updates, self.warmup_updates = kind, total_updates, warmup_updates
        self.power, self.final_factor = power, final_factor
        self.plateau = Plateau(factor, patience) if kind == "plateau" else None
        self.factor(0)

    def factor(self, update: int) -> float:
        """What the highest learning rate is multiplied with at this update."""
        return lr_factor(
            self.kind,
            update,
            self.total_updates,
            warmup_updates=self.warmup_updates,
            power=self.power,
            final_factor=self.final_factor,
            scale=self.plateau.scale if self.plateau else 1.0,
        )

    def forget_best(self) -> None:
        """Compare anew: the scores to come are others than those before."""
        if self.plateau:
            self.plateau.best, self.plateau.waited = None, 0

    def observe(self, score: float) -> bool:
        """Take a validation score; True if it lowered the rate, which only the plateau does."""
        return self.plateau.step(score) if self.plateau else False

    def state_dict(self) -> dict[str, Any]:
        """The plateau's memory; nothing for the others, which are functions of the update number."""
        return self.plateau.state_dict() if self.plateau else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`; one of another kind is left aside."""
        if self.plateau and state:
            self.plateau.load_state_dict(state)
