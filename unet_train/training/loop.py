"""The training loop: epochs of updates, validation on whole images, checkpoints from which it goes on exactly."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from unet_train.data.loading.batches import Batch, EpochSampler, make_loader, read_batches
from unet_train.data.loading.training_set import TrainingSet
from unet_train.errors import UserError
from unet_train.log import LOGGER
from unet_train.metrics.confusion import confusion_counts_tensor, scores_from_counts
from unet_train.models.unet import UNet
from unet_train.nearest import nearest
from unet_train.training import checkpoints
from unet_train.training.averages import EMA
from unet_train.training.distributed import World
from unet_train.training.evaluation import Evaluation, never_predicted_line
from unet_train.training.losses import Loss
from unet_train.training.pace import duration, is_validated, seconds_left
from unet_train.training.precision import Precision
from unet_train.training.run_folder import History
from unet_train.training.schedules import Schedule

T = TypeVar("T")


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


@dataclass
class State:
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
class Parts:
    """Everything the loop moves: the model and what changes it."""

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

    def __post_init__(self) -> None:
        self.scaler = self.precision.grad_scaler(self.device.type)

    def state_dict(self) -> dict[str, Any]:
        """States of all moving parts, under the bare module's names."""
        return {
            "state_dict": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": checkpoints.random_states(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go back to what `state_dict` saw."""
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


class Stopped(Exception):
    """A signal asked the run to stop; everything is saved."""

    def __init__(self, signal_number: int):
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


@contextlib.contextmanager
def catch_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted in the list that is yielded; a second one acts as usual."""
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        signal.signal(number, old[number])

    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    try:
        old: dict[int, Any] = {number: signal.signal(number, note) for number in numbers}
    except ValueError:  # not the main thread (a notebook's worker): nothing to catch
        yield seen
        return
    try:
        yield seen
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def epoch_lengths(samples: int, settings: Settings, world: World) -> tuple[int, int]:
    """Batches per process and updates in an epoch."""
    batches = len(EpochSampler(samples, settings.batch_size, 0, rank=world.rank, world_size=world.size))
    return batches, math.ceil(batches / settings.accumulate)


def fit(
    parts: Parts,
    data: TrainingSet,
    validate: Callable[[int], Evaluation] | None,
    settings: Settings,
    *,
    state: State,
    history: History,
    save_best: Callable[[State, dict[str, float]], None],
    save_last: Callable[[State], None],
    world: World,
) -> float:
    """Train until `settings.epochs` are finished.

    Parameters
    ----------
    parts : Parts
    data : TrainingSet
    validate : callable or None
        Number of the epoch → evaluation with the weights that are to be judged; None: no validation part,
        then the newest weights count as the best.
    settings : Settings
    state : State
        Where to go on; changed in place.
    history : History
    save_best, save_last : callable
        Write best.pt and last.pt; called on the main process only.
    world : World

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
    batches_per_epoch, _ = epoch_lengths(len(data), settings, world)
    sampler = EpochSampler(
        len(data), settings.batch_size, state.epoch, state.batches, rank=world.rank, world_size=world.size
    )
    loader = make_loader(data, sampler, settings.workers, pin_memory=parts.device.type == "cuda")
    saved_at = time.monotonic()
    validation_seconds: float | None = 0.0 if validate is None else None
    with catch_signals() as signals:
        for epoch in range(state.epoch, settings.epochs):
            started, seen_before = time.monotonic(), state.batches
            bar = tqdm(
                total=batches_per_epoch,
                initial=state.batches,
                desc=f"epoch {epoch + 1}/{settings.epochs}",
                disable=None if world.main else True,
                leave=False,
                dynamic_ncols=True,
                unit="batch",
            )
            sampler.set_epoch(epoch, state.batches)
            parts.model.train()
            for group in grouped(read_batches(loader), settings.accumulate):
                update(parts, group, state, settings, world)
                bar.update(len(group))
                if time.monotonic() - getattr(bar, "told", 0.0) > 1 and not bar.disable:
                    bar.told = time.monotonic()
                    took, done = time.monotonic() - started, state.batches - seen_before
                    left = _left(state, settings, batches_per_epoch, took / done, validation_seconds)
                    pace = settings.batch_size * world.size * done / took
                    bar.set_postfix_str(f"{_postfix(parts, state, pace)}, {duration(left)} left")
                # Asking the others costs a round trip, so processes agree on stopping every tenth update.
                stop = (
                    bool(signals) if world.size == 1 else state.update % 10 == 0 and world.any(bool(signals))
                )
                due = time.monotonic() - saved_at > 60 * settings.every_minutes
                if stop or (world.size == 1 and due and state.batches < batches_per_epoch):
                    if world.main:
                        save_last(state)
                    saved_at = time.monotonic()
                if stop:
                    bar.close()
                    raise Stopped(signals[0] if signals else signal.SIGTERM)
            bar.close()
            seconds = time.monotonic() - started
            # None was left where the run had been stopped at its epoch's last batch.
            batch_seconds = seconds / max(1, state.batches - seen_before)
            images = settings.batch_size * world.size * (state.batches - seen_before)
            scores = _train_scores(parts, state, world) | {"train/images_per_second": images / seconds}
            state.epoch, state.batches, state.sums = epoch + 1, 0, {}
            never: list[str] = []
            if validate is not None and is_validated(state.epoch, settings.val_every, settings.epochs):
                before = time.monotonic()
                evaluation = validate(state.epoch)
                validation_seconds = time.monotonic() - before
                found = evaluation.scores()
                never = evaluation.never_predicted()
                scores |= {"val/loss": evaluation.loss()} | {f"val/{k}": v for k, v in found.items()}
                scores["val/classes_never_predicted"] = len(never)
                _judge(parts, state, settings, found, save_best, world)
            elif validate is None:
                state.best_epoch = state.epoch
                if world.main:
                    save_best(state, {})
            if world.main:
                history.add(state.epoch, state.update, scores)
                left = _left(state, settings, batches_per_epoch, batch_seconds, validation_seconds)
                LOGGER.info(_line(state, settings, scores, time.monotonic() - started, left))
                if never:
                    LOGGER.info(never_predicted_line(never, evaluation.classes))
                save_last(state)
            saved_at = time.monotonic()
            if world.any(bool(signals)):
                raise Stopped(signals[0] if signals else signal.SIGTERM)
            if settings.early_stopping is not None and state.stale >= settings.early_stopping:
                state.stopped_early = True
                if world.main:
                    save_last(state)
                    LOGGER.info(
                        f"stopped early: no better {settings.monitor} for {state.stale} validations "
                        f"(best {state.best:.4f} in epoch {state.best_epoch})"
                    )
                break
    return state.best if state.best > -math.inf else math.nan


def grouped(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last one may be shorter."""
    while group := list(islice(items, size)):
        yield group


def update(parts: Parts, group: list[Batch], state: State, settings: Settings, world: World) -> None:
    """One optimizer update from the batches of `group`, on every process of `world`."""
    batches = [batch.to(parts.device) for batch in group]
    totals = torch.stack([parts.loss.totals(b.target, b.weight) for b in batches]).sum(0)
    world.sum(totals)
    numerators = torch.zeros_like(totals)
    parts.optimizer.zero_grad(set_to_none=True)
    for i, batch in enumerate(batches):
        wait = world.size > 1 and i < len(batches) - 1
        with parts.forward.no_sync() if wait else contextlib.nullcontext():  # type: ignore[attr-defined]
            with parts.precision.autocast(parts.device.type):
                logits = parts.forward(batch.image, batch.mean, batch.std)
            share = parts.loss.numerators(logits, batch.target, batch.weight)
            # DDP averages the gradients over the processes; the factor makes it the sum again.
            value = torch.stack(list(parts.loss.combine(share, totals).values())).sum() * world.size
            parts.scaler.scale(value).backward()
        numerators += share.detach()
        _count(parts, state, logits.detach(), batch.target)
    if settings.clip_grad_norm is not None:
        parts.scaler.unscale_(parts.optimizer)
        torch.nn.utils.clip_grad_norm_(parts.model.parameters(), settings.clip_grad_norm)
    factor = parts.schedule.factor(state.update)
    for param_group in parts.optimizer.param_groups:
        param_group["lr"] = param_group["base_lr"] * factor
    parts.scaler.step(parts.optimizer)
    parts.scaler.update()
    if parts.ema is not None:
        parts.ema.update(parts.model)
    state.update += 1
    state.batches += len(group)
    _add(state.sums, "numerators", numerators)
    _add(state.sums, "totals", totals / world.size)
    if (
        state.update % 50 == 1
        and not bool(torch.isfinite(numerators).all())
        and not parts.scaler.is_enabled()
    ):
        raise UserError(
            f"the loss is not finite at update {state.update}: lower optimizer.lr, set trainer.clip_grad_norm, "
            "or use trainer.precision=32"
        )


def _add(sums: dict[str, Any], name: str, value: torch.Tensor) -> None:
    value = value.double() if value.is_floating_point() and value.device.type != "mps" else value
    sums[name] = sums[name].to(value.device) + value if name in sums else value


def _count(parts: Parts, state: State, logits: torch.Tensor, target: torch.Tensor) -> None:
    if logits.shape[1] == 1:
        prediction = (logits[:, 0] > 0).to(torch.uint8)
        classes = 2
    else:
        prediction, classes = logits.argmax(1).to(torch.uint8), logits.shape[1]
    _add(state.sums, "counts", confusion_counts_tensor(prediction, target, classes))


def _train_scores(parts: Parts, state: State, world: World) -> dict[str, float]:
    """Loss per term and IoU over the epoch's crops, and the learning rate of its last update."""
    numerators, totals, counts = (
        world.sum(state.sums[k].clone()) for k in ("numerators", "totals", "counts")
    )
    shares = {name: float(value) for name, value in parts.loss.combine(numerators, totals).items()}
    scores = {"train/loss": sum(shares.values())}
    if len(shares) > 1:
        scores |= {f"train/{name}": value for name, value in shares.items()}
    if not math.isfinite(scores["train/loss"]):
        raise UserError(
            f"the loss became {scores['train/loss']} in epoch {state.epoch + 1}: lower optimizer.lr, set "
            "trainer.clip_grad_norm, or use trainer.precision=32"
        )
    # Not the optimizer's own number: a run that was stopped at the epoch's last batch has made no update yet.
    rate = parts.optimizer.param_groups[0]["base_lr"] * parts.schedule.factor(state.update - 1)
    return scores | {"train/iou/mean": _mean_iou(counts, parts), "train/lr": float(rate)}


def _mean_iou(counts: torch.Tensor, parts: Parts) -> float:
    return scores_from_counts(counts.cpu().numpy(), parts.outputs, background=parts.background)["iou/mean"]


def check_monitor(monitor: str, scores: dict[str, float]) -> None:
    """Refuse to choose the best epoch by a score that is not there.

    Raises
    ------
    UserError
        With the nearest name.
    """
    if monitor not in scores:
        hint = nearest(monitor, scores)
        raise UserError(
            f"checkpoint.monitor={monitor}: no such validation score{hint}; there are {', '.join(scores)}"
        )


def _judge(
    parts: Parts,
    state: State,
    settings: Settings,
    scores: dict[str, float],
    save_best: Callable[[State, dict[str, float]], None],
    world: World,
) -> None:
    check_monitor(settings.monitor, scores)
    score = scores[settings.monitor]
    if score > state.best or (state.best_epoch == 0 and math.isnan(score)):
        state.best, state.best_epoch, state.stale = (score if score == score else -math.inf), state.epoch, 0
        if world.main:
            save_best(state, scores)
    else:
        state.stale += 1
    if parts.schedule.observe(score):
        LOGGER.info(f"learning rate lowered: no better {settings.monitor} for a while")


def _postfix(parts: Parts, state: State, pace: float) -> str:
    numerators, totals, counts = (state.sums[k] for k in ("numerators", "totals", "counts"))
    loss = float((numerators / totals.clamp_min(1e-12)).sum())
    iou = _mean_iou(counts, parts)
    return f"loss {loss:.3f}, IoU {iou:.3f}, {pace:.1f} images/s"


def _left(
    state: State, settings: Settings, batches: int, batch_seconds: float, validation_seconds: float | None
) -> float:
    """Seconds the run still takes, at what a batch took in this epoch and the latest validation, if there was one."""
    epoch_seconds = batches * batch_seconds
    return seconds_left(
        epochs=settings.epochs,
        every=settings.val_every,
        finished=state.epoch,
        part=state.batches / batches,
        epoch_seconds=epoch_seconds,
        validation_seconds=settings.val_cost * epoch_seconds
        if validation_seconds is None
        else validation_seconds,
    )


def _line(state: State, settings: Settings, scores: dict[str, float], seconds: float, left: float) -> str:
    text = f"epoch {state.epoch}/{settings.epochs}  step {state.update}  loss {scores['train/loss']:.4f}"
    name = f"val/{settings.monitor}"
    if name in scores:
        star = " *" if state.best_epoch == state.epoch else ""
        text += f"  val {settings.monitor} {scores[name]:.4f}{star}"
    return f"{text}  {scores['train/images_per_second']:.1f} images/s  {seconds:.0f} s, {duration(left)} left"
