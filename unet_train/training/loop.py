"""The training loop: train an epoch, validate on whole images, end the epoch."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

import torch

from unet_train.checkpoint import EpochSums
from unet_train.data.loading.batches import Batch, EpochSampler, make_loader, read_batches
from unet_train.data.loading.training_set import TrainingSet
from unet_train.errors import UserError
from unet_train.log import LOGGER
from unet_train.training.distributed import DistributedContext
from unet_train.training.epoch_sums import add_counts, add_fractions, train_scores
from unet_train.training.evaluation import Evaluation, check_monitor, never_predicted_line
from unet_train.training.interrupts import Interrupts, catch_signals
from unet_train.training.pace import is_validated
from unet_train.training.progress import Progress
from unet_train.training.run_folder import History
from unet_train.training.save_timer import SaveTimer
from unet_train.training.settings import Settings
from unet_train.training.train_state import TrainState

T = TypeVar("T")


class Writer(Protocol):
    """Writes the checkpoints; asked on the main process only."""

    def best(self, scores: dict[str, float]) -> None:
        """Write best.pt, whose weights have these scores."""

    def last(self) -> None:
        """Write last.pt."""


def fit(
    state: TrainState,
    data: TrainingSet,
    validation: Callable[[], Evaluation] | None,
    settings: Settings,
    *,
    history: History,
    writer: Writer,
    context: DistributedContext,
) -> float:
    """Train until `settings.epochs` are finished.

    Parameters
    ----------
    state : TrainState
        Where to go on; changed in place.
    data : TrainingSet
    validation : callable or None
        Evaluates the weights that are to be judged; None: no validation part, then the newest weights count
        as the best.
    settings : Settings
    history : History
    writer : Writer
    context : DistributedContext

    Returns
    -------
    float
        Best validation score (NaN without validation).

    Raises
    ------
    Stopped
        After SIGINT or SIGTERM, with last.pt written.
    UserError
        If the loss is not finite, memory runs out, or a file cannot be read.
    """
    position = state.position
    sampler = EpochSampler(
        len(data),
        settings.batch_size,
        position.epoch,
        position.batches,
        rank=context.rank,
        world_size=context.size,
    )
    loader = make_loader(data, sampler, settings.workers, pin_memory=state.device.type == "cuda")
    batches, _ = epoch_lengths(len(data), settings, context)
    progress = Progress(settings, batches, context, validates=validation is not None)
    with catch_signals() as interrupts:
        steps = Steps(state, settings, context, history, writer, progress, interrupts)
        for epoch in range(position.epoch, settings.epochs):
            sampler.set_epoch(epoch, position.batches)
            state.thaw_when_due(epoch)
            scores = steps.train_epoch(read_batches(loader))
            evaluation = steps.validate(validation)
            steps.end_epoch(scores, evaluation)
            if steps.stop_early():
                break
    return position.best if position.best > -math.inf else math.nan


def epoch_lengths(samples: int, settings: Settings, context: DistributedContext) -> tuple[int, int]:
    """Batches per process and updates in an epoch."""
    batches = len(EpochSampler(samples, settings.batch_size, 0, rank=context.rank, world_size=context.size))
    return batches, math.ceil(batches / settings.accumulate)


@dataclass
class Steps:
    """The steps of an epoch, and what they share."""

    state: TrainState
    settings: Settings
    context: DistributedContext
    history: History
    writer: Writer
    progress: Progress
    interrupts: Interrupts

    def __post_init__(self) -> None:
        self.position = self.state.position
        self.timer = SaveTimer(self.settings.every_minutes)

    def train_epoch(self, batches: Iterator[Batch]) -> dict[str, float]:
        """Update from all `batches`; the epoch's training scores."""
        self.state.model.train()
        with self.progress.epoch(self.position):
            for micro_batches in in_groups(batches, self.settings.accumulate):
                update(self.state, micro_batches, self.settings, self.context)
                self.progress.advance(self.state, len(micro_batches))
                self.save_within_epoch()
        speed = self.progress.measure(self.position)
        scores = train_scores(self.state, self.context) | {"train/images_per_second": speed}
        self.position.epoch += 1
        self.position.batches, self.position.sums = 0, EpochSums()
        return scores

    def save_within_epoch(self) -> None:
        """Save when it is time to, or when the run is to stop; then stop."""
        stop = self.interrupts.seen_within_epoch(self.context, self.position.update)
        # Several processes have no common clock; at the end of the epoch it is saved in any case.
        unfinished = self.position.batches < self.progress.batches
        if stop or (self.context.size == 1 and unfinished and self.timer.due()):
            self.save()
        if stop:
            raise self.interrupts.stopped()

    def validate(self, validation: Callable[[], Evaluation] | None) -> Evaluation | None:
        """Validate, if the epoch is one to be validated, and keep the best weights."""
        if validation is None:
            self.position.best_epoch = self.position.epoch
            self.save_best({})
            return None
        if not is_validated(self.position.epoch, self.settings.val_every, self.settings.epochs):
            return None
        started = time.monotonic()
        evaluation = validation()
        self.progress.validation_seconds = time.monotonic() - started
        self.judge(evaluation.scores())
        return evaluation

    def judge(self, scores: dict[str, float]) -> None:
        """Keep the weights if they are the best so far, and let the schedule know the score."""
        position, monitor = self.position, self.settings.monitor
        check_monitor(monitor, scores)
        score = scores[monitor]
        if score > position.best or (position.best_epoch == 0 and math.isnan(score)):
            position.best = -math.inf if math.isnan(score) else score
            position.best_epoch, position.stale = position.epoch, 0
            self.save_best(scores)
        else:
            position.stale += 1
        if self.state.schedule.observe(score):
            LOGGER.info(f"learning rate lowered: no better {monitor} for a while")

    def end_epoch(self, scores: dict[str, float], evaluation: Evaluation | None) -> None:
        """Write and say what the epoch came to; save; stop if a signal came."""
        never = evaluation.never_predicted() if evaluation is not None else []
        if evaluation is not None:
            scores |= {"val/loss": evaluation.loss()}
            scores |= {f"val/{name}": value for name, value in evaluation.scores().items()}
            scores["val/classes_never_predicted"] = len(never)
        if self.context.main:
            self.history.add(self.position.epoch, self.position.update, scores)
            LOGGER.info(self.progress.line(self.position, scores))
            if evaluation is not None and never:
                LOGGER.info(never_predicted_line(never, evaluation.classes))
        self.save()
        if self.interrupts.seen(self.context):
            raise self.interrupts.stopped()

    def stop_early(self) -> bool:
        """Whether the score has not become better for so long that the run ends here."""
        patience, position = self.settings.early_stopping, self.position
        if patience is None or position.stale < patience:
            return False
        position.stopped_early = True
        self.save()
        if self.context.main:
            LOGGER.info(
                f"stopped early: no better {self.settings.monitor} for {position.stale} validations "
                f"(best {position.best:.4f} in epoch {position.best_epoch})"
            )
        return True

    def save(self) -> None:
        """Write last.pt."""
        if self.context.main:
            self.writer.last()
        self.timer.restart()

    def save_best(self, scores: dict[str, float]) -> None:
        """Write best.pt."""
        if self.context.main:
            self.writer.best(scores)


def in_groups(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last one may be shorter."""
    while group := list(islice(items, size)):
        yield group


def update(
    state: TrainState, micro_batches: list[Batch], settings: Settings, context: DistributedContext
) -> None:
    """One optimizer update from `micro_batches`, on every process of `context`."""
    position = state.position
    batches = [batch.to(state.device) for batch in micro_batches]
    totals = torch.stack([state.loss.totals(b.target, b.weight) for b in batches]).sum(0)
    context.sum(totals)
    numerators = torch.zeros_like(totals)
    state.optimizer.zero_grad(set_to_none=True)
    for i, batch in enumerate(batches):
        wait = context.size > 1 and i < len(batches) - 1
        with state.forward.no_sync() if wait else contextlib.nullcontext():  # type: ignore[attr-defined]
            with state.precision.autocast(state.device.type):
                logits = state.forward(batch.image, batch.mean, batch.std)
            share = state.loss.numerators(logits, batch.target, batch.weight)
            # DDP averages the gradients over the processes; the factor makes it the sum again.
            value = torch.stack(list(state.loss.combine(share, totals).values())).sum() * context.size
            state.scaler.scale(value).backward()
        numerators += share.detach()
        add_counts(position.sums, logits.detach(), batch.target)
    if settings.clip_grad_norm is not None:
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_grad_norm)
    factor = state.schedule.factor(position.update)
    for param_group in state.optimizer.param_groups:
        param_group["lr"] = param_group["base_lr"] * factor
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.ema is not None:
        state.ema.update(state.model)
    position.update += 1
    position.batches += len(micro_batches)
    add_fractions(position.sums, numerators, totals / context.size)
    if (
        position.update % 50 == 1
        and not bool(torch.isfinite(numerators).all())
        and not state.scaler.is_enabled()
    ):
        raise UserError(
            f"the loss is not finite at update {position.update}: lower optimizer.lr, set trainer.clip_grad_norm, "
            "or use trainer.precision=32"
        )
