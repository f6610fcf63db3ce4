"""What a person sees of a run that trains: a bar within the epoch, a line after it, and the time left."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping

import torch
from tqdm import tqdm

from unet_train.checkpoint import Position
from unet_train.log import LOGGER
from unet_train.training.distributed import DistributedContext
from unet_train.training.epoch_sums import complete, mean_iou
from unet_train.training.pace import duration, seconds_left
from unet_train.training.settings import Settings
from unet_train.training.train_state import TrainState

FIRST_LINE, EVERY_LINE = 10.0, 60.0
"""Seconds to the first line of an epoch under way, and between lines, where there is no bar."""


class Progress:
    """Measures how fast a run goes, and says it.

    Parameters
    ----------
    settings : Settings
    batches : int
        Of one process in a whole epoch.
    context : DistributedContext
        Only the main process shows a bar.
    validates : bool
        Whether there is a validation part, whose time counts.
    """

    def __init__(self, settings: Settings, batches: int, context: DistributedContext, *, validates: bool):
        self.settings, self.batches, self.context = settings, batches, context
        self.validation_seconds: float | None = None if validates else 0.0
        """Of the latest validation; None before the first."""
        self._spoke = -math.inf

    @contextlib.contextmanager
    def epoch(self, position: Position) -> Iterator[None]:
        """Show the bar of one epoch, from the batch at which it begins or goes on."""
        self._started, self._first, self._told = time.monotonic(), position.batches, -math.inf
        if self._spoke == -math.inf:
            self._spoke = self._started - EVERY_LINE + FIRST_LINE
        self._bar = tqdm(
            total=self.batches,
            initial=position.batches,
            desc=f"epoch {position.epoch + 1}/{self.settings.epochs}",
            disable=None if self.context.main else True,
            leave=False,
            dynamic_ncols=True,
            # Not tqdm's own time left, which is the epoch's: a person waits for the run.
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}",
        )
        with self._bar:
            yield

    def advance(self, state: TrainState, batches: int) -> None:
        """Move the bar by so many batches; once a second, say how the run does.

        Where there is no bar, as in a file, a line does, after `FIRST_LINE` seconds and then once a minute.
        """
        self._bar.update(batches)
        now, lines = time.monotonic(), self._bar.disable
        due = now - self._spoke > EVERY_LINE if lines else now - self._told > 1
        if not (due and self.context.main):
            return
        self._told = self._spoke = now
        speed = self.measure(state.position)
        said = f"{running_scores(state)}, {speed:.1f} images/s, {duration(self.left(state.position))} left"
        if lines:
            done = f"batch {state.position.batches}/{self.batches}"
            LOGGER.info(f"epoch {state.position.epoch + 1}/{self.settings.epochs}  {done}  {said}")
        else:
            self._bar.set_postfix_str(f"{said} in the whole run")

    def measure(self, position: Position) -> float:
        """Take the time of the epoch's batches so far; images per second over all processes."""
        seconds = time.monotonic() - self._started
        done = position.batches - self._first
        # None is left where the run had been stopped at its epoch's last batch.
        self._batch_seconds = seconds / max(1, done)
        return self.settings.batch_size * self.context.size * done / seconds

    def left(self, position: Position) -> float:
        """Seconds the run still takes, by what the epoch's batches and the latest validation took."""
        epoch_seconds = self.batches * self._batch_seconds
        return seconds_left(
            epochs=self.settings.epochs,
            every=self.settings.val_every,
            finished=position.epoch,
            part=position.batches / self.batches,
            epoch_seconds=epoch_seconds,
            validation_seconds=self.settings.val_cost * epoch_seconds
            if self.validation_seconds is None
            else self.validation_seconds,
        )

    def line(self, position: Position, scores: Mapping[str, float]) -> str:
        """The line of a finished epoch; a star marks the best one so far."""
        text = f"epoch {position.epoch}/{self.settings.epochs}  step {position.update}"
        text += f"  loss {scores['train/loss']:.4f}"
        name = f"val/{self.settings.monitor}"
        if name in scores:
            star = " *" if position.best_epoch == position.epoch else ""
            text += f"  val {self.settings.monitor} {scores[name]:.4f}{star}"
        self._spoke = time.monotonic()
        took, left = self._spoke - self._started, duration(self.left(position))
        return f"{text}  {scores['train/images_per_second']:.1f} images/s  {took:.0f} s, {left} left"


def running_scores(state: TrainState) -> str:
    """Loss and IoU of this process's batches in the epoch under way."""
    numerators, totals, counts = complete(state.position.sums)
    loss = float(torch.stack(list(state.loss.combine(numerators, totals).values())).sum())
    return f"loss {loss:.3f}, IoU {mean_iou(counts, state):.3f}"
