"""What must be as it was for a run to be resumed: split, model, images, seed, and portions within an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from unet_train.checkpoint import Checkpoint, Position
from unet_train.config.schema import TrainConfig
from unet_train.data.records import Record
from unet_train.data.splits import Split
from unet_train.errors import UserError
from unet_train.models.spec import ModelSpec
from unet_train.runs.training_data import TrainingData
from unet_train.training.finiteness import first_not_finite
from unet_train.training.freezing import was_thawed


def split_of_the_run(resumed: Checkpoint, config: TrainConfig, records: Sequence[Record]) -> Split:
    """The split a run was begun with.

    Raises
    ------
    UserError
        For keys that would split otherwise now, and for images that are gone.
    """
    _check_same_split(resumed, config)
    saved = resumed.split
    by_key = {record.key: record for record in records}
    for part, keys in saved.parts.items():
        lost = [key for key in keys if key not in by_key]
        if lost:
            raise UserError(f"resume: the run's {part} image {lost[0]} is no longer in the data set")
    parts = {part: [by_key[key] for key in keys] for part, keys in saved.parts.items()}
    return Split(**parts, notes=list(saved.notes), by=saved.by)


def _check_same_split(resumed: Checkpoint, config: TrainConfig) -> None:
    """Refuse keys that would have split the data otherwise: a resumed run keeps its split."""
    now = {f"split.{name}": value for name, value in asdict(config.split).items()}
    now["dataset.test_groups"] = config.dataset.test_groups
    for name, value in now.items():
        section, key = name.split(".")
        before = resumed.section(section)[key]
        if before != value:
            raise UserError(f"{name}={value}: a resumed run keeps its split ({name} was {before})")


def check_same_run(resumed: Checkpoint, spec: ModelSpec, data: TrainingData) -> None:
    """Refuse to resume with another model, other classes, or other images."""
    saved = resumed.model.to_dict()
    for name, value in spec.to_dict().items():
        if saved[name] != value:
            raise UserError(f"resume: the run's model has {name} {saved[name]}, now it would be {value}")
    # Colours make no other run, and what the masks say is compared below, pixel by pixel.
    before = resumed.data.to_dict()
    for name, value in data.description.to_dict().items():
        if name not in ("palette", "mask_values") and before[name] != value:
            raise UserError(f"resume: the run's data has {name} {before[name]}, now it would be {value}")
    changed = [k for k, v in resumed.image_hashes.items() if data.hashes.get(k) != v]
    if changed:
        raise UserError(f"resume: training image {changed[0]} is not the one the run was trained on")
    # Missing in runs of before the masks were looked at.
    changed = [k for k, v in resumed.truth_hashes.items() if data.truth_hashes.get(k) != v]
    if changed:
        raise UserError(
            f"resume: the mask of training image {changed[0]} is not the one the run was trained on; to train "
            f"on with other masks start a new run with weights=file weights.path=…/best.pt"
        )


def processes_of(resumed: Checkpoint) -> int:
    """How many processes the run had when it was saved."""
    # Files of before every process's sums were kept have those of one, whatever their number.
    return max(len(resumed.resume_state.sums), int(resumed.section("trainer").get("devices") or 1))


def check_same_steps(resumed: Checkpoint, tree: dict[str, Any], processes: int) -> None:
    """Refuse what would make it another run, or move the place within an epoch at which it stopped.

    Parameters
    ----------
    resumed : Checkpoint
    tree : dict
        The config as it is asked for now.
    processes : int
        Processes of the run now.
    """
    before, position = resumed.section("trainer"), resumed.resume_state.position
    seed = resumed.config["seed"]
    if seed != tree["seed"]:
        raise UserError(f"seed={tree['seed']}: a resumed run keeps its seed ({seed})")
    _check_same_frozen(resumed, tree["weights"])
    then = processes_of(resumed)
    if position.batches and then != processes:
        raise UserError(
            f"resume: the run was stopped within epoch {position.epoch + 1} by {then} process(es), which share its "
            f"samples out, and now there are {processes}; resume it with trainer.devices={then} (or torchrun "
            f"--nproc-per-node {then})"
        )
    for name in ("batch_size", "samples_per_epoch", "accumulate"):
        was, now = before.get(name), tree["trainer"][name]
        if position.batches and was != now:
            raise UserError(
                f"trainer.{name}={now}: the run was stopped within epoch {position.epoch + 1}, which counts in "
                f"trainer.{name}={was}; leave it as it was"
            )


def follow_monitor(
    position: Position, best: Callable[[], Checkpoint], resumed: Checkpoint, monitor: str
) -> str:
    """Compare by another score from now on, if another one is asked for: with that of best.pt, whose weights stay.

    Parameters
    ----------
    position : Position
        Where the run stands; changed in place.
    best : callable
        Reads best.pt.
    resumed : Checkpoint
        The run's last.pt.
    monitor : str
        ``checkpoint.monitor`` as it is asked for now.

    Returns
    -------
    str
        What is done, for the person; empty where nothing is.
    """
    before = position.monitor or str(resumed.section("checkpoint").get("monitor", monitor))
    if before == monitor:
        return ""
    score = (best().metrics or {}).get(monitor, math.nan)
    position.best, position.stale = (-math.inf if math.isnan(score) else score), 0
    known = f"best.pt has {monitor} {score:.4f}" if math.isfinite(score) else f"best.pt has no {monitor}"
    return f"checkpoint.monitor was {before}: {known}, and is replaced by the next epoch that is better"


@contextmanager
def restoring(resumed: Checkpoint) -> Iterator[None]:
    """Tell what the state of a file does not fit in one line.

    Raises
    ------
    UserError
    """
    try:
        yield
    # Optimizers, modules and schedules refuse with whatever they stumble over.
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{resumed.path}: its state does not fit the run ({reason}); start a new run with weights=file "
            f"weights.path=…/best.pt"
        ) from error


def check_restored(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Check what a file gave a run: weights that are finite, and optimizer states of their parameters' sizes.

    Raises
    ------
    ValueError
    """
    broken = first_not_finite(model.state_dict())
    if broken is not None:
        raise ValueError(f"{broken} is not finite")
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if not isinstance(value, torch.Tensor):
                raise ValueError(f"the optimizer's {name} is no tensor")
            if value.numel() > 1 and value.shape != parameter.shape:
                raise ValueError(
                    f"the optimizer's {name} is {tuple(value.shape)}, not {tuple(parameter.shape)}"
                )
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f"the optimizer's {name} is not finite")


def _check_same_frozen(resumed: Checkpoint, weights: dict[str, Any]) -> None:
    """Refuse to freeze otherwise than the run was begun with, or to thaw in an epoch that is past."""
    before, state = resumed.section("weights"), resumed.resume_state
    was, now = (section.get("freeze_encoder", 0) for section in (before, weights))
    if was != now:
        raise UserError(f"weights.freeze_encoder={now}: a resumed run keeps what is frozen ({was})")
    was, now = (section.get("unfreeze_epoch") for section in (before, weights))
    begun = state.position.epoch + (state.position.batches > 0)
    if was != now and (was_thawed(state.optimizer) or (now is not None and now <= begun)):
        raise UserError(
            f"weights.unfreeze_epoch={now}: the run is in epoch {max(begun, 1)} and was to thaw in epoch {was}; "
            "this can be changed while it is ahead"
        )


def is_finished(resumed: Checkpoint, config: TrainConfig) -> bool:
    """Whether nothing is left to train: all epochs are done, or the run was stopped early and no epochs are added."""
    position = resumed.resume_state.position
    extended = config.trainer.epochs > resumed.section("trainer")["epochs"]
    return position.epoch >= config.trainer.epochs or (position.stopped_early and not extended)


def changed_keys(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Keys whose values differ, as ``trainer.epochs 10 → 20``."""
    found = []
    for name, value in now.items():
        was = before.get(name, value)
        if isinstance(value, dict) and isinstance(was, dict):
            found += changed_keys(was, value, f"{prefix}{name}.")
        elif was != value and f"{prefix}{name}" != "resume":
            found.append(f"{prefix}{name} {was} → {value}")
    return found
