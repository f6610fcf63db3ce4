"""A few real steps and a validation, timed: how long this machine takes for what a plan has chosen."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from unet_train.config.compose import compose_train
from unet_train.config.plans import words_of
from unet_train.config.schema import TrainConfig
from unet_train.data.loading.batches import EpochSampler, make_loader, read_batches
from unet_train.data.loading.normaliser import Normaliser
from unet_train.data.records import Record
from unet_train.data.splits import Split
from unet_train.errors import UserError
from unet_train.models.spec import build_model
from unet_train.planning.figures import MachineFigures, threads_here
from unet_train.runs.checkpoint_writing import CheckpointWriter
from unet_train.runs.factory import build_split, custom_encoder, describe_model
from unet_train.runs.hardware import Hardware, hardware_for
from unet_train.runs.orientation import augmentation_for
from unet_train.runs.training_data import read_data
from unet_train.runs.training_setup import Run, set_up
from unet_train.runs.validation import Validation
from unet_train.training.evaluation import evaluate
from unet_train.training.finiteness import FiniteWatch
from unet_train.training.loop import update
from unet_train.training.run_folder import History

_IMAGES = 8  # that the steps crop from
_VALIDATED = 4  # as many as are drawn in TensorBoard
_WARM_UP = 2  # steps that are not timed: the first ones allocate
_MOST_STEPS = 20
_SECONDS = 15.0  # after which no further step is timed
_SMALLEST_CROP = 64  # to which crops are halved where memory runs out
_DIVISOR = 32  # of their sides, as in choose.py


@dataclass(frozen=True)
class Seconds:
    """What was timed.

    Attributes
    ----------
    step : float
        Of one training step, reading and augmentation included.
    image : float
        Of the validation of one image.
    epoch : float
        Of what an epoch writes: checkpoints, and pictures of the validation.
    """

    step: float
    image: float = 0.0
    epoch: float = 0.0


@dataclass(frozen=True)
class Trial:
    """What fits into memory, and how long it takes.

    Attributes
    ----------
    seconds : Seconds
    batch_size, accumulate : int
        With which the steps fit into memory.
    crop_size : int or None
        None where it stays as the config has it.
    """

    seconds: Seconds
    batch_size: int
    accumulate: int
    crop_size: int | None = None


def machine_for(config: TrainConfig) -> MachineFigures:
    """The machine that a config would train on."""
    with hardware_for(config) as hardware:
        return MachineFigures(hardware.device.type, threads_here(), hardware.precision.name)


def try_steps(
    words: Sequence[str],
    config_dir: str | None = None,
    *,
    keep_crop: bool = False,
    measure: Callable[[Sequence[str], str | None], Seconds] | None = None,
) -> Trial:
    """Time steps of the training that a command line describes; only temporary files are written.

    Where memory runs out the batch is halved, and the steps are accumulated instead; where a single crop is too much,
    its sides are halved.

    Parameters
    ----------
    words : sequence of str
        As for ``unet-train``.
    config_dir : str, optional
        The user's own YAML.
    keep_crop : bool
        The crop was given: its size stays.
    measure : callable, optional
        Times a command line; None: `measure_steps`.

    Raises
    ------
    UserError
        As a training; also where the smallest crop does not fit into memory.
    """
    config = compose_train(words, config_dir).config
    crops = config.trainer.batch_size * config.trainer.accumulate
    batch, accumulate = config.trainer.batch_size, config.trainer.accumulate
    crop: int | None = None
    while True:
        sizes = {"trainer.batch_size": batch, "trainer.accumulate": accumulate}
        if crop is not None:
            sizes["augmentation.crop_size"] = crop
        kept = [word for word in words if word.partition("=")[0] not in sizes]
        try:
            seconds = (measure or measure_steps)([*kept, *words_of(sizes)], config_dir)
        except UserError as error:
            smaller = None if keep_crop else _halved(crop or config.augmentation.crop_size)
            if "out of memory" not in str(error) or (batch == 1 and smaller is None):
                raise
            if batch > 1:
                batch = batch // 2
            else:
                crop, batch = smaller, config.trainer.batch_size
            accumulate = math.ceil(crops / batch)
            continue
        return Trial(seconds, batch, accumulate, crop)


def _halved(crop: Any) -> int | None:
    """Half the side of a square crop; None where that is too small, or the crop is not square."""
    if not isinstance(crop, int) or crop <= _SMALLEST_CROP:
        return None
    return max(_SMALLEST_CROP, crop // 2 // _DIVISOR * _DIVISOR)


def measure_steps(words: Sequence[str], config_dir: str | None = None) -> Seconds:
    """Time steps, a validation and what an epoch writes; only temporary files are written.

    Raises
    ------
    UserError
        As a training.
    """
    composed = compose_train(words, config_dir)
    config = composed.config
    with tempfile.TemporaryDirectory() as folder, hardware_for(config) as hardware:
        composed.run_folder = folder
        data = read_data(config, hardware.context, partial(_few, config))
        augmentation, _ = augmentation_for(composed, data)
        model = build_model(
            describe_model(config, data.description, data.outputs), custom_encoder(config.encoder)
        )
        run = set_up(composed, hardware, data, augmentation, model)
        size, count = config.trainer.batch_size, config.trainer.accumulate
        samples = min(len(run.training), size * count * (_WARM_UP + _MOST_STEPS))
        loader = make_loader(run.training, EpochSampler(samples, size, 0), run.settings.workers)
        run.state.model.train()
        times, watch = [], FiniteWatch()
        batches = []
        started = time.perf_counter()
        for batch in read_batches(loader):
            batches.append(batch)
            if len(batches) < count:
                continue
            update(run.state, batches, run.settings, hardware.context, watch)
            _wait(hardware)
            batches = []
            now = time.perf_counter()
            times.append(now - started)
            started = now
            if len(times) > _WARM_UP and sum(times[_WARM_UP:]) > _SECONDS:
                break
        timed = sorted(times[_WARM_UP:] or times)
        predictor, normaliser = run.predictor(), Normaliser(data.source, data.description.normalisation)
        seconds = 0.0
        if data.split.val:
            for _ in range(2):  # the first is the warm-up
                started = time.perf_counter()
                evaluate(predictor, data.source, data.split.val, normaliser=normaliser, loss=run.state.loss)
                _wait(hardware)
                seconds = (time.perf_counter() - started) / len(data.split.val)
        return Seconds(timed[len(timed) // 2], seconds, _writing(run, seconds))


def _writing(run: Run, image_seconds: float) -> float:
    """Seconds for what an epoch writes: its checkpoints, and the pictures of its validation."""
    writer, history = CheckpointWriter(run), History(run.folder)
    seconds = 0.0
    try:
        validation = Validation(run, history) if run.data.split.val else None
        if validation is not None:
            validation.warned = True  # of these few images nothing is to be said
        for _ in range(2):  # the first is the warm-up
            started = time.perf_counter()
            scores = validation().scores() if validation is not None else {}
            writer.best(scores)
            writer.last([run.state.position.sums.cpu()])
            history.add(1, 1, scores)
            seconds = time.perf_counter() - started
    finally:
        history.close()
    return max(0.0, seconds - image_seconds * len(run.data.split.val))


def _few(config: TrainConfig, records: list[Record]) -> Split:
    split = build_split(config.split, config.dataset, records)
    return Split(split.train[:_IMAGES], split.val[:_VALIDATED], [], by=split.by)


def _wait(hardware: Hardware) -> None:
    if hardware.device.type == "cuda":
        import torch

        torch.cuda.synchronize(hardware.device)
