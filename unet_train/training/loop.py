"""The training loop: train an epoch, validate on whole images, end the epoch."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol, TypeVar

import torch

from unet_train.checkpoint import EpochSums
from unet_train.data.loading.batches import Batch, EpochSampler, make_loader, read_batches, telling_of_workers
from unet_train.data.loading.training_set import TrainingSet
from unet_train.log import LOGGER
from unet_train.training.distributed import DistributedContext
from unet_train.training.epoch_sums import add_counts, add_fractions, loss_since, train_scores
from unet_train.training.evaluation import Evaluation, check_monitor, never_predicted_line
from unet_train.training.finiteness import FiniteWatch
from unet_train.training.interrupts import Interrupts, catch_signals
from unet_train.training.pace import is_validated
from unet_train.training.progress import Progress
from unet_train.training.run_folder import History
from unet_train.training.save_timer import SaveTimer
from unet_train.training.seeding import seed_update
from unet_train.training.settings import Settings
from unet_train.training.train_state import TrainState

T = TypeVar("T")

ASKED_EVERY = 10
"""Updates after which several processes ask each other whether to save or to stop, which costs a round trip."""


class Writer(Protocol):
    """Writes the checkpoints; asked on the main process only. A failure to write is remembered, not raised."""

    def best(self, scores: dict[str, float]) -> None:
        """Write best.pt, whose weights have these scores."""

    def last(self, sums: Sequence[EpochSums]) -> None:
        """Write last.pt, with every process's sums of the epoch under way."""


def fit(
    state: TrainState,
    data: TrainingSet,
    validation: Callable[[Callable[[], None]], Evaluation] | None,
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
        Evaluates the weights that are to be judged, and calls what it is given after each image; None: no
        validation part, then the newest weights count as the best.
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
        After a signal, with last.pt written.
    UserError
        If loss, gradient or weights are not finite, memory runs out, or a file cannot be read.
    """
    position = state.position
    position.monitor = settings.monitor
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
    with telling_of_workers(loader), catch_signals() as interrupts:
        steps = Steps(state, settings, context, history, writer, progress, interrupts, data.faulty)
        for epoch in range(position.epoch, settings.epochs):
            sampler.set_epoch(epoch, position.batches)
            state.thaw_when_due(epoch)
            steps.epoch(read_batches(loader), validation)
            if steps.stop_early():
                break
    return position.best if position.best > -math.inf else math.nan


def epoch_lengths(samples: int, settings: Settings, context: DistributedContext) -> tuple[int, int]:
    """Batches per process and updates in an epoch."""
    batches = len(EpochSampler(samples, settings.batch_size, 0, rank=context.rank, world_size=context.size))
    return batches, math.ceil(batches / settings.accumulate)


class _StopsValidating(Exception):
    """A signal came while the run validated: it goes on before that validation."""


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
    explain: Callable[[Sequence[str]], str]
    """What is wrong with a file among the records of a batch; empty if nothing is."""

    def __post_init__(self) -> None:
        self.position = self.state.position
        self.timer = SaveTimer(self.settings.every_minutes)
        self.watch = FiniteWatch(skips=self.state.scaler.is_enabled())
        self.saved = self.position.update > 0
        """Whether there is a last.pt: a resumed run has one from the start."""

    def epoch(
        self, batches: Iterator[Batch], validation: Callable[[Callable[[], None]], Evaluation] | None
    ) -> None:
        """Train an epoch, validate it, tell of it and save; stop if a signal came."""
        position = self.position
        scores = self.train_epoch(batches)
        # A validation may take long, and best.pt must not be there without a last.pt to go on from.
        if not self.saved or self.context.broadcast(self.timer.due()):
            self.save()
        sums = position.sums
        position.epoch, position.batches, position.sums = position.epoch + 1, 0, EpochSums()
        try:
            evaluation = self.validate(validation)
        except _StopsValidating:
            position.epoch, position.batches, position.sums = position.epoch - 1, self.progress.batches, sums
            self.save()
            raise self.interrupts.stopped() from None
        self.end_epoch(scores, evaluation)

    def train_epoch(self, batches: Iterator[Batch]) -> dict[str, float]:
        """Update from all `batches`; the epoch's training scores."""
        self.state.model.train()
        self.pointed = replace(self.position.sums)
        with self.progress.epoch(self.position):
            for micro_batches in in_groups(batches, self.settings.accumulate):
                update(self.state, micro_batches, self.settings, self.context, self.watch)
                self.progress.advance(self.state, len(micro_batches))
                if self.settings.log_every and self.position.update % self.settings.log_every == 0:
                    self.add_point()
                self.save_within_epoch()
        speed = self.progress.measure(self.position)
        self.check_finite()
        scores = train_scores(self.state, self.context) | {"train/images_per_second": speed}
        if self.watch.skips:
            scores["train/skipped_steps"] = self.watch.take_skipped()
        return scores

    def add_point(self) -> None:
        """A point of the curves: the loss of this process's updates since the latest one, and the learning rate."""
        if not self.context.main:
            return
        loss, self.pointed = loss_since(self.state, self.pointed), replace(self.position.sums)
        rate = self.state.optimizer.param_groups[0]["lr"]
        self.history.point(self.position.update, {"step/loss": loss, "step/lr": float(rate)})

    def save_within_epoch(self) -> None:
        """Save when it is time to, or when the run is to stop; then stop."""
        if self.context.size == 1 or self.position.update % ASKED_EVERY == 0:
            unfinished = self.position.batches < self.progress.batches
            # A signal may have reached any of the processes; the first one's clock is everyone's.
            asked = self.context.gather((self.interrupts.asked, self.timer.due()))
            stop, due = any(signal for signal, _ in asked), asked[0][1]
            if stop or (unfinished and due):
                self.save()
            if stop:
                raise self.interrupts.stopped()
        if self.watch.due:
            self.check_finite()

    def check_finite(self) -> None:
        """Refuse to go on, or to save, with a loss, a gradient or weights that are not finite.

        Raises
        ------
        UserError
        """
        self.watch.check(self.context, self.state.model.state_dict(), self.explain)

    def validate(self, validation: Callable[[Callable[[], None]], Evaluation] | None) -> Evaluation | None:
        """Validate, if the epoch is one to be validated, and keep the best weights."""
        if validation is None:
            self.position.best_epoch = self.position.epoch
            self.save_best({})
            return None
        if not is_validated(self.position.epoch, self.settings.val_every, self.settings.epochs):
            return None
        started = time.monotonic()
        # Each process has met other crops; what is validated, by all of them, is what the first one saves.
        self.context.share(self.state.buffers())
        evaluation = validation(self.stop_validating)
        self.progress.validation_seconds = time.monotonic() - started
        self.judge(evaluation.scores())
        return evaluation

    def stop_validating(self) -> None:
        """Leave a validation if a signal came; several processes, which it may not have reached alike, finish it."""
        if self.context.size == 1 and self.interrupts.asked:
            raise _StopsValidating

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
        if self.context.any(self.interrupts.asked):
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
        """Write last.pt; every process of the run has to take part."""
        self.check_finite()
        sums = self.context.gather(self.position.sums.cpu())
        if self.context.main:
            # First what was told of the steps that last.pt holds: a kill between the two leaves a row too many,
            # which a resume drops, not one too few.
            self.history.flush()
            self.writer.last(sums)
        self.saved = True
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
    state: TrainState,
    micro_batches: list[Batch],
    settings: Settings,
    context: DistributedContext,
    watch: FiniteWatch,
) -> None:
    """One optimizer update from `micro_batches`, on every process of `context`; nothing waits for the device."""
    position = state.position
    seed_update(settings.seed, position.update, context.rank)
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
    state.scaler.unscale_(state.optimizer)
    parameters = [p for p in state.model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(p.grad for p in parameters if p.grad is not None)
    if settings.clip_grad_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, settings.clip_grad_norm, norm)
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
    keys = [key for batch in batches for key in batch.keys]
    watch.note(numerators, norm, update=position.update, epoch=position.epoch + 1, keys=keys)
