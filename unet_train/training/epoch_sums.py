"""Sums over the batches of an epoch, divided once at its end: the losses' fractions and the pixel counts."""

from __future__ import annotations

import torch

from unet_train.checkpoint import EpochSums
from unet_train.metrics.confusion import confusion_counts_tensor, scores_from_counts
from unet_train.training.distributed import DistributedContext
from unet_train.training.train_state import TrainState


def added(total: torch.Tensor | None, value: torch.Tensor) -> torch.Tensor:
    """The sum of both (None: nothing yet), in float64 where the device has it."""
    value = value.double() if value.is_floating_point() and value.device.type != "mps" else value
    return value if total is None else total.to(value.device) + value


def add_fractions(sums: EpochSums, numerators: torch.Tensor, totals: torch.Tensor) -> None:
    """Add the loss's numerators and totals of an update, one element a term."""
    sums.numerators = added(sums.numerators, numerators)
    sums.totals = added(sums.totals, totals)


def add_counts(sums: EpochSums, logits: torch.Tensor, target: torch.Tensor) -> None:
    """Add the confusion counts of a batch: N×K×H×W logits (K = 1: of the foreground) against N×H×W class ids."""
    if logits.shape[1] == 1:
        prediction = (logits[:, 0] > 0).to(torch.uint8)
        classes = 2
    else:
        prediction, classes = logits.argmax(1).to(torch.uint8), logits.shape[1]
    sums.counts = added(sums.counts, confusion_counts_tensor(prediction, target, classes))


def complete(sums: EpochSums) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Numerators, totals and counts of at least one update.

    Raises
    ------
    ValueError
        Before the first one.
    """
    if sums.numerators is None or sums.totals is None or sums.counts is None:
        raise ValueError("no update has been made in this epoch")
    return sums.numerators, sums.totals, sums.counts


def train_scores(state: TrainState, context: DistributedContext) -> dict[str, float]:
    """Loss per term and IoU over the epoch's crops, and the learning rate of its last update."""
    update = state.position.update
    numerators, totals, counts = (context.sum(value.clone()) for value in complete(state.position.sums))
    shares = {name: float(value) for name, value in state.loss.combine(numerators, totals).items()}
    scores = {"train/loss": sum(shares.values())}
    if len(shares) > 1:
        scores |= {f"train/{name}": value for name, value in shares.items()}
    # Not the optimizer's own number: a run that was stopped at the epoch's last batch has made no update yet.
    rate = state.optimizer.param_groups[0]["base_lr"] * state.schedule.factor(update - 1)
    return scores | {"train/iou/mean": mean_iou(counts, state), "train/lr": float(rate)}


def loss_since(state: TrainState, before: EpochSums) -> float:
    """The loss of this process's updates since its sums were `before`, at least one of them."""
    numerators, totals, _ = complete(state.position.sums)
    if before.numerators is not None and before.totals is not None:
        numerators = numerators - before.numerators.to(numerators.device)
        totals = totals - before.totals.to(totals.device)
    return float(torch.stack(list(state.loss.combine(numerators, totals).values())).sum())


def mean_iou(counts: torch.Tensor, state: TrainState) -> float:
    """The mean IoU from K×K counts over the model's outputs."""
    return scores_from_counts(counts.cpu().numpy(), state.outputs, background=state.background)["iou/mean"]
